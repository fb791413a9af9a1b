"""The three dialects as an upstream speaks them and as a client hears them: bytes, no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen


__all__ = ["DIALECTS", "Heard", "asked", "event", "line_of", "told"]

DIALECTS: Final = ("chat", "messages", "responses")

PATHS: Final = {
    "chat": "/v1/chat/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
}
#: What each says of one thing; None stands for the text.
ID: Final = {"id": "r1", "model": "m"}
USAGE: Final = {"input_tokens": 3, "output_tokens": 2}
RESPONSE: Final[Mapping[str, Any]] = {
    **ID,
    "object": "response",
    "created_at": 1,
    "status": "in_progress",
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "output": [],
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
}
ITEM: Final = {"id": "i1", "type": "message", "role": "assistant", "status": "in_progress"}
AT: Final = {"item_id": "i1", "output_index": 0, "content_index": 0}
BLOCK: Final = {"type": "text", "text": ""}


def event(data: object, name: str = "") -> bytes:
    """One event; a string is its data as it is."""
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


def asked(dialect: str) -> tuple[str, bytes]:
    """Where a client asks, and the body of a streamed request."""
    said: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
    more: dict[str, Any] = {
        "chat": said,
        "messages": {**said, "max_tokens": 64},
        "responses": {"input": "Hi"},
    }[dialect]
    return PATHS[dialect], json.dumps({"model": "chat", "stream": True, **more}).encode()


def line_of(dialect: str, kind: str, text: str) -> bytes:
    """What an upstream sends for one line of a script."""
    same = {
        "comment": b": still here\n\n",
        "bad": event("{oops"),
        "torn": b'data: {"half',
    }
    return same[kind] if kind in same else _LINES[dialect](kind, text)


def _chat(kind: str, text: str) -> bytes:
    def chunk(delta: Mapping[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return event({**ID, "object": "chat.completion.chunk", "created": 1, "choices": [choice]})

    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return {
        "start": chunk({"role": "assistant", "content": ""}),
        "text": chunk({"content": text}),
        "empty": event({**ID, "object": "chat.completion.chunk", "created": 1, "choices": []}),
        "finish": chunk({}, "stop"),
        "count": event(
            {
                **ID,
                "object": "chat.completion.chunk",
                "created": 1,
                "choices": [],
                "usage": usage,
            }
        ),
        "done": event("[DONE]"),
        "error": event({"error": {"message": "no", "type": "server_error", "code": None}}),
    }[kind]


def _named(said: Mapping[str, Any]) -> bytes:
    return event(said, said["type"])


def _messages(kind: str, text: str) -> bytes:
    message = {**ID, "type": "message", "role": "assistant", "content": [], "usage": USAGE}
    start = {"type": "message_start", "message": {**message, "stop_reason": None}}
    block = {"type": "content_block_start", "index": 0, "content_block": BLOCK}
    delta = {"type": "text_delta", "text": text}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    said: dict[str, Sequence[Mapping[str, Any]]] = {
        "start": [start, block],
        "text": [{"type": "content_block_delta", "index": 0, "delta": delta}],
        "empty": [{"type": "ping"}],
        "finish": [
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": end, "usage": USAGE},
        ],
        "count": [{"type": "ping"}],
        "done": [{"type": "message_stop"}],
        "error": [{"type": "error", "error": {"type": "api_error", "message": "no"}}],
    }
    return b"".join(map(_named, said[kind]))


def _responses(kind: str, text: str) -> bytes:
    whole = {**ITEM, "status": "completed", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    said: dict[str, Sequence[Mapping[str, Any]]] = {
        "start": [
            {"type": "response.created", "response": RESPONSE},
            {"type": "response.output_item.added", "output_index": 0, "item": ITEM},
            {"type": "response.content_part.added", **AT, "part": part},
        ],
        "text": [{"type": "response.output_text.delta", **AT, "delta": text, "logprobs": []}],
        "empty": [{"type": "response.in_progress", "response": RESPONSE}],
        "finish": [{"type": "response.output_item.done", "output_index": 0, "item": whole}],
        "count": [{"type": "response.in_progress", "response": RESPONSE}],
        "done": [
            {
                "type": "response.completed",
                "response": {**RESPONSE, "status": "completed", "usage": USAGE},
            }
        ],
        "error": [{"type": "error", "code": "server_error", "message": "no", "param": None}],
    }
    return b"".join(_named({**each, "sequence_number": 1}) for each in said[kind])


_LINES: Final = {"chat": _chat, "messages": _messages, "responses": _responses}


@frozen
class Heard:
    """What a client makes of a reply: the text, and how often each thing came."""

    status: int
    text: str = ""
    finishes: int = 0
    terminals: int = 0
    errors: int = 0
    after: int = 0  # events that came behind a terminal or an error
    ended: bool = False  # by the last chunk of the transfer coding


def told(dialect: str, raw: bytes) -> Heard:
    """Read a whole reply as a client does."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    if b"text/event-stream" not in head:
        return Heard(status)
    data, ended = _unchunked(body)
    text, finishes, terminals, errors, after = "", 0, 0, 0, 0
    for block in data.split(b"\n\n"):
        lines = [line for line in block.split(b"\n") if line.startswith(b"data: ")]
        if not lines:
            continue
        after += bool(terminals or errors)
        said = {} if lines[0] == b"data: [DONE]" else json.loads(lines[0][6:])
        terminals += not said or said.get("type") in {"message_stop", "response.completed"}
        errors += ("error" in said and said.get("object") != "response") or _failed(said)
        finishes += _finished(dialect, said)
        text += _text(dialect, said)
    return Heard(status, text, finishes, terminals, errors, after, ended)


def _failed(said: Mapping[str, Any]) -> bool:
    return said.get("type") in {"error", "response.failed"}


def _finished(dialect: str, said: Mapping[str, Any]) -> bool:
    if dialect == "chat":
        return any(choice.get("finish_reason") for choice in said.get("choices", ()))
    if dialect == "messages":
        return bool((said.get("delta") or {}).get("stop_reason"))
    return said.get("type") == "response.completed"


def _text(dialect: str, said: Mapping[str, Any]) -> str:
    if dialect == "chat":
        return "".join(c["delta"].get("content") or "" for c in said.get("choices", ()))
    delta = said.get("delta")
    if dialect == "messages":
        return str((delta or {}).get("text") or "") if said.get("type") != "message_delta" else ""
    return str(delta) if said.get("type") == "response.output_text.delta" else ""


def _unchunked(body: bytes) -> tuple[bytes, bool]:
    """What the transfer coding carries, and whether it has its last chunk."""
    data = b""
    while body:
        size, found, rest = body.partition(b"\r\n")
        length = int(size, 16) if found else 0
        if not length:
            return data, bool(found)
        data += rest[:length]
        body = rest[length + 2 :]
    return data, False
