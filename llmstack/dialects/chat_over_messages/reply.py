"""A Messages reply as a chat completion.

Texts are joined, calls keep their order. Thinking is opaque to all but its own provider and is
left out, and so are the blocks of tools that run at the provider, which nobody asked for.
Errors: `ProtocolError`, without a word of the reply.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from llmstack.dialects.heard import the
from llmstack.dialects.shapes import is_whole
from llmstack.dialects.translator import JSON
from llmstack.errors import ProtocolError


__all__ = ["FINISH", "finish_of", "older", "reply", "usage_of", "written"]

#: Why the reply ended. What is cut short at the provider is cut short to the caller.
FINISH: Final[Mapping[str, str]] = {
    "end_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "refusal": "content_filter",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
}


def older(asked: JSON) -> bool:
    """Return whether the caller knows functions, and not yet tools."""
    return bool(asked.get("functions"))


def finish_of(reason: object, asked: JSON) -> str:
    """Return the reason to finish that a reason to stop means."""
    finish = FINISH.get(reason) if isinstance(reason, str) else None
    if finish is None:
        raise ProtocolError("a Messages reply without a known reason to stop")
    return "function_call" if finish == "tool_calls" and older(asked) else finish


def written(value: JSON) -> str:
    """Return *value* as the JSON of a call's arguments."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def usage_of(usage: object) -> dict[str, Any] | None:
    """Return the usage of a chat from disjoint counts of tokens; None if nothing is known."""
    if not usage or not isinstance(usage, Mapping):
        return None
    read, wrote, fresh, out = (
        count if is_whole(count) else 0
        for count in (
            usage.get("cache_read_input_tokens"),
            usage.get("cache_creation_input_tokens"),
            usage.get("input_tokens"),
            usage.get("output_tokens"),
        )
    )
    made: dict[str, Any] = {
        "prompt_tokens": fresh + read + wrote,
        "completion_tokens": out,
        "total_tokens": fresh + read + wrote + out,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": wrote},
    }
    details = usage.get("output_tokens_details")
    thought = details.get("thinking_tokens") if isinstance(details, Mapping) else None
    if is_whole(thought):
        made["completion_tokens_details"] = {"reasoning_tokens": thought}
    return made


def _call(block: JSON) -> dict[str, Any]:
    function = {
        "name": the(str, block, "name"),
        "arguments": written(the(dict, block, "input")),
    }
    return {"id": the(str, block, "id"), "type": "function", "function": function}


def _called(calls: list[dict[str, Any]], asked: JSON) -> dict[str, Any]:
    """The calls in the form that the caller knows."""
    if not calls or not older(asked):
        return {"tool_calls": calls} if calls else {}
    if len(calls) > 1:
        raise ProtocolError("a Messages reply with more than the one call that was allowed")
    return {"function_call": calls[0]["function"]}


def reply(body: JSON, asked: JSON, at: float) -> JSON:
    """Return the message *body* as the chat completion that was *asked* for."""
    texts, calls = [], []
    for block in the(list, body, "content"):
        kind = the(str, block, "type") if isinstance(block, Mapping) else None
        if kind is None:
            raise ProtocolError("a block of a Messages reply is no object")
        if kind == "text":
            texts.append(the(str, block, "text"))
        elif kind == "tool_use":
            calls.append(_call(block))
    said = {"role": "assistant", "content": "".join(texts) or None, "refusal": None}
    choice = {
        "index": 0,
        "message": {**said, **_called(calls, asked)},
        "logprobs": None,
        "finish_reason": finish_of(body.get("stop_reason"), asked),
    }
    usage = usage_of(body.get("usage"))
    return {
        "id": the(str, body, "id"),
        "object": "chat.completion",
        "created": int(at),
        "model": the(str, body, "model"),
        "choices": [choice],
        **({"usage": usage} if usage else {}),
    }
