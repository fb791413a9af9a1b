"""A stream on its way to the client: events as they come, and an end that cannot be missed.

What is there already goes out in one write. A stream that breaks ends with one error event
and without the terminating chunk, because some clients read only one of the two signs; a
stream that is whole has neither.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from llmstack.gateway.errors import Problem
from llmstack.messages import EventStream


__all__ = ["WRITE_TIMEOUT", "ClientGone", "close_with", "relay"]

#: Seconds; a client that takes no byte for so long is dropped.
WRITE_TIMEOUT: Final = 30.0

#: Bytes that may lie in user space before a write is timed; most writes need no timer.
SLACK: Final = 1 << 15


class ClientGone(Exception):  # noqa: N818 -- a state, as all errors here
    """Nobody reads this reply any more."""


async def relay(request: web.BaseRequest, response: web.StreamResponse, stream: EventStream) -> None:
    """Write all events of *stream* and the end; raise what the stream raises, or `ClientGone`."""
    held = stream._held  # noqa: SLF001 -- says whether the next event is there already
    block: list[bytes] = []
    try:
        await response.prepare(request)
    except ConnectionError as error:
        raise ClientGone from error
    async for event in stream:
        block.append(event.raw)
        if not held:
            await _write(request, response, b"".join(block), last=stream.ended is not None)
            block.clear()
    await _write(request, response, b"", last=True)


async def close_with(
    request: web.BaseRequest, response: web.StreamResponse, problem: Problem, request_id: str
) -> None:
    """Say in the stream what went wrong, and close the connection behind it."""
    event = b"data: " + problem.body(request_id) + b"\n\n"
    await _write(request, response, event, last=False)
    if request.transport is not None:
        request.transport.close()


async def _write(
    request: web.BaseRequest, response: web.StreamResponse, block: bytes, *, last: bool
) -> None:
    transport = request.transport
    if transport is None:
        raise ClientGone
    write = response.write_eof if last else response.write
    try:
        if transport.get_write_buffer_size() + len(block) <= SLACK:
            await write(block)
            return
        async with asyncio.timeout(WRITE_TIMEOUT):
            await write(block)
    except ConnectionError as error:
        raise ClientGone from error
    except TimeoutError as error:
        transport.abort()
        raise ClientGone from error
