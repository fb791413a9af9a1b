"""Tokens, as Responses says them: how many there were, and how likely each was.

Errors: `ProtocolError`, which says what was wrong and not what was said.
"""

from __future__ import annotations

from typing import Any

from llmstack.dialects.heard import object_of, objects_of, text_of
from llmstack.dialects.shapes import is_whole
from llmstack.dialects.translator import JSON
from llmstack.errors import ProtocolError


__all__ = ["logprobs", "usage"]


def usage(value: object) -> JSON | None:
    """Return the tokens as Responses counts them; None if there are none to believe."""
    said = value if isinstance(value, dict) else {}
    given, made = _count(said.get("prompt_tokens")), _count(said.get("completion_tokens"))
    if given is None or made is None:
        return None
    total = _count(said.get("total_tokens"))
    return {
        "input_tokens": given,
        "input_tokens_details": {
            "cached_tokens": _detail(said, "prompt_tokens_details", "cached_tokens"),
            "cache_write_tokens": _detail(said, "prompt_tokens_details", "cache_write_tokens"),
        },
        "output_tokens": made,
        "output_tokens_details": {
            "reasoning_tokens": _detail(said, "completion_tokens_details", "reasoning_tokens")
        },
        "total_tokens": given + made if total is None else total,
    }


def logprobs(value: object) -> list[JSON]:
    """Return the log probabilities of a choice's text; those of a refusal have no place here."""
    tokens = objects_of(object_of(value, "logprobs").get("content"), "logprobs.content")
    return [
        {
            **_token(token),
            "top_logprobs": [
                _token(each) for each in objects_of(token.get("top_logprobs"), "top_logprobs")
            ],
        }
        for token in tokens
    ]


def _token(said: JSON) -> dict[str, Any]:
    """Return a token; its bytes are a list here, and may be null there."""
    chance = said.get("logprob")
    if not isinstance(chance, (int, float)):
        raise ProtocolError("a log probability is no number")
    return {
        "token": text_of(said.get("token"), "a token"),
        "logprob": chance,
        "bytes": said.get("bytes") or [],
    }


def _detail(said: JSON, group: str, name: str) -> int:
    details = said.get(group)
    return (_count(details.get(name)) if isinstance(details, dict) else None) or 0


def _count(value: object) -> int | None:
    return value if is_whole(value) else None
