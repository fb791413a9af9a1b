"""`LatencyBased` under traffic: no herd, no black hole, and nobody forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from math import log
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.builder import ServiceBuilder
from llmstack.call import Attempt, Call, Outcome
from llmstack.endpoint import Endpoint
from llmstack.errors import LLMStackError, ServerError
from llmstack.estimators.explore import Exploration
from llmstack.messages import Request, Response
from llmstack.routers.latency_based import LatencyBased
from llmstack.testing.scripted import echo
from llmstack.testing.virtual import run_virtual
from tests.routers.measured import NEVER, fastest
from tests.routers.stage import Actors, listed


Wait = Callable[[float], float]


def stack(layer: LatencyBased, waits: dict[str, Wait], seed: int = 1) -> Any:  # noqa: ANN401
    """Endpoints that answer after a time that depends on when; below zero they fail."""

    async def service(request: Request) -> Response:
        assert request.endpoint is not None
        wait = waits[request.endpoint.name](asyncio.get_running_loop().time())
        await asyncio.sleep(abs(wait))
        if wait < 0:
            raise ServerError("down")
        return Response(b"{}")

    return ServiceBuilder(seed=seed).layer(layer).service(service)


async def traffic(service: Any, rate: float, seconds: float) -> list[Attempt]:  # noqa: ANN401
    """Send so many calls a second, without waiting for replies; return who was asked."""
    calls: list[Call] = []

    async def call() -> None:
        request = Request()
        calls.append(request.call)
        try:
            await service(request)
        except LLMStackError:
            return

    async with asyncio.TaskGroup() as group:
        for _ in range(int(rate * seconds)):
            group.create_task(call())
            await asyncio.sleep(1 / rate)
    return [attempt for call in calls for attempt in call.attempts]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("since", [0.0, 60.0])
@pytest.mark.parametrize("rate", [2.0, 20.0])
def test_a_fast_failure_draws_no_traffic(seed: int, since: float, rate: float) -> None:
    """W-LL-5, W-LK-4: one of three fails in 10 ms; without retries 98 of 100 calls succeed."""
    waits: dict[str, Wait] = {
        "a": lambda _: 0.5,
        "b": lambda now: -0.01 if now >= since else 0.3,
        "c": lambda _: 0.6,
    }
    service = stack(LatencyBased(listed([1, 1, 1])), waits, seed)
    attempts = run_virtual(traffic(service, rate, 300))[0]
    good = sum(attempt.how == "ok" for attempt in attempts)

    assert 0.98 <= good / len(attempts) < 1
    late = Counter(each.endpoint for each in attempts if each.started > 120)
    assert late["b"] < 0.02 * late.total()


@given(endpoints=st.integers(1, 6), calls=st.integers(1, 40), explore=st.booleans())
def test_a_cold_start_does_not_herd(endpoints: int, calls: int, *, explore: bool) -> None:
    """W-LL-7: of calls that start together all endpoints get the same, give or take one."""
    explored = Exploration() if explore else NEVER
    layer = LatencyBased(listed([1] * endpoints), explore=explored, rng=Random(calls))
    inner = Actors(delay=1.0)
    router = layer(inner)

    async def main() -> None:
        await asyncio.gather(*(router(Request()) for _ in range(calls)))

    run_virtual(main())
    taken = Counter(name for name, _ in inner.asked)

    assert calls == taken.total()
    assert max(taken.values()) - min(taken[e.name] for e in listed([1] * endpoints)) <= 1


def test_an_unknown_endpoint_is_neither_free_nor_endless() -> None:
    """It gets one call at first, and once it is known its share; meanwhile the others go on."""
    wait: Wait = lambda _: 0.4  # noqa: E731 -- three of them
    waits = {"a": wait, "b": wait, "new": lambda _: 5.0}
    layer = LatencyBased([*listed([1, 1])], explore=NEVER)

    async def main() -> tuple[list[Attempt], list[Attempt]]:
        service = stack(layer, waits)
        await traffic(service, 10, 30)
        service.services[0].endpoints.add(Endpoint("new", echo))
        return await traffic(service, 10, 5), await traffic(service, 10, 60)

    early, later = run_virtual(main())[0]

    assert 1 == sum(each.endpoint == "new" for each in early)
    assert 0 < sum(each.endpoint == "new" for each in later) < 0.05 * len(later)


@pytest.mark.parametrize("others", ["a", "ac", "acd"])
def test_slow_once_is_not_slow_for_ever(others: str) -> None:
    """W-LL-6: exploration brings back who has become fast; without it nothing does."""
    waits: dict[str, Wait] = {name: lambda _: 0.1 for name in others}
    waits |= {"z": lambda now: 10.0 if now < 20 else 0.02}
    shares = []
    for explore in (Exploration(), NEVER):
        layer = LatencyBased([Endpoint(name, echo) for name in waits], explore=explore)

        async def main(layer: LatencyBased = layer) -> list[Attempt]:
            service = stack(layer, waits)
            attempts = []
            for _ in range(3000):
                request = Request()
                await service(request)
                await asyncio.sleep(0.1)
                attempts += request.call.attempts
            return attempts

        taken = [each.endpoint for each in run_virtual(main())[0]]
        shares.append(taken[-500:].count("z") / 500)

    explored, never = shares
    assert explored > 0.9
    assert 0.0 == never or len(others) > 1


@given(
    seed=st.integers(0, 999),
    world=st.lists(
        st.tuples(st.integers(0, 10).map(lambda n: 0.01 * 2.0**n), st.sampled_from([1.0, 50.0])),
        min_size=2,
        max_size=5,
    ),
    failing=st.integers(0, 2),
)
def test_everybody_is_asked_again_within_a_bounded_time(
    seed: int, world: list[tuple[float, float]], failing: int
) -> None:
    """P-EX-1, invariant 7: be it a thousand times slower, of small weight, or always failing."""
    endpoints = [Endpoint(str(n), echo, weight) for n, (_, weight) in enumerate(world)]
    explore = Exploration(share=0.2)
    picker = fastest(LatencyBased(endpoints, explore=explore, rng=Random(seed)))
    slowest = max(latency for latency, _ in world) / min(latency for latency, _ in world)
    # Until its memory has faded to four times the fastest; then one draw for each is to come.
    patience = 30 * max(1.0, log(slowest)) + 30 + len(world) * 60
    asked = dict.fromkeys((e.name for e in endpoints), 0.0)
    for step in range(1500):
        now = step / 2
        endpoint = next(picker.order(Request(), endpoints, now))
        n = endpoints.index(endpoint)
        outcome = Outcome(now, first=now)
        if n < min(failing, len(world) - 1):
            outcome = Outcome.of(ServerError(), now)
        picker.settle(endpoint, now - world[n][0], outcome)
        asked[endpoint.name] = now
        assert now - min(asked.values()) < patience


def test_the_same_seed_and_events_are_the_same_picks() -> None:
    """P-LB-8: and another seed looks elsewhere at another time."""

    explore = Exploration(share=0.3, stale_after=0.5)

    def picks(seed: int) -> list[str]:
        dice = Random(5)
        waits: dict[str, Wait] = {n: lambda _: dice.uniform(0.1, 0.9) for n in "abc"}
        service = stack(LatencyBased(listed([1, 1, 1]), explore=explore), waits, seed)
        return [each.endpoint for each in run_virtual(traffic(service, 5, 200))[0]]

    assert picks(1) == picks(1)
    assert picks(1) != picks(2)
