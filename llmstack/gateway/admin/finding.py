"""Where in a stack something is: the router, an endpoint in it, what is kept for each endpoint.

Errors: `NotDone`: 404 for what has a name that is not there, 409 for what the stack has not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, final

from attrs import frozen

from llmstack.builder import Stack
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import Scope
from llmstack.gateway.admin.visit import Visit, listed, no, shown
from llmstack.layers.circuit_breaker import CircuitBreakerService
from llmstack.layers.cooldown import CooldownService
from llmstack.messages import Request
from llmstack.order import role_of
from llmstack.routers.router import RouterService
from llmstack.service import by_endpoint


__all__ = ["Group", "group_of", "standing_request"]

S = TypeVar("S")


def standing_request(route: str) -> Request:
    """Return a request as it comes to the route of that name, as far as one can know it."""
    return Request("" if route == "*" else route)


def group_of(visit: Visit, path: Iterable[str]) -> Group:
    """Return the stack of the route, or, along the names in *path*, the one behind an endpoint."""
    group = Group(f"the route {shown(visit.route)}", visit.stack)
    for name in path:
        service = group.endpoint(name, "group").service
        if not isinstance(service, Stack):
            raise no(409, f"the endpoint {shown(name)} is no group", "group", "no_group")
        group = Group(f"the group {shown(name)}", service)
    return group


@final
@frozen
class Group:
    """A stack, and what messages call it."""

    name: str
    stack: Stack[Request, Any]

    @property
    def router(self) -> RouterService:
        """The router."""
        return self._first(self.stack.services, RouterService, "no router", "router")

    @property
    def endpoints(self) -> EndpointSet:
        """The endpoints of the router."""
        return self.router.endpoints

    def endpoint(self, name: str, param: str = "endpoint") -> Endpoint:
        """Return the endpoint *name*, which the field *param* has."""
        endpoints = self.endpoints
        if name not in endpoints:
            there = listed(each.name for each in endpoints)
            message = f"{self.name} has no endpoint {shown(name)}; there are: {there}"
            raise no(404, message, param, "unknown_endpoint")
        return endpoints[name]

    @property
    def breaker(self) -> CircuitBreakerService[Request, Any]:
        """The breaker of endpoints."""
        there = [each for each in self._below() if isinstance(each, CircuitBreakerService)]
        own = [each for each in there if each.settings.key is by_endpoint]
        lacks = "no circuit_breaker that is kept for each endpoint"
        return self._first(own, CircuitBreakerService, lacks, "circuit_breaker")

    @property
    def cooldown(self) -> CooldownService[Request, Any]:
        """The cooldown."""
        return self._first(self._below(), CooldownService, "no cooldown", "cooldown")

    def _below(self) -> list[object]:
        """Return the services below the router."""
        services = self.stack.services
        return [*services[services.index(self.router) + 1 :]]

    def _first(self, services: Iterable[object], kind: type[S], lacks: str, code: str) -> S:
        for service in services:
            if isinstance(service, kind):
                return service
        roles = listed(map(role_of, self.stack.layers))
        raise no(409, f"{self.name} has {lacks}; its layers are: {roles}", None, f"no_{code}")

    def cooled(self, scope: Scope) -> set[str]:
        """Return the names that the cooldown can know in *scope*; of keys, in groups too."""
        if scope == "endpoint":
            own = self.cooldown.settings.key is by_endpoint
            return {each.name for each in self.endpoints} if own else set()
        label = "account" if scope == "account" else "key"
        return {getattr(each, label) for each in _all(self.stack)} - {""}


def _all(stack: Stack[Any, Any]) -> Iterator[Endpoint]:
    """Yield the endpoints of *stack*, and those of groups in it."""
    for service in stack.services:
        for endpoint in getattr(service, "endpoints", ()):
            yield endpoint
            if isinstance(endpoint.service, Stack):
                yield from _all(endpoint.service)
