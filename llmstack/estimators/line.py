"""A line of those who wait for one moment: they go one after another, each in its turn.

There is no clock in here. Errors, events: none.
"""

from __future__ import annotations

from math import inf
from typing import final

from attrs import define, field


__all__ = ["Line"]


@final
@define(eq=False)
class Line:
    """Whose turn is when; nothing is kept of those who have left.

    >>> line = Line()
    >>> for _ in range(3):
    ...     turn = line.turn(at=100.0)
    ...     line.take(turn, gap=0.5)
    >>> turn
    101.0
    """

    _next: float = field(default=-inf, init=False)
    _waiting: int = field(default=0, init=False)
    _free: float = field(default=inf, init=False)  # the first turn that nobody used

    def turn(self, at: float) -> float:
        """Return when one may go who waits until *at*."""
        return max(at, self._next)

    def take(self, turn: float, gap: float) -> None:
        """Book *turn*, with so many seconds behind it; `leave` ends it."""
        self._next = turn + gap
        self._waiting += 1

    def leave(self, turn: float, *, used: bool) -> None:
        """Learn that who had booked *turn* went, or left before that.

        When nobody waits any more, the turns behind the last one that was used are free again.
        """
        self._waiting -= 1
        if not used:
            self._free = min(self._free, turn)
        elif self._free < turn:
            self._free = inf
        if not self._waiting:
            self._next, self._free = min(self._next, self._free), inf
