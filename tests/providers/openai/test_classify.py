"""The table of errors, against bodies in the shapes that providers send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack import errors
from llmstack.errors import (
    AccountFault,
    BadRequest,
    CallerFault,
    RateLimited,
    UpstreamError,
    UpstreamTimeout,
)
from llmstack.providers.openai.classify import Phase, classify
from llmstack.providers.redact import conceal
from llmstack.providers.secret import Secret


CORPUS: Final = Path(__file__).parents[2] / "corpus" / "openai" / "errors.jsonl"
ROWS: Final[list[dict[str, Any]]] = [*map(json.loads, CORPUS.read_text().splitlines())]


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['from']}: {row['case']}" for row in ROWS])
def test_means_what_the_corpus_says(row: dict[str, Any]) -> None:
    """Class, code and wait; of the words of the provider none is kept, and its param if it is."""
    error = classify(row["status"], row["headers"], row["body"].encode(), row["phase"])

    assert getattr(errors, row["class"]) is type(error)
    assert row["code"] == error.code
    assert pytest.approx(row["wait"]) == error.retry_after
    assert row["status"] == error.status
    assert error.args in {("",), (f"{type(error)().message} (param {param_of(row['body'])})",)}


def param_of(body: str) -> object:
    """The param of an error in the usual frame."""
    try:
        data = json.loads(body)
    except ValueError:
        return None
    error = data.get("error", data) if isinstance(data, dict) else None
    return error.get("param") if isinstance(error, dict) else None


def test_the_corpus_is_broad() -> None:
    """Every class that the format can mean, and every status that hosts are known to send."""
    kinds = {row["class"] for row in ROWS}
    final = {cls.__name__ for cls in UpstreamError.__subclasses__()}
    inner = {each.__name__ for cls in UpstreamError.__subclasses__() for each in leaves(cls)}

    assert len(ROWS) >= 150
    # Nothing that came is an empty reply, and a stream is judged by whoever reads it.
    assert inner - kinds - final == {"EmptyResponse"}
    assert {400, 401, 402, 403, 404, 408, 409, 413, 422, 424, 429, 498, 499, 500, 502, 503} <= {
        row["status"] for row in ROWS
    }


def leaves(kind: type[UpstreamError]) -> list[type[UpstreamError]]:
    below = [leaf for child in kind.__subclasses__() for leaf in leaves(child)]
    return [kind, *below] if "Fault" not in kind.__name__ else below


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
    "name", ["x-request-id", "request-id", "apim-request-id", "x-generation-id"]
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
                ("error", "code", "type", "message", "metadata", "object", "innererror")
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
bodies = st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode())
phases = st.sampled_from(("status", "body", "event"))
headers = st.dictionaries(
    st.sampled_from(("retry-after", "x-should-retry", "x-request-id", "date", "content-type")),
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
    assert not (isinstance(error, CallerFault) and error.elsewhere)
    assert len(error.message) <= 300
    assert error.message.isprintable()
