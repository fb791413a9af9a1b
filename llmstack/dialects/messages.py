"""Anthropic Messages: a whole message as a stream of events, and a stream as a message.

Pure functions over decoded JSON. A message is its start, its blocks one by one, and a
``message_delta`` with the reason of its end; the counts in that are totals, and replace those
of the start. Events that are not known, and pings, say nothing.

The input of a tool comes as pieces of JSON. Where they do not make an object the stream is
not as agreed, but for a message that was cut by a limit: there the input stays as it began,
and the reason to stop tells of the cut.

Errors: `ProtocolError`. Events: none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from io import StringIO
from typing import Any, Final, final

from attrs import define, field

from llmstack.dialects.translator import JSON, Piece
from llmstack.errors import ProtocolError


__all__ = ["assembled", "call_id", "pieces"]

#: Said at the end of a stream, and null at its start.
_LAST: Final = ("stop_reason", "stop_sequence", "stop_details")
#: What may not come before the start.
KINDS: Final = (*("content_block_start", "content_block_delta", "message_delta", "message_stop"),)
#: Reasons to stop after which an input may be half there.
_CUT: Final = ("max_tokens", "model_context_window_exceeded", "refusal")
_FOREIGN: Final = re.compile(r"[^a-zA-Z0-9_-]")


def assembled(pieces: Iterable[Piece], /) -> JSON:
    """Return the message that the events of a complete stream say together."""
    message = _Message()
    for _, event in pieces:
        message.take(event)
        if message.over:
            return message.whole()
    raise ProtocolError("the stream has no message_stop")


def pieces(body: JSON, /) -> list[Piece]:
    """Return the events that say *body*, each block in one delta of its kind."""
    usage = body.get("usage")
    content = body.get("content")
    if not isinstance(usage, dict) or not isinstance(content, list):
        raise ProtocolError("the message has no content or no usage")
    if not body.get("stop_reason"):
        raise ProtocolError("the message does not say how it ended")
    start = {**body, "content": [], "usage": {**usage, "output_tokens": 0}}
    last = {name: body[name] for name in _LAST if name in body}
    start |= dict.fromkeys(last)
    said: list[JSON] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(content):
        said += _block_events(index, _object(block))
    counted = {"output_tokens": usage.get("output_tokens", 0)}
    said += [
        {"type": "message_delta", "delta": last, "usage": counted},
        {"type": "message_stop"},
    ]
    return [(event["type"], event) for event in said]


def call_id(given: str, otherwise: str) -> str:
    """Return *given*, or else *otherwise*, in the alphabet that ids of calls have here."""
    return _FOREIGN.sub("_", given or otherwise)


def _block_events(index: int, block: JSON) -> Iterator[JSON]:
    """Say one block: an empty one, what it has, its end."""
    empty, deltas = dict(block), list[JSON]()
    match block:
        case {"type": "text", "text": text}:
            empty["text"] = ""
            deltas += [{"type": "text_delta", "text": text}] if text else []
            cited = block.get("citations")
            if isinstance(cited, list) and cited:
                empty["citations"] = []
                deltas += [{"type": "citations_delta", "citation": each} for each in cited]
        case {"type": "thinking", "thinking": thinking}:
            empty["thinking"] = ""
            deltas += [{"type": "thinking_delta", "thinking": thinking}] if thinking else []
            if block.get("signature"):
                empty["signature"] = ""
                deltas.append({"type": "signature_delta", "signature": block["signature"]})
        case {"input": dict(value)} if value:
            empty["input"] = {}
            part = json.dumps(value, separators=(",", ":"))
            deltas.append({"type": "input_json_delta", "partial_json": part})
    yield {"type": "content_block_start", "index": index, "content_block": empty}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


@final
@define(eq=False)
class _Block:
    """One block on its way."""

    start: JSON
    _texts: dict[str, StringIO] = field(factory=dict, init=False)
    _fields: dict[str, Any] = field(factory=dict, init=False)

    def take(self, delta: JSON) -> None:
        kind, of = delta.get("type"), self.start.get("type")
        if kind in ("text_delta", "thinking_delta"):
            name = "text" if kind == "text_delta" else "thinking"
            self._expect(of == name)
            self._add(name, delta.get(name))
        elif kind == "signature_delta":
            self._expect(of == "thinking")
            self._fields["signature"] = delta.get("signature")
        elif kind == "citations_delta":
            start = self.start.get("citations") or []
            self._expect(of == "text" and isinstance(start, list))
            self._fields.setdefault("citations", [*start]).append(delta.get("citation"))
        elif kind == "input_json_delta":
            self._expect("input" in self.start)
            self._add("input", delta.get("partial_json"))

    def _expect(self, fits: bool) -> None:  # noqa: FBT001 -- private, and it reads well
        if not fits:
            raise ProtocolError("a delta is not of the kind of its block")

    def _add(self, name: str, text: object) -> None:
        if not isinstance(text, str):
            raise ProtocolError("a delta has no text")
        self._texts.setdefault(name, StringIO()).write(text)

    def whole(self, *, cut: bool) -> JSON:
        """Return the block; *cut* if the message ended before it was done."""
        whole = {**self.start, **self._fields}
        for name, text in self._texts.items():
            said = text.getvalue()
            if name != "input":
                whole[name] = _text(self.start.get(name) or "") + said
            elif said:
                whole["input"] = _input(said, whole["input"], cut=cut)
        return whole


@final
@define(eq=False)
class _Message:
    """The message on its way; *over* since its last event."""

    over: bool = field(default=False, init=False)
    _start: dict[str, Any] = field(factory=dict, init=False)
    _usage: dict[str, Any] = field(factory=dict, init=False)
    _blocks: list[_Block] = field(factory=list, init=False)

    def take(self, event: JSON) -> None:
        kind = event.get("type")
        if kind == "error":
            raise ProtocolError("an event is an error")
        if kind == "message_start":
            self._begin(_object(event.get("message")))
        elif not self._start and kind in KINDS:
            raise ProtocolError("an event comes before message_start")
        elif kind == "message_delta":
            self._start |= _object(event.get("delta"))
            said = _object(event.get("usage") or {})
            self._usage |= {name: said[name] for name in said if said[name] is not None}
        elif kind == "message_stop":
            self.over = True
        else:
            self._of_block(kind, event)

    def _of_block(self, kind: object, event: JSON) -> None:
        index = event.get("index")
        if kind == "content_block_start":
            if index != len(self._blocks):
                raise ProtocolError("a block is out of its turn")
            self._blocks.append(_Block(_object(event.get("content_block"))))
        elif kind == "content_block_delta":
            if not isinstance(index, int) or not 0 <= index < len(self._blocks):
                raise ProtocolError("a delta is of a block that has not started")
            self._blocks[index].take(_object(event.get("delta")))

    def _begin(self, message: JSON) -> None:
        if self._start:
            raise ProtocolError("the message starts twice")
        self._start |= message
        self._usage |= _object(message.get("usage") or {})

    def whole(self) -> JSON:
        cut = self._start.get("stop_reason") in _CUT
        content = [block.whole(cut=cut) for block in self._blocks]
        return {**self._start, "content": content, "usage": self._usage}


def _input(said: str, start: object, *, cut: bool) -> object:
    try:
        value = json.loads(said)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) or cut:
        return value if isinstance(value, dict) else start
    raise ProtocolError("the input of a tool is no JSON object")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ProtocolError("a block begins with what is no text")
    return value


def _object(value: object) -> JSON:
    if not isinstance(value, dict):
        raise ProtocolError("an event or a block lacks an object")
    return value
