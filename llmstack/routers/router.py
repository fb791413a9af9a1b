"""The shell of all routers: ask the best endpoint, and the next one if it refuses.

A router stands above what is kept for each endpoint (breaker, limits, timeout) and below
`Retry`, which comes back after a failure: what this call has tried is then left out. A
failure is not caught here, unless the router was told to go on after it (`Fallback`).

Errors: `NoEndpoint` when nobody could be asked, with the reason of each; a failure passes
as it came, with the number of endpoints still *untried* and the call's *attempts*. An
answer that was not accepted is better than any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from functools import partial
from itertools import chain
from math import inf
from types import MappingProxyType
from typing import Any, Final, final

from attrs import define, evolve, field

from llmstack import clock
from llmstack.call import Attempt, Outcome
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import ConfigError, LLMStackError, NotReady, Refused
from llmstack.messages import Request
from llmstack.order import Bound
from llmstack.routers.eligibility import MEMBERS_LEFT, is_plain, tiers, unfit, untried
from llmstack.routers.picker import Picker
from llmstack.routers.plan import Candidate, Plan, Terms
from llmstack.routers.walk import Walk
from llmstack.service import Service, observe


__all__ = [
    "ONE_ROUTER",
    "Accepts",
    "Bars",
    "Endpoints",
    "GoesOn",
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
#: Whether the reply of the n-th endpoint that was asked is what the caller gets.
Accepts = Callable[[Request, Endpoint, object, int], bool]
#: Why not to ask an endpoint now, empty if it may be; and whether this walk goes on from another.
Bars = Callable[[Request, Endpoint, bool], str]

#: Why a stack has one router.
ONE_ROUTER: Final = "an inner one would overrule it; make that a group, the service of an endpoint"

_NOBODY: Final[Mapping[str, Attempt]] = MappingProxyType({})


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
    """Return the bound of a router that asks up to *asked* endpoints, some of them groups."""
    groups = [
        getattr(endpoint.service, "bound", Bound(cost=endpoint.dearest)) for endpoint in endpoints
    ]
    one = Bound(
        inner.calls * max((group.calls for group in groups), default=1),
        min(inner.seconds, max((group.seconds for group in groups), default=inf)),
        inner.calls * max((group.cost for group in groups), default=inf),
    )
    return one.times(asked)


def never(_error: LLMStackError, _asked: int) -> bool:
    """Go on after no failure: the retry above decides."""
    return False


@final
@define(eq=False)
class RouterService:
    """Walks the picker's order until somebody takes the request."""

    endpoints: EndpointSet
    picker: Picker
    inner: Service[Request, Any]
    name: str = "router"
    goes_on: GoesOn = never
    accepts: Accepts | None = None
    bars: Bars | None = None
    _known: tuple[Endpoint, ...] = field(default=(), init=False)
    _plain: bool = field(default=False, init=False)

    async def __call__(self, request: Request, /) -> Any:  # noqa: ANN401 -- whatever endpoints give
        """Ask the eligible endpoints, best first."""
        walk = Walk({}, [], [])
        for endpoint, insisting in self._walk(request, walk):
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
        walk.left = self._note(error, request, endpoint, walk.refusals)
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
            raise walk.nobody(self.endpoints, tried, partial(self._unfit, request))
        walk.failures[-1].untried += self._left(request, walk.refusals) - walk.left
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

    def _walk(self, request: Request, walk: Walk) -> Iterator[tuple[Endpoint, bool]]:
        """Yield whom to ask now, and whether to insist; the caller enters how that ended."""
        enabled = self.endpoints.enabled
        back = self.bars is not None and bool(request.call.tried(self))
        rounds = self._rounds(request, walk.refusals)
        for tier, insisting in chain(rounds, self._late(request, walk)) if back else rounds:
            asks = evolve(request, insists=True) if insisting else request
            for endpoint in self.picker.order(asks, tier, clock.now()):
                there = self.endpoints.enabled is enabled or self._is_there(endpoint)
                if there and not self._barred(request, endpoint, walks=walk.asked > 0):
                    yield endpoint, insisting
                else:  # switched off meanwhile, or not for this: give back what was booked
                    now = clock.now()
                    self.picker.settle(endpoint, now, Outcome(now, "refused"))

    def _late(self, request: Request, walk: Walk) -> Iterator[tuple[list[Endpoint], bool]]:
        """Yield those who were barred when a retry came back, before the tried were asked."""
        done = {*request.call.tried(self), *walk.refusals}
        yield [e for e in self._fit(request) if e.name not in done], False

    def _barred(self, request: Request, endpoint: Endpoint, *, walks: bool = False) -> str:
        """Return why an endpoint that is fit is not asked now, in words; empty if it may be."""
        return "" if self.bars is None else self.bars(request, endpoint, walks)

    def _is_there(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint takes traffic still."""
        return any(endpoint.name == there.name for there in self.endpoints.enabled)

    def _rounds(
        self, request: Request, refusals: dict[str, NotReady]
    ) -> Iterator[tuple[list[Endpoint], bool]]:
        """Yield whom to ask, and whether to insist.

        One tier after the other, as long as all refuse. Of each, those that refused softly
        are asked once more; but a router inside a group leaves it to the outermost one to
        insist.
        """
        fit = self._fit(request)
        tried = request.call.tried(self) if request.call.attempts else _NOBODY
        for tier in tiers(fit, tried, clock.now()) if tried else (fit,):
            if tier:
                yield tier, False
            soft = [e for e in tier if e.name in refusals and refusals[e.name].soft]
            if soft and request.attempt is None:
                yield soft, True

    def _fit(self, request: Request) -> list[Endpoint]:
        endpoints = self.endpoints.enabled
        if endpoints is not self._known:
            self.picker.keep({endpoint.name for endpoint in self.endpoints})
            self._plain = all(map(is_plain, endpoints))
            self._known = endpoints
        if self._plain and not request.tags:
            return list(endpoints)
        return [endpoint for endpoint in endpoints if not unfit(request, endpoint)]

    def _unfit(self, request: Request, endpoint: Endpoint) -> str:
        return unfit(request, endpoint) or self._barred(request, endpoint)

    def _note(
        self,
        error: LLMStackError,
        request: Request,
        endpoint: Endpoint,
        refusals: dict[str, NotReady],
    ) -> int:
        """Tell the failure where it happened and how many endpoints are left for a retry."""
        attempt = request.call.tried(self)[endpoint.name]
        within = error.untried if attempt.group else 0
        if within and attempt.again:
            # Whatever wait there is was named by a member that has been asked.
            attempt.ready_at = MEMBERS_LEFT
            within -= 1  # the group counts for one itself
        left = self._left(request, refusals)
        error.untried = within + left
        error.endpoint = error.endpoint or endpoint.name
        error.attempts = tuple(attempt.seen() for attempt in request.call.attempts)
        return left

    def _left(self, request: Request, refusals: dict[str, NotReady]) -> int:
        """Return how many endpoints are left for a retry."""
        hard = [name for name, refusal in refusals.items() if not refusal.soft]
        fit = [each for each in self._fit(request) if not self._barred(request, each)]
        return untried(fit, request.call.tried(self), hard)

    def plan(self, request: Request) -> Plan:
        """Return whom the next call like *request* would ask, and why, without asking.

        The picker that answers is a copy of the one that routes, so its draws are the same.
        """
        now = clock.now()
        rounds = [tier for tier, _ in self._rounds(request, {})]
        tried = request.call.tried(self)
        listed: list[Candidate] = []
        picker = deepcopy(self.picker)
        for tier in rounds:
            terms = picker.explain(request, tier, now)
            for endpoint in picker.order(request, tier, now):
                if not self._barred(request, endpoint):
                    verdict = "asked first" if not listed else f"asked if {len(listed)} refuse"
                    known = terms[endpoint.name]
                    listed.append(Candidate.of(endpoint, request.model, verdict, known))
                picker.settle(endpoint, now, Outcome(now, "refused"))
        there = {candidate.endpoint for candidate in listed}
        for endpoint in self.endpoints:
            if endpoint.name not in there:
                enabled = self.endpoints.is_enabled(endpoint.name)
                why = self._unfit(request, endpoint) if enabled else "is disabled"
                why = why or ("has been tried" if endpoint.name in tried else "")
                listed.append(Candidate.of(endpoint, request.model, "left out", Terms(reason=why)))
        return Plan(tuple(listed))

    def statistics(self) -> dict[str, Any]:
        """Return what the picker knows of each endpoint."""
        return self.picker.statistics()
