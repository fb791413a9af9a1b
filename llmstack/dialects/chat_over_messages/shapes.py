"""What a value of a request has to be: each function returns it, or raises `Untranslatable`.

The message has the path of the value, never the value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmstack.dialects.translator import JSON
from llmstack.errors import Untranslatable


__all__ = ["a_count", "a_list", "a_number", "a_text", "an_object"]


def a_text(value: object, path: str) -> str:
    """Return the text *value*."""
    if not isinstance(value, str):
        raise Untranslatable(f"{path}: not a text")
    return value


def a_list(value: object, path: str) -> Sequence[object]:
    """Return the list *value*."""
    if not isinstance(value, (list, tuple)):
        raise Untranslatable(f"{path}: not a list")
    return value


def an_object(value: object, path: str) -> JSON:
    """Return the object *value*."""
    if not isinstance(value, Mapping):
        raise Untranslatable(f"{path}: not an object")
    return value


def a_number(value: object, path: str) -> float:
    """Return the number *value*; NaN is none."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not value >= 0:
        raise Untranslatable(f"{path}: not a number from 0 up")
    return value


def a_count(value: object, path: str) -> int:
    """Return the whole number *value*, at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise Untranslatable(f"{path}: not a whole number from 1 up")
    return value
