"""Reading what an endpoint said: the fields of a reply, of a chunk, of an event.

Errors: `ProtocolError`, which says what was wrong and not what was said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from llmstack.dialects.shapes import is_whole
from llmstack.dialects.translator import JSON
from llmstack.errors import ProtocolError


__all__ = ["index_of", "object_of", "objects_of", "text_of", "the"]

Kind = TypeVar("Kind")


def the(kind: type[Kind], said: JSON, name: str) -> Kind:
    """Return what *said* has under *name*, which must be there and of that *kind*."""
    value = said.get(name)
    if isinstance(value, kind):
        return value
    raise ProtocolError(f"the {name} of a reply is missing or malformed")


def text_of(value: object, what: str) -> str:
    """Return a string; null is an empty one."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise ProtocolError(f"{what} is no string")


def object_of(value: object, what: str) -> JSON:
    """Return an object; null is an empty one."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise ProtocolError(f"{what} is no object")


def objects_of(value: object, what: str) -> Sequence[JSON]:
    """Return a list of objects; null is an empty one."""
    if value is None:
        return ()
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return value
    raise ProtocolError(f"{what} are no list of objects")


def index_of(value: object, what: str) -> int:
    """Return a place in a list; where none is said, the first."""
    if value is None:
        return 0
    if is_whole(value):
        return value
    raise ProtocolError(f"{what} has an impossible index")
