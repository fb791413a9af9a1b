"""Which events of a stream have content: what a caller would miss if it were not there.

A role, a keep-alive, an empty text and an ordinary finish are none: until there is content
nothing has been promised, and another endpoint may still be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from llmstack.dialects.translator import JSON, Piece


__all__ = ["has_content"]

_OF_A_DELTA: Final = (
    *("content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call"),
    "audio",
)
_ORDINARY: Final = (None, "stop", "end_turn", "completed")


def has_content(dialect: str, piece: Piece) -> bool:
    """Whether *piece* has content for a caller who speaks *dialect*.

    >>> has_content("chat", ("", {"choices": [{"delta": {"role": "assistant"}}]}))
    False
    >>> has_content("messages", ("content_block_delta", {"delta": {"text": "Hi"}}))
    True
    """
    name, data = piece
    return _TESTS[dialect](name, data)


def _chat(_name: str, data: JSON) -> bool:
    return any(
        choice.get("finish_reason") not in _ORDINARY
        or any(map((choice.get("delta") or {}).get, _OF_A_DELTA))
        for choice in data.get("choices") or ()
    )


def _messages(name: str, data: JSON) -> bool:
    if name == "content_block_start":
        return (data.get("content_block") or {}).get("type") not in {"text", "thinking"}
    delta: Mapping[str, Any] = data.get("delta") or {}
    if name == "message_delta":
        return delta.get("stop_reason") not in _ORDINARY
    return name == "content_block_delta" and any(
        map(delta.get, ("text", "thinking", "partial_json"))
    )


def _responses(name: str, data: JSON) -> bool:
    if name == "response.output_item.added":
        return (data.get("item") or {}).get("type") not in {"message", "reasoning"}
    return name == "response.incomplete" or (name.endswith(".delta") and bool(data.get("delta")))


_TESTS: Final[Mapping[str, Callable[[str, JSON], bool]]] = {
    "chat": _chat,
    "messages": _messages,
    "responses": _responses,
}
