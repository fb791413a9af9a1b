"""Chunks and replies of a chat, written short."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llmstack.dialects.responses_over_chat import ResponsesOverChat
from llmstack.dialects.translator import Piece


__all__ = ["Thing", "chunk", "counted", "events", "function", "message", "whole"]

Thing = dict[str, Any]


def chunk(delta: Thing | None = None, finish: str | None = None, **more: object) -> Thing:
    """One chunk of the chat ``chatcmpl-7``."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "chatcmpl-7", "model": "m-1", "choices": [choice], **more}


def counted(usage: object) -> Thing:
    """The chunk behind the finish."""
    return {"id": "chatcmpl-7", "model": "m-1", "choices": [], "usage": usage}


def whole(said: Thing, finish: str | None = "stop", **more: object) -> Thing:
    """A whole reply of the same chat."""
    choice = {"index": 0, "message": {"role": "assistant", **said}, "finish_reason": finish}
    return {"id": "chatcmpl-7", "model": "m-1", "choices": [choice], **more}


def function(index: int, text: str, name: str = "", call_id: str = "") -> Thing:
    """A delta of one call; what is empty is not said."""
    said: Thing = {"index": index, "function": {"arguments": text}}
    if name:
        said["function"]["name"] = name
    if call_id:
        said |= {"id": call_id, "type": "function"}
    return {"tool_calls": [said]}


def message(content: list[Thing], status: str = "completed") -> Thing:
    """The item of what the assistant says."""
    common = {"id": "msg_7", "type": "message", "role": "assistant", "status": status}
    return {**common, "content": content}


def events(chunks: Iterable[Thing], asked: Mapping[str, Any] | None = None) -> list[Piece]:
    """All that a stream of *chunks* becomes."""
    stream = ResponsesOverChat().stream(asked or {}, at=5.5)
    return [*(piece for each in chunks for piece in stream.take("", each)), *stream.end()]
