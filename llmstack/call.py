"""What all attempts of one logical request share, and how each of them ended."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final, Literal, Self, final

from attrs import define, evolve, field, frozen, validators

from llmstack.errors import Blame, LLMStackError, Refused, Tried


__all__ = ["Attempt", "Call", "End", "How", "Outcome", "Usage"]

How = Literal["ok", "failed", "refused", "cancelled", "abandoned"]

_tokens = validators.ge(0)


@final
@frozen
class Usage:
    """Tokens of one reply; the three kinds are disjoint, so they add up.

    *cached* are prompt tokens that the provider read from its cache. Counts that are
    not the provider's own are *estimated*.
    """

    input: int = field(default=0, validator=_tokens)
    output: int = field(default=0, validator=_tokens)
    cached: int = field(default=0, validator=_tokens)
    estimated: bool = False


@final
@define(eq=False)
class Outcome:
    """How one awaited call ended; times are loop time in seconds.

    *first* is when the first content came, None if none did. *cost* is in USD, None where
    the price or the usage is unknown. *blames* says whom a gate may record it against.
    """

    ended: float
    how: How = "ok"
    error: BaseException | None = None
    blames: Blame = "nobody"
    first: float | None = None
    usage: Usage | None = None
    cost: float | None = None

    @classmethod
    def of(cls, error: BaseException, ended: float, first: float | None = None) -> Self:
        """Judge a call that ended with *error*."""
        if isinstance(error, LLMStackError):
            how: How = "refused" if isinstance(error, Refused) else "failed"
            return cls(ended, how, error, error.blames, first)
        if isinstance(error, Exception):
            return cls(ended, "failed", error, "nobody", first)
        return cls(ended, "cancelled", error, "nobody", first)

    @property
    def neutral(self) -> bool:
        """Whether no gate may learn from it: refused, cancelled, left, or the caller's fault."""
        return self.how != "ok" and (self.how != "failed" or self.blames in {"caller", "nobody"})

    def judged(self, classify: Callable[[Exception], LLMStackError | None]) -> Outcome:
        """Return the outcome as *classify* sees the error, for errors that are not ours."""
        error = self.error
        if not isinstance(error, Exception) or isinstance(error, LLMStackError):
            return self
        fault = classify(error)
        if fault is None:
            return self
        judged = Outcome.of(fault, self.ended)
        return evolve(self, how=judged.how, error=fault, blames=judged.blames)


End = Callable[[Outcome], None]

_WENT_WELL: Final = ("ok", "abandoned")


@final
@define(eq=False)
class Attempt:
    """One entry of the ledger: who was asked, when, why, and how it ended.

    *again* and *ready_at* say whether and from when the same endpoint may be asked
    again. *router* made the choice; a router leaves out only what it tried itself.
    *group* is set when the endpoint was a stack that asked endpoints of its own, and
    *sends* counts how often it was called: a retry below the router is the same attempt.
    One is *extra* that began while another one of the call was at work.
    """

    endpoint: str
    started: float
    reason: str = ""
    router: object = field(default=None, repr=False)
    ended: float | None = None
    how: How | None = None
    error: str | None = None
    status: int | None = None
    cost: float | None = None
    again: bool = False
    ready_at: float = field(default=0.0, repr=False)
    group: bool = False
    sends: int = 0
    extra: bool = False

    def settle(self, outcome: Outcome) -> None:
        """Note how the attempt ended; of the error only its name and status are kept."""
        self.ended = outcome.ended
        self.how = outcome.how
        self.cost = outcome.cost
        error = outcome.error
        if error is None:
            return
        self.error = type(error).__name__
        if isinstance(error, LLMStackError):
            self.status = error.status
            # A group that has untried endpoints of its own may be asked again.
            self.again = error.again or (error.elsewhere and error.untried > 0)
            self.ready_at = outcome.ended + (error.retry_after or 0.0)

    def seen(self) -> Tried:
        """Return the facts as they are now, for an error to carry."""
        return Tried(
            self.endpoint,
            self.started,
            self.ended,
            self.how,
            self.error,
            self.status,
            self.reason,
        )


@final
@define(eq=False)
class Call:
    """One logical request with all its attempts; every copy of a request shares it.

    *deadline* is a point in loop time. The *id* goes into logs and error bodies.
    """

    id: str = ""
    deadline: float = inf
    attempts: list[Attempt] = field(factory=list)

    def begin(self, attempt: Attempt, within: Attempt | None = None) -> None:
        """Enter *attempt*; *within* is the attempt at the group that it belongs to."""
        if self.attempts:
            at_work = any(a.router is attempt.router and a.ended is None for a in self.attempts)
            attempt.extra = at_work or (within is not None and within.extra)
        self.attempts.append(attempt)
        if within is not None:
            within.group = True

    def take_back(self, attempt: Attempt) -> None:
        """Strike out an attempt that was refused: nothing was sent."""
        self.attempts.remove(attempt)

    def tried(self, router: object) -> dict[str, Attempt]:
        """Return the last attempt of *router* at each endpoint, by name.

        One that went well is not among them: who uses a request again asks anew.
        """
        return {
            a.endpoint: a for a in self.attempts if a.router is router and a.how not in _WENT_WELL
        }

    @property
    def sent(self) -> int:
        """How many calls went to endpoints that are not groups."""
        return sum(attempt.sends for attempt in self.attempts if not attempt.group)
