"""A hedge above routers: the second call goes elsewhere, and nobody learns wrong from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

import llmstack as ls
from llmstack import clock
from llmstack.call import Attempt
from llmstack.layers.hedge import Hedge, always
from llmstack.routers.eligibility import tiers
from llmstack.testing.scripted import ScriptedEvent, ScriptedSource, echo
from tests.racers import timed


ROUTERS: dict[str, Any] = {
    "round_robin": ls.RoundRobin,
    "weighted_random": ls.WeightedRandom,
    "fallback": ls.Fallback,
    "latency_based": ls.LatencyBased,
    "cost_based": ls.CostBased,
}


Makes = Callable[[list[ls.Endpoint]], ls.Layer]


class World:
    """Endpoints that answer after a second, until one of them is told to be slow or to fail."""

    def __init__(self, *names: str, accounts: Sequence[str] = ()) -> None:
        self.takes: dict[str, float] = {}
        self.fails: dict[str, ls.LLMStackError] = {}
        self.asked: list[str] = []
        self.late = False  # the first call from now on takes nine seconds, wherever it goes
        self.left: list[tuple[str, float]] = []
        self.sources: list[ScriptedSource] = []
        named = zip(names, accounts or [""] * len(names), strict=True)
        self.endpoints = [
            ls.Endpoint(name, self.service(name), price=ls.Price(1, 2), account=account)
            for name, account in named
        ]

    def service(self, name: str) -> Callable[[ls.Request], Any]:
        async def answer(request: ls.Request, /) -> ls.Reply:
            self.asked.append(name)
            late, self.late = self.late, False
            try:
                await asyncio.sleep(9.0 if late else self.takes.get(name, 1.0))
            except asyncio.CancelledError:
                self.left.append((name, clock.now()))
                raise
            if name in self.fails:
                raise self.fails[name]
            if not request.stream:
                return ls.Response(name.encode())
            self.sources.append(ScriptedSource([1.0, ScriptedEvent()]))
            return ls.EventStream(self.sources[-1], held=[ScriptedEvent(name.encode())])

        return answer

    def stack(self, router: Makes, *above: ls.Layer) -> Any:  # noqa: ANN401
        builder = ls.ServiceBuilder((*above, Hedge(hedgeable=always)), seed=1)
        builder = builder.layer(router(self.endpoints)).layer(ls.CircuitBreaker())
        return builder.layer(ls.ConcurrencyLimit(64)).service(ls.dispatch)


async def learnt(stack: Any, world: World, *, stream: bool = False) -> Any:  # noqa: ANN401
    """Make calls, one of them late, and forget who was asked."""

    async def one() -> None:
        reply = await stack(ls.Request("m", stream=stream))
        if stream:
            async with reply:
                _ = [event async for event in reply]

    async with asyncio.TaskGroup() as group:
        for n in range(40):
            world.late = n == 0
            group.create_task(one())
            await asyncio.sleep(0)
    world.asked.clear()
    return stack


@pytest.mark.parametrize("name", ROUTERS)
def test_p_he_7_the_second_call_goes_elsewhere(name: str) -> None:
    """P-HE-7, W-LL-32: no router asks the endpoint that is at work; the answer is the other's.

    The first call is over in the moment in which the answer is handed up.
    """
    world = World("eu", "us", "ap")
    stack = world.stack(ROUTERS[name])

    async def main() -> tuple[str, float, list[Attempt]]:
        await learnt(stack, world)
        world.late = True
        request, begun = ls.Request("m"), clock.now()
        reply = await stack(request)
        return reply.body.decode(), clock.now() - begun, request.call.attempts

    with capture_logs():
        (said, took, attempts), now = timed(main())

    assert (2, 2) == (len(world.asked), len(set(world.asked)))
    assert (world.asked[1], 1.98) == (said, round(took, 6))
    assert [(world.asked[0], now)] == world.left
    assert list(zip(world.asked, ["cancelled", "ok"], strict=True)) == [
        (a.endpoint, a.how) for a in attempts
    ]


@pytest.mark.parametrize("name", ROUTERS)
def test_p_he_7_where_there_is_nobody_else_nothing_is_sent(name: str) -> None:
    """P-HE-7: one endpoint is asked once, however late it is; and that costs no budget."""
    world = World("eu")
    stack = world.stack(ROUTERS[name])

    async def main() -> float:
        await learnt(stack, world)
        world.late = True
        begun = clock.now()
        await stack(ls.Request("m"))
        return clock.now() - begun

    with capture_logs() as logs:
        took, _ = timed(main())

    statistics = stack.statistics()["hedge"]
    assert (["eu"], 9.0, []) == (world.asked, took, logs)
    assert (0, 1) == (statistics["sent"], statistics["refused"])


def test_nobody_learns_wrong_from_the_loser() -> None:
    """It is cancelled: no success, no failure, nothing in flight; its time was no latency."""
    world = World("eu", "us")
    stack = world.stack(ls.LatencyBased)

    async def main() -> tuple[dict[str, Any], dict[str, Any]]:
        await learnt(stack, world)
        before = stack.statistics()["router"]
        world.late = True
        await stack(ls.Request("m"))
        return before, stack.statistics()["router"]

    with capture_logs():
        (before, after), _ = timed(main())

    first, _ = world.asked
    assert before[first]["success"] == after[first]["success"]
    assert before[first]["latency"] <= after[first]["latency"]
    assert {0} == {seen["pending"] for seen in after.values()}
    circuits, limits = (
        stack.statistics()["circuit_breaker"],
        stack.statistics()["concurrency_limit"],
    )
    assert {("closed", 0)} == {(each.state, each.in_flight) for each in circuits.values()}
    assert {0} == {permits.in_flight for permits in limits.values()}


def test_of_two_streams_the_first_content_wins() -> None:
    """The caller gets one whole answer, and the other source is never left open."""
    world = World("eu", "us")
    stack = world.stack(ls.RoundRobin)

    async def main() -> list[bytes]:
        await learnt(stack, world, stream=True)
        world.late = True
        async with await stack(ls.Request("m", stream=True)) as stream:
            return [event.data async for event in stream]

    with capture_logs():
        events, _ = timed(main())

    assert [world.asked[1].encode(), b"{}"] == events
    assert {1} == {source.closed for source in world.sources}


def test_retry_comes_back_when_both_have_failed() -> None:
    """To the one that is left; without one the last failure leaves, with all attempts."""

    async def main(world: World) -> object:
        stack = await learnt(world.stack(ls.RoundRobin, ls.Retry(attempts=2)), world)
        world.takes = {"a": 3.0, "b": 3.0}
        for name in ("a", "b"):
            world.fails[name] = ls.ServerError(name)
        try:
            return (await stack(ls.Request("m"))).body.decode()
        except ls.ServerError as error:
            return error.message, [(tried.endpoint, tried.error) for tried in error.attempts]

    with capture_logs():
        three, two = World("a", "b", "c"), World("a", "b")
        assert "c" == timed(main(three))[0]
        failed, _ = timed(main(two))

    tried = [(name, "ServerError") for name in two.asked]
    assert (two.asked[-1], tried) == failed
    assert set("ab") == set(two.asked)


def test_another_account_is_asked_first() -> None:
    """What makes one endpoint late may make all of its account late."""
    world = World("a1", "a2", "a3", "b1", accounts=["a", "a", "a", "b"])
    stack = world.stack(ls.Fallback)

    async def main() -> None:
        await learnt(stack, world)
        world.late = True
        await stack(ls.Request("m"))

    with capture_logs():
        timed(main())

    assert ["a1", "b1"] == world.asked


accounts = st.sampled_from(["", "a", "b"])
states = st.sampled_from(["fresh", "at work", "failed"])


@given(drawn=st.lists(st.tuples(accounts, states), max_size=6))
def test_accounts_that_are_at_work_come_last(drawn: list[tuple[str, str]]) -> None:
    """Of those that were not tried; in the given order otherwise, and nobody is lost."""
    fit = [ls.Endpoint(f"e{n}", echo, account=account) for n, (account, _) in enumerate(drawn)]
    tried = {
        f"e{n}": Attempt(f"e{n}", 0.0, ended=None if state == "at work" else 1.0)
        for n, (_, state) in enumerate(drawn)
        if state != "fresh"
    }
    late = {account for account, state in drawn if account and state == "at work"}

    found = [[endpoint.name for endpoint in tier] for tier in tiers(fit, tried, 5.0)]

    fresh = [
        (f"e{n}", account in late) for n, (account, state) in enumerate(drawn) if state == "fresh"
    ]
    first = [name for name, waits in fresh if not waits]
    then = [[name for name, waits in fresh if waits]] if late else []
    assert [first, *then, [], []] == found
