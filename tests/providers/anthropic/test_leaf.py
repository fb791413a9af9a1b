"""The leaf: what goes up, what comes down, and what it promises about keys."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs
import pytest

from llmstack.call import Attempt, Usage
from llmstack.endpoint import Endpoint
from llmstack.errors import (
    AuthFailed,
    BadRequest,
    ConfigError,
    ConnectionLost,
    EmptyResponse,
    ModelNotFound,
    Overloaded,
    ProtocolError,
    ServerError,
    StreamIncomplete,
    UpstreamError,
)
from llmstack.messages import EventStream, Request, Response
from llmstack.providers.anthropic import Anthropic
from llmstack.providers.anthropic.complete import OPERATIONS
from llmstack.providers.secret import Secret
from llmstack.testing.provider import Cut, FakeProvider, Reply
from llmstack.testing.upstream import sleep
from tests.providers.anthropic import scripts as s
from tests.providers.anthropic.scripts import chunked, play, sized, text


GOOD: Final = (
    b'{ "type": "message", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn",'
    b' "usage": {"input_tokens": 5, "cache_read_input_tokens": 4, "output_tokens": 2} }'
)


def test_a_whole_reply_is_handed_on_as_it_came() -> None:
    """Byte by byte, with its tokens."""
    reply = play(sized(GOOD), asked=s.request(stream=False)).response

    assert (200, GOOD, Usage(5, 2, 4)) == (reply.status, reply.body, reply.usage)
    assert "application/json" == reply.headers["content-type"]
    assert "set-cookie" not in reply.headers


@pytest.mark.parametrize(
    ("body", "stream", "sent"),
    [
        (b'{ "model":"m", "x": 1.0 }', False, b'{ "model":"m", "x": 1.0 }'),
        (b'{ "model":"a", "x": 1.0 }', False, b'{ "model":"m", "x": 1.0 }'),
        (b' { "model":"a"}', True, b' {"stream":true, "model":"m"}'),
        (b'{"model":"a","stream":true}', False, b'{"model":"m","stream":false}'),
    ],
)
def test_the_bytes_of_the_caller_go_up(body: bytes, sent: bytes, *, stream: bool) -> None:
    """With the endpoint's name for the model, and saying whether a stream is wanted."""
    reply = s.SSE + chunked(s.WHOLE) + s.END if stream else sized(GOOD)
    played = play(reply, asked=Request("m", body, "messages", stream=stream))
    (seen,) = played.upstream.requests

    assert played.error is None
    assert sent == seen.body


LEAVES: Final[Mapping[str, tuple[Callable[[str], Anthropic], dict[str, str]]]] = {
    "key": (lambda url: Anthropic(url + "/", api_key=Secret(s.KEY)), {"x-api-key": s.KEY}),
    "bearer": (
        lambda url: Anthropic(url, api_key=s.KEY, bearer=True),
        {"authorization": f"Bearer {s.KEY}"},
    ),
    "none": (lambda url: Anthropic(url, bearer=True), {}),
    "version": (
        lambda url: Anthropic(url, version="2030-01-01"),
        {"anthropic-version": "2030-01-01"},
    ),
}


@pytest.mark.parametrize(("leaf", "shown"), LEAVES.values(), ids=LEAVES)
def test_only_the_headers_that_are_meant_go_up(
    leaf: Callable[[str], Anthropic], shown: dict[str, str]
) -> None:
    """The key travels in one of them, never in the address."""
    (seen,) = play(sized(GOOD), asked=s.request(stream=False), leaf=leaf).upstream.requests

    assert ("POST", "/v1/messages") == (seen.method, seen.path)
    assert {
        "host": seen.headers["host"],
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "llmstack",
        "content-type": "application/json",
        "content-length": str(len(seen.body)),
        "anthropic-version": "2023-06-01",
        **shown,
    } == seen.headers


def test_the_version_and_the_betas_of_the_caller_go_up() -> None:
    """And none of its other headers: it may not choose where a key goes, nor which."""
    headers = {
        "anthropic-version": "2024-10-22",
        "anthropic-beta": "a-2025-01-01,b",
        "x-api-key": "theirs",
        "authorization": "Bearer theirs",
        "anthropic-dangerous": "x",
    }
    asked = s.request(stream=False, headers=headers)
    (seen,) = play(sized(GOOD), asked=asked).upstream.requests

    assert {"anthropic-version": "2024-10-22", "anthropic-beta": "a-2025-01-01,b"} == {
        name: value for name, value in seen.headers.items() if name.startswith("anthropic")
    }
    assert s.KEY == seen.headers["x-api-key"]
    assert "authorization" not in seen.headers


def test_tokens_are_counted_in_a_place_of_their_own() -> None:
    """The reply is the count alone: it takes no tokens, and is no stream."""
    asked = s.request(operation="count_tokens")
    played = play(sized(b'{"input_tokens":14}'), asked=asked)
    (seen,) = played.upstream.requests

    assert ("/v1/messages/count_tokens", False) == (seen.path, "stream" in json.loads(seen.body))
    assert (b'{"input_tokens":14}', None) == (played.response.body, played.response.usage)


@pytest.mark.parametrize("bearer", [False, True])
def test_speaks_with_a_provider(*, bearer: bool) -> None:
    """Messages, streamed and not, the count, and the errors of a bad day."""

    async def main() -> None:
        async with FakeProvider(tokens=3, api_key=s.KEY, models=("m",)) as provider:
            async with Anthropic(provider.base_url, api_key=s.KEY, bearer=bearer) as leaf:
                whole = await leaf(s.request(stream=False))
                assert isinstance(whole, Response)
                assert Usage(5, 3) == whole.usage
                count = await leaf(s.request(operation="count_tokens"))
                assert isinstance(count, Response)
                assert {"input_tokens": 5} == count.data
                stream = await leaf(s.request())
                assert (9, Usage(5, 3)) == (await read(stream), stream.usage)
                await bad_day(leaf, provider)
            async with Anthropic(provider.base_url, api_key="wrong", bearer=bearer) as leaf:
                with pytest.raises(AuthFailed) as caught:
                    await leaf(s.request())
                assert "authentication_error" == caught.value.code

    asyncio.run(main())


async def bad_day(leaf: Anthropic, provider: FakeProvider) -> None:
    provider.script(Cut(after=4, how="end"))
    with pytest.raises(StreamIncomplete):
        await read(await leaf(s.request()))
    provider.script(Reply(529, headers={"Retry-After": "3"}))
    with pytest.raises(Overloaded) as caught:
        await leaf(s.request())
    assert (3, "overloaded_error") == (caught.value.retry_after, caught.value.code)
    with pytest.raises(ModelNotFound):
        await leaf(Request("n", s.request().body, "messages"))


async def read(reply: object) -> int:
    assert isinstance(reply, EventStream)
    async with reply:
        return len([each async for each in reply])


def test_errors_name_the_endpoint() -> None:
    """Where a router has chosen one."""
    endpoint = Endpoint("eu", Anthropic("http://127.0.0.1:1/v1"))
    asked = s.request().to(endpoint, Attempt("eu", 0.0))
    early = play(sized(b"{}"), asked=asked).error
    late = play(s.SSE, chunked(text("x")) + s.END, asked=asked).error

    assert early is not None
    assert late is not None
    assert ("eu", "eu") == (early.endpoint, late.endpoint)


def test_a_reply_without_an_end_is_no_stream() -> None:
    """Whole it goes on as it came, but a stream of it would tell an end that nobody saw."""
    endless = GOOD.replace(b'"end_turn"', b"null")

    whole, streamed = play(sized(endless), asked=s.request(stream=False)), play(sized(endless))

    assert (None, endless) == (whole.error, whole.response.body)
    assert ProtocolError is type(streamed.error)


def test_a_reply_is_handed_up_in_the_shape_that_was_asked_for() -> None:
    """Whole as a stream, a stream as a whole; and one that breaks off is not whole."""
    streamed = play(sized(GOOD))
    whole = play(s.SSE, chunked(s.WHOLE) + s.END, asked=s.request(stream=False)).response
    cut = play(s.SSE, chunked(s.ROLE, text("x")) + s.END, asked=s.request(stream=False))

    assert b'"hi"' in b"".join(streamed.events)
    assert (None, b"event: message_stop") == (streamed.error, streamed.events[-1].split(b"\n")[0])
    assert Usage(5, 2, 4) == streamed.stream.usage
    assert [{"type": "text", "text": "Hello"}] == whole.data["content"]
    assert Usage(3, 2, 4) == whole.usage
    assert ConnectionLost is type(cut.error)


@pytest.mark.parametrize("size", [199, 200, 201])
def test_a_reply_is_read_up_to_its_limit(size: int) -> None:
    """More is not what was agreed."""
    body = GOOD + b" " * (size - len(GOOD))
    played = play(
        sized(body), asked=s.request(stream=False), leaf=lambda url: Anthropic(url, limit=200)
    )

    assert (size <= 200) is (played.error is None)


def judged(operation: str, body: bytes) -> Usage | type[UpstreamError] | None:
    try:
        return OPERATIONS[operation].usage(200, dict, body)
    except UpstreamError as error:
        return type(error)


def said(*content: object, reason: object = "end_turn") -> bytes:
    return json.dumps({"type": "message", "content": content, "stop_reason": reason}).encode()


TEXT: Final = {"type": "text", "text": "hi"}
SILENT: Final = {"type": "text", "text": ""}
LONG: Final = b'{"content":["' + b"x" * (64 << 10) + b'"],"usage":{"input_tokens":3}}'


def long(start: bytes) -> bytes:
    """A reply that begins like that, and is too long to be decoded."""
    return start + b',"stop_reason":"max_tokens",' + LONG[1:]


BROKE: Final = b'{"type":"error","error":{"type":"invalid_request_error"}}'
REPLIES: Final[dict[str, tuple[str, bytes, object]]] = {
    "text": ("messages", GOOD, Usage(5, 2, 4)),
    "no usage": ("messages", said(TEXT), None),
    "tool": ("messages", said({"type": "tool_use", "name": "f", "input": {}}), None),
    "thought": ("messages", said({"type": "thinking", "thinking": "a"}), None),
    "second block": ("messages", said(SILENT, TEXT), None),
    "refused": ("messages", said(reason="refusal"), None),
    "cut off at the start": ("messages", said(SILENT, reason="max_tokens"), None),
    "empty text": ("messages", said(SILENT), EmptyResponse),
    "no block": ("messages", said(), EmptyResponse),
    "no reason": ("messages", said(reason=None), EmptyResponse),
    "blocks that are none": ("messages", said(None, 1, "a"), EmptyResponse),
    "no content": ("messages", b"{}", EmptyResponse),
    "content that is no list": ("messages", b'{"content":{"a":1}}', EmptyResponse),
    "error": ("messages", BROKE, BadRequest),
    "error without words": ("messages", b'{"type":"error"}', ServerError),
    "error of others": ("messages", b'{"error":{"code":400},"content":[1]}', BadRequest),
    "nothing": ("messages", b"", EmptyResponse),
    "space": ("messages", b" \n", EmptyResponse),
    "a list": ("messages", b"[]", ProtocolError),
    "no JSON": ("messages", GOOD[:-1], ProtocolError),
    "count": ("count_tokens", b'{"input_tokens":14}', None),
    "count of nothing": ("count_tokens", b'{"input_tokens":0}', None),
    "no count": ("count_tokens", b'{"input_tokens":"14"}', EmptyResponse),
    "error and no count": ("count_tokens", BROKE, BadRequest),
    "long": ("messages", LONG, Usage(3)),
    "long, with space": ("messages", b" \n" + LONG + b"\n", Usage(3)),
    "long, no object": ("messages", b"[" + LONG, ProtocolError),
    "long, cut": ("messages", LONG[:-2], ProtocolError),
    "the longest that is decoded": ("messages", b"{" + b"x" * 65534 + b"}", ProtocolError),
    "longer is not decoded": ("messages", b"{" + b"x" * 65535 + b"}", None),
    "types that are none": ("messages", said({"type": ["text"]}, {"type": {}}), EmptyResponse),
    "long, error by type": ("messages", long(b'{"type" : "error"'), ServerError),
    "long, error of others": ("messages", long(b'{"error" : {"code":400}'), BadRequest),
    "long, error and no count": ("count_tokens", long(BROKE[:-1]), BadRequest),
    "long, error of nothing": ("messages", b'{"error" : null%b}' % (b"x" * 65536), None),
    "long, a word": ("messages", long(b'{"a":"error"'), Usage(3)),
    "long, error told": ("messages", long(rb'{"a":"\"type\":\"error\",\"error\":1"'), Usage(3)),
    "long, error of a tool": ("messages", long(b'{"input":{"type":"error","error":1}'), Usage(3)),
}


@pytest.mark.parametrize(("operation", "body", "means"), REPLIES.values(), ids=REPLIES)
def test_a_whole_reply_means_what_the_sample_says(
    operation: str, body: bytes, means: object
) -> None:
    """Empty is what gives the caller nothing; long ones are looked at from both ends."""
    assert means == judged(operation, body)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"base_url": "ftp://x/v1"}, "base_url"),
        ({"base_url": f"http://me:{s.KEY}@x/v1"}, "base_url"),
        ({"base_url": f"http://x/v1?key={s.KEY}"}, "base_url"),
        ({"api_key": ""}, "api_key"),
        ({"api_key": f"{s.KEY}\n"}, "api_key"),
        ({"version": "a\rb"}, "version"),
        ({"version": ""}, "version"),
        ({"connect": 0}, "connect"),
        ({"limit": 0}, "limit"),
    ],
)
def test_a_bad_setting_is_named_and_not_shown(settings: dict[str, Any], field: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match=field) as caught:
        Anthropic(**settings)

    assert s.KEY not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_knows_its_operations() -> None:
    """Another one is a mistake in the stack, not of the provider."""
    leaf = Anthropic(connect=0.5)

    assert 0.5 == leaf._leaf.connect
    assert frozenset({"messages", "count_tokens"}) == leaf.speaks
    assert "https://api.anthropic.com/v1" == leaf.base_url
    with pytest.raises(ConfigError, match="no operation 'chat'; the format has: messages"):
        asyncio.run(leaf(Request(operation="chat")))


def frames(error: BaseException | None) -> Iterator[str]:
    """What a traceback with locals shows of our code and of aiohttp's, causes included."""
    while error is not None:
        trace = traceback.TracebackException.from_exception(error, capture_locals=True)
        yield "".join(trace.format_exception_only())
        for frame in trace.stack:
            if "tests" not in frame.filename:  # an upstream of the tests shows what it has seen
                yield f"{frame.filename} {frame.locals}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("bearer", [False, True])
def test_no_way_to_show_a_leaf_shows_its_key(*, bearer: bool) -> None:
    """Nor a traceback with all local variables, of an error before or after the head."""

    def made(url: str) -> Anthropic:
        return Anthropic(url, api_key=s.KEY, bearer=bearer)

    leaf = made("http://127.0.0.1:1/v1")

    async def refused() -> None:
        async with leaf:
            await leaf(s.request())

    with pytest.raises(UpstreamError) as caught:
        asyncio.run(refused())
    errors = [
        *(caught.value, play(sized(b"secret"), leaf=made).error),
        play(b"garbage\r\n\r\n", leaf=made).error,
        play(s.SSE, chunked(text("x")), leaf=made).error,
        play(s.SSE, sleep(0.02), b"zz\r\n", leaf=made).error,
    ]
    shown = [repr(leaf), repr(attrs.asdict(leaf)), *(f for e in errors for f in frames(e))]

    assert "Anthropic(base_url='http://127.0.0.1:1/v1', api_key=***, connect=3.0)" == shown[0]
    assert None not in errors
    assert sum("llmstack" in each for each in shown) > 10
    assert not any(s.KEY in each for each in shown)
