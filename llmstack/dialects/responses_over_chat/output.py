"""The output of a response while it grows: a message, calls, and the events that say so.

An item has its place from the moment it begins, and is over when the answer is: what a chat
says may come in any order, and nothing in it says that an item will not go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

from attrs import define, field

from llmstack.dialects.translator import JSON, Piece


__all__ = ["Call", "Events", "Message", "Part"]

#: By the type of a call: that of the item, its id's prefix, the field and the event of its text.
_KINDS: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "custom": ("custom_tool_call", "ctc_", "input", "response.custom_tool_call_input"),
    "function": ("function_call", "fc_", "arguments", "response.function_call_arguments"),
}


@final
@define(eq=False)
class Events:
    """Events on their way to the caller, numbered from 0."""

    _said: list[Piece] = field(factory=list, init=False)
    _number: int = field(default=0, init=False)

    def say(self, kind: str, data: JSON) -> None:
        """Add one event."""
        self._said.append((kind, {"type": kind, "sequence_number": self._number, **data}))
        self._number += 1

    def taken(self) -> Sequence[Piece]:
        """Return the events that have come since, and forget them."""
        said, self._said = self._said, []
        return said


@final
@define(eq=False)
class Part:
    """A part of a message: text, or the words of a refusal."""

    kind: str
    where: JSON
    _texts: list[str] = field(factory=list, init=False)
    _weights: list[JSON] = field(factory=list, init=False)

    def begin(self, events: Events) -> None:
        """Say that the part is there."""
        events.say("response.content_part.added", {**self.where, "part": self._made("", [])})

    def grow(self, text: str, weights: list[JSON], events: Events) -> None:
        """Add *text*; *weights* are the log probabilities of its tokens."""
        self._texts.append(text)
        self._weights += weights
        more = {} if self.kind == "refusal" else {"logprobs": weights}
        events.say(f"response.{self.kind}.delta", {**self.where, "delta": text, **more})

    def end(self, events: Events) -> JSON:
        """Say that the part is whole; return it."""
        part = self._made("".join(self._texts), self._weights)
        whole = {name: part[name] for name in ("text", "refusal", "logprobs") if name in part}
        events.say(f"response.{self.kind}.done", {**self.where, **whole})
        events.say("response.content_part.done", {**self.where, "part": part})
        return part

    def _made(self, text: str, weights: list[JSON]) -> JSON:
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": weights}


@final
@define(eq=False)
class Message:
    """The message of the assistant."""

    base: str
    index: int
    _parts: dict[str, Part] = field(factory=dict, init=False)

    def begin(self, events: Events) -> None:
        """Say that the message is there."""
        item = self._made([], "in_progress")
        events.say("response.output_item.added", {"output_index": self.index, "item": item})

    def has(self, kind: str) -> bool:
        """Whether there is a part of that *kind*."""
        return kind in self._parts

    def part(self, kind: str, events: Events) -> Part:
        """Return the part of that *kind*; it begins now if there was none."""
        if kind not in self._parts:
            where = {
                "item_id": f"msg_{self.base}",
                "output_index": self.index,
                "content_index": len(self._parts),
            }
            self._parts[kind] = Part(kind, where)
            self._parts[kind].begin(events)
        return self._parts[kind]

    def end(self, status: str, events: Events) -> JSON:
        """Say that the message is over; return it."""
        item = self._made([part.end(events) for part in self._parts.values()], status)
        events.say("response.output_item.done", {"output_index": self.index, "item": item})
        return item

    def _made(self, content: list[JSON], status: str) -> JSON:
        return {
            "id": f"msg_{self.base}",
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }


@final
@define(eq=False)
class Call:
    """A call of a tool, since its name is known."""

    kind: str
    base: str
    index: int
    call_id: str
    name: str
    _texts: list[str] = field(factory=list, init=False)

    def begin(self, events: Events) -> None:
        """Say that the call is there."""
        item = self._made("", "in_progress")
        events.say("response.output_item.added", {"output_index": self.index, "item": item})

    def grow(self, text: str, events: Events) -> None:
        """Add to its arguments, or its input."""
        self._texts.append(text)
        event = _KINDS[self.kind][3]
        events.say(f"{event}.delta", {**self._where, "delta": text})

    def end(self, status: str, events: Events) -> JSON:
        """Say that the call is over; return it."""
        _, _, name, event = _KINDS[self.kind]
        item = self._made("".join(self._texts), status)
        named = {"name": self.name} if self.kind == "function" else {}
        events.say(f"{event}.done", {**self._where, **named, name: item[name]})
        events.say("response.output_item.done", {"output_index": self.index, "item": item})
        return item

    @property
    def _where(self) -> dict[str, Any]:
        return {"item_id": _KINDS[self.kind][1] + self.base, "output_index": self.index}

    def _made(self, text: str, status: str) -> JSON:
        kind, prefix, name, _ = _KINDS[self.kind]
        return {
            "id": prefix + self.base,
            "type": kind,
            "status": status,
            "call_id": self.call_id,
            "name": self.name,
            name: text,
        }
