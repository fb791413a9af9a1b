"""For how long a circuit opens: longer each time, shorter again with health.

The nominal time doubles from one opening to the next up to a cap, and each nominal time of
health takes one doubling back. So four outages in a year are four first openings. What is
waited is a random half to whole of the nominal time: without that all processes, and all
endpoints of one provider, would probe at the same moment.

Errors, events: none.
"""

from __future__ import annotations

from math import inf
from typing import Final, final

from attrs import define, field


__all__ = ["OpenTimes"]

#: A provider may name a longer wait than the cap, but not any.
NAMED_CAP: Final = 300.0


@final
@define(eq=False)
class OpenTimes:
    """The open times of one circuit, in seconds.

    >>> times = OpenTimes(base=5.0, cap=30.0)
    >>> [times.open(0.0, chance=0.0) for _ in range(5)]
    [2.5, 5.0, 10.0, 15.0, 15.0]
    """

    base: float
    cap: float
    level: int = field(default=0, init=False)  # openings that health has not made up for
    opened: int = field(default=0, init=False)  # all openings
    healthy_since: float = field(default=inf, init=False)

    def nominal(self, level: int) -> float:
        """Return the longest that the *level*-th opening in a row may last."""
        # 2.0 ** 1024 is an OverflowError.
        return min(self.cap, self.base * 2.0 ** min(level - 1, 1000))

    def open(self, now: float, *, chance: float, named: float = 0.0) -> float:
        """Return how long to stay open from *now*; never shorter than the wait *named*."""
        self.recover(now)
        if self.level == 0 or self.nominal(self.level) < self.cap:
            self.level += 1
        self.opened += 1
        self.healthy_since = inf
        return max(self.nominal(self.level) * (0.5 + 0.5 * chance), min(named, NAMED_CAP))

    def recover(self, now: float) -> None:
        """Take back one doubling for each nominal time of health up to *now*."""
        while self.level and now - self.healthy_since >= self.nominal(self.level):
            self.healthy_since += self.nominal(self.level)
            self.level -= 1
