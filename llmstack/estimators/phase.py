"""What a circuit is while it is not simply closed, and what it says about itself.

Errors: `ValueError` from wrong settings. Events: none.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Final, Literal, final

from attrs import define, field, frozen, validators

from llmstack.hooks import always, answers_at_once
from llmstack.standing import Standing


__all__ = ["PAST", "CircuitStatistics", "Permit", "Phase", "Probes", "State", "Turn"]

State = Literal["closed", "degraded", "open", "half_open", "disabled"]

#: The generation of a permit that has nothing to say any more.
PAST: Final = -1
#: After so many seconds without a request, a hard opening lets one through that insists.
SILENCE: Final = 5.0


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
    allow: Callable[[Any], bool] = field(default=always, repr=False, validator=answers_at_once)


@final
@define(eq=False)
class Phase:
    """One time that a circuit is not simply closed: why, until when, how its probes do."""

    state: State
    reason: str
    until: float = inf
    hard: bool = False
    since: float = -inf  # it was opened by hand
    out: int = 0
    good: int = 0
    bad: int = 0

    def wakes(self, now: float, sent: float) -> bool:
        """Whether it has been quiet for so long that one that insists may be a probe.

        Nothing was *sent*, and nobody opened it by hand, which may be without a request.
        """
        quiet = now - max(sent, self.since) >= SILENCE
        return self.hard and self.state == "open" and quiet

    def standing(self, now: float, sent: float, probes: Probes) -> Standing:
        """Return what would become of a plain request."""
        if self.state == "disabled":
            return Standing("up", f"disabled: {self.reason}")
        if self.state == "degraded":
            return Standing("degraded", self.reason)
        half = self.state == "half_open"
        due = half or now >= self.until
        says = f"{'half-open' if half else 'open'}: {self.reason}"
        if due and self.out < probes.at_once:
            return Standing("degraded", f"{says}; the next request is a probe")
        until = self.until if self.until > now and not half else None
        return Standing("down", says, ready_at=until, soft=not self.hard or self.wakes(now, sent))


@final
@frozen
class Turn:
    """A change of state as it is told: what the circuit *did*, and why.

    Opened, also for how long, and whether it is hard.
    """

    did: Literal["opened", "half_opened", "closed", "degraded", "rebaselined", "disabled"]
    reason: str
    wait: float = 0.0
    hard: bool = False


@final
@define(eq=False)
class Permit:
    """What a call holds that was let through; the first probe of a round tells of the *turn*."""

    generation: int
    probe: bool = False
    turn: Turn | None = None


@final
@frozen
class CircuitStatistics:
    """A circuit as it is now.

    *level* is how many openings health has not made up for: it sets the next open time.
    *bad* of the *recent* outcomes, at most 20 since it last closed, were failures. *reason*
    says in words why it is not closed.
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
