"""Reading a caller's body: by path, each value of its kind, and what is left out is told.

A path names fields and positions, as in ``messages.2.content.0.source``. Of what the caller
wrote no value goes into a path or an error, and of names only those that the dialect has.

Errors: `Untranslatable`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any, Final, final

from attrs import define, field

from llmstack.dialects.translator import JSON
from llmstack.errors import Untranslatable


__all__ = ["MARKS", "Dropped", "as_list", "as_object", "as_text", "cannot", "whole"]

#: Fields below the top that change nothing of what the model is to say.
MARKS: Final = frozenset(
    {
        "allowed_callers",
        "citations",
        "defer_loading",
        "display",
        "eager_input_streaming",
        "input_examples",
        "transformations",
    },
)
_POSITION: Final = re.compile(r"\.\d+")


def cannot(path: str) -> Untranslatable:
    """Return the refusal of what is at *path*."""
    return Untranslatable(f"chat completions cannot say {path}")


@final
@define(eq=False)
class Dropped:
    """The paths of what is left out, in the order in which it was met.

    Positions are stars, so that a long conversation is told in few words; a mark for the
    prompt cache is ``cache_control`` wherever it stands, and a field that is not known ``?``.
    """

    _paths: dict[str, None] = field(factory=dict, init=False)

    @property
    def paths(self) -> tuple[str, ...]:
        """What was told so far."""
        return tuple(self._paths)

    def tell(self, path: str) -> None:
        """Tell that what is at *path* is left out."""
        self._paths[_POSITION.sub(".*", path)] = None

    def rest(self, given: JSON, path: str, said: Collection[str]) -> None:
        """Tell which fields of the object at *path* are left out: all but *said* and nulls."""
        for name, value in given.items():
            if name == "cache_control" and value is not None:
                self.tell(name)
            elif name not in said and value is not None:
                self.tell(f"{path}.{name if name in MARKS else '?'}")


def as_text(value: object, path: str) -> str:
    """Return *value* if it is a text."""
    if not isinstance(value, str):
        raise Untranslatable(f"{path} is not a text")
    return value


def as_object(value: object, path: str) -> JSON:
    """Return *value* if it is an object."""
    if not isinstance(value, dict):
        raise Untranslatable(f"{path} is not an object")
    return value


def as_list(value: object, path: str) -> Sequence[Any]:
    """Return *value* if it is a list."""
    if not isinstance(value, list):
        raise Untranslatable(f"{path} is not a list")
    return value


def whole(value: object, path: str) -> int:
    """Return *value* if it is a whole number from one up."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise Untranslatable(f"{path} is not a whole number from 1 up")
    return value
