"""What a circuit is while it is not simply closed, and what it says about itself.

Errors: `ValueError` from wrong settings. Events: none.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Final, Literal, final

from attrs import define, field, frozen, validators


__all__ = ["PAST", "CircuitStatistics", "Permit", "Phase", "Probes", "State", "Turn"]

State = Literal["closed", "degraded", "open", "half_open", "disabled"]

#: The generation of a permit that has nothing to say any more.
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
class Phase:
    """One time that a circuit is not simply closed: why, until when, how its probes do."""

    state: State
    reason: str
    until: float = inf
    wait: float = inf
    hard: bool = False
    out: int = 0
    good: int = 0
    bad: int = 0


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
