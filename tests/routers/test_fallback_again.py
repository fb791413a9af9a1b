"""What a fallback knows of a call that comes back, and what it costs to ask the first again."""

from __future__ import annotations

import asyncio
import gc
from random import Random

import pytest

from llmstack.errors import (
    BadRequest,
    ConcurrencyFull,
    ContextLengthExceeded,
    Overloaded,
    RateLimited,
    ServerError,
)
from llmstack.estimators.retry_budget import RetryBudget
from llmstack.layers.retry import Retry
from llmstack.messages import Request, dispatch
from llmstack.routers.fallback import Fallback
from llmstack.routers.watch import Watch
from llmstack.testing.virtual import run_virtual
from tests.routers.stage import outcome_of
from tests.routers.test_fallback_triggers import asked, entries, walked


def test_a_retry_above_does_not_go_round_the_triggers() -> None:
    """Nobody is left for it, so it waits for the first; an entry's triggers hold for the call."""
    there, services = entries([Overloaded(), ContextLengthExceeded()], ["ok"])
    layer = Fallback(there, after={"b": ["context_length"]})
    outcome, elapsed = walked(layer, retry=Retry(rng=Random(1)))

    assert "ok" == outcome
    assert Random(1).random() * 0.5 == pytest.approx(elapsed)
    assert [2, 1] == asked(services)


def test_an_entry_that_was_asked_may_be_asked_again() -> None:
    """By a retry above, also if it failed with what it is not asked after."""
    there, services = entries([ServerError(), ConcurrencyFull()], [RateLimited(), "ok"])
    layer = Fallback(there, after={"b": ["server"]})

    assert "ok" == walked(layer, retry=Retry(rng=Random(1)))[0]
    assert [2, 2] == asked(services)


def test_all_that_were_asked_may_be_asked_again() -> None:
    """Not only the last one: none of them has to be opened anew."""
    limited = RateLimited()
    there, services = entries([ServerError(), ConcurrencyFull()], [ServerError(), "ok"], [limited])
    layer = Fallback(there, after={"b": ["server"], "c": ["server"]})

    assert "ok" == walked(layer, retry=Retry(rng=Random(1)))[0]
    assert [2, 2, 1] == asked(services)


def test_who_has_refused_is_not_asked_once_more() -> None:
    """Those whom a later failure opens are; who was full in this walk is full."""
    full = [ConcurrencyFull(), ConcurrencyFull()]
    there, services = entries([Overloaded(), ContextLengthExceeded()], full, ["ok"])
    layer = Fallback(there, after={"b": ["any", "context_length"], "c": ["context_length"]})

    assert "ok" == walked(layer, retry=Retry(rng=Random(1)))[0]
    assert [2, 2, 1] == asked(services)


def test_a_retry_above_begins_with_the_list() -> None:
    """Its triggers say when a walk goes on; a new walk goes to whom the call has not tried."""
    there, services = entries([ServerError()], ["ok"], ["never"])
    layer = Fallback(there, triggers=["auth"], after={"c": ["context_length"]})
    outcome, elapsed = walked(layer, retry=Retry())

    assert ("ok", 0.0) == (outcome, elapsed)
    assert [1, 1, 0] == asked(services)


def test_a_call_is_remembered_as_long_as_it_lives() -> None:
    """And only by what it met: what a good answer ends is forgotten then."""
    there, services = entries([BadRequest(), BadRequest()], ["ok", ContextLengthExceeded()])
    router = Fallback(there, after={"b": ["any"]})(dispatch)
    watch = getattr(router.learns, "__self__", None)
    assert isinstance(watch, Watch)

    async def main() -> list[int]:
        request, sizes = Request(), []
        await outcome_of(router, request)
        sizes.append(len(watch.met))
        request = Request()
        await outcome_of(router, request)
        sizes.append(len(watch.met))
        del request
        for service in services:
            service.calls.clear()
        gc.collect()
        return [*sizes, len(watch.met)]

    assert [0, 1, 0] == run_virtual(main())[0]


def test_the_primary_is_asked_again_as_far_as_the_budget_goes() -> None:
    """It is shared by all calls; when it is spent, the fallback is asked at once."""
    there, services = entries([ServerError()] * 4, ["ok"] * 2)
    budget = RetryBudget(ratio=0, min_per_sec=0.1, ttl=10.0, share=0, least=9)
    layer = Fallback(there, retry_primary=2, budget=budget, rng=Random(1))

    async def main() -> list[float]:
        router, times = layer(dispatch), []
        for _ in range(2):
            await router(Request())
            times.append(asyncio.get_running_loop().time())
        return times

    first, second = run_virtual(main())[0]

    assert first == second
    assert [2 + 1, 2] == asked(services)
