"""The events of a Messages stream as the chunks of a chat, one by one.

The chunk with the reason to finish comes with the reason to stop, the one with the usage at the
end, if it was asked for. Events and deltas that are not known say nothing. Errors:
`ProtocolError` for events that are malformed or out of order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, final

from attrs import define, field

from llmstack.dialects.chat_over_messages.reply import finish_of, older, usage_of, written
from llmstack.dialects.heard import the
from llmstack.dialects.translator import JSON, Piece
from llmstack.errors import ProtocolError


__all__ = ["ChatStream"]

#: The deltas that say something: of which block, and under which key.
_DELTAS: Final[Mapping[str, tuple[str, str]]] = {
    "input_json_delta": ("tool_use", "partial_json"),
    "text_delta": ("text", "text"),
}
#: The kinds of blocks that a chat can say.
_SAID: Final = frozenset(kind for kind, _ in _DELTAS.values())


@final
@define
class _Block:
    """A block that is open: what it is, which of the calls, and its arguments if none come."""

    kind: str
    call: int = 0
    otherwise: str = ""


@final
@define(eq=False)
class ChatStream:
    """The translator of one stream."""

    asked: JSON
    tells_usage: bool
    created: int
    head: dict[str, Any] = field(factory=dict, init=False)
    usage: dict[str, Any] = field(factory=dict, init=False)
    blocks: dict[int, _Block] = field(factory=dict, init=False)
    calls: int = field(default=0, init=False)
    finished: bool = field(default=False, init=False)

    @classmethod
    def of(cls, asked: JSON, at: float) -> ChatStream:
        """Return the translator of the reply to *asked*."""
        options = asked.get("stream_options")
        tells = isinstance(options, Mapping) and options.get("include_usage") is True
        return cls(asked, tells, int(at))

    def take(self, name: str, data: JSON, /) -> Sequence[Piece]:
        """Return the chunks that one event means."""
        kind = data.get("type")
        taker = self._TAKERS.get(kind if isinstance(kind, str) else name)
        return taker(self, data) if taker else ()

    def end(self) -> Sequence[Piece]:
        """Return the chunk with the usage, if there is one."""
        if not self.finished:
            raise ProtocolError("a Messages stream without a reason to stop")
        usage = usage_of(self.usage) if self.tells_usage else None
        return [("", {**self.head, "choices": [], "usage": usage})] if usage else ()

    def _chunk(self, delta: JSON, finish: str | None = None) -> Sequence[Piece]:
        if not self.head:
            raise ProtocolError("a Messages stream that does not begin with its start")
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        usage = {"usage": None} if self.tells_usage else {}
        return [("", {**self.head, "choices": [choice], **usage})]

    def _start(self, data: JSON) -> Sequence[Piece]:
        if self.head:
            raise ProtocolError("a Messages stream that starts twice")
        message = the(dict, data, "message")
        self.head = {
            "id": the(str, message, "id"),
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": the(str, message, "model"),
        }
        self._count(message.get("usage"))
        return self._chunk({"role": "assistant", "content": None, "refusal": None})

    def _count(self, usage: object) -> None:
        """Counts are of all so far: the last of each is the one."""
        known = usage if isinstance(usage, Mapping) else {}
        self.usage.update({name: count for name, count in known.items() if count is not None})

    def _block_start(self, data: JSON) -> Sequence[Piece]:
        if self.finished:
            return ()
        start = the(dict, data, "content_block")
        block = _Block(the(str, start, "type"))
        self.blocks[the(int, data, "index")] = block
        if block.kind == "text":
            return self._said(start, "text")
        if block.kind != "tool_use":
            return ()
        block.call, block.otherwise = self.calls, written(the(dict, start, "input"))
        self.calls += 1
        name = the(str, start, "name")
        return self._called(block, name=name, arguments="", known_as=the(str, start, "id"))

    def _said(self, source: JSON, name: str) -> Sequence[Piece]:
        text = the(str, source, name)
        return self._chunk({"content": text}) if text else ()

    def _called(
        self, block: _Block, *, arguments: str, name: str = "", known_as: str = ""
    ) -> Sequence[Piece]:
        """The piece of a call, in the form that the caller knows; the first has its name."""
        function = {"name": name, "arguments": arguments} if name else {"arguments": arguments}
        if older(self.asked):
            if block.call:
                raise ProtocolError("a Messages stream with more than the one call allowed")
            return self._chunk({"function_call": function})
        first = {"id": known_as, "type": "function"} if name else {}
        return self._chunk({"tool_calls": [{"index": block.call, **first, "function": function}]})

    def _block_delta(self, data: JSON) -> Sequence[Piece]:
        delta = the(dict, data, "delta")
        kind, key = _DELTAS.get(the(str, delta, "type"), ("", ""))
        if self.finished or not kind:
            return ()
        block = self.blocks.get(the(int, data, "index"))
        if block is not None and block.kind not in _SAID:
            return ()  # of a tool that the provider runs itself
        if block is None or block.kind != kind:
            raise ProtocolError("a delta in a Messages stream for a block that is not open")
        if kind == "text":
            return self._said(delta, key)
        piece = the(str, delta, key)
        if not piece:
            return ()
        block.otherwise = ""
        return self._called(block, arguments=piece)

    def _block_stop(self, data: JSON) -> Sequence[Piece]:
        block = self.blocks.pop(the(int, data, "index"), None)
        if block is None or not block.otherwise:
            return ()
        return self._called(block, arguments=block.otherwise)

    def _delta(self, data: JSON) -> Sequence[Piece]:
        self._count(data.get("usage"))
        reason = the(dict, data, "delta").get("stop_reason")
        if reason is None or self.finished:
            return ()
        if self.blocks:
            raise ProtocolError("a Messages stream that stops inside a block")
        self.finished = True
        return self._chunk({}, finish_of(reason, self.asked))

    def _error(self, _data: JSON) -> Sequence[Piece]:
        raise ProtocolError("an error inside a Messages stream")

    _TAKERS: ClassVar[Mapping[str, Callable[[ChatStream, JSON], Sequence[Piece]]]] = {
        "message_start": _start,
        "content_block_start": _block_start,
        "content_block_delta": _block_delta,
        "content_block_stop": _block_stop,
        "message_delta": _delta,
        "error": _error,
    }
