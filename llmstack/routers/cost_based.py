"""Cost based: the endpoint where this request is expected to cost least.

The cost is that of *this* request: its prompt, estimated from the text, at the input
price, and the tokens it may write (its own limit, else a stated guess) at the output
price. So a long prompt and a long answer may go to different places. Endpoints that cost
the same take turns.

An unknown price is not zero: such an endpoint comes after all whose price is known, or
is taken to charge the price that you name.

Errors: `NoEndpoint`. Events: none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from math import inf
from typing import Any, ClassVar, Literal, final

from attrs import define, field, frozen, validators

from llmstack.call import Outcome, Usage
from llmstack.endpoint import Endpoint, Price
from llmstack.errors import ConfigError
from llmstack.estimators.rotation import Rotation
from llmstack.estimators.tokens import prompt_tokens
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


__all__ = ["Cheapest", "CostBased"]

Unknown = Price | Literal["last"]


def _policy(_layer: object, _field: object, value: object) -> None:
    if not isinstance(value, Price) and value != "last":
        raise ConfigError(f'unknown must be a Price or "last", not {value!r}')


@final
@define(eq=False)
class Cheapest:
    """The picker: least expected cost first; among equals whoever waited longest."""

    unknown: Unknown
    output: int
    turns: Rotation = field(factory=Rotation, init=False)

    def order(
        self, request: Request, endpoints: Sequence[Endpoint], _now: float, /
    ) -> Iterator[Endpoint]:
        """Yield endpoints from cheap to dear; the turn among equals is booked at the yield."""
        usage = self.expected(request)
        ranked = sorted(endpoints, key=lambda e: (self.cost(e, usage), self.turns.last(e.name)))
        for endpoint in ranked:
            turn = self.turns.take(endpoint.name)
            yield endpoint
            self.turns.untake(endpoint.name, turn)

    def expected(self, request: Request) -> Usage:
        """Return the tokens that the request is taken to need."""
        wanted = request.max_tokens
        output = self.output if wanted is None else wanted
        if request.operation == "embeddings":
            output = 0
        return Usage(prompt_tokens(request.body.data), output, estimated=True)

    def cost(self, endpoint: Endpoint, usage: Usage) -> float:
        """Return the cost in USD; infinity for an unknown price that is to come last."""
        price = endpoint.price or self.unknown
        return price.cost(usage) if isinstance(price, Price) else inf

    def settle(self, _endpoint: Endpoint, _started: float, _outcome: Outcome, /) -> None:
        """Learn nothing: prices are known, not measured."""

    def explain(
        self, request: Request, endpoints: Sequence[Endpoint], _now: float, /
    ) -> dict[str, Terms]:
        """Return the expected cost and the tokens it was reckoned with."""
        usage = self.expected(request)
        tokens = {"input": float(usage.input), "output": float(usage.output)}
        return {e.name: self._terms(e, usage, tokens) for e in endpoints}

    def _terms(self, endpoint: Endpoint, usage: Usage, tokens: dict[str, float]) -> Terms:
        cost = self.cost(endpoint, usage)
        if cost == inf:
            return Terms(reason="its price is unknown, so it comes last", terms=tokens)
        said = "its price" if endpoint.price else "the price taken for unknown ones"
        return Terms(reason=f"by {said}", score=cost, terms=tokens, cost=cost)

    def keep(self, names: Collection[str], /) -> None:
        """Forget endpoints other than *names*."""
        self.turns.keep(names)

    def statistics(self) -> dict[str, Any]:
        """Return the number of the last choice of each endpoint."""
        return dict(self.turns.chosen)


@final
@frozen
class CostBased:
    """Choose the endpoint where the request is expected to cost least.

    *unknown* is what to think of an endpoint without a price: it comes last, or is taken to
    charge the one given. *output* is how many tokens a reply is taken to have if the request
    sets no limit.
    """

    endpoints: Endpoints = field(converter=as_endpoints, repr=named)
    unknown: Unknown = field(default="last", kw_only=True, validator=_policy)
    output: int = field(default=500, kw_only=True, validator=validators.ge(0))

    role: ClassVar[str] = "router"
    alone: ClassVar[str] = ONE_ROUTER

    def __call__(self, inner: Service[Request, Any], /) -> RouterService:
        """Put the router above *inner*, which calls ``request.endpoint``."""
        picker = Cheapest(self.unknown, self.output)
        return RouterService(the_set(self.endpoints), picker, inner, "cost_based")

    def bound(self, inner: Bound, /) -> Bound:
        """One endpoint is asked for each request."""
        return bound_of_endpoints(self.endpoints, inner)
