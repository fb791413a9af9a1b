"""Cases 1 to 13 and 70: the way to an endpoint, and the head of its reply."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from ssl import SSLContext
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult
from attrs import define

from llmstack.providers.transport import Transport
from llmstack.testing.upstream import ScriptedUpstream, Step, expect_request, fin, rst, sleep
from tests.gateway.faults.case import Case, Explained, Place, Setup, fault, fine
from tests.gateway.faults.certificates import HOST, knowing, presenting
from tests.gateway.faults.spoken import HEAD, LAST, WHOLE


__all__ = ["CASES", "EXPLAINED", "Names", "named"]

OK: Final = b"HTTP/1.1 200 OK\r\n"
SSE: Final = OK + b"Content-Type: text/event-stream\r\n"
FOLDED: Final = HEAD.replace(b"X-Request-Id: req-up", b"X-Request-Id: a\n smuggled: b")
USED_BEFORE: Final = (HEAD, *WHOLE, LAST, expect_request)
EARLY: Final = b"HTTP/1.1 102 Processing\r\n\r\n"


@asynccontextmanager
async def refusing(_script: Sequence[Step]) -> AsyncIterator[Place]:
    """A port at which nobody listens."""
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        yield Place(f"http://127.0.0.1:{own.getsockname()[1]}/v1")


@asynccontextmanager
async def full(_script: Sequence[Step]) -> AsyncIterator[Place]:
    """A port whose queue is full, so that the kernel drops who wants to connect."""
    with ExitStack() as opened:
        own = opened.enter_context(socket.socket())
        own.bind(("127.0.0.1", 0))
        own.listen(0)
        for _ in range(2):
            other = opened.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(own.getsockname())
        yield Place(f"http://127.0.0.1:{own.getsockname()[1]}/v1")


@define(eq=False)
class Names(AbstractResolver):
    """Knows where one host is; the first *lost* times not even that."""

    host: str = ""
    lost: int = 0
    asked: int = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        if host != self.host or self.asked <= self.lost:
            raise OSError(None, "canary")
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        """Nothing is held."""


@asynccontextmanager
async def nowhere(_script: Sequence[Step]) -> AsyncIterator[Place]:
    """A name that nobody knows."""
    yield Place("http://canary.test/v1", Transport(resolver=Names()))


@asynccontextmanager
async def named(
    script: Sequence[Step], trusted: SSLContext | None, host: str = ""
) -> AsyncIterator[Place]:
    """An endpoint with a certificate for `HOST`; those who ask go by *trusted*."""
    async with ScriptedUpstream([script], ssl=presenting()) as upstream:
        url = upstream.base_url.replace("127.0.0.1", host) if host else upstream.base_url
        yield Place(url, Transport(ssl=trusted, resolver=Names(HOST)))


@asynccontextmanager
async def without_tls(script: Sequence[Step]) -> AsyncIterator[Place]:
    """An endpoint that speaks HTTP where TLS is wanted."""
    async with ScriptedUpstream([script]) as upstream:
        yield Place(upstream.base_url.replace("http:", "https:"))


def head(
    number: int, name: str, *parts: bytes | Step, error: str = "ProtocolError"
) -> tuple[Case, ...]:
    """Something wrong in the head of the reply."""
    return fault(number, name, parts, error)


CASES: Final[tuple[Case, ...]] = (
    *fault(1, "connection-refused", (), "ConnectionFailed", Setup(place=refusing)),
    *fault(2, "unknown-name", (), "ConnectionFailed", Setup(place=nowhere)),
    *fault(3, "connect-hangs", (), "UpstreamTimeout", Setup(place=full, took=3.0)),
    *fault(
        4,
        "certificate-of-a-stranger",
        (),
        "ConnectionFailed",
        Setup(place=partial(named, trusted=None, host=HOST)),
    ),
    *fault(
        4,
        "certificate-of-another-host",
        (),
        "ConnectionFailed",
        Setup(place=lambda script: named(script, knowing())),
    ),
    *fault(
        4,
        "no-handshake",
        (b"HTTP/1.1 400 Bad Request\r\n\r\n",),
        "ConnectionFailed",
        Setup(place=without_tls, asks=False),
    ),
    *fine(
        4,
        "good-certificate",
        (HEAD, *WHOLE, LAST),
        setup=Setup(place=lambda script: named(script, knowing(), HOST)),
    ),
    *fault(5, "silent", (), "UpstreamTimeout", Setup(took=10.0)),
    *fault(6, "reset-on-accept", (rst,), "ConnectionLost", Setup(asks=False)),
    *head(7, "end-before-a-byte", fin, error="ConnectionLost"),
    *fault(7, "end-on-a-used-connection", (*USED_BEFORE, fin), "ConnectionLost", Setup(warm=True)),
    *head(8, "reset-before-a-byte", rst, error="ConnectionLost"),
    *head(9, "end-inside-the-head", SSE + b"X-Canary: canary\r\n", fin),
    *head(10, "garbage", b"canary of garbage\r\n\r\n"),
    *head(10, "body-without-a-head", b'{"choices": "canary"}\n', fin),
    *head(11, "long-header", SSE + b"X-Canary: " + b"a" * 9000 + b"\r\n\r\n"),
    *head(11, "many-headers", SSE + b"X-Canary: 1\r\n" * 300 + b"\r\n"),
    *head(12, "two-lengths", SSE + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\ndata: x\n\n"),
    *head(
        12,
        "length-and-chunks",
        HEAD.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n") + b"5\r\ndata:\r\n",
    ),
    *fault(
        13,
        "early-heads-for-ever",
        (EARLY * 2000, *(sleep(1.0), EARLY) * 12),
        "UpstreamTimeout",
        Setup(took=10.0),
    ),
    *fine(13, "early-heads", (EARLY * 2000, HEAD, *WHOLE, LAST)),
    *head(70, "nul-in-a-header", SSE + b"X-Canary: a\x00canary\r\nContent-Length: 0\r\n\r\n"),
    *head(70, "cr-in-a-header", SSE + b"X-Request-Id: a\rcanary: b\r\nContent-Length: 0\r\n\r\n"),
    *fine(70, "folded-header", (FOLDED, *WHOLE, LAST)),
)

EXPLAINED: Final[tuple[Explained, ...]] = (
    Explained((1, 2, 3, 4, 6), ("committed",), "content comes over a connection"),
    Explained((5, 7, 8, 9, 10, 11, 12, 13, 70), ("committed",), "content comes behind a head"),
)
