"""What upstreams say: pieces of an answer, in the dialect of the case, and their framing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, final

from attrs import frozen

from llmstack.testing.upstream import Peer, Step, send, sleep
from tests.gateway.faults.dialects import Dialect


__all__ = [
    "DONE",
    "ENDING",
    "FINISH",
    "HEAD",
    "LAST",
    "ONE",
    "OPENING",
    "PING",
    "PLAIN",
    "REST",
    "SOON",
    "TWO",
    "USAGE",
    "WHOLE",
    "Drip",
    "Flood",
    "Part",
    "Said",
    "chunk",
    "on_the_wire",
    "page",
]


def chunk(data: bytes) -> bytes:
    """A chunk of the transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@final
@frozen
class Said:
    """Something that is said in the dialect of the case; one chunk on the wire, if *framed*."""

    of: Callable[[Dialect], bytes]
    framed: bool = True

    def __add__(self, other: Said) -> Said:
        return Said(lambda d: self.of(d) + other.of(d), self.framed)

    def part(self, start: int | None, end: int | None = None) -> Said:
        """The bytes of it between two places."""
        return Said(lambda d: self.of(d)[start:end], self.framed)

    def lines(self, end: bytes) -> Said:
        """The same with another end of each line."""
        return self.swapped(b"\n", end)

    def bare(self) -> Said:
        """The same without the framing of a chunk."""
        return Said(self.of, framed=False)

    def torn(self, mark: bytes, behind: int = 0) -> tuple[Said, Said]:
        """What comes before *mark*, or so many bytes *behind* its start, and the rest."""
        return (
            Said(lambda d: self.of(d)[: self.of(d).rindex(mark) + behind], self.framed),
            Said(lambda d: self.of(d)[self.of(d).rindex(mark) + behind :], self.framed),
        )

    def swapped(self, old: bytes, new: bytes) -> Said:
        """The same with other bytes in place of some."""
        return Said(lambda d: self.of(d).replace(old, new), self.framed)


@final
@frozen
class Drip:
    """The same byte by byte, one in so many *seconds*; with 0 as soon as the last was read."""

    said: Said
    seconds: float = 0.0

    def step(self, dialect: Dialect) -> Step:
        """What the upstream does."""
        data = self.said.of(dialect)

        async def dripping(peer: Peer) -> None:
            for byte in data:
                await send(chunk(bytes([byte])))(peer)
                for _ in range(1 if self.seconds else 5):
                    await asyncio.sleep(self.seconds)

        return dripping


@final
@frozen
class Flood:
    """The same without an end; fewer than *most* bytes may be taken."""

    said: Said
    most: int

    def step(self, dialect: Dialect) -> Step:
        """What the upstream does."""
        data = self.said.of(dialect)
        block = chunk(data) if self.said.framed else data

        async def flooding(peer: Peer) -> None:
            taken = 0
            while True:
                await send(block)(peer)
                taken += len(block)
                assert taken < self.most

        return flooding


Part = bytes | Step | Said | Drip | Flood

HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"X-Request-Id: req-up\r\nTransfer-Encoding: chunked\r\n\r\n"
)
#: The head of a body that ends with the connection.
PLAIN: Final = HEAD.replace(b"Transfer-Encoding: chunked", b"Connection: close")
LAST: Final = b"0\r\n\r\n"

#: What the gateway says to a caller that waits.
PING: Final = Said(lambda d: d.ping)

#: So that what was sent before has been read, and has gone on to the caller.
SOON: Final = sleep(0.02)

OPENING: Final = Said(lambda d: d.opening())
ONE: Final = Said(lambda d: d.text("one "))
TWO: Final = Said(lambda d: d.text("two"))
FINISH: Final = Said(lambda d: d.finish())
USAGE: Final = Said(lambda d: d.usage(3, 2))
DONE: Final = Said(lambda d: d.last())
ENDING: Final = FINISH + USAGE + DONE
REST: Final = (TWO, ENDING)
WHOLE: Final = (OPENING, ONE, TWO, ENDING)


def on_the_wire(part: Part, dialect: Dialect) -> bytes | Step:
    """What an upstream does for *part*."""
    if isinstance(part, (Drip, Flood)):
        return part.step(dialect)
    if isinstance(part, Said):
        data = part.of(dialect)
        # A chunk of no bytes would be the last one.
        return chunk(data) if part.framed and data else data
    return part


def page(status: bytes, kind: bytes, body: bytes, more: bytes = b"") -> bytes:
    """A whole reply."""
    about = b"Content-Type: %b\r\nContent-Length: %d\r\n" % (kind, len(body))
    return b"HTTP/1.1 %b\r\n%b%b\r\n%b" % (status, about, more, body)
