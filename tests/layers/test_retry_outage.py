"""What an outage can cost: many calls on virtual time, all of which fail."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import pytest
from attrs import define, field
from structlog.testing import capture_logs

from llmstack import clock
from llmstack.errors import ConnectionLost, Overloaded
from llmstack.estimators.retry_budget import RetryBudget
from llmstack.layers.retry import Retry
from llmstack.messages import Request
from llmstack.service import Service
from llmstack.testing.virtual import run_virtual


RATE: Final = 20
SECONDS: Final = 60
CALLS: Final = RATE * SECONDS


@define(eq=False)
class Down:
    """An upstream that fails after a while, and notes whom it was asked for, and when once more.

    *most* is how many of those were there at once.
    """

    takes: float = 0.0
    untried: int = 0
    asked: list[Request] = field(factory=list)
    extra: list[float] = field(factory=list)
    most: int = 0
    _known: set[int] = field(factory=set)
    _out: int = 0

    async def __call__(self, request: Request, /) -> object:
        again = id(request) in self._known
        self.asked.append(request)
        self._known.add(id(request))
        if again:
            self.extra.append(clock.now())
        self._out += again
        self.most = max(self.most, self._out)
        try:
            await asyncio.sleep(self.takes)
            raise ConnectionLost(untried=self.untried)
        finally:
            self._out -= again


def endure(service: Service[Request, object], calls: int = CALLS) -> None:
    """Have so many callers come, one after another, all of them in vain."""

    async def call() -> None:
        with suppress(ConnectionLost):
            await service(Request())

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(calls):
                group.create_task(call())
                await asyncio.sleep(1 / RATE)

    with capture_logs():
        run_virtual(main())


@pytest.mark.parametrize("takes", [0.0, 0.3, 5.0])
def test_p_rt_1_an_outage_is_hardly_amplified(takes: float) -> None:
    """P-RT-1: by a fifth and a floor, though each call might be sent three times."""
    down = Down(takes)
    endure(Retry()(down))

    extra = down.extra
    assert CALLS + len(extra) == len(down.asked)
    assert 0.18 * CALLS <= len(extra) <= 0.2 * CALLS + SECONDS
    for at in extra:
        assert sum(at - 10 < other <= at for other in extra) <= 0.2 * 10 * RATE + 10


def test_an_outage_without_a_budget_is_amplified_threefold() -> None:
    """The same, so that it is the budget that makes the difference."""
    down = Down()
    endure(Retry(budget=RetryBudget.unlimited())(down))

    assert 3 * CALLS == len(down.asked)


def test_p_rt_8_two_retries_with_one_budget_send_no_more_than_one() -> None:
    """P-RT-8: where each for itself would send nine for one, or pay for the same call twice."""
    single, nested = Down(untried=1), Down(untried=1)
    shared = RetryBudget()
    endure(Retry()(single))
    endure(Retry(budget=shared)(Retry(budget=shared)(nested)))

    assert len(single.asked) == len(nested.asked)
    assert 0.18 * CALLS <= len(single.extra) <= 0.2 * CALLS + SECONDS


@pytest.mark.parametrize(("callers", "most"), [(10, 10), (100, 20), (104, 20), (105, 21)])
def test_a_share_of_what_is_in_flight_is_sent_again(callers: int, most: int) -> None:
    """A fifth, and ten in any case, where the window would allow more."""
    down = Down(takes=30.0)
    service = Retry(attempts=2, base=1e-9, budget=RetryBudget(1.0, 99.0))(down)

    async def call() -> None:
        with suppress(ConnectionLost):
            await service(Request())

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(call())

    with capture_logs():
        run_virtual(main())

    assert (callers + most, most) == (len(down.asked), down.most)


@pytest.mark.parametrize(("healthy", "again"), [(103, False), (104, True), (111, False)])
def test_calls_are_entered_with_a_time_that_is_known(healthy: int, *, again: bool) -> None:
    """Every eighth call reads the clock, and what began long ago earns nothing.

    So some calls may count as older than they are, and never as younger.
    """
    script = iter([*[None] * healthy, Overloaded(untried=1), None])

    async def inner(_request: Request, /) -> str:
        error = next(script)
        if error is not None:
            raise error
        return "ok"

    async def main() -> bool:
        service = Retry(budget=RetryBudget(1.0, 0))(inner)
        for _ in range(healthy):
            await service(Request())
        await asyncio.sleep(30)
        with suppress(Overloaded):
            await service(Request())
            return True
        return False

    with capture_logs():
        assert again == run_virtual(main())[0]
