"""Routers that break one promise each, and two that keep all: what checks are checked with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from functools import partial
from itertools import count
from random import Random
from typing import Any, ClassVar

from attrs import define, field, frozen

import llmstack as ls
from llmstack.routers.picker import Picker
from llmstack.routers.plan import Terms
from llmstack.routers.router import RouterService


Makes = Callable[[list[ls.Endpoint]], ls.Layer]


@define(eq=False)
class InOrder:
    """A picker that is right: the endpoints as they are listed."""

    endpoints: Sequence[ls.Endpoint]

    def order(
        self, _request: ls.Request, endpoints: Sequence[ls.Endpoint], _now: float, /
    ) -> Iterator[ls.Endpoint]:
        yield from endpoints

    def settle(self, _endpoint: ls.Endpoint, _started: float, _outcome: ls.Outcome, /) -> None:
        """Learn nothing."""

    def explain(
        self, _request: ls.Request, endpoints: Sequence[ls.Endpoint], _now: float, /
    ) -> dict[str, Terms]:
        return {endpoint.name: Terms() for endpoint in endpoints}

    def keep(self, names: Collection[str], /) -> None:
        """Forget nothing."""

    def statistics(self) -> dict[str, Any]:
        return {}


class OnlyTheFirst(InOrder):
    """It knows of nobody else when that one refuses."""

    def order(
        self, _request: ls.Request, endpoints: Sequence[ls.Endpoint], _now: float, /
    ) -> Iterator[ls.Endpoint]:
        yield from endpoints[:1]


class Everybody(InOrder):
    """It goes by the list it was made with, and not by those who may be asked."""

    def order(
        self, _request: ls.Request, _endpoints: Sequence[ls.Endpoint], _now: float, /
    ) -> Iterator[ls.Endpoint]:
        yield from self.endpoints

    def explain(
        self, _request: ls.Request, _endpoints: Sequence[ls.Endpoint], _now: float, /
    ) -> dict[str, Terms]:
        return {endpoint.name: Terms() for endpoint in self.endpoints}


class TwiceEach(InOrder):
    """It insists by itself."""

    def order(
        self, _request: ls.Request, endpoints: Sequence[ls.Endpoint], _now: float, /
    ) -> Iterator[ls.Endpoint]:
        yield from [*endpoints, *endpoints]


class ByName(InOrder):
    """It prefers the front of the alphabet."""

    def order(
        self, _request: ls.Request, endpoints: Sequence[ls.Endpoint], _now: float, /
    ) -> Iterator[ls.Endpoint]:
        yield from sorted(endpoints, key=lambda endpoint: endpoint.name)


class Dicey(InOrder):
    """Its dice are seeded by nobody."""

    rng: ClassVar[Random] = Random()

    def order(
        self, _request: ls.Request, endpoints: Sequence[ls.Endpoint], _now: float, /
    ) -> Iterator[ls.Endpoint]:
        yield from self.rng.sample(list(endpoints), len(endpoints))


class Turning(InOrder):
    """Its turns are those of the class, so a plan takes one."""

    turns: ClassVar[count[int]] = count()

    def order(
        self, _request: ls.Request, endpoints: Sequence[ls.Endpoint], _now: float, /
    ) -> Iterator[ls.Endpoint]:
        first = next(self.turns) % max(1, len(endpoints))
        yield from [*endpoints[first:], *endpoints[:first]]


@define(eq=False)
class PlannedOtherwise(InOrder):
    """It looks at a plan as the chance to choose once more."""

    explained: bool = field(default=False, init=False)

    def order(
        self, _request: ls.Request, endpoints: Sequence[ls.Endpoint], _now: float, /
    ) -> Iterator[ls.Endpoint]:
        yield from reversed(endpoints) if self.explained else endpoints

    def explain(
        self, request: ls.Request, endpoints: Sequence[ls.Endpoint], now: float, /
    ) -> dict[str, Terms]:
        self.explained = True
        return super().explain(request, endpoints, now)


@define(eq=False)
class Crowded(InOrder):
    """It counts who is in flight, but forgets to count down those who were cancelled."""

    pending: dict[str, int] = field(factory=dict, init=False)

    def order(
        self, _request: ls.Request, endpoints: Sequence[ls.Endpoint], _now: float, /
    ) -> Iterator[ls.Endpoint]:
        for endpoint in endpoints:
            self.pending[endpoint.name] = self.pending.get(endpoint.name, 0) + 1
            yield endpoint

    def settle(self, endpoint: ls.Endpoint, _started: float, outcome: ls.Outcome, /) -> None:
        if outcome.how != "cancelled":
            self.pending[endpoint.name] -= 1

    def statistics(self) -> dict[str, Any]:
        return {name: {"pending": pending} for name, pending in self.pending.items()}


@frozen
class Picks:
    """A router layer around a picker."""

    endpoints: list[ls.Endpoint]
    picker: Callable[[Sequence[ls.Endpoint]], Picker]

    role: ClassVar[str] = "router"

    def __call__(self, inner: ls.Service[ls.Request, Any], /) -> RouterService:
        return RouterService(ls.EndpointSet(self.endpoints), self.picker(self.endpoints), inner)


def _settles_twice(router: RouterService, request: ls.Request) -> None:
    assert request.endpoint is not None
    router.picker.settle(request.endpoint, 0.0, ls.Outcome(0.0))


def _peeks_ahead(router: RouterService, request: ls.Request) -> None:
    next(router.picker.order(request, router.endpoints.enabled, 0.0))


@frozen
class Meddles:
    """A router layer that does something to its picker for each attempt."""

    endpoints: list[ls.Endpoint]
    does: Callable[[RouterService, ls.Request], None]

    def __call__(self, inner: ls.Service[ls.Request, Any], /) -> RouterService:
        async def meddled(request: ls.Request, /) -> object:
            self.does(router, request)
            return await inner(request)

        router = RouterService(ls.EndpointSet(self.endpoints), InOrder(self.endpoints), meddled)
        return router


settles_twice: Makes = partial(Meddles, does=_settles_twice)
peeks_ahead: Makes = partial(Meddles, does=_peeks_ahead)


def picks(picker: type[InOrder]) -> Makes:
    return partial(Picks, picker=picker)


Walks = Callable[
    [ls.Request, list[ls.Endpoint], ls.Service[ls.Request, Any]], Coroutine[Any, Any, object]
]


@frozen
class Own:
    """A router without the shell: it asks for itself."""

    endpoints: list[ls.Endpoint]
    walks: Walks

    def __call__(self, inner: ls.Service[ls.Request, Any], /) -> ls.Service[ls.Request, Any]:
        async def service(request: ls.Request, /) -> object:
            able = [e for e in self.endpoints if e.weight and e.model_for(request.model)]
            return await self.walks(request, able, inner)

        return service


async def asked(
    request: ls.Request,
    endpoint: ls.Endpoint,
    inner: ls.Service[ls.Request, Any],
    *,
    insists: bool = False,
) -> object:
    """Ask as the shell does, with an entry in the ledger."""
    attempt = ls.Attempt(endpoint.name, 0.0)
    request.call.begin(attempt)
    try:
        return await inner(request.to(endpoint, attempt, insists=insists))
    except ls.Refused:
        request.call.take_back(attempt)
        raise


async def walk(
    request: ls.Request, endpoints: list[ls.Endpoint], inner: ls.Service[ls.Request, Any]
) -> object:
    """Be right: those untried, then those who refused softly, then those who may be again."""
    tried = request.call.tried(None)
    new = [e for e in endpoints if e.name not in tried]
    again = [e for e in endpoints if e.name in tried and tried[e.name].again]
    for tier in (new, again):
        soft = []
        for endpoint in tier:
            try:
                return await settled(request, endpoint, inner)
            except ls.NotReady as refusal:
                soft += [endpoint] if refusal.soft else []
        for endpoint in soft:
            return await settled(request, endpoint, inner, insists=True)
    raise ls.NoEndpoint


async def settled(
    request: ls.Request,
    endpoint: ls.Endpoint,
    inner: ls.Service[ls.Request, Any],
    *,
    insists: bool = False,
) -> object:
    """Ask, and note in the ledger how it ended."""
    try:
        return await asked(request, endpoint, inner, insists=insists)
    except ls.UpstreamError as error:
        request.call.attempts[-1].settle(ls.Outcome.of(error, 0.0))
        raise


async def lets_refusals_through(
    request: ls.Request, endpoints: list[ls.Endpoint], inner: ls.Service[ls.Request, Any]
) -> object:
    """Ask the first one, and nobody else when it refuses."""
    first = next(iter(endpoints), None)
    return await (settled(request, first, inner) if first else walk(request, [], inner))


async def never_insists(
    request: ls.Request, endpoints: list[ls.Endpoint], inner: ls.Service[ls.Request, Any]
) -> object:
    """Take a soft refusal for a hard one."""
    tried = request.call.tried(None)
    for endpoint in sorted(endpoints, key=lambda e: e.name in tried):
        try:
            return await settled(request, endpoint, inner)
        except ls.NotReady:
            continue
    raise ls.NoEndpoint


async def forgets(
    request: ls.Request, endpoints: list[ls.Endpoint], inner: ls.Service[ls.Request, Any]
) -> object:
    """Be right, but for a call that comes back."""
    again = ls.Request(request.model, insists=request.insists)
    again.call.attempts = list(request.call.attempts)
    del request.call.attempts[:]
    return await walk(request, endpoints, inner)


async def keeps_no_ledger(
    request: ls.Request, endpoints: list[ls.Endpoint], inner: ls.Service[ls.Request, Any]
) -> object:
    """Ask behind the back of the call."""
    hidden = ls.Request(request.model)
    return await walk(hidden, endpoints, inner)


async def calls_a_failure_a_refusal(
    request: ls.Request, endpoints: list[ls.Endpoint], inner: ls.Service[ls.Request, Any]
) -> object:
    """Hide what has been sent."""
    try:
        return await walk(request, endpoints, inner)
    except ls.UpstreamError as error:
        raise ls.NoEndpoint from error


async def wraps_failures(
    request: ls.Request, endpoints: list[ls.Endpoint], inner: ls.Service[ls.Request, Any]
) -> object:
    """Raise an error of its own."""
    try:
        return await walk(request, endpoints, inner)
    except ls.UpstreamError as error:
        raise ls.ServerError("all is lost") from error


async def goes_on_after_bugs(
    request: ls.Request, endpoints: list[ls.Endpoint], inner: ls.Service[ls.Request, Any]
) -> object:
    """Try whether another endpoint has the same bug."""
    try:
        return await walk(request, endpoints, inner)
    except ZeroDivisionError:
        return await walk(request, endpoints, inner)


async def answers_for_others(
    request: ls.Request, endpoints: list[ls.Endpoint], inner: ls.Service[ls.Request, Any]
) -> object:
    """Say whose reply it would like to be."""
    await walk(request, endpoints, inner)
    return "nobody"


async def swallows_cancels(
    request: ls.Request, endpoints: list[ls.Endpoint], inner: ls.Service[ls.Request, Any]
) -> object:
    """Try again when the caller leaves."""
    try:
        return await walk(request, endpoints, inner)
    except asyncio.CancelledError:
        return await walk(request, endpoints, inner)


async def leaves_tasks(
    request: ls.Request, endpoints: list[ls.Endpoint], inner: ls.Service[ls.Request, Any]
) -> object:
    """Ask in a task that outlives the caller."""
    task = asyncio.ensure_future(walk(request, endpoints, inner))  # noqa: TID251
    task.add_done_callback(lambda task: task.cancelled() or task.exception())
    return await asyncio.shield(task)
