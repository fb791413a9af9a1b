"""Counts of outcomes in a sliding window: of the last seconds, or of the last so many.

Used where a rule is about a ratio, such as "half of the calls in ten seconds failed" or
"nineteen of the last twenty". What they hold is bounded by their settings, whatever the
traffic.

Errors: `ValueError` from wrong settings. Events: none.
"""

from __future__ import annotations

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
        """Forget all outcomes."""
        self._advance(self._newest + self.buckets)
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
    """How many of the last *size* outcomes were bad.

    >>> last = LastN(2)
    >>> for bad in (True, True, False):
    ...     last.add(bad=bad)
    >>> last.read()
    (2, 1)
    """

    size: int = field(default=20, validator=validators.ge(1))
    _total: int = field(default=0, init=False)
    _bits: int = field(default=0, init=False)  # a bit for each outcome, the newest lowest
    _mask: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._mask = (1 << self.size) - 1

    def add(self, *, bad: bool) -> None:
        """Count an outcome; the oldest one of *size* makes room."""
        self._bits = (self._bits << 1 | bad) & self._mask
        if self._total < self.size:
            self._total += 1

    def read(self) -> tuple[int, int]:
        """Return how many outcomes are held, at most *size*, and how many were bad."""
        return self._total, self._bits.bit_count()

    def clear(self) -> None:
        """Forget all outcomes."""
        self._total = self._bits = 0
