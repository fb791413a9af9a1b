"""How long a provider asks us to wait: a total parser of headers and hints.

The first valid one wins: ``retry-after-ms``, ``x-ms-retry-after-ms``,
``x-amz-retry-after`` (milliseconds all), ``Retry-After`` in seconds or as a date, a hint in
the words of the error, and the reset of a dimension of which nothing remains. What is
malformed counts as absent; nothing here raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final


__all__ = ["duration", "retry_after"]

#: Neither sign, exponent, underscore nor other alphabets: ``float`` would take them all.
_NUMBER: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")
_EPOCH: Final = re.compile(r"[0-9]{10,13}(?:\.[0-9]{1,6})?")
_SPAN: Final = re.compile(
    r"(?:([0-9]{1,5})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?"
    r"(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)s)?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)ms)?"
)
_UNITS: Final = (86400.0, 3600.0, 60.0, 1.0, 0.001)
_DATE: Final = re.compile(
    r"[A-Z][a-z]{2,8}, [0-9]{2}[ -][A-Z][a-z]{2}[ -](?:[0-9]{4}|[0-9]{2})"
    r" [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
)
_STAMP: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)
_HINT: Final = re.compile(r"(?i)\b(?:try again|retry) in ([0-9][0-9.a-z]*[a-z])(?![\w%])")

_MILLISECONDS: Final = ("retry-after-ms", "x-ms-retry-after-ms", "x-amz-retry-after")
#: What remains of a dimension, and when it is full again.
_DIMENSIONS: Final = (
    *((f"x-ratelimit-remaining{d}", f"x-ratelimit-reset{d}") for d in ("", "-requests", "-tokens")),
    *(
        (f"anthropic-ratelimit-{d}-remaining", f"anthropic-ratelimit-{d}-reset")
        for d in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
)
#: Above it a date is in milliseconds since 1970, and not in seconds.
_MS: Final = 1e11


def retry_after(
    headers: Mapping[str, str], *, hint: str = "", wall: float | None = None
) -> float | None:
    """Return the seconds to wait, None if the provider names none.

    Names in *headers* are lower case; of several values in one, joined by commas, the
    largest counts. Dates are measured against the reply's own ``Date``, which has the
    provider's clock, or against *wall*; where there is neither they say nothing.

    >>> retry_after({"retry-after": "1.5"})
    1.5
    >>> retry_after({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"})
    360.0
    """
    for name in _MILLISECONDS:
        wait = _largest(_number(part) for part in headers.get(name, "").split(","))
        if wait is not None:
            return wait / 1000
    now = _date(headers.get("date", ""))
    now = wall if now is None else now
    return _first(
        _largest(_number(part) for part in headers.get("retry-after", "").split(",")),
        _dated(headers.get("retry-after", ""), now),
        _largest(duration(found[1]) for found in _HINT.finditer(hint)),
        _largest(
            _reset(headers.get(reset, "").strip(), now)
            for remaining, reset in _DIMENSIONS
            if headers.get(remaining, "").strip() == "0"
        ),
    )


def duration(text: str) -> float | None:
    """Return the seconds that *text* means: ``1s``, ``6m0s``, ``250ms``, ``10h17m5.7s``."""
    found = _SPAN.fullmatch(text)
    if not text or found is None:
        return None
    return sum(float(n) * unit for n, unit in zip(found.groups("0"), _UNITS, strict=True))


def _number(text: str) -> float | None:
    text = text.strip(" \t")
    return float(text) if _NUMBER.fullmatch(text) else None


def _date(text: str) -> float | None:
    text = text.strip(" \t")
    try:
        return parsedate_to_datetime(text).timestamp() if _DATE.fullmatch(text) else None
    except ValueError:  # the 31st of November
        return None


def _stamp(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if _STAMP.fullmatch(text) else None
    except ValueError:
        return None


def _dated(text: str, now: float | None) -> float | None:
    """Return the seconds to the latest of the dates in *text*."""
    date = _largest(_date(found[0]) for found in _DATE.finditer(text))
    return None if date is None or now is None else max(0.0, date - now)


def _reset(text: str, now: float | None) -> float | None:
    """Return the seconds to a reset: a number, a duration, a date, or seconds since 1970."""
    wait = _first(_number(text), duration(text))
    if wait is not None:
        return wait
    date = _stamp(text)
    if _EPOCH.fullmatch(text):
        date = float(text) / (1000 if float(text) > _MS else 1)
    return None if date is None or now is None else max(0.0, date - now)


def _largest(values: Iterator[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
