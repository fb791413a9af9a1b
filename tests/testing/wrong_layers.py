"""Layers that break one promise each: what `check_layer` is checked with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, ClassVar

from attrs import define, field, frozen

import llmstack as ls


Does = Callable[["Own", object], Awaitable[object]]


@define(eq=False)
class Own:
    """A service that does as a test says, with a count of what is out."""

    inner: ls.Service[Any, Any]
    does: Does
    in_flight: int = 0
    kept: list[object] = field(factory=list, init=False)

    async def __call__(self, request: object, /) -> object:
        return await self.does(self, request)

    def statistics(self) -> dict[str, Own]:
        return {"all": self}


@frozen
class Wrapped:
    """The layer of it; *limit* refuses what is above."""

    does: Does

    role: ClassVar[str] = "own"

    def __call__(self, inner: ls.Service[Any, Any], /) -> Own:
        return Own(inner, self.does)


async def right(own: Own, request: object) -> object:
    """Count by `observe`, and let one through at a time."""
    if own.in_flight:
        raise ls.ConcurrencyFull
    own.in_flight += 1

    def end(_outcome: ls.Outcome) -> None:
        own.in_flight -= 1

    return await ls.observe(own.inner, request, end)


async def counts_by_finally(own: Own, request: object) -> object:
    """Give the place back too early: a stream is not over when it is there."""
    own.in_flight += 1
    reply = None
    try:
        reply = await own.inner(request)
    finally:
        own.in_flight -= not isinstance(reply, ls.EventStream)
    return reply


async def forgets_cancels(own: Own, request: object) -> object:
    """Give back on errors, but not when the caller leaves."""

    def end(outcome: ls.Outcome) -> None:
        own.in_flight -= outcome.how != "cancelled"

    own.in_flight += 1
    return await ls.observe(own.inner, request, end)


async def refuses_for_ever(own: Own, request: object) -> object:
    """Take the caller's first mistake for the end of the world."""
    if own.kept:
        raise ls.CircuitOpen
    try:
        return await own.inner(request)
    except ls.BadRequest:
        own.kept.append("failed")
        raise


async def retries_bugs(own: Own, request: object) -> object:
    """Ask again whatever happened."""
    try:
        return await own.inner(request)
    except ZeroDivisionError:
        return await own.inner(request)


async def looks_at_bugs_twice(own: Own, request: object) -> object:
    """Ask again, to be sure, and then raise what came first."""
    try:
        return await own.inner(request)
    except ZeroDivisionError:
        with suppress(ZeroDivisionError):
            await own.inner(request)
        raise


async def wraps_bugs(own: Own, request: object) -> object:
    """Call a bug by another name."""
    try:
        return await own.inner(request)
    except ZeroDivisionError as error:
        raise ls.ServerError from error


async def blames_bugs(own: Own, request: object) -> object:
    """Hold somebody responsible for a bug."""
    if len(own.kept) > 9:
        raise ls.CircuitOpen
    try:
        return await own.inner(request)
    except ZeroDivisionError:
        own.kept.append("bug")
        raise


async def holds_streams(own: Own, request: object) -> object:
    """Keep what it has handed out, so that nobody can drop it."""
    reply = await own.inner(request)
    own.kept.append(reply)
    return reply


async def reads_streams(own: Own, request: object) -> object:
    """Hand up something else than what came."""
    reply = await own.inner(request)
    return [event async for event in reply] if isinstance(reply, ls.EventStream) else reply


class Mute:
    """A reply that never tells its end."""

    def on_end(self, end: object) -> None:
        """Forget it."""


async def mutes_streams(own: Own, request: object) -> object:
    """Close what came, and hand up something that has no end."""
    reply = await own.inner(request)
    if not isinstance(reply, ls.EventStream):
        return reply
    reply.close()
    return Mute()


async def leaves_a_watch(own: Own, request: object) -> object:
    """Start something after a failure that nobody stops."""
    try:
        return await own.inner(request)
    except ls.BadRequest:
        own.kept.append(asyncio.ensure_future(asyncio.sleep(1e9)))  # noqa: TID251
        raise


async def swallows_cancels(own: Own, request: object) -> object:
    """Go on when the caller has left."""
    try:
        return await own.inner(request)
    except asyncio.CancelledError:
        return await own.inner(request)


async def leaves_tasks(own: Own, request: object) -> object:
    """Ask in a task that outlives the caller."""
    task = asyncio.ensure_future(own.inner(request))  # noqa: TID251
    task.add_done_callback(lambda task: task.cancelled() or task.exception())
    return await asyncio.shield(task)


@define(eq=False)
class Shared:
    """A layer whose state is its own, and not that of each use."""

    own: Own | None = field(default=None, init=False)

    def __call__(self, inner: ls.Service[Any, Any], /) -> Own:
        before, self.own = self.own, Own(inner, right)
        if before is not None:
            self.own.in_flight = before.in_flight
        return self.own
