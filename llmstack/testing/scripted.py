"""Services and streams that do as they are told, for tests of layers and routers."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, final

from attrs import define, field

from llmstack import clock
from llmstack.call import Attempt, Usage
from llmstack.endpoint import Endpoint
from llmstack.errors import LLMStackError, ServerError, StreamBroken
from llmstack.messages import Request
from llmstack.service import Layer, Req, Resp
from llmstack.stream import Event, EventStream


__all__ = [
    "ENDINGS",
    "ScriptedEvent",
    "ScriptedService",
    "ScriptedSource",
    "dispatched",
    "echo",
    "stream_of",
    "under_way",
]

#: The ways in which a call can end; the last four are those of a stream.
ENDINGS: Final = ("reply", "error", "cancel", "read", "broken", "closed", "dropped")


#: What a scripted source plays: an event, a wait in seconds, or an error.
Line = Event | float | BaseException


def _script(lines: Iterable[Resp | BaseException]) -> deque[Resp | BaseException]:
    return deque(lines)


def _lines(lines: Iterable[Line]) -> deque[Line]:
    return deque(lines)


async def echo(request: Req, /) -> Req:
    """Answer with the request itself."""
    return request


def dispatched(name: str, *, insists: bool = False) -> Request:
    """Return a request as it is below a router that chose the endpoint *name*."""
    return Request().to(Endpoint(name, echo), Attempt(name, 0.0), insists=insists)


@final
@define(eq=False)
class ScriptedService(Generic[Req, Resp]):
    """Returns or raises line by line; *calls* holds when it was asked, and what.

    Each call first takes *delay* seconds.

    >>> import asyncio
    >>> service = ScriptedService([ServerError("down"), "up"])
    >>> asyncio.run(service("?"))
    Traceback (most recent call last):
    llmstack.errors.ServerError: down
    >>> asyncio.run(service("?"))
    'up'
    """

    script: deque[Resp | BaseException] = field(converter=_script)
    delay: float = 0.0
    calls: list[tuple[float, Req]] = field(factory=list, init=False)

    async def __call__(self, request: Req, /) -> Resp:
        """Play the next line; AssertionError when there is none."""
        self.calls.append((clock.now(), request))
        if self.delay:
            await asyncio.sleep(self.delay)
        if not self.script:
            raise AssertionError(f"the script is over, and this is call {len(self.calls)}")
        line = self.script.popleft()
        if isinstance(line, BaseException):
            raise line
        return line


@final
@define
class ScriptedEvent:
    """An event with any payload."""

    data: bytes = b"{}"
    event: str = ""
    raw: bytes = b""


@final
@define(eq=False)
class ScriptedSource:
    """Plays events, waits (numbers, in seconds) and errors in order, one a read.

    When the lines are used up the source is complete, unless *terminal* is off: then it
    waits for ever. *closed* counts the calls of `close`, *reads* those of `read`.
    """

    lines: deque[Line] = field(converter=_lines)
    usage: Usage | None = None
    terminal: bool = True
    closed: int = field(default=0, init=False)
    reads: int = field(default=0, init=False)

    @property
    def complete(self) -> bool:
        """Whether all has been played."""
        return self.terminal and not self.lines

    async def read(self) -> Sequence[Event]:
        """Play up to the next event or error."""
        self.reads += 1
        while self.lines:
            line = self.lines.popleft()
            if isinstance(line, BaseException):
                raise line
            if not isinstance(line, (int, float)):
                return [line]
            await asyncio.sleep(line)
        if not self.terminal:
            await asyncio.Event().wait()
        return []

    def close(self) -> None:
        """Count it."""
        self.closed += 1


def stream_of(lines: Iterable[Line], *held: Event) -> EventStream:
    """Return a stream that has *held* already and then plays *lines*."""
    return EventStream(ScriptedSource(lines), held=held or (ScriptedEvent(),))


@final
@define(eq=False)
class _Held:
    """Holds its first call until told how to end; answers all others with "ok"."""

    ending: str
    asked: asyncio.Event = field(factory=asyncio.Event)
    go: asyncio.Event = field(factory=asyncio.Event)

    async def __call__(self, _request: object, /) -> object:
        if self.asked.is_set():
            return "ok"
        self.asked.set()
        if self.ending in {"reply", "error", "cancel"}:
            await self.go.wait()
            if self.ending == "error":
                raise ServerError("as told")
            return "ok"
        broken: list[Line] = [StreamBroken("as told")]
        return stream_of(broken if self.ending == "broken" else [ScriptedEvent()])


async def _finish(ending: str, reply: object) -> None:
    """End the stream *reply* in the way of *ending*."""
    if ending == "dropped" or not isinstance(reply, EventStream):
        return
    if ending == "closed":
        await reply.aclose()
        return
    try:
        async for _ in reply:
            pass
    except StreamBroken:
        return


@asynccontextmanager
async def under_way(layer: Layer, request: object, ending: str) -> AsyncIterator[Any]:
    """Have one call of *request* in flight through *layer* in the block, then end it.

    Gives the service; all further calls are answered with "ok". *ending* is one of
    `ENDINGS`.
    """
    held = _Held(ending)
    service = layer(held)

    async def call() -> object:
        try:
            return await service(request)
        except LLMStackError:
            return None

    async with asyncio.TaskGroup() as group:
        task = group.create_task(call())
        await held.asked.wait()
        if ending not in {"reply", "error", "cancel"}:
            await asyncio.wait([task])
        yield service
        held.go.set()
        if ending == "cancel":
            task.cancel()
    if not task.cancelled():
        await _finish(ending, task.result())
    del task
    gc.collect()
