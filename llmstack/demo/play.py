"""The play: who is on stage, what happens when, and what to make of it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from random import Random
from statistics import quantiles
from types import MappingProxyType
from typing import Any, Final, final

import click
from aiohttp import ClientSession
from attrs import define
from structlog.testing import capture_logs

from llmstack import clock
from llmstack.builder import Stack
from llmstack.demo.report import Acts, Summary, share_of
from llmstack.demo.screen import Screen, screen_for
from llmstack.demo.stack import build, source
from llmstack.demo.traffic import Callers, added
from llmstack.gateway.app import running
from llmstack.gateway.routes import Gateway
from llmstack.messages import Request
from llmstack.testing.provider import FakeProvider


__all__ = ["Builds", "play", "run_demo"]

#: Makes the stack from the addresses of the three providers and a seed.
Builds = Callable[[str, str, str, int], Stack[Request, Any]]

#: How often the screen is drawn, in seconds.
FRAME: Final = 0.25
NEWS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "circuit_breaker.opened": "the breaker of {endpoint} opens: {reason}",
        "circuit_breaker.degraded": "the breaker of {endpoint} holds back: {reason}",
        "circuit_breaker.half_opened": "the breaker of {endpoint} tries a probe",
        "circuit_breaker.closed": "the breaker of {endpoint} closes: {reason}",
    }
)


def run_demo(seconds: float, seed: int, *, as_json: bool = False, build: Builds = build) -> int:
    """Play it and print what was seen; return 1 if a caller saw a failure."""
    screen = screen_for(sys.stdout, quiet=as_json)
    try:
        # What layers log is shown as news.
        with capture_logs() as logs:
            summary = asyncio.run(play(seconds, seed, screen, logs, build))
    finally:
        screen.close()
    if as_json:
        click.echo(json.dumps(summary.as_dict()))
    else:
        click.echo(f"\n{summary.says()}\n\nThe stack that did it:\n\n{source()}")
    return summary.exit_code


async def play(
    seconds: float, seed: int, screen: Screen, logs: list[Any], build: Builds = build
) -> Summary:
    """Let it happen on *screen*; *logs* grow meanwhile, and *build* makes the stack."""
    async with AsyncExitStack() as stage:
        providers = [
            await stage.enter_async_context(FakeProvider(latency=_around(latency), seed=seed + n))
            for n, latency in enumerate((0.04, 0.12, 0.06))
        ]
        fast, slow, dear = (each.base_url for each in providers)
        stack = build(fast, slow, dear, seed)
        gateway = Gateway(routes={"chat": stack}, listen=("127.0.0.1", 0), shutdown_timeout=5.0)
        url = await stage.enter_async_context(running(gateway))
        session = await stage.enter_async_context(ClientSession())
        callers = Callers(session, url, Random(seed))
        show = _Show(screen, stack, callers, logs, clock.now())
        # What breaks the show breaks the demo, at once.
        async with asyncio.TaskGroup() as group:
            drawn = group.create_task(show.go_on())
            await _acts(Acts(seconds), show, providers[0])
            drawn.cancel()
        for provider in providers:
            provider.latency = 0.0  # or the difference between two of them would be measured
        extra = await added(session, fast, url)
    return show.summary(Acts(seconds), seed, extra)


def _around(latency: float) -> Callable[[Random], float]:
    """Return a latency that varies by a quarter either way."""
    return lambda dice: latency * dice.uniform(0.75, 1.25)


async def _acts(acts: Acts, show: _Show, fast: FakeProvider) -> None:
    """Let the callers call while the fast provider dies and comes back."""
    async with asyncio.TaskGroup() as group:
        group.create_task(show.callers.call(show.began + acts.seconds))
        await asyncio.sleep(acts.dies)
        await fast.die()
        show.tell("the fast provider dies: its connections are reset, new ones refused")
        await asyncio.sleep(acts.returns - acts.dies)
        await fast.revive()
        show.tell("the fast provider is back")


@final
@define(eq=False)
class _Show:
    """What is seen, from the first request on."""

    screen: Screen
    stack: Stack[Request, Any]
    callers: Callers
    logs: list[Any]
    began: float

    def tell(self, news: str) -> None:
        self.screen.tell(clock.now() - self.began, news)

    async def go_on(self) -> None:
        """Draw a frame now and then, with what has been logged meanwhile."""
        told = 0
        while True:
            for entry in self.logs[told:]:
                if entry["event"] in NEWS:
                    self.tell(NEWS[entry["event"]].format(**entry))
            told = len(self.logs)
            now = clock.now()
            recent = [each for each in self.callers.answered[-400:] if each.at > now - 1.0]
            breakers = self.stack["circuit_breaker"].statistics()
            states = {name: circuit.state for name, circuit in breakers.items()}
            self.screen.show(now - self.began, recent, states)
            await asyncio.sleep(FRAME)

    def summary(self, acts: Acts, seed: int, extra: float) -> Summary:
        """Reckon up."""
        answered, began = self.callers.answered, self.began
        waits = quantiles([each.seconds * 1000 for each in answered], n=100)
        dies, back, over = (began + at for at in (acts.dies, acts.returns, acts.seconds))
        third = (back - dies) / 3
        breakers = self.stack["circuit_breaker"].statistics().values()
        return Summary(
            requests=len(answered),
            failures=sum(bool(each.failure) for each in answered),
            extra_attempts=sum(max(0, each.attempts - 1) for each in answered),
            breaker_openings=sum(circuit.opened for circuit in breakers),
            share_before=share_of("fast", answered, began, dies),
            share_during=share_of("fast", answered, dies, back),
            share_after=share_of("fast", answered, over - third, over + 1),
            p50_ms=waits[49],
            p99_ms=waits[98],
            added_ms=extra,
            seconds=acts.seconds,
            seed=seed,
        )
