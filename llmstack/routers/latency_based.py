"""Latency based: the endpoint expected to give its first content soonest.

What is expected is the time-decayed mean of an endpoint's own latency (to the first token
of a stream, to the end of a complete reply), times the calls it has in flight and the one
to come, divided by its weight (its capacity), and divided by a power of its success rate:
a call that fails has to be made again. Only successes are latency samples, so an endpoint
that fails fast never looks fast. A cancelled wait is only known to have been longer.

An endpoint without news is taken to be as its peers are (their median), neither free nor
infinitely slow; and a small share of calls goes to whoever was not seen for longest.

The score is that of Peak EWMA balancing (Finagle, tower) with the success rate in it, as
proposed for ingress-nginx. Errors: `NoEndpoint`. Events: none.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from random import Random
from statistics import median
from typing import Any, ClassVar, final

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
    Endpoints,
    RouterService,
    as_endpoints,
    bound_of_endpoints,
    named,
    the_set,
)
from llmstack.service import Service


__all__ = ["Fastest", "LatencyBased", "Seen"]


@final
@define(eq=False)
class Seen:
    """What is known of one endpoint: latency in seconds, success rate, calls in flight."""

    latency: TimeEwma
    success: TimeEwma
    pending: int = 0
    last: float | None = None


@final
@define(eq=False)
class Fastest:
    """The picker: lowest score first; among equals the unmeasured, then who waited longest."""

    settings: LatencyBased
    rng: Random
    seen: dict[str, Seen] = field(factory=dict, init=False)
    turns: Rotation = field(factory=Rotation, init=False)
    prior: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.prior = self.settings.prior

    def order(
        self, request: Request, endpoints: Sequence[Endpoint], now: float, /
    ) -> Iterator[Endpoint]:
        """Yield endpoints by score; a place in flight is booked before the yield."""
        ranked = self._ranked(request, endpoints, now, self.rng.random())
        for endpoint in ranked:
            self._known(endpoint.name).pending += 1
            before = self.turns.take(endpoint.name)
            yield endpoint
            self.turns.untake(endpoint.name, before)

    def _ranked(
        self, request: Request, endpoints: Sequence[Endpoint], now: float, chance: float
    ) -> list[Endpoint]:
        """Sort by score; a call that explores goes somewhere else first."""
        room = self._room()
        keys = {}
        for endpoint in endpoints:
            seen = self._known(endpoint.name)
            measured = seen.latency.count > 0
            late = not measured and seen.pending >= room
            score = self.score(endpoint, now)
            keys[endpoint] = late, score, measured, self.turns.last(endpoint.name)
        ranked = sorted(endpoints, key=keys.__getitem__)
        name = self._explores(request, ranked, now, chance)
        if name is not None:
            ranked.sort(key=lambda endpoint: endpoint.name != name)
        return ranked

    def score(self, endpoint: Endpoint, now: float) -> float:
        """Return the expected latency per success in seconds: less is better."""
        seen = self._known(endpoint.name)
        success = max(seen.success.read(now, 1.0), self.settings.least)
        latency = seen.latency.read(now, self.prior)
        load = (seen.pending + 1) / endpoint.weight
        return latency * load / math.pow(success, self.settings.gamma)

    def _explores(
        self, request: Request, ranked: Sequence[Endpoint], now: float, chance: float
    ) -> str | None:
        """Return whom this call is sent to see, nearly always nobody.

        A call that has tried somebody, that insists, or that could not wait for somebody
        slow has no room for it.
        """
        exploration = self.settings.explore
        if chance >= exploration.share or request.insists or request.call.attempts:
            return None
        if now + exploration.reach * self.score(ranked[0], now) > request.call.deadline:
            return None
        pool = []
        for endpoint in ranked:
            seen = self._known(endpoint.name)
            score = self.score(endpoint, now)
            pool.append(Candidate(endpoint.name, seen.last, score, seen.pending))
        return exploration.stalest(pool, now)

    def _room(self) -> int:
        """Return how many first probes of an unmeasured endpoint may be out at once."""
        return self.settings.explore.probes(sum(seen.pending for seen in self.seen.values()))

    def _known(self, name: str) -> Seen:
        seen = self.seen.get(name)
        if seen is None:
            tau = self.settings.tau
            stale = 3 * tau
            seen = Seen(TimeEwma(tau, stale_tau=stale), TimeEwma(tau, stale_tau=stale))
            self.seen[name] = seen
        return seen

    def settle(self, endpoint: Endpoint, started: float, outcome: Outcome, /) -> None:
        """Take the place in flight back, and learn latency from successes only."""
        seen = self.seen.get(endpoint.name)
        if seen is None:
            return  # removed meanwhile
        seen.pending -= 1
        if outcome.how == "refused":
            return
        ended = seen.last = outcome.ended
        if outcome.how == "failed":
            if not outcome.neutral:
                seen.success.add(0.0, ended)
        elif outcome.first is not None:
            seen.latency.add(outcome.first - started, ended)
            seen.success.add(1.0, ended)
            self._new_prior()
        else:
            seen.latency.add_censored(ended - started, ended, self.prior)

    def _new_prior(self) -> None:
        values = [s.latency.value for s in self.seen.values() if s.latency.value is not None]
        self.prior = median(values)

    def explain(
        self, request: Request, endpoints: Sequence[Endpoint], now: float, /
    ) -> dict[str, Terms]:
        """Return the score of each with what it is made of, and who would be explored."""
        dice = Random()
        dice.setstate(self.rng.getstate())
        draw = dice.random()
        explored = self._explores(
            request, sorted(endpoints, key=lambda e: self.score(e, now)), now, draw
        )
        return {e.name: self._terms(e, now, draw, explored=e.name == explored) for e in endpoints}

    def _terms(self, endpoint: Endpoint, now: float, draw: float, *, explored: bool) -> Terms:
        seen = self._known(endpoint.name)
        latency = seen.latency.read(now, self.prior)
        reason = "" if seen.latency.count else "not measured yet, so taken to be as its peers"
        return Terms(
            reason="explored: nobody has looked for long" if explored else reason,
            score=self.score(endpoint, now),
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
        """Forget endpoints other than *names*."""
        self.seen = {name: seen for name, seen in self.seen.items() if name in names}
        self.turns.keep(set(names))

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
    measured, *gamma* how much failures weigh.
    """

    endpoints: Endpoints = field(converter=as_endpoints, repr=named)
    tau: float = field(default=10.0, kw_only=True, validator=validators.gt(0))
    prior: float = field(default=1.0, kw_only=True, validator=validators.gt(0))
    gamma: float = field(default=2.0, kw_only=True, validator=validators.ge(1))
    least: float = field(default=0.02, kw_only=True, repr=False, validator=validators.gt(0))
    explore: Exploration = field(factory=Exploration, kw_only=True, repr=False)
    rng: Random | None = field(default=None, kw_only=True, repr=False, eq=False)

    role: ClassVar[str] = "router"

    def __call__(self, inner: Service[Request, Any], /) -> RouterService:
        """Put the router above *inner*, which calls ``request.endpoint``."""
        picker = Fastest(self, self.rng or Random())
        return RouterService(the_set(self.endpoints), picker, inner, "latency_based")

    def bound(self, inner: Bound, /) -> Bound:
        """One endpoint is asked for each request."""
        return bound_of_endpoints(self.endpoints, inner)
