from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from random import Random
from typing import Any, Final

import pytest

from llmstack.errors import (
    AuthFailed,
    CircuitOpen,
    ConcurrencyFull,
    LLMStackError,
    ServerError,
)
from llmstack.estimators.trip import ConsecutiveFailures
from llmstack.layers.circuit_breaker import CircuitBreaker, CircuitBreakerService
from llmstack.service import Service
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from llmstack.testing.scripted import (
    ENDINGS,
    ScriptedEvent,
    ScriptedService,
    dispatched,
    echo,
    stream_of,
    under_way,
)
from llmstack.testing.virtual import run_virtual


Breaker = CircuitBreakerService[Any, Any]
Scripted = ScriptedService[Any, Any]

EU: Final = dispatched("eu")
STREAMS: Final = ENDINGS[3:]


def breaker(inner: Service[Any, Any], failures: int = 1, *, ramp: float = 0.0) -> Breaker:
    return CircuitBreaker(ConsecutiveFailures(failures), ramp=ramp, rng=Random(1))(inner)


def state(service: Breaker, key: object = "eu") -> str:
    return service.statistics()[key].state


async def outcome(service: Service[Any, Any], request: object = EU) -> str:
    """How a call ends, as one word."""
    try:
        await service(request)
    except CircuitOpen:
        return "refused"
    except LLMStackError:
        return "failed"
    return "ok"


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("key", "request_"),
    [(None, EU), (str.lower, "EU")],
    ids=["by endpoint", "by the caller's key"],
)
def test_a_permit_is_out_until_the_call_is_over(
    key: Callable[[Any], str] | None, request_: object, ending: str
) -> None:
    """U-2: however it ends; a stream that breaks is a failure."""
    layer = CircuitBreaker(key=key) if key else CircuitBreaker()

    async def main() -> None:
        async with under_way(layer, request_, ending) as service:
            then = service.statistics()["eu"]
        now = service.statistics()["eu"]

        assert (1, 0) == (then.in_flight, now.in_flight)
        assert (ending in {"error", "broken"}) == now.bad

    asyncio.run(main())


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_probe_is_out_until_it_answers_or_ends(ending: str) -> None:
    """LC-4, LC-11, LC-12: the first content of a stream is an answer, whatever comes then."""

    def half_open(inner: Service[Any, Any]) -> Breaker:
        service = breaker(inner, 5)
        service.half_open("eu")
        return service

    async def main() -> None:
        async with under_way(half_open, EU, ending) as service:
            then = state(service)
            second = await outcome(service)
        after = {"error": "open", "cancel": "half_open"}.get(ending, "closed")

        assert ("closed", "ok") if ending in STREAMS else ("half_open", "refused") == (then, second)
        assert after == state(service)
        assert 0 == service.statistics()["eu"].in_flight
        assert ("refused" if after == "open" else "ok") == await outcome(service)

    asyncio.run(main())


def test_a_probe_cancelled_anywhere_is_not_lost() -> None:
    """C3, U-3, W-LK-20: after any cancel, once or twice, the next request is a probe."""
    services: list[Breaker] = []

    async def slow(request: object, /) -> object:
        await asyncio.sleep(1)
        return request

    async def scenario() -> None:
        services.append(breaker(slow))
        services[0].half_open("eu")
        await services[0](EU)

    async def check(run: CancelledRun[None]) -> None:
        while services:  # none, if the cancel came before the first step
            service = services.pop()
            seen = service.statistics()["eu"]
            assert 0 == seen.in_flight == seen.probing
            assert ("half_open" if run.cancels else "closed") == seen.state
            assert "ok" == await outcome(service)
            assert "closed" == state(service)

    assert {"returned", "cancelled"} == {run.ended for run in cancelled_everywhere(scenario, check)}


def test_fifty_concurrent_checks_admit_one() -> None:
    """LC-10, through the layer: one is sent, 49 are refused before anything is sent."""
    inner: Scripted = ScriptedService(["ok"], delay=1.0)

    async def main() -> list[str]:
        service = breaker(inner)
        service.half_open("eu")
        return await asyncio.gather(*(outcome(service) for _ in range(50)))

    ends, _ = run_virtual(main())
    assert ["ok"] + ["refused"] * 49 == ends
    assert 1 == len(inner.calls)


def test_opens_and_comes_back_by_time() -> None:
    """LC-1..4, CB-12 reversed: refused without a call below until *ready_at*, then probed."""
    inner: Scripted = ScriptedService([ServerError(), "ok"])

    async def main() -> list[Any]:
        service = breaker(inner)
        seen: list[Any] = [await outcome(service), await outcome(service)]
        ready = service.statistics()["eu"].ready_at
        assert ready is not None
        await asyncio.sleep(ready)
        return [*seen, await outcome(service), state(service), len(inner.calls), ready]

    *seen, ready = run_virtual(main())[0]
    assert ["failed", "refused", "ok", "closed", 2] == seen
    assert 2.5 <= ready < 5


def test_a_bug_passes_and_counts_for_nobody() -> None:
    """As it was, once, and the circuit has learned nothing."""
    bug = ZeroDivisionError()
    inner: Scripted = ScriptedService([bug, bug])

    async def main() -> None:
        service = breaker(inner)
        service.half_open("eu")
        for _ in range(2):
            with pytest.raises(ZeroDivisionError) as caught:
                await service(EU)
            assert bug is caught.value
        assert ("half_open", 0) == (state(service), service.statistics()["eu"].recent)

    asyncio.run(main())


def is_ours(error: Exception) -> LLMStackError | None:
    """A user's classifier, for a service of his own."""
    if isinstance(error, PermissionError):
        return AuthFailed()
    return ServerError() if isinstance(error, ConnectionError) else None


@pytest.mark.parametrize(
    ("error", "after"),
    [(ConnectionError(), "open"), (PermissionError(), "closed"), (OSError(), "closed")],
    ids=["endpoint", "key", "unknown"],
)
def test_judges_errors_of_others(error: Exception, after: str) -> None:
    """In front of anything: what the classifier blames the endpoint for is a failure."""
    layer = CircuitBreaker(ConsecutiveFailures(1), key=str, classify=is_ours)
    inner: Scripted = ScriptedService([error])

    async def main() -> str:
        service = layer(inner)
        with pytest.raises(OSError) as caught:
            await service("/answers")
        assert error is caught.value
        return state(service, "/answers")

    assert after == asyncio.run(main())


def test_a_broken_classifier_keeps_no_permit() -> None:
    """Its bug is seen outside, and the probe is not lost."""

    def broken(_error: Exception) -> LLMStackError | None:
        raise ZeroDivisionError

    async def main() -> None:
        inner: Scripted = ScriptedService([OSError(), "ok"])
        service = CircuitBreaker(classify=broken)(inner)
        service.half_open("eu")
        with pytest.raises(ZeroDivisionError):
            await service(EU)
        assert "ok" == await outcome(service)

    asyncio.run(main())


def test_two_uses_are_two_states_and_one_use_is_one() -> None:
    """CB-9: state belongs to the service, not to the layer; and each key has its own."""
    layer = CircuitBreaker()

    async def main() -> None:
        one: Breaker = layer(echo)
        other: Breaker = layer(echo)
        one.open("eu")

        assert ["refused"] * 2 == [await outcome(one), await outcome(one)]
        assert ["ok", "ok"] == [await outcome(other), await outcome(one, dispatched("us"))]

    asyncio.run(main())


def test_an_endpoint_that_is_refused_below_is_not_to_blame() -> None:
    """LC-13: the refusal passes, and the probe goes to the next request."""
    inner: Scripted = ScriptedService([ConcurrencyFull(), "ok"])

    async def main() -> None:
        service = breaker(inner)
        service.half_open("eu")
        with pytest.raises(ConcurrencyFull):
            await service(EU)
        assert ("half_open", "ok") == (state(service), await outcome(service))

    asyncio.run(main())


def test_the_service_can_be_made_without_a_loop() -> None:
    """LC-9: a loop is needed to call, not to build."""
    assert {} == CircuitBreaker()(echo).statistics()
    assert "circuit_breaker" == CircuitBreaker.role


def test_a_good_state_costs_no_chance() -> None:
    """Nothing is drawn while all is well, so a seed does not depend on the traffic."""
    rng = Random(3)

    async def main() -> None:
        service: Breaker = CircuitBreaker(rng=rng)(echo)
        for _ in range(10):
            await service(EU)

    asyncio.run(main())
    assert Random(3).getstate() == rng.getstate()


def test_a_dropped_stream_ends_without_a_loop() -> None:
    """Its permit is back, though nobody could ask for the time any more."""

    async def main() -> Breaker:
        service = breaker(ScriptedService([stream_of([ScriptedEvent()])]))
        kept.append(await service(EU))
        return service

    kept: list[object] = []
    service = asyncio.run(main())
    then = service.statistics()["eu"].in_flight
    kept.clear()
    gc.collect()

    assert (1, 0) == (then, service.statistics()["eu"].in_flight)
