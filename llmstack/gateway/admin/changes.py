"""What can be changed over the admin API: breakers, cooldowns, endpoints.

Each change is what the layer or the set offers to code, and is in force for the next choice;
requests that are under way are not touched.

Errors: `NotDone`, and nothing was changed. Events: `admin.changed` (info), once for each
change, beside the event of the layer itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, get_args

from aiohttp import web

from llmstack import clock
from llmstack.endpoint import EndpointSet
from llmstack.errors import Scope
from llmstack.estimators.scope import Where
from llmstack.events import EventLog
from llmstack.gateway.admin.finding import Group, group_of, standing_request
from llmstack.gateway.admin.plain import plain
from llmstack.gateway.admin.said import Said
from llmstack.gateway.admin.visit import Visit, listed, no, shown
from llmstack.layers.circuit_breaker import CircuitBreakerService
from llmstack.layers.cooldown import CooldownService


__all__ = ["breaker", "cooldown", "endpoint"]

log: Final = EventLog()

Breaker = CircuitBreakerService[Any, Any]

BREAKER: Final[Mapping[str, Callable[[Breaker, str], None]]] = MappingProxyType(
    {
        "open": Breaker.open,
        "half_open": Breaker.half_open,
        "close": Breaker.close,
        "reset": Breaker.reset,
        "disable": Breaker.disable,
        "enable": Breaker.enable,
    }
)
ENDPOINT: Final[Mapping[str, Callable[[EndpointSet, str], None]]] = MappingProxyType(
    {"enable": EndpointSet.enable, "disable": EndpointSet.disable}
)
COOLDOWN: Final = ("put_aside", "clear")
REWEIGHT: Final = "reweight"


async def breaker(visit: Visit) -> web.StreamResponse:
    """Open, half-open, close, reset, disable or enable the circuit of an endpoint."""
    said = await Said.of(visit, ("do", "endpoint", "group"))
    do = said.one_of("do", BREAKER)
    group = group_of(visit, said.names("group"))
    name = group.endpoint(said.text("endpoint")).name
    BREAKER[do](group.breaker, name)
    return _endpoint_changed(visit, group, name, f"breaker {do}")


async def endpoint(visit: Visit) -> web.StreamResponse:
    """Enable or disable an endpoint, or give it another weight."""
    said = await Said.of(visit, ("do", "endpoint", "group", "weight"))
    do = said.one_of("do", (*ENDPOINT, REWEIGHT))
    group = group_of(visit, said.names("group"))
    name = group.endpoint(said.text("endpoint")).name
    if do == REWEIGHT:
        group.endpoints.reweight(name, said.number("weight"))
    else:
        said.without(["weight"], f"where do is {do}")
        ENDPOINT[do](group.endpoints, name)
    return _endpoint_changed(visit, group, name, f"endpoint {do}")


def _endpoint_changed(visit: Visit, group: Group, name: str, what: str) -> web.StreamResponse:
    """Log the change, and tell how the endpoint stands after it."""
    log.info("admin.changed", request_id=visit.id, route=visit.route, endpoint=name, what=what)
    standing = group.stack.standings(standing_request(visit.route))[name]
    there = group.endpoint(name)
    return visit.said(
        {
            "route": visit.route,
            "did": what,
            "endpoint": name,
            "weight": there.weight,
            "standing": plain(standing, clock.now()),
        }
    )


async def cooldown(visit: Visit) -> web.StreamResponse:
    """Put an endpoint, a key or an account aside, or forget that it was."""
    said = await Said.of(visit, ("do", "group", "model", "name", "scope", "seconds"))
    do = said.one_of("do", COOLDOWN)
    group = group_of(visit, said.names("group"))
    service = group.cooldown
    of: str
    if do == "put_aside":
        where = _where(said, group, service)
        service.put_aside(where.scope, where.name, said.number("seconds"), where.model)
        of = str(where)
    elif said.has("scope"):
        said.without(["seconds"], "where do is clear")
        where = _where(said, group, service)
        service.clear(*where)
        of = str(where)
    else:
        said.without(["name", "model", "seconds"], "where all is cleared; scope says of what")
        service.clear()
        of = "all"
    what = f"cooldown {do}"
    log.info("admin.changed", request_id=visit.id, route=visit.route, scope=of, what=what)
    aside = plain(service.statistics(), clock.now())
    return visit.said({"route": visit.route, "did": what, "scope": of, "cooldown": aside})


def _where(said: Said, group: Group, service: CooldownService[Any, Any]) -> Where:
    """Return what is meant, if there is such a thing, or if something is known of it."""
    scopes: tuple[Scope, ...] = get_args(Scope)
    scope = next(each for each in scopes if each == said.one_of("scope", scopes))
    name, model = said.text("name"), ""
    if scope == "key_model":
        model = said.text("model")
    else:
        said.without(["model"], "where scope is not key_model")
    where = Where(scope, name, model)
    known = group.cooled(scope)
    if name not in known and where not in service.statistics():
        what = scope.partition("_")[0]
        there = listed(sorted(known))
        message = f"{group.name} has no {what} {shown(name)}; there are: {there}"
        raise no(404, message, "name", f"unknown_{what}")
    return where
