"""One request for a model: read, parse, route, await the stack, answer.

Bytes of providers pass as they are, of their headers only a few. Before the first content
an error is a reply of its own; what becomes of it later is the business of `relay`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from aiohttp import hdrs, web

from llmstack.call import Call
from llmstack.gateway.desk import JSON, Desk, named
from llmstack.gateway.errors import Problem
from llmstack.gateway.parse import parse
from llmstack.gateway.reading import read
from llmstack.gateway.relay import relay
from llmstack.messages import EventStream, Reply, Response


__all__ = ["chat", "embeddings"]

EVENTS: Final = "text/event-stream; charset=utf-8"

#: Of the headers of a provider, what a client gets, and under which name.
_RENAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "content-type": hdrs.CONTENT_TYPE,
        "openai-processing-ms": "openai-processing-ms",
        "x-request-id": "x-llmstack-upstream-request-id",
    }
)
_LIMITS: Final = "x-ratelimit-"

#: Without the name: a caller may have put anything there.
_NO_MODEL: Final = Problem(
    404,
    "there is no such model here; GET /v1/models lists those that are",
    param="model",
    code="model_not_found",
)

#: How the attempt ended that gave the reply: a stream has not ended yet.
_SERVED: Final = (None, "ok")


async def chat(desk: Desk, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
    """Answer a chat completion."""
    return await _ask(desk, "chat", request, Call(request_id))


async def embeddings(desk: Desk, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
    """Answer a request for embeddings."""
    return await _ask(desk, "embeddings", request, Call(request_id))


async def _ask(
    desk: Desk, operation: str, request: web.BaseRequest, call: Call
) -> web.StreamResponse:
    gateway = desk.gateway
    raw = await read(request, gateway.max_body, gateway.body_timeout)
    asked = raw if isinstance(raw, Problem) else parse(operation, raw, call)
    if isinstance(asked, Problem):
        return desk.refused(asked, call.id)
    stack = gateway.route(asked.model)
    if stack is None:
        return desk.refused(_NO_MODEL, call.id)
    task = desk.enter(request)
    try:
        return await _replied(desk, request, await stack(asked), call)
    except asyncio.CancelledError as cancelled:
        problem = desk.last_word(cancelled)
    except Exception as error:  # noqa: BLE001 -- the edge: whatever it is, it is answered
        problem = desk.problem_of(error, call.id, call.sent)
    finally:
        desk.leave(task)
    return desk.refused(problem, call.id, {"x-llmstack-attempts": str(call.sent)})


async def _replied(
    desk: Desk,
    request: web.BaseRequest,
    reply: Any,  # noqa: ANN401 -- a stack may give anything
    call: Call,
) -> web.StreamResponse:
    if isinstance(reply, Response):
        return desk.said(reply.body, _headers(reply, call, JSON), reply.status)
    if not isinstance(reply, EventStream):
        raise TypeError("a stack of the gateway must give a Response or an EventStream")
    async with reply:
        headers = _headers(reply, call, EVENTS)
        headers["Cache-Control"] = "no-cache"
        headers["X-Accel-Buffering"] = "no"  # a proxy that buffers would hold events back
        response = web.StreamResponse(status=reply.status, headers=headers)
        desk.mark(response)
        await relay(desk, request, response, reply, call)
    return response


def _headers(reply: Reply, call: Call, kind: str) -> dict[str, str]:
    """Return the headers of *reply*; *kind* is its type where the provider does not say."""
    headers = named(call.id)
    headers[hdrs.CONTENT_TYPE] = kind
    headers["x-llmstack-attempts"] = str(call.sent)
    for attempt in reversed(call.attempts):
        if not attempt.group and attempt.how in _SERVED:
            headers["x-llmstack-endpoint"] = _line(attempt.endpoint)
            break
    for name, value in reply.headers.items():
        key = name.lower()
        if key in _RENAMED:
            headers[_RENAMED[key]] = _line(value)
        elif key.startswith(_LIMITS):
            headers[key] = _line(value)
    return headers


def _line(value: str) -> str:
    """Return *value* as a header can carry it."""
    return value if value.isprintable() else ascii(value)
