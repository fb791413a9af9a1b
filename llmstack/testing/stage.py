"""Endpoints that act as drawn, and accounts of what a router did with them.

What `check_router` stands on: a `Troupe` below the router, a `Books` around its picker, and
`play`, which puts a script of calls through both and writes down what happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, final

from attrs import define, field, frozen

from llmstack.builder import ServiceBuilder, Stack
from llmstack.call import Outcome
from llmstack.endpoint import Endpoint, Price
from llmstack.errors import (
    AuthFailed,
    BadRequest,
    CircuitOpen,
    ConcurrencyFull,
    LLMStackError,
    Overloaded,
    ServerError,
)
from llmstack.messages import Request
from llmstack.routers.picker import Picker
from llmstack.routers.plan import Terms
from llmstack.routers.router import RouterService
from llmstack.service import Layer
from llmstack.stream import EventStream
from llmstack.testing.drawn import hold
from llmstack.testing.scripted import ScriptedEvent, echo, stream_of
from llmstack.testing.virtual import end_others, left_behind


__all__ = [
    "ACTS",
    "MODEL",
    "Books",
    "Makes",
    "Place",
    "Seen",
    "Stage",
    "Troupe",
    "Turn",
    "check_alone",
    "still_out",
]

Makes = Callable[[list[Endpoint]], Layer]

MODEL: Final = "m"

#: What an endpoint may do instead of answering; "soft" is over for a request that insists.
ACTS: Final[Mapping[str, Callable[[], Exception]]] = MappingProxyType(
    {
        "soft": lambda: CircuitOpen("as drawn", soft=True),
        "hard": lambda: ConcurrencyFull("as drawn"),
        "busy": lambda: Overloaded("as drawn"),
        "broken": lambda: ServerError("as drawn"),
        "auth": lambda: AuthFailed("as drawn"),
        "fault": lambda: BadRequest("as drawn"),
        "bug": lambda: ZeroDivisionError("as drawn"),
    }
)


@final
@frozen
class Place:
    """An endpoint as drawn; *serves* is whether it has the model."""

    weight: float
    price: Price | None
    serves: bool

    @property
    def fit(self) -> bool:
        """Whether it may be asked at all."""
        return self.serves and self.weight > 0

    def endpoint(self, name: str) -> Endpoint:
        """Return it under *name*."""
        models = None if self.serves else {"another": "another"}
        return Endpoint(name, echo, self.weight, models=models, price=self.price)


@final
@frozen
class Turn:
    """One call: what each endpoint does by its place, and the seconds before the next call."""

    acts: tuple[str, ...]
    pause: float = 0.0


@final
@define(eq=False)
class Books:
    """Around a picker: what it has yielded and was not told the end of yet."""

    picker: Picker
    open: list[str] = field(factory=list, init=False)
    wrong: list[str] = field(factory=list, init=False)

    def order(
        self, request: Request, endpoints: Sequence[Endpoint], now: float, /
    ) -> Iterator[Endpoint]:
        """Yield what the picker yields, and book it."""
        for endpoint in self.picker.order(request, endpoints, now):
            self.open.append(endpoint.name)
            yield endpoint

    def settle(self, endpoint: Endpoint, started: float, outcome: Outcome, /) -> None:
        """Close the booking; one that is not there is wrong."""
        if endpoint.name in self.open:
            self.open.remove(endpoint.name)
        else:
            self.wrong.append(f"{endpoint.name} was settled more often than chosen")
        self.picker.settle(endpoint, started, outcome)

    def explain(
        self, request: Request, endpoints: Sequence[Endpoint], now: float, /
    ) -> dict[str, Terms]:
        """Ask the picker."""
        return self.picker.explain(request, endpoints, now)

    def keep(self, names: Collection[str], /) -> None:
        """Tell the picker."""
        self.picker.keep(names)

    def statistics(self) -> dict[str, Any]:
        """Ask the picker."""
        return self.picker.statistics()


@final
@define(eq=False)
class Troupe:
    """Below the router: each endpoint does what the turn says, after *delay* seconds."""

    names: Sequence[str]
    delay: float = 0.0
    turn: Turn = field(default=Turn(()), init=False)
    asked: list[tuple[str, bool]] = field(factory=list, init=False)
    raised: list[Exception] = field(factory=list, init=False)

    async def __call__(self, request: Request, /) -> object:
        """Act."""
        endpoint = request.endpoint
        name = "" if endpoint is None else endpoint.name
        self.asked.append((name, request.insists))
        if self.delay:
            await asyncio.sleep(self.delay)
        act = self.turn.acts[self.names.index(name)] if name in self.names else "ok"
        if act == "soft" and request.insists:
            act = "ok"
        if act in ACTS:
            self.raised.append(ACTS[act]())
            raise self.raised[-1]
        return stream_of([self.delay, ScriptedEvent()]) if request.stream else name


@final
@frozen
class Seen:
    """What became of one call; names of endpoints, each with whether the router insisted."""

    asked: tuple[tuple[str, bool], ...]
    raised: tuple[Exception, ...]
    outcome: object
    planned: tuple[str, ...] | None
    ledger: tuple[str, ...]


@final
@define(eq=False)
class Stage:
    """A router over endpoints, ready to be called."""

    make: Makes
    places: Sequence[Place]
    names: Sequence[str]
    seed: int
    delay: float = 0.0
    troupe: Troupe = field(init=False)
    stack: Stack[Request, Any] = field(init=False)
    books: Books | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.troupe = Troupe(self.names, self.delay)
        endpoints = [p.endpoint(name) for p, name in zip(self.places, self.names, strict=False)]
        layer = self.make(endpoints)
        self.stack = ServiceBuilder(seed=self.seed).layer(layer).service(self.troupe)
        router = self.stack.services[0]
        if isinstance(router, RouterService):
            self.books = router.picker = Books(router.picker)

    def plan(self, request: Request) -> tuple[str, ...] | None:
        """Return the names in the order of the router's plan; None if it makes none."""
        plan = getattr(self.stack.services[0], "plan", None)
        return None if plan is None else plan(request).order

    def check_books(self) -> None:
        """Raise `AssertionError` unless each choice was settled once."""
        if self.books is not None:
            wrong = [*self.books.wrong, *(f"{name} was never settled" for name in self.books.open)]
            hold(not wrong, f"each choice is settled once: {', '.join(wrong)}")

    async def call(self, turn: Turn, request: Request | None = None, *, plans: bool = True) -> Seen:
        """Send a request while the endpoints do as *turn* says."""
        request = request or Request(MODEL)
        troupe = self.troupe
        troupe.turn, troupe.asked, troupe.raised = turn, [], []
        planned = self.plan(request) if plans else None
        outcome: object
        try:
            outcome = await self.stack(request)
        except (LLMStackError, ZeroDivisionError) as error:
            outcome = error.with_traceback(None)
        ledger = tuple(attempt.endpoint for attempt in request.call.attempts)
        return Seen(tuple(troupe.asked), tuple(troupe.raised), outcome, planned, ledger)

    async def crowd(self, turn: Turn, many: int) -> None:
        """Send so many requests at once: some leave, some close their stream, some drop it."""
        self.troupe.turn = turn
        calls = [
            asyncio.ensure_future(self._streamed(n))  # noqa: TID251 -- gathered below
            for n in range(many)
        ]
        await asyncio.sleep(self.delay / 2)
        for call in calls[::4]:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    async def _streamed(self, n: int) -> None:
        reply = await self.stack(Request(MODEL, stream=n % 2 == 0))
        if isinstance(reply, EventStream) and n % 3 == 0:
            await reply.aclose()
        elif isinstance(reply, EventStream) and n % 3 == 1:
            async for _ in reply:
                pass


async def check_alone() -> None:
    """Raise `AssertionError` if any other task is left; end them all."""
    left = await left_behind()
    await end_others()
    hold(not left, f"no task is left behind: {left}")


def still_out(statistics: Mapping[Any, Any]) -> int:
    """Return how many calls are in flight, as far as *statistics* of a layer say it."""
    return sum(
        each.get("pending", 0) if isinstance(each, Mapping) else getattr(each, "in_flight", 0)
        for each in statistics.values()
    )
