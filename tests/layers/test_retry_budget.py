"""What a retry takes out of a budget, and what an outage can cost with one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from llmstack import clock
from llmstack.builder import ServiceBuilder
from llmstack.endpoint import Endpoint
from llmstack.errors import (
    AuthFailed,
    BadRequest,
    ConnectionLost,
    LLMStackError,
    NoEndpoint,
    Overloaded,
)
from llmstack.estimators.retry_budget import RetryBudget, RetryBudgetStatistics
from llmstack.layers.retry import Retry
from llmstack.messages import Request, dispatch
from llmstack.routers.round_robin import RoundRobin
from llmstack.service import Service
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from llmstack.testing.scripted import ScriptedService, stream_of
from llmstack.testing.virtual import run_virtual


#: Grants one in ten seconds.
one: Final = partial(RetryBudget, 0, 0.1)


def played(retry: Retry, script: Sequence[object]) -> tuple[object, float, list[dict[str, Any]]]:
    """The end of a call, when it was, and what was told of it."""
    inner: ScriptedService[Request, Any] = ScriptedService(script)

    async def main() -> object:
        try:
            return await retry(inner)(Request())
        except LLMStackError as error:
            return error

    with capture_logs() as logs:
        end, elapsed = run_virtual(main())
    return end, elapsed, [dict(entry) for entry in logs]


def test_what_the_budget_refuses_ends_at_once() -> None:
    """With its failure, and one event; the wait would have been five seconds."""
    failures = [Overloaded(endpoint="eu", untried=1), Overloaded(endpoint="us", retry_after=5)]
    end, elapsed, logs = played(Retry(budget=one()), failures)

    assert (failures[-1], 0.0) == (end, elapsed)
    assert [
        ("retry.scheduled", 1, "eu", "Overloaded", 0.0),
        ("retry.over_budget", 2, "us", "Overloaded", None),
    ] == [(e["event"], e["attempt"], e["endpoint"], e["error"], e.get("wait")) for e in logs]
    assert {"warning"} == {entry["log_level"] for entry in logs}


def test_to_wait_for_a_gate_costs_nothing() -> None:
    """Before anything was sent no attempt is one more, so the strictest budget lets it wait."""
    nothing = RetryBudget(0, 0, least=0)
    end, elapsed, _ = played(Retry(budget=nothing), [NoEndpoint(ready_at=5), "ok"])

    assert ("ok", 5.0) == (end, elapsed)
    assert 0 == nothing.statistics().granted


@pytest.mark.parametrize(
    ("script", "end", "left"),
    [
        ([Overloaded(untried=1), "ok"], "ok", False),
        ([Overloaded(untried=1), BadRequest()], BadRequest, False),
        ([Overloaded(untried=1), ZeroDivisionError()], ZeroDivisionError, False),
        ([Overloaded(untried=1), NoEndpoint()], Overloaded, True),
        ([Overloaded(untried=1), NoEndpoint(ready_at=3), "ok"], "ok", False),
        ([Overloaded(untried=1), NoEndpoint(ready_at=3), NoEndpoint()], Overloaded, True),
        ([NoEndpoint(ready_at=3), Overloaded(untried=1), "ok"], "ok", False),
        (["ok"], "ok", True),
        ([BadRequest()], BadRequest, True),
    ],
)
def test_p_rt_9_only_what_was_sent_again_is_spent(
    script: list[Any], end: object, *, left: bool
) -> None:
    """P-RT-9: whoever was refused gives it back, and nothing stays out behind the call."""
    budget = one()

    async def main() -> tuple[object, bool]:
        try:
            reply: object = await Retry(budget=budget)(ScriptedService[Request, Any](script))(
                Request()
            )
        except Exception as error:  # noqa: BLE001 -- whatever the script has
            reply = type(error)
        stands = budget.statistics()
        assert (0, 0) == (stands.in_flight, stands.extra)
        return reply, budget.withdraw(clock.now()) is not None

    with capture_logs():
        assert (end, left) == run_virtual(main())[0]


def test_p_rt_9_a_cancel_at_any_step_conserves_the_budget() -> None:
    """P-RT-9: cancelled in the wait it is as it was; cancelled behind it, one is spent."""
    budgets: list[RetryBudget] = []
    sent: list[int] = []

    async def inner(_request: str, /) -> str:
        sent[-1] += 1
        await asyncio.sleep(1)
        raise Overloaded(retry_after=2)

    async def scenario() -> str:
        budgets.append(one())
        sent.append(0)
        return await Retry(attempts=2, budget=budgets[-1])(inner)("request")

    def check(_run: CancelledRun[str]) -> None:
        stands = budgets[-1].statistics()
        assert (0, 0) == (stands.in_flight, stands.extra)
        again = budgets[-1].withdraw(clock.now())
        assert (sent[-1] < 2) == (again is not None)

    with capture_logs():
        runs = cancelled_everywhere(scenario, check)

    assert {1, 2} == set(sent)
    assert "raised" == runs[0].ended


@given(
    script=st.lists(
        st.sampled_from([Overloaded, AuthFailed, BadRequest]).map(lambda kind: kind(untried=1)),
        max_size=3,
    )
)
def test_p_rt_6_with_nothing_to_spend_it_is_not_there(script: list[LLMStackError]) -> None:
    """P-RT-6: a failure leaves as it came, after one attempt."""
    bare: ScriptedService[Request, Any] = ScriptedService([*script, "ok"])
    below: ScriptedService[Request, Any] = ScriptedService([*script, "ok"])

    async def end(service: Service[Request, object]) -> object:
        try:
            return await service(Request())
        except LLMStackError as error:
            return error

    with capture_logs():
        expected, _ = run_virtual(end(bare))
        actual, _ = run_virtual(end(Retry(budget=RetryBudget(0, 0))(below)))

    assert expected is actual
    assert bare.calls[0][0] == below.calls[0][0]
    assert len(bare.calls) == len(below.calls)


def test_p_rt_5_an_answer_is_handed_up_as_it_is() -> None:
    """P-RT-5: the same object, asked for once; a stream has left, and is in flight no more."""

    async def main() -> None:
        stream = stream_of([])
        inner: ScriptedService[Request, Any] = ScriptedService([stream])
        service = Retry()(inner)
        reply = await service(Request())

        assert stream is reply
        assert {"budget": RetryBudgetStatistics(0, 0, 0, 0)} == service.statistics()
        await reply.aclose()

    run_virtual(main())


def test_p_rt_7_an_endpoint_that_was_tried_is_left_out() -> None:
    """P-RT-7: while there are others; the calls that are sent again go elsewhere."""
    asked: list[str] = []

    async def fails(request: Request, /) -> object:
        assert request.endpoint is not None
        asked.append(request.endpoint.name)
        raise ConnectionLost

    router = RoundRobin([Endpoint(name, fails) for name in "abc"])
    stack = ServiceBuilder(seed=1).layer(Retry(attempts=3)).layer(router).service(dispatch)

    with capture_logs(), pytest.raises(ConnectionLost) as raised:
        run_virtual(stack(Request()))

    assert ["a", "b", "c"] == sorted(asked)
    assert asked == [tried.endpoint for tried in raised.value.attempts]


def test_a_budget_is_its_own_or_the_one_it_was_given() -> None:
    """Two uses of a layer have nothing in common, unless they were given the same budget."""
    plain, shared = Retry(), Retry(budget=one())
    ends: list[str] = []

    async def main() -> None:
        for retry in (plain, shared):
            for _ in range(2):
                script = [Overloaded(untried=1), "ok"]
                with suppress(Overloaded):
                    ends.append(await retry(ScriptedService[Request, Any](script))(Request()))
            ends.append("then")

    with capture_logs():
        run_virtual(main())

    assert ["ok", "ok", "then", "ok", "then"] == ends


def test_the_stack_says_how_the_budget_stands() -> None:
    """By the role of the layer."""
    inner: ScriptedService[Request, Any] = ScriptedService([Overloaded(untried=1)] * 2)
    stack = ServiceBuilder(seed=1).layer(Retry(budget=one())).service(inner)

    with capture_logs(), suppress(Overloaded):
        run_virtual(stack(Request()))

    assert {"retry": {"budget": RetryBudgetStatistics(0, 0, 1, 1)}} == stack.statistics()


def test_a_call_is_left_by_the_layer_that_entered_it() -> None:
    """Of two with one budget the upper one: the call is in flight in each of its attempts."""
    budget = RetryBudget.unlimited()
    seen: list[int] = []

    async def inner(_request: Request, /) -> str:
        seen.append(budget.statistics().in_flight)
        raise ConnectionLost(untried=1)

    twice = Retry(attempts=2, budget=budget)
    with capture_logs(), suppress(ConnectionLost):
        run_virtual(twice(twice(inner))(Request()))

    assert [1, 1, 1, 1] == seen
    assert 0 == budget.statistics().in_flight
