"""Callers who wait until somebody is ready: one after another, so that they are no spike."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest
from structlog.testing import capture_logs

import llmstack as ls
from llmstack import clock
from llmstack.estimators.retry_budget import RetryBudget
from llmstack.layers.deadline import Deadline
from llmstack.layers.retry import Retry
from llmstack.testing.virtual import run_virtual


OPENS: Final = 100.0


def waiting(calls: int, *, rate: float, seconds: float, budget: RetryBudget) -> list[float]:
    """When those are sent who are refused until second 100; so many come at once before it.

    Before them others came at a *rate*, for longer than the budget remembers.
    """
    sent: list[float] = []

    async def inner(request: ls.Request) -> str:
        if request.model == "waits":
            if clock.now() < OPENS:
                raise ls.NoEndpoint(ready_at=OPENS)
            sent.append(clock.now())
        return "ok"

    async def main() -> None:
        stack = ls.ServiceBuilder().layer(Deadline(seconds)).layer(Retry(budget=budget))
        service = stack.service(inner)
        while clock.now() < OPENS - 5:
            await service(ls.Request("known"))
            await asyncio.sleep(1 / rate)
        await asyncio.gather(
            *(service(ls.Request("waits")) for _ in range(calls)), return_exceptions=True
        )

    with capture_logs():
        run_virtual(main())
    return sent


def test_one_who_waits_is_sent_when_somebody_is_ready() -> None:
    """Not a moment later."""
    assert [OPENS] == waiting(1, rate=1, seconds=30, budget=RetryBudget())


@pytest.mark.parametrize(("rate", "gap"), [(1, 1.0), (10, 1.0), (20, 0.5), (50, 0.2)])
def test_those_who_wait_for_one_moment_go_one_after_another(rate: float, gap: float) -> None:
    """At half the pace of what may be sent again: a tenth of the calls; or at that of the floor."""
    sent = waiting(5, rate=rate, seconds=30, budget=RetryBudget())

    assert 5 == len(sent)
    for n, at in enumerate(sent):
        assert pytest.approx(OPENS + n * gap, abs=0.1 * n * gap) == at


def test_those_whose_turn_would_be_too_late_do_not_wait() -> None:
    """The deadline holds the first few, one a second; the others fail at once."""
    sent = waiting(100, rate=1, seconds=9, budget=RetryBudget())

    assert [100, 101, 102, 103] == sent[:4] == sent


def test_turns_cost_nothing() -> None:
    """Nobody sent anything twice."""
    budget = RetryBudget()
    waiting(5, rate=1, seconds=30, budget=budget)

    assert 0 == budget.statistics().granted


def test_a_budget_without_limits_lets_all_go_at_once() -> None:
    """And one that grants nothing lets one go."""
    unlimited = waiting(5, rate=1, seconds=30, budget=RetryBudget.unlimited())
    nothing = waiting(5, rate=1, seconds=30, budget=RetryBudget(0.0, 0.0))

    assert [OPENS] * 5 == unlimited
    assert [OPENS] == nothing


@pytest.mark.parametrize(("untried", "answered"), [(1, 40), (0, 10)])
def test_who_goes_elsewhere_is_not_held_to_the_share_in_flight(untried: int, answered: int) -> None:
    """Forty calls that fail at once, with somebody else left: all are asked again; else ten."""

    async def inner(request: ls.Request) -> str:
        await asyncio.sleep(1)
        if not request.call.attempts:
            request.call.attempts.append(ls.Attempt("a", 0.0))
            raise ls.ConnectionLost(untried=untried)
        return "ok"

    async def main() -> int:
        service = ls.ServiceBuilder().layer(Retry(budget=RetryBudget(ratio=1.0))).service(inner)
        said = await asyncio.gather(
            *(service(ls.Request()) for _ in range(40)), return_exceptions=True
        )
        return said.count("ok")

    with capture_logs():
        assert answered == run_virtual(main())[0]


def test_a_crowd_that_leaves_takes_no_turns_along() -> None:
    """Forty wait, one a second, and are cancelled; whoever comes then is the first."""
    sent: list[float] = []

    async def inner(_request: ls.Request) -> str:
        if clock.now() < OPENS:
            raise ls.NoEndpoint(ready_at=OPENS)
        sent.append(clock.now())
        return "ok"

    async def main() -> None:
        service = ls.ServiceBuilder().layer(Retry()).service(inner)
        await asyncio.sleep(OPENS - 9.0)
        crowd = [asyncio.get_running_loop().create_task(service(ls.Request())) for _ in range(40)]
        await asyncio.sleep(1.0)
        for each in crowd:
            each.cancel()
        await asyncio.wait(crowd)
        await service(ls.Request())

    with capture_logs():
        run_virtual(main())

    assert [OPENS] == sent
