"""The answer of a chat, delta by delta, as the items of an output.

Items stand in the order in which they began. In a whole chat reply the text comes before the
calls; where a host streams them the other way, so do the items.

Errors: `ProtocolError`.
"""

from __future__ import annotations

from typing import Final, final

from attrs import define, field

from llmstack.dialects.heard import index_of, objects_of, text_of
from llmstack.dialects.responses_over_chat.calls import Pending
from llmstack.dialects.responses_over_chat.envelope import Envelope
from llmstack.dialects.responses_over_chat.output import Call, Events, Message
from llmstack.dialects.translator import JSON
from llmstack.errors import ProtocolError


__all__ = ["Answer"]

TEXT: Final = "output_text"
REFUSAL: Final = "refusal"


@final
@define(eq=False)
class Answer:
    """What the assistant says and calls."""

    envelope: Envelope
    events: Events
    _message: Message | None = field(default=None, init=False)
    _calls: dict[int, Pending] = field(factory=dict, init=False)
    _begun: list[Message | Call] = field(factory=list, init=False)
    #: Some hosts weigh the tokens of calls as well; without a text they have no place.
    _weights: list[JSON] = field(factory=list, init=False)

    def take(self, delta: JSON, weights: list[JSON]) -> None:
        """Add what *delta* says; *weights* are the log probabilities of its tokens."""
        if delta.get("function_call"):
            raise ProtocolError("a call of a kind that was not asked for")
        self._weights += weights
        self._say(TEXT, text_of(delta.get("content"), "the content"))
        self._say(REFUSAL, text_of(delta.get("refusal"), "the refusal"))
        for call in objects_of(delta.get("tool_calls"), "tool_calls"):
            self._call(call)

    def end(self, status: str) -> list[JSON]:
        """Say that all items are over, and return them."""
        if not all(call.call for call in self._calls.values()):
            raise ProtocolError("a tool call has no name")
        return [item.end(status, self.events) for item in self._begun]

    def _say(self, kind: str, text: str) -> None:
        begun = self._message is not None and self._message.has(kind)
        weights = self._weights if kind == TEXT else []
        if not text and not (begun and weights):
            return
        if self._message is None:
            self._message = Message(self.envelope.base, len(self._begun))
            self._begun.append(self._message)
            self._message.begin(self.events)
        self._message.part(kind, self.events).grow(text, list(weights), self.events)
        weights.clear()

    def _next(self, delta: JSON) -> int:
        """Return the index of a call that has none: with a name it is a new one."""
        function = delta.get("function")
        begins = isinstance(function, dict) and bool(function.get("name"))
        return len(self._calls) if begins or not self._calls else len(self._calls) - 1

    def _call(self, delta: JSON) -> None:
        number = index_of(delta.get("index", self._next(delta)), "a tool call")
        call = self._calls.setdefault(number, Pending(f"{self.envelope.base}_{number}"))
        call.learn(delta)
        begun = call.begin(len(self._begun), self.events)
        if begun is not None:
            self._begun.append(begun)
        call.tell(self.events)
