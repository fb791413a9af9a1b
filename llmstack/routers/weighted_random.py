"""Weighted random: endpoints by chance, each as often as its weight says.

The choice where many processes route without knowing of each other: turns that are taken
in step would all begin at the same endpoint, draws do not. It learns nothing, so put a
`CircuitBreaker` below. Within one process `RoundRobin` spreads the same shares more evenly.

Errors: `NoEndpoint`; `ConfigError` if no weight is positive. Events: none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from copy import deepcopy
from random import Random
from typing import Any, ClassVar, final

from attrs import Attribute, define, field, frozen

from llmstack.call import Outcome
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import ConfigError
from llmstack.estimators.alias import choose
from llmstack.messages import Request
from llmstack.order import Bound
from llmstack.routers.plan import Terms
from llmstack.routers.router import (
    ONE_ROUTER,
    Endpoints,
    RouterService,
    as_endpoints,
    bound_of_endpoints,
    named,
    the_set,
)
from llmstack.service import Service


__all__ = ["Draws", "WeightedRandom"]


def _drawn(endpoints: Sequence[Endpoint], rng: Random) -> Iterator[tuple[Endpoint, float, float]]:
    """Yield endpoints as they are drawn, each with its draw and its share in that draw."""
    left = {endpoint.name: endpoint for endpoint in endpoints}
    weights = {endpoint.name: endpoint.weight for endpoint in endpoints}
    while left:
        draw = rng.random()
        name = choose(weights, draw)
        yield left.pop(name), draw, weights[name] / sum(weights.values())
        del weights[name]


@final
@define(eq=False)
class Draws:
    """The picker: one draw for each endpoint asked; what is left after a refusal draws anew."""

    rng: Random

    def order(
        self, _request: Request, endpoints: Sequence[Endpoint], _now: float, /
    ) -> Iterator[Endpoint]:
        """Yield who is drawn, then who is drawn among the rest."""
        for endpoint, _, _ in _drawn(endpoints, self.rng):
            yield endpoint

    def settle(self, _endpoint: Endpoint, _started: float, _outcome: Outcome, /) -> None:
        """Learn nothing: the dice have no memory."""

    def explain(
        self, _request: Request, endpoints: Sequence[Endpoint], _now: float, /
    ) -> dict[str, Terms]:
        """Return the draw that will choose each, and its share among those left by then."""
        return {
            e.name: Terms(
                reason=f"drawn with weight {e.weight:g}, a share of {share:.3g}",
                score=-share,
                terms={"weight": e.weight, "share": share},
                draw=draw,
            )
            for e, draw, share in _drawn(endpoints, deepcopy(self.rng))
        }

    def keep(self, _names: Collection[str], /) -> None:
        """Forget nothing: nothing is known."""

    def statistics(self) -> dict[str, Any]:
        """Return nothing: a draw leaves no trace."""
        return {}


def _drawable(_instance: object, attribute: Attribute[Any], value: Endpoints) -> None:
    """A list that stays as it is must have somebody to draw; a set may be filled later."""
    if not isinstance(value, EndpointSet) and not any(endpoint.weight for endpoint in value):
        raise ConfigError(f"{attribute.name}: no weight is positive")


@final
@frozen
class WeightedRandom:
    """Choose endpoints by chance, each in proportion to its weight."""

    endpoints: Endpoints = field(converter=as_endpoints, validator=_drawable, repr=named)
    rng: Random | None = field(default=None, kw_only=True, repr=False, eq=False)

    role: ClassVar[str] = "router"
    alone: ClassVar[str] = ONE_ROUTER

    def __call__(self, inner: Service[Request, Any], /) -> RouterService:
        """Put the router above *inner*, which calls ``request.endpoint``."""
        picker = Draws(self.rng or Random())
        return RouterService(the_set(self.endpoints), picker, inner, "weighted_random")

    def bound(self, inner: Bound, /) -> Bound:
        """One endpoint is asked for each request."""
        return bound_of_endpoints(self.endpoints, inner)
