"""One request for a model: read, parse, route, await the stack, answer.

Bytes of providers pass as they are, of their headers only a few. Before the first content
an error is a reply of its own; what becomes of it later is the business of `relay`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from aiohttp import HttpVersion11, hdrs, web

from llmstack.call import Call
from llmstack.gateway.desk import JSON, Desk, named
from llmstack.gateway.errors import Problem
from llmstack.gateway.front import Front
from llmstack.gateway.ledger import short
from llmstack.gateway.parse import parse, passed
from llmstack.gateway.reading import read
from llmstack.gateway.relay import relay
from llmstack.messages import NO_HEADERS, EventStream, Reply, Request, Response


__all__ = ["ask"]

EVENTS: Final = "text/event-stream; charset=utf-8"

#: Of the headers of a provider, what a client gets, and under which name.
_RENAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "content-type": hdrs.CONTENT_TYPE,
        "openai-processing-ms": "openai-processing-ms",
        "request-id": "x-llmstack-upstream-request-id",
        "x-request-id": "x-llmstack-upstream-request-id",
    }
)
_LIMITS: Final = ("x-ratelimit-", "anthropic-ratelimit-")

#: Without the name: a caller may have put anything there.
_NO_MODEL: Final = Problem(
    404,
    "there is no such model here; GET /v1/models lists those that are",
    param="model",
    code="model_not_found",
)

#: How the attempt ended that gave the reply: a stream has not ended yet.
_SERVED: Final = (None, "ok")


async def ask(
    front: Front, desk: Desk, request: web.BaseRequest, request_id: str
) -> web.StreamResponse:
    """Answer a request for the operation of *front*."""
    call = Call(request_id)
    gateway = desk.gateway
    asked = await _read(front, desk, request, call)
    if isinstance(asked, Problem):
        return desk.refused(asked, call.id, front=front)
    stack = gateway.route(asked.model)
    if stack is None:
        return desk.refused(_NO_MODEL, call.id, front=front)
    task = desk.enter(request)
    try:
        return await _replied(desk, front, request, await stack(asked), asked)
    except asyncio.CancelledError as cancelled:
        problem = desk.last_word(cancelled)
    except Exception as error:  # noqa: BLE001 -- the edge: whatever it is, it is answered
        problem = desk.problem_of(error, call.id, call.sent)
    finally:
        desk.leave(task)
    more = {"x-llmstack-attempts": short(call)}
    return desk.refused(problem, call.id, more, front=front)


async def _read(
    front: Front, desk: Desk, request: web.BaseRequest, call: Call
) -> Request | Problem:
    """Return what is asked for, or what is wrong with it."""
    gateway = desk.gateway
    raw = await read(request, gateway.max_body, gateway.body_timeout)
    if isinstance(raw, Problem):
        return raw
    headers = passed(front.passes, request.raw_headers) if front.passes else NO_HEADERS
    if isinstance(headers, Problem):
        return headers
    return parse(front, raw, call, headers)


async def _replied(
    desk: Desk,
    front: Front,
    request: web.BaseRequest,
    reply: Any,  # noqa: ANN401 -- a stack may give anything
    asked: Request,
) -> web.StreamResponse:
    call = asked.call
    if isinstance(reply, EventStream):
        async with reply:  # also if nobody asked for a stream
            if asked.stream:
                return await _streamed(desk, front, request, reply, call)
    if asked.stream or not isinstance(reply, Response):
        raise TypeError("a stack must give an EventStream to a request that streams, or a Response")
    return desk.said(reply.body, _headers(reply, call, front, JSON), reply.status)


async def _streamed(
    desk: Desk, front: Front, request: web.BaseRequest, stream: EventStream, call: Call
) -> web.StreamResponse:
    headers = _headers(stream, call, front, EVENTS)
    headers["Cache-Control"] = "no-cache"
    headers["X-Accel-Buffering"] = "no"  # a proxy that buffers would hold events back
    response = web.StreamResponse(status=stream.status, headers=headers)
    desk.mark(response)
    if request.version < HttpVersion11:
        response.force_close()  # there a body without a length ends with its connection
    await relay(desk, front, request, response, stream, call)
    return response


def _headers(reply: Reply, call: Call, front: Front, kind: str) -> dict[str, str]:
    """Return the headers of *reply*; *kind* is its type where the provider does not say."""
    headers = named(call.id, front)
    headers[hdrs.CONTENT_TYPE] = kind
    headers["x-llmstack-attempts"] = short(call)
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
