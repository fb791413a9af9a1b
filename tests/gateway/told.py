"""Asking a gateway in a dialect, with an endpoint behind it that speaks one; bytes, no SDK."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from attrs import frozen

import llmstack as ls
from llmstack.dialects.translator import Piece
from llmstack.testing.upstream import Peer, ScriptedUpstream, Step, expect_request, send
from tests.gateway.answers import Said, body_of, bytes_of, stream_of
from tests.gateway.published import events_in, unchunked
from tests.gateway.stage import connected, get, post, serving


__all__ = [
    "CLOSE",
    "DIALECTS",
    "HEAD",
    "PAIRS",
    "PATHS",
    "TURN",
    "Told",
    "answers",
    "asked",
    "fronted",
    "got",
    "tell",
]


DIALECTS: Final = ("chat", "messages", "responses")
#: Who asks, and what the endpoint speaks.
PAIRS: Final = [
    *((dialect, dialect) for dialect in DIALECTS),
    ("chat", "messages"),
    ("messages", "chat"),
    ("responses", "chat"),
    ("responses", "messages"),
]
PATHS: Final[Mapping[str, str]] = {
    "chat": "/v1/chat/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
}
TURN: Final = {"messages": [{"role": "user", "content": "Hi"}]}
ASKS: Final[Mapping[str, Mapping[str, Any]]] = {
    "chat": TURN,
    "messages": {**TURN, "max_tokens": 64},
    "responses": {"input": "Hi"},
}
CLOSE: Final = "Connection: close"
HEAD: Final = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: %b\r\n\r\n"


def asked(dialect: str, **more: object) -> bytes:
    """A request in a *dialect*, after whose reply the connection is closed."""
    body = json.dumps({"model": "chat", **ASKS[dialect], **more}).encode()
    return post(body, CLOSE, path=PATHS[dialect])


@frozen
class Told:
    """A reply as a client has it; *ended* if its body is whole."""

    status: int
    data: bytes
    ended: bool = True

    @property
    def body(self) -> Mapping[str, Any]:
        """The whole reply."""
        found: Mapping[str, Any] = json.loads(self.data)
        return found

    @property
    def events(self) -> list[Piece]:
        """The same of a stream."""
        return events_in(self.data)


async def tell(url: str, request: bytes) -> Told:
    """Send one request, and read all that comes."""
    reader, writer = await connected(url)
    writer.write(request)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    status = int(head.split(b" ", 2)[1])
    if b"chunked" in head:
        return Told(status, *unchunked(body))
    return Told(status, body)


def answers(dialect: str, said: Said, *, contrary: bool = False) -> list[Step]:
    """An upstream that says *said* in its *dialect*, as it was asked: whole or streamed.

    One that is *contrary* streams what was wanted whole, and the reverse.
    """

    async def answer(peer: Peer) -> None:
        request = json.loads(peer.requests[-1].body)
        if request.get("stream", False) is not contrary:
            kind, data = b"text/event-stream", bytes_of(dialect, stream_of(dialect, said))
        else:
            kind, data = b"application/json", json.dumps(body_of(dialect, said)).encode()
        await send(HEAD % kind + data)(peer)

    return [expect_request, answer]


@asynccontextmanager
async def fronted(speaks: str, *scripts: Sequence[Step], **settings: object) -> AsyncIterator[str]:
    """A gateway in front of one endpoint that speaks one dialect, and plays *scripts*."""
    leaf: Any = ls.Anthropic if speaks == "messages" else ls.OpenAI
    async with ScriptedUpstream(scripts) as upstream:
        endpoint = ls.Endpoint("one", leaf(upstream.base_url))
        builder = ls.ServiceBuilder().layer(ls.Fallback([endpoint]))
        stack = builder.layer(ls.Translate(speaks=[speaks])).service(ls.dispatch)
        async with serving(stack, **settings) as url:
            yield url


def got(path: str) -> bytes:
    """A request without a body, after whose reply the connection is closed."""
    return get(path).replace(b"Host", CLOSE.encode() + b"\r\nHost")
