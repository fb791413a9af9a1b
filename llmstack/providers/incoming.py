"""A reply as its bytes come in, and its connection until that is over.

Errors: those of `faults`, for no aiohttp exception passes this border.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, final

from aiohttp import ClientError, StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import EmptyStreamReader
from attrs import define, field

from llmstack.errors import ProtocolError
from llmstack.providers.faults import BadFraming, fault_of
from llmstack.providers.wire import Exchange


__all__ = ["Incoming"]

#: Seconds and, by aiohttp's own flow control, 128 KiB that a finished reply may still take
#: to end its body, so that its connection can be used again.
LINGER: Final = 0.25

#: Whether this aiohttp keeps what has come where 3.14 does. In one that does not, bytes that
#: came right before a connection was lost are lost as well.
KNOWN: Final = {
    *("_buffer", "_cursor", "_eof", "_exception", "_http_chunk_splits"),
    *("_loop", "_protocol", "_reading_paused", "_size", "_waiter"),
} <= {*getattr(StreamReader, "__slots__", ()), *getattr(BaseProtocol, "__slots__", ())}

_KEPT: Final = frozenset({"content-type", "x-request-id", "request-id", "openai-processing-ms"})
_KEPT_FAMILIES: Final = ("x-ratelimit-", "anthropic-ratelimit-", "retry-after")


@final
@define(eq=False)
class Incoming:
    """The head of a reply, and its body to be read; whoever has it closes or releases it."""

    response: Exchange = field(repr=False)
    _lost: asyncio.Future[None] | None = field(default=None, init=False, repr=False)
    _linger: asyncio.TimerHandle | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        # Most whole replies have come at once, and their connection is given back already.
        protocol = self.response.connection.protocol
        # aiohttp 3.14.5 tells nobody when it cannot read on in the middle of a body: it
        # closes the connection, and a reader waits for ever. So the loss itself is heard.
        self._lost = None if protocol is None else protocol.closed
        if self._lost is not None:
            self._lost.add_done_callback(self._on_lost)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status

    @property
    def content_type(self) -> str:
        """The media type alone, in lower case."""
        return self.response.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def encoded(self) -> bool:
        """Whether the body is compressed although nobody asked for it."""
        encoding = self.response.headers.get("content-encoding")
        return encoding is not None and encoding.strip().lower() not in {"", "identity"}

    def headers(self) -> dict[str, str]:
        """Return all headers; names in lower case, several values of one joined by commas."""
        found: dict[str, str] = {}
        for name, value in self.response.headers.items():
            key = name.lower()
            found[key] = f"{found[key]}, {value}" if key in found else value
        return found

    def kept(self) -> Mapping[str, str]:
        """Return the headers that go on to the caller; the last of several values."""
        return {
            key: value
            for name, value in self.response.headers.items()
            if (key := name.lower()) in _KEPT or key.startswith(_KEPT_FAMILIES)
        }

    async def chunk(self) -> bytes:
        """Return what has come since, b"" at a clean end.

        What came before the connection was lost is returned before that is told.
        """
        content = self.response.content
        try:
            if not KNOWN or isinstance(content, EmptyStreamReader):
                return await content.readany()
            # `readany` does not do, see `_all_of`. And aiohttp's own `_wait` would add three
            # frames and a timer that is none, to each event.
            while content._buffer or not content._eof:  # noqa: SLF001
                if content._buffer:  # noqa: SLF001
                    return _all_of(content)
                lost = content._exception  # noqa: SLF001
                if lost is None and content._protocol.transport is None:  # noqa: SLF001
                    lost = RuntimeError("the connection is gone, and nobody said why")
                if lost is not None:
                    raise lost
                waiter = content._waiter = content._loop.create_future()  # noqa: SLF001
                try:
                    await waiter
                finally:
                    content._waiter = None  # noqa: SLF001
        except (ClientError, OSError, RuntimeError) as error:
            fault = fault_of(error)
        else:
            return b""
        raise fault

    async def body(self, limit: int) -> bytes:
        """Return the whole body; `ProtocolError` if it is compressed or over *limit* bytes."""
        if self.encoded:
            raise ProtocolError("the body is compressed, which was not asked for")
        parts: list[bytes] = []
        room = limit
        while part := await self.chunk():
            room -= len(part)
            if room < 0:
                raise ProtocolError(f"the body is longer than {limit} bytes")
            parts.append(part)
            if self.response.content.at_eof():  # most bodies have come in one piece
                break
        self._forget()  # at its end aiohttp has given the connection back already
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close the connection, unless the body has ended: then the pool has it. Never raises."""
        self._forget()
        # On a closed loop the first close of a connection unregisters it and fails to schedule
        # the rest; the second one lets go of it.
        for _ in range(2):
            with suppress(RuntimeError):
                self.response.close()

    def release(self) -> None:
        """Let the pool have the connection when the body ends; close it if that takes long."""
        content = self.response.content
        if content.is_eof():
            self._forget()
            return
        try:
            self._linger = asyncio.get_running_loop().call_later(LINGER, self.close)
        except RuntimeError:  # no loop runs any more
            self.close()
        else:
            content.on_eof(self._forget)

    def _forget(self) -> None:
        """Wait for nothing any more."""
        if self._linger is not None:
            self._linger.cancel()
        lost, self._lost = self._lost, None
        if lost is not None:
            lost.remove_done_callback(self._on_lost)
            # Its exception is news to nobody; but asyncio complains of one that nothing has
            # looked at. One callback is enough for all replies of a connection.
            lost.remove_done_callback(_look_at)
            if lost.done():
                _look_at(lost)
            else:
                lost.add_done_callback(_look_at)

    def _on_lost(self, lost: asyncio.Future[None]) -> None:
        _look_at(lost)
        content = self.response.content
        if self._linger is not None:
            self.close()  # the transport was closed meanwhile
        elif not content.is_eof() and content.exception() is None:
            content.set_exception(BadFraming("the connection was closed inside the body"))


def _all_of(content: StreamReader) -> bytes:
    """Return the bytes that are there, whatever has become of the connection.

    aiohttp 3.14.5 spends 1 µs on each HTTP chunk that it hands out, as much as a burst of
    events costs otherwise, and has its parser look for more after each one. So they are taken
    past it, but for the last where it has paused: it must be told to go on.
    """
    buffer = content._buffer  # noqa: SLF001 -- there is no other way
    last = buffer.pop() if content._protocol._reading_paused else b""  # noqa: SLF001
    if len(buffer) == 1:
        most = buffer.popleft()
    else:
        most = b"".join(buffer)
        buffer.clear()
    content._size -= len(most)  # noqa: SLF001
    content._cursor += len(most)  # noqa: SLF001
    if last:
        buffer.append(last)
        return most + content._read_nowait(-1)  # noqa: SLF001
    if content._http_chunk_splits:  # noqa: SLF001
        content._http_chunk_splits.clear()  # noqa: SLF001
    return most


def _look_at(lost: asyncio.Future[None]) -> None:
    if not lost.cancelled():
        lost.exception()
