"""The state machine of a circuit breaker: closed, open, half-open, and back.

::

    closed ──── too many failures ───▶ open, hard or soft, for a growing time
    open ────── its time is over ────▶ half-open: so many probes at once
    half-open ─ a probe fails ───────▶ open
    half-open ─ enough succeed ──────▶ closed, and ramping up

An opening is *hard* where the failure is total: nothing but probes passes. Else it is
*soft*: a request that insists, since there is nowhere else to go, passes at any time. A
hard one turns soft for one probe when nothing was sent for a while, so that the end of an
outage is noticed long before the open time is over.

Each opening and each closing begins a generation. A permit belongs to one, and once that is
over, the end of its call gives the permit back and changes nothing else.

There is no clock in here, and chance is a function that it was given. Errors:
`CircuitOpen`. Events: none; the layer tells them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Final, Literal, final

from attrs import define, field, frozen, validators

from llmstack.call import Outcome
from llmstack.errors import CircuitOpen
from llmstack.estimators.open_time import OpenTimes
from llmstack.estimators.trip import Detector
from llmstack.estimators.window import LastN
from llmstack.service import insists


__all__ = ["Circuit", "CircuitStatistics", "Opening", "Permit", "Probes", "State"]

State = Literal["closed", "open", "half_open"]

#: A failure is total if 95 % of the last outcomes are bad, and there are a few.
TOTAL: Final = 0.95
FEW: Final = 5
#: After so many seconds without a request, a hard opening lets one through that insists.
SILENCE: Final = 5.0
#: What a ramp admits at least: with less it would take long to learn anything.
LEAST: Final = 0.1
#: The generation of a permit that has said what it had to say.
PAST: Final = -1


def _any_request(_request: object, /) -> bool:
    """Any request may be a probe."""
    return True


@final
@frozen(kw_only=True)
class Probes:
    """How a half-open circuit is tried.

    *at_once* may be in flight. It closes at the n-th of *successes*, and opens again at the
    n-th of *failures*, whichever comes first: 8 of 10 are 8 successes before 3 failures.
    Only a request that *allow* says yes to is a probe, for example one that is idempotent.
    """

    at_once: int = field(default=1, validator=[validators.instance_of(int), validators.ge(1)])
    successes: int = field(default=1, validator=[validators.instance_of(int), validators.ge(1)])
    failures: int = field(default=1, validator=[validators.instance_of(int), validators.ge(1)])
    allow: Callable[[Any], bool] = field(default=_any_request, repr=False)


@final
@define(eq=False)
class Permit:
    """What a call holds that was let through."""

    generation: int
    probe: bool = False


@final
@define(eq=False)
class Opening:
    """One time that a circuit is not closed: until when, why, and how its probes do."""

    until: float
    wait: float
    hard: bool
    reason: str
    half: bool = False
    out: int = 0
    good: int = 0
    bad: int = 0


@final
@frozen
class CircuitStatistics:
    """A circuit as it is now.

    *level* is how many openings health has not made up for: it sets the next open time.
    *bad* of the *recent* outcomes, at most 20 since it last closed, were failures.
    """

    state: State
    in_flight: int
    refused: int
    opened: int
    level: int
    recent: int
    bad: int
    probing: int = 0
    hard: bool = False
    reason: str = ""
    ready_at: float | None = None


@final
@define(eq=False)
class Circuit:
    """The machine: decides who passes, and learns how each call ended."""

    detector: Detector
    times: OpenTimes
    probes: Probes
    ramp: float
    chance: Callable[[], float]
    recent: LastN = field(factory=LastN, init=False)  # since it last closed
    opening: Opening | None = field(default=None, init=False)
    permit: Permit = field(factory=lambda: Permit(0), init=False)  # of whoever is no probe
    ramped: float = field(default=-inf, init=False)  # when the ramp is over
    sent: float = field(default=-inf, init=False)
    in_flight: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)

    @property
    def state(self) -> State:
        """Closed, open or half-open; a ramp is a phase of closed."""
        if self.opening is None:
            return "closed"
        return "half_open" if self.opening.half else "open"

    @property
    def idle(self) -> bool:
        """Whether it is as good as new: closed, no permit out, no failure remembered."""
        fresh = self.opening is None and self.in_flight == self.times.level == 0
        return fresh and self.recent.read()[1] == 0

    def admit(self, now: float, request: object = None, /) -> Permit:
        """Hand out a permit, or raise `CircuitOpen`."""
        if self.opening is not None:
            permit = self._admit_while(self.opening, now, request)
        elif now < self.ramped and self._puts_off(now, request):
            self.refused += 1
            raise CircuitOpen("closed again just now, and only a part is let through", soft=True)
        else:
            permit = self.permit
        self.in_flight += 1
        self.sent = now
        return permit

    def _puts_off(self, now: float, request: object) -> bool:
        """Draw whether the ramp refuses; only what a router sends can come back and insist."""
        if insists(request) or getattr(request, "attempt", None) is None:
            return False
        return self.chance() >= max(LEAST, 1 - (self.ramped - now) / self.ramp)

    def _admit_while(self, opening: Opening, now: float, request: object) -> Permit:
        """Hand out a permit for a probe, or for a request that insists, or refuse."""
        pressing, allowed = insists(request), self.probes.allow(request)
        wakes = opening.hard and not opening.half and now - self.sent >= SILENCE
        due = opening.half or now >= opening.until or (wakes and pressing)
        if due and allowed and opening.out < self.probes.at_once:
            opening.half = True
            opening.out += 1
            return Permit(self.permit.generation, probe=True)
        if pressing and not opening.hard:
            return self.permit
        self.refused += 1
        raise CircuitOpen(
            f"{'half-open' if opening.half else 'open'}: {opening.reason}",
            soft=not opening.hard or (wakes and allowed),
            ready_at=opening.until if opening.until > now else None,
        )

    def settle(self, permit: Permit, outcome: Outcome, now: float, /) -> bool:
        """Take *permit* back, learn from *outcome*; return whether that opened or closed it."""
        self.in_flight -= 1
        return self._learns(permit, outcome, now)

    def answered(self, permit: Permit, now: float, /) -> bool:
        """Learn that a probe is being answered; as `settle`, but the permit stays out.

        A streamed reply may take minutes, and nobody should have to wait for its end to
        hear that the endpoint is back.
        """
        return self._learns(permit, Outcome(now), now)

    def _learns(self, permit: Permit, outcome: Outcome, now: float) -> bool:
        if permit.generation != self.permit.generation:
            return False
        good, opening = outcome.how == "ok", self.opening
        if opening is not None and permit.probe:
            permit.generation = PAST
            opening.out -= 1
        if not good and outcome.blames != "endpoint":
            return False
        self.recent.add(bad=not good)
        if opening is not None:
            return self._weighs(opening, permit, outcome, now)
        if self.detector.add(now, bad=not good):
            hard = _is_total(self.recent)
            self.open(now, f"{'total' if hard else 'partial'} failure", hard=hard, cause=outcome)
            return True
        if self.times.level:
            self.times.recover(now)
        return False

    def _weighs(self, opening: Opening, permit: Permit, outcome: Outcome, now: float) -> bool:
        """Learn from a call that was let through while this was not closed."""
        good, hard = outcome.how == "ok", _is_total(self.recent)
        if not permit.probe:
            opening.hard = opening.hard or hard
            return False
        opening.good += good
        opening.bad += not good
        if opening.good >= self.probes.successes:
            self.close(now)
            return True
        if opening.bad >= self.probes.failures:
            self.open(now, "a probe failed", hard=hard, cause=outcome)
            return True
        return False

    def open(self, now: float, reason: str, *, hard: bool, cause: Outcome | None = None) -> Opening:
        """Open for the next open time, or for the wait that the *cause* names, if longer."""
        named = getattr(cause and cause.error, "retry_after", None) or 0.0
        wait = self.times.open(now, chance=self.chance(), named=named)
        self.opening = Opening(now + wait, wait, hard, reason)
        self.permit = Permit(self.permit.generation + 1)
        return self.opening

    def half_open(self, now: float, reason: str) -> None:
        """Begin a new round of probes now; a closed circuit is opened for it."""
        last = self.opening or self.open(now, reason, hard=True)
        self.opening = Opening(last.until, last.wait, last.hard, reason, half=True)
        self.permit = Permit(self.permit.generation + 1)

    def close(self, now: float) -> None:
        """Close, and ramp up."""
        self.opening = None
        self.permit = Permit(self.permit.generation + 1)
        self.detector.reset()
        self.recent.clear()
        self.times.healthy_since = now + self.ramp
        self.ramped = now + self.ramp if self.ramp else -inf

    def reset(self, now: float) -> None:
        """Close, and be as new: no ramp, and nothing remembered but the counts."""
        self.close(now)
        self.ramped = -inf
        self.times.level = 0

    def statistics(self) -> CircuitStatistics:
        """Return what is known now."""
        recent, bad = self.recent.read()
        opening = self.opening or Opening(inf, inf, hard=False, reason="")
        return CircuitStatistics(
            state=self.state,
            in_flight=self.in_flight,
            refused=self.refused,
            opened=self.times.opened,
            level=self.times.level,
            recent=recent,
            bad=bad,
            probing=opening.out,
            hard=opening.hard,
            reason=opening.reason,
            ready_at=opening.until if opening.until < inf else None,
        )


def _is_total(recent: LastN) -> bool:
    total, bad = recent.read()
    return total >= FEW and bad >= TOTAL * total
