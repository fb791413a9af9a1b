"""When a circuit trips: policies that say so, behind one protocol.

A policy is settings. It makes a detector, the small thing that is told of each call of one
circuit and says at which of them it trips. Failures and slowness are kept apart: a trip for
slowness alone never takes an endpoint away, so its detector also says when that is over. A
failure in the place of a success never makes a detector trip later.

`ConsecutiveFailures` and `FailureRatio` are here, `Cusum` and `LatencyZScore` beside.
Errors: `ValueError` from wrong settings. Events: none.
"""

from __future__ import annotations

from typing import Final, Protocol, final

from attrs import Factory, define, field, frozen, validators

from llmstack.estimators.window import Window


__all__ = [
    "Calm",
    "ConsecutiveFailures",
    "Detector",
    "FailureRatio",
    "Sample",
    "Trip",
    "TripPolicy",
]


@final
@define(eq=False)
class Sample:
    """What a detector learns of one call that ended: well, or by a fault of the endpoint.

    *seconds* went by until the first content; None for a failure, and where the time says
    nothing. *what* is the name of the failure.
    """

    bad: bool
    seconds: float | None = None
    what: str = ""


@final
@frozen
class Trip:
    """It trips; if *slow_only*, no failure has a part in it.

    Without a *reason* the circuit says how many of the last calls failed, and how.
    """

    reason: str = ""
    slow_only: bool = False


@final
@frozen
class Calm:
    """It is no longer slow; or, if *relearned*, what was slow is what is usual now."""

    reason: str
    relearned: bool = False


class Detector(Protocol):
    """Watches the calls of one circuit while it lets calls through."""

    def add(self, now: float, sample: Sample, /) -> Trip | Calm | None:
        """Take in a call; return a trip, or the end of a slow one, where it comes about."""
        ...

    def reset(self) -> None:
        """Suspect nothing: the circuit has closed. What is usual may be remembered."""
        ...


class TripPolicy(Protocol):
    """Settings that make detectors."""

    def detector(self) -> Detector:
        """Return a detector that has seen nothing yet."""
        ...


#: What every trip for failures is: the circuit knows them better.
FAILED: Final = Trip()


@final
@frozen
class ConsecutiveFailures:
    """So many failures, and no success in between.

    Right where traffic is thin. It is blind to an endpoint that fails every other time, and
    to slowness.

    >>> detector = ConsecutiveFailures(2).detector()
    >>> [bool(detector.add(0.0, Sample(bad))) for bad in (True, False, True, True)]
    [False, False, False, True]
    """

    failures: int = field(default=5, validator=validators.ge(1))

    def detector(self) -> Detector:
        """Return a detector that has seen nothing yet."""
        return _Row(self.failures)


@final
@define(eq=False)
class _Row:
    limit: int
    length: int = field(default=0, init=False)

    def add(self, _now: float, sample: Sample, /) -> Trip | None:
        self.length = self.length + 1 if sample.bad else 0
        return FAILED if self.length >= self.limit else None

    def reset(self) -> None:
        self.length = 0


@final
@frozen
class FailureRatio:
    """At least that share of the last *seconds* failed, and there were *volume* or more.

    Below the volume a ratio says nothing: one of two is not half of all. The window moves
    by a tenth of its length at a time. If *slow_after* is set, the share *slow_ratio* of
    good calls that took longer is a trip too, for slowness alone.

    >>> detector = FailureRatio(0.5, volume=4).detector()
    >>> [bool(detector.add(0.0, Sample(bad))) for bad in (True, False, True, False, True)]
    [False, False, False, False, True]
    """

    ratio: float = field(default=0.5, validator=[validators.gt(0), validators.le(1)])
    volume: int = field(default=10, validator=validators.ge(1), kw_only=True)
    seconds: float = field(default=30.0, validator=validators.gt(0), kw_only=True)
    slow_after: float | None = field(
        default=None, validator=validators.optional(validators.gt(0)), kw_only=True
    )
    slow_ratio: float = field(
        default=0.5, validator=[validators.gt(0), validators.le(1)], kw_only=True
    )

    def detector(self) -> Detector:
        """Return a detector that has seen nothing yet."""
        return _Share(self)


def _window(share: _Share) -> Window:
    return Window(share.policy.seconds)


@final
@define(eq=False)
class _Share:
    policy: FailureRatio
    calls: Window = field(default=Factory(_window, takes_self=True), init=False)
    timed: Window = field(default=Factory(_window, takes_self=True), init=False)
    slow: bool = field(default=False, init=False)

    def add(self, now: float, sample: Sample, /) -> Trip | Calm | None:
        policy = self.policy
        self.calls.add(now, bad=sample.bad)
        if sample.bad:
            total, failures = self.calls.read(now)
            enough = total >= policy.volume and failures / total >= policy.ratio
            return FAILED if enough else None
        if policy.slow_after is None or sample.seconds is None:
            return None
        return self._time(now, policy.slow_after, slow=sample.seconds > policy.slow_after)

    def _time(self, now: float, longer: float, *, slow: bool) -> Trip | Calm | None:
        """Count a good call; slowness begins with a slow one and ends with one that is not."""
        self.timed.add(now, bad=slow)
        total, slows = self.timed.read(now)
        many = slows / total >= self.policy.slow_ratio
        said = f"{slows} of {total} good calls took longer than {longer:g} s"
        if slow and not self.slow and many and total >= self.policy.volume:
            self.slow = True
            return Trip(said, slow_only=True)
        if self.slow and not slow and not many:
            self.slow = False
            return Calm(said)
        return None

    def reset(self) -> None:
        self.calls.clear()
        self.timed.clear()
        self.slow = False
