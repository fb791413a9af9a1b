"""Counts of outcomes in a sliding window: of the last seconds, or of the last so many.

Used where a rule is about a ratio, such as "half of the calls in ten seconds failed" or
"nineteen of the last twenty". What they hold is bounded by their settings, whatever the
traffic.

Errors: `ValueError` from wrong settings. Events: none.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final, final

from attrs import define, field, setters, validators


__all__ = ["LastN", "Window"]

NEVER: Final = -(1 << 62)  # a tick before every other


@final
@define(eq=False, on_setattr=setters.NO_OP)
class Window:
    """How many outcomes there were, and how many bad ones, in the last *seconds*.

    Time is cut into ticks of ``seconds / buckets``, and the window moves a tick at a time:
    an outcome is counted from its moment on for *seconds*, less up to one tick. A clock
    that goes backwards counts into the newest tick, so nothing old comes to life.

    >>> window = Window(seconds=10.0)
    >>> window.add(0.5, bad=True)
    >>> window.add(6.0, bad=False)
    >>> window.read(6.0), window.read(10.0), window.read(16.0)
    ((2, 1), (1, 0), (0, 0))
    """

    seconds: float = field(default=10.0, validator=validators.gt(0))
    buckets: int = field(default=10, validator=validators.ge(1))
    _width: float = field(init=False)
    _counts: list[int] = field(init=False)
    _bads: list[int] = field(init=False)
    _newest: int = field(default=NEVER, init=False)  # the tick of the newest outcome
    _total: int = field(default=0, init=False)
    _bad: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._width = self.seconds / self.buckets
        self._counts = [0] * self.buckets
        self._bads = [0] * self.buckets

    def add(self, now: float, *, bad: bool) -> None:
        """Count an outcome."""
        tick = int(now // self._width)
        if tick > self._newest:
            self._advance(tick)
        place = self._newest % self.buckets
        self._counts[place] += 1
        self._total += 1
        if bad:
            self._bads[place] += 1
            self._bad += 1

    def read(self, now: float) -> tuple[int, int]:
        """Return how many outcomes the window holds, and how many of them were bad."""
        tick = int(now // self._width)
        if tick <= self._newest:
            return self._total, self._bad
        total, bad = self._total, self._bad
        for gone in self._gone(tick):
            total -= self._counts[gone % self.buckets]
            bad -= self._bads[gone % self.buckets]
        return total, bad

    def clear(self) -> None:
        """Forget all outcomes: every bucket is out of the window of whatever comes next."""
        self._newest = NEVER

    def _advance(self, tick: int) -> None:
        for gone in self._gone(tick):
            place = gone % self.buckets
            self._total -= self._counts[place]
            self._bad -= self._bads[place]
            self._counts[place] = self._bads[place] = 0
        self._newest = tick

    def _gone(self, tick: int) -> range:
        """Return the ticks whose buckets hold what is out of the window once it is *tick*."""
        return range(self._newest + 1, min(tick, self._newest + self.buckets) + 1)


@final
@define(eq=False, on_setattr=setters.NO_OP)
class LastN:
    """How many of the last *size* outcomes were bad, and what they were called.

    >>> last = LastN(4)
    >>> for what in ("ServerError", "ServerError", "", "Overloaded", "ConnectionLost"):
    ...     last.add(bad=bool(what), what=what)
    >>> last.read()
    (4, 3)
    >>> last.says()
    '3 of the last 4 calls failed: ServerError, Overloaded, ConnectionLost'
    """

    size: int = field(default=20, validator=validators.ge(1))
    _total: int = field(default=0, init=False)
    _bits: int = field(default=0, init=False)  # a bit for each outcome, the newest lowest
    _mask: int = field(init=False)
    _names: deque[str] = field(init=False)  # of the last bad ones, so also of all that are held

    def __attrs_post_init__(self) -> None:
        self._mask = (1 << self.size) - 1
        self._names = deque(maxlen=self.size)

    def add(self, *, bad: bool, what: str = "") -> None:
        """Count an outcome; the oldest one of *size* makes room."""
        self._bits = (self._bits << 1 | bad) & self._mask
        if self._total < self.size:
            self._total += 1
        if bad:
            self._names.append(what)

    def read(self) -> tuple[int, int]:
        """Return how many outcomes are held, at most *size*, and how many were bad."""
        return self._total, self._bits.bit_count()

    def says(self) -> str:
        """Return what is held in words; the names of failures, the most frequent first."""
        total, bad = self.read()
        held = Counter(list(self._names)[len(self._names) - bad :])
        names = [
            f"{name} \N{MULTIPLICATION SIGN}{n}" if n > 1 else name
            for name, n in held.most_common()
        ]
        return f"{bad} of the last {total} calls failed: {', '.join(names)}"

    def clear(self) -> None:
        """Forget all outcomes."""
        self._total = self._bits = 0
