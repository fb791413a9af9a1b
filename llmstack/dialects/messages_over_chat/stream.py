"""The chunks of a chat stream as the events of a message.

``message_start`` comes with the first chunk that has a choice: hosts send chunks without one
before it, whose id is empty. It counts no tokens, for chat counts them last; the counts in
``message_delta`` are of the whole message and replace those at the start. The tokens may come
behind the finish, so the end is said when the stream is over, and once.

The first finish counts, and what comes behind it is only read for tokens. Choices beside the
first are left out. A text that comes behind a call is a block behind that of the call.

Errors: `ProtocolError`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, final

from attrs import define, field

from llmstack.dialects.heard import object_of, objects_of, text_of
from llmstack.dialects.messages_over_chat.reply import (
    CUT,
    finish_of,
    first_choice,
    message,
    stop_reason,
    tokens,
)
from llmstack.dialects.messages_over_chat.segments import Call, Line
from llmstack.dialects.translator import JSON, Piece
from llmstack.errors import ProtocolError


__all__ = ["Stream"]

#: Stands for the call that older hosts put beside the list.
_LEGACY: Final = -1


@final
@define(eq=False)
class Stream:
    """The translator of one stream, for a caller who *asked*."""

    asked: JSON
    _id: str = field(default="", init=False)
    _begun: bool = field(default=False, init=False)
    _finished: bool = field(default=False, init=False)
    _finish: str | None = field(default=None, init=False)
    _refused: bool = field(default=False, init=False)
    _usage: JSON | None = field(default=None, init=False)
    _line: Line = field(factory=Line, init=False)
    _calls: dict[int, Call] = field(factory=dict, init=False)

    def take(self, _name: str, data: JSON, /) -> Sequence[Piece]:
        """Return what one chunk means."""
        usage = data.get("usage")
        if isinstance(usage, dict):
            self._usage = usage
        choice = first_choice(data)
        return [] if choice is None or self._finished else [*self._said(data, choice)]

    def end(self) -> Sequence[Piece]:
        """Return the end of the message."""
        if not self._begun:
            raise ProtocolError("the stream has no choice")
        said = [*self._close()]
        reason = stop_reason(self._finish, refused=self._refused, calls=bool(self._calls))
        said.append(
            _event(
                "message_delta",
                {
                    "delta": {"stop_reason": reason, "stop_sequence": None},
                    "usage": tokens(self._usage),
                },
            ),
        )
        return [*said, _event("message_stop", {})]

    def _said(self, data: JSON, choice: JSON) -> Iterator[Piece]:
        if not self._begun:
            self._begun = True
            start = message(data, self.asked)
            self._id = start["id"]
            yield _event("message_start", {"message": start})
        delta = object_of(choice.get("delta") or None, "the delta")
        self._hear(delta)
        yield from self._line.advance()
        self._finish = finish_of(choice)
        if self._finish is not None:
            yield from self._close()

    def _close(self) -> Iterator[Piece]:
        """Yield what was held back; nothing is heard from here on."""
        self._finished = True
        yield from self._line.finish(cut=self._finish in CUT)

    def _hear(self, delta: JSON) -> None:
        content = text_of(delta.get("content"), "the content")
        if content:
            self._line.text(content, refusal=False)
        refusal = text_of(delta.get("refusal"), "the refusal")
        if refusal:
            self._line.text(refusal, refusal=True)
            self._refused = True
        for call in objects_of(delta.get("tool_calls") or None, "tool_calls"):
            self._call(call)
        if delta.get("function_call") is not None:
            self._call({"index": _LEGACY, "function": delta["function_call"]})

    def _call(self, said: JSON) -> None:
        """Add to the call of that index; one without an index is a call of its own."""
        function = object_of(said.get("function") or None, "the function of a tool call")
        index = said.get("index", len(self._calls))
        if not isinstance(index, int):
            raise ProtocolError("a tool call has no index")
        call = self._calls.get(index)
        if call is None:
            call = self._calls[index] = Call(f"{self._id}_{len(self._calls)}")
            self._line.call(call)
        call.take(
            text_of(said.get("id"), "the id of a tool call"),
            text_of(function.get("name"), "the name of a tool call"),
            text_of(function.get("arguments"), "the text of a tool call"),
        )


def _event(name: str, said: dict[str, Any]) -> Piece:
    return name, {"type": name, **said}
