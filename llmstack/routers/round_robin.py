"""Round robin: endpoints in turn, each as often as its weight says.

The choice for endpoints that are alike. It learns nothing: a slow endpoint gets its turn
like any other, so put a `CircuitBreaker` below.

Errors: `NoEndpoint`. Events: none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, ClassVar, final

from attrs import define, field, frozen

from llmstack.call import Outcome
from llmstack.endpoint import Endpoint
from llmstack.estimators.smooth_wrr import SmoothWrr
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


__all__ = ["RoundRobin", "Turns"]


@final
@define(eq=False)
class Turns:
    """The picker: smooth weighted round robin; who refuses was never there.

    Turns that are insisted on are counted apart, for those who refuse give back theirs: all
    of them soft, the same one would always be the first to be insisted on.
    """

    turns: SmoothWrr = field(factory=SmoothWrr)
    insisted: SmoothWrr = field(factory=SmoothWrr)

    def order(
        self, request: Request, endpoints: Sequence[Endpoint], _now: float, /
    ) -> Iterator[Endpoint]:
        """Yield whose turn it is; a turn is paid when it is taken, not when it ends."""
        turns = self.insisted if request.insists else self.turns
        left = {endpoint.name: endpoint for endpoint in endpoints}
        weights = {endpoint.name: endpoint.weight for endpoint in endpoints}
        while left:
            name = turns.take(weights)
            purse = turns.empty(name)
            yield left.pop(name)
            turns.untake(name, weights)
            turns.give_back(name, purse)
            turns.give_back(name, turns.empty(name))  # what it has earned while it was asked
            del weights[name]

    def settle(self, _endpoint: Endpoint, _started: float, _outcome: Outcome, /) -> None:
        """Learn nothing: a turn that was taken is a turn, however it ended."""

    def explain(
        self, request: Request, endpoints: Sequence[Endpoint], _now: float, /
    ) -> dict[str, Terms]:
        """Return what each has earned: the richest after earning its weight is next."""
        credit = (self.insisted if request.insists else self.turns).credit
        return {
            e.name: Terms(
                reason=f"weight {e.weight:g}",
                score=-(credit.get(e.name, 0.0) + e.weight),
                terms={"credit": credit.get(e.name, 0.0), "weight": e.weight},
            )
            for e in endpoints
        }

    def keep(self, names: Collection[str], /) -> None:
        """Forget endpoints other than *names*."""
        for turns in (self.turns, self.insisted):
            for name in turns.credit.keys() - set(names):
                turns.forget(name)

    def statistics(self) -> dict[str, Any]:
        """Return the credit of each endpoint, in turns' worth of weight."""
        return dict(self.turns.credit)


@final
@frozen
class RoundRobin:
    """Choose endpoints in turn, by weight."""

    endpoints: Endpoints = field(converter=as_endpoints, repr=named)

    role: ClassVar[str] = "router"
    alone: ClassVar[str] = ONE_ROUTER

    def __call__(self, inner: Service[Request, Any], /) -> RouterService:
        """Put the router above *inner*, which calls ``request.endpoint``."""
        return RouterService(the_set(self.endpoints), Turns(), inner, "round_robin")

    def bound(self, inner: Bound, /) -> Bound:
        """One endpoint is asked for each request."""
        return bound_of_endpoints(self.endpoints, inner)
