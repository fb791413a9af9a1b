"""A reply that comes in the other shape is handed on in the one that was asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Final, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmstack.call import Usage
from llmstack.dialects import chat, messages, responses
from llmstack.dialects.dialect import DIALECTS, Dialect
from llmstack.dialects.wire import encoded
from llmstack.errors import (
    BadRequest,
    ConnectionLost,
    EmptyResponse,
    Overloaded,
    ProtocolError,
    RateLimited,
    ServerError,
    UpstreamError,
)
from llmstack.messages import EventStream, Request, Response
from llmstack.providers.anthropic import Anthropic
from llmstack.providers.format import Format, Operation
from llmstack.providers.leaf import Leaf
from llmstack.providers.openai import OpenAI
from llmstack.providers.openai.classify import classify
from llmstack.providers.openai.progress import Progress
from llmstack.providers.reshape import as_stream, as_whole
from llmstack.providers.transport import Transport
from llmstack.testing.upstream import Step, fin, stall
from llmstack.testing.virtual import run_virtual
from tests.dialects.chat_side import replies
from tests.providers.openai import scripts as s
from tests.providers.openai.scripts import Played, chunked, sized


COUNTS: Final = {"prompt_tokens": 9, "completion_tokens": 2}
CHOICE: Final = {
    "index": 0,
    "message": {"role": "assistant", "content": "hi"},
    "finish_reason": "stop",
}
PART: Final = {"type": "output_text", "text": "hi", "annotations": []}
#: One answer in each dialect: what it is asked with, and the whole reply.
ANSWERS: Final[Mapping[str, Any]] = {
    "chat": {"id": "c", "object": "chat.completion", "choices": [CHOICE], "usage": COUNTS},
    "messages": {
        "id": "m",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 9, "output_tokens": 2},
    },
    "responses": {
        "id": "r",
        "status": "completed",
        "output": [{"type": "message", "id": "i", "status": "completed", "content": [PART]}],
        "usage": {"input_tokens": 9, "output_tokens": 2},
    },
}
PIECES: Final = {"chat": chat.pieces, "messages": messages.pieces, "responses": responses.pieces}
ALL: Final = sorted(ANSWERS)


def events(operation: str, body: Mapping[str, Any]) -> list[bytes]:
    """The stream that says *body*, event by event."""
    last = [s.DONE] if operation == "chat" else []
    return [*(encoded([piece]) for piece in PIECES[operation](body)), *last]


def play(operation: str, *steps: bytes | Step, stream: bool, limit: int = 1 << 20) -> Played:
    """Ask for *operation*, as a *stream* or whole, and get whatever *steps* send."""
    kind = Anthropic if operation == "messages" else OpenAI
    asked = Request("m", {"messages": [], "max_tokens": 9}, operation=operation, stream=stream)
    return s.play(*steps, asked=asked, leaf=lambda url: kind(url, limit=limit))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("operation", ALL)
def test_a_whole_reply_to_who_asked_for_a_stream_is_a_stream(operation: str) -> None:
    """It has the events of its dialect, ends well, and its tokens are those that it told."""
    body = ANSWERS[operation]

    played = play(operation, sized(json.dumps(body).encode()), stream=True)

    said = {key: value for key, value in body.items() if key != "usage" or operation != "chat"}
    assert played.error is None
    assert events(operation, said) == played.raw
    assert played.stream.ended is not None
    assert ("ok", Usage(9, 2)) == (played.stream.ended.how, played.stream.ended.usage)
    assert "text/event-stream" == played.stream.headers["content-type"]
    assert "req-1" == played.stream.headers["x-request-id"]


@pytest.mark.parametrize("operation", ALL)
def test_a_stream_to_who_asked_for_a_whole_reply_is_whole(operation: str) -> None:
    """Read to its terminal and no further, in however many pieces it comes."""
    body = ANSWERS[operation]
    said = events(operation, body)

    played = play(operation, s.SSE, *map(chunked, said), s.END, stream=False)
    open_end = play(operation, s.SSE, chunked(*said), stall, stream=False)

    for reply in (played.response, open_end.response):
        assert body == json.loads(reply.body)
        assert Usage(9, 2) == reply.usage
        assert "application/json" == reply.headers["content-type"]
        assert "req-1" == reply.headers["x-request-id"]


def test_a_long_reply_is_as_long_in_one_event() -> None:
    """The limits of a stream are for what has no end in sight; this has come."""
    choice = {**CHOICE, "message": {"role": "assistant", "content": "a" * (5 << 20)}}
    body = json.dumps({**ANSWERS["chat"], "choices": [choice]}).encode()

    played = play("chat", sized(body), stream=True, limit=6 << 20)

    assert played.error is None
    assert 5 << 20 < max(map(len, played.events))


def test_a_whole_reply_without_a_count_is_estimated_as_a_stream() -> None:
    """As any stream that nobody counted."""
    body = {**ANSWERS["chat"], "usage": None}

    stream = play("chat", sized(json.dumps(body).encode()), stream=True).stream
    whole = play("chat", s.SSE, chunked(*events("chat", body)), s.END, stream=False).response

    assert Usage(3, 1, estimated=True) == stream.usage
    assert Usage(3, 1, estimated=True) == whole.usage


@pytest.mark.parametrize("operation", ALL)
@pytest.mark.parametrize("cut", [(s.END,), (fin,)])
def test_a_stream_that_is_cut_is_no_whole_reply(operation: str, cut: tuple[Any, ...]) -> None:
    """Nothing was handed up, so it is an ordinary error, and may be tried again."""
    said = events(operation, ANSWERS[operation])
    last = 2 if operation == "messages" else -3 if operation == "chat" else -1

    error = play(operation, s.SSE, chunked(*said[:last]), *cut, stream=False).error

    expected = EmptyResponse if operation == "messages" and cut == (s.END,) else ConnectionLost
    assert expected is type(error)


def test_an_error_in_a_stream_is_the_error_of_the_whole_reply() -> None:
    """It is not called broken: who asked has seen nothing of it."""
    overloaded = s.event({"error": {"message": "x", "code": "slow_down"}})

    error = play("chat", s.SSE, chunked(s.text("a"), overloaded), s.END, stream=False).error
    apart = play("chat", s.SSE, chunked(s.text("a")), chunked(overloaded), s.END, stream=False)

    assert [Overloaded, Overloaded] == [type(error), type(apart.error)]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error": {"message": "x", "code": "rate_limit_exceeded"}}', RateLimited),
        (b'{"error": {"message": "x", "type": "invalid_request_error"}}', BadRequest),
        (b'{"choices": []}', EmptyResponse),
        (b"", EmptyResponse),
        (b"no json", ProtocolError),
        (b'{"choices": [{"message": {"content": "a"}}]}', ProtocolError),
        (b'{"choices": [{"message": {"content": "a"}, "index": 200}]}', ProtocolError),
        (b'{"choices": [' + b'{"message": {"content": "a"}},' * 4000 + b"}", ProtocolError),
    ],
)
def test_what_is_no_completion_is_no_stream(body: bytes, kind: type[UpstreamError]) -> None:
    """An error goes by its code, and of what is not whole no whole stream is made."""
    error = play("chat", sized(body), stream=True).error

    assert kind is type(error)
    assert error is not None
    assert 200 == getattr(error, "status", None)


def test_a_page_is_neither() -> None:
    """Nor is anything else that says what it is."""
    page = s.OK + b"Content-Type: text/html\r\n"

    assert ProtocolError is type(play("chat", sized(b"{}", page), stream=True).error)
    assert ProtocolError is type(play("chat", sized(b"{}", page), stream=False).error)


def test_a_failed_response_is_no_stream() -> None:
    """It is the error that it names; one in the background has nothing to stream."""
    failed = {"status": "failed", "error": {"code": "server_error", "message": "x"}}
    background = {"status": "queued", "output": []}

    first = play("responses", sized(json.dumps(failed).encode()), stream=True).error
    second = play("responses", sized(json.dumps(background).encode()), stream=True).error

    assert [ServerError, ProtocolError] == [type(first), type(second)]


@pytest.mark.parametrize("spare", [-1, 0])
def test_the_limit_holds_for_a_stream_that_is_assembled(spare: int) -> None:
    """Counted in bytes of its events, whether they come at once or one by one."""
    said = events("chat", ANSWERS["chat"])
    limit = sum(map(len, said)) + spare

    at_once = play("chat", s.SSE, chunked(*said), s.END, stream=False, limit=limit)
    one_by_one = play("chat", s.SSE, *map(chunked, said), s.END, stream=False, limit=limit)

    for played in (at_once, one_by_one):
        assert (ProtocolError if spare else type(None)) is type(played.error)


def test_a_compressed_stream_is_not_assembled() -> None:
    """Nobody asked for it, and its size is not what it seems."""
    head = s.SSE.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")

    error = play("chat", head, chunked(s.WHOLE), s.END, stream=False).error

    assert ProtocolError is type(error)


def test_an_operation_of_another_dialect_has_one_shape() -> None:
    """A reply in the other is not what was agreed."""
    said = Operation(
        "/other",
        lambda _status, _headers, _body: None,
        progress=lambda _request, _headers: Progress(),
    )

    def leaf(url: str) -> Any:  # noqa: ANN401 -- a leaf of no provider
        return Bare(Leaf(Format({"other": said}, classify, str), url, None, Transport()))

    asked = Request("m", {}, operation="other", stream=True)
    whole = s.play(sized(b"{}"), asked=asked, leaf=leaf).error

    assert ProtocolError is type(whole)


class Bare:
    """A leaf with the block of its transport."""

    def __init__(self, leaf: Leaf) -> None:
        self.leaf = leaf

    async def __call__(self, request: Request) -> object:
        return await self.leaf(request)

    async def __aenter__(self) -> Self:
        await self.leaf.transport.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leaf.transport.__aexit__(None, None, None)


MOST: Final = sys.getrecursionlimit()


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"{}" + b"}" * depth


def told(depth: int) -> str:
    """What comes of a reply with something in it that is nested so deeply; "" if a stream does."""
    body = b'{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop","x":%b}]}'
    reply = Response(body % nested(depth), 200)
    try:
        as_stream(DIALECTS["chat"], reply, Progress(), int).close()
    except ProtocolError as error:
        return error.message
    return ""


def test_what_is_nested_too_deeply_is_told() -> None:
    """Python reads a little deeper than it writes: no RecursionError gets out."""

    async def main() -> None:
        depths = (1, MOST // 2, *range(MOST - 150, MOST + 1))
        said = [told(depth) for depth in depths]

        assert ["", ""] == said[:2]
        assert {"", "the reply is nested too deeply", "the reply is not a JSON object"} == {*said}

    run_virtual(main())


def test_a_dialect_that_goes_too_deep_is_told() -> None:
    """As above, where coverage can see it: near the limit it loses count."""

    def deep(_said: object) -> Any:  # noqa: ANN401 -- it returns nothing
        raise RecursionError

    async def main() -> None:
        for shape in (
            lambda: as_stream(Dialect(deep, deep, bool), Response(b"{}"), Progress(), int),
            lambda: as_whole(Dialect(deep, deep, bool), []),
        ):
            with pytest.raises(ProtocolError, match="nested too deeply"):
                shape()

    run_virtual(main())


@settings(max_examples=25)
@given(body=replies(), data=st.data())
def test_there_and_back_is_the_same(body: dict[str, Any], data: st.DataObject) -> None:
    """Whatever a completion is, its stream says all of it."""
    counts = data.draw(st.booleans())

    async def main() -> bytes:
        reply = Response(json.dumps(body).encode(), 200)
        stream = as_stream(DIALECTS["chat"], reply, Progress(counts=counts), int)
        assert isinstance(stream, EventStream)
        async with stream:
            said = [event async for event in stream]
        assert () == await stream.source.read()
        return as_whole(DIALECTS["chat"], said)  # type: ignore[arg-type]

    there = {name: body[name] for name in body if counts or name != "usage"}
    assert there == json.loads(run_virtual(main())[0])
