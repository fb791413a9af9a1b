"""The state machine of a circuit breaker: closed, open, half-open, and back.

::

    closed ──── too many failures ───▶ open, hard or soft, for a growing time
    open ────── its time is over ────▶ half-open: so many probes at once
    half-open ─ a probe fails ───────▶ open
    half-open ─ enough succeed ──────▶ closed, and ramping up
    closed ──── too slow ────────────▶ degraded: one request of four passes
    degraded ── quick again ─────────▶ closed, and ramping up from there
    degraded ── too many failures ───▶ open

An opening is *hard* where the failure is total: nothing but probes passes. Else it is
*soft*: a request that insists, since there is nowhere else to go, passes at any time. A
hard one turns soft for one probe when nothing was sent for a while, so that the end of an
outage is noticed long before the open time is over. Slowness alone never opens it: degraded,
it refuses softly, and what was let through goes on being judged.

Each opening and each closing begins a generation. A permit belongs to one, and once that is
over, the end of its call gives the permit back and changes nothing else.

There is no clock in here, and chance is a function that it was given. Errors:
`CircuitOpen`. Events: none; the layer tells them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final, final

from attrs import Factory, define, evolve, field

from llmstack.call import Outcome
from llmstack.errors import CircuitOpen
from llmstack.estimators.open_time import OpenTimes
from llmstack.estimators.phase import (
    PAST,
    CircuitStatistics,
    Permit,
    Phase,
    Probes,
    State,
    Turn,
)
from llmstack.estimators.ramp import Ramp
from llmstack.estimators.trip import Calm, Detector, Sample, Trip, TripPolicy
from llmstack.estimators.window import LastN
from llmstack.service import insists


__all__ = ["Circuit"]

#: A failure is total if 95 % of the last outcomes are bad, and there are a few.
TOTAL: Final = 0.95
FEW: Final = 5
#: What a degraded circuit lets through.
QUARTER: Final = 0.25


@final
@define(eq=False)
class Circuit:
    """The machine: decides who passes, and learns how each call ended."""

    policy: TripPolicy
    times: OpenTimes
    probes: Probes
    ramp: Ramp
    chance: Callable[[], float]
    detector: Detector = field(
        default=Factory(lambda self: self.policy.detector(), takes_self=True), init=False
    )
    recent: LastN = field(factory=LastN, init=False)  # since it last closed
    phase: Phase | None = field(default=None, init=False)  # None: closed
    permit: Permit = field(factory=lambda: Permit(0), init=False)  # of whoever is no probe
    sent: float = field(default=-inf, init=False)
    in_flight: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)

    @property
    def state(self) -> State:
        """Closed, degraded, open, half-open or disabled; a ramp is a part of closed."""
        return "closed" if self.phase is None else self.phase.state

    @property
    def idle(self) -> bool:
        """Whether it is closed, no permit is out and no failure is remembered.

        What is usual for its endpoint is forgotten with it, and learned again.
        """
        fresh = self.phase is None and self.in_flight == self.times.level == 0
        return fresh and self.recent.read()[1] == 0

    def admit(self, now: float, request: object = None, /) -> Permit:
        """Hand out a permit, or raise `CircuitOpen`."""
        phase = self.phase
        if phase is None and now >= self.ramp.over:
            permit = self.permit
        elif phase is None or phase.state == "degraded":
            share = min(self.ramp.share(now), QUARTER if phase else 1.0)
            if _can_insist(request) and self.chance() >= share:
                self.refused += 1
                why = f"degraded: {phase.reason}" if phase else "closed just now, and ramping up"
                raise CircuitOpen(why, soft=True)
            permit = self.permit
        elif phase.state == "disabled":
            permit = Permit(PAST)
        else:
            permit = self._admit_while(phase, now, request)
        self.in_flight += 1
        self.sent = now
        return permit

    def _admit_while(self, phase: Phase, now: float, request: object) -> Permit:
        """Hand out a permit for a probe, or for a request that insists, or refuse."""
        half = phase.state == "half_open"
        pressing, allowed = insists(request), self.probes.allow(request)
        wakes = phase.wakes(now, self.sent)
        due = half or now >= phase.until or (wakes and pressing)
        if due and allowed and phase.out < self.probes.at_once:
            phase.state = "half_open"
            phase.out += 1
            turn = None if half else Turn("half_opened", phase.reason)
            return Permit(self.permit.generation, probe=True, turn=turn)
        if pressing and not phase.hard:
            return self.permit
        self.refused += 1
        raise CircuitOpen(
            f"{'half-open' if half else 'open'}: {phase.reason}",
            soft=not phase.hard or (wakes and allowed),
            ready_at=phase.until if phase.until > now and not half else None,
        )

    def settle(
        self, permit: Permit, outcome: Outcome, now: float, seconds: float | None = None, /
    ) -> Turn | None:
        """Take *permit* back, and learn from *outcome*; return the turn that it brings about.

        *seconds* went by until the first content, if that says something.
        """
        self.in_flight -= 1
        return self.learn(permit, outcome, now, seconds)

    def learn(
        self, permit: Permit, outcome: Outcome, now: float, seconds: float | None = None, /
    ) -> Turn | None:
        """Learn from *outcome*; as `settle`, but the permit stays out.

        A probe may be a streamed reply of minutes, and nobody should have to wait for its
        end to hear that the endpoint is back.
        """
        if permit.generation != self.permit.generation:
            return None
        good, phase = outcome.how == "ok", self.phase
        if phase is not None and permit.probe:
            permit.generation = PAST
            phase.out -= 1
        if not good and outcome.blames != "endpoint":
            return None
        what = "" if good else type(outcome.error).__name__
        self.recent.add(bad=not good, what=what)
        if phase is not None and phase.state != "degraded":
            return self._weighs(phase, permit, outcome, now)
        return self._hears(outcome, now, Sample(not good, seconds if good else None, what))

    def _hears(self, outcome: Outcome, now: float, sample: Sample) -> Turn | None:
        """Ask the detector about a call that was let through while this was closed."""
        said = self.detector.add(now, sample)
        if isinstance(said, Trip) and not said.slow_only:
            hard = _is_total(self.recent)
            return self.open(now, said.reason or self.recent.says(), hard=hard, cause=outcome)
        if said is not None:
            return self._slows(said, now)
        if self.times.level:
            self.times.recover(now)
        return None

    def _slows(self, said: Trip | Calm, now: float) -> Turn | None:
        """Be degraded, or no longer; a detector that says so twice has said nothing new."""
        if isinstance(said, Trip) == (self.phase is not None):
            return None
        if isinstance(said, Trip):
            self.phase = Phase("degraded", said.reason)
            return Turn("degraded", said.reason)
        self.phase = None
        self.ramp.begin(now, QUARTER)
        return Turn("rebaselined" if said.relearned else "closed", said.reason)

    def _weighs(self, phase: Phase, permit: Permit, outcome: Outcome, now: float) -> Turn | None:
        """Learn from a call that was let through while this was open or half-open."""
        good, hard = outcome.how == "ok", _is_total(self.recent)
        if not permit.probe:
            phase.hard = phase.hard or hard
            return None
        phase.good += good
        phase.bad += not good
        if phase.good >= self.probes.successes:
            return self.close(now, "probes succeeded")
        if phase.bad >= self.probes.failures:
            why = f"a probe failed: {type(outcome.error).__name__}"
            return self.open(now, why, hard=hard, cause=outcome)
        return None

    def open(self, now: float, reason: str, *, hard: bool, cause: Outcome | None = None) -> Turn:
        """Open for the next open time, or for the wait that the *cause* names, if longer."""
        named = getattr(cause and cause.error, "retry_after", None) or 0.0
        wait = self.times.open(now, chance=self.chance(), named=named)
        self.phase = Phase("open", reason, now + wait, hard, now if cause is None else -inf)
        self.permit = Permit(self.permit.generation + 1)
        return Turn("opened", reason, wait, hard)

    def half_open(self, now: float, reason: str) -> Turn:
        """Begin a new round of probes now; what is neither open nor half-open is opened for it."""
        phase = self.phase
        if phase is None or phase.state not in {"open", "half_open"}:
            wait = self.open(now, reason, hard=True).wait
            phase = Phase("open", reason, now + wait, hard=True, since=now)
        self.phase = evolve(phase, state="half_open", reason=reason, out=0, good=0, bad=0)
        self.permit = Permit(self.permit.generation + 1)
        return Turn("half_opened", reason)

    def close(self, now: float, reason: str) -> Turn:
        """Close, and ramp up."""
        self.phase = None
        self.permit = Permit(self.permit.generation + 1)
        self.detector.reset()
        self.recent.clear()
        self.times.healthy_since = now + self.ramp.seconds
        self.ramp.begin(now)
        return Turn("closed", reason)

    def disable(self, reason: str) -> Turn:
        """Let everything through and learn nothing, until it is closed, opened or reset."""
        self.phase = Phase("disabled", reason)
        self.permit = Permit(self.permit.generation + 1)
        return Turn("disabled", reason)

    def reset(self, now: float, reason: str) -> Turn:
        """Close, and be as new: no ramp, and nothing remembered but the counts."""
        self.detector = self.policy.detector()
        turn = self.close(now, reason)
        self.ramp.stop()
        self.times.level = 0
        return turn

    def statistics(self) -> CircuitStatistics:
        """Return what is known now."""
        recent, bad = self.recent.read()
        phase = self.phase or Phase("closed", "")
        return CircuitStatistics(
            state=phase.state,
            in_flight=self.in_flight,
            refused=self.refused,
            opened=self.times.opened,
            level=self.times.level,
            recent=recent,
            bad=bad,
            probing=phase.out,
            hard=phase.hard,
            reason=phase.reason,
            ready_at=phase.until if phase.until < inf else None,
        )


def _can_insist(request: object) -> bool:
    """Whether a soft refusal may come back insisting: only what a router sends, and has not."""
    return not insists(request) and getattr(request, "attempt", None) is not None


def _is_total(recent: LastN) -> bool:
    total, bad = recent.read()
    return total >= FEW and bad >= TOTAL * total
