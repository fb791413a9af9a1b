"""What tests of routers share: endpoints that act, and a picker that keeps accounts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import define, field

from llmstack.call import Outcome
from llmstack.endpoint import Endpoint
from llmstack.errors import (
    AuthFailed,
    BadRequest,
    CircuitOpen,
    ConcurrencyFull,
    LLMStackError,
    Overloaded,
    RateLimited,
    ServerError,
    Shed,
)
from llmstack.messages import Request
from llmstack.routers.fallback import Fallback
from llmstack.routers.picker import Picker
from llmstack.routers.plan import Terms
from llmstack.routers.round_robin import RoundRobin
from llmstack.routers.router import RouterService
from llmstack.routers.weighted_random import WeightedRandom
from llmstack.testing.scripted import echo


__all__ = [
    "ERRORS",
    "ROUTERS",
    "Account",
    "Actors",
    "Ranked",
    "Router",
    "error_of",
    "listed",
    "outcome_of",
]

Router = RoundRobin | WeightedRandom | Fallback

ROUTERS: Final[tuple[type[Router], ...]] = (RoundRobin, WeightedRandom, Fallback)

#: What an endpoint may do instead of answering "ok" with its name.
ERRORS: Final[Mapping[str, Callable[[], Exception]]] = {
    "soft": lambda: CircuitOpen("ramping up", soft=True, ready_at=40.0),
    "hard": lambda: ConcurrencyFull("full"),
    "open": lambda: CircuitOpen("open", ready_at=20.0),
    "shed": lambda: Shed("shed"),
    "fail": lambda: ServerError("fail"),
    "busy": lambda: Overloaded("busy", retry_after=3.0),
    "limited": lambda: RateLimited("limited", retry_after=30.0),
    "auth": lambda: AuthFailed("auth"),
    "fault": lambda: BadRequest("fault"),
    "bug": lambda: ZeroDivisionError("bug"),
}


def error_of(act: str) -> Exception:
    """A new error for what an endpoint does."""
    return ERRORS[act]()


def listed(weights: Iterable[float]) -> list[Endpoint]:
    """Endpoints named a, b, c and so on, with those weights."""
    return [Endpoint(chr(ord("a") + n), echo, weight) for n, weight in enumerate(weights)]


@define(eq=False)
class Actors:
    """Below a router: answers with the endpoint's name, or acts as told.

    *acts* says what an endpoint does, *insisted* what it does to who insists.
    """

    acts: Mapping[str, str] = field(factory=dict)
    insisted: Mapping[str, str] = field(factory=dict)
    delay: float = 0.0
    asked: list[tuple[str, bool]] = field(factory=list, init=False)

    async def __call__(self, request: Request, /) -> object:
        assert request.endpoint is not None
        name = request.endpoint.name
        self.asked.append((name, request.insists))
        if self.delay:
            await asyncio.sleep(self.delay)
        act = (self.insisted if request.insists else self.acts).get(name, "ok")
        if act != "ok":
            raise error_of(act)
        return name


@define(eq=False)
class Ranked:
    """A picker without a mind of its own: the order of *names*."""

    names: Sequence[str]

    def order(
        self, _request: Request, endpoints: Sequence[Endpoint], _now: float, /
    ) -> Iterator[Endpoint]:
        yield from sorted(endpoints, key=lambda endpoint: self.names.index(endpoint.name))

    def settle(self, _endpoint: Endpoint, _started: float, _outcome: Outcome, /) -> None:
        """Learn nothing."""

    def explain(
        self, _request: Request, endpoints: Sequence[Endpoint], _now: float, /
    ) -> dict[str, Terms]:
        return {endpoint.name: Terms() for endpoint in endpoints}

    def keep(self, names: Collection[str], /) -> None:
        """Forget nothing."""

    def statistics(self) -> dict[str, Any]:
        return {"order": list(self.names)}


@define(eq=False)
class Account:
    """Around any picker: what was yielded, what was undone, what was settled and how."""

    picker: Picker
    yielded: list[str] = field(factory=list, init=False)
    undone: list[str] = field(factory=list, init=False)
    settled: list[tuple[str, str]] = field(factory=list, init=False)
    kept: list[set[str]] = field(factory=list, init=False)

    @classmethod
    def of(cls, router: RouterService) -> Account:
        """Put an account between *router* and its picker."""
        account = router.picker = cls(router.picker)
        return account

    @property
    def pending(self) -> list[str]:
        """Those that have been yielded and not settled; an error if one was settled twice."""
        left = list(self.yielded)
        for name, _ in self.settled:
            left.remove(name)
        return left

    def order(
        self, request: Request, endpoints: Sequence[Endpoint], now: float, /
    ) -> Iterator[Endpoint]:
        for endpoint in self.picker.order(request, endpoints, now):
            self.yielded.append(endpoint.name)
            yield endpoint
            self.undone.append(endpoint.name)

    def settle(self, endpoint: Endpoint, started: float, outcome: Outcome, /) -> None:
        self.settled.append((endpoint.name, outcome.how))
        self.picker.settle(endpoint, started, outcome)

    def explain(
        self, request: Request, endpoints: Sequence[Endpoint], now: float, /
    ) -> dict[str, Terms]:
        return self.picker.explain(request, endpoints, now)

    def keep(self, names: Collection[str], /) -> None:
        self.kept.append(set(names))
        self.picker.keep(names)

    def statistics(self) -> dict[str, Any]:
        return self.picker.statistics()


async def outcome_of(router: RouterService, request: Request) -> object:
    """The reply, or the error that came instead."""
    try:
        return await router(request)
    except (LLMStackError, ZeroDivisionError) as error:
        return error
