"""Every body and every event that the gateway sends is one that its dialect has."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from attrs import frozen

import llmstack as ls
from llmstack import errors
from llmstack.dialects.translator import Piece
from llmstack.messages import Request
from llmstack.testing.provider import FakeProvider
from llmstack.testing.scripted import ScriptedEvent, ScriptedSource
from llmstack.testing.upstream import Peer, ScriptedUpstream, Step, expect_request, send, sleep
from tests.gateway.answers import ANSWERS, Said, body_of, bytes_of, heard, stream_of
from tests.gateway.published import (
    check_count,
    check_embeddings,
    check_error,
    check_last_word,
    check_models,
    check_reply,
    check_stream,
    events_in,
    unchunked,
)
from tests.gateway.stage import Answer, connected, get, over, post, run, serving, talk


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
COUNTED: Final = {"stream_options": {"include_usage": True}}
ONE: Final = {"type": "object", "properties": {"place": {"type": "string"}}}
#: Settings that a response repeats.
RICH: Final = {
    "instructions": "be brief",
    "tools": [{"type": "function", "name": "look_up", "parameters": ONE}],
    "temperature": 0.5,
    "metadata": {"a": "b"},
    "reasoning": {"effort": "low"},
    "max_output_tokens": 64,
}
HEAD: Final = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: %b\r\n\r\n"


def asked(dialect: str, **more: object) -> bytes:
    """A request in a *dialect*, after whose reply the connection is closed."""
    body = json.dumps({"model": "chat", **ASKS[dialect], **more}).encode()
    return post(body, "Connection: close", path=PATHS[dialect])


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


def answers(dialect: str, said: Said) -> list[Step]:
    """An upstream that says *said* in its *dialect*, as it was asked: whole, streamed, counted."""

    async def answer(peer: Peer) -> None:
        request = json.loads(peer.requests[-1].body)
        counted = bool((request.get("stream_options") or {}).get("include_usage"))
        if request.get("stream"):
            pieces = stream_of(dialect, said, counted=counted)
            kind, data = b"text/event-stream", bytes_of(dialect, pieces)
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


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize(("asks", "speaks"), PAIRS)
def test_an_answer_is_one_that_the_dialect_has(asks: str, speaks: str, kind: str) -> None:
    """Whole, and as a stream, with its usage asked for or not; and nothing of it is lost."""
    said = ANSWERS[kind]
    more = RICH if asks == "responses" else {}

    async def main() -> list[Told]:
        async with fronted(speaks, answers(speaks, said)) as url:
            return [
                await tell(url, asked(asks, **more)),
                await tell(url, asked(asks, stream=True, **more)),
                await tell(url, asked(asks, stream=True, **({"chat": COUNTED}.get(asks, more)))),
            ]

    whole, streamed, counted = run(main())
    counts = said.counts or speaks == "messages"
    words, tokens = said.text + said.refusal, (20, said.cached, 5) if counts else (0, 0, 0)
    expected = (words, said.ids(), tokens)

    assert [200, 200, 200] == [whole.status, streamed.status, counted.status]
    check_reply(asks, whole.body)
    assert expected == heard(asks, whole.body)
    got = heard(asks, check_stream(asks, streamed.events))
    assert (*expected[:2], (0, 0, 0) if asks == "chat" else tokens) == got
    is_counted = asks == "chat" and counts
    assert expected == heard(asks, check_stream(asks, counted.events, counted=is_counted))


def cut(dialect: str, events: Sequence[Piece], at: int, ending: bytes) -> list[Step]:
    """An upstream that says *events* up to a place, then *ending*, and hangs up in good order."""
    data = bytes_of(dialect, events[:at], whole=False) + ending
    return [expect_request, send(HEAD % b"text/event-stream" + data)]


FAULTS: Final[Mapping[str, bytes]] = {
    "chat": b'data: {"error": {"message": "no", "type": "server_error", "code": null}}\n\n',
    "messages": b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error",'
    b' "message": "no"}}\n\n',
    "responses": b'event: error\ndata: {"type": "error", "code": "server_error", "message": "no",'
    b' "param": null, "sequence_number": 99}\n\n',
}


@pytest.mark.parametrize("ending", ["silent", "error"])
@pytest.mark.parametrize(("asks", "speaks"), PAIRS)
def test_a_stream_that_breaks_anywhere_is_one_that_the_dialect_has(
    asks: str, speaks: str, ending: str
) -> None:
    """An error reply, or a stream with a last word; nothing that ends it comes before that."""
    events = stream_of(speaks, ANSWERS["text and a call"])
    last = FAULTS[speaks] if ending == "error" else b""
    scripts = [cut(speaks, events, at, last) for at in range(len(events))]

    async def main() -> list[Told]:
        async with fronted(speaks, *scripts) as url:
            return [await tell(url, asked(asks, stream=True)) for _ in scripts]

    replies = run(main())
    broken = [reply for reply in replies if reply.status == 200 and not reply.ended]
    refused = [reply for reply in replies if reply.status != 200]

    assert refused
    assert broken
    for reply in refused:
        check_error(asks, reply.body)
    for reply in broken:
        check_last_word(asks, reply.events)
    for reply in replies:
        # What a chat says behind its finish is not missed.
        if reply not in broken and reply not in refused:
            assert "chat" == speaks
            check_stream(asks, reply.events)
