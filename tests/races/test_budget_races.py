"""A budget that retries and hedges share, in any order: what was taken is spent or given back."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import Final

import llmstack as ls
from llmstack import clock
from llmstack.layers.hedge import HedgeService, by_shape
from llmstack.testing import Explorer
from tests.races.tried import all_over, tried


ERRORS: Final = {"failed": ls.ServerError, "full": ls.ConcurrencyFull}
#: So many extra calls there may be in any ten seconds.
FLOOR: Final = 2


class Provider:
    """Below a retry and a hedge with one budget: ends each call as the explorer says."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self.budget = ls.RetryBudget(ratio=0.0, min_per_sec=FLOOR / 10, ttl=10.0)
        retry = ls.Retry(base=0.1, budget=self.budget, rng=Random(1))
        hedge = ls.Hedge(hedgeable=lambda _: True, share=1.0, budget=self.budget)
        self.stack = ls.ServiceBuilder().layer(retry).layer(hedge).service(self.answer)
        self.callers = 0
        self.sent: Counter[str] = Counter()
        # With a past, there is a second call a second after each first.
        times = self.stack.find(HedgeService).times(by_shape(self.request("")))
        for n in range(40):
            times.add(1.0 if n % 4 else 9.0, 0.0)

    def request(self, name: str) -> ls.Request:
        return ls.Request("m", {"messages": []}, call=ls.Call(name))

    async def answer(self, request: ls.Request, /) -> str:
        act = self.explorer.choose("failed", "late", "full")
        self.sent[request.call.id] += act != "full"
        if act == "late":
            await asyncio.sleep(1.0)
            act = self.explorer.choose("ok", "failed")
        if act in ERRORS:
            raise ERRORS[act]("as told")
        return act

    async def call(self, name: str) -> None:
        self.callers += 1
        try:
            await self.stack(self.request(name))
        except ls.LLMStackError:
            return
        finally:
            self.callers -= 1

    def check(self) -> None:
        now = self.budget.statistics()
        assert self.callers == now.in_flight
        assert 0 <= now.extra <= FLOOR
        assert sum(n - 1 for n in self.sent.values() if n) <= FLOOR, "nothing is sent unpaid"


async def shared(explorer: Explorer) -> None:
    """Two callers; when they have gone, all that may be sent in ten seconds may be again."""
    provider = Provider(explorer)
    explorer.always(provider.check)
    await all_over([provider.call("one"), provider.call("two")])
    provider.check()
    assert 0 == provider.budget.statistics().extra
    await asyncio.sleep(30.0)
    granted = [provider.budget.withdraw(clock.now()) is not None for _ in range(FLOOR + 1)]

    assert [True] * FLOOR + [False] == granted


def test_a_shared_budget_is_conserved_wherever_its_callers_leave() -> None:
    """No more is sent than was paid for, and nothing stays taken, with two cancels as well."""
    tried(shared, runs=50, drawn=150, cancels=2)
