"""What goes wrong between the leaf and a provider, on real sockets, case by case."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.call import Usage
from llmstack.errors import (
    BadRequest,
    ConnectionLost,
    EmptyResponse,
    LLMStackError,
    Overloaded,
    PayloadTooLarge,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    ServerError,
    StreamBroken,
    StreamIncomplete,
    UpstreamError,
)
from llmstack.testing.upstream import Step, fin, rst, sleep
from tests.providers.anthropic import scripts as s
from tests.providers.anthropic.scripts import chunked, play, sized, text


Steps = tuple[bytes | Step, ...]
SOON: Final = sleep(0.02)
LIMITED: Final = s.error("rate_limit_error")
SPENT: Final = s.error("rate_limit_error", details={"error_code": "enforced_spend_limit_reached"})
TOOL: Final = s.event(
    "content_block_start",
    index=0,
    content_block={"type": "tool_use", "id": "t", "name": "f", "input": {}},
)


def cased(body: object, status: bytes = b"200 OK", head: bytes = b"") -> bytes:
    """A reply of JSON."""
    return sized(json.dumps(body).encode(), b"HTTP/1.1 %b\r\n%b" % (status, head))


BROKE: Final = {"type": "error", "error": {"type": "rate_limit_error", "message": "canary"}}

#: Whatever was asked for, a stream or not.
HEADS: Final[dict[str, tuple[type[UpstreamError], Steps]]] = {
    "end before a reply": (ConnectionLost, (fin,)),
    "reset before a reply": (ConnectionLost, (rst,)),
    "garbage": (ProtocolError, (b"garbage of the secret\r\n\r\n",)),
    "redirect": (
        ProtocolError,
        (b"HTTP/1.1 307 Away\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",),
    ),
    "length 0": (EmptyResponse, (sized(b""),)),
    "a page": (ProtocolError, (sized(b"<html>", s.OK + b"Content-Type: text/html\r\n"),)),
    "no JSON": (ProtocolError, (sized(b"secret"),)),
    "a list": (ProtocolError, (sized(b"[]"),)),
    "cut by length": (ConnectionLost, (s.JSON + b"Content-Length: 9\r\n\r\n{}", SOON, fin)),
    "cut without a length": (ProtocolError, (s.JSON + b'Connection: close\r\n\r\n{"a":', fin)),
    "error in the body": (RateLimited, (cased(BROKE),)),
    "status 529": (Overloaded, (cased({}, b"529 Site is overloaded", b"Retry-After: 2\r\n"),)),
    "status 429, a plan": (QuotaExhausted, (cased(BROKE, b"429 No", b"Retry-After: 7999\r\n"),)),
    "status 413, a page": (
        PayloadTooLarge,
        (sized(b"<html>canary", b"HTTP/1.1 413 No\r\nContent-Type: text/html\r\n"),),
    ),
    "status 500, compressed": (
        ServerError,
        (sized(b"{}", b"HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\n"),),
    ),
    "status 400, huge": (BadRequest, (sized(b"x" * 200_000, b"HTTP/1.1 400 No\r\n"),)),
}

#: After the head of a stream, before any content.
EARLY: Final[dict[str, tuple[type[UpstreamError], Steps]]] = {
    "end": (ConnectionLost, (fin,)),
    "reset": (ConnectionLost, (SOON, rst)),
    "end between chunks": (ConnectionLost, (chunked(s.ROLE), SOON, fin)),
    "bad chunk": (ProtocolError, (chunked(s.ROLE), SOON, b"zz\r\n")),
    "nothing": (EmptyResponse, (s.END,)),
    "pings only": (EmptyResponse, (chunked(s.START, s.PING * 9) + s.END,)),
    "stop only": (EmptyResponse, (chunked(s.STOP) + s.END,)),
    "an empty turn": (EmptyResponse, (chunked(s.ROLE, s.TAIL) + s.END,)),
    "empty text": (EmptyResponse, (chunked(s.ROLE, text(""), s.TAIL) + s.END,)),
    "an event without its end": (EmptyResponse, (chunked(text("x")[:-1]) + s.END,)),
    "overloaded": (Overloaded, (chunked(s.error("overloaded_error")) + s.END,)),
    "rate": (RateLimited, (chunked(s.ROLE, LIMITED) + s.END,)),
    "cap": (QuotaExhausted, (chunked(s.ROLE, SPENT) + s.END,)),
    "error, then the end": (ServerError, (chunked(s.error("api_error"), s.STOP) + s.END,)),
    "no JSON": (ProtocolError, (chunked(b"data: oops\n\n") + s.END,)),
    "no UTF-8": (ProtocolError, (chunked(b'data: {"a":"\xff"}\n\n') + s.END,)),
    "block 1000000": (ProtocolError, (chunked(text("x", 10**6)),)),
    "a preamble without end": (ProtocolError, (chunked(s.PING * 8000),)),
    "a line without end": (ProtocolError, (chunked(b"data: " + b"x" * (1 << 20)),)),
}

#: After content.
LATE: Final[dict[str, tuple[type[UpstreamError] | None, Steps]]] = {
    "end": (ConnectionLost, (SOON, fin)),
    "reset": (ConnectionLost, (SOON, rst)),
    "end inside a chunk": (ConnectionLost, (b"ff\r\n" + text("x")[:20], SOON, fin)),
    "bad chunk": (ProtocolError, (SOON, b"zz\r\n")),
    "clean end": (None, (s.END,)),
    "clean end inside an event": (None, (chunked(text("x")[:-1]) + s.END,)),
    "clean end after the reason": (None, (chunked(s.CLOSE, s.ended("end_turn", 2)) + s.END,)),
    "a terminal that has no end": (None, (chunked(s.CLOSE, s.STOP[:-1]) + s.END,)),
    "overloaded": (Overloaded, (chunked(s.error("overloaded_error")) + s.END,)),
    "rate": (RateLimited, (chunked(LIMITED) + s.END,)),
    "error, then the end": (ServerError, (chunked(s.error("api_error"), s.STOP) + s.END,)),
    "error after the reason": (
        Overloaded,
        (chunked(s.CLOSE, s.ended("end_turn", 2), s.error("overloaded_error")) + s.END,),
    ),
    "no JSON": (ProtocolError, (chunked(b"data: oops\n\n") + s.END,)),
    "the end of another format": (ProtocolError, (chunked(b"data: [DONE]\n\n") + s.END,)),
    "no UTF-8": (ProtocolError, (chunked(text("x").replace(b'"x"', b'"\xff"')) + s.END,)),
    "a line without end": (ProtocolError, (chunked(b"data: " + b"x" * (1 << 20)),)),
}


def leaks(error: LLMStackError) -> bool:
    """Whether anything of the request or the reply can be read from the error."""
    chain: list[BaseException] = [error]
    while (below := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(below)
    shown = " ".join(f"{each!r} {each} {vars(each)}" for each in chain)
    return any(word in shown for word in (s.KEY, s.PROMPT, "canary", "secret"))


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
    assert (200, "req_1") == (played.error.status, played.error.request_id)
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
    assert (False, False, 200, "req_1") == (
        *(error.again, error.elsewhere, error.status, error.request_id),
    )
    assert b"".join(played.events).startswith(s.ROLE + text("Hel") + text("lo"))
    assert s.STOP not in played.events
    assert not leaks(error)


def test_the_blame_is_that_of_the_cause() -> None:
    """A limit of the key is not held against the endpoint."""
    limited = play(s.SSE, chunked(text("x"), LIMITED) + s.END).error
    spent = play(s.SSE, chunked(text("x"), SPENT) + s.END).error
    cut = play(s.SSE, chunked(text("x")), SOON, fin).error

    assert [
        ("key", "rate_limit_error"),
        ("account", "enforced_spend_limit_reached"),
        ("endpoint", None),
    ] == [(each.blames, each.code) for each in (limited, spent, cut) if each is not None]


def test_arguments_that_are_cut_are_not_presented_as_whole() -> None:
    """Half a command must not be run."""
    piece = s.event(
        "content_block_delta",
        index=0,
        delta={"type": "input_json_delta", "partial_json": '{"command": "rm -r x'},
    )
    played = play(s.SSE, chunked(s.START, TOOL, piece, s.CLOSE) + s.END)

    assert StreamIncomplete is type(played.error)
    assert [s.START, TOOL, piece, s.CLOSE] == played.events
    assert played.stream.ended is not None
    assert "failed" == played.stream.ended.how


@pytest.mark.parametrize(
    ("tail", "dropped"),
    [
        ((s.CLOSE, s.ended("end_turn", 2), s.STOP), b""),
        ((s.CLOSE, s.ended("max_tokens", 1), s.ended(None, 2), s.STOP), b""),
        ((s.ended("end_turn", 2), s.STOP), b""),
        ((s.ended("end_turn", 2), s.STOP), s.STOP + text("late") + s.error("api_error")),
        ((s.event("message_news", x=1), s.ended("end_turn", 2), s.STOP), b"data: [DONE]\n\n"),
    ],
    ids=["usual", "said twice", "an open block", "more after the end", "news"],
)
def test_a_whole_stream_is_handed_on_to_its_terminal(
    tail: tuple[bytes, ...], dropped: bytes
) -> None:
    """As it came, the last count of the tokens, and nothing after the end."""
    whole = s.ROLE + text("Hello") + b"".join(tail)
    played = play(s.SSE, chunked(b"\xef\xbb\xbf: hello\n\n", whole, dropped) + s.END)

    assert played.error is None
    assert whole == b"".join(played.events).removeprefix(b": hello\n\n")
    assert (200, Usage(3, 2, 4)) == (played.stream.status, played.stream.usage)
    assert played.stream.ended is not None
    assert "ok" == played.stream.ended.how


def cuts(stream: bytes) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, len(stream) - 1), max_size=5).map(sorted)


ENDS: Final = (
    *(s.WHOLE, s.WHOLE + text("late"), s.ROLE + text("ö") + s.error("api_error")),
    *(s.ROLE + text("x"), s.ROLE + s.error("api_error"), s.ROLE + s.TAIL),
)


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


KEYED: Final = {"error": {"type": f"no.{s.KEY}", "message": f"messages.{s.KEY}: {s.KEY}"}}
HEADED: Final = s.SSE.replace(b"req_1", f"id.{s.KEY}".encode())
BAD: Final = HEADED.replace(b"200 OK", b"400 Bad Request")


@pytest.mark.parametrize(
    "steps",
    [
        (BAD, chunked(json.dumps(KEYED).encode()) + s.END),
        (HEADED, chunked(s.event("error", **KEYED)) + s.END),
        (HEADED, chunked(text("x")), chunked(s.event("error", **KEYED)) + s.END),
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
