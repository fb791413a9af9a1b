"""Numbers, spans and dates as providers write them: total readers, nothing here raises.

What is malformed counts as absent. Each pattern is bounded and has one way to match, so that
no text takes longer than its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final


__all__ = [
    "Parsed",
    "date",
    "dates",
    "duration",
    "first",
    "largest",
    "moment",
    "number",
    "quantity",
    "smallest",
    "stamp",
]

Parsed = float | None

#: Neither sign, exponent, underscore nor other alphabets: ``float`` would take them all.
_NUMBER: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")
#: Mistral gives 10000000000 tokens a month; Cerebras counts 26.28409242630005 seconds.
_QUANTITY: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,20})?")
_LONG: Final = re.compile(r"[0-9]{1,9}\.[0-9]{7,20}")
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
_SPACE: Final = " \t"
#: Above it a date is in milliseconds since 1970, and not in seconds.
_MS: Final = 1e11


def number(text: str) -> Parsed:
    """Return a plain number: digits, and at most six more behind a point."""
    text = text.strip(_SPACE)
    return float(text) if _NUMBER.fullmatch(text) else None


def quantity(text: str) -> Parsed:
    """Return how many there are: a plain number, and a longer one than a wait can be."""
    text = text.strip(_SPACE)
    return float(text) if _QUANTITY.fullmatch(text) else None


def duration(text: str) -> Parsed:
    """Return the seconds that *text* means: ``1s``, ``6m0s``, ``250ms``, ``10h17m5.7s``."""
    found = _SPAN.fullmatch(text)
    if not text or found is None:
        return None
    return sum(float(n) * unit for n, unit in zip(found.groups("0"), _UNITS, strict=True))


def date(text: str) -> Parsed:
    """Return the seconds since 1970 of a date as HTTP has them, in GMT."""
    text = text.strip(_SPACE)
    try:
        return parsedate_to_datetime(text).timestamp() if _DATE.fullmatch(text) else None
    except ValueError:  # the 31st of November
        return None


def dates(text: str) -> list[Parsed]:
    """Return all the dates in *text*."""
    return [date(found[0]) for found in _DATE.finditer(text)]


def stamp(text: str) -> Parsed:
    """Return the seconds since 1970 of a date of RFC 3339."""
    try:
        return datetime.fromisoformat(text).timestamp() if _STAMP.fullmatch(text) else None
    except ValueError:
        return None


def moment(text: str, now: Parsed) -> Parsed:
    """Return the seconds to a reset: a number, a span, a date, or seconds since 1970.

    A date is measured against *now*; without it, it says nothing.
    """
    text = text.strip(_SPACE)
    wait = first(number(text), duration(text))
    if wait is None and _LONG.fullmatch(text):
        wait = float(text)
    if wait is not None:
        return wait
    at = stamp(text)
    if _EPOCH.fullmatch(text):
        at = float(text) / (1000 if float(text) > _MS else 1)
    return None if at is None or now is None else max(0.0, at - now)


def largest(values: Iterable[Parsed]) -> Parsed:
    """Return the largest of those that are there."""
    return max((value for value in values if value is not None), default=None)


def smallest(values: Iterable[Parsed]) -> Parsed:
    """Return the smallest of those that are there."""
    return min((value for value in values if value is not None), default=None)


def first(*values: Parsed) -> Parsed:
    """Return the first that is there."""
    return next((value for value in values if value is not None), None)
