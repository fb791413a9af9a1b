"""What is left of a rate limit, as the headers of any reply say: a total parser.

Headers have a family (``x-ratelimit-``, ``anthropic-ratelimit-``, …), and behind it in any
order what is said (``limit``, ``remaining``, ``reset``, …), of what (``requests``,
``input-tokens``, …) and for how long (``minute``, ``5h``, …). So a host that keeps to the
custom is understood without being known. A header with a word that nobody knows says nothing.

OpenAI, Azure, Groq, Together, Fireworks, xAI: ``x-ratelimit-remaining-tokens``. Cerebras:
``x-ratelimit-remaining-tokens-minute``. Mistral: ``x-ratelimit-remaining-req-minute``, and
before ``x-ratelimitbysize-remaining-month``. OpenRouter: ``x-ratelimit-remaining``, where a
failure has them in its body too. Anthropic: ``anthropic-ratelimit-input-tokens-remaining``,
and of a plan ``anthropic-ratelimit-unified-5h-utilization``. Gemini has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Final, Literal, final

from attrs import frozen

from llmstack.providers.times import Parsed, date, first, largest, moment, quantity, smallest


__all__ = ["RateFacts", "Unit", "rate_facts"]

#: What is counted; a *share* is of a plan, whose whole is 1.
Unit = Literal["requests", "tokens", "input_tokens", "output_tokens", "share"]


@final
@frozen
class RateFacts:
    """What a provider says of one of its limits; None for what it does not say.

    Of *limit* in each *window* of seconds there are *remaining*, and in *reset* seconds it is
    whole again.
    """

    unit: Unit
    window: float | None = None
    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None

    @property
    def used_up(self) -> bool:
        """Whether it is known that nothing remains."""
        return self.remaining == 0


#: By its first words, and what is counted where the rest does not say.
_FAMILIES: Final[Mapping[tuple[str, ...], Unit]] = {
    ("ratelimit",): "requests",
    ("x", "ratelimit"): "requests",
    ("anthropic", "ratelimit"): "requests",
    ("anthropic", "priority"): "tokens",
    ("ratelimitbysize",): "tokens",
    ("x", "ratelimitbysize"): "tokens",
    ("x", "tokenlimit"): "tokens",
}
_SAID: Final = frozenset({"limit", "remaining", "reset", "status", "utilization"})
_UNITS: Final[Mapping[str, Unit]] = {
    **dict.fromkeys(("requests", "req"), "requests"),
    "tokens": "tokens",
    **dict.fromkeys(("input", "prompt"), "input_tokens"),
    **dict.fromkeys(("output", "generated"), "output_tokens"),
    "unified": "share",
}
_WINDOWS: Final[Mapping[str, float]] = {
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86400.0,
    "month": 2592000.0,  # of thirty days
}
#: ``5h``, and of one family of models ``7d_sonnet``.
_WINDOW: Final = re.compile(r"([0-9]{1,4})([smhd])(?:_[a-z0-9_]{1,32})?")
_WORTH: Final[Mapping[str, float]] = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PREFIXES: Final = tuple("-".join((*family, "")) for family in _FAMILIES)
#: Headers that are looked at, and signs of a name and of a value.
_MOST: Final = 100
_NAME_MAX: Final = 80
_VALUE_MAX: Final = 200


def rate_facts(headers: Mapping[str, str], *, wall: float | None = None) -> tuple[RateFacts, ...]:
    """Return what *headers* say, one for each limit, in the order of their names.

    Dates are measured against the reply's own ``Date``, else against *wall*. If a header has
    several values, the least favourable counts.

    >>> rate_facts({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"})
    (RateFacts(unit='tokens', window=None, limit=None, remaining=0.0, reset=360.0),)
    """
    now = first(date(headers.get("date", "")), wall)
    found: dict[tuple[str, ...], dict[str, str]] = {}
    ours = (each for each in headers.items() if each[0].lower().startswith(_PREFIXES))
    for name, value in islice(ours, _MOST):
        words = tuple(name[:_NAME_MAX].lower().split("-"))
        said = [word for word in words if word in _SAID]
        if len(said) == 1:
            values = found.setdefault(tuple(word for word in words if word not in _SAID), {})
            before = f"{values[said[0]]}," if said[0] in values else ""
            values[said[0]] = before + value[:_VALUE_MAX]
    facts = (_facts(*each, now) for each in sorted(found.items()))
    return tuple(fact for fact in facts if fact is not None)


def _facts(words: tuple[str, ...], said: Mapping[str, str], now: Parsed) -> RateFacts | None:
    family = words[:1] if words[:1] in _FAMILIES else words[:2]
    rest = words[len(family) :]
    windows = [_seconds(word) for word in rest if word not in _UNITS]
    if None in windows:
        return None
    # The tokens of the input are narrower than tokens of any kind, the last of the alphabet.
    units = sorted(_UNITS[word] for word in rest if word in _UNITS)
    unit, window = (units or [_FAMILIES[family]])[0], largest(windows)
    limit, remaining = _of_plan(said) if unit == "share" else _of_count(said)
    reset = largest(moment(part, now) for part in said.get("reset", "").split(","))
    known = (limit, remaining, reset) != (None, None, None)
    return RateFacts(unit, window, limit, remaining, reset) if known else None


def _seconds(word: str) -> Parsed:
    """Return the length of the window that *word* names."""
    found = _WINDOW.fullmatch(word)
    return float(found[1]) * _WORTH[found[2]] if found else _WINDOWS.get(word)


def _of_count(said: Mapping[str, str]) -> tuple[Parsed, Parsed]:
    """Return the limit, and what remains of it."""
    limit, remaining = (said.get(what, "").split(",") for what in ("limit", "remaining"))
    return smallest(map(quantity, limit)), smallest(map(quantity, remaining))


def _of_plan(said: Mapping[str, str]) -> tuple[Parsed, Parsed]:
    """Return the same of a plan, which says what is used of it, or that it is used up."""
    if "rejected" in said.get("status", ""):
        return 1.0, 0.0
    used = largest(map(quantity, said.get("utilization", "").split(",")))
    return (None, None) if used is None else (1.0, max(0.0, 1.0 - used))
