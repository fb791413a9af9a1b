from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any, Final, final

import pytest
from attrs import define, field
from structlog.testing import capture_logs

from llmstack import clock
from llmstack.builder import ServiceBuilder, Stack
from llmstack.endpoint import Endpoint
from llmstack.errors import ConfigError, LLMStackError, NoEndpoint, Overloaded, ServerError
from llmstack.estimators.circuit import Probes
from llmstack.estimators.trip import ConsecutiveFailures, FailureRatio
from llmstack.layers.circuit_breaker import CircuitBreaker, CircuitBreakerService
from llmstack.layers.concurrency_limit import ConcurrencyLimit
from llmstack.layers.retry import Retry
from llmstack.layers.timeout import Timeout
from llmstack.messages import Request, dispatch
from llmstack.routers.round_robin import RoundRobin
from llmstack.testing.scripted import (
    ScriptedEvent,
    ScriptedService,
    dispatched,
    echo,
    stream_of,
)
from llmstack.testing.virtual import run_virtual


EU: Final = dispatched("eu")


@final
@define
class Provider:
    """Fails while it is down, or each n-th time; keeps when it was sent what."""

    down: tuple[float, float] = (0.0, 0.0)
    fails: Callable[[int], bool] = lambda _n: False
    sent: list[tuple[float, Request]] = field(factory=list)

    async def __call__(self, request: Request, /) -> str:
        now = clock.now()
        self.sent.append((now, request))
        if self.down[0] <= now < self.down[1] or self.fails(len(self.sent)):
            raise ServerError
        return "ok"


def stack_of(layer: CircuitBreaker, *providers: Provider, seed: int = 1) -> Stack[Any, Any]:
    endpoints = [Endpoint(f"e{n}", provider) for n, provider in enumerate(providers)]
    builder = ServiceBuilder(seed=seed).layer(RoundRobin(endpoints)).layer(layer)
    return builder.service(dispatch)


async def traffic(stack: Stack[Any, Any], seconds: int, gap: float = 0.5) -> list[object]:
    """One request after the other; how each ended: "ok", or the error."""
    ends: list[object] = []
    while clock.now() < seconds:
        try:
            ends.append(await stack(Request()))
        except LLMStackError as error:
            ends.append(error)
        await asyncio.sleep(gap)
    return ends


def failures(ends: list[object]) -> list[str]:
    return [type(end).__name__ for end in ends if end != "ok"]


def test_the_next_endpoint_is_asked() -> None:
    """EA-6, P-PA-1: an outage costs five failures; nobody insists while somebody admits."""
    bad, good = Provider(down=(0, 1e9)), Provider()
    ends, _ = run_virtual(traffic(stack_of(CircuitBreaker(), bad, good), 60))

    probes = len(bad.sent) - 5
    assert ["ServerError"] * (5 + probes) == failures(ends)
    assert 2 <= probes <= 5
    assert not any(request.insists for _, request in bad.sent + good.sent)


def test_the_end_of_a_total_outage_is_noticed_at_once() -> None:
    """P-PA: within 5 s, at one probe for each endpoint in 5 s; all others fail fast."""
    two = [Provider(down=(10, 200)) for _ in range(2)]
    stack = stack_of(CircuitBreaker(), *two)
    ends, _ = run_virtual(traffic(stack, 206))

    assert "ok" == ends[-1]
    for provider in two:
        times = [at for at, _ in provider.sent if 20 <= at < 200]
        assert all(after - before >= 2.5 for before, after in zip(times, times[1:], strict=False))
        assert 4 <= len(times) <= 190 / 5
        assert any(200 <= at <= 205.5 for at, _ in provider.sent)
    assert {"ServerError", "NoEndpoint"} == set(failures(ends))
    ready = [end.ready_at for end in ends if isinstance(end, NoEndpoint)]
    assert any(ready)


@pytest.mark.parametrize("n", [1, 3])
def test_a_brown_out_of_all_loses_nothing_to_the_breakers(n: int) -> None:
    """Half of all calls fail; each is sent, once, and fails only where the endpoint failed."""
    providers = [Provider(fails=lambda n: n % 2 == 0) for _ in range(n)]
    stack = stack_of(CircuitBreaker(FailureRatio(0.5, volume=4)), *providers)
    ends, _ = run_virtual(traffic(stack, 120))

    assert {"ServerError"} == set(failures(ends))
    assert len(ends) == sum(len(provider.sent) for provider in providers)
    assert all(stats.opened > 1 for stats in stack.statistics()["circuit_breaker"].values())


def test_a_ramp_has_no_effect_on_a_single_endpoint() -> None:
    """P-SS-3: what the ramp puts off comes back insisting."""
    provider = Provider(down=(0, 2))
    ends, _ = run_virtual(traffic(stack_of(CircuitBreaker(), provider), 60))
    first = ends.index("ok")

    assert ["ok"] * (len(ends) - first) == ends[first:]
    assert len([at for at, _ in provider.sent if at >= first / 2]) == len(ends) - first


def test_a_ramp_brings_traffic_back_slowly() -> None:
    """C22, P-SS-2: from a tenth of its share on, and never more than its share."""
    back, other = Provider(down=(0, 1)), Provider()
    run_virtual(traffic(stack_of(CircuitBreaker(ramp=30), back, other), 80, gap=0.02))
    times = [at for at, _ in back.sent]
    closed = next(at for at in times if at >= 1)
    shares = [
        sum(closed + start < at <= closed + start + 10 for at in times) / 500
        for start in (0, 10, 20, 30, 40)
    ]

    assert sorted(shares[:4]) == shares[:4]
    assert 0.02 < shares[0] < 0.2 < shares[2] < 0.45
    assert all(0.48 < share <= 0.51 for share in shares[3:])


def trace(seed: int) -> list[Any]:
    """All that is logged and all that ends in a minute with an outage."""
    stack = stack_of(CircuitBreaker(), Provider(down=(3, 20)), Provider(down=(9, 30)), seed=seed)
    with capture_logs() as logs:
        ends, _ = run_virtual(traffic(stack, 60))
    return [*logs, *map(str, ends)]


def test_the_same_seed_gives_the_same_trace() -> None:
    """P-CB-10, P-CB-8: and another one another."""
    assert trace(7) == trace(7)
    assert trace(7) != trace(8)


def test_a_stream_that_begins_ends_the_outage() -> None:
    """The probe is a stream of a minute; others are let through from its first content on."""

    async def main() -> None:
        streams = [stream_of([60.0, ScriptedEvent()]) for _ in range(2)]
        inner: ScriptedService[Request, Any] = ScriptedService(streams)
        service = CircuitBreaker(ramp=0)(inner)
        service.open("eu")
        await asyncio.sleep(5)
        async with await service(EU), await service(EU):
            assert ("closed", 2) == (state(service), service.statistics()["eu"].in_flight)
        assert 0 == service.statistics()["eu"].in_flight

    run_virtual(main())


def state(service: CircuitBreakerService[Any, Any]) -> str:
    return service.statistics()["eu"].state


def test_a_transition_is_logged_once() -> None:
    """The events with their keys; refusals are not among them, and Retry-After is a floor."""
    script = [Overloaded(retry_after=40), ServerError(), "ok", "ok"]
    inner: ScriptedService[Request, Any] = ScriptedService(script)

    async def main() -> list[str]:
        service = CircuitBreaker(ConsecutiveFailures(1), ramp=0, rng=Random(2))(inner)
        ends = []
        for wait in (0.0, 39.0, 1.0, 10.0, 0.0):
            await asyncio.sleep(wait)
            try:
                ends.append(await service(EU))
            except LLMStackError as error:
                ends.append(type(error).__name__)
        return ends

    with capture_logs() as logs:
        ends, _ = run_virtual(main())
    dice = Random(2)
    dice.random()
    half = {"event": "circuit_breaker.half_opened", "log_level": "info", "endpoint": "eu"}
    shut = {"event": "circuit_breaker.opened", "log_level": "warning", "endpoint": "eu"}
    done = {"event": "circuit_breaker.closed", "log_level": "info", "endpoint": "eu"}
    assert ["Overloaded", "CircuitOpen", "ServerError", "ok", "ok"] == ends
    assert [
        {**shut, "reason": "partial failure", "wait": 40.0},
        {**half, "reason": "partial failure"},
        {**shut, "reason": "a probe failed", "wait": round(10 * (0.5 + dice.random() / 2), 3)},
        {**half, "reason": "a probe failed"},
        {**done, "reason": "probes succeeded"},
    ] == logs


def by_hand() -> list[str]:
    """The states that an operator goes through."""

    async def main() -> list[str]:
        service: CircuitBreakerService[Any, Any] = CircuitBreaker()(echo)
        states = []
        for act in (service.open, service.half_open, service.close, service.close, service.reset):
            act("eu")
            states.append(state(service))
        service.open("eu")
        service.reset("eu")
        return [*states, state(service)]

    return asyncio.run(main())


def test_by_hand() -> None:
    """CB-3, CB-5: open, half-open, close, reset; each change of state is logged."""
    with capture_logs() as logs:
        states = by_hand()

    assert ["open", "half_open", "closed", "closed", "closed", "closed"] == states
    assert [
        ("opened", "warning"),
        ("half_opened", "info"),
        ("closed", "info"),
        ("opened", "warning"),
        ("closed", "info"),
    ] == [(entry["event"].removeprefix("circuit_breaker."), entry["log_level"]) for entry in logs]
    assert {("eu", "by hand")} == {(entry["endpoint"], entry["reason"]) for entry in logs}


def test_idle_circuits_make_room() -> None:
    """The map of circuits is bounded, and forgets none that matters."""

    async def main() -> list[object]:
        service: CircuitBreakerService[Any, Any] = CircuitBreaker(key=str)(echo)
        service.circuits.cap = 2
        service.open("shut")
        for name in ("a", "b", "c"):
            await service(name)
        return list(service.statistics())

    assert ["shut", "c"] == asyncio.run(main())


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([ConcurrencyLimit(1), CircuitBreaker()], "what the breaker refuses should hold no permit"),
        ([Timeout(total=1), CircuitBreaker()], "what takes too long must count as a failure"),
        ([CircuitBreaker(), Retry()], "a breaker must see each attempt, not only the last"),
    ],
    ids=["concurrency_limit", "timeout", "retry"],
)
def test_the_order_is_checked(layers: list[Any], reason: str) -> None:
    """The other way round is an error that says why."""
    with pytest.raises(ConfigError, match=reason):
        ServiceBuilder(tuple(layers)).service(echo)
    assert ServiceBuilder(tuple(reversed(layers))).service(echo)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: CircuitBreaker(base=0), "base"),
        (lambda: CircuitBreaker(cap=0), "cap"),
        (lambda: CircuitBreaker(ramp=-1), "ramp"),
    ],
    ids=["base", "cap", "ramp"],
)
def test_bad_settings_name_the_field(make: Callable[[], CircuitBreaker], name: str) -> None:
    """Each at the place where it is written."""
    with pytest.raises(ValueError, match=name):
        make()


def test_settings_reach_the_circuit() -> None:
    """Base, cap and probes are those that were given, and the dice too."""

    async def main() -> list[Any]:
        rng, probes = Random(5), Probes(at_once=2)
        layer = CircuitBreaker(base=4, cap=6, probes=probes, rng=rng)
        service: CircuitBreakerService[Any, Any] = layer(echo)
        waits = []
        for _ in range(3):
            service.open("eu")
            waits.append(service.statistics()["eu"].ready_at)
        return waits

    draws = Random(5)
    expected = [nominal * (0.5 + draws.random() / 2) for nominal in (4, 6, 6)]
    assert pytest.approx(expected) == run_virtual(main())[0]
