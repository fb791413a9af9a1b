from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any, final

import pytest
from attrs import define, field
from structlog.testing import capture_logs

from llmstack import clock
from llmstack.builder import ServiceBuilder, Stack
from llmstack.endpoint import Endpoint
from llmstack.errors import LLMStackError, NoEndpoint, ServerError
from llmstack.estimators.trip import FailureRatio
from llmstack.layers.circuit_breaker import CircuitBreaker
from llmstack.messages import Request, dispatch
from llmstack.routers.round_robin import RoundRobin
from llmstack.testing.virtual import run_virtual


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
    """EA-6, P-PA-1: an outage costs six failures; nobody insists while somebody admits."""
    bad, good = Provider(down=(0, 1e9)), Provider()
    ends, _ = run_virtual(traffic(stack_of(CircuitBreaker(), bad, good), 60))

    probes = len(bad.sent) - 6
    assert ["ServerError"] * (6 + probes) == failures(ends)
    assert 2 <= probes <= 5
    assert not any(request.insists for _, request in bad.sent + good.sent)


def test_the_end_of_a_total_outage_is_noticed_at_once() -> None:
    """P-PA: within 5 s, at one probe for each endpoint in 5 s; all others fail fast."""
    two = [Provider(down=(10, 200)) for _ in range(2)]
    stack = stack_of(CircuitBreaker(), *two)
    ends, _ = run_virtual(traffic(stack, 206))

    back = [at for provider in two for at, _ in provider.sent if at >= 200]
    assert "ok" == ends[-1]
    assert min(back) <= 205.5
    for provider in two:
        times = [at for at, _ in provider.sent if 40 <= at < 200]
        assert all(5 <= after - before <= 6 for before, after in pairwise(times))
    quick = [end for end in ends if isinstance(end, NoEndpoint)]
    assert {"ServerError", "NoEndpoint"} == set(failures(ends))
    assert any(end.ready_at for end in quick)


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
    """C22, P-SS-2: from a tenth of its share on, and never more than its share.

    maximhq/bifrost#125 asked for it: whoever is back should not get all of it at once.
    """
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
