"""A hedge leaves room: it takes nothing that other calls may need, and presses nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.call import Attempt, Call
from llmstack.layers.hedge import Hedge, always
from llmstack.service import is_extra
from llmstack.testing.scripted import echo
from tests.racers import timed


class World:
    """Two endpoints that answer after a second; *late* calls to the first one take nine.

    And those of a tenant who is busy take twenty.
    """

    def __init__(self) -> None:
        self.late = False
        self.asked: list[tuple[str, bool]] = []
        self.endpoints = [ls.Endpoint(name, self.service(name)) for name in ("eu", "us")]

    def service(self, name: str) -> Callable[[ls.Request], Any]:
        async def answer(request: ls.Request, /) -> ls.Reply:
            self.asked.append((name, request.insists))
            late = 9.0 if self.late and name == "eu" else 1.0
            await asyncio.sleep(20.0 if request.tenant else late)
            return ls.Response(name.encode())

        return answer

    def stack(self, *below: ls.Layer) -> Any:  # noqa: ANN401
        layers: list[ls.Layer] = [Hedge(hedgeable=always), ls.Fallback(self.endpoints)]
        return ls.ServiceBuilder([*layers, *below]).service(ls.dispatch)


async def learnt(stack: Any, world: World) -> None:  # noqa: ANN401
    """Make forty calls, one of them late, so that the next late one is hedged."""
    async with asyncio.TaskGroup() as group:
        for n in range(40):
            world.late = n == 0
            group.create_task(stack(ls.Request("m")))
            await asyncio.sleep(0)
    world.asked.clear()
    world.late = True


def hedged(below: ls.Layer, *, others: int = 0) -> tuple[str, Any, World]:
    """Who answers a late call while *others* are under way at us, and what the hedge counts."""
    world = World()
    stack = world.stack(below)

    async def main() -> str:
        await learnt(stack, world)
        gate = stack.services[2]
        us = world.endpoints[1]
        async with asyncio.TaskGroup() as group:
            held = [
                group.create_task(gate(ls.Request("m", tenant="busy").to(us, Attempt("us", 0.0))))
                for _ in range(others)
            ]
            reply = await stack(ls.Request("m"))
            for each in held:
                each.cancel()
        return str(reply.body.decode())

    with capture_logs():
        name, _ = timed(main())
    return name, stack.statistics()["hedge"], world


@pytest.mark.parametrize(("others", "answers"), [(31, "us"), (32, "eu"), (39, "eu")])
def test_the_last_fifth_of_a_limit_is_not_for_second_calls(others: int, answers: str) -> None:
    """At 80 % of the permits nothing is sent twice; all others still get theirs."""
    name, counts, world = hedged(ls.ConcurrencyLimit(40), others=others)

    assert answers == name
    assert (1, 0) if answers == "us" else (0, 1) == (counts["sent"], counts["refused"])
    assert others + (answers == "us") == [asked for asked, _ in world.asked].count("us")


def test_a_second_call_does_not_insist() -> None:
    """Whoever would rather not take it need not: the first call is still at work."""

    def rather_not(inner: ls.Service[Any, Any], /) -> ls.Service[Any, Any]:
        async def gate(request: ls.Request, /) -> object:
            assert request.endpoint is not None
            if request.endpoint.name == "us" and not request.insists:
                raise ls.CircuitOpen("ramping up", soft=True)
            return await inner(request)

        return gate

    name, counts, world = hedged(rather_not)

    assert ("eu", 0, 1) == (name, counts["sent"], counts["refused"])
    assert [("eu", False)] == world.asked


def test_an_attempt_is_extra_while_another_of_its_router_is_at_work() -> None:
    """Not behind one that is over, nor behind one of another router; in a group, with it."""
    call, router, group = Call(), object(), object()
    first, other = Attempt("a", 0.0, router=router), Attempt("g", 0.0, router=group)
    second, third = (Attempt(name, 0.0, router=router) for name in "bc")
    member = Attempt("m", 0.0, router=object())
    call.begin(first)
    call.begin(other)
    call.begin(second)
    call.begin(member, second)
    first.ended = second.ended = 1.0
    call.begin(third)

    seen = [attempt.extra for attempt in (first, other, second, member, third)]
    asked = [ls.Request().to(ls.Endpoint("e", echo), attempt) for attempt in (first, second)]
    assert [False, False, True, True, False] == seen
    assert [False, True, False] == [*map(is_extra, asked), is_extra("anything")]
