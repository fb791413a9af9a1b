"""How long a provider asks us to wait: a total parser of headers and hints.

The first valid one wins: ``retry-after-ms``, ``x-ms-retry-after-ms``,
``x-amz-retry-after`` (milliseconds all), ``Retry-After`` in seconds or as a date, the delay
that Google has in the body, a hint in the words of the error, and the reset of a limit of
which nothing remains. What is malformed counts as absent; nothing here raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from llmstack.providers.rate_headers import rate_facts
from llmstack.providers.times import (
    Parsed,
    date,
    dates,
    duration,
    first,
    largest,
    number,
    stamp,
)


__all__ = ["retry_after"]

#: Signs of a header that are looked at; a date has 29.
LOOK: Final = 512

_MILLISECONDS: Final = ("retry-after-ms", "x-ms-retry-after-ms", "x-amz-retry-after")
#: OpenAI, Groq: "try again in 4m50.304s". Gemini: "retry in 34.07s".
_SHORT: Final = re.compile(
    r"(?i)\b(?:try again|retry) (?:in|after) ([0-9][0-9.a-z]*[a-z])(?![\w%])"
)
#: Azure: "retry after 7 seconds", "try again in 59 seconds". GitHub: "wait 31200 seconds".
_IN_WORDS: Final = re.compile(
    r"(?i)\b(?:(?:try again|retry) (?:in|after)|wait(?: for)?)"
    r" ([0-9]{1,9}(?:\.[0-9]{1,6})?) (millisecond|second|minute|hour|day)s?\b"
)
_WORTH: Final[Mapping[str, float]] = {
    "millisecond": 0.001,
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86400.0,
}
#: Anthropic: "You will regain access on 2026-01-01 at 00:00 UTC."
_REGAIN: Final = re.compile(
    r"(?i)\bregain access on ([0-9]{4}-[0-9]{2}-[0-9]{2}) at ([0-9]{2}:[0-9]{2}) UTC"
)


def retry_after(
    headers: Mapping[str, str], *, hint: str = "", delay: str = "", wall: float | None = None
) -> float | None:
    """Return the seconds to wait, None if the provider names none.

    Names in *headers* are lower case; of several values in one, joined by commas, the
    largest counts. *hint* is the words of the error, *delay* a span in its body. Dates are
    measured against the reply's own ``Date``, which has the provider's clock, or against
    *wall*; where there is neither they say nothing.

    >>> retry_after({"retry-after": "1.5"})
    1.5
    >>> retry_after({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"})
    360.0
    """
    for name in _MILLISECONDS:
        wait = largest(map(number, headers.get(name, "")[:LOOK].split(",")))
        if wait is not None:
            return wait / 1000
    now = first(date(headers.get("date", "")), wall)
    said = headers.get("retry-after", "")[:LOOK]
    return first(
        largest(map(number, said.split(","))),
        _until(largest(dates(said)), now),
        duration(delay),
        largest(_hints(hint, now)),
        # A plan is no limit that holds up every request: its formats look at it themselves.
        largest(
            facts.reset
            for facts in rate_facts(headers, wall=wall)
            if facts.used_up and facts.unit != "share"
        ),
    )


def _hints(text: str, now: Parsed) -> Iterator[Parsed]:
    """Yield each wait that *text* has in words."""
    for found in _SHORT.finditer(text):
        yield duration(found[1])
    for found in _IN_WORDS.finditer(text):
        yield float(found[1]) * _WORTH[found[2].lower()]
    for found in _REGAIN.finditer(text):
        yield _until(stamp(f"{found[1]}T{found[2]}:00Z"), now)


def _until(at: Parsed, now: Parsed) -> Parsed:
    return None if at is None or now is None else max(0.0, at - now)
