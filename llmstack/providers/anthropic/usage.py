"""Tokens as the Anthropic format counts them, in our terms: the kinds are disjoint.

They come disjoint already, and in pieces: the prompt's when a message starts, the output's
as it grows. Each number is the whole so far, so the last one of each counts, never the sum.
What was written to a cache was read as input.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from json import JSONDecoder
from typing import Final

from llmstack.call import Usage
from llmstack.providers.said import as_object, decoded


__all__ = ["counted", "usage_in", "usage_of"]

_DECODER: Final = JSONDecoder()
#: In a string the quotes would be escaped.
_USAGE: Final = re.compile(rb'"usage"\s*:\s*(?=\{)')
#: What comes after the usage of a long reply is short.
_TAIL: Final = 4096

INPUT: Final = "input_tokens"
WRITTEN: Final = "cache_creation_input_tokens"
CACHED: Final = "cache_read_input_tokens"
OUTPUT: Final = "output_tokens"


def counted(value: object) -> dict[str, int]:
    """Return the numbers of a ``usage`` object that can be believed, by their names."""
    said = as_object(value)
    return {
        name: number
        for name in (INPUT, WRITTEN, CACHED, OUTPUT)
        if isinstance(number := said.get(name), int)
        and not isinstance(number, bool)
        and number >= 0
    }


def usage_of(counts: Mapping[str, int]) -> Usage | None:
    """Return the tokens of what was `counted`; None if there is no prompt among them."""
    if INPUT not in counts:
        return None
    written, cached = counts.get(WRITTEN, 0), counts.get(CACHED, 0)
    return Usage(counts[INPUT] + written, counts.get(OUTPUT, 0), cached)


def usage_in(body: bytes) -> Usage | None:
    """Return the tokens of a long reply without decoding it: they stand at its end."""
    tail = body[-_TAIL:]
    for found in reversed(list(_USAGE.finditer(tail))):
        try:
            text = tail[found.end() :].decode()
            value, end = _DECODER.raw_decode(text)
        except (ValueError, RecursionError):
            continue
        # The arguments of a tool may have a usage of their own, but not at the top.
        usage = (
            usage_of(counted(value)) if as_object(decoded(f'{{"":0{text[end:]}'.encode())) else None
        )
        if usage is not None:
            return usage
    return None
