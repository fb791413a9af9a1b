"""A stream on its way to the client: events as they come, and an end that cannot be missed.

What is there already goes out in one write. A stream that breaks ends with one error event
and without the terminating chunk, because some clients look for only one of the two signs.
While it says nothing, a ping now and then keeps the way to the client open. A client that
has left, or takes nothing for ``write_timeout`` seconds, is no error: the stream is closed, and
that closes the connection upstream. Until then nothing more is read there than is written
here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, final

from aiohttp import web
from attrs import define, field

from llmstack import clock
from llmstack.call import Call
from llmstack.gateway.desk import Desk
from llmstack.gateway.front import Front
from llmstack.gateway.whole import PIECE, SLACK, patience
from llmstack.messages import EventStream


__all__ = ["relay"]

#: Seconds for a client to take what has been written when its connection is closed.
LAST: Final = 5.0


class _ClientGone(Exception):
    """Nobody takes this reply any more."""


async def relay(
    desk: Desk,
    front: Front,
    request: web.BaseRequest,
    response: web.StreamResponse,
    stream: EventStream,
    call: Call,
) -> None:
    """Write all events of *stream*, and then its end or its error."""
    client = _Client(request, response, desk.gateway.write_timeout)
    tell = front.watch(stream)
    if desk.gateway.ping_after:
        _Ping(client, stream, front.ping, desk.gateway.ping_after).start()
    try:
        await client.prepare()
        while (block := await stream.block()) is not None:
            await client.write(block, last=stream.ended is not None and _is_whole(stream))
        await client.write(b"", last=True)
    except _ClientGone:
        return
    except asyncio.CancelledError as cancelled:
        problem = desk.last_word(cancelled)
    except Exception as error:  # noqa: BLE001 -- the edge: whatever it is, it is told
        problem = desk.problem_of(error, call.id, call.sent)
    else:
        return
    # Nothing comes behind a terminal, even if the client has not taken it yet.
    client.break_off(b"" if _is_whole(stream) else tell(problem, call.id))


def _is_whole(stream: EventStream) -> bool:
    """Whether the terminal has been read, so that nothing is missing."""
    return stream.ended is not None and stream.ended.how == "ok"


@final
@define(eq=False)
class _Client:
    """Whoever takes the reply; each write raises `_ClientGone` if nobody does."""

    request: web.BaseRequest
    response: web.StreamResponse
    seconds: float
    rest: memoryview = field(default=memoryview(b""), init=False)  # begun, and not yet written
    over: bool = field(default=False, init=False)  # the end was written, and is not taken yet

    async def prepare(self) -> None:
        """Write the head of the reply, with the first block."""
        try:
            await self.response.prepare(self.request)
        except ConnectionError as error:
            raise _ClientGone from error

    async def write(self, block: bytes, *, last: bool) -> None:
        """Write *block*, and behind the *last* one the end of the reply."""
        transport = self.request.transport
        if transport is None:
            raise _ClientGone
        try:
            if transport.get_write_buffer_size() + len(block) > SLACK:
                await self._in_pieces(transport, block, last=last)
            elif last:
                self.over = True
                await self.response.write_eof(block)
            else:
                await self.response.write(block)
        except ConnectionError as error:
            raise _ClientGone from error

    async def _in_pieces(self, transport: asyncio.Transport, block: bytes, *, last: bool) -> None:
        """Wait for the client to take *block*; with each piece its time runs anew."""
        self.rest = memoryview(block)
        while self.rest:
            piece, self.rest = self.rest[:PIECE], self.rest[PIECE:]
            with patience(transport, self.seconds):
                await self.response.write(piece)
        if last:
            self.over = True
            with patience(transport, self.seconds):
                await self.response.write_eof()

    def break_off(self, event: bytes) -> None:
        """Write what was begun, and *event*; without one, the end. Then close the connection."""
        transport = self.request.transport
        if transport is None:
            return
        rest = bytes(self.rest)
        if not self.over:
            _push(self.response.write(rest + event) if event else self.response.write_eof(rest))
        transport.close()  # what has been written is sent first
        if transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(LAST, transport.abort)

    def ping(self, event: bytes) -> None:
        """Write *event* if the client has taken everything else."""
        transport = self.request.transport
        if transport is not None and not transport.get_write_buffer_size():
            _push(self.response.write(event))


def _push(writing: Coroutine[Any, Any, None]) -> None:
    """Let *writing* begin, which is all: it then only waits for the client to take it."""
    # After a wait that was cancelled, aiohttp's next one is cancelled at once.
    with suppress(StopIteration, ConnectionError, asyncio.CancelledError):
        writing.send(None)
    writing.close()


@final
@define(eq=False)
class _Ping:
    """Writes *event* whenever the stream has been waited for for so many *seconds*.

    A timer an event would cost more than the event. So there is one, which looks when the
    present wait would be long enough and is set to that point.
    """

    client: _Client
    stream: EventStream
    event: bytes
    seconds: float
    since: float = field(factory=clock.now, init=False)  # of the present wait, or the last ping
    timer: asyncio.TimerHandle = field(init=False)

    def start(self) -> None:
        """Set the timer, and take it back at the stream's end."""
        self._set()
        self.stream.on_end(lambda _outcome: self.timer.cancel())

    def _set(self) -> None:
        self.timer = asyncio.get_running_loop().call_at(self.since + self.seconds, self._look)

    def _look(self) -> None:
        now, waiting_since = clock.now(), self.stream.waiting_since
        # Nobody waits for the stream while something is being written.
        self.since = now if waiting_since is None else waiting_since
        if self.since + self.seconds <= now:
            self.client.ping(self.event)
            self.since = now
        self._set()
