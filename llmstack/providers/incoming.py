"""A reply as its bytes come in, and what aiohttp's complaints mean in our words.

This is the border: no aiohttp exception passes it. Ours say nothing that the other side
has said, and of aiohttp's only those are kept as a cause that hold neither request
headers, which have the key, nor bytes of the provider.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, final

from aiohttp import (
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientOSError,
    ClientPayloadError,
    ClientResponseError,
    ConnectionTimeoutError,
    ServerDisconnectedError,
    StreamReader,
)
from aiohttp.http_exceptions import HttpProcessingError
from attrs import define, field

from llmstack.errors import (
    ConnectionFailed,
    ConnectionLost,
    ProtocolError,
    UpstreamError,
    UpstreamTimeout,
)
from llmstack.providers.wire import Exchange


__all__ = ["BadFraming", "Incoming", "fault_of"]


class BadFraming(ClientPayloadError):
    """The body of a reply cannot be told from what is around it."""


#: Seconds and, by aiohttp's own flow control, 128 KiB that a finished reply may still take
#: to end its body, so that its connection can be used again.
LINGER: Final = 0.25
#: HTTP chunks that aiohttp may hand out itself.
FEW: Final = 4

#: Their texts have addresses and numbers only.
_HARMLESS: Final = (ClientConnectorError, ConnectionTimeoutError, ClientOSError, ClientPayloadError)

#: The first row that fits counts.
_MEANINGS: Final[Sequence[tuple[tuple[type[Exception], ...], type[UpstreamError], str]]] = (
    ((ClientConnectorDNSError,), ConnectionFailed, "the name of the host is not known"),
    ((ServerDisconnectedError,), ConnectionLost, "the connection was closed before a reply"),
    (
        (HttpProcessingError, ClientResponseError, BadFraming, RuntimeError),
        *(ProtocolError, "the reply is not HTTP"),
    ),
    ((ClientPayloadError,), ConnectionLost, "the connection was cut inside the reply"),
)

_KEPT: Final = frozenset({"content-type", "x-request-id", "request-id", "openai-processing-ms"})
_KEPT_FAMILIES: Final = ("x-ratelimit-", "anthropic-ratelimit-", "retry-after")


def fault_of(error: Exception) -> UpstreamError:
    """Say in our words what *error* of aiohttp means; never raises."""
    fault = _translated(error)
    if isinstance(error, _HARMLESS):
        fault.__cause__ = _without_frames(error)
    return fault


def _translated(error: Exception) -> UpstreamError:
    if isinstance(error, ConnectionTimeoutError):
        return UpstreamTimeout("the connection was not made in time", phase="connect")
    # With no words of its own it carries the head that was cut, as far as it came.
    if isinstance(error, ServerDisconnectedError) and not isinstance(error.message, str):
        return ProtocolError("the connection was closed inside the head of the reply")
    for kinds, meaning, words in _MEANINGS:
        if isinstance(error, kinds):
            return meaning(words)
    if isinstance(error, ClientConnectorError):
        return ConnectionFailed(f"could not connect{_reason(error.__cause__ or error)}")
    return ConnectionLost(f"the connection was lost{_reason(error)}")


def _reason(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    name = errno.errorcode.get(number) if isinstance(number, int) else None
    return f" ({name or type(error).__name__})"


def _without_frames(error: BaseException) -> BaseException:
    """Return *error* without its traceback and causes: their locals hold the request."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


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
            while not content.at_eof():
                if content._buffer:  # noqa: SLF001 -- `readany` does not do, see `_all_of`
                    return _all_of(content)
                lost = content.exception()
                if lost is not None:
                    raise lost
                await content._wait("chunk")  # noqa: SLF001 -- the same
        # aiohttp raises a RuntimeError where the connection is gone and nobody said why.
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
    events costs otherwise. So all but the last are taken past it.
    """
    buffer = content._buffer  # noqa: SLF001 -- there is no other way
    most = b""
    if len(buffer) > FEW:
        last = buffer.pop()
        most = b"".join(buffer)
        buffer.clear()
        buffer.append(last)
        content._size -= len(most)  # noqa: SLF001
        content._cursor += len(most)  # noqa: SLF001
    return most + content._read_nowait(-1)  # noqa: SLF001


def _look_at(lost: asyncio.Future[None]) -> None:
    if not lost.cancelled():
        lost.exception()
