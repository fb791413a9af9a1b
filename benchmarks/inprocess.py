"""What layers cost without a network: microseconds a call, in one process, one after another."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any

import llmstack as ls


Call = Callable[[], Coroutine[Any, Any, object]]

BODY = b'{"model": "m", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 16}'


async def upstream(_request: object, /) -> ls.Response:
    """Answer at once, as an endpoint."""
    return ls.Response(b"{}")


async def passes(inner: ls.Service[Any, Any], request: object) -> object:
    """Be a layer that does nothing."""
    return await inner(request)


def passes_all(_request: object, /) -> bool:
    """Say yes."""
    return True


class Neutral:
    """The cheapest layer there is: one ``async __call__`` that awaits the next."""

    def __init__(self, inner: ls.Service[Any, Any]) -> None:
        self.inner = inner

    async def __call__(self, request: object, /) -> object:
        """Pass it on."""
        return await self.inner(request)


def neutral(count: int) -> ls.Service[Any, Any]:
    """Return the upstream below so many neutral layers."""
    builder = ls.ServiceBuilder()
    for _ in range(count):
        builder = builder.layer(Neutral)
    return builder.service(upstream)


def endpoints() -> list[ls.Endpoint]:
    """Return two endpoints that answer at once."""
    return [ls.Endpoint(name, upstream, price=ls.Price(1, 2)) for name in ("eu", "us")]


def example() -> ls.Service[Any, Any]:
    """Return the example stack: what most people would run."""
    return (
        ls.ServiceBuilder(seed=1)
        .layer(ls.Deadline(30))
        .layer(ls.Retry(attempts=3))
        .layer(ls.LatencyBased(endpoints()))
        .layer(ls.CircuitBreaker())
        .layer(ls.ConcurrencyLimit(64))
        .layer(ls.Timeout(first_token=10, idle=30))
        .service(ls.dispatch)
    )


def routed(router: ls.Layer) -> ls.Service[Any, Any]:
    """Return a stack of a router and nothing else."""
    return ls.ServiceBuilder(seed=1).layer(router).service(ls.dispatch)


def subjects() -> dict[str, ls.Service[Any, Any]]:
    """Return what is measured, by name."""
    return {
        "0 neutral layers": neutral(0),
        "1 neutral layer": neutral(1),
        "10 neutral layers": neutral(10),
        "deadline": ls.Deadline(30)(upstream),
        "retry": ls.Retry()(upstream),
        "hedge": ls.Hedge(hedgeable=passes_all)(upstream),
        "circuit_breaker": ls.CircuitBreaker()(upstream),
        "cooldown": ls.Cooldown()(upstream),
        "concurrency_limit": ls.ConcurrencyLimit(64)(upstream),
        "timeout": ls.Timeout(total=30)(upstream),
        "metrics": ls.Metrics(ls.MemoryRecorder())(upstream),
        "round_robin": routed(ls.RoundRobin(endpoints())),
        "weighted_random": routed(ls.WeightedRandom(endpoints())),
        "fallback": routed(ls.Fallback(endpoints())),
        "latency_based": routed(ls.LatencyBased(endpoints())),
        "cost_based": routed(ls.CostBased(endpoints())),
        "example stack": example(),
    }


async def _timed(service: ls.Service[Any, Any], calls: int) -> float:
    """Return microseconds a call, without what making the request costs."""
    requests = [ls.Request("m", BODY) for _ in range(calls)]
    for request in requests:
        _ = request.body.data
    begun = perf_counter()
    for request in requests:
        await service(request)
    return (perf_counter() - begun) / calls * 1e6


async def _measure(calls: int, rounds: int) -> dict[str, float]:
    best: dict[str, float] = {}
    for _ in range(rounds):
        # In turn, so that a change of the machine's speed meets all of them.
        for name, service in subjects().items():
            took = await _timed(service, calls)
            best[name] = min(took, best.get(name, took))
    return best


def measure(calls: int = 2000, rounds: int = 15) -> dict[str, float]:
    """Return the least of *rounds* for each subject, in microseconds a call."""
    gc.collect()
    gc.disable()
    try:
        return asyncio.run(_measure(calls, rounds))
    finally:
        gc.enable()
