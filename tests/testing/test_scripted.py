"""Scripted services and sources do as they are told, and `under_way` ends calls as named."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

import llmstack as ls
from llmstack.call import Outcome
from llmstack.service import by_endpoint, observe
from llmstack.testing import (
    ENDINGS,
    ScriptedEvent,
    ScriptedService,
    ScriptedSource,
    dispatched,
    echo,
    run_virtual,
    stream_of,
    under_way,
)


def test_a_service_plays_its_lines_and_notes_when_it_was_asked() -> None:
    """Values are returned, exceptions raised, each after the delay; classes are values."""
    service = ScriptedService[str, object](["up", ls.ServerError("down"), ValueError], delay=2)

    async def main() -> list[object]:
        said: list[object] = [await service("one")]
        with pytest.raises(ls.ServerError, match="down"):
            await service("two")
        return [*said, await service("three")]

    assert (["up", ValueError], 6.0) == run_virtual(main())
    assert [(0.0, "one"), (2.0, "two"), (4.0, "three")] == service.calls


def test_a_service_whose_script_is_over_says_so() -> None:
    """That is the test's mistake, so no layer takes it for a failure."""
    service = ScriptedService[str, str]([])

    with pytest.raises(AssertionError, match="the script is over, and this is call 1"):
        asyncio.run(service("?"))


def test_a_service_cancelled_in_its_delay_keeps_its_line() -> None:
    """It was asked, and did not come to speak."""
    service = ScriptedService[str, str](["up"], delay=2)

    async def main() -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await service("one")
        return await service("two")

    assert ("up", 3.0) == run_virtual(main())


def test_a_source_plays_one_event_a_read_with_its_waits() -> None:
    """Whole numbers and fractions are seconds; then it is complete."""
    one, two = ScriptedEvent(b"1"), ScriptedEvent(b"2")
    source = ScriptedSource([one, 1, 0.5, two], usage=ls.Usage(1, 2))

    async def main() -> list[object]:
        seen: list[object] = [source.complete]
        for _ in range(3):
            seen += [await source.read(), asyncio.get_running_loop().time()]
        return [*seen, source.complete]

    assert [False, [one], 0.0, [two], 1.5, [], 1.5, True] == run_virtual(main())[0]
    assert (3, 0, ls.Usage(1, 2)) == (source.reads, source.closed, source.usage)
    source.close()
    assert 1 == source.closed


def test_a_source_raises_what_stands_in_its_lines() -> None:
    """And what comes after it is still there."""
    source = ScriptedSource([ls.StreamBroken("cut"), ScriptedEvent()])

    with pytest.raises(ls.StreamBroken, match="cut"):
        asyncio.run(source.read())
    assert not source.complete


def test_a_source_without_terminal_waits_for_ever() -> None:
    """It is never complete."""
    source = ScriptedSource([], terminal=False)

    async def main() -> None:
        async with asyncio.timeout(1000):
            await source.read()

    with pytest.raises(TimeoutError):
        run_virtual(main())
    assert not source.complete


def test_a_stream_has_what_is_held_and_then_its_lines() -> None:
    """Without anything held it has one event, as a leaf would."""
    one, two = ScriptedEvent(b"1"), ScriptedEvent(b"2")

    async def main() -> list[list[object]]:
        return [
            [event async for event in stream]
            for stream in (stream_of([two], one), stream_of([two]), stream_of([]))
        ]

    assert [[one, two], [ScriptedEvent(), two], [ScriptedEvent()]] == asyncio.run(main())


def test_events_are_equal_by_what_they_hold() -> None:
    """So that tests may compare them."""
    assert ScriptedEvent(b"1") == ScriptedEvent(b"1")
    assert ScriptedEvent(b"1") != ScriptedEvent(b"1", "done")


@pytest.mark.parametrize("insists", [True, False])
def test_a_dispatched_request_is_as_below_a_router(*, insists: bool) -> None:
    """It has an endpoint, which answers with the request, and an attempt."""
    request = dispatched("eu", insists=insists)

    assert ("eu", insists) == (by_endpoint(request), request.insists)
    assert request.attempt is not None
    assert "eu" == request.attempt.endpoint
    assert request.endpoint is not None
    assert "?" == asyncio.run(request.endpoint.service("?"))
    assert "?" == asyncio.run(echo("?"))


#: How an observer sees a call that was ended so; and whether content had come.
SEEN = {
    "reply": ("ok", True),
    "error": ("failed", False),
    "cancel": ("cancelled", False),
    "read": ("ok", True),
    "broken": ("failed", True),
    "closed": ("abandoned", True),
    "dropped": ("abandoned", True),
}


def test_every_ending_has_a_meaning() -> None:
    """The table above is about all of them."""
    assert set(ENDINGS) == set(SEEN)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_call_is_under_way_in_the_block_and_ends_after_it(ending: str) -> None:
    """In the way that was named, once; further calls are answered at once."""
    ends: list[Outcome] = []

    def watched(inner: ls.Service[Any, Any]) -> ls.Service[Any, Any]:
        async def service(request: object, /) -> object:
            return await observe(inner, request, ends.append)

        return service

    async def main() -> None:
        async with under_way(watched, "?", ending) as service:
            assert [] == ends
            assert "ok" == await service("!")
            del ends[:]

    asyncio.run(main())
    assert [SEEN[ending]] == [(end.how, end.first is not None) for end in ends]


def test_a_stream_that_is_dropped_in_a_cycle_is_collected() -> None:
    """Before the block is left: a layer may tie knots, and the test goes on to look."""
    ends: list[Outcome] = []

    def knots(inner: ls.Service[Any, Any]) -> ls.Service[Any, Any]:
        async def service(request: object, /) -> object:
            reply = await observe(inner, request, ends.append)
            knot: list[object] = [reply]
            knot.append(knot)
            return reply

        return service

    async def main() -> list[str]:
        async with under_way(knots, "?", "dropped"):
            assert [] == ends
        return [end.how for end in ends]

    gc.disable()
    try:
        assert ["abandoned"] == asyncio.run(main())
    finally:
        gc.enable()
