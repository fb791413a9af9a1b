"""Events that came together, of which most need not be taken apart.

A stream that is passed on wants their bytes, and somebody who reads it wants them one by
one. So a run of ordinary events is kept as it came, and split when somebody looks.

Errors: `ProtocolError` for what is no event stream or says nothing for too long, and what a
`Progress` raises; they are kept for whoever has taken the events before them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Final, final, overload

from attrs import define, field

from llmstack.errors import ProtocolError, UpstreamError
from llmstack.providers.progress import Progress
from llmstack.providers.sse import SSEEvent, SSELimitExceeded, SSEParser, split


__all__ = ["Batch", "Run", "Sorter"]

#: Events in a row that may come without content.
QUIET: Final = 10_000
#: Bytes from which on it pays to look for runs behind the first event, and how often to look.
WORTH: Final = 2 << 10
LOOKS: Final = 4
#: Of a chunk that does not begin with a run: so many events, and bytes.
NONE: Final = (0, 0)


class _Together(Sequence[SSEEvent]):
    """Events that are taken apart when somebody asks for one."""

    __slots__ = ()

    @overload
    def __getitem__(self, place: int) -> SSEEvent: ...

    @overload
    def __getitem__(self, place: slice) -> list[SSEEvent]: ...

    def __getitem__(self, place: int | slice) -> SSEEvent | list[SSEEvent]:
        """Return one of them, or several."""
        return self.apart()[place]

    def __iter__(self) -> Iterator[SSEEvent]:
        """Yield them one by one."""
        return iter(self.apart())

    @abstractmethod
    def apart(self) -> list[SSEEvent]:
        """Return all of them."""


@final
@define(eq=False)
class Run(_Together):
    """So many whole events as *raw* bytes, written in the usual way; *id* is that of them all."""

    raw: bytes
    number: int
    id: str = ""

    def __len__(self) -> int:
        """Return how many events there are."""
        return self.number

    def apart(self) -> list[SSEEvent]:
        """Return all of them."""
        return split(self.raw, self.id)


@final
@define(eq=False)
class Batch(_Together):
    """Events in order, made of *parts*; *raw* is all their bytes."""

    parts: list[SSEEvent | Run] = field(factory=list)
    _events: list[SSEEvent] | None = field(default=None, init=False)

    @property
    def raw(self) -> bytes:
        """The bytes of all events as they came."""
        parts = self.parts
        return parts[0].raw if len(parts) == 1 else b"".join([part.raw for part in parts])

    def __len__(self) -> int:
        """Return how many events there are."""
        return sum([part.number if isinstance(part, Run) else 1 for part in self.parts])

    def __bool__(self) -> bool:
        """Whether there are any; a part has at least one."""
        return bool(self.parts)

    def apart(self) -> list[SSEEvent]:
        """Return all of them, which are the same ones each time."""
        if self._events is None:
            self._events = []
            for part in self.parts:
                self._events += part.apart() if isinstance(part, Run) else [part]
        return self._events


@final
@define(eq=False)
class Sorter:
    """Makes runs and single events of the bytes of a stream, which *progress* learns from.

    It is *over* with the last event that counts, or with a *failure*. *id* is that of the events
    of a run that may come next; None if none may: inside an event, and behind the terminal.
    """

    progress: Progress
    over: bool = field(default=False, init=False)
    failure: UpstreamError | None = field(default=None, init=False)
    id: str | None = field(default=None, init=False)
    _parser: SSEParser = field(factory=SSEParser, init=False, repr=False)
    _quiet: int = field(default=0, init=False)

    def take(self, chunk: bytes) -> Sequence[SSEEvent]:
        """Return the events that *chunk* completes; without any bytes, what is said last."""
        found = NONE
        if self.id is not None:
            found = number, size = self.progress.run(chunk)
            if number and size == len(chunk):
                self._quiet = 0
                return Run(chunk, number, self.id)
        if chunk:
            return self._mixed(chunk, found)
        self.over = True
        last = self.progress.unsaid if self.progress.whole else None
        return [] if last is None else [last]

    def fail(self, error: UpstreamError) -> None:
        """End with *error*."""
        self.over = True
        self.failure = error.with_traceback(None)  # its frames hold this very object

    def _mixed(self, chunk: bytes, found: tuple[int, int]) -> Batch:
        """Return the events of *chunk*; an error among them waits until they are handed up."""
        batch = Batch()
        try:
            self._one_by_one(self._by_runs(chunk, batch, found), batch)
        except SSELimitExceeded as error:
            fault = ProtocolError(str(error))
            fault.__cause__ = error
            self.fail(fault)
        except UpstreamError as error:
            self.fail(error)
        parser = self._parser
        self.id = None if parser.begun or self.progress.whole else parser.id
        return batch

    def _by_runs(self, chunk: bytes, batch: Batch, found: tuple[int, int]) -> bytes:
        """Take runs, of which the first was *found*, and what is between; return the rest."""
        number, size = found
        for look in range(LOOKS):
            if look:
                number, size = NONE if self._parser.begun else self.progress.run(chunk)
            if number:
                batch.parts.append(Run(chunk[:size], number, self._parser.id))
                self._quiet = 0
            elif len(chunk) < WORTH:
                break
            else:
                size = chunk.find(b"\n\n") + 2
                self._one_by_one(chunk[:size], batch)
            chunk = b"" if self.over else chunk[size:]
            if not chunk:
                break
        return chunk

    def _one_by_one(self, chunk: bytes, batch: Batch) -> None:
        progress = self.progress
        for event in self._parser.feed(chunk) if chunk else ():
            said = progress.text
            if progress.take(event.data, event.event):
                batch.parts.append(event)
            if progress.done:
                self.over = True
                break
            self._quiet = self._quiet + 1 if said == progress.text else 0
            if self._quiet > QUIET:
                raise ProtocolError(f"more than {QUIET} events in a row have no content")
