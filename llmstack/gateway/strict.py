"""JSON read strictly, and what is wrong with it said by line and column or by path.

More is refused than by the standard library: text that is not UTF-8, half a surrogate pair,
NaN and infinities (also ``1e999``), a key twice in one object, and nesting deeper than 64.
The usual body is decoded once; only a bad one is looked at again, to say where.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder
from math import isfinite
from typing import Any, Final, final

from llmstack.gateway.canonical import canonical
from llmstack.gateway.fronts import FRONTS


__all__ = ["DEPTH", "decode"]

#: Objects and arrays in one another.
DEPTH: Final = 64

#: Bytes of a body that is looked at in another way than a long one.
SHORT: Final = 4 << 10

#: Characters of a path that are shown.
SHOWN: Final = 40

_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")
#: Keys that a path shows. Any other is the caller's text, and is not repeated.
_KNOWN: Final = frozenset(
    {name for front in FRONTS for name in front.known}
    | {"arguments", "content", "description", "function", "image_url", "include_usage"}
    | {"input_schema", "json_schema", "name", "output", "parameters", "role", "source"}
    | {"text", "tool_calls", "type", "url"}
)


@final
class _Pairs(list[tuple[str, Any]]):
    """An object of which every pair is kept, so that a key can be there twice."""


@final
class _NoNumber:
    """Stands for NaN or an infinity."""


@final
class _Bad(ValueError):
    """There is something that must not be there; where, is looked for afterwards."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Bad
    return found


def _constant(_name: str) -> Any:  # noqa: ANN401 -- it never returns
    raise _Bad


def _float(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise _Bad
    return number


def _marked(text: str) -> float | _NoNumber:
    number = float(text)
    return number if isfinite(number) else _NoNumber()


_STRICT: Final = JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_float=_float
)
_KEEPING: Final = JSONDecoder(object_pairs_hook=_Pairs, parse_constant=_marked, parse_float=_marked)


def decode(raw: bytes) -> tuple[Any, str]:
    """Return the value, and what is wrong; if there are words, the value counts for nothing."""
    if not raw:
        return None, "the body is empty"
    value = canonical(raw)
    if value is not None and not _is_deep(raw, value):
        return value, ""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return None, f"the body is not UTF-8: byte {error.start} is no part of a character"
    try:
        value, fault = _read(_STRICT, text)
    except _Bad:
        value, fault = _read(_KEEPING, text)
        return None, fault or _first_fault(value)
    if not fault and (_is_deep(raw, value) or _is_torn(raw, value)):
        fault = _first_fault(value)
    return value, fault


def _read(decoder: JSONDecoder, text: str) -> tuple[Any, str]:
    try:
        return decoder.decode(text), ""
    except JSONDecodeError as error:
        return None, f"the body is not JSON: {_words(error)}"
    except RecursionError:
        return None, _too_deep("")
    except _Bad:
        raise
    except ValueError:  # the interpreter's own limit, 4300
        return None, "the body has a number with too many digits"


def _is_deep(raw: bytes, value: object) -> bool:
    """Whether it is nested too deeply, without the strings that say where."""
    if _openings(raw) <= DEPTH:
        return False
    level: list[Any] = [value]
    for _ in range(DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True


def _openings(raw: bytes) -> int:
    """Return how many objects and arrays begin in it, strings that say so too; enough is enough."""
    if len(raw) < SHORT:
        return raw.count(b"{") + raw.count(b"[")
    # To count in 200 KB takes 110 microseconds, to find one after the other 20.
    total = 0
    for sign in (b"{", b"["):
        at = raw.find(sign)
        while at >= 0 and total <= DEPTH:
            total += 1
            at = raw.find(sign, at + 1)
    return total


def _is_torn(raw: bytes, value: object) -> bool:
    """Whether some string has half of a surrogate pair; whole pairs are escaped as well."""
    if b"\\" not in raw or not _HALF.search(raw):
        return False
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _words(error: JSONDecodeError) -> str:
    return f"line {error.lineno}, column {error.colno}: {error.msg.strip(': ').lower()}"


def _too_deep(path: str) -> str:
    where = f" at {path[:SHOWN]}…" if path else ""
    return f"the body is nested deeper than {DEPTH}{where}"


def _first_fault(value: object) -> str:
    """Return the first thing that must not be there, in words; "" if there is none."""
    waiting: list[tuple[str, object, int]] = [("", value, 1)]
    while waiting:
        path, value, depth = waiting.pop()
        fault = _fault(path, value)
        if fault:
            return fault
        if isinstance(value, (dict, list)):
            if depth > DEPTH:
                return _too_deep(path)
            waiting += reversed([(inner, x, depth + 1) for inner, x in _inside(path, value)])
    return ""


def _fault(path: str, value: object) -> str:
    """Return what is wrong with *value* itself."""
    if isinstance(value, _NoNumber):
        return f"{path or 'the body'} is not a finite number"
    if isinstance(value, str) and not _whole(value):
        return f"{path or 'the body'} has half of a surrogate pair"
    if not isinstance(value, (_Pairs, dict)):
        return ""
    seen = set()
    for key, _ in _pairs(value):
        if key in seen:
            return f"{_member(path, key)} is there twice"
        if not _whole(key):
            return f"a key of {path or 'the body'} has half of a surrogate pair"
        seen.add(key)
    return ""


def _whole(text: str) -> bool:
    return text.isascii() or text.encode(errors="ignore").decode() == text


def _pairs(value: _Pairs | dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return iter(value.items() if isinstance(value, dict) else value)


def _inside(path: str, value: Any) -> Iterator[tuple[str, object]]:  # noqa: ANN401 -- JSON
    if isinstance(value, (_Pairs, dict)):
        return ((_member(path, key), inner) for key, inner in _pairs(value))
    return ((f"{path}[{n}]", inner) for n, inner in enumerate(value))


def _member(path: str, key: str) -> str:
    if key not in _KNOWN:
        return f"{path}[…]"
    return f"{path}.{key}" if path else key
