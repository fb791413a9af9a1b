"""A whole stack in any order: whatever its callers do, all that was taken is given back."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import llmstack as ls
from llmstack.call import Outcome
from llmstack.layers.hedge import HedgeService, always, by_shape
from llmstack.service import observe
from llmstack.testing import Explorer, ScriptedEvent, echo, stream_of
from tests.races.tried import all_over, tried


ERRORS: Final = {"failed": ls.ServerError, "busy": ls.RateLimited, "key": ls.AuthFailed}
ACTS: Final = (*ERRORS, "ok", "stream", "late")


class Provider:
    """Below everything: ends each call as the explorer says, and counts what is in flight."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self.endpoints = [ls.Endpoint(name, echo, key=name) for name in ("eu", "us")]
        self.budget = ls.RetryBudget()
        self.stack = (
            ls.ServiceBuilder(seed=1)
            .layer(ls.Deadline(20.0))
            .layer(ls.Retry(base=0.1, budget=self.budget))
            .layer(ls.Hedge(hedgeable=always, share=1.0, budget=self.budget))
            .layer(ls.RoundRobin(self.endpoints))
            .layer(ls.CircuitBreaker(ls.ConsecutiveFailures(1), ramp=0))
            .layer(ls.Cooldown())
            .layer(ls.ConcurrencyLimit(2))
            .layer(ls.Timeout(first_token=3.0))
            .service(self.seen)
        )
        self.limits = self.stack["concurrency_limit"]
        self.open: dict[str, int] = {"eu": 0, "us": 0}
        self.told = 0
        self.begun = 0
        self.calls: list[ls.Call] = []
        times = self.stack.find(HedgeService).times(by_shape(self.request()))
        for n in range(40):
            times.add(1.0 if n % 4 else 9.0, 0.0)

    def request(self) -> ls.Request:
        call = ls.Call()
        self.calls.append(call)
        return ls.Request("m", {"messages": []}, call=call)

    async def seen(self, request: ls.Request, /) -> object:
        assert request.endpoint is not None
        name = request.endpoint.name
        self.begun += 1
        self.open[name] += 1

        def end(_outcome: Outcome) -> None:
            self.told += 1
            self.open[name] -= 1

        return await observe(self.answer, request, end)

    async def answer(self, _request: ls.Request, /) -> object:
        act = self.explorer.choose(*ACTS)
        await asyncio.sleep(9.0 if act == "late" else 0.0)
        if act in ERRORS:
            raise ERRORS[act]("as told")
        return stream_of([0.0, ScriptedEvent()]) if act == "stream" else act

    async def call(self) -> None:
        try:
            reply: Any = await self.stack(self.request())
            if isinstance(reply, ls.EventStream):
                async with reply:
                    await anext(reply)
                    await anext(reply)
        except ls.LLMStackError:
            return

    def check(self) -> None:
        for name, limit in self.limits.statistics().items():
            assert self.open[name] == limit.in_flight <= 2


async def busy(explorer: Explorer) -> None:
    """Three callers at once; when they have gone, nothing is out."""
    provider = Provider(explorer)
    explorer.always(provider.check)
    await all_over(provider.call() for _ in range(3))
    provider.check()
    budget = provider.budget.statistics()
    said = provider.stack.statistics()

    assert provider.begun == provider.told
    assert {0} == set(provider.open.values())
    assert (0, 0) == (budget.in_flight, budget.extra)
    assert not any(
        circuit.in_flight or circuit.probing for circuit in said["circuit_breaker"].values()
    )
    assert not any(fact.out for fact in said["cooldown"].values())
    assert all(each.how is not None for call in provider.calls for each in call.attempts)


def test_whoever_leaves_a_whole_stack_leaves_nothing_behind() -> None:
    """Each call ends once; no permit, probe, place or share of a budget stays taken."""
    tried(busy, runs=10, drawn=60, cancels=3)
