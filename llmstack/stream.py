"""The streamed reply: one reader, one end, and nothing hidden in between.

A leaf makes an `EventStream` only once it holds the first content, so everything that goes
wrong before is an ordinary exception. Layers never wrap the iterator: they register
synchronous observers, or abort it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self, final

from attrs import define, field, setters

from llmstack.call import End, Outcome, Usage
from llmstack.endpoint import Price
from llmstack.errors import LLMStackError, StreamBroken, StreamIncomplete


__all__ = ["Event", "EventStream", "Source"]


class Event(Protocol):
    """One event of the wire format: its bytes as they came, its payload and its name."""

    raw: bytes
    data: bytes
    event: str


class Source(Protocol):
    """Where the events come from: a connection, or a script.

    It may offer ``heard``, the loop time when bytes of any kind last arrived, and ``conclude()``:
    whether it is waiting behind its terminal, which it does no longer then.
    """

    @property
    def usage(self) -> Usage | None:
        """Tokens so far: the provider's word, or an estimate that says so; None if unknown."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the wire format's own terminal has been seen."""
        ...

    async def read(self) -> Sequence[Event]:
        """Return at least one more event, or none after the terminal.

        What it returns may offer ``raw``, the bytes of all of them: then those who only pass
        them on need not have the events taken apart.

        Raises `StreamBroken` when cut and `StreamIncomplete` on a clean end without the
        terminal. Nobody reads on after an error or a cancellation.
        """
        ...

    def close(self) -> None:
        """Give the connection back: to the pool if complete, else close it. Never raises."""
        ...


def _queue(events: Iterable[Event]) -> deque[Event]:
    return deque(events)


@final
@define(eq=False, on_setattr=setters.NO_OP)
class EventStream:
    """A reply that arrives event by event; read it with ``async for`` in ``async with``.

    It ends exactly once: read to its terminal (ok), broken or aborted (failed), with a
    cancelled reader (cancelled), or closed or dropped before its end (abandoned). Then the
    source is closed and all `on_end` callbacks run, synchronously. After a failure each
    further read raises it again, so that a broken reply never looks whole.
    """

    source: Source = field(repr=False)
    status: int = 200
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    price: Price | None = field(default=None, repr=False)
    ended: Outcome | None = field(default=None, init=False)
    first: float = field(init=False)
    waiting_since: float | None = field(default=None, init=False)
    _held: deque[Event] = field(factory=deque, repr=False, alias="held", converter=_queue)
    _loop: asyncio.AbstractEventLoop = field(init=False, repr=False)
    _reader: asyncio.Task[object] | None = field(default=None, init=False, repr=False)
    _ends: list[End] = field(factory=list, init=False, repr=False)
    _observers: list[Callable[[Event], None]] = field(factory=list, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.first = self._loop.time()

    @property
    def usage(self) -> Usage | None:
        """Tokens so far: the provider's word, or an estimate that says so; None if unknown."""
        return self.source.usage

    @property
    def at_hand(self) -> bool:
        """Whether the next event is there, so that to ask for it is not to wait."""
        return bool(self._held)

    def on_event(self, observer: Callable[[Event], None]) -> None:
        """Call *observer* with each event when it is handed to the reader.

        During that call `waiting_since` still tells since when the event was waited for.
        """
        self._observers.append(observer)

    def on_end(self, end: End) -> None:
        """Call *end* once, when the stream is over; now, if it is."""
        if self.ended is None:
            self._ends.append(end)
        else:
            end(self.ended)

    def abort(self, error: LLMStackError) -> None:
        """End the stream with *error*; a waiting reader wakes with it. Nothing if it is over.

        A source that waits behind its terminal stops waiting instead: then nothing is missing.
        """
        if self.ended is None and not getattr(self.source, "conclude", bool)():
            self._stop(Outcome.of(error, self._loop.time(), self.first))

    def close(self) -> None:
        """Leave the stream; what has not been read is given up."""
        if self.ended is None:
            self._stop(Outcome(self._loop.time(), "abandoned", first=self.first))

    async def aclose(self) -> None:
        """Leave the stream; nothing is awaited, so no cancellation can come in between."""
        self.close()

    def __aiter__(self) -> Self:
        """Iterate over the events; there is one reader."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event; raise what ended the stream, if it did not end well."""
        while not self._held:
            self._held.extend(await self._read())
        event = self._held.popleft()
        for observer in self._observers:
            observer(event)
        self._handed()
        return event

    async def block(self) -> bytes | None:
        """Return the bytes of all events that are there, waiting for one; None after the last.

        It is to read them one by one and to join their bytes: observers see each event, and
        what ended the stream badly is raised.
        """
        if not self._held:
            try:
                events = await self._read()
            except StopAsyncIteration:
                return None
            raw: bytes | None = None if self._observers else getattr(events, "raw", None)
            if raw is not None:
                self.waiting_since = None
                if self.source.complete:
                    self._over()
                return raw
            self._held.extend(events)
        block = []
        while self._held:
            event = self._held.popleft()
            block.append(event.raw)
            for observer in self._observers:
                observer(event)
            self._handed()
        return b"".join(block)

    async def __aenter__(self) -> Self:
        """Read inside the block; leaving it closes the stream."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the stream, however the block was left."""
        self.close()

    def __del__(self) -> None:
        """End a stream that was dropped unread; there may be no running loop any more."""
        if getattr(self, "_loop", None) is not None:
            self.close()

    async def _read(self) -> Sequence[Event]:
        """Return more events, or raise what there is to say at the end.

        To be stopped meanwhile arrives as a cancellation of our own. It is all one coroutine,
        because each event wakes all that there are between the loop and the reader.
        """
        task, ended = asyncio.current_task(self._loop), self.ended
        if self._reader is not None or task is None:
            raise RuntimeError("a stream has one reader, and it is a task")
        if ended is not None:
            raise self._last_word()
        asked = task.cancelling()
        self._reader = task
        self.waiting_since = self._loop.time()
        try:
            events = await self.source.read()
        except BaseException as error:
            self._reader = None
            if not self._is_ours(error, task, asked):
                raise
        else:
            self._reader = None
            if self.ended is not None:
                task.uncancel()  # the source took our cancellation for its own
            elif events:
                return events
            else:
                self._over()
        # Raised out here, so that the error keeps the cause it came with.
        raise self._last_word()

    def _is_ours(self, error: BaseException, task: asyncio.Task[object], asked: int) -> bool:
        """Whether *error* only says that the stream was stopped; if not, it ends the stream."""
        ours = self.ended is not None and not isinstance(error, GeneratorExit)
        if ours and task.uncancel() <= asked:
            return True
        self._end(Outcome.of(error, self._loop.time(), self.first))
        return False

    def _handed(self) -> None:
        """End with the last event, as soon as it is handed to the reader."""
        self.waiting_since = None
        if not self._held and self.source.complete:
            self._over()

    def _stop(self, outcome: Outcome) -> None:
        """End the stream from outside of its reader, who is woken if there is one waiting."""
        if self._reader is not None:
            self._reader.cancel()
        self._held.clear()
        self._end(outcome)

    def _last_word(self) -> BaseException:
        """Return what a reader gets after the end."""
        if self.ended is None or self.ended.how == "ok":
            return StopAsyncIteration()
        error = self.ended.error
        if isinstance(error, Exception):
            return error.with_traceback(None)
        return StreamBroken(f"the stream was {self.ended.how} before its end")

    def _over(self) -> None:
        """End with the last event: well only if the source has seen the terminal."""
        now = self._loop.time()
        if self.source.complete:
            self._end(Outcome(now, "ok", first=self.first))
        else:
            self._end(Outcome.of(StreamIncomplete(), now, self.first))

    def _end(self, outcome: Outcome) -> None:
        """Settle, once: note usage and cost, close the source, tell everybody."""
        if self.ended is not None:
            return
        self.waiting_since = None
        usage = outcome.usage = self.source.usage
        if usage is not None and self.price is not None:
            outcome.cost = self.price.cost(usage)
        self.ended = outcome
        self.source.close()
        ends, self._ends = self._ends, []
        for end in ends:
            end(outcome)
