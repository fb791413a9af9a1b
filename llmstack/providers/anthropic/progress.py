"""What the events of a Messages stream mean: content, usage, errors, the end. No I/O.

Content is a delta with text, thinking or arguments, a block that is something else than text
or thinking (a tool's name, its result), or a stop reason other than ``end_turn``. A stream
is whole when ``message_stop`` was seen, and nothing passes after it. Events of types that
nobody knows pass. What a message counts as its output when it starts is no count of all that
follows: until a ``message_delta`` has one, the usage is estimated.

Errors: what an error event means by `classify`, `ProtocolError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, final

from attrs import define, field

from llmstack.call import Usage
from llmstack.errors import ProtocolError
from llmstack.providers.anthropic.classify import classify
from llmstack.providers.anthropic.usage import OUTPUT, counted, usage_of
from llmstack.providers.estimate import estimated, text_bytes
from llmstack.providers.said import as_object, decoded
from llmstack.providers.template import Shape, Template


__all__ = ["Progress", "says"]

#: A cited answer has a block for each passage, so these are more than the choices of a chat.
BLOCKS: Final = 1024
#: Anthropic pads with spaces before the last brace.
SHAPE: Final = Shape.of("text", "thinking", "partial_json", mark=b"", padding=rb'"\} *+')

#: Blocks that are empty when they start.
_SPOKEN: Final = frozenset({"text", "thinking"})
_TEXTS: Final = ("text", "thinking", "partial_json")
_DELTAS: Final = (*_TEXTS, "citation", "content")


def says(block: object) -> bool:
    """Whether a block of content, whole or just started, says anything."""
    said = as_object(block)
    kind = said.get("type")
    if not isinstance(kind, str):
        return False
    return bool(said.get("text") or said.get("thinking")) if kind in _SPOKEN else bool(kind)


@final
@define(eq=False)
class Progress:
    """How far a stream has come.

    *begun* since its first content, *done* since ``message_stop``. *headers* gives those of
    the reply, for an error.
    """

    headers: Callable[[], Mapping[str, str]] = field(default=dict, repr=False)
    begun: bool = field(default=False, init=False)
    done: bool = field(default=False, init=False)
    _counts: Mapping[str, int] = field(factory=dict, init=False, repr=False)
    _counted: bool = field(default=False, init=False, repr=False)
    _text: int = field(default=0, init=False, repr=False)
    _template: Template = field(factory=partial(Template, SHAPE), init=False, repr=False)

    @property
    def whole(self) -> bool:
        """Whether the stream may end here."""
        return self.done

    @property
    def usage(self) -> Usage | None:
        """Tokens so far; estimated until the output was counted behind the start."""
        said = usage_of(self._counts)
        return said if said is None or self._counted else estimated(said, 0, self.text)

    @property
    def text(self) -> int:
        """Bytes of content so far."""
        return self._text + self._template.text

    @property
    def unsaid(self) -> None:
        """Nothing: the terminal is an event of the provider."""
        return

    def take(self, data: bytes, name: str = "") -> bool:
        """Learn from one event; return whether it is to be handed on.

        Raises what an error event means.
        """
        if self.done:
            return False
        if name != "error" and self._template.fits(data):
            return True
        event = decoded(data)
        if not isinstance(event, dict):
            raise ProtocolError("an event is not a JSON object")
        kind = event.get("type") or name
        if "error" in (kind, name) or event.get("error"):
            raise classify(200, self.headers(), data, "event")
        if kind == "message_stop" and name != kind:
            # Clients go by the name: to them a stream of other names has not ended, or is empty.
            raise ProtocolError("the last event of a message is not named so")
        self._learn(kind, event, data)
        return True

    def run(self, chunk: bytes, /) -> tuple[int, int]:
        """Learn from events that differ in their text alone; return how many, and their bytes."""
        return (0, 0) if self.done else self._template.run(chunk)

    def _learn(self, kind: object, event: Mapping[str, Any], data: bytes) -> None:
        match kind:
            case "message_start":
                self._count(as_object(event.get("message")).get("usage"))
            case "content_block_start":
                self.begun = says(self._at(event).get("content_block")) or self.begun
            case "content_block_delta":
                self._delta(self._at(event).get("delta"), data)
            case "content_block_stop":
                self._at(event)
            case "message_delta":
                self._counted = self._count(event.get("usage")) or self._counted
                reason = as_object(event.get("delta")).get("stop_reason") or "end_turn"
                self.begun = self.begun or reason != "end_turn"
            case "message_stop":
                self.done = True

    def _at(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return *event* if its index is one."""
        index = event.get("index", 0)
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < BLOCKS:
            raise ProtocolError("a block has an impossible index")
        return event

    def _delta(self, delta: object, data: bytes) -> None:
        self._text += text_bytes(delta, _TEXTS)
        if any(map(as_object(delta).get, _DELTAS)):
            self.begun = True
            self._template.learn(data, "content_block_delta")

    def _count(self, usage: object) -> bool:
        """Take numbers that are the whole so far, each in the place of the one before it.

        Returns whether the output is among them.
        """
        counts = counted(usage)
        self._counts = {**self._counts, **counts}
        return OUTPUT in counts
