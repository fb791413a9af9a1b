"""The quick way to read JSON agrees with the strict one, or says nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.gateway import strict
from llmstack.gateway.canonical import canonical, reader
from tests.gateway.test_strict import pieces, values


@given(values)
@example([1e22, 5e-324, -0.0, 0.1, 2**64 - 1, -(2**63), "\x7f\u2028\x00/"])
def test_what_a_program_writes_is_read_as_ever(value: object) -> None:
    """Types and all; and what is not sure is left to others."""
    for raw in (compact(value), orjson_of(value)):
        read = canonical(raw)
        assert read is None or repr(json.loads(raw)) == repr(read)


def compact(value: object) -> bytes:
    """As the SDKs write it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def orjson_of(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # longer integers than it can write
        return b"[]"


@pytest.mark.parametrize(
    "value",
    [
        {"model": "m", "messages": [{"role": "user", "content": "Grüße:\n\"a\":1, 'b' \\ 漢"}]},
        {"n": 2, "temperature": 0.5, "stop": None, "stream": True, "big": 2**64 - 1},
        [],
        "text",
    ],
)
def test_the_usual_is_read_in_this_way(value: object) -> None:
    """What the SDKs send: colons and quotes in texts, and any letters."""
    assert value == canonical(compact(value))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":123456789012345678901234567890}',
        b'{"a":1E2,"a":1}',  # a number that grows and a key that goes: as long as before
        b'{"a":-0}',
        b'{"a":1.00}',
        b'{"a": 1}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":1} ',
        b'{"a":1}{}',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b"[" * 2000 + b"]" * 2000,
        b"[" * 500 + b"]" * 500,
        b"",
    ],
)
def test_what_is_not_sure_is_left_to_others(raw: bytes) -> None:
    """A key that is there twice, a number that would change, any other way to write it."""
    assert canonical(raw) is None


@given(pieces | st.binary(max_size=40))
@example(b'{"a":1,"a":1}')
@example(b"[" * 65 + b"]" * 65)
@example(b'["' + b"[" * 99 + b'"]')
def test_with_it_and_without_it_the_verdict_is_the_same(raw: bytes) -> None:
    """The same value, or the same words."""
    assert decoded_by(reader("no_such_module"), raw) == decoded_by(canonical, raw)


def decoded_by(way: Callable[[bytes], Any], raw: bytes) -> tuple[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict, "canonical", way)
        value, fault = strict.decode(raw)
    return "" if fault else repr(value), fault


def test_without_orjson_nothing_is_sure() -> None:
    """It is an extra."""
    assert reader("no_such_module")(b"[]") is None
