"""Tokens as the OpenAI format counts them, in our terms: the kinds are disjoint."""

from __future__ import annotations

import re
from json import JSONDecoder
from typing import Final

from llmstack.call import Usage
from llmstack.providers.said import as_object


__all__ = ["usage_in", "usage_of"]

_DECODER: Final = JSONDecoder()
#: In a string the quotes would be escaped.
_USAGE: Final = re.compile(rb'"usage"\s*:\s*(?=\{)')
#: What comes after the usage of a long reply is short.
_TAIL: Final = 4096


def usage_of(value: object) -> Usage | None:
    """Return the tokens of a ``usage`` object; None if there is none, or none to believe.

    Responses have names of their own for the same numbers.
    """
    said = as_object(value)
    prompt = _count(said.get("prompt_tokens", said.get("input_tokens")))
    output = _count(said.get("completion_tokens", said.get("output_tokens")) or 0)
    if prompt is None or output is None:
        return None
    details = as_object(said.get("prompt_tokens_details", said.get("input_tokens_details")))
    # DeepSeek names it on the outside.
    cached = _count(details.get("cached_tokens", said.get("prompt_cache_hit_tokens"))) or 0
    cached = min(cached, prompt)
    return Usage(prompt - cached, output, cached)


def usage_in(body: bytes) -> Usage | None:
    """Return the tokens of a long reply without decoding it: they stand at its end."""
    tail = body[-_TAIL:]
    for found in reversed(list(_USAGE.finditer(tail))):
        try:
            value, _ = _DECODER.raw_decode(tail[found.end() :].decode())
        except (ValueError, RecursionError):
            continue
        usage = usage_of(value)
        if usage is not None:
            return usage
    return None


def _count(value: object) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and value >= 0 else None  # type: ignore[operator, return-value]
