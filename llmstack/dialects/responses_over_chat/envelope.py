"""The response around the output: who answers, when, and the settings as the caller gave them.

What was dropped from the request is not repeated here: it had no effect.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, final

from attrs import frozen

from llmstack.dialects.translator import JSON


__all__ = ["TIERS", "Envelope", "base_of"]

#: Repeated if they were asked for, and else not there.
_OPTIONAL: Final = (
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "top_logprobs",
    "user",
)
#: Of the tiers that an endpoint may say it used, those that the caller's dialect knows.
TIERS: Final = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")
_PREFIX: Final = "chatcmpl-"


def base_of(name: object, at: float) -> str:
    """Return what all ids of a reply end with: from the endpoint's id, else from the time."""
    base = name.removeprefix(_PREFIX) if isinstance(name, str) else ""
    return base or f"at{at * 1_000_000:.0f}"


@final
@frozen
class Envelope:
    """One response without its output."""

    asked: JSON
    base: str
    model: str
    at: float

    def around(self, output: Collection[JSON], status: str) -> dict[str, Any]:
        """Return the response with *output*, all required fields in it."""
        said = {name: value for name, value in self.asked.items() if value is not None}
        reasoning = said.get("reasoning", {})
        return {
            "id": f"resp_{self.base}",
            "object": "response",
            "created_at": int(self.at),
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": said.get("instructions"),
            "max_output_tokens": said.get("max_output_tokens"),
            "metadata": said.get("metadata", {}),
            "model": self.model,
            "output": list(output),
            "parallel_tool_calls": said.get("parallel_tool_calls", True),
            "previous_response_id": None,
            "reasoning": {"effort": reasoning.get("effort"), "summary": None},
            "store": False,
            "temperature": said.get("temperature"),
            "text": _text(said.get("text", {})),
            "tool_choice": said.get("tool_choice", "auto"),
            "tools": [_tool(tool) for tool in said.get("tools", ())],
            "top_p": said.get("top_p"),
            "truncation": "disabled",
            **{name: said[name] for name in _OPTIONAL if name in said},
        }


def _text(text: JSON) -> JSON:
    said: dict[str, Any] = {"format": text.get("format") or {"type": "text"}}
    if text.get("verbosity") is not None:
        said["verbosity"] = text["verbosity"]
    return said


def _tool(tool: JSON) -> JSON:
    """Return *tool* with the fields that a response must have and a request need not."""
    return {"parameters": None, "strict": None, **tool} if tool["type"] == "function" else tool
