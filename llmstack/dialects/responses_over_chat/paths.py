"""Reading what the caller wrote, by paths: what is left out is told, what cannot be is refused.

A path names a place (``input[3].content[0].file_id``) and never what stands there. What is
told has stars for positions: a long conversation is told in few words.

Errors: `Untranslatable`, for what the other dialect cannot say and for what no dialect allows:
an endpoint that speaks the caller's own will say what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final, final

from attrs import define, field

from llmstack.dialects.translator import JSON
from llmstack.errors import Untranslatable


__all__ = ["Told", "cannot", "list_at", "object_at", "objects_at", "text_at"]

#: Names of fields are the caller's text too; what does not look like a name is not repeated.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_POSITION: Final = re.compile(r"\[\d+\]")


@final
@define(eq=False)
class Told:
    """The paths that were left out, each once."""

    _paths: dict[str, None] = field(factory=dict, init=False)

    @property
    def paths(self) -> tuple[str, ...]:
        """All of them, in the order in which they were met."""
        return tuple(self._paths)

    def drop(self, path: str) -> None:
        """Tell that what stands at *path* was left out."""
        self._paths[_POSITION.sub("[*]", path)] = None

    def rest(self, said: JSON, known: Collection[str], path: str = "") -> None:
        """Tell what *said* has besides the *known* names; null and what is empty say nothing."""
        for name, value in said.items():
            if name not in known and value not in (None, [], {}):
                shown = name if _NAME.fullmatch(name) else "?"
                self.drop(f"{path}.{shown}" if path else shown)


def cannot(path: str, why: str = "chat completions cannot say it") -> Untranslatable:
    """Return the refusal that names *path*."""
    return Untranslatable(f"{path}: {why}")


def text_at(value: object, path: str) -> str:
    """Return *value* if it is a string."""
    if isinstance(value, str):
        return value
    raise cannot(path, "a string is wanted here")


def object_at(value: object, path: str) -> JSON:
    """Return *value* if it is an object."""
    if isinstance(value, Mapping):
        return value
    raise cannot(path, "an object is wanted here")


def list_at(value: object, path: str) -> Sequence[object]:
    """Return *value* if it is a list; null is an empty one."""
    if value is None:
        return ()
    if isinstance(value, (list, tuple)):
        return value
    raise cannot(path, "a list is wanted here")


def objects_at(value: object, path: str) -> list[tuple[str, JSON]]:
    """Return the objects of a list, each with its path."""
    found = ((f"{path}[{n}]", each) for n, each in enumerate(list_at(value, path)))
    return [(where, object_at(each, where)) for where, each in found]
