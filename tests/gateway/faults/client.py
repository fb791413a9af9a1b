"""Cases 56 to 69: callers that leave or wait, time that is over, and calls in several forms."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from typing import Any, Final

from llmstack.builder import Stack
from llmstack.messages import EventStream, Request
from llmstack.testing.upstream import fin, sleep
from tests.gateway.faults.case import (
    Act,
    Case,
    Cut,
    Explained,
    Left,
    Same,
    Setup,
    Told,
    broken,
    every,
    fine,
)
from tests.gateway.faults.spoken import (
    HEAD,
    LAST,
    ONE,
    OPENING,
    REST,
    SOON,
    WHOLE,
    Flood,
    Part,
    Said,
    page,
)
from tests.gateway.faults.world import Client


__all__ = ["CASES", "EXPLAINED"]

#: More than all kernels on the way hold for somebody who does not read.
MOST: Final = 48 << 20


GUSH: Final = Flood(Said(lambda d: d.text("x" * 60_000)), MOST)


async def a_second(_client: Client) -> None:
    """Wait until everybody else waits."""
    await asyncio.sleep(1.0)


async def sleepy(_client: Client) -> None:
    """Read nothing for a long time."""
    await asyncio.sleep(20.0)


async def content(client: Client) -> None:
    """Read up to the first content."""
    await client.until(b"one ")


def left(number: int, name: str, early: Sequence[Part], goes: Act) -> tuple[Case, ...]:
    """A caller that leaves after a second without content."""
    setup = Setup(acts=(a_second, goes), took=1.0)
    return (
        Case(number, name, "spare", early, Left(("cancelled",)), setup),
        Case(number, name, "alone", early, Left(("cancelled",)), setup),
    )


def left_later(number: int, name: str, goes: Act) -> Case:
    """A caller that leaves behind the first content."""
    setup = Setup(acts=(content, a_second, goes), took=1.0)
    expected = Left(("cancelled", "abandoned"))
    return Case(number, name, "committed", (HEAD, OPENING, ONE), expected, setup)


async def breaks_off(stack: Stack[Request, Any], request: Request) -> None:
    """Read one event, and leave the block."""
    async with await stack(request) as stream:
        async for _ in stream:
            break


async def drops_it(stack: Stack[Request, Any], request: Request) -> None:
    """Forget a stream that nobody has read."""
    stream = await stack(request)
    assert isinstance(stream, EventStream)
    del stream
    gc.collect()


async def drops_it_later(stack: Stack[Request, Any], request: Request) -> None:
    """Read one event without a block, and forget the stream."""
    stream = await stack(request)
    await anext(stream)
    del stream
    gc.collect()


async def cancelled_twice(stack: Stack[Request, Any], request: Request) -> None:
    """Cancel a reader, and once more when it closes the stream."""

    async def reads() -> None:
        async with asyncio.TaskGroup() as group:
            stream = await stack(request)
            closing = group.create_task(asyncio.sleep(0))
            try:
                async for _ in stream:
                    pass
            finally:
                closing.get_loop().call_soon(reading.cancel)
                await stream.aclose()

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(reads())
        await asyncio.sleep(1.0)
        reading.cancel()


async def cancelled_early(stack: Stack[Request, Any], request: Request) -> None:
    """Cancel a call before its content, twice."""

    async def calls() -> None:
        await stack(request)

    async with asyncio.TaskGroup() as group:
        calling = group.create_task(calls())
        await asyncio.sleep(1.0)
        calling.cancel()
        asyncio.get_running_loop().call_soon(calling.cancel)


DEADLINE: Final = Setup(took=5.0, deadline=5.0, timeout={"idle": 4.0})
STOPPED: Final = Setup(took=3.0, stop=1.0, gateway={"shutdown_timeout": 2.0})
DRAINED: Final = Setup(took=1.5, goes=True, stop=1.0, gateway={"shutdown_timeout": 2.0})
SLOWLY: Final = (sleep(3.0), ONE) * 3
LATE: Final = Told("CancelledError", 504, "deadline_exceeded", "DeadlineExceeded")
SHUT: Final = Told("CancelledError", 503, "server_shutting_down")
SHUT_LATER: Final = Cut(
    (OPENING, ONE), "CancelledError", 503, "server_shutting_down", how="cancelled"
)
WAITS: Final = sleep(1.5)
COMPLETE: Final = Said(
    lambda d: page(b"200 OK", b"application/json", d.whole("one two")), framed=False
)

CASES: Final[tuple[Case, ...]] = (
    *left(56, "fin-before-the-head", (), Client.half_close),
    *left(56, "fin-before-content", (HEAD, OPENING), Client.half_close),
    *left(57, "rst-before-content", (HEAD, OPENING), Client.reset),
    left_later(57, "rst-in-the-stream", Client.reset),
    left_later(58, "half-close-in-the-stream", Client.half_close),
    Case(
        59,
        "stops-reading",
        "committed",
        (HEAD, OPENING, ONE, GUSH),
        Left(("abandoned", "cancelled")),
        Setup(took=5.0, acts=(sleepy,), gateway={"write_timeout": 5.0}),
    ),
    *fine(30, "complete-reply", (COMPLETE,), expected=(Same("one two"),) * 2),
    *fine(60, "complete-for-a-stream", (COMPLETE,), expected=(Same("one two"),) * 2),
    *fine(
        60,
        "stream-for-a-complete-one",
        (HEAD, *WHOLE, LAST),
        expected=(Same("one two"),) * 2,
        setup=Setup(stream=False),
    ),
    Case(61, "deadline", "spare", (HEAD, OPENING), LATE, DEADLINE),
    Case(61, "deadline", "alone", (HEAD, OPENING), LATE, DEADLINE),
    Case(
        61,
        "deadline",
        "committed",
        (HEAD, OPENING, ONE, *SLOWLY),
        broken(OPENING, ONE, ONE, error="DeadlineExceeded"),
        DEADLINE,
    ),
    Case(62, "shutdown", "spare", (HEAD, OPENING), SHUT, STOPPED),
    Case(62, "shutdown", "alone", (HEAD, OPENING), SHUT, STOPPED),
    Case(62, "shutdown", "committed", (HEAD, OPENING, ONE), SHUT_LATER, STOPPED),
    *fine(
        62,
        "drained",
        (HEAD, OPENING, WAITS, ONE, *REST, LAST),
        (HEAD, OPENING, ONE, WAITS, *REST, LAST),
        setup=DRAINED,
    ),
    *every(
        64,
        "a-long-way-to-content",
        (*(OPENING,) * 100, SOON, fin),
        "ConnectionLost",
        cut=broken(OPENING, ONE, *(OPENING,) * 100, cause="ConnectionLost"),
    ),
    *(
        Case(
            65,
            user.__name__.replace("_", "-"),
            "committed",
            (HEAD, OPENING, ONE, SOON, ONE),
            Left(("abandoned",)),
            Setup(user=user),
        )
        for user in (breaks_off, drops_it, drops_it_later)
    ),
    Case(
        66,
        "cancelled-twice",
        "spare",
        (HEAD, OPENING),
        Left(("cancelled",)),
        Setup(took=1.0, user=cancelled_early),
    ),
    Case(
        66,
        "cancelled-twice",
        "alone",
        (HEAD, OPENING),
        Left(("cancelled",)),
        Setup(took=1.0, user=cancelled_early),
    ),
    Case(
        66,
        "cancelled-twice",
        "committed",
        (HEAD, OPENING, ONE),
        Left(("cancelled",)),
        Setup(took=1.0, user=cancelled_twice),
    ),
)

ALL: Final = ("spare", "alone", "committed")
EXPLAINED: Final[tuple[Explained, ...]] = (
    Explained((56,), ("committed",), "behind content it is case 57"),
    Explained((58, 59), ("spare", "alone"), "before content it is case 56"),
    Explained((60,), ("committed",), "a reply has one form from its first byte on"),
    Explained((63,), ALL, "there are no hedges"),
    Explained((65,), ("spare", "alone"), "before content nobody has a stream"),
    Explained((67, 68), ALL, "there are no bridges to these formats"),
    Explained((69,), ALL, "there is no cache and no single flight"),
)
