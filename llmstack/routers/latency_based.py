"""Latency based: the endpoint expected to give its first content soonest.

What is expected is the time-decayed mean of an endpoint's own latency (to the first token
of a stream, to the end of a complete reply), times the calls it has in flight and the one
to come, divided by its weight (its capacity), and divided by a power of its success rate:
a call that fails has to be made again. Only successes are latency samples, so an endpoint
that fails fast never looks fast. A cancelled wait is only known to have been longer.

An endpoint without news is taken to be as its peers are (their median), neither free nor
infinitely slow; and a small share of calls goes to whoever was not seen for longest, were
it slow when it was seen last or not.

The score is that of Peak EWMA balancing (Finagle, tower) with the success rate in it, as
proposed for ingress-nginx. Errors: `NoEndpoint`. Events: none.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from copy import deepcopy
from math import inf
from random import Random
from statistics import median
from typing import Any, ClassVar, Final, final

from attrs import define, field, frozen, validators

from llmstack.call import Outcome
from llmstack.endpoint import Endpoint
from llmstack.estimators.ewma import TimeEwma
from llmstack.estimators.explore import Candidate, Exploration
from llmstack.estimators.rotation import Rotation
from llmstack.messages import Request
from llmstack.order import Bound
from llmstack.routers.plan import Terms
from llmstack.routers.router import (
    ONE_ROUTER,
    Endpoints,
    RouterService,
    as_endpoints,
    bound_of_endpoints,
    named,
    the_set,
)
from llmstack.service import Service


__all__ = ["Fastest", "LatencyBased", "Seen"]

_seconds: Final = validators.and_(validators.gt(0.0), validators.lt(inf))


@final
@define(eq=False)
class Seen:
    """What is known of one endpoint: latency in seconds, success rate, calls in flight.

    Calls that began before *since* were sent to another endpoint of this name, which has
    been removed: they are counted while they are out, and nothing is learned from them.
    """

    latency: TimeEwma
    success: TimeEwma
    pending: int = 0
    last: float | None = None
    since: float = -inf


def _has_tried(request: Request) -> bool:
    """Whether the call has sent anything; that it is on its way to a group is not yet that."""
    attempts = request.call.attempts
    return any(not each.group and each is not request.attempt for each in attempts)


@final
@define(eq=False)
class Fastest:
    """The picker: lowest score first; among equals the unmeasured, then who waited longest."""

    tau: float
    prior: float  # the median latency, once anybody has been measured
    gamma: float
    least: float
    explore: Exploration
    rng: Random
    seen: dict[str, Seen] = field(factory=dict, init=False)
    gone: set[str] = field(factory=set, init=False)  # removed, with calls in flight
    turns: Rotation = field(factory=Rotation, init=False)

    def order(
        self, request: Request, endpoints: Sequence[Endpoint], now: float, /
    ) -> Iterator[Endpoint]:
        """Yield endpoints by score; a place in flight is booked before the yield."""
        if self.gone:
            self._come_back(endpoints, now)
        ranked = self._ranked(endpoints, now)
        name = self._explores(request, ranked, now, self.rng.random())
        if name is not None:
            ranked.sort(key=lambda endpoint: endpoint.name != name)
            looked = self.seen[name] = self._known(name)
            looked.last = now  # even if it refuses, or it would take every look from the others
        for endpoint in ranked:
            seen = self.seen[endpoint.name] = self._known(endpoint.name)
            seen.pending += 1
            turn = self.turns.take(endpoint.name)
            yield endpoint
            self.turns.untake(endpoint.name, turn)

    def _come_back(self, endpoints: Sequence[Endpoint], now: float) -> None:
        """Learn again from those that were removed and are here once more."""
        for name in self.gone.intersection(endpoint.name for endpoint in endpoints):
            self.seen[name].since = now
            self.gone.remove(name)

    def _ranked(self, endpoints: Sequence[Endpoint], now: float) -> list[Endpoint]:
        """Sort by score; an unmeasured endpoint with enough first probes out comes last."""
        prior, chosen, room = self.prior, self.turns.chosen, 0
        places = []
        for n, endpoint in enumerate(endpoints):
            name = endpoint.name
            seen = self._known(name)
            measured = seen.latency.count > 0
            late = False
            if seen.pending and not measured:
                room = room or self._room()
                late = seen.pending >= room
            score = self._expected(seen, now, prior) * (seen.pending + 1) / endpoint.weight
            places.append((late, score, measured, chosen.get(name, 0), n))
        places.sort()
        return [endpoints[place[-1]] for place in places]

    def _expected(self, seen: Seen, now: float, prior: float) -> float:
        """Return the expected latency per success, in seconds."""
        success = max(seen.success.read(now, 1.0), self.least)
        return seen.latency.read(now, prior) / math.pow(success, self.gamma)

    def _explores(
        self, request: Request, ranked: Sequence[Endpoint], now: float, chance: float
    ) -> str | None:
        """Return whom this call is sent to see, nearly always nobody.

        A call that has tried somebody, that insists, or that could not wait for somebody
        slow has no room for it. Who was slow long ago may be as fast as the fastest by now:
        taken to be as their peers, of whom half are slow, some would never be seen again.
        """
        exploration = self.explore
        if chance >= exploration.share or request.insists or _has_tried(request):
            return None
        known = [(endpoint.name, self._known(endpoint.name)) for endpoint in ranked]
        values = [seen.latency.value for _, seen in known if seen.latency.value is not None]
        fastest = min(values, default=self.prior)
        pool = [
            Candidate(name, seen.last, self._expected(seen, now, fastest), seen.pending)
            for name, seen in known
        ]
        best = min((candidate.score for candidate in pool), default=fastest)
        if now + exploration.reach * best > request.call.deadline:
            return None
        return exploration.stalest(pool, now)

    def _room(self) -> int:
        """Return how many first probes of an unmeasured endpoint may be out at once."""
        return self.explore.probes(sum(seen.pending for seen in self.seen.values()))

    def _known(self, name: str) -> Seen:
        """Return what is known; of a new endpoint nothing, and it is only kept once asked."""
        return self.seen.get(name) or self._new()

    def _new(self, pending: int = 0, since: float = -inf) -> Seen:
        tau, stale = self.tau, 3 * self.tau
        latency, success = TimeEwma(tau, stale_tau=stale), TimeEwma(tau, stale_tau=stale)
        return Seen(latency, success, pending, since=since)

    def settle(self, endpoint: Endpoint, started: float, outcome: Outcome, /) -> None:
        """Take the place in flight back, and learn latency from successes only."""
        seen = self.seen[endpoint.name]
        seen.pending -= 1
        if outcome.how != "refused" and started >= seen.since:
            self._learn(seen, started, outcome)
        if not seen.pending and seen.last is None:  # nothing is known: it refused, or is gone
            del self.seen[endpoint.name]
            self.gone.discard(endpoint.name)

    def _learn(self, seen: Seen, started: float, outcome: Outcome) -> None:
        ended = seen.last = outcome.ended
        if outcome.how == "failed":
            if not outcome.neutral:
                seen.success.add(0.0, ended)
            return
        if outcome.how == "ok":
            seen.success.add(1.0, ended)
        if outcome.first is None:
            seen.latency.add_censored(ended - started, ended, self.prior)
        else:
            # A reply may have been there before it was asked for: one that is shared.
            seen.latency.add(max(0.0, outcome.first - started), ended)
            values = [s.latency.value for s in self.seen.values() if s.latency.value is not None]
            self.prior = median(values)

    def explain(
        self, request: Request, endpoints: Sequence[Endpoint], now: float, /
    ) -> dict[str, Terms]:
        """Return the score of each with what it is made of, and who would be explored."""
        draw = deepcopy(self.rng).random()
        explored = self._explores(request, self._ranked(endpoints, now), now, draw)
        return {e.name: self._terms(e, now, draw, explored=e.name == explored) for e in endpoints}

    def _terms(self, endpoint: Endpoint, now: float, draw: float, *, explored: bool) -> Terms:
        seen = self._known(endpoint.name)
        latency = seen.latency.read(now, self.prior)
        reason = "by its own latency"
        if explored:
            reason = "explored: nobody has looked for long"
        elif not seen.latency.count:
            reason = "not measured yet, so taken to be as its peers"
        return Terms(
            reason=reason,
            score=self._expected(seen, now, self.prior) * (seen.pending + 1) / endpoint.weight,
            terms={
                "latency": latency,
                "pending": float(seen.pending),
                "success": seen.success.read(now, 1.0),
                "weight": endpoint.weight,
            },
            latency=latency,
            draw=draw,
        )

    def keep(self, names: Collection[str], /) -> None:
        """Forget endpoints other than *names*; of those, calls in flight are still counted."""
        gone = {name: seen.pending for name, seen in self.seen.items() if name not in names}
        for name, pending in gone.items():
            del self.seen[name]
            if pending:
                self.seen[name] = self._new(pending, since=inf)
                self.gone.add(name)
        self.turns.keep(names)

    def statistics(self) -> dict[str, Any]:
        """Return latency, success rate, samples and calls in flight, by endpoint name."""
        return {
            name: {
                "latency": seen.latency.value,
                "success": seen.success.value,
                "samples": seen.latency.count,
                "pending": seen.pending,
            }
            for name, seen in self.seen.items()
        }


@final
@frozen
class LatencyBased:
    """Choose the endpoint with the lowest expected latency per success.

    *tau* is how many seconds an observation counts (after three times that without news an
    endpoint is taken to be as its peers), *prior* the latency of all when nobody has been
    measured, *gamma* how much failures weigh. *least* is the lowest success rate that anybody
    is taken to have.
    """

    endpoints: Endpoints = field(converter=as_endpoints, repr=named)
    tau: float = field(default=10.0, kw_only=True, validator=_seconds)
    prior: float = field(default=1.0, kw_only=True, validator=_seconds)
    gamma: float = field(default=2.0, kw_only=True, validator=[validators.ge(1), validators.le(10)])
    least: float = field(
        default=0.02, kw_only=True, repr=False, validator=[validators.ge(0.001), validators.le(1)]
    )
    explore: Exploration = field(factory=Exploration, kw_only=True, repr=False)
    rng: Random | None = field(default=None, kw_only=True, repr=False, eq=False)

    role: ClassVar[str] = "router"
    alone: ClassVar[str] = ONE_ROUTER

    def __call__(self, inner: Service[Request, Any], /) -> RouterService:
        """Put the router above *inner*, which calls ``request.endpoint``."""
        rng = self.rng or Random()
        picker = Fastest(self.tau, self.prior, self.gamma, self.least, self.explore, rng)
        return RouterService(the_set(self.endpoints), picker, inner, "latency_based")

    def bound(self, inner: Bound, /) -> Bound:
        """One endpoint is asked for each request."""
        return bound_of_endpoints(self.endpoints, inner)
