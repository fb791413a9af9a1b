"""Strict JSON against the standard library, and the places of mistakes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.gateway.strict import DEPTH, _first_fault, decode


leaves = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=30,
).filter(lambda value: "Infinity" not in json.dumps(value))


@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_what_is_good_is_read_as_ever(value: object, escaped: bool, indent: int | None) -> None:  # noqa: FBT001
    """As the standard library reads it, however it is written."""
    raw = json.dumps(value, ensure_ascii=escaped, indent=indent).encode()

    assert (json.loads(raw), "") == decode(raw)


def refuse(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Fail for keys that are there twice, and for half characters."""
    keys = [key for key, _ in pairs]
    assert len(set(keys)) == len(keys)
    json.dumps(pairs, ensure_ascii=False, allow_nan=False).encode()
    return dict(pairs)


def is_good(raw: bytes) -> bool:
    """The rules, by way of what the standard library says to the value written again."""
    try:
        value = json.loads(raw.decode(), object_pairs_hook=refuse)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, AssertionError, RecursionError):
        return False
    return depth(value) <= DEPTH


def depth(value: object) -> int:
    if not isinstance(value, (dict, list)):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inner), default=0)


pieces = st.lists(
    st.sampled_from(
        [
            *(b"{", b"}", b"[", b"]", b",", b":", b'"a"', b'"b"', b'"\\ud83d"', b'"\\ude00"', b"1"),
            *(b"-", b"NaN", b"Infinity", b"1e999", b"null", b'"\\ud83d\\ude00"', b" ", b"\xff"),
            *(b'{"a":1,"a":2}', b"[" * 65, b"]" * 65, b'"\xc3\xa9"', b'{"a":', b"\xef\xbb\xbf"),
        ]
    ),
    max_size=8,
).map(b"".join)


@given(pieces | st.binary(max_size=40))
@example(b"[" * 64 + b"]" * 64)
@example(b"[" * 65 + b"]" * 65)
@example(b"[" * 500 + b"]" * 500)
@example(b"[" * 100_000)
@example(b"[" + b"[]," * 99 + b"[]]")
@example(b'{"a":' * 65 + b"1" + b"}" * 65)
@example(b'{"a":1,"a":1e999' + b"[" * 9000)
@example(b'{"\\ud83d":1}')
@example(b'{"a":{"\\ud83d":1,"b":1}}')
@example(b"1" * 5000)
@example(b'[NaN, "a')
def test_what_is_bad_is_refused(raw: bytes) -> None:
    """Any bytes at all: refused with words exactly where the rules say so."""
    good = is_good(raw)

    value, fault = decode(raw)

    assert good == (fault == "")
    assert good or value is None or fault


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "the body is empty"),
        (b"{", "the body is not JSON: line 1, column 2: expecting property name"),
        (b'{\n\n  "a" 1}', "the body is not JSON: line 3, column 7: expecting ':' delimiter"),
        (b'["a', "the body is not JSON: line 1, column 2: unterminated string starting at"),
        (b"[1] 2", "the body is not JSON: line 1, column 5: extra data"),
        (b'{"a": "\xe9"}', "the body is not UTF-8: byte 7 "),
        (b"[" + b"1" * 4301 + b"]", "the body has a number with too many digits"),
        (b'{"a": 1, "b": 2, "a": 3}', "[\u2026] is there twice"),
        (b'{"seed": 1, "seed": 2}', "seed is there twice"),
        (b'{"messages": [0, {"role": {"n": 1, "n": 2}}]}', "messages[1].role.n is there twice"),
        (b'{"a b": {"c": 1, "c": 1}}', "[\u2026][\u2026] is there twice"),
        (b'{"a": 1, "a": ' + b"1" * 4301 + b"}", "the body has a number with too many digits"),
        (b'{"a": 1, "a"}', "the body is not JSON: line 1, column 13"),
        (b"NaN", "the body is not a finite number"),
        (b'{"a": [-Infinity]}', "[\u2026][0] is not a finite number"),
        (b'{"a": {"b": 1e999}}', "[\u2026][\u2026] is not a finite number"),
        (b'{"a": [1, "\\ud800"]}', "[\u2026][1] has half of a surrogate pair"),
        (b'"\\udc00"', "the body has half of a surrogate pair"),
        (b'{"a": {"\\udc00": 1}}', "a key of [\u2026] has half of a surrogate pair"),
        (b'{"\\udc00": 1}', "a key of the body has half of a surrogate pair"),
        (
            b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}",
            "the body is nested deeper than 64 at [\u2026][0][0]",
        ),
        (b"[" * 5000, "the body is nested deeper than 64"),
        (b'{"n": NaN, "seed": NaN}', "n is not a finite number"),
    ],
)
def test_the_place_is_named(raw: bytes, expected: str) -> None:
    """By line and column where it is no JSON, by path where it is; the first one counts."""
    fault = decode(raw)[1]

    assert expected == fault[: len(expected)]


def test_of_a_long_path_only_the_beginning_is_shown() -> None:
    """The words stay short whatever is sent."""
    fault = decode(b'{"tools":' * 70 + b"1" + b"}" * 70)[1]

    assert "the body is nested deeper than 64 at " + ("tools." * 7)[:40] + "\u2026" == fault


def test_what_is_good_has_no_fault() -> None:
    """The search for the place ends, whether there is one or not."""
    assert "" == _first_fault({"a": [1, {"b": "\u00e9"}]})


@pytest.mark.parametrize(("depth", "right"), [(DEPTH, True), (DEPTH + 1, False)])
@pytest.mark.parametrize("beside", [0, 200])
def test_a_long_body_is_as_deep_as_a_short_one(depth: int, beside: int, *, right: bool) -> None:
    """However many lists lie beside one another, and however much text."""
    inner = b"[" * (depth - 1) + b"]" * (depth - 1)
    raw = b'["' + b"x" * 5000 + b'"' + b",[]" * beside + b"," + inner + b"]"

    assert right is (decode(raw)[1] == "")
