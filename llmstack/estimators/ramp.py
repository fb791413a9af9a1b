"""Slow start: from a small share of the traffic to all of it, in equal steps of time.

Errors, events: none.
"""

from __future__ import annotations

from math import inf
from typing import Final, final

from attrs import define, field, setters

from llmstack.standing import Standing


__all__ = ["Ramp"]

#: With less than a tenth of its traffic an endpoint takes long to show anything.
LEAST: Final = 0.1


@final
@define(eq=False, on_setattr=setters.NO_OP)
class Ramp:
    """The share that passes: from a tenth on it grows to 1 in so many *seconds*; 0 is at once.

    >>> ramp = Ramp(seconds=30.0)
    >>> ramp.begin(100.0)
    >>> [ramp.share(now) for now in (100.0, 115.0, 130.0)]
    [0.1, 0.5, 1.0]
    """

    seconds: float
    over: float = field(default=-inf, init=False)

    def begin(self, now: float, share: float = 0.0) -> None:
        """Start at *share*, or at a tenth if that is more."""
        self.over = now + (1 - share) * self.seconds if self.seconds else -inf

    def stop(self) -> None:
        """Let everything through."""
        self.over = -inf

    def share(self, now: float) -> float:
        """Return the share that passes; it never falls with time."""
        if now >= self.over:
            return 1.0
        return max(LEAST, 1 - (self.over - now) / self.seconds)

    def standing(self, now: float) -> Standing | None:
        """Return what would become of a request; None if it would just pass."""
        share = self.share(now)
        if share == 1.0:
            return None
        return Standing("degraded", f"closed just now, and {share:.0%} of the calls pass")
