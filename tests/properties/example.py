"""The example stack of the documentation, over endpoints whose behaviour is drawn from a seed."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import llmstack as ls
from llmstack.testing.scripted import ScriptedEvent, stream_of


def endpoint(name: str, seed: int, *, steady: bool = False) -> ls.Endpoint:
    """Return an endpoint that waits, answers, streams or fails as its dice say."""
    dice = Random(f"{name}/{seed}")

    async def service(request: ls.Request, /) -> ls.Reply:
        await asyncio.sleep(dice.uniform(0.05, 0.5))
        chance = 1.0 if steady else dice.random()
        if chance < 0.15:
            raise ls.ServerError("as the dice say", status=500)
        if chance < 0.3:
            raise ls.RateLimited("as the dice say", status=429, retry_after=dice.uniform(0, 2))
        if not request.stream:
            return ls.Response(b"{}", usage=ls.Usage(10, 5))
        broken = [ls.StreamBroken("as the dice say")] if chance < 0.4 else []
        return stream_of([0.1, ScriptedEvent(), 0.2, *broken, ScriptedEvent()])

    return ls.Endpoint(name, service, price=ls.Price(1, 2))


def stack_of(router: ls.Layer, *, seed: int = 0) -> ls.Stack[ls.Request, Any]:
    """Return the example stack with *router* in it."""
    return (
        ls.ServiceBuilder(seed=seed)
        .layer(ls.Log())
        .layer(ls.Deadline(30))
        .layer(ls.Retry(attempts=3))
        .layer(router)
        .layer(ls.Metrics(ls.MemoryRecorder()))
        .layer(ls.CircuitBreaker())
        .layer(ls.ConcurrencyLimit(2))
        .layer(ls.Timeout(first_token=10, idle=15, total=20))
        .service(ls.dispatch)
    )
