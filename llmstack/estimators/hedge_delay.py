"""When a second call is worth sending: not before nearly all others would have answered.

The machine of `Hedge`, one for each kind of request. It learns the time to the first
content from answers, and from calls that were cut off that it would have been longer. Those
of the last one to two windows count.

Errors: `ValueError` from wrong settings. Events: none.
"""

from __future__ import annotations

from math import inf
from typing import Final, NamedTuple, final

from attrs import define, field, setters, validators

from llmstack.estimators.sketch import Sketch, curve, quantile


__all__ = ["HedgeDelay", "Wait"]

#: A reading is made anew when a sixteenth of what it was made from has come in since.
STALE: Final = 16

MEDIAN: Final = 0.5
TAIL: Final = 0.99


class Wait(NamedTuple):
    """How long to wait before a second call, and how long that is likely to take."""

    delay: float
    median: float


@final
@define(eq=False, on_setattr=setters.NO_OP)
class HedgeDelay:
    """Waits for the quantile ``1 - share``, so that this share of calls is sent twice.

    It says nothing while there are fewer than *samples* answers, or while the slowest in a
    hundred take less than *spread* times as long as the median: then a second call would
    hardly be faster than the first.

    >>> times = HedgeDelay()
    >>> for n in range(100):
    ...     times.add(10.0 if n % 20 == 0 else 1.0, now=float(n))
    >>> times.read(now=99.0)
    Wait(delay=0.98, median=0.98)
    """

    share: float = field(default=0.05, validator=[validators.gt(0), validators.le(1)])
    window: float = field(default=60.0, validator=validators.gt(0), kw_only=True)
    samples: int = field(default=20, validator=validators.ge(1), kw_only=True)
    spread: float = field(default=4.0, validator=validators.ge(1), kw_only=True)
    _older: Sketch = field(factory=Sketch, init=False)
    _newer: Sketch = field(factory=Sketch, init=False)
    _began: float = field(default=-inf, init=False)  # the newer window
    wait: Wait | None = field(default=None, init=False)  # the last reading
    _fresh: int = field(default=0, init=False)  # how many more may come before a new reading

    @property
    def idle(self) -> bool:
        """Whether it may be dropped: it can be, for what it knows is soon learnt again."""
        return True

    @property
    def count(self) -> int:
        """How many answers it has learnt from, of those that count still."""
        return self._older.count + self._newer.count

    def add(self, seconds: float, now: float) -> None:
        """Learn that the first content came after so many *seconds*."""
        self._turn(now)
        self._newer.add(seconds)
        self._fresh -= 1

    def add_censored(self, seconds: float, now: float) -> None:
        """Learn that after so many *seconds*, when the call was cut off, nothing had come."""
        self._turn(now)
        self._newer.add_censored(seconds)
        self._fresh -= 1

    def read(self, now: float) -> Wait | None:
        """Return how long to wait; None if no second call should be sent."""
        self._turn(now)
        if self._fresh < 0:
            enough = self.count >= self.samples
            self.wait = self._read() if enough else None
            self._fresh = self.count // STALE if enough else 0
        return self.wait

    def _read(self) -> Wait | None:
        found = curve(self._older, self._newer)
        median, tail = quantile(found, MEDIAN), quantile(found, TAIL)
        if median == inf or tail < self.spread * median:
            return None
        # Where too much was cut off to know it, it is longer than anybody has waited.
        return Wait(min(quantile(found, 1 - self.share), found[-1][0]), median)

    def _turn(self, now: float) -> None:
        """Begin a new window if it is time."""
        if now < self._began + self.window:
            return
        self._older = self._newer if now < self._began + 2 * self.window else Sketch()
        self._newer = Sketch()
        self._began = now if self._began == -inf else now - (now - self._began) % self.window
        self._fresh = -1
