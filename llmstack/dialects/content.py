"""Which events of a stream have content: what a caller would miss if it were not there.

A role, a keep-alive, an empty text and an ordinary finish are none: until there is content
nothing has been promised, and another endpoint may still be asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmstack.dialects.translator import Piece


__all__ = ["of_chat", "of_messages", "of_responses"]

_OF_A_DELTA: Final = (
    *("content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call"),
    "audio",
)
_ORDINARY: Final = (None, "stop", "end_turn", "completed")


def of_chat(piece: Piece) -> bool:
    """Whether a chunk has content.

    >>> of_chat(("", {"choices": [{"delta": {"role": "assistant"}}]}))
    False
    """
    _, data = piece
    return any(
        choice.get("finish_reason") not in _ORDINARY
        or any(map((choice.get("delta") or {}).get, _OF_A_DELTA))
        for choice in data.get("choices") or ()
    )


def of_messages(piece: Piece) -> bool:
    """Whether an event of Messages has content.

    >>> of_messages(("content_block_delta", {"delta": {"text": "Hi"}}))
    True
    """
    name, data = piece
    if name == "content_block_start":
        return (data.get("content_block") or {}).get("type") not in {"text", "thinking"}
    delta: Mapping[str, Any] = data.get("delta") or {}
    if name == "message_delta":
        return delta.get("stop_reason") not in _ORDINARY
    return name == "content_block_delta" and any(
        map(delta.get, ("text", "thinking", "partial_json"))
    )


def of_responses(piece: Piece) -> bool:
    """Whether an event of Responses has content."""
    name, data = piece
    if name == "response.output_item.added":
        return (data.get("item") or {}).get("type") not in {"message", "reasoning"}
    return name == "response.incomplete" or (name.endswith(".delta") and bool(data.get("delta")))
