"""Two calls that race, in any order: one answer is handed up, and of the other nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, cast

import llmstack as ls
from llmstack import clock
from llmstack.call import Outcome
from llmstack.layers.hedge import HedgeService, always, by_shape
from llmstack.service import observe
from llmstack.testing import Explorer, ScriptedEvent, ScriptedSource
from llmstack.testing.interleaved import Scenario
from tests.races.tried import all_over, tried


#: How a call may end.
ACTS: Final = ("ok", "stream", "failed", "full", "bug")
#: When a call ends that is neither at once nor at the time when the second is sent.
LATE: Final = 5.0


class Bug(Exception):
    """An error that nobody knows."""


ERRORS: Final = {"bug": Bug, "failed": ls.Overloaded, "full": ls.ConcurrencyFull}


class Provider:
    """Below a hedge: ends each call as the explorer says, and keeps books of its own."""

    def __init__(self, explorer: Explorer, acts: Sequence[str] = ACTS) -> None:
        self.explorer, self.acts = explorer, acts
        self.budget = ls.RetryBudget()
        layer = ls.Hedge(hedgeable=always, budget=self.budget)
        service = layer(self.seen)
        assert isinstance(service, HedgeService)
        self.service = service
        self.request = ls.Request("m", {"messages": []})
        times = service.times(by_shape(self.request))
        for n in range(40):
            times.add(9.0 if n == 39 else 1.0, 0.0)
        wait = times.read(0.0)
        assert wait is not None
        self.delay = wait.delay
        self.begun = self.out = 0
        self.ended = 0.0
        self.said: dict[int, str] = {}
        self.ends: list[Outcome] = []
        self.sources: dict[int, ScriptedSource] = {}

    def seen(self, request: object, /) -> Any:  # noqa: ANN401 -- what a service gives
        return observe(self.answer, request, self.ends.append)

    async def answer(self, _request: object, /) -> object:
        self.begun += 1
        self.out += 1
        n = self.begun
        try:
            ends = self.explorer.choose(LATE, self.delay if n == 1 else 2 * LATE)
            await asyncio.sleep(ends - clock.now())
            act = self.explorer.choose(*self.acts)
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # it has something to put away
            raise
        finally:
            self.out -= 1
        self.said[n] = act
        self.ended = clock.now()
        if act in ERRORS:
            raise ERRORS[act]("as told")
        if act == "ok":
            return n
        self.sources[n] = ScriptedSource([ScriptedEvent()])
        return ls.EventStream(self.sources[n], held=[ScriptedEvent()])

    def open(self) -> list[int]:
        """The calls whose streams are open."""
        return [n for n, source in self.sources.items() if not source.closed]

    def check_counts(self, winner: int | None) -> None:
        """Raise `AssertionError` unless the budgets are conserved and all is told once."""
        counts = self.service.counts
        sent = self.begun == 2 and self.said.get(2) != "full"
        assert (sent, 0) == (counts.sent, counts.withheld)
        assert sent == counts.won + counts.lost + counts.failed
        assert (winner == 2) == counts.won
        assert counts.refused <= 1 - sent
        assert self.begun == len(self.ends)
        for budget in self.service.budgets:
            now = budget.statistics()
            assert (0, 0) == (now.in_flight, now.extra)
            assert sent + counts.refused == now.granted


def raced(*acts: str) -> Scenario:
    """A caller whose call is hedged."""

    async def scenario(explorer: Explorer) -> None:
        provider = Provider(explorer, acts or ACTS)
        calls: list[asyncio.Task[Any]] = []

        async def call() -> object:
            calls.append(cast("asyncio.Task[Any]", asyncio.current_task()))
            return await provider.service(provider.request)

        def check() -> None:
            assert provider.out <= 2
            if calls and calls[0].done():
                assert provider.out == 0, "the loser is awaited before anything is handed up"
                assert len(provider.open()) <= 1, "its stream is closed"

        explorer.always(check)
        (caller,) = await all_over([call()])
        winner = answer_of(caller, explorer, provider)
        assert provider.open() == ([winner] if winner in provider.sources else [])
        if winner in provider.sources:
            assert 2 == len([event async for event in caller.result()])

        assert all(source.closed == 1 for source in provider.sources.values())
        provider.check_counts(winner)

    return scenario


def answer_of(caller: asyncio.Task[Any], explorer: Explorer, provider: Provider) -> int | None:
    """Which call the answer is of, if there is one; it is the one that there should be."""
    assert caller.cancelled() == (caller in explorer.cancelled), "a cancel is never swallowed"
    if caller.cancelled():
        return None
    well = [n for n, act in provider.said.items() if act in {"ok", "stream"}]
    if caller.exception() is not None:
        # A bug of the first call leaves at once; else the last failure, and then a refusal.
        sent = [act for act in provider.said.values() if act != "full"] or ["full"]
        said = "bug" if provider.said[1] == "bug" else sent[-1]
        assert ERRORS[said] is type(caller.exception())
        return None
    reply = caller.result()
    source = getattr(reply, "source", None)
    winner: int = next((n for n, own in provider.sources.items() if own is source), reply)
    assert winner in well
    assert clock.now() == provider.ended, "the loser is cancelled, not waited for"
    assert caller.cancelling() == 0, "our own cancellation is taken back"
    return winner


def test_a_race_is_resolved_in_every_order() -> None:
    """All there are: one answer or the right error, the loser awaited and closed, told once."""
    explored = tried(raced("ok", "failed"), runs=1000, drawn=0, cancels=0)

    assert explored.complete


def test_a_race_that_somebody_leaves() -> None:
    """A cancel of the caller, of the second call, or of both, is never swallowed; nor is ours."""
    tried(raced(), runs=100, drawn=200, cancels=2)
