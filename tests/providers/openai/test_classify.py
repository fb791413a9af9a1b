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
    Cool,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    UpstreamError,
    UpstreamTimeout,
)
from llmstack.providers.openai.classify import classify
from llmstack.providers.redact import conceal
from llmstack.providers.secret import Secret
from llmstack.providers.verdict import Phase


@pytest.mark.parametrize(
    ("header", "again"), [("false", False), (" False ", False), ("true", True), ("", True)]
)
def test_the_provider_may_only_say_no(header: str, *, again: bool) -> None:
    """``x-should-retry`` stops what the class allows, and allows nothing that it stops."""
    busy = classify(429, {"x-should-retry": header}, b"")
    broke = classify(429, {"x-should-retry": header}, b'{"error":{"code":"insufficient_quota"}}')

    assert (again, True) == (busy.again, busy.elsewhere)
    assert (False, True) == (broke.again, broke.elsewhere)


@pytest.mark.parametrize(
    "name",
    [
        *("x-request-id", "request-id", "apim-request-id", "x-generation-id"),
        *("x-amzn-requestid", "mistral-correlation-id"),
    ],
)
def test_keeps_the_id_of_the_request(name: str) -> None:
    """Under each of its names; what looks like no id is left out."""
    assert "req-1" == classify(500, {name: "req-1"}, b"").request_id
    assert classify(500, {name: "<script>"}, b"").request_id is None


def test_a_late_answer_is_the_first_token() -> None:
    """So that it may be asked again."""
    error = classify(408, {}, b"")

    assert isinstance(error, UpstreamTimeout)
    assert ("first_token", True) == (error.phase, error.again)


def test_a_date_is_measured_by_the_wall_where_the_reply_has_none() -> None:
    """The caller says what time it is."""
    headers = {"retry-after": "Sun, 06 Nov 1994 08:50:37 GMT"}

    assert 60 == classify(503, headers, b"", wall=784111777.0).retry_after


def test_repeats_little_of_what_came() -> None:
    """Never the words: the code, and for a fault of the caller the param."""
    body = b'{"error":{"message":"\\u001b[1mno: \'tell me more\' with sk-live-1234","code":"%s"}}'

    assert BadRequest().message == classify(400, {}, body % b"c").message
    assert ("",) == classify(500, {}, body % b"c").args
    assert classify(400, {}, body % b"sk-live-1234").code is None
    assert classify(400, {}, body % b"a b").code is None


KEY: Final = "hunter2pass-Zq81kk"
PROMPT: Final = "the canary sings at dawn"


@pytest.mark.parametrize("status", [400, 409, 413, 422])
@pytest.mark.parametrize("words", [f"key {KEY} is not valid for this", PROMPT, f'"{PROMPT}"'])
@pytest.mark.parametrize("frame", ["error", "text", "detail", "none"])
def test_no_word_of_the_provider_is_kept(status: int, words: str, frame: str) -> None:
    """A key without a prefix, a prompt without quotes: in no shape of the body."""
    said = {"message": words, "code": words, "type": words, "param": words}
    frames = {"error": {"error": said}, "text": {"error": words}, "detail": {"detail": words}}
    body = json.dumps(frames.get(frame, said)).encode()

    error = classify(status, {"x-request-id": words}, body)

    assert type(error)().message == error.message
    assert (None, None) == (error.code, error.request_id)


@pytest.mark.parametrize(
    ("param", "kept"),
    [
        *(("messages[0].role", True), ("tools[1].function.name", True), ("a" * 64, True)),
        *(("a" * 65, False), ("", False), ("a b", False), ("a-b", False), ("a\n", False)),
        *(("sk_live_1234", False), ("é", False), (7, False), (None, False), (["a"], False)),
    ],
)
def test_keeps_where_it_is_wrong(param: object, *, kept: bool) -> None:
    """A path, for a fault of the caller, and no other."""
    body = json.dumps({"error": {"message": PROMPT, "param": param}}).encode()
    sentence = "the endpoint called the request malformed or impossible"

    assert sentence + (f" (param {param})" if kept else "") == classify(400, {}, body).message
    assert ("",) == classify(500, {}, body).args


def test_conceals_the_very_key() -> None:
    """In whichever fact it stands, and however its letters are written; the rest stays."""
    body = b'{"error":{"code":"no_%b","param":"in.%b"}}'
    key = "hunter2pass"

    def concealed(said: bytes, secret: Secret | None) -> tuple[object, ...]:
        error = classify(400, {"x-request-id": f"id-{said.decode()}"}, body % (said, said))
        conceal(error, secret)
        return error.message, error.code, error.request_id

    bare = BadRequest().message
    whole = (f"{bare} (param in.Hunter2PASS)", "no_Hunter2PASS", "id-Hunter2PASS")
    assert (bare, None, None) == concealed(b"Hunter2PASS", Secret(key))
    assert whole == concealed(b"Hunter2PASS", None)
    assert whole == concealed(b"Hunter2PASS", Secret("other"))
    none = classify(400, {}, b"")
    conceal(none, Secret(key))
    assert (None, None) == (none.code, none.request_id)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"null", b"1", b'"x"', b"{", b"\xff", b"[" * 5000, b"[[[{}]]]"),
        *(b'{"error":null}', b'{"error":[]}', b'{"error":{"code":[],"type":{},"message":1}}'),
        *(b'{"error":{"code":true}}', b'{"error":{"code":1e400}}', b'{"error":{"code":NaN}}'),
        *(b'{"error":{"code":"\xd9\xa4\xd9\xa0\xd9\xa1"}}', b'{"error":{"metadata":[402]}}'),
        *(b'{"error":{"code":399}}', b'{"error":{"code":600}}', b'{"error":{"code":"0401"}}'),
        *(b'{"error":{"innererror":"x"}}', b'{"detail":[{"msg":"x"}]}'),
    ],
)
def test_what_says_nothing_is_judged_by_its_status(body: bytes) -> None:
    """Or is a fault of the provider, where it has none of its own."""
    assert [RateLimited, BadRequest, UpstreamError] == [
        type(classify(429, {}, body)),
        type(classify(404 + 14, {}, body)),
        type(classify(500, {}, body)).__mro__[2],
    ]
    assert "ServerError" == type(classify(200, {}, body, "event")).__name__


@pytest.mark.parametrize(("code", "kind"), [("401", "AuthFailed"), (402, "QuotaExhausted")])
def test_a_number_is_a_status_in_digits_too(code: object, kind: str) -> None:
    """It comes before the vaguer words."""
    body = json.dumps({"error": {"code": code, "type": "invalid_request_error"}}).encode()

    assert kind == type(classify(200, {}, body, "body")).__name__
    assert "invalid_request_error" == classify(200, {}, body, "body").code


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(380, 620) | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    *("error", "code", "type", "message", "metadata", "object", "innererror"),
                    *("details", "violations", "quotaId", "retryDelay", "status", "headers"),
                )
            ),
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
            *("retry-after", "x-should-retry", "x-request-id", "date", "x-amzn-errortype"),
            *("x-ratelimit-remaining", "x-ratelimit-reset", "x-ratelimit-limit-req-minute"),
        )
    )
    | st.text(max_size=20),
    st.text(max_size=30),
)


@given(st.integers(100, 999), headers, bodies, phases)
@example(400, {}, b"\x00" * 65536, "status")
@example(400, {}, b'{"error":"' + b"\xc3\xa4 'a b' " * 8000 + b'"}', "status")
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


@pytest.mark.parametrize(("before", "kind"), [(4086, "QuotaExhausted"), (4087, "RateLimited")])
def test_looks_at_the_first_words_only(before: int, kind: str) -> None:
    """A body may be long, and to search it takes time."""
    body = json.dumps({"error": {"message": "-" * before + " 9 per day"}}).encode()

    assert kind == type(classify(429, {}, body)).__name__


def test_a_long_wait_is_a_spent_quota() -> None:
    """Of the model, whatever was to be put aside for a second; a short one is a rate."""
    waits = ["900", "901"]
    mistral = [
        classify(429, {"retry-after": wait, "mistral-correlation-id": "1"}, b"") for wait in waits
    ]

    assert [(RateLimited, 900), (QuotaExhausted, 901)] == [
        (type(error), error.retry_after) for error in mistral
    ]
    assert [Cool("account", 1.0), Cool("key_model", 3600.0)] == [error.cools for error in mistral]
    assert [Overloaded, 901] == [
        type(error := classify(503, {"retry-after": "901"}, b"")),
        error.retry_after,
    ]


def test_the_headers_in_a_body_are_text() -> None:
    """What else stands there is no header, in whichever letters it is written."""
    inside = {"Retry-After": "7", "X-RateLimit-Reset": 9, "Date": None}
    body = json.dumps({"error": {"code": 429, "metadata": {"headers": inside}}}).encode()

    assert 7 == classify(429, {}, body).retry_after
    assert 3 == classify(429, {"retry-after": "3"}, body).retry_after


def test_other_headers_in_a_body_are_not_believed() -> None:
    """They are of the provider behind it."""
    inside = {"X-Request-Id": "inner", "X-Should-Retry": "false", "X-Amz-Retry-After": "9"}
    body = json.dumps({"error": {"code": 429, "metadata": {"headers": inside}}}).encode()
    error = classify(429, {}, body)

    assert (None, True, None) == (error.request_id, error.again, error.retry_after)


@pytest.mark.parametrize("of", ["", "the ", "this ", "model ", "model's ", "models ", "maximum "])
@pytest.mark.parametrize("what", ["length", "limit", "window", "size"])
@pytest.mark.parametrize("exceeds", ["exceed", "exceeds"])
def test_a_prompt_can_be_too_long_in_many_words(exceeds: str, of: str, what: str) -> None:
    """Of hosts that have no code for it."""
    for words in (
        f"it {exceeds} {of}context {what}",
        f"it {exceeds} the available context size",
        "prompt is too long",
    ):
        body = json.dumps({"error": words}).encode()

        assert "ContextLengthExceeded" == type(classify(400, {}, body)).__name__
