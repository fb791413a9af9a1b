"""Quantiles of durations in bounded memory, some of which are only known to be longer.

A duration falls into a bucket of a logarithmic scale, so each quantile is right to within
a relative error, and a sketch holds as many numbers as there are buckets (457 at most by
default), whatever the traffic. A call that was cut off after some seconds, with nothing to
show yet, would have taken longer than that. It is counted so (the product limit of Kaplan
and Meier): it never lowers a quantile, and where too much was cut off to know a quantile,
that is said.

Used by `HedgeDelay`. Errors: `ValueError` from wrong settings. Events: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, inf, log
from typing import Final, final

from attrs import define, field, setters, validators


__all__ = ["LEAST", "MOST", "Curve", "Sketch", "curve", "quantile"]

#: Durations in seconds that are told apart: from a millisecond to a day.
LEAST: Final = 0.001
MOST: Final = 86_400.0

#: What a product of many shares may be off by.
ROUNDING: Final = 1e-9

#: The durations that were seen, ascending, each with the share of calls that takes longer.
Curve = Sequence[tuple[float, float]]


@final
@define(eq=False, on_setattr=setters.NO_OP)
class Sketch:
    """Counts durations by bucket; *seen* are whole, *cut* are those that would go on.

    Bucket *i* holds what is above ``gamma ** (i - 1)`` and not above ``gamma ** i``, where
    gamma is ``(1 + error) / (1 - error)``.

    >>> sketch = Sketch()
    >>> for seconds in (1.0, 2.0, 3.0, 40.0):
    ...     sketch.add(seconds)
    >>> [round(quantile(curve(sketch), level), 2) for level in (0.5, 0.99)]
    [2.01, 40.46]
    """

    error: float = field(default=0.02, validator=[validators.gt(0), validators.lt(1)])
    seen: dict[int, int] = field(factory=dict, init=False)
    cut: dict[int, int] = field(factory=dict, init=False)
    count: int = field(default=0, init=False)  # of those seen
    _step: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._step = log((1 + self.error) / (1 - self.error))

    def add(self, seconds: float) -> None:
        """Count a duration."""
        place = self._place(seconds)
        self.seen[place] = self.seen.get(place, 0) + 1
        self.count += 1

    def add_censored(self, seconds: float) -> None:
        """Count a duration that was cut off after so many *seconds*."""
        place = self._place(seconds)
        self.cut[place] = self.cut.get(place, 0) + 1

    def value(self, place: int) -> float:
        """Return the duration that stands for a bucket: off by *error* at its ends."""
        gamma = (1 + self.error) / (1 - self.error)
        return float(2 * gamma**place / (gamma + 1))

    def _place(self, seconds: float) -> int:
        kept = LEAST if seconds < LEAST else min(seconds, MOST)
        return ceil(log(kept) / self._step)


def curve(*sketches: Sketch) -> list[tuple[float, float]]:
    """Return what *sketches*, all of one error, say together; empty if they say nothing."""
    places = sorted({place for sketch in sketches for place in (*sketch.seen, *sketch.cut)})
    counts = [
        (
            place,
            sum(sketch.seen.get(place, 0) for sketch in sketches),
            sum(sketch.cut.get(place, 0) for sketch in sketches),
        )
        for place in places
    ]
    going = sum(seen + cut for _, seen, cut in counts)
    share, found = 1.0, []
    for place, seen, cut in counts:
        share *= 1 - seen / going
        going -= seen + cut
        found.append((sketches[0].value(place), share))
    return found


def quantile(found: Curve, level: float) -> float:
    """Return the duration that the share *level* of calls, above 0, does not exceed.

    Infinity if too many were cut off to know it, or if there are none.
    """
    longer = 1 - level + ROUNDING
    return next((seconds for seconds, share in found if share <= longer), inf)
