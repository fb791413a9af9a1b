"""The leaf: what goes up, what comes down, and what it promises about keys."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.call import Attempt, Usage
from llmstack.endpoint import Endpoint
from llmstack.errors import (
    AuthFailed,
    BadRequest,
    ConfigError,
    EmptyResponse,
    Overloaded,
    ProtocolError,
    ServerError,
    StreamIncomplete,
    UpstreamError,
)
from llmstack.messages import EventStream, Request, Response
from llmstack.providers.openai import OpenAI
from llmstack.providers.openai.operations import operations
from llmstack.providers.openai.progress import _FAILED
from llmstack.providers.secret import Secret
from llmstack.testing.provider import Cut, FakeProvider, Reply
from llmstack.testing.upstream import ScriptedUpstream, expect_request, sleep
from llmstack.testing.virtual import EPOCH, run_virtual
from tests.providers.openai import scripts as s
from tests.providers.openai.scripts import chunked, play, sized, text


GOOD: Final = (
    b'{ "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],'
    b' "usage": {"prompt_tokens": 9, "completion_tokens": 2,'
    b' "prompt_tokens_details": {"cached_tokens": 4}} }'
)


def test_a_whole_reply_is_handed_on_as_it_came() -> None:
    """Byte by byte; of the headers only those that are the caller's business."""
    head = s.JSON + (
        b"OpenAI-Processing-Ms: 7\r\nX-RateLimit-Remaining-Tokens: 5\r\nRetry-After-Ms: 3\r\n"
        b"Set-Cookie: a=b\r\nServer: x\r\nOpenAI-Organization: secret\r\nX-Other: y\r\n"
    )
    reply = play(sized(GOOD, head), asked=s.request(stream=False)).response

    assert (200, GOOD, Usage(5, 2, 4)) == (reply.status, reply.body, reply.usage)
    assert {
        "content-type": "application/json",
        "x-request-id": "req-1",
        "openai-processing-ms": "7",
        "x-ratelimit-remaining-tokens": "5",
        "retry-after-ms": "3",
    } == dict(reply.headers)


@pytest.mark.parametrize(
    ("body", "stream", "sent"),
    [
        (b'{ "model":"m", "x": 1.0 }', False, b'{ "model":"m", "x": 1.0 }'),
        (b'{ "model":"a", "x": 1.0 }', False, b'{ "model":"m", "x": 1.0 }'),
        (b'{"model":"m","stream":true}', True, b'{"model":"m","stream":true}'),
        (b'{"model":"m","stream":null}', False, b'{"model":"m","stream":null}'),
        (b' { "model":"a"}', True, b' {"stream":true, "model":"m"}'),
        ({}, True, b'{"stream":true,"model":"m"}'),
        (b'{"model":"a","stream":false}', True, b'{"model":"m","stream":true}'),
        (b'{"model":"a","stream":true}', False, b'{"model":"m","stream":false}'),
        (b'{"model":"m","stream":1}', True, b'{"model":"m","stream":true}'),
        (b'{"model":"m","stream_options":{}}', False, b'{"model":"m","stream_options":{}}'),
    ],
)
def test_the_bytes_of_the_caller_go_up(
    body: bytes | dict[str, Any], sent: bytes, *, stream: bool
) -> None:
    """With the endpoint's name for the model, and saying whether a stream is wanted."""
    reply = s.SSE + chunked(s.WHOLE) + s.END if stream else sized(GOOD)
    played = play(
        reply,
        asked=Request("m", body, stream=stream),
        leaf=lambda url: OpenAI(url, asks_usage=False),
    )
    (seen,) = played.upstream.requests

    assert played.error is None
    assert sent == seen.body
    assert json.loads(sent).get("stream", False) in {stream, None}


def test_only_the_headers_that_are_meant_go_up() -> None:
    """The key travels in one of them, never in the address."""

    def leaf(url: str) -> OpenAI:
        return OpenAI(url + "/", api_key=Secret(s.KEY), organization="org-1")

    (seen,) = play(sized(GOOD), asked=s.request(stream=False), leaf=leaf).upstream.requests

    assert ("POST", "/v1/chat/completions") == (seen.method, seen.path)
    assert {
        "host": seen.headers["host"],
        "authorization": f"Bearer {s.KEY}",
        "openai-organization": "org-1",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "llmstack",
        "content-type": "application/json",
        "content-length": str(len(seen.body)),
    } == seen.headers


def test_a_leaf_says_what_it_can_be_asked() -> None:
    """The operations of the format."""
    expected = {"chat", "embeddings", "models", "responses"}

    assert expected == OpenAI("http://a").speaks


def test_no_key_means_no_header() -> None:
    """Servers of one's own often have none."""
    played = play(sized(b'{"data":[]}'), asked=Request(operation="models"), leaf=OpenAI)
    (seen,) = played.upstream.requests

    assert b'{"data":[]}' == played.response.body
    assert ("GET", "/v1/models", b"") == (seen.method, seen.path, seen.body)
    assert not {"authorization", "content-type", "cookie"} & set(seen.headers)


def test_speaks_with_a_provider() -> None:
    """Chat, streamed and not, embeddings, models, and the errors of a bad day."""

    async def main() -> None:
        async with FakeProvider(tokens=3, api_key=s.KEY) as provider:
            async with OpenAI(provider.base_url, api_key=s.KEY) as leaf:
                whole = await leaf(s.request(stream=False))
                vectors = await leaf(s.request(operation="embeddings"))
                models = await leaf(Request(operation="models"))
                assert [5, 5, None] == [r.usage and r.usage.input for r in (whole, vectors, models)]
                assert isinstance(models, Response)
                assert "fake" == models.data["data"][0]["id"]
                provider.script(Cut(after=2, how="end"))
                with pytest.raises(StreamIncomplete):
                    await read(await leaf(s.request()))
                provider.script(Reply(503, headers={"Retry-After": "3"}))
                with pytest.raises(Overloaded) as caught:
                    await leaf(s.request())
                assert 3 == caught.value.retry_after
            async with OpenAI(provider.base_url, api_key="wrong") as leaf:
                with pytest.raises(AuthFailed):
                    await leaf(s.request())

    async def read(reply: object) -> None:
        assert isinstance(reply, EventStream)
        async with reply:
            async for _ in reply:
                pass

    asyncio.run(main())


def test_errors_name_the_endpoint() -> None:
    """Where a router has chosen one."""
    endpoint = Endpoint("eu", OpenAI("http://127.0.0.1:1/v1"))
    asked = s.request().to(endpoint, Attempt("eu", 0.0))
    early = play(sized(b"{}"), asked=asked).error
    late = play(s.SSE, chunked(text("x")) + s.END, asked=asked).error

    assert early is not None
    assert late is not None
    assert ("eu", "eu") == (early.endpoint, late.endpoint)


def test_a_wait_may_be_a_date() -> None:
    """Which is measured by the time of day, if the provider does not tell its own."""
    head = b"HTTP/1.1 503 No\r\nRetry-After: Thu, 01 Jan 2026 00:01:00 GMT\r\n"

    async def main(leaf: OpenAI, _upstream: ScriptedUpstream) -> None:
        with pytest.raises(Overloaded) as caught:
            await leaf(s.request())
        assert pytest.approx(60) == caught.value.retry_after

    assert EPOCH == datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    run_virtual(s.serve([[expect_request, sized(b"", head)]], main))


def test_a_finish_may_be_left_out_where_that_is_known() -> None:
    """With ``done_is_terminal``, the end of the stream is its ``[DONE]``."""
    stream = (s.SSE, chunked(s.ROLE, text("x"), s.DONE) + s.END)
    known = play(*stream, leaf=lambda url: OpenAI(url, done_is_terminal=True))
    cut = play(
        s.SSE,
        chunked(s.ROLE, text("x")) + s.END,
        leaf=lambda url: OpenAI(url, done_is_terminal=True),
    )

    assert (None, b"[DONE]") == (known.error, known.events[-1])
    assert isinstance(play(*stream).error, StreamIncomplete)
    assert isinstance(cut.error, StreamIncomplete)


@pytest.mark.parametrize("size", [99, 100, 101])
def test_a_reply_is_read_up_to_its_limit(size: int) -> None:
    """However its length is told, or not told."""
    body = b'{"data":["' + b"x" * (size - 13) + b'"]}'
    heads = (sized(body), s.JSON + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body) + s.END)
    played = [
        play(head, asked=s.request(operation="embeddings"), leaf=lambda url: OpenAI(url, limit=100))
        for head in heads
    ]

    assert len(body) == size
    assert [size <= 100] * 2 == [each.error is None for each in played]
    assert [size <= 100] * 2 == [not isinstance(each.error, ProtocolError) for each in played]


def test_a_large_request_goes_up_whole() -> None:
    """In pieces, and without a warning."""
    big = {"messages": ["x" * (3 << 20)]}
    played = play(sized(GOOD), asked=Request("m", big))
    (seen,) = played.upstream.requests

    assert {**big, "model": "m"} == json.loads(seen.body)


def test_a_stream_that_is_compressed_is_refused() -> None:
    """It would have to be decoded with a limit, and nobody asked for it."""
    head = s.SSE.replace(b"\r\nX-", b"\r\nContent-Encoding: gzip\r\nX-")

    assert isinstance(play(head, chunked(s.WHOLE) + s.END).error, ProtocolError)


def judged(operation: str, body: bytes) -> Usage | type[UpstreamError] | None:
    try:
        return operations()[operation].usage(200, dict, body)
    except UpstreamError as error:
        return type(error)


def said(message: object, finish: object = "stop") -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode()


LONG: Final = b'{"choices":[],"data":["' + b"x" * (64 << 10) + b'"],"usage":{"prompt_tokens":3}}'


def long(start: bytes) -> bytes:
    """A reply that begins like that, and is too long to be decoded."""
    return start + b',"choices":[{"message":{"content":"a"}}],' + LONG[14:]


REPLIES: Final[dict[str, tuple[str, bytes, object]]] = {
    "text": ("chat", said({"content": "hi"}), None),
    "tool call": ("chat", said({"tool_calls": [{}]}, "tool_calls"), None),
    "refusal": ("chat", said({"refusal": "no"}), None),
    "filtered": ("chat", said({"content": ""}, "content_filter"), None),
    "cut off at the start": ("chat", said({"content": ""}, "length"), None),
    "second choice": ("chat", b'{"choices":[{},{"message":{"content":"a"}}]}', None),
    "empty text": ("chat", said({"content": ""}), EmptyResponse),
    "no message": ("chat", said(None, None), EmptyResponse),
    "no choice": ("chat", b'{"choices":[]}', EmptyResponse),
    "no choices": ("chat", b"{}", EmptyResponse),
    "choices that are none": ("chat", b'{"choices":{"a":1}}', EmptyResponse),
    "gave up": ("chat", said({"content": "a"}, "insufficient_system_resource"), Overloaded),
    "error and choices": (
        "chat",
        b'{"error":{"code":400},' + said({"content": "a"})[1:],
        BadRequest,
    ),
    "vector": ("embeddings", b'{"data":[{}],"usage":{"prompt_tokens":3}}', Usage(3)),
    "no vector": ("embeddings", b'{"data":[]}', EmptyResponse),
    "no models": ("models", b'{"data":[]}', None),
    "no list of models": ("models", b"{}", EmptyResponse),
    "long": ("chat", LONG, Usage(3)),
    "long, with space": ("embeddings", b" \n" + LONG + b"\n", Usage(3)),
    "long, no object": ("chat", b"[" + LONG, ProtocolError),
    "long, cut": ("embeddings", LONG[:-2], ProtocolError),
    "vectors are not decoded": ("embeddings", b"{" + b"x" * 4094 + b"}", ProtocolError),
    "vectors are not decoded, longer": ("embeddings", b"{" + b"x" * 4095 + b"}", None),
    "long, error": ("chat", long(b'{"error" :\n{"code":400}'), BadRequest),
    "long, error by object": ("chat", long(b'{"object": "error"'), ServerError),
    "long, error and no vector": ("embeddings", b'{"error":"%b"}' % (b"x" * 4096), ServerError),
    "long, error of nothing": ("chat", b'{"error" : null%b}' % (b"x" * 65536), None),
    "long, a word": ("chat", long(b'{"a":"error"'), Usage(3)),
    "long, error told": ("chat", long(rb'{"a":"\"object\":\"error\",\"error\":1"'), Usage(3)),
    "long, error of a tool": ("chat", long(b'{"a":{"error":1}'), Usage(3)),
    **{
        f"long, gave up{between.decode()}{finish}": (
            "chat",
            said({"content": "a" * (64 << 10)}, finish).replace(b": ", between),
            kind,
        )
        for finish, kind in _FAILED.items()
        for between in (b":", b" : ")
    },
}


@pytest.mark.parametrize(("operation", "body", "means"), REPLIES.values(), ids=REPLIES)
def test_a_whole_reply_means_what_the_sample_says(
    operation: str, body: bytes, means: object
) -> None:
    """Empty is what gives the caller nothing; long ones are looked at from both ends."""
    assert means == judged(operation, body)


def cuts(stream: bytes) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, len(stream) - 1), max_size=5).map(sorted)


ENDS: Final = (s.WHOLE, s.ROLE + text("ö") + s.ERROR, s.ROLE + text("x") + s.DONE, s.ROLE + s.ERROR)


@given(st.sampled_from(ENDS).flatmap(lambda end: st.tuples(st.just(end), cuts(end))))
def test_how_the_network_cuts_the_stream_makes_no_difference(case: tuple[bytes, list[int]]) -> None:
    """Events, error and usage are those of the stream in one piece."""
    stream, places = case
    edges = [0, *places, len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(edges) if a < b]
    one = play(s.SSE, chunked(stream) + s.END)
    many = play(s.SSE, *(step for p in pieces for step in (chunked(p), sleep(0))), s.END)

    assert one.events == many.events
    assert type(one.error) is type(many.error)
    assert (one.reply and one.reply.usage) == (many.reply and many.reply.usage)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"base_url": "ftp://x/v1"}, "base_url"),
        ({"base_url": "x/v1"}, "base_url"),
        ({"base_url": "http:///v1"}, "base_url"),
        ({"base_url": "http://[x/v1"}, "base_url"),
        ({"base_url": f"http://{'x' * 70}/v1"}, "base_url"),
        ({"base_url": f"http://me:{s.KEY}@x/v1"}, "base_url"),
        ({"base_url": f"http://x/v1?key={s.KEY}"}, "base_url"),
        ({"base_url": f"http://x/v1#{s.KEY}"}, "base_url"),
        ({"api_key": ""}, "api_key"),
        ({"api_key": f"{s.KEY}\n"}, "api_key"),
        ({"api_key": f"{s.KEY}ö"}, "api_key"),
        ({"organization": "a\rb"}, "organization"),
        ({"connect": 0}, "connect"),
        ({"limit": 0}, "limit"),
    ],
)
def test_a_bad_setting_is_named_and_not_shown(settings: dict[str, Any], field: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match=field) as caught:
        OpenAI(**{"base_url": "http://x/v1", **settings})

    assert s.KEY not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_knows_its_operations() -> None:
    """Another one is a mistake in the stack, not of the provider."""
    with pytest.raises(ConfigError, match="no operation 'images'; the format has: chat"):
        asyncio.run(OpenAI("http://127.0.0.1:1")(Request(operation="images")))


def frames(error: BaseException | None) -> Iterator[str]:
    """What a traceback with locals shows of our code and of aiohttp's, causes included."""
    while error is not None:
        trace = traceback.TracebackException.from_exception(error, capture_locals=True)
        yield "".join(trace.format_exception_only())
        for frame in trace.stack:
            if "tests" not in frame.filename:  # an upstream of the tests shows what it has seen
                yield f"{frame.filename} {frame.locals}"
        error = error.__cause__ or error.__context__


def test_no_way_to_show_a_leaf_shows_its_key() -> None:
    """Nor a traceback with all local variables, of an error before or after the head."""
    leaf = OpenAI("http://127.0.0.1:1/v1", api_key=s.KEY)

    async def refused() -> None:
        async with leaf:
            await leaf(s.request())

    with pytest.raises(UpstreamError) as caught:
        asyncio.run(refused())
    errors = [
        *(caught.value, play(sized(b"secret")).error, play(b"garbage\r\n\r\n").error),
        *(play(s.SSE, chunked(text("x"))).error, play(s.SSE, sleep(0.02), b"zz\r\n").error),
    ]
    shown = [repr(leaf), repr(attrs.asdict(leaf)), *(f for e in errors for f in frames(e))]

    assert "OpenAI(base_url='http://127.0.0.1:1/v1', api_key=***, connect=3.0)" == shown[0]
    assert None not in errors
    assert sum("llmstack" in each for each in shown) > 10
    assert not any(s.KEY in each for each in shown)
