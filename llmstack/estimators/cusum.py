"""CUSUM: trip when so many calls are bad that chance is no longer an explanation.

For each call, a sum grows or shrinks by the logarithm of how much likelier it is from an
endpoint at fault than from a healthy one, and never below 0; at ``log(n)`` it trips. Calls
of a healthy endpoint get it there once in *n* calls or less often, whatever their rate
(Lorden, 1971), and no test with that bound is much quicker.

There are two sums. A call that fails is compared with how often the endpoint fails as a
matter of course. A good call is compared with how long it usually takes: slower than 95 %
of them it should be one time in twenty, however its times are distributed. What is usual is
learned, but not while a sum is above half: else the fault would become the usual.

Errors: `ValueError` from wrong settings. Events: none; the layer tells them.
"""

from __future__ import annotations

from bisect import bisect
from math import log
from typing import Final, Self, final

from attrs import Factory, define, field, frozen, setters, validators

from llmstack.estimators.baseline import QUANTILE, FailureRate, UsualTime, logarithm
from llmstack.estimators.trip import FAILED, Calm, Detector, Sample, Trip
from llmstack.estimators.window import LastN


__all__ = ["Cusum", "Walk"]

#: Of the calls of an endpoint at fault so many are bad, for each share that is usual; what
#: lies between is interpolated.
AT_FAULT: Final = ((0.01, 0.30), (0.02, 0.35), (0.05, 0.45), (0.10, 0.50), (0.20, 0.60))
#: A slow endpoint that has answered fewer calls may only have had no traffic.
ANSWERS: Final = 20


@final
@define(eq=False, on_setattr=setters.NO_OP)
class Walk:
    """The sum: a step *up* for a bad call, one *down* for a good one, between 0 and *limit*.

    >>> walk = Walk(24, up=4, down=1)
    >>> [walk.add(bad=True) for _ in range(6)]
    [False, False, False, False, False, True]
    """

    limit: float
    up: float = field(kw_only=True)
    down: float = field(kw_only=True)
    height: float = field(default=0.0, init=False)

    @classmethod
    def against(cls, usual: float, limit: float) -> Self:
        """Make the walk for calls of which that share is usually bad."""
        walk = cls(limit, up=0.0, down=0.0)
        walk.aim(usual)
        return walk

    def aim(self, usual: float) -> None:
        """From now on that share, from .01 to .20, is usual."""
        n = min(bisect(AT_FAULT, (usual, 1.0)), len(AT_FAULT) - 1)
        (left, low), (right, high) = AT_FAULT[n - 1], AT_FAULT[n]
        fault = low + (usual - left) / (right - left) * (high - low)
        self.up = log(fault / usual)
        self.down = log((1 - usual) / (1 - fault))

    def add(self, *, bad: bool) -> bool:
        """Take a step; return whether that is the limit."""
        if bad:
            self.height = min(self.limit, self.height + self.up)
        else:
            self.height = max(0.0, self.height - self.down)
        return self.height >= self.limit


@final
@frozen
class Cusum:
    """A healthy endpoint trips it once in *calls* calls at most, for either of two reasons.

    It fails more often than it used to: six failures in a row at first, four where one in a
    hundred is usual, sixteen calls or so where half of them fail. Or, if *slow*, its good
    calls take longer than they used to, and longer than *floor* seconds. If it stays slow
    for *relearn* seconds, that is what is usual from then on.

    >>> detector = Cusum().detector()
    >>> [bool(detector.add(0.0, Sample(bad=True))) for _ in range(6)]
    [False, False, False, False, False, True]
    """

    calls: int = field(default=500_000, validator=validators.gt(1), kw_only=True)
    slow: bool = field(default=True, kw_only=True)
    floor: float = field(default=0.1, validator=validators.ge(0), kw_only=True)
    relearn: float = field(default=600.0, validator=validators.gt(0), kw_only=True)

    def detector(self) -> Detector:
        """Return a detector that has seen nothing yet."""
        limit, rate = log(self.calls), FailureRate()
        slows = Walk.against(1 - QUANTILE, limit)
        return _Detector(self, Walk.against(rate.value, limit), slows, rate)


@final
@define(eq=False, on_setattr=setters.NO_OP)
class _Detector:
    policy: Cusum
    fails: Walk
    slows: Walk
    rate: FailureRate
    half: float = field(
        default=Factory(lambda self: self.fails.limit / 2, takes_self=True), init=False
    )
    usual: UsualTime = field(
        default=Factory(lambda self: UsualTime(self.policy.floor), takes_self=True), init=False
    )
    recent: LastN = field(factory=LastN, init=False)  # good calls of a sum above 0
    since: float | None = field(default=None, init=False)  # when it began to be slow
    answers: int = field(default=0, init=False)  # good calls since then

    def add(self, now: float, sample: Sample, /) -> Trip | Calm | None:
        bad, seconds = sample.bad, sample.seconds
        usual = self.fails.height <= self.half and self.slows.height <= self.half
        tripped = self.fails.add(bad=bad)
        if usual and self.rate.add(bad=bad):
            self.fails.aim(self.rate.value)
        if tripped:
            return FAILED
        if bad or seconds is None or not self.policy.slow:
            return None
        x = logarithm(seconds)
        slow = self.usual.is_slow(x)
        if usual:
            self.usual.add(x)
        if slow or self.slows.height:
            return self._time(now, slow=slow)
        return None

    def _time(self, now: float, *, slow: bool) -> Trip | Calm | None:
        """Count a good call; slowness lasts until its sum is 0 again."""
        tripped = self.slows.add(bad=slow)
        self.recent.add(bad=slow)
        if self.since is None:
            if tripped:
                self.since, self.answers = now, 0
                return Trip(self._says(), slow_only=True)
            if self.slows.height == 0:
                self.recent.clear()
            return None
        self.answers += 1
        if self.slows.height == 0:
            said = self._says()
            self._rest()
            return Calm(said)
        if self.answers >= ANSWERS and now - self.since >= self.policy.relearn:
            said = f"slow for {now - self.since:.0f} s: that is usual now"
            self.usual = UsualTime(self.policy.floor)
            self._rest()
            return Calm(said, relearned=True)
        return None

    def _says(self) -> str:
        total, slow = self.recent.read()
        return f"{slow} of the last {total} good calls took longer than {self.usual.seconds:.3g} s"

    def reset(self) -> None:
        self.fails.height = 0.0
        self._rest()

    def _rest(self) -> None:
        self.slows.height = 0.0
        self.recent.clear()
        self.since = None
