"""The body of a request: the caller's bytes, decoded at most once, sent on unchanged."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, final

from attrs import define, field


__all__ = ["Body", "as_body"]

_MODEL: Final = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.)*")')
NAME: Final = b'"model"'
#: The escapes in which some letter of "model" could hide from a search.
HIDDEN: Final = b"\\u006"


@final
@define(eq=False)
class Body:
    """A JSON object as bytes, as data, or both; whichever is missing is made when asked for.

    All copies of a request share one body, and nobody changes it.
    """

    _raw: bytes | None = field(default=None, repr=False)
    _data: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def data(self) -> Mapping[str, Any]:
        """The decoded object; ValueError if the bytes are not JSON, or no object."""
        if self._data is None:
            data = _decode(b"{}" if self._raw is None else self._raw)
            if not isinstance(data, dict):
                raise ValueError("the body is not a JSON object")
            self._data = data
        return self._data

    @property
    def raw(self) -> bytes:
        """The bytes as the caller wrote them, or the data encoded once."""
        if self._raw is None:
            self._raw = _encode(self._data or {})
        return self._raw

    def named(self, model: str) -> bytes:
        """Return the bytes with *model* as the top-level model name.

        The same bytes if that is the name already. Otherwise the new name is spliced in, so
        that nothing else changes; only a body with several keys named "model", or with one
        that is spelled in escapes, is encoded anew.
        """
        data = self.data
        if data.get("model") == model:
            return self.raw
        raw = self.raw
        # Searched for as bytes: by the pattern alone it takes twenty times as long.
        first = raw.find(NAME) if isinstance(data.get("model"), str) else -1
        found = _MODEL.match(raw, first) if first >= 0 else None
        if found is None or raw.find(NAME, first + 1) >= 0 or _hides(raw):
            return _encode({**data, "model": model})
        start, end = found.span(1)
        # Through a view, so that a long body is copied once.
        view = memoryview(raw)
        return b"".join((view[:start], json.dumps(model).encode(), view[end:]))


def _hides(raw: bytes) -> bool:
    return b"\\" in raw and HIDDEN in raw


def _decode(raw: bytes) -> object:
    try:
        return json.loads(raw)
    except json.JSONDecodeError as error:
        # Without its cause, which holds the whole text.
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"the body is not JSON: {error.msg} at {place}") from None
    except RecursionError:
        raise ValueError("the body is nested too deeply") from None


def as_body(value: Body | bytes | Mapping[str, Any]) -> Body:
    """Take bytes or decoded data; a body passes as it is."""
    if isinstance(value, Body):
        return value
    if isinstance(value, bytes):
        return Body(value)
    if not isinstance(value, Mapping):
        raise TypeError(f"the body must be bytes or a mapping, not {type(value).__name__}")
    return Body(None, value)


def _encode(data: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(data), separators=(",", ":"), allow_nan=False).encode()
