"""The world of a storm: fake providers, a gateway over them from a TOML file, and callers.

All of it is real but for the time: sockets are those of the kernel, on loopback, and minutes
take seconds, for the loop's clock jumps when everybody waits.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from random import Random
from typing import Any, Final

from aiohttp import ClientPayloadError, ClientResponse, ClientSession, TCPConnector
from attrs import define, field

import llmstack as ls
from llmstack import clock
from llmstack.config import parse
from llmstack.gateway.app import running
from llmstack.gateway.routes import Gateway
from llmstack.testing.provider import FakeProvider
from tests.storms.storm import NAMES, Called, Fault, Played, Storm


__all__ = ["SOON", "connected", "out", "play", "stack_over", "under_way"]

#: What a user would write: names of endpoints, limits that suit them, and defaults.
STACK: Final = """
[routes.chat]
layers = [
  {{ use = "deadline", seconds = 60 }},
  {{ use = "retry" }},
  {{ use = "{router}", endpoints = {names} }},
  {{ use = "circuit_breaker" }},
  {{ use = "cooldown" }},
  {{ use = "concurrency_limit", limit = 128 }},
  {{ use = "timeout", first_token = 4, idle = 4, total = 8 }},
]
"""
#: What is dealt out before it repeats.
DEALT: Final = 5_000
#: Seconds for the kernel and the loop to notice that a connection is over.
SOON: Final = 0.1


def stack_over(
    router: str, providers: Sequence[FakeProvider], seed: int
) -> ls.Stack[ls.Request, Any]:
    """The stack of the file above, with chance that can be repeated."""
    named = dict(zip(NAMES, providers, strict=False))
    lines = [
        f'[endpoints.{name}]\nprovider = "openai"\nbase_url = "{each.base_url}"\n'
        for name, each in named.items()
    ]
    layers = STACK.format(router=router, names=json.dumps(list(named)))
    route = parse("".join([*lines, layers])).routes["chat"]
    return ls.ServiceBuilder(route.layers, seed=seed).service(ls.dispatch)


async def play(storm: Storm, seed: int = 0) -> Played:
    """Let it happen; it takes as long as it says, and as its last calls do."""
    async with AsyncExitStack() as stage:
        providers = [
            await stage.enter_async_context(
                FakeProvider(latency=storm.latency, pace=0.1, tokens=2, seed=seed + n)
            )
            for n in range(storm.fleet)
        ]
        stack = stack_over(storm.router, providers, seed)
        began = clock.now()
        async with AsyncExitStack() as front:
            gateway = Gateway(routes={"chat": stack}, listen=("127.0.0.1", 0))
            url = await front.enter_async_context(running(gateway))
            session = ClientSession(connector=TCPConnector(limit=0))
            callers = Callers(storm, await front.enter_async_context(session), url, began)
            async with asyncio.TaskGroup() as group:
                group.create_task(_weather(storm, providers, began, Random(seed)))
                group.create_task(callers.come())
            left = [*out(stack.statistics()), *under_way(providers)]
        await asyncio.sleep(SOON)
        left += connected(providers)
    asked = tuple(tuple(seen.at - began for seen in each.requests) for each in providers)
    return Played(tuple(callers.calls), asked, tuple(left))


async def _weather(
    storm: Storm, providers: Sequence[FakeProvider], began: float, dice: Random
) -> None:
    """Do to each provider what is due."""
    for fault in sorted(storm.faults, key=lambda fault: fault.at):
        await asyncio.sleep(began + fault.at - clock.now())
        for name in fault.whom:
            await _befall(providers[NAMES.index(name)], fault, dice)


async def _befall(provider: FakeProvider, fault: Fault, dice: Random) -> None:
    match fault.does:
        case "dies":
            await provider.die()
        case "returns":
            provider.behave()
            await provider.revive()
        case several:
            provider.behave()
            provider.always(several[0])
            if len(several) > 1:
                provider.script(*dice.choices(several, k=DEALT))


@define(eq=False)
class Callers:
    """They come at a steady rate, whether the others were answered or not."""

    storm: Storm
    session: ClientSession
    url: str
    began: float
    calls: list[Called] = field(factory=list)

    async def come(self) -> None:
        """Call, and wait for the last answer."""
        storm = self.storm
        async with asyncio.TaskGroup() as group:
            for n in range(round(storm.seconds * storm.rate)):
                await asyncio.sleep(self.began + n / storm.rate - clock.now())
                group.create_task(self._call(n / storm.rate))

    async def _call(self, at: float) -> None:
        asks = {"model": "chat", "messages": [{"role": "user", "content": f"at {at:g}"}]}
        body = {**asks, "stream": self.storm.streams}
        async with self.session.post(f"{self.url}/chat/completions", json=body) as answer:
            text = (await _read(answer)).decode()
        sent, _, told = answer.headers["x-llmstack-attempts"].partition("; ")
        failed = "" if answer.status == 200 else f"{answer.status} after {told or 'nobody'}"
        last = "[DONE]" if self.storm.streams else '"finish_reason"'
        cut = not failed and last not in text
        ended = clock.now() - self.began
        self.calls.append(Called(at, ended, failed, cut, int(sent)))


async def _read(answer: ClientResponse) -> bytes:
    """What came, up to where it was cut."""
    blocks: list[bytes] = []
    with suppress(ClientPayloadError):
        async for block in answer.content.iter_any():
            blocks.append(block)  # noqa: PERF401 -- those before a cut are kept
    return b"".join(blocks)


def out(statistics: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401 -- of any layer
    """What layers have handed out still, by what they call it."""
    if isinstance(statistics, dict):
        for key, value in statistics.items():
            yield from out(value, f"{path} {key}".strip())
        return
    counted = ("in_flight", "extra", "probing", "pending")
    if path.rpartition(" ")[2] in counted and statistics:
        yield f"{path}: {statistics}"
    for name in counted:
        if getattr(statistics, name, 0):
            yield f"{path} {name}: {getattr(statistics, name)}"


def under_way(providers: Sequence[FakeProvider]) -> Iterator[str]:
    """Requests that have not ended upstream."""
    for name, provider in zip(NAMES, providers, strict=False):
        n = sum(seen.ended == "open" for seen in provider.requests)
        if n:
            yield f"requests at {name}: {n}"


def connected(providers: Sequence[FakeProvider]) -> Iterator[str]:
    """Sockets that are still there when the gateway is gone."""
    for name, provider in zip(NAMES, providers, strict=False):
        server = provider._runner.server
        n = 0 if server is None else len(server.connections)
        if n:
            yield f"connections to {name}: {n}"
