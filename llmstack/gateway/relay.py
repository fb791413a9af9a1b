"""A stream on its way to the client: events as they come, and an end that cannot be missed.

What is there already goes out in one write. A stream that breaks ends with one error event
and without the terminating chunk, because some clients look for only one of the two signs.
A client that has left, or takes nothing for 30 seconds, is no error: the
stream is closed, and that closes the connection upstream.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from llmstack.call import Call
from llmstack.gateway.desk import Desk
from llmstack.gateway.errors import Problem
from llmstack.gateway.whole import SLACK, patience
from llmstack.messages import EventStream


__all__ = ["relay"]

#: Seconds for a client to take what has been written when its connection is closed.
LAST: Final = 5.0


class _ClientGone(Exception):
    """Nobody takes this reply any more."""


async def relay(
    desk: Desk,
    request: web.BaseRequest,
    response: web.StreamResponse,
    stream: EventStream,
    call: Call,
) -> None:
    """Write all events of *stream*, and then its end or its error."""
    try:
        await _prepare(request, response)
        await _pass_on(request, response, stream)
    except _ClientGone:
        return
    except asyncio.CancelledError as cancelled:
        problem = desk.last_word(cancelled)
    except Exception as error:  # noqa: BLE001 -- the edge: whatever it is, it is told
        problem = desk.problem_of(error, call.id, call.sent)
    else:
        return
    await _break_off(request, response, problem, call.id)


async def _prepare(request: web.BaseRequest, response: web.StreamResponse) -> None:
    try:
        await response.prepare(request)
    except ConnectionError as error:
        raise _ClientGone from error


async def _pass_on(
    request: web.BaseRequest, response: web.StreamResponse, stream: EventStream
) -> None:
    block: list[bytes] = []
    async for event in stream:
        block.append(event.raw)
        if not stream.at_hand:
            await _write(request, response, b"".join(block), last=stream.ended is not None)
            block.clear()
    await _write(request, response, b"", last=True)


async def _break_off(
    request: web.BaseRequest, response: web.StreamResponse, problem: Problem, request_id: str
) -> None:
    """Say in the stream what went wrong, and close the connection behind it."""
    event = b"data: " + problem.body(request_id) + b"\n\n"
    try:
        transport = await _write(request, response, event, last=False)
    except _ClientGone:
        return
    transport.close()  # what has been written is sent first
    if transport.get_write_buffer_size():
        asyncio.get_running_loop().call_later(LAST, transport.abort)


async def _write(
    request: web.BaseRequest, response: web.StreamResponse, block: bytes, *, last: bool
) -> asyncio.Transport:
    """Write *block* and return what it was written to, or raise `_ClientGone`."""
    transport = request.transport
    if transport is None:
        raise _ClientGone
    write = response.write_eof if last else response.write
    try:
        if transport.get_write_buffer_size() + len(block) <= SLACK:
            await write(block)
        else:
            with patience(transport):
                await write(block)
    except ConnectionError as error:
        raise _ClientGone from error
    return transport
