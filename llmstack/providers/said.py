"""What an error body says, in whichever of its shapes: read, never trusted.

The shapes: ``{"error": {"message", "type", "param", "code"}}`` of OpenAI and most others,
the same without the frame (Mistral, older vLLM), ``{"error": "text"}`` of Ollama,
``{"detail": …}`` of FastAPI, and Gemini's list with one of the first in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from json import JSONDecoder
from typing import Any, Final, Self, cast, final

from attrs import frozen


__all__ = ["Said", "as_object", "decoded"]

NOTHING: Final[Mapping[str, Any]] = {}
_SCAN: Final[Callable[[str, int], tuple[Any, int]]] = cast("Any", JSONDecoder()).scan_once


def decoded(raw: bytes) -> Any:  # noqa: ANN401 -- whatever JSON came
    """Return the JSON in *raw*, None if it is none, or is nested without an end."""
    try:
        # What nearly all providers send, without the steps that look for anything else:
        # 1.6 microseconds less.
        if raw[:1] == b"{" and raw[-1:] == b"}":
            text = raw.decode()
            value, end = _SCAN(text, 0)
            if end == len(text):
                return value
        return json.loads(raw)
    except (ValueError, StopIteration, RecursionError):
        return None


def as_object(value: object) -> Mapping[str, Any]:
    """Return *value* if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else NOTHING


@final
@frozen
class Said:
    """The facts of an error body; what is missing is empty.

    *words* are its codes in lower case, the most exact one first. *number* is a code that
    is an HTTP status.
    """

    words: tuple[str, ...] = ()
    number: int | None = None
    message: str = ""
    metadata: Mapping[str, Any] = NOTHING
    code: object = None
    param: object = None

    @classmethod
    def of(cls, body: bytes) -> Self:
        """Read a body; one that cannot be read says nothing."""
        data = decoded(body)
        if isinstance(data, list) and data:
            data = data[0]
        outer = as_object(data)
        error = outer.get("error")
        inner = outer if error is None else as_object(error)
        codes = [inner.get("code"), _inner(inner).get("code"), inner.get("type")]
        texts = [code for code in codes if isinstance(code, str) and code]
        messages = (error, inner.get("message"), outer.get("detail"))
        return cls(
            words=tuple(text.lower() for text in texts),
            number=next(filter(None, map(_status, codes)), None),
            message=next((text for text in messages if isinstance(text, str)), ""),
            metadata=as_object(inner.get("metadata")),
            code=next((text for text in texts if _status(text) is None), None),
            param=inner.get("param"),
        )


def _inner(error: Mapping[str, Any]) -> Mapping[str, Any]:
    """Azure's second code, which is more exact."""
    return as_object(error.get("innererror", error.get("inner_error")))


def _status(code: object) -> int | None:
    """Return *code* if it is the status of an error, as a number or in digits."""
    if isinstance(code, str) and len(code) == 3 and code.isascii() and code.isdigit():
        code = int(code)
    whole = isinstance(code, int) and not isinstance(code, bool)
    return code if whole and 400 <= code <= 599 else None  # type: ignore[operator, return-value]
