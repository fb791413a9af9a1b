"""Deadline: the time of the whole call, with all its attempts, waits and its stream.

Put it on top, above whatever waits. It is the caller's time, not the endpoint's: when it
is over, the attempts below end as cancelled and nobody is blamed. What bounds a single
attempt, and is held against the endpoint, is a `Timeout`.

Requests that have a `Call` carry the deadline with them, so `Retry` does not wait past it.
A reply that is a stream stays under it until its end. Errors: `DeadlineExceeded`, raised
before anything is sent, while waiting, or by the stream. Events: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import inf
from typing import Any, ClassVar, Generic, final

from attrs import define, field, frozen, validators

from llmstack import clock
from llmstack.alarm import Alarm, abort_at
from llmstack.call import Call
from llmstack.errors import DeadlineExceeded
from llmstack.order import Bound
from llmstack.service import Req, Resp, Service


__all__ = ["Deadline", "DeadlineService"]


@final
@frozen
class Deadline:
    """The seconds in which a call must be over; an earlier deadline of the call stands.

    >>> Deadline(30)
    Deadline(seconds=30)
    """

    seconds: float = field(validator=validators.and_(validators.gt(0.0), validators.lt(inf)))

    role: ClassVar[str] = "deadline"
    above: ClassVar[Mapping[str, str]] = {"queue": "time spent in line is the caller's time too"}

    def __call__(self, inner: Service[Req, Resp], /) -> DeadlineService[Req, Resp]:
        """Wrap *inner*."""
        return DeadlineService(self, inner)

    @property
    def limits(self) -> float:
        """The seconds that anything below can have at most."""
        return self.seconds

    def bound(self, inner: Bound, /) -> Bound:
        """Return the bound of *inner*, cut off at the deadline."""
        return inner.within(self.seconds)


@final
@define(eq=False)
class DeadlineService(Generic[Req, Resp]):
    """Sets the deadline, and one alarm for it; a stream takes it along."""

    settings: Deadline
    inner: Service[Req, Resp]

    async def __call__(self, request: Req, /) -> Resp:
        """Call the inner service, which has to answer before the deadline."""
        call = _call_of(request)
        now, before = clock.now(), call.deadline
        deadline = min(before, now + self.settings.seconds)
        late = partial(_late, call, deadline - now)
        if deadline <= now:
            raise late()
        call.deadline = deadline
        try:
            with Alarm(deadline):
                reply = await self.inner(request)
                abort_at(deadline, reply, late)
                return reply
        finally:
            # It holds for what is below: a group's deadline must not cut its sibling short.
            if call.deadline == deadline:
                call.deadline = before
        raise late()


def _call_of(request: Any) -> Call:  # noqa: ANN401 -- requests are of any type
    """Return the request's call; a request without one gets one that nobody sees."""
    call = getattr(request, "call", None)
    return call if isinstance(call, Call) else Call()


def _late(call: Call, given: float) -> DeadlineExceeded:
    """Return the error, with the ledger as it is now."""
    seconds = f"{round(abs(given), 3):g} s"
    if given > 0:
        error = DeadlineExceeded(f"the call was not over after {seconds}")
    else:
        error = DeadlineExceeded(f"the time was over {seconds} before the call; nothing was sent")
    error.attempts = tuple(attempt.seen() for attempt in call.attempts)
    return error
