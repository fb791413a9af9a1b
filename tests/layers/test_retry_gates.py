"""Waiting for a gate to open: no attempt, but not for ever."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs

from llmstack import clock
from llmstack.builder import ServiceBuilder
from llmstack.endpoint import Endpoint
from llmstack.errors import CircuitOpen, LLMStackError, Overloaded
from llmstack.layers.retry import Retry
from llmstack.messages import dispatch
from llmstack.order import Bound, StackWarning
from llmstack.routers.fallback import Fallback
from llmstack.routers.round_robin import RoundRobin
from llmstack.testing.scripted import echo
from llmstack.testing.virtual import run_virtual


class Highest(Random):
    """Dice that fall on the highest always."""

    def random(self) -> float:
        return 1.0


def test_the_bound_is_reached_and_never_passed() -> None:
    """Calls of ten seconds, a gate before each, and the longest named wait behind all but one."""
    sent: list[float] = []
    shut: list[float] = []

    async def inner(_request: str, /) -> str:
        now = clock.now()
        if len(shut) == len(sent):
            shut.append(now)
            raise CircuitOpen(ready_at=now + 60)
        sent.append(now)
        await asyncio.sleep(10)
        raise Overloaded(retry_after=60)

    async def main() -> float:
        with pytest.raises(Overloaded):
            await Retry(rng=Highest())(inner)("request")
        return clock.now()

    with capture_logs():
        seconds, _ = run_virtual(main())

    assert Retry().bound(Bound(1, 10)).seconds == seconds
    assert Retry().bound(Bound(1, 10)).calls == len(sent)


@pytest.mark.parametrize(
    ("gates", "end", "seconds"),
    [
        ([1.0] * 30 + ["ok"], "ok", 30.0),
        ([1.0] * 62 + ["ok"], "ok", 62.0),
        ([1.0] * 63 + ["ok"], CircuitOpen, 62.0),
        ([1.0] * 60 + [Overloaded(untried=1)] + [1.0] * 60 + ["ok"], "ok", 120.0),
        ([0.0] * 2 + ["ok"], "ok", 0.0),
        ([0.0] * 3 + ["ok"], CircuitOpen, 0.0),
    ],
    ids=["patient", "then attempts", "all of them", "behind a failure", "moments", "too many"],
)
def test_to_wait_for_a_gate_is_no_attempt(gates: list[Any], end: object, seconds: float) -> None:
    """For as long as the patience; what is over that, or opens at once, is one like any other."""
    script = iter(gates)

    async def inner(_request: str, /) -> str:
        step = next(script)
        if isinstance(step, float):
            raise CircuitOpen(ready_at=clock.now() + step)
        if isinstance(step, Exception):
            raise step
        return str(step)

    async def main() -> object:
        try:
            return await Retry()(inner)("request")
        except LLMStackError as error:
            return type(error)

    with capture_logs():
        assert (end, seconds) == run_virtual(main())


def test_a_retry_above_a_group_that_has_one_warns() -> None:
    """Three times three; whichever router stands between, and though the group is elsewhere."""
    group = ServiceBuilder((Retry(), RoundRobin([Endpoint("a", echo)]))).service(dispatch)
    router = RoundRobin([Endpoint("group", group), Endpoint("b", echo)])
    with pytest.warns(StackWarning, match="retry stands above a group that has one itself: two"):
        stack = ServiceBuilder((Retry(), router)).service(dispatch)

    assert 9 == stack.bound.calls
    ServiceBuilder((router,)).service(dispatch)


def test_a_retry_above_a_fallback_that_retries_warns() -> None:
    """Each of three walks asks the first endpoint three times; without that, it is no retry."""
    entries = [Endpoint("a", echo), Endpoint("b", echo)]
    with pytest.warns(StackWarning, match="retry stands above router, which does the same: two"):
        stack = ServiceBuilder((Retry(), Fallback(entries, retry_primary=2))).service(dispatch)

    assert 12 == stack.bound.calls
    ServiceBuilder((Retry(), Fallback(entries))).service(dispatch)
