"""What can be asked about the gateway itself: health, models, metrics.

None of it asks a provider, and `livez` looks at nothing at all.
"""

from __future__ import annotations

import asyncio
import json
from typing import Final

from aiohttp import hdrs, web

from llmstack.gateway.desk import JSON, Desk, named
from llmstack.gateway.errors import Problem
from llmstack.gateway.routes import takes_traffic


__all__ = ["as_json", "livez", "metrics", "models", "readyz", "status_of"]

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


async def livez(desk: Desk, _request: web.BaseRequest, request_id: str) -> web.StreamResponse:
    """Say that the loop runs."""
    return as_json(desk, {"status": "ok"}, request_id)


async def readyz(desk: Desk, _request: web.BaseRequest, request_id: str) -> web.StreamResponse:
    """Say whether requests are welcome: while serving, if any route can take them."""
    status = status_of(desk)
    return as_json(desk, {"status": status}, request_id, 200 if status == "ok" else 503)


def status_of(desk: Desk) -> str:
    """Return "ok", or why requests are not welcome."""
    if desk.phase != "serving":
        return desk.phase
    is_ready = any(map(takes_traffic, desk.gateway.routes.values()))
    return "ok" if is_ready else "no route has an enabled endpoint"


async def models(desk: Desk, _request: web.BaseRequest, request_id: str) -> web.StreamResponse:
    """List the names that callers may ask for."""
    data = [
        {"id": name, "object": "model", "created": 0, "owned_by": "llmstack"}
        for name in desk.gateway.routes
        if name != "*"
    ]
    return as_json(desk, {"object": "list", "data": data}, request_id)


async def metrics(desk: Desk, _request: web.BaseRequest, request_id: str) -> web.StreamResponse:
    """Render the metrics, in a thread: with many series it takes its time."""
    render = desk.gateway.metrics
    if render is None:
        problem = Problem(404, "this gateway has no metrics", code="unknown_url")
        return desk.refused(problem, request_id)
    try:
        text = await asyncio.to_thread(render)
    except Exception as error:  # noqa: BLE001 -- the edge: whatever it is, it is answered
        return desk.refused(desk.problem_of(error, request_id), request_id)
    return desk.said(text, {hdrs.CONTENT_TYPE: TEXT, **named(request_id)})


def as_json(desk: Desk, data: object, request_id: str, status: int = 200) -> web.StreamResponse:
    """Return *data* as a reply."""
    headers = {hdrs.CONTENT_TYPE: JSON, **named(request_id)}
    return desk.said(json.dumps(data).encode(), headers, status)
