"""What can be read over the admin API: health with its reasons, routes, statistics, plans.

None of it asks a provider, and none of it changes anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from aiohttp import hdrs, web

from llmstack import clock
from llmstack.builder import Stack
from llmstack.call import Call
from llmstack.gateway import status
from llmstack.gateway.admin.finding import group_of, standing_request
from llmstack.gateway.admin.plain import plain
from llmstack.gateway.admin.visit import NotDone, Visit, listed, no, shown
from llmstack.gateway.errors import Problem
from llmstack.gateway.front import Front
from llmstack.gateway.fronts import CHAT, FRONTS
from llmstack.gateway.parse import parse
from llmstack.messages import Request


__all__ = ["livez", "metrics", "plan", "readyz", "route", "routes"]

_FRONTS: Final[Mapping[str, Front]] = MappingProxyType({each.operation: each for each in FRONTS})


async def livez(visit: Visit) -> web.StreamResponse:
    """Say that the loop runs."""
    return await status.livez(visit.desk, visit.request, visit.id)


async def metrics(visit: Visit) -> web.StreamResponse:
    """Render the metrics."""
    return await status.metrics(visit.desk, visit.request, visit.id)


async def readyz(visit: Visit) -> web.StreamResponse:
    """Say whether requests are welcome, and how each route and each endpoint stands."""
    desk = visit.desk
    said, now = status.status_of(desk), clock.now()
    details = {name: _details(name, stack, now) for name, stack in desk.gateway.routes.items()}
    data = {"status": said, "routes": details}
    return status.as_json(desk, data, visit.id, 200 if said == "ok" else 503)


def _details(name: str, stack: Stack[Request, Any], now: float) -> dict[str, Any]:
    request = standing_request(name)
    standings = stack.standings(request)
    return {**plain(stack.standing(request), now), "endpoints": plain(standings, now)}


async def routes(visit: Visit) -> web.StreamResponse:
    """List the routes: layers with their settings, and the most that one request can take."""
    now = clock.now()
    there = visit.desk.gateway.routes.items()
    return visit.said({"routes": [_about(name, stack, now) for name, stack in there]})


async def route(visit: Visit) -> web.StreamResponse:
    """Tell the same of one route, and the state of each of its layers."""
    stack, now = visit.stack, clock.now()
    statistics = plain(stack.statistics(), now)
    return visit.said({**_about(visit.route, stack, now), "statistics": statistics})


def _about(name: str, stack: Stack[Request, Any], now: float) -> dict[str, Any]:
    bound = plain(stack.bound, now)
    return {"name": name, "describe": stack.describe().splitlines(), "bound": bound}


async def plan(visit: Visit) -> web.StreamResponse:
    """Tell whom the next request would ask, and why; a body says more of it than a model."""
    router = group_of(visit, ()).router
    is_post = visit.request.method == hdrs.METH_POST
    request = await _request_in(visit) if is_post else _request_for(visit)
    found = router.plan(request)
    candidates = plain(found.candidates, clock.now())
    return visit.said({"route": visit.route, "order": found.order, "candidates": candidates})


def _request_for(visit: Visit) -> Request:
    model = visit.asked("model").get("model")
    return standing_request(visit.route) if model is None else Request(model)


async def _request_in(visit: Visit) -> Request:
    """Return the request that the body is; of which operation, the query says."""
    operation = visit.asked("operation").get("operation", CHAT.operation)
    front = _FRONTS.get(operation)
    if front is None:
        message = f"no operation is {shown(operation)}; there are: {listed(_FRONTS)}"
        raise no(400, message, "operation", "unknown_operation")
    request = parse(front, await visit.body(), Call(visit.id))
    if isinstance(request, Problem):
        raise NotDone(request)
    return request
