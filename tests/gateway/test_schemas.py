"""Every body and every event that the gateway sends is one that its dialect has."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from attrs import frozen

import llmstack as ls
from llmstack import errors
from llmstack.dialects.translator import Piece
from llmstack.testing import anthropic_wire, openai_wire
from llmstack.testing.provider import FakeProvider
from llmstack.testing.scripted import ScriptedEvent, ScriptedService, ScriptedSource, echo
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
from tests.gateway.stage import connected, get, over, post, run, serving
from tests.openapi import wrong


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


def answers(dialect: str, said: Said, *, contrary: bool = False) -> list[Step]:
    """An upstream that says *said* in its *dialect*, as it was asked: whole, streamed, counted.

    One that is *contrary* streams what was wanted whole, and the reverse.
    """

    async def answer(peer: Peer) -> None:
        request = json.loads(peer.requests[-1].body)
        counted = contrary or bool((request.get("stream_options") or {}).get("include_usage"))
        if request.get("stream", False) is not contrary:
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


@pytest.mark.parametrize("contrary", [False, True], ids=["", "contrary"])
@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize(("asks", "speaks"), PAIRS)
def test_an_answer_is_one_that_the_dialect_has(
    asks: str, speaks: str, kind: str, contrary: bool
) -> None:
    """Whole, and as a stream, with its usage asked for or not; and nothing of it is lost."""
    said = ANSWERS[kind]
    more = RICH if asks == "responses" else {}

    async def main() -> list[Told]:
        async with fronted(speaks, answers(speaks, said, contrary=contrary)) as url:
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


def raised() -> list[Exception]:
    """One error of each kind, and one that nobody foresaw."""
    kinds = [getattr(errors, name) for name in errors.__all__]
    found = [each for each in kinds if isinstance(each, type) and issubclass(each, Exception)]
    return [*(kind("what happened") for kind in found), OSError("a bug")]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_error_is_one_that_the_dialect_has(dialect: str, stream: bool) -> None:
    """Whatever a stack raises before there is content."""
    told = raised()
    service: ScriptedService[Any, Any] = ScriptedService(told)

    async def main() -> list[Told]:
        async with serving(over(service)) as url:
            return [await tell(url, asked(dialect, stream=stream)) for _ in told]

    replies = run(main())

    assert {400, 402, 413, 429, 500, 502, 503, 504} == {reply.status for reply in replies}
    for reply in replies:
        check_error(dialect, reply.body)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_last_word_is_one_that_the_dialect_has(dialect: str) -> None:
    """Whatever a stack raises after there was content; no terminating chunk comes behind it."""
    told = raised()
    pieces = stream_of(dialect, ANSWERS["text"])
    begun = next(at for at, (_, data) in enumerate(pieces, 1) if "two words" in json.dumps(data))
    held = [
        ScriptedEvent(
            json.dumps(data).encode(), name, bytes_of(dialect, [(name, data)], whole=False)
        )
        for name, data in pieces[:begun]
    ]
    left = iter(told)

    async def begins(_request: ls.Request) -> ls.EventStream:
        return ls.EventStream(ScriptedSource([next(left)]), held=held)

    async def main() -> list[Told]:
        async with serving(over(begins)) as url:
            return [await tell(url, asked(dialect, stream=True)) for _ in told]

    for reply in run(main()):
        assert (200, False) == (reply.status, reply.ended)
        assert pieces[:begun] == reply.events[:-1]
        check_last_word(dialect, reply.events)


def test_a_response_of_which_nothing_was_said_ends_with_an_error() -> None:
    """There is no response yet that could have failed."""
    held = [ScriptedEvent(b'{"type": "x"}', "", b'data: {"type": "x"}\n\n')]

    async def begins(_request: ls.Request) -> ls.EventStream:
        return ls.EventStream(ScriptedSource([ls.StreamBroken()]), held=held)

    async def main() -> Told:
        async with serving(over(begins)) as url:
            return await tell(url, asked("responses", stream=True))

    _, (name, said) = run(main()).events

    assert "error" == name
    assert [] == wrong("ResponseErrorEvent", said)


#: Where one asks, and the dialect in which an error is told there.
FRONTS: Final = {
    **{path: dialect for dialect, path in PATHS.items()},
    "/v1/embeddings": "chat",
    "/v1/messages/count_tokens": "messages",
}


@pytest.mark.parametrize(("path", "dialect"), FRONTS.items())
def test_a_bad_request_is_told_in_the_dialect(path: str, dialect: str) -> None:
    """No JSON, no fields, a wrong type, no such model, no such method, too much."""
    good: dict[str, Any] = {"model": "chat", "max_tokens": 9, "input": "Hi", **TURN}
    bodies = [b"{oops", b"[]", b"{}", *(json.dumps(each).encode() for each in (
        {**good, "model": 3}, {**good, "model": "other"},
        {**good, "messages": 3, "input": 3}, {**good, "messages": [], "input": []},
        {**good, "more": "x" * 2000},
    ))]  # fmt: skip
    close = "Connection: close"
    requests = [
        *(post(body, close, path=path) for body in bodies),
        post(b"{}", close, path=path, kind="text/plain"),
        post(b"{}", close, "Content-Encoding: br", path=path),
        get(path).replace(b"Host", b"Connection: close\r\nHost"),
    ]

    async def main() -> list[Told]:
        async with serving(over(echo), max_body=1000) as url:
            return [await tell(url, request) for request in requests]

    replies = run(main())

    assert {400, 404, 405, 413, 415} == {reply.status for reply in replies}
    for reply in replies:
        check_error(dialect, reply.body)


@pytest.mark.parametrize(("asks", "speaks"), [("messages", "responses"), ("chat", "responses")])
def test_what_an_endpoint_cannot_say_is_told_in_the_dialect(asks: str, speaks: str) -> None:
    """There is no way from the one to the other."""

    async def main() -> Told:
        async with fronted(speaks, answers(speaks, ANSWERS["text"])) as url:
            return await tell(url, asked(asks))

    reply = run(main())

    assert 400 == reply.status
    check_error(asks, reply.body)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 503, 529])
@pytest.mark.parametrize(("asks", "speaks"), PAIRS)
def test_an_error_of_the_endpoint_is_told_in_the_dialect(
    asks: str, speaks: str, status: int
) -> None:
    """Whatever that speaks; also if it speaks nothing."""
    path = "messages" if speaks == "messages" else "chat"
    say = {"messages": anthropic_wire.error_body, "chat": openai_wire.error_body}[path]
    head = b"HTTP/1.1 %d No\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n"
    bodies = (json.dumps(say(status, "no")).encode(), b"<html>", b"")
    scripts = [[expect_request, send(head % status + body)] for body in bodies]

    async def main() -> list[Told]:
        async with fronted(speaks, *scripts) as url:
            return [await tell(url, asked(asks, stream=True)) for _ in bodies]

    for reply in run(main()):
        assert reply.status >= 400
        check_error(asks, reply.body)


@pytest.mark.parametrize(("asks", "speaks"), PAIRS)
def test_pings_are_no_strangers_in_a_stream(asks: str, speaks: str) -> None:
    """While an endpoint is silent; what comes around them is a stream as ever."""
    data = bytes_of(speaks, stream_of(speaks, ANSWERS["text"]))
    at = data.index(b"\n\n", data.index(b"two words")) + 2
    steps: list[Step] = [
        *(expect_request, send(HEAD % b"text/event-stream" + data[:at])),
        *(sleep(12), send(data[at:])),
    ]

    async def main() -> Told:
        async with fronted(speaks, steps, ping_after=5) as url:
            return await tell(url, asked(asks, stream=True))

    reply = run(main())
    pings = b'event: ping\ndata: {"type": "ping"}\n\n' if asks == "messages" else b": ping\n\n"

    assert 2 == reply.data.count(pings)
    counted = (asks, speaks) == ("chat", "chat")
    check_stream(asks, reply.events, counted=counted and b"usage" in reply.data)


def test_models_embeddings_and_counts_are_published() -> None:
    """The replies that have one shape only."""

    async def main() -> list[Told]:
        async with FakeProvider() as provider:
            stacks = {
                "chat": over(ls.OpenAI(provider.base_url)),
                "claude": over(ls.Anthropic(provider.base_url)),
            }
            close = "Connection: close"
            vectors = [json.dumps({"model": "chat", "input": "Hi", **more}).encode() for more in (
                {}, {"encoding_format": "base64"}
            )]  # fmt: skip
            count = json.dumps({"model": "claude", **TURN}).encode()
            requests = [
                get("/v1/models").replace(b"Host", b"Connection: close\r\nHost"),
                *(post(body, close, path="/v1/embeddings") for body in vectors),
                post(count, close, path="/v1/messages/count_tokens"),
            ]
            async with serving(stacks) as url:
                return [await tell(url, request) for request in requests]

    models, floats, base64, count = run(main())

    assert ["chat", "claude"] == [each["id"] for each in models.body["data"]]
    check_models(models.body)
    check_embeddings(floats.body)
    check_count(count.body)
    # Neither the schema nor the model has the other encoding, which the SDK asks for.
    assert isinstance(base64.body["data"][0]["embedding"], str)
