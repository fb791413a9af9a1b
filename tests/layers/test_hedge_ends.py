"""Nothing is left of a hedged call, whatever becomes of it, and it makes the slowest faster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

import llmstack as ls
from llmstack import clock
from llmstack.call import Outcome
from llmstack.layers.hedge import Hedge, always
from llmstack.service import observe
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from llmstack.testing.check import check_layer
from tests.layers.hedged import Line, Plan, over
from tests.racers import timed


def hot() -> Hedge:
    """Return a hedge that sends every other call twice, as soon as it has seen one."""
    return Hedge(hedgeable=always, share=0.5, samples=1, spread=1.0)


@pytest.mark.parametrize("make", [hot, lambda: Hedge(hedgeable=always)], ids=["hot", "cold"])
def test_keeps_what_every_layer_promises(make: Callable[[], Hedge]) -> None:
    """One end a call, uses apart, bugs and replies untouched, and every cancel survived."""
    with capture_logs():
        check_layer(make, examples=20)


ACTS = ("ok", "stream", "busy", "full", "bug")


@pytest.mark.parametrize("second", ACTS)
@pytest.mark.parametrize("first", ACTS)
def test_p_he_4_a_cancel_at_any_step_leaves_nothing(first: str, second: str) -> None:
    """P-HE-4: no call is out, no stream open, nothing in a budget, and the end is told once."""
    ends: list[Outcome] = []
    made: list[tuple[Plan, Any]] = []

    def scenario() -> Coroutine[Any, Any, object]:
        plan = Plan([("ok", 1.0)])
        made.append((plan, over(plan, hot())))
        ends.clear()
        return call()

    async def call() -> object:
        plan, service = made[-1]
        await service("any")
        plan.lines.extend([(first, 3.0), (second, 1.5)])
        try:
            reply = await observe(service, "any", ends.append)
            if isinstance(reply, ls.EventStream):
                return [event async for event in reply]
        except (ls.LLMStackError, ZeroDivisionError) as error:
            return error
        return reply

    async def check(run: CancelledRun[object]) -> None:
        plan, service = made[-1]
        counts, budget = service.counts, service.budgets[0].statistics()
        assert (0, ()) == (plan.out, run.left)
        assert {1} >= {source.closed for source in plan.sources}
        assert (0, 0) == (budget.in_flight, budget.extra)
        assert counts.sent + counts.refused == budget.granted
        assert counts.sent == counts.won + counts.lost + counts.failed
        assert 1 == len(ends) or 1 >= len(plan.asked)
        plan.lines.clear()
        assert str(await service("any")).startswith("ok")

    with capture_logs():
        runs = cancelled_everywhere(scenario, check)

    assert "returned" == runs[0].ended
    assert {"cancelled"} == {run.ended for run in runs[1:]}


callers = st.tuples(
    st.sampled_from([0.0, 0.5, 1.0]),  # comes so much later than the one before
    st.sampled_from([None, None, 0.5, 2.0]),  # and stays for so long
)
lines = st.tuples(st.sampled_from(ACTS), st.sampled_from([0.0, 0.5, 1.0, 4.0]))


@given(script=st.lists(lines, max_size=30), crowd=st.lists(callers, min_size=1, max_size=15))
def test_p_he_4_nor_does_a_crowd(
    script: list[Line], crowd: list[tuple[float, float | None]]
) -> None:
    """P-HE-4: whatever order calls end in, and whoever leaves meanwhile."""
    plan = Plan([("ok", 1.0), *script])
    service = over(plan, hot())

    async def one(stays: float | None) -> None:
        try:
            async with asyncio.timeout(stays):
                reply = await service("any")
                if isinstance(reply, ls.EventStream):
                    await reply.aclose()
        except (ls.LLMStackError, ZeroDivisionError, TimeoutError):
            pass

    async def main() -> None:
        await one(None)
        async with asyncio.TaskGroup() as group:
            for later, stays in crowd:
                await asyncio.sleep(later)
                group.create_task(one(stays))

    with capture_logs():
        timed(main())

    statistics = service.budgets[0].statistics()
    counts = service.counts
    assert (0, 0, 0) == (plan.out, statistics.in_flight, statistics.extra)
    assert {1} >= {source.closed for source in plan.sources}
    assert len(plan.asked) <= 1 + len(crowd) + counts.sent + counts.refused
    assert counts.sent == counts.won + counts.lost + counts.failed


def percentile(took: list[float], share: float) -> float:
    return sorted(took)[int(len(took) * share)]


def stragglers(layer: Hedge, *, share: float = 0.02, calls: int = 3000) -> tuple[float, int]:
    """Return the 99th percentile of traffic in which some answers take ten times as long."""
    dice, arrivals = Random(1), Random(2)
    took: list[float] = []
    sent = 0

    async def endpoint(_request: ls.Request, /) -> ls.Response:
        nonlocal sent
        sent += 1
        slow = 10.0 if dice.random() < share else 1.0
        await asyncio.sleep(dice.lognormvariate(0.0, 0.5) * slow)
        return ls.Response(b"{}")

    stack = (
        ls.ServiceBuilder(seed=1)
        .layer(layer)
        .layer(ls.RoundRobin([ls.Endpoint(name, endpoint) for name in ("eu", "us", "ap")]))
        .service(ls.dispatch)
    )

    async def one() -> None:
        begun = clock.now()
        await stack(ls.Request("m"))
        took.append(clock.now() - begun)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(calls):
                group.create_task(one())
                await asyncio.sleep(arrivals.expovariate(20.0))

    with capture_logs():
        timed(main())
    return percentile(took, 0.99), sent


def test_stragglers_cost_no_more_than_the_share() -> None:
    """S14: of 2 % that take ten times as long, p99 falls to two fifths for 5 % more calls."""
    before, alone = stragglers(Hedge(hedgeable=always, share=0.0))
    after, sent = stragglers(Hedge(hedgeable=always))

    assert 3000 == alone
    assert after <= 0.4 * before
    assert 0.02 * 3000 < sent - alone <= 0.05 * 3000 + 1


def test_without_stragglers_nothing_is_sent_twice() -> None:
    """Where the slowest are only three times slower there is hardly anything to gain."""
    _, sent = stragglers(Hedge(hedgeable=always), share=0.0, calls=500)

    assert 500 == sent
