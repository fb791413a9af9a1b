"""Anomalies of latency: a good call far above the average of the calls before it.

The scale is logarithmic, since a latency is a multiple of the usual one; a call is compared
with the calls before it, never with itself, for within a window of eight no call can be 2.5
standard deviations above an average that it is a part of; and one call decides nothing. At
one call in a second even this misfires a few times a day where latencies have a long tail:
`Cusum` does not.

Errors: `ValueError` from wrong settings. Events: none; the layer tells them.
"""

from __future__ import annotations

from collections import deque
from math import exp, inf, sqrt
from typing import Final, final

from attrs import define, field, frozen, setters, validators

from llmstack.estimators.baseline import logarithm
from llmstack.estimators.trip import FAILED, Calm, Detector, Sample, Trip


__all__ = ["LatencyZScore"]

#: Times that hardly vary would make anomalies of trifles: a tenth is none.
SPREAD: Final = 0.1


@final
@frozen
class LatencyZScore:
    """So many good calls in a row more than *z* standard deviations slower than usual.

    Usual is what the last *history* good calls took, once there are *least*; nothing quicker
    than *floor* seconds is slow. A slow call enters as the slowest that is not, so what
    stays slow becomes usual, and one outlier does not hide the next. *failures* in a row
    are a trip too.

    >>> detector = LatencyZScore(least=20, row=1).detector()
    >>> for n in range(20):
    ...     detector.add(0.0, Sample(bad=False, seconds=1 + n / 200))
    >>> detector.add(0.0, Sample(bad=False, seconds=1.05))
    >>> detector.add(0.0, Sample(bad=False, seconds=5.0)).reason
    '1 good call in a row took longer than 1.34 s'
    """

    z: float = field(default=2.5, validator=validators.gt(0))
    row: int = field(default=3, validator=validators.ge(1), kw_only=True)
    least: int = field(default=30, validator=validators.ge(2), kw_only=True)
    history: int = field(default=1000, validator=validators.ge(2), kw_only=True)
    floor: float = field(default=0.1, validator=validators.ge(0), kw_only=True)
    failures: int = field(default=5, validator=validators.ge(1), kw_only=True)

    def detector(self) -> Detector:
        """Return a detector that has seen nothing yet."""
        return _Detector(self)


@final
@define(eq=False, on_setattr=setters.NO_OP)
class _Detector:
    policy: LatencyZScore
    times: deque[float] = field(factory=deque, init=False)
    sum: float = field(default=0.0, init=False)
    squares: float = field(default=0.0, init=False)
    failures: int = field(default=0, init=False)  # in a row
    against: int = field(default=0, init=False)  # in a row: slow, or quick while it is slow
    slow: bool = field(default=False, init=False)

    def add(self, _now: float, sample: Sample, /) -> Trip | Calm | None:
        self.failures = self.failures + 1 if sample.bad else 0
        if self.failures >= self.policy.failures:
            return FAILED
        if sample.bad or sample.seconds is None:
            return None
        return self._time(logarithm(sample.seconds))

    def _time(self, x: float) -> Trip | Calm | None:
        """Count a good call; as many in a row as make it slow make it quick again."""
        limit = self._limit()
        slow = x > limit
        self._learn(limit if slow else x)
        self.against = self.against + 1 if slow != self.slow else 0
        if self.against < self.policy.row:
            return None
        n, self.slow, self.against = self.against, slow, 0
        calls = f"{n} good call{'s' if n > 1 else ''} in a row took"
        if slow:
            return Trip(f"{calls} longer than {exp(limit):.3g} s", slow_only=True)
        return Calm(f"{calls} no longer than {exp(limit):.3g} s")

    def _limit(self) -> float:
        """Return the logarithm above which a call is slow; infinity while that is not known."""
        n = len(self.times)
        if n < self.policy.least:
            return inf
        mean = self.sum / n
        deviation = sqrt(max(SPREAD**2, self.squares / n - mean**2))
        return max(mean + self.policy.z * deviation, logarithm(self.policy.floor))

    def _learn(self, x: float) -> None:
        if len(self.times) == max(self.policy.history, self.policy.least):
            gone = self.times.popleft()
            self.sum -= gone
            self.squares -= gone * gone
        self.times.append(x)
        self.sum += x
        self.squares += x * x

    def reset(self) -> None:
        self.failures = self.against = 0
        self.slow = False
