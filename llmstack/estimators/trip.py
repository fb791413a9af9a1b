"""When a circuit trips: policies that say so, behind one protocol.

A policy is settings. It makes a detector, the small thing that counts the outcomes of one
circuit and says at which of them it trips. Only failures trip, and a failure in the place
of a success never makes a detector trip later.

Errors: `ValueError` from wrong settings. Events: none.
"""

from __future__ import annotations

from typing import Protocol, final

from attrs import Factory, define, field, frozen, validators

from llmstack.estimators.window import Window


__all__ = ["ConsecutiveFailures", "Detector", "FailureRatio", "TripPolicy"]


class Detector(Protocol):
    """Counts the outcomes of one circuit while it is closed."""

    def add(self, now: float, /, *, bad: bool) -> bool:
        """Count an outcome; return whether to trip."""
        ...

    def reset(self) -> None:
        """Forget all outcomes: the circuit has opened or closed."""
        ...


class TripPolicy(Protocol):
    """Settings that make detectors."""

    def detector(self) -> Detector:
        """Return a detector that has seen nothing yet."""
        ...


@final
@frozen
class ConsecutiveFailures:
    """So many failures, and no success in between.

    Right where traffic is thin. It is blind to an endpoint that fails every other time.

    >>> detector = ConsecutiveFailures(2).detector()
    >>> [detector.add(0.0, bad=bad) for bad in (True, False, True, True)]
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

    def add(self, _now: float, /, *, bad: bool) -> bool:
        self.length = self.length + 1 if bad else 0
        return self.length >= self.limit

    def reset(self) -> None:
        self.length = 0


@final
@frozen
class FailureRatio:
    """At least that share of the last *seconds* failed, and there were *volume* or more.

    Below the volume a ratio says nothing: one of two is not half of all. The window moves
    by a tenth of its length at a time.

    >>> detector = FailureRatio(0.5, volume=4).detector()
    >>> [detector.add(0.0, bad=bad) for bad in (True, False, True, False, True)]
    [False, False, False, False, True]
    """

    ratio: float = field(default=0.5, validator=[validators.gt(0), validators.le(1)])
    volume: int = field(default=10, validator=validators.ge(1), kw_only=True)
    seconds: float = field(default=30.0, validator=validators.gt(0), kw_only=True)

    def detector(self) -> Detector:
        """Return a detector that has seen nothing yet."""
        return _Share(self)


@final
@define(eq=False)
class _Share:
    policy: FailureRatio
    window: Window = field(
        default=Factory(lambda self: Window(self.policy.seconds), takes_self=True), init=False
    )

    def add(self, now: float, /, *, bad: bool) -> bool:
        self.window.add(now, bad=bad)
        if not bad:
            return False
        total, failures = self.window.read(now)
        return total >= self.policy.volume and failures / total >= self.policy.ratio

    def reset(self) -> None:
        self.window.clear()
