"""What a JSON value is: the questions that are asked of requests and of replies; none raises."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NoReturn, TypeGuard

from llmstack.dialects.translator import JSON


__all__ = ["is_whole", "object_in"]


def is_whole(value: object, least: int = 0) -> TypeGuard[int]:
    """Whether *value* is a whole number, and *least* or more.

    >>> is_whole(0), is_whole(0, 1), is_whole(True)
    (True, False, False)
    """
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def object_in(text: str) -> JSON | None:
    """Return the object that *text* is the JSON of; None if it is none, {} if it is blank.

    >>> object_in('{"a": 1}'), object_in(" "), object_in("[]"), object_in("{")
    ({'a': 1}, {}, None, None)
    """
    try:
        value = json.loads(text, parse_constant=_no_constant) if text.strip() else {}
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, Mapping) else None


def _no_constant(name: str) -> NoReturn:
    """Refuse NaN and the infinities, which are not JSON."""
    raise ValueError(name)
