"""The body of a change: a JSON object with few fields, each read as what it must be.

Errors: `NotDone`, a 400 that names the field, what is there and what can be.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, Final, final

from attrs import frozen

from llmstack.gateway.admin.visit import SHOWN, NotDone, Visit, listed, no, shown
from llmstack.gateway.fields import called
from llmstack.gateway.strict import decode


__all__ = ["Said"]

_NAMES: Final = "must be a name, or an array of names"


@final
@frozen
class Said:
    """What a body says; every reader raises `NotDone` if that is something else."""

    data: Mapping[str, Any]

    @classmethod
    async def of(cls, visit: Visit, known: Iterable[str]) -> Said:
        """Read the body of *visit*, which may have the fields *known* and no others."""
        data, fault = decode(await visit.body())
        if fault:
            raise no(400, fault, None, "invalid_json")
        if not isinstance(data, dict):
            message = f"the body must be an object, and it is {called(data)}"
            raise no(400, message, None, "invalid_json")
        for name in data:
            if name not in known:
                message = f"{shown(name)} is no field here; there are: {listed(known)}"
                raise no(400, message, None, "unknown_field")
        return cls(data)

    def has(self, name: str) -> bool:
        """Whether there is a field *name*; null is as good as none."""
        return self.data.get(name) is not None

    def text(self, name: str) -> str:
        """Return a string with something in it."""
        value = self.data.get(name)
        if not isinstance(value, str) or not value:
            raise self.wrong(name, "must be a string that is not empty")
        return value

    def one_of(self, name: str, choices: Iterable[str]) -> str:
        """Return one of the words *choices*."""
        value = self.data.get(name)
        if not isinstance(value, str) or value not in choices:
            raise self.wrong(name, f"must be one of {listed(choices)}")
        return value

    def names(self, name: str) -> tuple[str, ...]:
        """Return a string, or an array of strings, as several; none if there is no such field."""
        value = self.data.get(name)
        if value is None:
            return ()
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str) and each for each in values):
            raise self.wrong(name, _NAMES)
        return tuple(values)

    def number(self, name: str) -> float:
        """Return a finite number from zero up."""
        value = self.data.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and _is_amount(value):
            return float(value)
        raise self.wrong(name, "must be a finite number from 0 up")

    def without(self, names: Iterable[str], why: str) -> None:
        """Raise `NotDone` if one of *names* is there, which says nothing here."""
        for name in names:
            if self.has(name):
                raise no(400, f"{name} must be left out {why}", name, "invalid_value")

    def wrong(self, name: str, must: str) -> NotDone:
        """Return what says that the field *name* is not as it *must* be."""
        value = self.data.get(name)
        text = json.dumps(value, ensure_ascii=False)
        found = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
        said = "is missing" if value is None else f"is {found}"
        return no(400, f"{name} {must}, and it {said}", name, "invalid_value")


def _is_amount(value: float) -> bool:
    try:
        return value >= 0 and isfinite(value)
    except OverflowError:  # an integer that is too long for a float
        return False
