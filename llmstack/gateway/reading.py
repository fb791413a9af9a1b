"""The body of a request as it comes: of the right kind, in time, and not too long."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import HttpVersion11, StreamReader, hdrs, web

from llmstack.gateway.errors import Problem
from llmstack.gateway.parse import check_content, too_large


__all__ = ["read"]

GO_ON: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


async def read(request: web.BaseRequest, limit: int, seconds: float) -> bytes | Problem:
    """Return the body, at most *limit* bytes within so many *seconds*, or the problem with it."""
    problem = check_content(request.headers, limit)
    if problem is not None:
        return problem
    content = request.content
    try:
        # Most bodies have come together with the head, and need no timer.
        if content.is_eof():
            raw = content.read_nowait()
            return raw if len(raw) <= limit else too_large(limit)
        await _invite(request)
        async with asyncio.timeout(seconds):
            return await _collected(content, limit)
    except TimeoutError:
        message = f"the body did not come within {seconds:g} seconds"
        return Problem(408, message, code="request_timeout", close=True)
    except (web.RequestPayloadError, ConnectionError):
        return Problem(400, "the body is not valid HTTP", code="bad_body", close=True)


async def _invite(request: web.BaseRequest) -> None:
    """Tell a client that asks first that its body is welcome."""
    asks = request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"
    if asks and request.version >= HttpVersion11:
        await request.writer.write(GO_ON)
        request.writer.output_size = 0  # or aiohttp takes it for the beginning of the reply


async def _collected(content: StreamReader, limit: int) -> bytes | Problem:
    parts = []
    room = limit
    while not content.at_eof():
        part = await content.readany()
        room -= len(part)
        if room < 0:
            return too_large(limit)
        parts.append(part)
    return b"".join(parts)
