"""What is kept of an error, and what is not; the table itself is in the corpus."""

from __future__ import annotations

import json
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.errors import (
    AccountFault,
    BadRequest,
    CallerFault,
    QuotaExhausted,
    RateLimited,
    UpstreamError,
    UpstreamTimeout,
)
from llmstack.providers.anthropic.classify import classify
from llmstack.providers.verdict import Phase


@pytest.mark.parametrize(
    ("header", "again"), [("false", False), (" False ", False), ("true", True), ("", True)]
)
def test_the_provider_may_only_say_no(header: str, *, again: bool) -> None:
    """``x-should-retry`` stops what the class allows, and allows nothing that it stops."""
    busy = classify(529, {"x-should-retry": header}, b"")
    broke = classify(402, {"x-should-retry": header}, b"")

    assert (again, True) == (busy.again, busy.elsewhere)
    assert (False, True) == (broke.again, broke.elsewhere)


def test_keeps_the_id_of_the_request() -> None:
    """Which is in a header of its own."""
    request = "req_011CVQe1dLrGNMJyE1ghG1av"

    assert request == classify(500, {"request-id": request}, b"").request_id
    assert classify(500, {"request-id": "<script>"}, b"").request_id is None


def test_a_late_answer_is_the_first_token() -> None:
    """So that it may be asked again."""
    error = classify(504, {}, b'{"type":"error","error":{"type":"timeout_error"}}')

    assert isinstance(error, UpstreamTimeout)
    assert ("first_token", True) == (error.phase, error.again)


def test_a_date_is_measured_by_the_wall_where_the_reply_has_none() -> None:
    """The caller says what time it is; the windows of a plan end at a date too."""
    headers = {"retry-after": "Sun, 06 Nov 1994 08:50:37 GMT"}
    plan = {"anthropic-ratelimit-unified-reset": "1784111777"}

    assert 60 == classify(503, headers, b"", wall=784111777.0).retry_after
    spent = classify(429, plan, b"", wall=1784111777.0 - 1000)
    assert (QuotaExhausted, 1000) == (type(spent), spent.retry_after)
    assert classify(429, plan, b"").retry_after is None
    dated = {**plan, "date": "Wed, 15 Jul 2026 10:34:37 GMT"}
    assert 100 == classify(429, dated, b"", wall=0.0).retry_after


KEY: Final = "hunter2pass-Zq81kk"
PROMPT: Final = "the canary sings at dawn"


@pytest.mark.parametrize("status", [400, 409, 413, 429])
@pytest.mark.parametrize("words", [f"key {KEY} is not valid for this", PROMPT, f"{KEY}: {PROMPT}"])
@pytest.mark.parametrize("frame", ["error", "text", "detail", "none", "details"])
def test_no_word_of_the_provider_is_kept(status: int, words: str, frame: str) -> None:
    """A key without a prefix, a prompt without quotes: in no shape of the body."""
    said = {"message": words, "code": words, "type": words, "param": words}
    frames = {
        "error": {"type": "error", "error": said},
        "text": {"error": words},
        "detail": {"detail": words},
        "details": {"error": {**said, "details": {"error_code": words}}},
    }
    body = json.dumps(frames.get(frame, said)).encode()

    error = classify(status, {"request-id": words, "x-amzn-errortype": words}, body)

    assert type(error)().message == error.message
    assert error.request_id is None
    assert error.code in {None, KEY}  # a word alone looks like a code: `conceal` is for that


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ("messages.0.content.1.text: Field required", "messages.0.content.1.text"),
        ("max_tokens: 9 > 4", "max_tokens"),
        ("tools.0.custom.input_schema: JSON schema is invalid", "tools.0.custom.input_schema"),
        ("top_p: out of range", "top_p"),
        ("system.0: x", "system.0"),
        *((f"{name}.a: x", f"{name}.a") for name in ("thinking", "metadata", "output_config")),
        *((f"{name}: x", name) for name in ("tools", "tool_choice", "stop_sequences", "top_k")),
        ("temperature: x", "temperature"),
        ("messages.0.sk_live_1234: x", None),
        (f"messages.{'a' * 60}: x", None),
        ("messages: x", "messages"),
        ("messages are wrong: x", None),
        ("messages.0:x", None),
        ("hunter2: x", None),
        ("topics.0: x", None),
        (f"{PROMPT} messages.0: x", None),
    ],
)
def test_keeps_where_it_is_wrong(message: str, place: str | None) -> None:
    """The place stands first in the words; for a fault of the caller alone."""
    body = json.dumps({"type": "error", "error": {"message": message}}).encode()
    sentence = "the endpoint called the request malformed or impossible"

    assert sentence + (f" (param {place})" if place else "") == classify(400, {}, body).message
    assert ("",) == classify(500, {}, body).args


def test_a_fault_of_the_caller_has_no_wait() -> None:
    """To wait would not help."""
    assert classify(400, {"retry-after": "3"}, b"").retry_after is None


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"null", b"1", b'"x"', b"{", b"\xff", b"[" * 5000, b"[[[{}]]]"),
        *(b'{"error":null}', b'{"error":[]}', b'{"error":{"code":[],"type":{},"message":1}}'),
        *(b'{"error":{"details":[]}}', b'{"error":{"details":{"error_code":7}}}'),
        *(b'{"error":{"details":{"error_code":""}}}', b'{"error":{"type":"api_error"}}'),
    ],
)
def test_what_says_nothing_is_judged_by_its_status(body: bytes) -> None:
    """Or is a fault of the provider, where it has none of its own."""
    assert [RateLimited, BadRequest] == [
        type(classify(429, {}, body)),
        type(classify(418, {}, body)),
    ]
    assert "ServerError" == type(classify(200, {}, body, "event")).__name__


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(380, 620) | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("error", "details", "error_code", "code", "type", "message")),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
long = st.binary(min_size=1, max_size=64).map(lambda some: (some * 65536)[:65536])
bodies = st.binary(max_size=200) | long | json_values.map(lambda value: json.dumps(value).encode())
phases = st.sampled_from(("status", "body", "event"))
headers = st.dictionaries(
    st.sampled_from(
        (
            *("retry-after", "x-should-retry", "request-id", "date", "x-amzn-errortype"),
            *("anthropic-ratelimit-unified-status", "anthropic-ratelimit-unified-reset"),
            *("anthropic-ratelimit-unified-5h-reset", "anthropic-ratelimit-unified-5h-status"),
        )
    ),
    st.text(max_size=30),
)
LONG: Final = (b'{"error":{"message":"' + b"a " * 32000 + b'"}}', b"[" * 65536, b"\x00" * 65536)


@given(st.integers(100, 999), headers, bodies, phases)
@example(400, {}, LONG[0], "status")
@example(400, {}, LONG[1], "status")
@example(400, {}, LONG[2], "status")
def test_is_total(status: int, headers: dict[str, str], body: bytes, phase: Phase) -> None:
    """Whatever comes is an error of the tree, and what is final is never asked again."""
    error = classify(status, headers, body, phase)

    assert isinstance(error, UpstreamError)
    assert not (isinstance(error, (CallerFault, AccountFault)) and error.again)
    assert not (isinstance(error, CallerFault) and (error.elsewhere or error.cools))
    assert error.cools is None or error.cools.seconds > 0
    assert error.retry_after is None or 0 <= error.retry_after < 1e10
    assert len(error.message) <= 300
    assert error.message.isprintable()


@pytest.mark.parametrize(("before", "kind"), [(1018, QuotaExhausted), (1019, BadRequest)])
def test_looks_at_the_first_words_only(before: int, kind: type[UpstreamError]) -> None:
    """A body may be long, and to search it takes time."""
    body = json.dumps({"error": {"message": "-" * before + " spend"}}).encode()

    assert kind is type(classify(400, {}, body))
