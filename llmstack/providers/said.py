"""What an error body says, in whichever of its shapes: read, never trusted.

The shapes: ``{"error": {"message", "type", "param", "code"}}`` of OpenAI and most others,
the same without the frame (Mistral, older vLLM), ``{"error": "text"}`` of Ollama,
``{"detail": …}`` of FastAPI, ``{"message"}`` of Amazon with its type in a header, and
``{"error": {"code", "status", "details": […]}}`` of Google, also as the first of a list.
"""

from __future__ import annotations

import json
import re
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


#: Google's name of a status: ``RESOURCE_EXHAUSTED``.
_NAMED: Final = re.compile(r"[A-Z][A-Z_]{3,39}")


@final
@frozen
class Said:
    """The facts of an error body; what is missing is empty.

    *words* are its codes in lower case, the most exact one first. *number* is a code that
    is an HTTP status. *quotas* are the names of the quotas that are used up, in lower case,
    and *delay* is the time until then, as Google has them. *read* is whether it is an object
    of JSON at all, which what an edge says is not.
    """

    words: tuple[str, ...] = ()
    number: int | None = None
    message: str = ""
    metadata: Mapping[str, Any] = NOTHING
    code: object = None
    param: object = None
    quotas: tuple[str, ...] = ()
    delay: str = ""
    read: bool = False

    @classmethod
    def of(cls, body: bytes, headers: Mapping[str, str] = NOTHING) -> Self:
        """Read a body; one that cannot be read says nothing."""
        data = decoded(body)
        if isinstance(data, list) and data:
            data = data[0]
        outer = as_object(data)
        error = outer.get("error")
        inner = error if isinstance(error, dict) else outer
        details = _details(inner)
        codes = [*_codes(headers, inner, details), *map(outer.get, ("error_type", "__type"))]
        # Amazon's may have the name of a service before it: ``com.amazon.service#Exception``.
        texts = [code.rpartition("#")[2] for code in codes if isinstance(code, str) and code]
        return cls(
            words=tuple(map(str.lower, texts)),
            number=next(filter(None, map(_status, codes)), None),
            message=_message(error, inner, outer),
            metadata=as_object(inner.get("metadata")),
            code=next((text for text in texts if _status(text) is None), None),
            param=inner.get("param"),
            quotas=_quotas(details),
            delay=next((text for each in details if (text := _text(each, "retryDelay"))), ""),
            read=bool(outer),
        )


def _codes(
    headers: Mapping[str, str], error: Mapping[str, Any], details: list[Mapping[str, Any]]
) -> list[object]:
    """Return the codes of an error, the most exact one first."""
    named = _text(error, "status")
    return [
        as_object(error.get("details")).get("error_code"),  # Anthropic
        headers.get("x-amzn-errortype", "").partition(":")[0].strip(),
        error.get("code"),
        # Azure's second code, which is more exact.
        as_object(error.get("innererror", error.get("inner_error"))).get("code"),
        *(each.get("reason") for each in details),
        error.get("type"),
        named if _NAMED.fullmatch(named) else None,
    ]


def _message(error: object, inner: Mapping[str, Any], outer: Mapping[str, Any]) -> str:
    texts = (error, inner.get("message"), inner.get("Message"), outer.get("detail"))
    return next((text for text in texts if isinstance(text, str)), "")


def _details(error: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return Google's details, which are a list of objects."""
    details = error.get("details")
    return [*map(as_object, details)] if isinstance(details, list) else []


def _quotas(details: list[Mapping[str, Any]]) -> tuple[str, ...]:
    lists = (each.get("violations") for each in details)
    found = (each for many in lists if isinstance(many, list) for each in map(as_object, many))
    return tuple(name.lower() for each in found if (name := _text(each, "quotaId")))


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) else ""


def _status(code: object) -> int | None:
    """Return *code* if it is the status of an error, as a number or in digits."""
    if isinstance(code, str) and len(code) == 3 and code.isascii() and code.isdigit():
        code = int(code)
    return code if isinstance(code, int) and 400 <= code <= 599 else None
