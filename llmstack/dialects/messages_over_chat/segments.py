"""What a stream says, part by part: texts and calls, of which one at a time may be open.

Messages has one block open at a time, and chat may say several calls in turns. So parts stand
in a line in the order in which they began: the first is handed on as it comes, what comes for
the others is held until those before them are closed. A text is closed by what begins after
it; a call by that, once its arguments are a whole object. The end closes all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import final

from attrs import define, field

from llmstack.dialects.messages import call_id
from llmstack.dialects.messages_over_chat.reply import arguments_in
from llmstack.dialects.translator import JSON, Piece
from llmstack.errors import ProtocolError


__all__ = ["Braces", "Call", "Line", "Text"]


@final
@define(eq=False)
class Braces:
    """Whether a JSON text that comes in pieces has closed what it opened."""

    _depth: int = field(default=0, init=False)
    _quoted: bool = field(default=False, init=False)
    _escaped: bool = field(default=False, init=False)
    _begun: bool = field(default=False, init=False)

    @property
    def closed(self) -> bool:
        """Whether an object or a list has been opened and closed."""
        return self._begun and self._depth == 0

    def take(self, piece: str) -> None:
        """Read on."""
        for sign in piece:
            if self._escaped:
                self._escaped = False
            elif self._quoted:
                self._escaped = sign == "\\"
                self._quoted = sign != '"'
            elif sign == '"':
                self._quoted = True
            elif sign in "{[":
                self._begun = True
                self._depth += 1
            elif sign in "}]":
                self._depth -= 1


@final
@define(eq=False)
class Text:
    """A text, or a refusal."""

    refusal: bool
    pieces: list[str] = field(factory=list)
    #: Nothing may be added once the next part has begun.
    closable: bool = field(default=True, init=False)

    def start(self) -> JSON:
        """Return the block as it begins."""
        return {"type": "text", "text": ""}

    def deltas(self) -> Iterator[JSON]:
        """Yield what has come since; it is then forgotten."""
        text = "".join(self.pieces)
        self.pieces.clear()
        if text:
            yield {"type": "text_delta", "text": text}

    def check(self, *, cut: bool) -> None:
        """Any text is a text."""


@final
@define(eq=False)
class Call:
    """A call of a tool; *otherwise* is its id if it brings none."""

    otherwise: str
    id: str = field(default="", init=False)
    name: str = field(default="", init=False)
    closed: bool = field(default=False, init=False)
    _pieces: list[str] = field(factory=list, init=False)
    _handed: list[str] = field(factory=list, init=False)
    _read: int = field(default=0, init=False)
    _braces: Braces = field(factory=Braces, init=False)

    @property
    def closable(self) -> bool:
        """Whether the arguments that were handed on are whole, as their braces say."""
        for piece in self._handed[self._read :]:
            self._braces.take(piece)
        self._read = len(self._handed)
        return self._braces.closed

    def take(self, identity: str, name: str, arguments: str) -> None:
        """Add what a delta says; the first id and the first name stand."""
        if self.id and identity not in {"", self.id}:
            raise ProtocolError("two tool calls have one index")
        self.id = self.id or identity
        self.name = self.name or name
        if self.closed and arguments.strip():
            raise ProtocolError("a tool call goes on behind its arguments")
        if not self.closed and arguments:
            self._pieces.append(arguments)

    def start(self) -> JSON:
        """Return the block as it begins."""
        identity = call_id(self.id, self.otherwise)
        return {"type": "tool_use", "id": identity, "name": self.name, "input": {}}

    def deltas(self) -> Iterator[JSON]:
        """Yield what has come since; it is kept for the check."""
        text = "".join(self._pieces)
        self._pieces.clear()
        if text:
            self._handed.append(text)
            yield {"type": "input_json_delta", "partial_json": text}

    def check(self, *, cut: bool) -> None:
        """Raise `ProtocolError` if the arguments are no object, and were not *cut*."""
        self.closed = True
        arguments_in("".join(self._handed), cut=cut)


@final
@define(eq=False)
class Line:
    """The parts in their order; each becomes the block of the next index."""

    _parts: deque[Text | Call] = field(factory=deque, init=False)
    _open: bool = field(default=False, init=False)
    _index: int = field(default=0, init=False)

    def text(self, text: str, *, refusal: bool) -> None:
        """Add *text* to the last part if it is of that kind, or else as a new one."""
        last = self._parts[-1] if self._parts else None
        if isinstance(last, Text) and last.refusal is refusal:
            last.pieces.append(text)
        else:
            self._parts.append(Text(refusal, [text]))

    def call(self, call: Call) -> None:
        """Let *call* stand at the end of the line."""
        self._parts.append(call)

    def advance(self) -> Iterator[Piece]:
        """Yield what may be said now."""
        while self._parts and self._ready(self._parts[0]):
            part = self._parts[0]
            yield from self._said(part)
            if len(self._parts) == 1 or not part.closable:
                return
            yield self._closed(cut=False)

    def finish(self, *, cut: bool) -> Iterator[Piece]:
        """Yield all that is left, each part closed."""
        while self._parts:
            part = self._parts[0]
            if not self._ready(part):
                if not cut:
                    raise ProtocolError("a tool call has no function with a name")
                self._parts.popleft()
                continue
            yield from self._said(part)
            yield self._closed(cut=cut)

    def _ready(self, part: Text | Call) -> bool:
        return isinstance(part, Text) or bool(part.name)

    def _said(self, part: Text | Call) -> Iterator[Piece]:
        if not self._open:
            self._open = True
            yield self._event("start", {"content_block": part.start()})
        for delta in part.deltas():
            yield self._event("delta", {"delta": delta})

    def _closed(self, *, cut: bool) -> Piece:
        self._parts.popleft().check(cut=cut)
        event = self._event("stop", {})
        self._open = False
        self._index += 1
        return event

    def _event(self, what: str, said: JSON) -> Piece:
        name = f"content_block_{what}"
        return name, {"type": name, "index": self._index, **said}
