"""Cases 14 to 29: bodies that are cut, badly framed, compressed, empty, or more than one."""

from __future__ import annotations

import asyncio
import gzip
from typing import Final

from llmstack.testing.upstream import (
    Peer,
    ScriptedUpstream,
    fin,
    rst,
    send,
    stall,
)
from tests.gateway.faults.case import (
    Answer,
    Case,
    Explained,
    Setup,
    broken,
    every,
    fault,
    fine,
    short,
)
from tests.gateway.faults.spoken import (
    ENDING,
    HEAD,
    LAST,
    ONE,
    OPENING,
    PLAIN,
    SOON,
    TWO,
    WHOLE,
    Said,
    chunk,
    page,
)


__all__ = ["CASES", "EXPLAINED"]

#: The head of a chunk that is longer than what comes.
TOO_LONG: Final = b"fff\r\n"
#: A reply that nobody has asked for.
EXTRA: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ncanary"


def encoded(how: bytes) -> bytes:
    """The head of a stream that claims an encoding."""
    return HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: " + how + b"\r\n\r\n")


def zipped(parts: tuple[Said, ...], end: int | None = None) -> Said:
    """A body that is compressed, up to some of its bytes."""
    return Said(lambda d: gzip.compress(b"".join(part.of(d) for part in parts))[:end])


async def moved(peer: Peer) -> None:
    """Send to another place, which must not be asked: the key is not for it."""
    async with ScriptedUpstream([[stall]]) as elsewhere:
        location = f"Location: {elsewhere.base_url}/chat/completions\r\n".encode()
        await send(page(b"307 Away", b"text/event-stream", b"", location))(peer)
        await asyncio.sleep(0.5)
        assert 0 == elsewhere.connections


#: The body has come to its end, so the connection may be used again.
KEPT: Final = Setup(goes=False)
#: The next request goes over another connection.
IDLE: Final = Setup(goes=False, twice=True)
LATER: Final = (TWO, ENDING, LAST, SOON, EXTRA)
BOMB: Final = gzip.compress(bytes(1 << 20)) * 64

CASES: Final[tuple[Case, ...]] = (
    *fault(14, "end-before-the-first-chunk", (HEAD, fin), "ConnectionLost"),
    *fault(15, "reset-before-the-first-chunk", (HEAD, SOON, rst), "ConnectionLost"),
    *every(16, "fin-between-two-chunks", (fin,), "ConnectionLost"),
    *every(16, "rst-between-two-chunks", (SOON, rst), "ConnectionLost"),
    *every(17, "fin-inside-a-chunk", (TOO_LONG, TWO.part(0, 30).bare(), fin), "ConnectionLost"),
    *every(17, "rst-inside-a-chunk", (TOO_LONG, SOON, rst), "ConnectionLost"),
    Case(
        17,
        "fin-inside-a-chunk-behind-an-event",
        "committed",
        (HEAD, OPENING, ONE, SOON, TOO_LONG, TWO.bare(), TWO.part(0, 30).bare(), fin),
        broken(OPENING, ONE, TWO, cause="ConnectionLost"),
    ),
    *every(18, "bad-chunk-size", (b"xyz\r\ncanary\r\n",), "ProtocolError"),
    *every(18, "bad-end-of-a-chunk", (b"2\r\nda-canary",), "ProtocolError"),
    *short(19, "clean-end-without-terminal", HEAD, LAST),
    *short(20, "end-of-connection", PLAIN, fin),
    *short(20, "end-of-connection-in-an-event", PLAIN, TWO.part(0, 30).bare(), fin),
    *fine(
        20,
        "end-of-connection-behind-the-terminal",
        (PLAIN, *(part.bare() for part in WHOLE), fin),
        setup=Setup(goes=True),
    ),
    *fault(21, "gzip-cut", (encoded(b"gzip"), zipped(WHOLE, -12)), "ProtocolError"),
    *fault(21, "gzip", (encoded(b"gzip"), zipped(WHOLE)), "ProtocolError"),
    *fault(22, "gzip-that-is-none", (encoded(b"gzip"), *WHOLE), "ProtocolError"),
    *fault(23, "unknown-encoding", (encoded(b"canary"), *WHOLE), "ProtocolError"),
    *fault(24, "brotli", (encoded(b"br"), *WHOLE), "ProtocolError"),
    *fault(25, "gzip-bomb", (encoded(b"gzip"), chunk(BOMB)), "ProtocolError"),
    *fault(
        25,
        "gzip-bomb-of-an-error",
        (page(b"500 No", b"application/json", BOMB, b"Content-Encoding: gzip\r\n")[:-9],),
        "ServerError",
    ),
    *fault(
        25,
        "error-without-an-end",
        (HEAD.replace(b"200 OK", b"500 No"), chunk(b"canary" * 10_000) * 100),
        "ServerError",
    ),
    *fault(26, "length-0", (page(b"200 OK", b"text/event-stream", b""),), "EmptyResponse", KEPT),
    *fault(27, "no-content", (b"HTTP/1.1 204 No Content\r\n\r\n",), "EmptyResponse", KEPT),
    *fault(28, "redirect", (moved,), "ProtocolError", KEPT),
    *fine(29, "extra-bytes", (HEAD, *WHOLE, LAST + EXTRA), setup=Setup(goes=True, twice=True)),
    *fine(29, "extra-bytes-later", (HEAD, *WHOLE, LAST, SOON, EXTRA), setup=IDLE),
    Case(29, "extra-bytes", "committed", (HEAD, OPENING, ONE, SOON, *LATER), Answer(), IDLE),
)

EXPLAINED: Final[tuple[Explained, ...]] = (
    Explained((14, 15), ("committed",), "behind a chunk it is case 16"),
    Explained((21, 22, 23, 24, 25), ("committed",), "what is compressed never gets to content"),
    Explained((26, 27, 28), ("committed",), "there is no content"),
)
