"""Whom a router may ask for one request, in which rounds, and whom it has left.

First those that the call has not tried; when all of them refuse, those of them that did so
softly once more, with a request that insists; then those that may be asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Final

from attrs import define, evolve, field

from llmstack import clock
from llmstack.call import Attempt, Outcome
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import NotReady
from llmstack.messages import Request
from llmstack.routers.eligibility import is_plain, tiers, unfit, untried
from llmstack.routers.picker import Picker
from llmstack.routers.walk import Walk


__all__ = ["Agenda", "Bars"]

#: Why not to ask an endpoint now, empty if it may be; and whether this walk goes on from another.
Bars = Callable[[Request, Endpoint, bool], str]

_NOBODY: Final[Mapping[str, Attempt]] = MappingProxyType({})


@define(eq=False)
class Agenda:
    """The endpoints of a router, which is made of this, and the picker that orders them."""

    endpoints: EndpointSet
    picker: Picker
    bars: Bars | None = field(default=None, kw_only=True)
    _known: tuple[Endpoint, ...] = field(default=(), init=False)
    _plain: bool = field(default=False, init=False)

    def walk(self, request: Request, walk: Walk) -> Iterator[tuple[Endpoint, bool]]:
        """Yield whom to ask now, and whether to insist; the caller enters how that ended."""
        enabled = self.endpoints.enabled
        known = request.call.tried(self) if request.call.attempts else _NOBODY
        back = self.bars is not None and bool(known)
        rounds = self.rounds(request, walk.refusals)
        for tier, insisting in chain(rounds, self._late(request, walk)) if back else rounds:
            asks = evolve(request, insists=True) if insisting else request
            for endpoint in self.picker.order(asks, tier, clock.now()):
                there = self.endpoints.enabled is enabled or self._is_there(endpoint)
                # A hedge walks at the same time: whom that has asked meanwhile is not asked here.
                if request.call.attempts:
                    then, now = known, request.call.tried(self)
                    there = there and then.get(endpoint.name) is now.get(endpoint.name)
                if there and not self.barred(request, endpoint, walks=walk.asked > 0):
                    yield endpoint, insisting
                else:  # gone meanwhile, or not for this: give back what was booked
                    at = clock.now()
                    self.picker.settle(endpoint, at, Outcome(at, "refused"))

    def rounds(
        self, request: Request, refusals: dict[str, NotReady]
    ) -> Iterator[tuple[list[Endpoint], bool]]:
        """Yield whom to ask, and whether to insist.

        One tier after the other, as long as all refuse. Of each, those that refused softly
        are asked once more; but a router inside a group leaves it to the outermost one to
        insist, and nobody insists on a call that could be done without.
        """
        fit = self.fit(request)
        tried = request.call.tried(self) if request.call.attempts else _NOBODY
        presses = request.attempt is None and all(a.ended is not None for a in tried.values())
        for tier in tiers(fit, tried, clock.now()) if tried else (fit,):
            if tier:
                yield tier, False
            soft = [e for e in tier if e.name in refusals and refusals[e.name].soft]
            if soft and presses:
                yield soft, True

    def _late(self, request: Request, walk: Walk) -> Iterator[tuple[list[Endpoint], bool]]:
        """Yield those who were barred when a retry came back, before the tried were asked."""
        done = {*request.call.tried(self), *walk.refusals}
        yield [e for e in self.fit(request) if e.name not in done], False

    def barred(self, request: Request, endpoint: Endpoint, *, walks: bool = False) -> str:
        """Return why an endpoint that is fit is not asked now, in words; empty if it may be."""
        return "" if self.bars is None else self.bars(request, endpoint, walks)

    def unfit(self, request: Request, endpoint: Endpoint) -> str:
        """Return why *endpoint* is not asked, in words; empty if it may be."""
        return unfit(request, endpoint) or self.barred(request, endpoint)

    def _is_there(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint takes traffic still."""
        return any(endpoint.name == there.name for there in self.endpoints.enabled)

    def fit(self, request: Request) -> list[Endpoint]:
        """Return the endpoints that can serve *request*."""
        endpoints = self.endpoints.enabled
        if endpoints is not self._known:
            self.picker.keep({endpoint.name for endpoint in self.endpoints})
            self._plain = all(map(is_plain, endpoints))
            self._known = endpoints
        if self._plain and not request.tags:
            return list(endpoints)
        return [endpoint for endpoint in endpoints if not unfit(request, endpoint)]

    def left(self, request: Request, refusals: dict[str, NotReady]) -> int:
        """Return how many endpoints are left for a retry."""
        hard = [name for name, refusal in refusals.items() if not refusal.soft]
        fit = [each for each in self.fit(request) if not self.barred(request, each)]
        return untried(fit, request.call.tried(self), hard)
