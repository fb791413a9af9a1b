"""Concurrency limit: so many calls in flight and no more; the next is refused at once.

Put it below the breaker: what the breaker refuses should hold no permit. Below a router
each endpoint is counted by itself, and the router takes a refused call to the next one.
The refusal is hard, so a request that insists gets it too. Whoever would rather wait for
a permit than be refused puts a `Queue` above. The last fifth of the permits is not for a
second call for what is under way already, such as a `Hedge` sends.

A call has its permit until it is over: a stream until it is read out, broken, closed or
dropped. Errors: `ConcurrencyFull`. Events: none; refusals are a number in the statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from copy import copy
from functools import partial
from typing import Any, ClassVar, Final, Generic, final

from attrs import define, field, frozen, validators

from llmstack import clock
from llmstack.call import Outcome
from llmstack.errors import ConcurrencyFull
from llmstack.keyed import Keyed
from llmstack.service import Req, Resp, Service, by_endpoint, is_extra, observe
from llmstack.standing import Standing


__all__ = ["ConcurrencyLimit", "ConcurrencyLimitService", "Permits"]

#: The share of the permits that may be out for a call that could be done without.
SPARE: Final = 0.8


@final
@define(eq=False)
class Permits:
    """The machine: how many permits are out, and how long all of them were.

    A permit is the time at which it was taken. What *busy* grows by in a second is the
    mean number of calls in flight in that second (Little's law).
    """

    limit: int
    in_flight: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)
    busy: float = field(default=0.0, init=False)  # call-seconds of the calls that are over

    @property
    def idle(self) -> bool:
        """Whether all permits are back."""
        return self.in_flight == 0

    @property
    def why(self) -> str:
        """Why there is none, in words."""
        return f"all {self.limit} permits are out"

    def admit(self, now: float, /, *, extra: bool = False) -> float:
        """Hand out a permit, or raise `ConcurrencyFull`; *extra* calls leave the last fifth."""
        if self.in_flight >= self.limit:
            self.refused += 1
            raise ConcurrencyFull(self.why)
        if extra and self.in_flight >= SPARE * self.limit:
            self.refused += 1
            raise ConcurrencyFull(f"{self.in_flight} of {self.limit} permits are out", soft=True)
        self.in_flight += 1
        return now

    def settle(self, permit: float, _outcome: Outcome, now: float, /) -> None:
        """Take *permit* back, however its call ended."""
        self.in_flight -= 1
        self.busy += now - permit


@final
@frozen
class ConcurrencyLimit:
    """The most calls that may be in flight at the same time, for each key.

    >>> ConcurrencyLimit(64)
    ConcurrencyLimit(limit=64)
    """

    limit: int = field(validator=[validators.instance_of(int), validators.ge(1)])
    key: Callable[[Any], Hashable] = field(default=by_endpoint, kw_only=True, repr=False)

    role: ClassVar[str] = "concurrency_limit"
    below: ClassVar[Mapping[str, str]] = {
        "circuit_breaker": "what the breaker refuses should hold no permit"
    }

    def __call__(self, inner: Service[Req, Resp], /) -> ConcurrencyLimitService[Req, Resp]:
        """Wrap *inner*; the service made here has permits of its own."""
        return ConcurrencyLimitService(self, inner, Keyed(partial(Permits, self.limit)))


@final
@define(eq=False)
class ConcurrencyLimitService(Generic[Req, Resp]):
    """The shell: find the machine of the key, take a permit, see it given back."""

    settings: ConcurrencyLimit
    inner: Service[Req, Resp]
    permits: Keyed[Permits]

    async def __call__(self, request: Req, /) -> Resp:
        """Call the inner service while holding a permit."""
        permits = self.permits(self.settings.key(request))
        permit = permits.admit(clock.now(), extra=is_extra(request))
        return await observe(
            self.inner, request, lambda outcome: permits.settle(permit, outcome, outcome.ended)
        )

    def standing(self, request: Req, /) -> Standing | None:
        """Return what would become of *request* now; None if there is a permit for it."""
        permits = self.permits.get(self.settings.key(request))
        if permits is None or permits.in_flight < permits.limit:
            return None
        return Standing("down", permits.why)

    def statistics(self) -> dict[Hashable, Permits]:
        """Return a copy of the counts, by key."""
        return {key: copy(permits) for key, permits in self.permits.items()}
