"""An upstream that plays a script, byte by byte: for what no decent server would do.

`ScriptedUpstream` listens on 127.0.0.1. Each connection plays one list of steps, the
first connection the first list, and so on; the last list is for all that come after. A
step is an async function of the `Peer`; those here are `expect_request`, `send`, `sleep`,
`fin`, `rst`, `stall` and `expect_disconnect`. When a script is over, or the block is
left, the connection is closed.

Errors: `Unexpected`, raised when the block is left, if a peer did not do what the script
expects of it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Self, cast, final

from attrs import define, field, frozen


__all__ = [
    "Peer",
    "Received",
    "ScriptedUpstream",
    "Step",
    "Unexpected",
    "expect_disconnect",
    "expect_request",
    "fin",
    "reset",
    "rst",
    "send",
    "sleep",
    "stall",
]

#: Bytes that are read at once where only the end is waited for.
BLOCK: Final = 1 << 16


class Unexpected(AssertionError):
    """A peer did not do what the script expects."""


@final
@frozen
class Received:
    """One request as it came; names of headers are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@final
@frozen(eq=False)
class Peer:
    """The other side of one connection, as a step sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    requests: list[Received]


Step = Callable[[Peer], Awaitable[None]]


async def expect_request(peer: Peer) -> None:
    """Read one HTTP request with its body, and keep it in `ScriptedUpstream.requests`."""
    try:
        head = await peer.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        fields = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in fields}
        body = await peer.reader.readexactly(int(headers.get("content-length", "0")))
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise Unexpected("the peer left before its request was complete") from error
    method, path, _ = first.split(" ", 2)
    peer.requests.append(Received(method, path, headers, body))


def send(data: bytes) -> Step:
    """Return the step that writes *data*, and waits until the kernel has it."""

    async def step(peer: Peer) -> None:
        peer.writer.write(data)
        await peer.writer.drain()

    return step


def sleep(seconds: float) -> Step:
    """Return the step that waits *seconds* of the loop's time."""

    async def step(_peer: Peer) -> None:
        await asyncio.sleep(seconds)

    return step


async def fin(peer: Peer) -> None:
    """Say that nothing more will come, in good order; what the peer sends is still read."""
    peer.writer.write_eof()


async def rst(peer: Peer) -> None:
    """Reset the connection."""
    reset(peer.writer.transport)


async def stall(peer: Peer) -> None:
    """Say nothing until the peer leaves."""
    with suppress(ConnectionError):
        while await peer.reader.read(BLOCK):
            pass


def expect_disconnect(within: float) -> Step:
    """Return the step that waits for the peer to leave, *within* so many seconds."""

    async def step(peer: Peer) -> None:
        try:
            async with asyncio.timeout(within):
                await stall(peer)
        except TimeoutError as error:
            raise Unexpected(f"the peer is still there after {within} s") from error

    return step


def reset(transport: asyncio.WriteTransport) -> None:
    """Close the connection of *transport* with RST, dropping what was not sent."""
    own: socket.socket = transport.get_extra_info("socket")
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


@final
@define(eq=False)
class ScriptedUpstream:
    """A TCP server that plays *scripts*, one for each connection; use it as ``async with``.

    With *ssl* it speaks TLS, and a connection whose handshake fails is not counted.
    """

    scripts: Sequence[Sequence[Step]]
    ssl: ssl.SSLContext | None = field(default=None, kw_only=True, repr=False)

    connections: int = field(default=0, init=False)
    requests: list[Received] = field(factory=list, init=False)
    port: int = field(default=0, init=False)
    _surprises: list[Unexpected] = field(factory=list, init=False)
    _playing: set[asyncio.Task[Any]] = field(factory=set, init=False)
    _server: asyncio.Server = field(init=False)

    @property
    def base_url(self) -> str:
        """Where it listens, as clients of the OpenAI format want it."""
        return f"http{'' if self.ssl is None else 's'}://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._play, "127.0.0.1", 0, ssl=self.ssl)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: object, _error: object, _trace: object) -> None:
        """Stop listening, end the scripts that still play, and say what was unexpected."""
        self._server.close()
        for task in self._playing:
            task.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)
        if self._surprises and kind is None:
            raise self._surprises[0]

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._playing.add(task)
        # With 0 the TLS of asyncio pauses at every other write, and nothing wakes it up again.
        writer.transport.set_write_buffer_limits(0 if self.ssl is None else 1)
        peer = Peer(reader, writer, self.requests)
        try:
            for step in script:
                await step(peer)
        except Unexpected as error:
            self._surprises.append(error)
        except (ConnectionError, asyncio.CancelledError):
            # The peer left first, which is its right; or the block is left. On 3.11 asyncio
            # complains of a connection whose task ends cancelled.
            pass
        finally:
            self._playing.discard(task)
            writer.close()
            lost = reader.exception()
            if lost is not None:
                # Its frames hold the connection, which holds it. In such a cycle asyncio may
                # complain of an exception that nobody has looked at.
                lost.__traceback__ = None
