"""What the tests of promises to users share: hosts that fail as told, and stacks over them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from types import MappingProxyType
from typing import Any, Final, TypeVar

from attrs import define, field

import llmstack as ls
from llmstack import clock
from llmstack.testing.scripted import ScriptedEvent, stream_of
from llmstack.testing.virtual import run_virtual


__all__ = [
    "NEVER",
    "ROUTERS",
    "Chat",
    "Host",
    "built",
    "end_of",
    "endpoints",
    "run",
    "told",
    "well",
]

T = TypeVar("T")
Chat = ls.Stack[ls.Request, Any]
#: What is wrong with the n-th request, if anything.
Fails = Callable[[int], ls.LLMStackError | None]

#: The seconds that a host takes that does not answer any more.
NEVER: Final = 1e6

ROUTERS: Final[Mapping[str, Callable[[list[ls.Endpoint]], ls.Layer]]] = MappingProxyType(
    {
        "round_robin": ls.RoundRobin,
        "weighted_random": ls.WeightedRandom,
        "latency_based": ls.LatencyBased,
        "cost_based": ls.CostBased,
        "keys": ls.Keys,
        "fallback": ls.Fallback,
    }
)


def well(_n: int) -> None:
    """Never fail."""


def told(*script: ls.LLMStackError | None) -> Fails:
    """Fail with these, one for each request; then be well."""
    return lambda n: script[n - 1] if n <= len(script) else None


@define(eq=False)
class Host:
    """Answers or fails as told after so many seconds, and keeps books on who is there.

    *asked* has the times, *most* is how many were there at once.
    """

    fails: Fails = well
    takes: float = 0.0
    asked: list[float] = field(factory=list)
    most: int = 0
    _there: int = 0

    async def __call__(self, request: ls.Request, /) -> ls.Reply:
        self.asked.append(clock.now())
        error = self.fails(len(self.asked))
        self._there += 1
        self.most = max(self.most, self._there)
        try:
            await asyncio.sleep(self.takes)
        finally:
            self._there -= 1
        if error is not None:
            raise error
        return stream_of([ScriptedEvent()]) if request.stream else ls.Response(b"{}")


def endpoints(*hosts: Host) -> list[ls.Endpoint]:
    """Endpoints a, b, and so on; each has a key of its own."""
    return [ls.Endpoint(name, host) for name, host in zip("abcdefgh", hosts, strict=False)]


def built(*layers: ls.Layer, seed: int = 1) -> Chat:
    """A stack of *layers*, the outermost first."""
    return ls.ServiceBuilder(layers, seed=seed).service(ls.dispatch)


async def end_of(stack: Chat, request: ls.Request | None = None) -> object:
    """How a call ends: "ok", once it has been read to its end, or the error."""
    try:
        reply = await stack(request or ls.Request("m"))
        if isinstance(reply, ls.EventStream):
            async with aclosing(reply):
                assert 2 == len([event async for event in reply])
    except ls.LLMStackError as error:
        return error
    return "ok"


def run(main: Coroutine[Any, Any, T]) -> T:
    """The result of *main*, on virtual time."""
    # In a thread: where a coroutine goes on behind an exception that was thrown into it, as a
    # caller does whose time was over, coverage on Python 3.11 loses lines in the frames below.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run_virtual, main).result()[0]
