"""The shell of all routers: ask the best endpoint, and the next one if it refuses.

A router stands above what is kept for each endpoint (breaker, limits, timeout) and below
`Retry`, which comes back after a failure: what this call has tried is then left out. A
failure is not caught here, unless the router was told to go on after it (`Fallback`).

Errors: `NoEndpoint` when nobody could be asked, with the reason of each; a failure passes
as it came, with the number of endpoints still *untried* and the call's *attempts*. An
answer that was not accepted is better than any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from math import inf, nextafter
from typing import Any, Final, final

from attrs import define

from llmstack import clock
from llmstack.call import Attempt, Outcome
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import ConfigError, LLMStackError, NotReady, Refused
from llmstack.messages import Request
from llmstack.order import Bound
from llmstack.routers.agenda import Agenda
from llmstack.routers.eligibility import MEMBERS_LEFT, unfit
from llmstack.routers.foresight import foreseen
from llmstack.routers.plan import Plan
from llmstack.routers.walk import Walk
from llmstack.service import Service, observe
from llmstack.standing import SWITCHED_OFF, Standing, standing_of, worst_of


__all__ = [
    "ONE_ROUTER",
    "Accepts",
    "Endpoints",
    "GoesOn",
    "Learns",
    "RouterService",
    "as_endpoints",
    "bound_of_endpoints",
    "named",
    "never",
    "the_set",
]

Endpoints = tuple[Endpoint, ...] | EndpointSet
#: Whether to go on after the error of the n-th endpoint that was asked.
GoesOn = Callable[[LLMStackError, int], bool]
#: What a router of its own kind learns from the error of an endpoint that was asked.
Learns = Callable[[Request, Endpoint, LLMStackError], None]
#: Whether the reply of the n-th endpoint that was asked is what the caller gets.
Accepts = Callable[[Request, Endpoint, object, int], bool]

#: Why a stack has one router.
ONE_ROUTER: Final = "an inner one would overrule it; make that a group, the service of an endpoint"


def as_endpoints(value: Iterable[Endpoint] | EndpointSet) -> Endpoints:
    """Take a set as it is, to be shared; make a tuple of anything else."""
    if isinstance(value, EndpointSet):
        return value
    endpoints = tuple(EndpointSet(value))
    if not endpoints:
        raise ConfigError("endpoints: a router needs at least one")
    return endpoints


def named(endpoints: Endpoints) -> str:
    """Show the endpoints of a router by name, with weights that are not 1."""
    names = [e.name if e.weight == 1 else f"{e.name} x {e.weight:g}" for e in endpoints]
    return f"[{', '.join(names)}]"


def the_set(endpoints: Endpoints) -> EndpointSet:
    """Return the shared set, or one of its own for this use of a layer."""
    return endpoints if isinstance(endpoints, EndpointSet) else EndpointSet(endpoints)


def bound_of_endpoints(endpoints: Endpoints, inner: Bound, asked: int = 1) -> Bound:
    """Return the bound of a router that asks up to *asked* endpoints, each of them once.

    Some are groups. The worst are counted, for calls, seconds and money each for itself.
    """
    each = [_bound_of(endpoint, inner) for endpoint in endpoints] or [_bound_of(None, inner)]
    return Bound(
        sum(sorted((bound.calls for bound in each), reverse=True)[:asked]),
        sum(sorted((bound.seconds for bound in each), reverse=True)[:asked]),
        sum(sorted((bound.cost for bound in each), reverse=True)[:asked]),
    )


def _bound_of(endpoint: Endpoint | None, inner: Bound) -> Bound:
    """Return the bound of *endpoint* under *inner*, which may ask it several times."""
    own: Bound | None = getattr(endpoint and endpoint.service, "bound", None)
    if own is None:
        own = Bound(cost=inf if endpoint is None else endpoint.dearest)
    if not own.calls:
        return own
    seconds = min(inner.seconds, own.seconds) if inner.calls == 1 else inner.seconds
    return Bound(inner.calls * own.calls, seconds, inner.calls * own.cost)


def never(_error: LLMStackError, _asked: int) -> bool:
    """Go on after no failure: the retry above decides."""
    return False


@final
@define(eq=False)
class RouterService(Agenda):
    """Walks the picker's order until somebody takes the request."""

    inner: Service[Request, Any]
    name: str = "router"
    goes_on: GoesOn = never
    accepts: Accepts | None = None
    learns: Learns | None = None

    async def __call__(self, request: Request, /) -> Any:  # noqa: ANN401 -- whatever endpoints give
        """Ask the eligible endpoints, best first."""
        walk = Walk({}, [], [])
        for endpoint, insisting in self.walk(request, walk):
            try:
                reply = await self._ask(request, endpoint, insists=insisting)
            except NotReady as refusal:
                # Without its traceback, or the refusal would hold this frame, and that it.
                walk.refusals[endpoint.name] = refusal.with_traceback(None)
                continue
            except Refused:
                if not walk.asked:
                    raise
                break  # something was sent, so this call was not refused
            except LLMStackError as error:
                if self._ends(error, request, endpoint, walk):
                    break
                continue
            if self.accepts is None or self.accepts(request, endpoint, reply, walk.asked + 1):
                return reply
            walk.answers.append(reply)
        return self._last_word(request, walk)

    def _ends(self, error: LLMStackError, request: Request, endpoint: Endpoint, walk: Walk) -> bool:
        """Note a failure; whether nobody is asked after it."""
        if self.learns is not None:
            self.learns(request, endpoint, error)
        self._note(error, request, endpoint, walk)
        walk.failures.append(error)
        if not self.goes_on(error, walk.asked):
            return True
        error.with_traceback(None)
        return False

    def _last_word(self, request: Request, walk: Walk) -> object:
        """Return the last answer, though it was not accepted, or raise what went wrong."""
        if walk.answers:
            return walk.answers.pop()
        if not walk.failures:
            tried = request.call.tried(self)
            raise walk.nobody(self.endpoints, tried, partial(self.unfit, request))
        failure = walk.failures[-1]
        failure.untried += self.left(request, walk.refusals) - walk.left
        if failure.elsewhere and not failure.untried:
            self._note_sooner(failure, request, walk)
        del failure  # or the frame in its traceback would hold it
        raise walk.failures.pop()

    async def _ask(self, request: Request, endpoint: Endpoint, *, insists: bool) -> object:
        """Ask one endpoint; the attempt is in the ledger unless it is refused."""
        started = clock.now()
        reason = f"{self.name}, insisting" if insists else self.name
        attempt = Attempt(endpoint.name, started, reason, router=self)
        call = request.call
        call.begin(attempt, request.attempt)

        def end(outcome: Outcome) -> None:
            if outcome.how == "refused":
                call.take_back(attempt)
            attempt.settle(outcome)
            self.picker.settle(endpoint, started, outcome)

        return await observe(self.inner, request.to(endpoint, attempt, insists=insists), end)

    def _note(self, error: LLMStackError, request: Request, endpoint: Endpoint, walk: Walk) -> None:
        """Tell the failure where it happened and how many endpoints are left for a retry."""
        attempt = walk.attempt = request.call.tried(self)[endpoint.name]
        within = error.untried if attempt.group else 0
        if within and attempt.again:
            # Whatever wait there is was named by a member that has been asked.
            attempt.ready_at = MEMBERS_LEFT
            within -= 1  # the group counts for one itself
        walk.left = self.left(request, walk.refusals)
        error.untried = within + walk.left
        error.endpoint = error.endpoint or endpoint.name
        error.attempts = tuple(attempt.seen() for attempt in request.call.attempts)

    def _note_sooner(self, error: LLMStackError, request: Request, walk: Walk) -> None:
        """Tell the last failure if another one that was asked may be asked again before it."""
        last = walk.attempt
        ready = [
            other.ready_at
            for other in request.call.tried(self).values()
            if other.again and other is not last and other.ready_at != MEMBERS_LEFT
        ]
        if not ready or last is None or (last.again and last.ready_at <= min(ready)):
            return
        error.again = True
        wait = max(min(ready) - clock.now(), 0.0)
        # The next float, or a retry would come to find that it is not yet so late.
        error.retry_after = nextafter(wait, inf) if wait else None

    def plan(self, request: Request) -> Plan:
        """Return whom the next call like *request* would ask, and why, without asking.

        The picker that answers is a copy of the one that routes, so its draws are the same.
        """
        return foreseen(self, request, self.standings(request))

    def standings(self, request: Request) -> dict[str, Standing]:
        """Return how each endpoint stands towards *request*, by name. A read."""
        return {endpoint.name: self._standing(request, endpoint) for endpoint in self.endpoints}

    def _standing(self, request: Request, endpoint: Endpoint) -> Standing:
        """Return the worst that is said of *endpoint*; of a group, what its best member is."""
        if not self.endpoints.is_enabled(endpoint.name):
            return SWITCHED_OFF
        why = unfit(request, endpoint) if request.model else ""
        if why:
            return Standing("disabled", why)
        asked = request.to(endpoint, Attempt(endpoint.name, clock.now(), router=self))
        return worst_of([standing_of(each, asked) for each in (self.inner, endpoint.service)])

    def statistics(self) -> dict[str, Any]:
        """Return what the picker knows of each endpoint."""
        return self.picker.statistics()
