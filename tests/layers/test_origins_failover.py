"""What the sources of failover and hedging promised, and did wrong, through whole stacks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from llmstack import clock
from llmstack.builder import ServiceBuilder, Stack
from llmstack.endpoint import Endpoint
from llmstack.errors import (
    BadRequest,
    ContextLengthExceeded,
    LLMStackError,
    NoEndpoint,
    Overloaded,
    RateLimited,
    ServerError,
    UpstreamError,
)
from llmstack.layers.circuit_breaker import CircuitBreaker
from llmstack.layers.cooldown import Cooldown
from llmstack.layers.hedge import Hedge, always
from llmstack.layers.retry import Retry
from llmstack.messages import Request, dispatch
from llmstack.providers.anthropic.classify import classify as by_anthropic
from llmstack.providers.openai.classify import classify as by_openai
from llmstack.routers.fallback import Fallback
from llmstack.routers.round_robin import RoundRobin
from llmstack.testing.scripted import ScriptedService
from llmstack.testing.virtual import run_virtual


Scripted = ScriptedService[Any, Any]
Classify = Callable[..., UpstreamError]

BOTH: Final = pytest.mark.parametrize(
    "of_wire", [by_openai, by_anthropic], ids=["openai", "anthropic"]
)


def walked(layer: type[Any], scripts: list[list[Any]], **settings: Any) -> tuple[object, list[int]]:  # noqa: ANN401 -- the settings of any router
    """How one call ends, and how often each endpoint was asked."""
    services = [Scripted(script) for script in scripts]
    there = [Endpoint(name, service) for name, service in zip("abc", services, strict=False)]
    stack: Stack[Any, Any] = (
        ServiceBuilder(seed=1).layer(layer(there, **settings)).service(dispatch)
    )

    async def main() -> object:
        try:
            return await stack(Request())
        except LLMStackError as error:
            return error

    with capture_logs():
        end, _ = run_virtual(main())
    return end, [len(service.calls) for service in services]


@BOTH
@pytest.mark.parametrize(
    ("status", "moves"), [(499, False), (500, True), (503, True), (529, True), (599, True)]
)
def test_the_trigger_for_servers_begins_at_500(
    of_wire: Classify, status: int, *, moves: bool
) -> None:
    """FO-2, FO-7: as an endpoint says it, with its status and nothing else."""
    error = of_wire(status, {}, b"")
    end, asked = walked(Fallback, [[error], ["ok"]], triggers=["server"])

    assert ("ok" if moves else error) == end
    assert [1, int(moves)] == asked


@BOTH
def test_an_overload_goes_elsewhere_at_once(of_wire: Classify) -> None:
    """U-5: 529 is `Overloaded`, which no router takes for the caller's fault."""
    error = of_wire(529, {}, b"")

    assert Overloaded is type(error)
    assert ("ok", [1, 1]) == walked(Fallback, [[error], ["ok"]])


@pytest.mark.parametrize("kind", [BadRequest, RateLimited])
@pytest.mark.parametrize("before", [0, 1, 2])
def test_what_is_no_trigger_leaves_at_once(kind: type[UpstreamError], before: int) -> None:
    """FO-8: also from among the attempts at the primary; no fallback is asked."""
    other = kind()
    script = [*[ServerError()] * before, other]
    end, asked = walked(Fallback, [script, ["ok"]], triggers=["server"], retry_primary=2)

    assert other is end
    assert [before + 1, 0] == asked


def test_a_prompt_that_is_too_long_cools_and_opens_nothing() -> None:
    """U-15, U-4: it says nothing of the endpoint, which goes on to serve all others."""
    service = Scripted([*[ContextLengthExceeded()] * 50, "ok"])
    stack: Stack[Any, Any] = (
        ServiceBuilder(seed=1)
        .layer(RoundRobin([Endpoint("eu", service)]))
        .layer(CircuitBreaker())
        .layer(Cooldown())
        .service(dispatch)
    )

    async def main() -> object:
        for _ in range(50):
            with pytest.raises(ContextLengthExceeded):
                await stack(Request())
        return await stack(Request())

    assert "ok" == run_virtual(main())[0]
    assert {} == stack.statistics()["cooldown"]
    assert 0 == stack.statistics()["circuit_breaker"]["eu"].bad


class Slow:
    """One of forty answers takes ten seconds, the others one; *early* is what fails at once."""

    def __init__(self) -> None:
        self.came: list[tuple[str, float]] = []
        self.early: list[UpstreamError] = []
        self.usual = 1.0

    async def __call__(self, request: Request, /) -> str:
        assert request.endpoint
        self.came.append((request.endpoint.name, clock.now()))
        if self.early:
            await asyncio.sleep(0.005)
            raise self.early.pop()
        await asyncio.sleep(10.0 if len(self.came) == 40 else self.usual)
        return request.endpoint.name


def hedged(slow: Slow) -> Stack[Any, Any]:
    """Two endpoints, with a hedge that would be sent after a second, and a retry above it."""
    two = [Endpoint("a", dispatch), Endpoint("b", dispatch)]
    builder = ServiceBuilder(seed=1).layer(Retry()).layer(Hedge(hedgeable=always))
    return builder.layer(RoundRobin(two)).service(slow)


def after_forty(slow: Slow, stack: Stack[Any, Any], *early: UpstreamError) -> tuple[object, float]:
    """How a call ends whose first attempts fail with *early*, and after how many seconds."""

    async def main() -> tuple[object, float]:
        async with asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(stack(Request()))
        slow.came.clear()
        slow.usual = 0.5  # which is sooner than a second call would be sent
        slow.early.extend(early)
        begun = clock.now()
        try:
            return await stack(Request()), clock.now() - begun
        except LLMStackError as error:
            return error, clock.now() - begun

    with capture_logs():
        return run_virtual(main())[0]


def test_a_primary_that_fails_does_not_wait_for_the_hedge() -> None:
    """W-LL-30, U-17: the other endpoint is asked in the moment of the failure."""
    slow = Slow()
    stack = hedged(slow)
    end, seconds = after_forty(slow, stack, ServerError())

    (first, begun), (second, moved) = slow.came
    assert stack.statistics()["hedge"]["delay"]
    assert end == second != first
    assert pytest.approx(0.005) == moved - begun
    assert pytest.approx(0.505) == seconds


def test_a_fault_of_the_caller_is_not_sent_twice() -> None:
    """W-LL-31: it leaves at once, and nobody else is asked or paid."""
    slow, fault = Slow(), BadRequest()
    stack = hedged(slow)
    end, seconds = after_forty(slow, stack, fault)

    assert fault is end
    assert stack.statistics()["hedge"]["delay"]
    assert 1 == len(slow.came)
    assert pytest.approx(0.005) == seconds


def test_what_was_put_aside_does_not_come_back_in_step() -> None:
    """W-LL-33: after the time that was named and not before, each a bit later by chance."""
    back: list[float] = []
    for seed in range(20):
        service = Scripted([RateLimited(retry_after=10.0)])
        layer = RoundRobin([Endpoint("eu", service)])
        stack: Stack[Any, Any] = (
            ServiceBuilder(seed=seed).layer(layer).layer(Cooldown()).service(dispatch)
        )

        async def main(stack: Stack[Any, Any] = stack) -> float:
            with pytest.raises(RateLimited):
                await stack(Request())
            with pytest.raises(NoEndpoint) as refusal:
                await stack(Request())
            assert refusal.value.ready_at is not None
            return refusal.value.ready_at

        with capture_logs():
            back.append(run_virtual(main())[0])

        assert 1 == len(service.calls)

    assert 10.0 <= min(back)
    assert max(back) <= 11.0
    assert 20 == len(set(back))
