"""Round robin: endpoints in turn, each as often as its weight says.

The choice for endpoints that are alike. It learns nothing: a slow endpoint gets its turn
like any other, so put a `CircuitBreaker` below.

Errors: `NoEndpoint`. Events: none.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

from attrs import field, frozen

from llmstack.messages import Request
from llmstack.order import Bound
from llmstack.routers.router import (
    ONE_ROUTER,
    Endpoints,
    RouterService,
    as_endpoints,
    bound_of_endpoints,
    named,
    the_set,
)
from llmstack.routers.turns import Turns
from llmstack.service import Service


__all__ = ["RoundRobin"]


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
