"""The body: the caller's bytes go on as they are, but for the name of the model."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.body import Body, as_body


texts = st.text(max_size=6) | st.sampled_from(
    ["model", '"model"', '\\"model": "x', "model\\", "é☃😀"]
)
names = texts | st.sampled_from(["gpt-4o", 'a"b', "a\\b", "\ud800", ""])
numbers = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts | st.just("model"), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(texts, values, max_size=4).flatmap(
    lambda rest: st.tuples(st.just(rest), st.none() | names | values).map(
        lambda both: both[0] if both[1] is None else {**both[0], "model": both[1]}
    )
)
encodings: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "ensure_ascii": st.booleans(),
        "indent": st.none() | st.integers(0, 2),
        "separators": st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :\n")]),
    }
)


def written(data: object, how: dict[str, Any]) -> bytes:
    """One of the many ways to write *data*; lone surrogates can be written in escapes only."""
    try:
        return json.dumps(data, **how).encode()
    except UnicodeEncodeError:
        return json.dumps(data, **{**how, "ensure_ascii": True}).encode()


@given(data=objects, model=names, how=encodings)
@example({"a": "\ud800"}, "\ud800", {"ensure_ascii": False})
@example({"model": "a", "b": {"model": "a"}}, "a", {})
def test_another_model_is_named_and_nothing_else_changes(
    data: dict[str, object], model: str, how: dict[str, Any]
) -> None:
    """Whatever the body holds and however it is written; the same name changes no byte."""
    raw = written(data, how)
    named = Body(raw).named(model)

    assert {**data, "model": model} == json.loads(named)
    if data.get("model") == model:
        assert raw == named


@given(data=objects, model=names)
def test_data_is_named_like_bytes(data: dict[str, object], model: str) -> None:
    """A body given as a mapping is written once, and read as it was given."""
    body = as_body(data)

    assert data == body.data
    assert data == json.loads(body.raw)
    assert body.raw is body.raw
    assert {**data, "model": model} == json.loads(body.named(model))
    assert data == body.data


SPLICED: Final[dict[str, tuple[bytes, bytes]]] = {
    "plain": (b'{"model":"a","n":1.0}', b'{"model":"NEW","n":1.0}'),
    "spaces": (
        b'{ "n" : 1e2,\n\t"model"\r\n :  "a" } ',
        b'{ "n" : 1e2,\n\t"model"\r\n :  "NEW" } ',
    ),
    "escapes in the old name": (b'{"model":"a\\"b\\\\","n":2}', b'{"model":"NEW","n":2}'),
    "escaped quotes elsewhere": (
        b'{"a":"say \\"model\\": \\"x\\"","model":"m"}',
        b'{"a":"say \\"model\\": \\"x\\"","model":"NEW"}',
    ),
    "a longer key": (b'{"submodel":"x","model":"m"}', b'{"submodel":"x","model":"NEW"}'),
    "bytes of other scripts": (
        '{"a":"é☃","model":"ü"}'.encode(),
        '{"a":"é☃","model":"NEW"}'.encode(),
    ),
    "a byte order mark": (b'\xef\xbb\xbf{"model":"a"}', b'\xef\xbb\xbf{"model":"NEW"}'),
    "other duplicates": (b'{"n":1,"n":2,"model":"a"}', b'{"n":1,"n":2,"model":"NEW"}'),
    "numbers that floats lose": (
        b'{"n":0.10000000000000000001,"model":"a"}',
        b'{"n":0.10000000000000000001,"model":"NEW"}',
    ),
    "a backslash before the key": (b'{"a":"\\\\","model":"m"}', b'{"a":"\\\\","model":"NEW"}'),
}


@pytest.mark.parametrize("name", SPLICED)
def test_the_name_is_spliced_into_the_bytes(name: str) -> None:
    """What is not the name keeps its every byte."""
    raw, expected = SPLICED[name]

    assert expected == Body(raw).named("NEW")


HOSTILE: Final[dict[str, bytes]] = {
    "nested after": b'{"model":"a","x":{"model":"b"}}',
    "nested before": b'{"x":{"model":"b"},"model":"a"}',
    "nested alone": b'{"x":{"model":"b"}}',
    "escaped key": b'{"\\u006dodel":"a"}',
    "escaped in upper case": b'{"mo\\u0064e\\u006C":"a"}',
    "escaped key and nested": b'{"x":{"model":"b"},"m\\u006fdel":"a"}',
    "escaped key after the plain one": b'{"model":"a","mod\\u0065l":"b"}',
    "escaped key before the plain one": b'{"mod\\u0065l":"b","model":"a"}',
    "twice": b'{"model":"a","n":1,"model":"b"}',
    "twice, not a text first": b'{"model":1,"model":"b"}',
    "twice, not a text last": b'{"model":"a","model":1}',
    "number": b'{"model":1}',
    "null": b'{"model":null}',
    "list": b'{"model":["model"]}',
    "object": b'{"model":{"model":"a"}}',
    "missing": b'{"n":1}',
    "empty": b"{}",
    "a value": b'{"x":"model","model":"a"}',
    "a value that looks like the pair": b'{"x":"\\"model\\":\\"b\\"","model":"a"}',
    "a value alone": b'{"x":["model"]}',
    "a value before a colon in a text": b'{"y":["model",":"],"model":"a"}',
    "utf-16": '{"model":"a","n":1}'.encode("utf-16"),
    "utf-32": '{"model":"a","n":1}'.encode("utf-32-le"),
    "the old name holds the key": b'{"model":"\\"model\\":\\"b\\""}',
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("model", ["NEW", 'q"\\', "é☃", "model"])
def test_a_hostile_body_names_one_model_at_the_top(name: str, model: str) -> None:
    """The provider is asked for the model that was chosen, and gets the rest as it was."""
    raw = HOSTILE[name]

    assert {**json.loads(raw), "model": model} == json.loads(Body(raw).named(model))


@pytest.mark.parametrize("name", HOSTILE)
def test_only_one_key_of_the_top_names_the_model(name: str) -> None:
    """A reader who takes the first of two keys finds the same name as one who takes the last."""
    tops: list[list[tuple[str, object]]] = []

    def keep(pairs: list[tuple[str, object]]) -> dict[str, object]:
        tops.append(pairs)
        return dict(pairs)

    json.loads(Body(HOSTILE[name]).named("NEW"), object_pairs_hook=keep)

    assert [("model", "NEW")] == [pair for pair in tops[-1] if pair[0] == "model"]


@pytest.mark.parametrize("raw", [b'{"model": "a", "n":1}', b' {"n":1,"model":"a"}\n'])
def test_the_same_name_is_the_same_bytes(raw: bytes) -> None:
    """The very object: nothing is copied."""
    assert raw is Body(raw).named("a")


BAD: Final[dict[str, bytes]] = {
    "empty": b"",
    "blank": b" ",
    "cut": b'{"model":"a"',
    "two": b"{}{}",
    "a list": b"[]",
    "a text": b'"model"',
    "a number": b"1",
    "null": b"null",
    "no text": b"\xff\xfe\xfd",
    "bad utf-8": b'{"a":"\xff"}',
    "single quotes": b"{'model':'a'}",
    "deep": b"[" * 100_000,
    "deep inside": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a number of many digits": b'{"a":' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_json_object_is_a_value_error(name: str) -> None:
    """At each look, and nothing else is ever raised; the bytes stay as they came."""
    body = Body(BAD[name])
    for _ in range(2):
        with pytest.raises(ValueError):
            _ = body.data
        with pytest.raises(ValueError):
            body.named("a")

    assert BAD[name] == body.raw


def test_bytes_are_decoded_at_most_once() -> None:
    """Whoever looks again gets the same object."""
    body = Body(b'{"a":[1]}')

    assert body.data is body.data
    assert {"a": [1]} == body.data


def test_a_body_of_nothing_is_an_empty_object() -> None:
    """For calls that have no body."""
    assert {} == Body().data
    assert b"{}" == Body().raw == as_body({}).raw


def test_a_body_passes_as_it_is() -> None:
    """All copies of a request share one."""
    body = Body(b"{}")

    assert body is as_body(body)


def test_any_mapping_is_a_body() -> None:
    """A view that cannot be changed is the better one."""
    view = MappingProxyType({"model": "a", "n": 1})

    assert {"model": "a", "n": 1} == json.loads(as_body(view).raw)
    assert {"model": "b", "n": 1} == json.loads(as_body(view).named("b"))


def test_a_repr_shows_nothing_of_it() -> None:
    """A body is a prompt."""
    for body in (Body(b'{"a":"secret"}'), as_body({"a": "secret"})):
        assert "secret" not in repr(body)
        assert {"a": "secret"} == body.data
        assert "secret" not in repr(body)


def test_a_body_is_bytes_or_a_mapping() -> None:
    """Anything else is told where it is given, not deep inside a leaf."""
    with pytest.raises(TypeError, match="must be bytes or a mapping, not str"):
        as_body("hello")  # type: ignore[arg-type]


def test_what_is_not_json_is_told_without_repeating_it() -> None:
    """Neither the message nor the causes have the text, which is a prompt."""
    with pytest.raises(ValueError, match=r"not JSON: .* at line 1, column 2") as caught:
        _ = Body(b"{planted secret").data

    assert "planted" not in repr(vars(caught.value)) + str(caught.value)
    assert (None, True) == (caught.value.__cause__, caught.value.__suppress_context__)


def test_what_json_cannot_say_is_not_sent() -> None:
    """NaN is no JSON, whatever Python's encoder thinks."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        _ = as_body({"temperature": float("nan")}).raw
