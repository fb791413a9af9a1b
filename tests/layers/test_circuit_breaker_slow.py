from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import Any, Final, final

import pytest
from attrs import define, evolve, field
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from llmstack import clock
from llmstack.builder import ServiceBuilder, Stack
from llmstack.endpoint import Endpoint
from llmstack.errors import CircuitOpen, ServerError, StreamBroken
from llmstack.estimators.cusum import Cusum
from llmstack.estimators.trip import FailureRatio
from llmstack.layers.circuit_breaker import CircuitBreaker, CircuitBreakerService
from llmstack.messages import Request, dispatch
from llmstack.routers.round_robin import RoundRobin
from llmstack.service import Service
from llmstack.testing.scripted import (
    ScriptedEvent,
    ScriptedService,
    dispatched,
    stream_of,
)
from llmstack.testing.virtual import run_virtual


Breaker = CircuitBreakerService[Any, Any]

EU: Final = dispatched("eu")
INSISTS: Final = dispatched("eu", insists=True)
#: Two slow calls, or half of two or more failed.
TOUCHY: Final = FailureRatio(0.5, volume=2, slow_after=1.0)


@final
@define
class Provider:
    """Takes so many seconds; slower from a time on until another one."""

    slow: tuple[float, float] = (0.0, 0.0)
    usual: float = 0.2
    factor: float = 10.0
    sent: list[float] = field(factory=list)

    async def __call__(self, _request: Request, /) -> object:
        now = clock.now()
        self.sent.append(now)
        is_slow = self.slow[0] <= now < self.slow[1]
        await asyncio.sleep(self.usual * (self.factor if is_slow else 1.0))
        return "ok"

    def count(self, start: float, end: float) -> int:
        return sum(start <= at < end for at in self.sent)


def stack_of(layer: CircuitBreaker, *providers: Provider) -> Stack[Any, Any]:
    endpoints = [Endpoint(f"e{n}", provider) for n, provider in enumerate(providers)]
    builder = ServiceBuilder(seed=1).layer(RoundRobin(endpoints)).layer(layer)
    return builder.service(dispatch)


async def traffic(stack: Stack[Any, Any], seconds: float, gap: float) -> None:
    """Requests at a steady rate, whatever the replies take; not one of them may fail."""
    async with asyncio.TaskGroup() as group:
        while clock.now() < seconds:
            group.create_task(stack(Request()))
            await asyncio.sleep(gap)


def told(logs: list[Any]) -> list[tuple[str, str]]:
    """What was logged of which endpoint."""
    return [(each["event"].removeprefix("circuit_breaker."), each["endpoint"]) for each in logs]


def test_a_slow_endpoint_keeps_a_quarter_of_its_traffic() -> None:
    """It is asked so much less as long as it is slow, and no request is lost; then it ramps up."""
    slow, other = Provider(slow=(60, 160)), Provider()
    with capture_logs() as logs:
        run_virtual(traffic(stack_of(CircuitBreaker(), slow, other), 300, 0.1))

    assert [("degraded", "e0"), ("closed", "e0")] == told(logs)
    assert ["warning", "info"] == [each["log_level"] for each in logs]
    assert logs[0]["reason"].startswith("6 of the last 6 good calls took longer than 0.4")
    assert 100 == slow.count(40, 60)
    assert 15 <= slow.count(80, 160) * 100 / 400 <= 35
    assert 95 <= slow.count(280, 300) <= 100


def test_all_slow_is_nobody_shut() -> None:
    """P-CB-9: where all are slow, each is asked as before, since the router insists."""
    providers = [Provider(slow=(60, 300)) for _ in range(3)]
    stack = stack_of(CircuitBreaker(), *providers)
    run_virtual(traffic(stack, 200, 0.1))

    assert {"degraded"} == {each.state for each in stack.statistics()["circuit_breaker"].values()}
    assert all(60 <= each.count(180, 200) <= 75 for each in providers)


async def ask(service: Service[Any, Any], request: object = EU) -> str:
    try:
        await service(request)
    except CircuitOpen as refusal:
        return f"{'soft' if refusal.soft else 'hard'} {refusal.ready_at}: {refusal.message}"
    except ServerError:
        return "failed"
    return "ok"


@settings(max_examples=25)
@given(st.lists(st.sampled_from([0.01, 0.2, 2.0, 30.0, 3600.0]), min_size=100, max_size=160))
def test_slowness_alone_never_opens(times: list[float]) -> None:
    """P-CB-9: whatever good calls take, what insists is let through; no refusal is hard."""
    script = iter(times)

    async def inner(request: Request, /) -> object:
        await asyncio.sleep(next(script))
        return request

    async def main() -> set[str]:
        service: Breaker = CircuitBreaker(Cusum(calls=7, relearn=3600.0))(inner)
        states: set[str] = set()
        for n in range(len(times)):
            if "ok" != await ask(service):
                await service(INSISTS)
            states.add(service.statistics()["eu"].state)
            assert n + 1 == service.statistics()["eu"].recent or n >= 20
        return states

    assert {"closed", "degraded"} >= run_virtual(main())[0]


def test_three_of_four_are_refused_softly() -> None:
    """By draw, with the reason and without a time; not what insists, nor what cannot."""
    inner: ScriptedService[Any, str] = ScriptedService(["ok"] * 700, delay=2.0)

    async def main() -> list[str]:
        service: Breaker = CircuitBreaker(TOUCHY, rng=Random(4))(inner)
        for _ in range(2):
            await service(EU)
        foreign = [await service(request) for request in (INSISTS, Request()) for _ in range(20)]
        assert ["ok"] * 40 == foreign
        ends = [await ask(service) for _ in range(1000)]
        seen = service.statistics()["eu"]
        assert ("degraded", ends.count("ok") + 22, 0) == (
            seen.state,
            len(inner.calls) - 20,
            seen.bad,
        )
        assert (seen.refused, False, None) == (1000 - ends.count("ok"), seen.hard, seen.ready_at)
        return ends

    ends = Counter(run_virtual(main())[0])
    reason = "2 of 2 good calls took longer than 1 s"
    assert {"ok", f"soft None: degraded: {reason}"} == set(ends)
    assert 200 < ends["ok"] < 300


@pytest.mark.parametrize("request_", [EU, INSISTS], ids=["by chance", "insisting"])
def test_failures_open_what_is_degraded(request_: Request) -> None:
    """With their own reason; and once a probe has succeeded, it is not slow any more."""
    script = ["ok", "ok", ServerError(), ServerError(), "ok"]
    inner: ScriptedService[Any, Any] = ScriptedService(script, delay=2.0)

    async def main() -> list[str]:
        service: Breaker = CircuitBreaker(TOUCHY, ramp=0, rng=Random(1))(inner)
        states = [await ask(service), await ask(service), service.statistics()["eu"].state]
        while service.statistics()["eu"].state == "degraded":
            await ask(service, request_)
        opened = service.statistics()["eu"]
        await asyncio.sleep(30)
        return [*states, opened.state, opened.reason, await ask(service), state(service)]

    reason = "2 of the last 4 calls failed: ServerError \N{MULTIPLICATION SIGN}2"
    ends = ["ok", "ok", "degraded", "open", reason, "ok", "closed"]
    assert ends == run_virtual(main())[0]


def state(service: Breaker) -> str:
    return service.statistics()["eu"].state


def test_what_is_slow_for_ten_minutes_is_usual() -> None:
    """It is told, once, and all of the traffic comes back, step by step."""
    changed, other = Provider(slow=(60, 1e9)), Provider()
    with capture_logs() as logs:
        run_virtual(traffic(stack_of(CircuitBreaker(), changed, other), 900, 0.25))

    assert [("degraded", "e0"), ("rebaselined", "e0")] == told(logs)
    assert ["warning", "warning"] == [each["log_level"] for each in logs]
    assert logs[1]["reason"].startswith("slow for 60")
    assert 38 <= changed.count(880, 900) <= 40


def test_seconds_are_those_to_the_first_content() -> None:
    """A stream that begins soon and takes a minute is quick."""
    seen: list[tuple[object, float]] = []

    def normalise(request: object, seconds: float) -> float:
        seen.append((request, seconds))
        return seconds

    async def inner(_request: object, /) -> Any:  # noqa: ANN401 -- a stream
        await asyncio.sleep(0.5)
        return stream_of([60.0, ScriptedEvent()])

    async def main() -> str:
        service: Breaker = CircuitBreaker(TOUCHY, normalise=normalise)(inner)
        for _ in range(4):
            async with await service(EU) as stream:
                async for _ in stream:
                    pass
        return state(service)

    assert "closed" == run_virtual(main())[0]
    assert [(EU, 0.5)] * 4 == seen


@pytest.mark.parametrize(
    ("normalise", "after"),
    [
        (lambda _request, seconds: seconds / 1.5, "degraded"),
        (lambda request, seconds: seconds / len(request.model), "closed"),
        (lambda _request, _seconds: None, "closed"),
    ],
    ids=["by a factor", "by the request", "no matter"],
)
def test_seconds_are_normalised(normalise: Any, after: str) -> None:  # noqa: ANN401
    """By a function of the request and the seconds; None says nothing."""
    request = evolve(EU, model="large")
    inner: ScriptedService[Any, str] = ScriptedService(["ok"] * 4, delay=2.0)

    async def main() -> str:
        service: Breaker = CircuitBreaker(TOUCHY, normalise=normalise)(inner)
        for _ in range(3):
            await ask(service, request)
        return service.statistics()["eu"].state

    assert after == run_virtual(main())[0]


def broken(_request: object, _seconds: float) -> float:
    raise ZeroDivisionError


def test_failures_have_no_time() -> None:
    """Nobody is asked to normalise a failure, though a stream had begun before it broke."""

    async def main() -> int:
        script = [ServerError(), stream_of([9.0, StreamBroken()])]
        inner: ScriptedService[Any, Any] = ScriptedService(script, delay=9.0)
        service: Breaker = CircuitBreaker(normalise=broken)(inner)
        assert "failed" == await ask(service)
        with pytest.raises(StreamBroken):
            async for _ in await service(EU):
                pass
        return service.statistics()["eu"].bad

    assert 2 == run_virtual(main())[0]


def test_a_broken_function_keeps_no_permit() -> None:
    """Its bug is seen outside; the permit is back, and the probe is not lost."""

    async def main() -> tuple[int, str]:
        service: Breaker = CircuitBreaker(normalise=broken)(ScriptedService(["ok"]))
        service.half_open("eu")
        with pytest.raises(ZeroDivisionError):
            await service(EU)
        seen = service.statistics()["eu"]
        return seen.in_flight, seen.state

    assert (0, "closed") == run_virtual(main())[0]
