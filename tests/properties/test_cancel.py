"""A cancel at every step of a call, once and twice: one end, all given back, nobody blamed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

import llmstack as ls
from llmstack.call import Outcome
from llmstack.service import observe
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from llmstack.testing.scripted import (
    ScriptedEvent,
    ScriptedService,
    dispatched,
    stream_of,
)
from tests.properties.example import endpoint, stack_of


LAYERS: dict[str, Callable[[], ls.Layer]] = {
    "retry": lambda: ls.Retry(attempts=3, base=1.0),
    "hedge": lambda: ls.Hedge(hedgeable=lambda _: True),
    "circuit_breaker": ls.CircuitBreaker,
    "concurrency_limit": lambda: ls.ConcurrencyLimit(1),
    "timeout": lambda: ls.Timeout(first_token=9, idle=9, total=9),
    "timeout that rings": lambda: ls.Timeout(total=1.0),
    "deadline": lambda: ls.Deadline(9),
    "deadline that rings": lambda: ls.Deadline(1.0),
    "log": ls.Log,
    "metrics": lambda: ls.Metrics(ls.MemoryRecorder()),
}

ROUTERS: dict[str, Callable[[list[ls.Endpoint]], Any]] = {
    "round_robin": ls.RoundRobin,
    "weighted_random": ls.WeightedRandom,
    "fallback": ls.Fallback,
    "latency_based": ls.LatencyBased,
    "cost_based": ls.CostBased,
}


async def read_out(reply: object) -> object:
    """Read a stream to its end; any other reply is over already."""
    if isinstance(reply, ls.EventStream):
        async with aclosing(reply):
            return [event async for event in reply]
    return reply


class Scene:
    """One call through a layer, made anew for each run, and what was heard of its ends."""

    def __init__(self, make: Callable[[], ls.Layer], *, streams: bool) -> None:
        self.make, self.streams = make, streams
        self.ends: list[Outcome] = []
        self.inner: ScriptedService[Any, Any] = ScriptedService([])
        self.service: Any = None

    def __call__(self) -> Coroutine[Any, Any, object]:
        self.ends = []
        self.inner = ScriptedService([ls.Overloaded(), "ok"], delay=2.0)
        if self.streams:
            self.inner = ScriptedService([], delay=2.0)
        self.service = self.make()(self.inner)
        return self.call()

    async def call(self) -> object:
        """Make the call, and read its reply to the end."""
        if self.streams:
            self.inner.script.append(stream_of([1.0, ScriptedEvent(), 1.0]))
        try:
            return await read_out(await observe(self.service, dispatched("eu"), self.ends.append))
        except ls.LLMStackError as error:
            return error

    def ended_once(self, run: CancelledRun[object]) -> None:
        """One end, unless it was cancelled before it began; and nothing is left running."""
        began = run.cancels != () and run.cancels[0] == 0
        assert len(self.ends) == (0 if began else 1)
        assert () == run.left


def given_back(service: object) -> bool:
    """Whether every machine of *service* has all its permits back."""
    read = getattr(service, "statistics", dict)
    return all(getattr(state, "in_flight", 0) == 0 for state in read().values())


@pytest.mark.parametrize("streams", [False, True], ids=["complete", "streamed"])
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_ends_once_and_gives_everything_back(name: str, *, streams: bool) -> None:
    """Wherever the cancel comes; and then the layer takes the next call as if nothing was."""
    scene = Scene(LAYERS[name], streams=streams)

    async def check(run: CancelledRun[object]) -> None:
        scene.ended_once(run)
        assert given_back(scene.service)
        if scene.inner.calls:
            scene.inner.script.clear()
            scene.inner.script.append("ok")
            scene.inner.delay = 0.0
            assert "ok" == await scene.service(dispatched("eu"))

    runs = cancelled_everywhere(scene, check)
    assert "cancelled" != runs[0].ended
    assert {"cancelled"} == {run.ended for run in runs[1:]}


@pytest.mark.parametrize("streams", [False, True], ids=["complete", "streamed"])
@pytest.mark.parametrize("name", ROUTERS)
def test_the_example_stack_ends_once_and_gives_everything_back(name: str, *, streams: bool) -> None:
    """The whole stack over three endpoints, two of which may fail: permits, counts and breakers."""
    built: list[ls.Stack[ls.Request, Any]] = []
    ends: list[Outcome] = []

    def scenario() -> Coroutine[Any, Any, object]:
        ends.clear()
        endpoints = [endpoint("eu", 3), endpoint("us", 1), endpoint("ap", 0, steady=True)]
        built[:] = [stack_of(ROUTERS[name](endpoints))]
        return call()

    async def call() -> object:
        request = ls.Request("m", stream=streams)
        return await read_out(await observe(built[0], request, ends.append))

    async def check(run: CancelledRun[object]) -> None:
        began = run.cancels != () and run.cancels[0] == 0
        assert len(ends) == (0 if began else 1)
        assert () == run.left
        statistics = built[0].statistics()
        limits, breakers = statistics["concurrency_limit"], statistics["circuit_breaker"]
        assert {0} >= {permits.in_flight for permits in limits.values()}
        assert {0} >= {circuit.in_flight for circuit in breakers.values()}
        assert {"closed"} >= {circuit.state for circuit in breakers.values()}
        if name == "latency_based":
            assert {0} >= {seen["pending"] for seen in statistics["router"].values()}
        # Three attempts reach the steady endpoint, whatever the other two do.
        assert isinstance(await built[0](ls.Request("m")), ls.Response)

    runs = cancelled_everywhere(scenario, check)
    assert "cancelled" != runs[0].ended
    assert {"cancelled"} == {run.ended for run in runs[1:]}
