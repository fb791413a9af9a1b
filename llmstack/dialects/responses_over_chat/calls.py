"""The deltas of tool calls, by their index in the chat: each becomes an item of the output.

A call begins when its name is known; what came of its arguments before is kept until then.
Some hosts repeat id and name in each delta, some have no ids: then one is made, which serves
as well, for the caller sends it back in the call and in its answer.

Errors: `ProtocolError` for a call that turns into another one, or never has a name.
"""

from __future__ import annotations

from typing import Final, final

from attrs import define, field

from llmstack.dialects.responses_over_chat.heard import index_of, object_of, text_of
from llmstack.dialects.responses_over_chat.output import Call, Events
from llmstack.dialects.translator import JSON
from llmstack.errors import ProtocolError


__all__ = ["Pending"]

#: By the type of a call, the field with its text.
_TEXTS: Final = (("custom", "input"), ("function", "arguments"))


@final
@define(eq=False)
class Pending:
    """One call: what is known of it, and the item once it has begun."""

    call: Call | None = field(default=None, init=False)
    _id: str = field(default="", init=False)
    _name: str = field(default="", init=False)
    _kind: str = field(default="function", init=False)
    _held: str = field(default="", init=False)

    @staticmethod
    def index(delta: JSON) -> int:
        """Return which call of the chat *delta* is about."""
        return index_of(delta.get("index"), "a tool call")

    def learn(self, delta: JSON) -> None:
        """Take what *delta* says."""
        self._id = self._same(self._id, delta.get("id"), "the id of a tool call")
        for kind, text in _TEXTS:
            said = object_of(delta.get(kind), "a tool call")
            if said:
                self._kind = kind
            self._name = self._same(self._name, said.get("name"), "the name of a tool call")
            self._held += text_of(said.get(text), "the text of a tool call")

    def begins(self, base: str, index: int, events: Events) -> bool:
        """Whether the call begins now, at the place *index*."""
        if self.call is not None or not self._name:
            return False
        self.call = Call(self._kind, base, index, self._id or f"call_{base}", self._name)
        self.call.begin(events)
        return True

    def tell(self, events: Events) -> None:
        """Say what has come of the arguments."""
        if self.call is not None and self._held:
            self.call.grow(self._held, events)
            self._held = ""

    def end(self, status: str, events: Events) -> JSON:
        """Say that the call is over; return it."""
        if self.call is None:
            raise ProtocolError("a tool call has no name")
        return self.call.end(status, events)

    @staticmethod
    def _same(known: str, said: object, what: str) -> str:
        new = text_of(said, what)
        if known and new and new != known:
            raise ProtocolError(f"{what} has changed")
        return known or new
