"""The deltas of one tool call: an item of the output from when its name is known.

What came of the arguments before is kept until then. Some hosts repeat id and name in each
delta. Some have no ids: then one is made, which serves as well, for the caller sends it back
in the call and in its answer.

Errors: `ProtocolError` for a call that turns into another one.
"""

from __future__ import annotations

from typing import Final, final

from attrs import define, field

from llmstack.dialects.heard import object_of, text_of
from llmstack.dialects.responses_over_chat.output import Call, Events
from llmstack.dialects.translator import JSON
from llmstack.errors import ProtocolError


__all__ = ["Pending"]

#: By the type of a call, the field with its text.
_TEXTS: Final = (("custom", "input"), ("function", "arguments"))


@final
@define(eq=False)
class Pending:
    """What is known of one call, and the item once it has begun; *base* ends its ids."""

    base: str
    call: Call | None = field(default=None, init=False)
    _id: str = field(default="", init=False)
    _name: str = field(default="", init=False)
    _kind: str = field(default="function", init=False)
    _held: list[str] = field(factory=list, init=False)

    def learn(self, delta: JSON) -> None:
        """Take what *delta* says."""
        self._id = _same(self._id, delta.get("id"), "the id of a tool call")
        for kind, text in _TEXTS:
            said = object_of(delta.get(kind), "a tool call")
            self._kind = kind if said else self._kind
            self._name = _same(self._name, said.get("name"), "the name of a tool call")
            self._held.append(text_of(said.get(text), "the text of a tool call"))

    def begin(self, index: int, events: Events) -> Call | None:
        """Return the item that begins now, at the place *index*; None if it is not the time."""
        if self.call is not None or not self._name:
            return None
        call_id = self._id or f"call_{self.base}"
        self.call = Call(self._kind, self.base, index, call_id, self._name)
        self.call.begin(events)
        return self.call

    def tell(self, events: Events) -> None:
        """Say what has come of the arguments, if the item has begun."""
        text = "".join(self._held)
        if self.call is not None and text:
            self.call.grow(text, events)
            self._held.clear()


def _same(known: str, said: object, what: str) -> str:
    new = text_of(said, what)
    if known and new and new != known:
        raise ProtocolError(f"{what} has changed")
    return known or new
