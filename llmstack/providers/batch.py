"""Events that came together, of which most need not be taken apart.

A stream that is passed on wants their bytes, and somebody who reads it wants them one by
one. So a run of ordinary events is kept as it came, and split when somebody looks.

Errors: none. Events: none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final, overload

from attrs import define, field

from llmstack.providers.sse import SSEEvent, split


__all__ = ["Batch", "Run"]


@final
@define(eq=False)
class Run:
    """So many whole events as *raw* bytes, written in the usual way; *id* is that of them all."""

    raw: bytes
    count: int
    id: str = ""


@final
@define(eq=False)
class Batch(Sequence[SSEEvent]):
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
        return sum([part.count if isinstance(part, Run) else 1 for part in self.parts])

    def __bool__(self) -> bool:
        """Whether there are any; a part has at least one."""
        return bool(self.parts)

    @overload
    def __getitem__(self, place: int) -> SSEEvent: ...

    @overload
    def __getitem__(self, place: slice) -> list[SSEEvent]: ...

    def __getitem__(self, place: int | slice) -> SSEEvent | list[SSEEvent]:
        """Return one of them, or several."""
        return self._apart()[place]

    def __iter__(self) -> Iterator[SSEEvent]:
        """Yield them one by one."""
        return iter(self._apart())

    def _apart(self) -> list[SSEEvent]:
        if self._events is None:
            self._events = []
            for part in self.parts:
                self._events += split(part.raw, part.id) if isinstance(part, Run) else [part]
        return self._events
