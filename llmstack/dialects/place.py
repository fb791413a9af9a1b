"""A place in a caller's request: what stands there, and what is said if it cannot be said on.

A path names fields and positions as the gateway's own errors do (``messages[2].content[0]``),
and never what stands there. It is put together only when it is told. What is left out is told
with stars for positions (``messages[*].name``): a long conversation is told in few words.
Names of fields are the caller's text too: one that does not look like a name is ``?``.

Errors: `Untranslatable`, for what the other dialect cannot say and for what no dialect allows:
an endpoint that speaks the caller's own will say what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, final

from attrs import define, field

from llmstack.dialects.shapes import is_whole
from llmstack.dialects.translator import JSON
from llmstack.errors import Untranslatable


__all__ = ["Place", "Reading", "top"]

_NAME: Final = re.compile(r"[a-z_]{1,40}")


@final
@define(eq=False)
class Reading:
    """What is the same for all places of a request: who cannot say it, and what was left out."""

    dialect: str
    dropped: dict[str, None] = field(factory=dict, init=False)


@final
@define(eq=False, repr=False)
class Place:
    """A value, and the way to it: the *step* from what is *around* it.

    >>> asked = top({"input": [{"text": "a", "x": 1}]}, "chat completions")
    >>> (item,) = asked["input"].each()
    >>> item["text"].text(), item.rest("text"), asked.dropped
    ('a', None, ('input[*].x',))
    >>> item["type"].text()
    Traceback (most recent call last):
    llmstack.errors.Untranslatable: input[0].type: must be a string
    """

    value: Any
    reading: Reading
    step: str | int = ""
    around: Place | None = None

    def path(self, star: str = "") -> str:
        """Return the way to here, "" for the top; positions are a *star* if there is one."""
        if self.around is None:
            return ""
        before = self.around.path(star)
        if isinstance(self.step, int):
            return f"{before}[{star or self.step}]"
        return f"{before}.{self.step}" if before else self.step

    def __repr__(self) -> str:
        return f"Place({self.path()})"  # what stands here may be secret

    def refusal(self, why: str = "") -> Untranslatable:
        """Return the refusal of what stands here; without a reason it cannot be said."""
        where = self.path() or "the body"
        return Untranslatable(f"{where}: {why or f'{self.reading.dialect} cannot say it'}")

    @property
    def given(self) -> bool:
        """Whether anything is said here: null says nothing."""
        return self.value is not None

    def otherwise(self, value: object) -> Place:
        """Return this place, with *value* in it if nothing is said here."""
        return self if self.given else self.holding(value)

    def holding(self, value: object) -> Place:
        """Return this place with *value* in it, which says the same in another form."""
        return Place(value, self.reading, self.step, self.around)

    def __getitem__(self, name: str) -> Place:
        """Return the place of a field of the object here; null if it is not there."""
        return Place(self.fields().get(name), self.reading, name, self)

    def fields(self) -> JSON:
        """Return the object that is here."""
        # The question after a mapping costs ten times that after a dict.
        if isinstance(self.value, dict) or isinstance(self.value, Mapping):  # noqa: SIM101
            return self.value
        raise self.refusal("must be an object")

    def some(self, *names: str) -> dict[str, Any]:
        """Return as they are those of the fields *names* in which something is said."""
        fields = self.fields()
        return {name: fields[name] for name in names if fields.get(name) is not None}

    def each(self) -> Sequence[Place]:
        """Return the places of the array that is here."""
        if isinstance(self.value, (list, tuple)):
            return [Place(value, self.reading, n, self) for n, value in enumerate(self.value)]
        raise self.refusal("must be an array")

    def text(self) -> str:
        """Return the string that is here."""
        if isinstance(self.value, str):
            return self.value
        raise self.refusal("must be a string")

    def one_of(self, known: Collection[str], why: str = "") -> str:
        """Return the string that is here if it is one of those *known*; else say *why* not."""
        if isinstance(self.value, str) and self.value in known:
            return self.value
        raise self.refusal(why)

    def number(self) -> float:
        """Return the number from 0 up that is here."""
        value = self.value
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
            return value  # NaN is not
        raise self.refusal("must be a number from 0 up")

    def count(self) -> int:
        """Return the whole number from 1 up that is here."""
        if is_whole(self.value, 1):
            return self.value
        raise self.refusal("must be an integer from 1 up")

    def drop(self) -> None:
        """Tell that what stands here is left out."""
        self.reading.dropped[self.path("*")] = None

    def rest(self, *said: str) -> None:
        """Tell which fields here are left out: all but those *said*, and what is null or empty."""
        for name, value in self.fields().items():
            if name not in said and value not in (None, [], {}):
                self[name if _NAME.fullmatch(name) else "?"].drop()

    @property
    def dropped(self) -> tuple[str, ...]:
        """The paths of all that was left out of the request, each once, as it was met."""
        return tuple(self.reading.dropped)


def top(body: JSON, dialect: str) -> Place:
    """Return the place of a whole request that is to be said in *dialect*."""
    return Place(body, Reading(dialect))
