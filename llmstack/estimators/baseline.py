"""What is usual for one endpoint: how often it fails, and how long it takes.

Both are learned from calls that look usual; whoever uses them leaves the others out, for a
fault that is learned is a fault no longer seen. Times are logarithms: a latency is a factor
of the usual one, and its distribution has a long tail that averages do not survive.

Errors, events: none.
"""

from __future__ import annotations

from array import array
from math import exp, inf, log
from typing import Final, final

from attrs import define, field, setters


__all__ = ["FailureRate", "UsualTime", "logarithm"]

#: Failures are learned so many calls at a time, and each time is a tenth of what is known.
BATCH: Final = 100
SHARE: Final = 0.1
#: A rate that is lower would make two failures in a row an alarm, a higher one is a fault.
LEAST: Final = 0.01
MOST: Final = 0.20
#: The quantile above which a time is slow, and how many times are needed to know it.
QUANTILE: Final = 0.95
WARM_UP: Final = 100
#: A step of the stochastic approximation, as a part of the spread; 1.349 makes a quartile
#: range a standard deviation.
STEP: Final = 0.02 / 1.349
#: A tenth: times that hardly spread would never move again.
SPREAD: Final = 0.1
#: What is less than twice the usual is left to the routers.
TWICE: Final = log(2.0)
#: No time is 0, which has no logarithm.
TINY: Final = 1e-6


def logarithm(seconds: float) -> float:
    """Return the logarithm of a time; of no time, that of a millionth of a second."""
    return log(seconds) if seconds > TINY else log(TINY)


@final
@define(eq=False, on_setattr=setters.NO_OP)
class FailureRate:
    """The share of calls that fail as a matter of course, from 1 % to 20 %.

    >>> usual = FailureRate()
    >>> any(usual.add(bad=False) for _ in range(99)), usual.add(bad=False)
    (False, True)
    >>> usual.value
    0.045
    """

    value: float = field(default=0.05, init=False)
    _total: int = field(default=0, init=False)
    _bad: int = field(default=0, init=False)

    def add(self, *, bad: bool) -> bool:
        """Learn from a call; return whether that has changed the value."""
        self._total += 1
        self._bad += bad
        if self._total < BATCH:
            return False
        seen = self._bad / self._total
        self.value = min(MOST, max(LEAST, self.value + SHARE * (seen - self.value)))
        self._total = self._bad = 0
        return True


@final
@define(eq=False, on_setattr=setters.NO_OP)
class UsualTime:
    """The time below which 95 % of the calls stay, and the median.

    The first hundred times are sorted; from then on each one moves both a little, in steps
    that are a part of their spread. A time is slow if it is above the first, above twice
    the second and no less than *floor* seconds. While it warms up nothing is.

    >>> usual = UsualTime(floor=0.1)
    >>> for n in range(100):
    ...     usual.add(logarithm(1.0 + n / 100))
    >>> [usual.is_slow(logarithm(seconds)) for seconds in (1.9, 2.9, 3.1)]
    [False, False, True]
    """

    floor: float
    _least: float = field(init=False)
    _high: float = field(default=inf, init=False)  # infinite while it warms up
    _middle: float = field(default=inf, init=False)
    _slow: float = field(default=inf, init=False)
    _step: float = field(default=0.0, init=False)
    _first: array[float] = field(factory=lambda: array("d"), init=False)

    def __attrs_post_init__(self) -> None:
        self._least = logarithm(self.floor)

    @property
    def seconds(self) -> float:
        """Above how many seconds a call is slow; infinity while that is not known."""
        return max(self.floor, exp(self._slow))

    def is_slow(self, x: float) -> bool:
        """Whether a call is slow whose time has the logarithm *x*, by what is known."""
        return x > self._slow and x >= self._least

    def add(self, x: float) -> None:
        """Learn from a call."""
        if not self._step:
            self._first.append(x)
            if len(self._first) == WARM_UP:
                self._begin(sorted(self._first))
            return
        self._high += self._step * (QUANTILE if x > self._high else QUANTILE - 1)
        self._middle += self._step * (0.5 if x > self._middle else -0.5)
        self._slow = max(self._high, self._middle + TWICE)

    def _begin(self, times: list[float]) -> None:
        quarter = WARM_UP // 4
        self._step = STEP * max(SPREAD, times[-quarter] - times[quarter - 1])
        self._high = times[int(QUANTILE * WARM_UP) - 1]
        self._middle = times[WARM_UP // 2 - 1]
        self._slow = max(self._high, self._middle + TWICE)
        del self._first[:]
