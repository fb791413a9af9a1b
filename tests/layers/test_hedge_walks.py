"""A hedge over a router that walks on by itself: two walks of one call at the same time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.layers.hedge import always
from tests.racers import timed


class World:
    """Endpoints that answer after a second; once they are *slow*, as each is told."""

    def __init__(self, plan: dict[str, tuple[float, bool]]) -> None:
        self.plan = plan
        self.learns = True
        self.late = False
        self.asked: list[str] = []
        self.out: dict[str, int] = dict.fromkeys(plan, 0)
        self.most = 0

    def endpoint(self, name: str) -> ls.Endpoint:
        async def answer(_request: ls.Request) -> ls.Response:
            self.asked.append(name)
            self.out[name] += 1
            self.most = max(self.most, self.out[name]) if not self.learns else 0
            seconds, fails = (9.0 if self.late else 1.0, False) if self.learns else self.plan[name]
            self.late = False
            try:
                await asyncio.sleep(seconds)
            finally:
                self.out[name] -= 1
            if fails:
                raise ls.ConnectionLost(name)
            return ls.Response(name.encode())

        return ls.Endpoint(name, answer)

    async def play(self) -> tuple[str, list[str], int]:
        """Learn from forty calls, one of them late; then one call as planned."""
        entries = [self.endpoint(name) for name in self.plan]
        layers: list[ls.Layer] = [ls.Hedge(hedgeable=always), ls.Fallback(entries)]
        stack: Any = ls.ServiceBuilder(layers).service(ls.dispatch)
        async with asyncio.TaskGroup() as group:
            for n in range(40):
                self.late = n == 0
                group.create_task(stack(ls.Request("m")))
                await asyncio.sleep(0)
        self.asked.clear()
        self.learns = False
        request = ls.Request("m")
        try:
            said = (await stack(request)).body.decode()
        except ls.LLMStackError as error:
            said = type(error).__name__
        return said, self.asked, self.most


@pytest.mark.parametrize(
    ("plan", "said", "asked"),
    [
        ({"a": (1.5, True), "b": (3.0, False)}, "b", ["a", "b"]),
        ({"a": (1.5, True), "b": (9.0, False), "c": (1.0, False)}, "c", ["a", "b", "c"]),
        ({"a": (3.0, True), "b": (1.0, True), "c": (1.0, False)}, "c", ["a", "b", "c"]),
        ({"a": (3.0, True), "b": (1.0, True)}, "ConnectionLost", ["a", "b"]),
    ],
    ids=["the other is at work", "somebody is left", "the other walks on", "nobody is left"],
)
def test_nobody_is_asked_by_both(
    plan: dict[str, tuple[float, bool]], said: str, asked: list[str]
) -> None:
    """Whom one walk has asked, the other one leaves out: at work still, or failed meanwhile."""
    with capture_logs():
        found, _ = timed(World(plan).play())

    assert (said, asked, 1) == found


def test_nor_behind_a_refusal_that_took_its_time() -> None:
    """A group says after a while that it has nobody; whom the other call is at is left out then."""
    asked: list[str] = []

    def endpoint(name: str, seconds: float) -> ls.Endpoint:
        async def answer(_request: ls.Request) -> ls.Response:
            asked.append(name)
            await asyncio.sleep(seconds if slow else 1.0)
            if name == "group" and slow:
                raise ls.NoEndpoint("nobody is left")
            return ls.Response(name.encode())

        return ls.Endpoint(name, answer)

    entries = [endpoint("group", 1.5), endpoint("b", 9.0), endpoint("c", 1.0)]
    layers: list[ls.Layer] = [ls.Hedge(hedgeable=always, samples=1, spread=1), ls.Fallback(entries)]
    stack: Any = ls.ServiceBuilder(layers).service(ls.dispatch)
    slow = False

    async def main() -> str:
        nonlocal slow
        for _ in range(40):
            await stack(ls.Request("m"))
        slow = True
        asked.clear()
        reply = await stack(ls.Request("m"))
        return str(reply.body.decode())

    with capture_logs():
        said, _ = timed(main())

    assert ("c", ["group", "b", "c"]) == (said, asked)
