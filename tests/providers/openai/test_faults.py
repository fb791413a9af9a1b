"""What goes wrong between the leaf and a provider, on real sockets, case by case."""

from __future__ import annotations

import json
from typing import Final

import pytest

from llmstack.call import Usage
from llmstack.errors import (
    ConnectionLost,
    ContentFiltered,
    EmptyResponse,
    LLMStackError,
    Overloaded,
    ProtocolError,
    RateLimited,
    ServerError,
    StreamBroken,
    StreamIncomplete,
    UpstreamError,
)
from llmstack.testing.upstream import Step, fin, rst, sleep
from tests.providers.openai import scripts as s
from tests.providers.openai.scripts import chunked, event, play, sized, text


Steps = tuple[bytes | Step, ...]
LIMITED: Final = event({"error": {"type": "tokens", "code": "rate_limit_exceeded"}})
SOON: Final = sleep(0.02)
CHUNK: Final = b'data: {"choices":[{"index":0,"delta":{"content":"x'

#: Whatever was asked for, a stream or not.
HEADS: Final[dict[str, tuple[type[UpstreamError], Steps]]] = {
    "end before a reply": (ConnectionLost, (fin,)),
    "reset before a reply": (ConnectionLost, (rst,)),
    "end inside the head": (ProtocolError, (s.OK + b"X-Canary: secret\r\n", fin)),
    "reset inside the head": (ConnectionLost, (s.OK + b"X: y\r\n", SOON, rst)),
    "garbage": (ProtocolError, (b"garbage of the secret\r\n\r\n",)),
    "a body without a head": (ProtocolError, (b'{"choices": "secret"}\n', fin)),
    "a long header": (ProtocolError, (s.OK + b"X: " + b"a" * 9000 + b"\r\n\r\n",)),
    "many headers": (ProtocolError, (s.OK + b"X: secret\r\n" * 300 + b"\r\n",)),
    "two lengths": (
        ProtocolError,
        (s.OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",),
    ),
    "a NUL in a header": (ProtocolError, (s.OK + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n",)),
    "upgrade": (ProtocolError, (b"HTTP/1.1 101 Up\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",)),
    "redirect": (
        ProtocolError,
        (b"HTTP/1.1 307 Away\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",),
    ),
    "no content": (EmptyResponse, (b"HTTP/1.1 204 None\r\n\r\n",)),
    "length 0": (EmptyResponse, (sized(b""),)),
    "nothing but space": (EmptyResponse, (sized(b" \n"),)),
    "a page": (ProtocolError, (sized(b"<html>", s.OK + b"Content-Type: text/html\r\n"),)),
    "no JSON": (ProtocolError, (sized(b"secret"),)),
    "a list": (ProtocolError, (sized(b"[]"),)),
    "cut by length": (ConnectionLost, (s.JSON + b"Content-Length: 9\r\n\r\n{}", SOON, fin)),
    "cut without a length": (ProtocolError, (s.JSON + b'Connection: close\r\n\r\n{"a":', fin)),
    "error in the body": (RateLimited, (sized(b'{"error":{"code":429}}'),)),
    "error without a frame": (Overloaded, (sized(b'{"object":"error","code":503}'),)),
    "compressed": (ProtocolError, (sized(b"{}", s.JSON + b"Content-Encoding: gzip\r\n"),)),
    "compressed in some way": (ProtocolError, (sized(b"{}", s.JSON + b"Content-Encoding: x\r\n"),)),
    "status 503": (
        Overloaded,
        (sized(b"{}", b"HTTP/1.1 503 No\r\nX-Request-Id: req-1\r\nRetry-After: 2\r\n"),),
    ),
    "status 500, compressed": (
        ServerError,
        (sized(b"{}", b"HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\n"),),
    ),
    "status 500, cut": (
        ServerError,
        (b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\n{}", SOON, fin),
    ),
    "status 429, huge": (
        RateLimited,
        (sized(b"x" * 200_000, b"HTTP/1.1 429 No\r\n"),),
    ),
}

#: After the head of a stream, before any content.
EARLY: Final[dict[str, tuple[type[UpstreamError], Steps]]] = {
    "end": (ConnectionLost, (fin,)),
    "reset": (ConnectionLost, (SOON, rst)),
    "end between chunks": (ConnectionLost, (chunked(s.ROLE), SOON, fin)),
    "end inside a chunk": (ConnectionLost, (b"ff\r\n" + CHUNK, SOON, fin)),
    "bad chunk": (ProtocolError, (SOON, b"zz\r\n")),
    "bad chunk later": (ProtocolError, (chunked(s.ROLE), SOON, b"zz\r\n")),
    "bad chunk at once": (ProtocolError, (SOON, chunked(s.ROLE) + b"zz\r\n")),
    "nothing": (EmptyResponse, (s.END,)),
    "comments only": (EmptyResponse, (chunked(b": PROCESSING\n\n" * 9) + s.END,)),
    "done only": (EmptyResponse, (chunked(s.DONE) + s.END,)),
    "a bare stop": (EmptyResponse, (chunked(s.ROLE, s.STOP, s.DONE) + s.END,)),
    "usage only": (EmptyResponse, (chunked(s.ROLE, s.USAGE, s.DONE) + s.END,)),
    "an event without its end": (EmptyResponse, (chunked(text("x")[:-1]) + s.END,)),
    "error": (ServerError, (chunked(s.ERROR) + s.END,)),
    "error by code": (RateLimited, (chunked(s.ROLE, LIMITED) + s.END,)),
    "error by name": (ServerError, (chunked(b"event: error\ndata: {}\n\n"),)),
    "error, then done": (ServerError, (chunked(s.ERROR, s.DONE) + s.END,)),
    "content filter": (
        ContentFiltered,
        (chunked(event({"error": {"code": "content_filter"}})) + s.END,),
    ),
    "no JSON": (ProtocolError, (chunked(event("oops")) + s.END,)),
    "no UTF-8": (ProtocolError, (chunked(b'data: {"a":"\xff"}\n\n') + s.END,)),
    "choice 1000000": (ProtocolError, (chunked(s.chunk({"content": "x"}, None, 10**6)),)),
    "a preamble without end": (ProtocolError, (chunked(s.ROLE * 3000),)),
    "a line without end": (ProtocolError, (chunked(b"data: " + b"x" * (1 << 20)),)),
}

#: After content.
LATE: Final[dict[str, tuple[type[UpstreamError] | None, Steps]]] = {
    "end": (ConnectionLost, (SOON, fin)),
    "reset": (ConnectionLost, (SOON, rst)),
    "end inside a chunk": (ConnectionLost, (b"ff\r\n" + CHUNK, SOON, fin)),
    "bad chunk": (ProtocolError, (SOON, b"zz\r\n")),
    "clean end": (None, (s.END,)),
    "clean end inside an event": (None, (chunked(text("x")[:-1]) + s.END,)),
    "clean end with a finish that has no end": (None, (chunked(s.STOP[:-1]) + s.END,)),
    "done without a finish": (None, (chunked(s.DONE) + s.END,)),
    "one of two choices": (
        None,
        (chunked(s.chunk({"content": "x"}, None, 1), s.STOP, s.DONE) + s.END,),
    ),
    "error": (ServerError, (chunked(s.ERROR) + s.END,)),
    "error by code": (RateLimited, (chunked(LIMITED) + s.END,)),
    "error, then done": (ServerError, (chunked(s.ERROR, s.DONE) + s.END,)),
    "error after the finish": (ServerError, (chunked(s.STOP, s.ERROR, s.DONE) + s.END,)),
    "finish that is an error": (
        Overloaded,
        (chunked(s.chunk({}, "insufficient_system_resource"), s.DONE) + s.END,),
    ),
    "no JSON": (ProtocolError, (chunked(event("oops")) + s.END,)),
    "no UTF-8": (ProtocolError, (chunked(text("x").replace(b"x", b"\xff")) + s.END,)),
    "a line without end": (ProtocolError, (chunked(b"data: " + b"x" * (1 << 20)),)),
}


def leaks(error: LLMStackError) -> bool:
    """Whether anything of the request or the reply can be read from the error."""
    chain: list[BaseException] = [error]
    while (below := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(below)
    shown = " ".join(f"{each!r} {each} {vars(each)}" for each in chain)
    return any(word in shown for word in (s.KEY, s.PROMPT, "canary", "secret", "aaaa"))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("kind", "steps"), HEADS.values(), ids=HEADS)
def test_a_bad_head_or_body_is_an_error_of_the_tree(
    kind: type[UpstreamError], steps: Steps, *, stream: bool
) -> None:
    """And says nothing of what was sent, nor of what came."""
    played = play(*steps, asked=s.request(stream=stream))

    assert played.error is not None
    assert kind is type(played.error)
    assert not leaks(played.error)
    assert played.upstream.connections == 1


@pytest.mark.parametrize(("kind", "steps"), EARLY.values(), ids=EARLY)
def test_before_content_the_cause_itself_is_raised(kind: type[UpstreamError], steps: Steps) -> None:
    """So that it can be asked again, here or elsewhere."""
    played = play(s.SSE, *steps)

    assert played.error is not None
    assert kind is type(played.error)
    assert (200, "req-1") == (played.error.status, played.error.request_id)
    assert [] == played.events
    assert not leaks(played.error)


@pytest.mark.parametrize(("cause", "steps"), LATE.values(), ids=LATE)
def test_after_content_the_stream_is_broken_or_incomplete(
    cause: type[UpstreamError] | None, steps: Steps
) -> None:
    """What came before is handed on; the error names its cause, and nothing is asked again."""
    played = play(s.SSE, chunked(s.ROLE, text("Hel"), text("lo")), *steps)
    error = played.error

    assert error is not None
    assert (StreamIncomplete if cause is None else StreamBroken) is type(error)
    assert cause is None or cause is type(error.__cause__)
    assert (False, False, 200, "req-1") == (
        *(error.again, error.elsewhere, error.status, error.request_id),
    )
    assert [each[6:-2] for each in (s.ROLE, text("Hel"), text("lo"))] == played.events[:3]
    assert b"[DONE]" not in played.events
    assert not leaks(error)


def test_the_blame_is_that_of_the_cause() -> None:
    """A limit of the key is not held against the endpoint."""
    limited = play(s.SSE, chunked(text("x"), LIMITED) + s.END).error
    cut = play(s.SSE, chunked(text("x")), SOON, fin).error

    assert limited is not None
    assert cut is not None
    assert ("key", "rate_limit_exceeded") == (limited.blames, limited.code)
    assert "endpoint" == cut.blames


@pytest.mark.parametrize(
    "tail",
    [
        (s.STOP, s.USAGE, s.DONE),
        (s.USAGE, s.STOP, s.DONE),
        (s.chunk({}, "stop", usage={"prompt_tokens": 3, "completion_tokens": 2}), s.DONE),
        (s.STOP, s.USAGE),
        (s.STOP, s.USAGE, b"data:  [DONE] \n\n", s.DONE, b"data: more\n\n"),
        (s.STOP, text("late"), s.STOP, s.USAGE, s.DONE),
    ],
    ids=["usual", "usage first", "together", "no done", "done and more", "late content"],
)
def test_a_whole_stream_is_handed_on_to_its_terminal(tail: tuple[bytes, ...]) -> None:
    """Once each: one finish, one usage, one end, which is added if missing; nothing after it."""
    played = play(s.SSE, chunked(b"\xef\xbb\xbf: hello\n\n", s.ROLE, text("Hello"), *tail) + s.END)

    assert played.error is None
    assert b"late" not in b"".join(played.events)
    assert 1 == sum(b'"stop"' in each for each in played.events)
    assert played.events[-1].strip().endswith(b"[DONE]")
    assert 1 == sum(b"[DONE]" in each for each in played.events)
    assert (200, Usage(3, 2)) == (played.stream.status, played.stream.usage)
    assert played.stream.ended is not None
    assert "ok" == played.stream.ended.how


KEYED: Final = {"error": {"message": s.KEY, "code": f"no.{s.KEY}", "param": f"in.{s.KEY}"}}
HEADED: Final = s.SSE.replace(b"req-1", f"id.{s.KEY}".encode())
BAD: Final = HEADED.replace(b"200 OK", b"400 Bad Request")


@pytest.mark.parametrize(
    "steps",
    [
        (BAD, chunked(json.dumps(KEYED).encode()) + s.END),
        (HEADED, chunked(s.event(KEYED)) + s.END),
        (HEADED, chunked(text("x")), chunked(s.event(KEYED)) + s.END),
        (HEADED, chunked(text("x")) + s.END),
    ],
    ids=["status", "before content", "after content", "incomplete"],
)
def test_the_key_is_kept_in_no_fact_of_an_error(steps: Steps) -> None:
    """Nor in those of its cause, even where codes and ids have it in them."""
    error = play(*steps).error

    assert error is not None
    for each in (error, error.__cause__ or error):
        assert isinstance(each, UpstreamError)
        assert (None, None) == (each.code, each.request_id)
        assert s.KEY not in f"{each} {each!r}"
