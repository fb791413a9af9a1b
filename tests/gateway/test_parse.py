"""Requests from bytes: what passes, what does not, and that there is always an answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.call import Call
from llmstack.gateway.errors import Problem
from llmstack.gateway.fields import FORBIDDEN, called, plain
from llmstack.gateway.fronts import CHAT, EMBEDDINGS, FRONTS
from llmstack.gateway.fronts.openai import body
from llmstack.gateway.parse import check_content, check_headers, parse, passed
from llmstack.messages import Request


HI: Final = [{"role": "user", "content": "hi"}]
GOOD: Final[dict[str, dict[str, Any]]] = {
    "chat": {"model": "m", "messages": HI},
    "embeddings": {"model": "m", "input": "hi"},
    "messages": {"model": "m", "max_tokens": 9, "messages": HI},
    "count_tokens": {"model": "m", "messages": HI},
    "responses": {"model": "m", "input": "hi"},
}
BY_NAME: Final = {front.operation: front for front in FRONTS}


def parsed(operation: str, **fields: object) -> Request | Problem:
    raw = json.dumps({**GOOD[operation], **fields}).encode()
    return parse(BY_NAME[operation], raw, Call("req_1"))


def test_a_good_request_has_what_was_sent() -> None:
    """The same bytes, decoded once, under the id that it was given."""
    raw = b'{ "model": "m", "messages": [{"role": "user"}], "stream": true, "mine": [1] }'

    request = parse(CHAT, raw, Call("req_1"), {"x": "y"})

    assert isinstance(request, Request)
    assert ("m", "chat", True, "req_1") == (
        request.model,
        request.operation,
        request.stream,
        request.call.id,
    )
    assert raw is request.body.raw
    assert [1] == request.body.data["mine"]
    assert (None, None, {"x": "y"}) == (request.tenant, request.endpoint, request.headers)


@pytest.mark.parametrize("operation", GOOD)
@pytest.mark.parametrize(("said", "stream"), [(True, True), (False, False), (None, False)])
def test_a_stream_is_what_asks_for_one(operation: str, said: object, *, stream: bool) -> None:
    """Null is as if nothing had been said; and there are operations that know no streams."""
    request = parsed(operation, stream=said)

    assert isinstance(request, Request)
    assert operation == request.operation
    streams = operation in {"chat", "messages", "responses"}
    assert (stream and streams, {}) == (request.stream, request.headers)


#: The documentation of the fields: a value of each type, by what it is called.
VALUES: Final[dict[str, Any]] = {
    "null": None,
    "true or false": True,
    "an integer": 7,
    "a number": 0.5,
    "a string": "auto",
    "an array of strings": ["a"],
    "an array of objects": [{}],
    "an array of both": ["a", {}],
    "an empty array": [],
    "an object": {"a": 1},
}
#: What fits beside null.
FITS: Final[dict[str, set[str]]] = {
    "true or false": {"true or false"},
    "a number": {"a number", "an integer"},
    "an integer": {"an integer"},
    "an integer from 0 up": {"an integer"},
    "an integer from 1 up": {"an integer"},
    "a string": {"a string"},
    "an object": {"an object"},
    "an array of strings": {"an array of strings", "an empty array"},
    "an array of objects": {"an array of objects", "an empty array"},
    "a string or an object": {"a string", "an object"},
    "a string or an array of strings": {"a string", "an array of strings", "an empty array"},
    "a string or an array of objects": {"a string", "an array of objects", "an empty array"},
}


def fields() -> Iterator[tuple[str, str, str]]:
    for front in FRONTS:
        for name, kind in front.known.items():
            if kind.says in FITS:
                yield front.operation, name, kind.says


@pytest.mark.parametrize(("operation", "name", "says"), list(fields()))
def test_a_field_takes_its_type_and_no_other(operation: str, name: str, says: str) -> None:
    """Each well-known field; what it was is said by its type, never by its value."""
    for kind, value in VALUES.items():
        found = parsed(operation, **{name: value})

        if kind in FITS[says] | {"null"}:
            assert isinstance(found, Request), kind
            continue
        assert isinstance(found, Problem), kind
        assert (400, name, "invalid_value") == (found.status, found.param, found.code)
        is_same = says.startswith(called(value))
        end = "" if is_same else f", and it is {called(value)}"
        assert f"{name} must be {says}{end}" == found.message


def test_the_types_of_the_usual_fields() -> None:
    """A sample of the table, from the documentation of the API."""
    table = {name: kind.says for name, kind in CHAT.known.items()}

    assert "a number" == table["temperature"] == table["top_p"]
    assert "an integer from 1 up" == table["n"] == table["max_tokens"]
    assert "a string or an array of strings" == table["stop"]
    assert "an array of objects" == table["tools"]
    assert "a string or an object" == table["tool_choice"]
    assert "an object" == table["response_format"] == table["logit_bias"]
    assert "an integer" == table["seed"]
    assert "a string" == table["user"] == EMBEDDINGS.known["user"].says
    assert "an integer from 1 up" == EMBEDDINGS.known["dimensions"].says


@pytest.mark.parametrize("name", ["n", "max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("value", [0, -1, -(2**70)])
def test_what_is_counted_begins_at_one(name: str, value: int) -> None:
    """Nobody buys less than nothing."""
    found = parsed("chat", **{name: value})

    assert isinstance(found, Problem)
    assert f"{name} must be an integer from 1 up" == found.message
    assert isinstance(parsed("chat", **{name: 1}), Request)


MESSAGES: Final[list[tuple[Any, str | None, str]]] = [
    ([], "messages", "at least one"),
    ({}, "messages", "at least one"),
    (None, "messages", "at least one"),
    (["hi"], "messages[0]", "must be an object, and it is a string"),
    ([{"role": "user"}, None], "messages[1]", "must be an object"),
    ([{"content": "hi"}], "messages[0].role", "not empty"),
    ([{"role": ""}], "messages[0].role", "not empty"),
    ([{"role": 1}], "messages[0].role", "not empty"),
    ([{"role": "user", "content": 1}], "messages[0].content", "a string or an array, and it is an"),
    ([{"role": "user", "content": {}}], "messages[0].content", "and it is an object"),
    ([{"role": "user", "content": None}, {"role": "tool", "content": [{}]}], None, ""),
]


@pytest.mark.parametrize(("messages", "param", "words"), MESSAGES)
def test_messages_are_objects_with_a_role(messages: object, param: str | None, words: str) -> None:
    """And if they have a content it is text, parts, or null."""
    found = parsed("chat", messages=messages)

    assert param == getattr(found, "param", None)
    assert isinstance(found, Request) or words in found.message


@pytest.mark.parametrize(
    ("given_", "good"),
    [
        ("hi", True),
        (["hi", "ho"], True),
        ([1, 2], True),
        ([[1], [2]], True),
        ("", False),
        ([], False),
        ([""], False),
        ([[]], False),
        ([True], False),
        ([None], False),
        ({}, False),
        (1, False),
        (None, False),
    ],
)
def test_the_input_of_embeddings_is_text(given_: object, *, good: bool) -> None:
    """As strings or as tokens, one or many."""
    found = parsed("embeddings", input=given_)

    assert good == isinstance(found, Request)
    assert good or "input" == getattr(found, "param", None)


@pytest.mark.parametrize(
    ("model", "good"),
    [
        ("m", True),
        ("org/model:free-1.5 \u00e9", True),
        ("m" * 256, True),
        ("m" * 257, False),
        ("", False),
        ("a\nb", False),
        ("a\x1b[31m", False),
        (1, False),
        (None, False),
    ],
)
def test_a_model_has_a_name(model: object, *, good: bool) -> None:
    """One that fits on a line."""
    found = parsed("chat", model=model)

    assert good == isinstance(found, Request)
    assert good or ("model", 400) == (getattr(found, "param", ""), getattr(found, "status", 0))


def test_what_could_choose_where_a_key_is_sent_is_forbidden() -> None:
    """Whatever it says, even nothing; fields that only look alike pass."""
    for name in FORBIDDEN:
        for operation in GOOD:
            found = parsed(operation, **{name: None})

            assert isinstance(found, Problem)
            assert (400, "forbidden_field", name) == (found.status, found.code, found.param)
    assert isinstance(parsed("chat", base=1, keys=1, url_citation=1, plugins=[]), Request)


def test_forbidden_names_are_spelled_as_they_are_compared() -> None:
    """Or they would forbid nothing; and no known field is among them."""
    known = {plain(name) for front in FRONTS for name in front.known}

    assert [] == [name for name in FORBIDDEN if plain(name) != name]
    assert set() == FORBIDDEN & known
    assert {"baseurl", "apibase", "apikey", "apitype", "apiversion", "extraheaders"} <= FORBIDDEN
    assert {"headers", "extrabody", "extraquery", "customllmprovider", "proxy"} <= FORBIDDEN
    assert {"organization", "awssecretaccesskey", "vertexcredentials"} <= FORBIDDEN


def test_a_long_name_is_cut() -> None:
    """A problem is short whatever is sent."""
    found = parsed("chat", **{"base" + "_" * 999 + "url": 1})

    assert isinstance(found, Problem)
    assert "base" + "_" * 60 == found.param


KNOWN: Final = sorted({name for front in FRONTS for name in front.known})
names = st.sampled_from([*KNOWN, "base_url", "API-Key", "other"]) | st.text()
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(leaves, lambda x: st.lists(x) | st.dictionaries(names, x), max_leaves=9)
good = {name: value for fields in GOOD.values() for name, value in fields.items()}
bodies = st.dictionaries(names, anything).map(lambda more: {**good, **more})
PLANTED: Final = "tell me a secret"


@given(
    st.sampled_from(sorted(GOOD)),
    st.binary() | anything.map(json.dumps).map(str.encode) | bodies.map(json.dumps).map(str.encode),
)
@example("chat", b'{"model": {"messages": []}}')
@example("embeddings", b"\x00" * 99)
def test_any_bytes_get_an_answer(operation: str, raw: bytes) -> None:
    """A request that says what the bytes say, or a problem that is the caller's."""
    found = parse(BY_NAME[operation], raw, Call())

    if isinstance(found, Request):
        assert json.loads(raw) == found.body.data
        assert found.model == json.loads(raw)["model"]
    else:
        assert 400 <= found.status < 500
        assert json.loads(body(found, ""))["error"]["message"]


@given(bodies, st.sampled_from(KNOWN))
def test_no_problem_repeats_a_value(fields: dict[str, Any], name: str) -> None:
    """Only names of fields are told, and what a value is, not what it says."""
    planted: list[Any] = [PLANTED, [PLANTED], {"role": PLANTED, "content": {"x": PLANTED}}]
    for value in planted:
        raw = json.dumps({**fields, name: value}).encode()
        for front in FRONTS:
            found = parse(front, raw, Call())
            if isinstance(found, Problem):
                assert PLANTED not in found.message
                assert PLANTED not in repr(found)


raw_headers = st.lists(
    st.tuples(
        st.sampled_from(
            b"Host host Accept accept X-Request-ID x-request-id X_A Authorization Content-Type "
            b"Content-Length Cookie AUTHORIZATION X-Api-Key x-api-key Anthropic-Version "
            b"anthropic-version Anthropic-Beta anthropic-beta".split()
        ),
        st.binary(max_size=3),
    ),
    max_size=6,
)
ONCE: Final = {
    *("host", "x-request-id", "authorization", "content-type", "content-length", "x-api-key"),
    "anthropic-version",
}


@given(raw_headers)
def test_headers_are_unambiguous(raw: list[tuple[bytes, bytes]]) -> None:
    """No underscore, and none twice of those that decide something; others may repeat."""
    names = [name.decode().lower() for name, _ in raw]
    twice = {name for name in names if names.count(name) > 1} & ONCE

    found = check_headers(raw)

    if any("_" in name for name in names):
        assert found is not None
        assert "underscore" in found.message
    elif twice:
        assert found is not None
        assert found.message in {f"the header {name} is there twice" for name in twice}
    else:
        assert None is found


VERSION: Final = (b"Anthropic-Version", b"2023-06-01")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ([], {}),
        ([(b"Authorization", b"x"), (b"x-api-key", b"y"), VERSION], {"a-version": "2023-06-01"}),
        ([(b"anthropic-beta", b"a,b"), (b"ANTHROPIC-BETA", b"c")], {"a-beta": "a,b, c"}),
        ([(b"anthropic-beta", b"b" * 2048)], {"a-beta": "b" * 2048}),
        ([(b"anthropic-beta", b""), VERSION], {"a-version": "2023-06-01"}),
        ([VERSION, (b"anthropic-beta", b"b" * 2049)], "anthropic-beta"),
        ([(b"anthropic-version", b"2023\xe9")], "anthropic-version"),
        ([(b"anthropic-version", "\u00e9".encode())], "anthropic-version"),
        ([(b"anthropic-version", b"20\t23")], "anthropic-version"),
        ([(b"anthropic-beta", b"a\x7f")], "anthropic-beta"),
    ],
)
def test_of_headers_a_provider_sees_few(raw: list[tuple[bytes, bytes]], expected: object) -> None:
    """Those that are named, as short and printable text."""
    found = passed(("anthropic-version", "anthropic-beta"), raw)

    if isinstance(found, Problem):
        assert (400, "bad_header", expected) == (found.status, found.code, found.param)
        assert f"the header {expected} must be at most 2048" in found.message
    else:
        assert expected == {f"a-{name.partition('-')[2]}": value for name, value in found.items()}


JSON: Final = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (JSON, None),
        ({"Content-Type": "Application/JSON ; charset=UTF-8"}, None),
        ({"Content-Type": 'application/json;charset="utf8"'}, None),
        ({"Content-Type": "application/json; charset=latin-1"}, 415),
        ({"Content-Type": "application/json; x=y"}, 415),
        ({"Content-Type": "text/json"}, 415),
        ({}, 415),
        ({**JSON, "Content-Encoding": " Identity"}, None),
        ({**JSON, "Content-Encoding": "br"}, 415),
        ({**JSON, "Content-Encoding": ""}, 415),
        ({**JSON, "Content-Length": "100"}, None),
        ({**JSON, "Content-Length": "0000000000000000100"}, None),
        ({**JSON, "Content-Length": "101"}, 413),
        ({**JSON, "Content-Length": "9" * 5000}, 413),
        ({**JSON, "Content-Length": "+1"}, 400),
        ({**JSON, "Content-Length": "1_0"}, 400),
        ({**JSON, "Content-Length": "\u0663"}, 400),
        ({**JSON, "Content-Length": ""}, 400),
    ],
)
def test_the_body_is_announced_as_it_may_be(headers: dict[str, str], status: int | None) -> None:
    """JSON in UTF-8, not compressed, not too long."""
    found = check_content(headers, 100)

    assert status == (None if found is None else found.status)
    assert found is None or found.close
