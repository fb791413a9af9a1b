"""The bytes of a stream, in portions after each of which others have their turn.

A connection gives what has come, up to some hundred kilobytes: tens of thousands of events
if they are tiny, and the work on them is all in one turn of the loop. So what has come is
handed out in portions of so many lines at most, and the loop turns between them.

Errors: `ProtocolError` for a stream that is too long; what `Incoming` raises.
"""

from __future__ import annotations

import asyncio
from typing import Final, final

from attrs import define, field

from llmstack.errors import ProtocolError
from llmstack.providers.incoming import Incoming


__all__ = ["Portions"]

#: Bytes of a portion whose lines are of the usual length, or longer.
USUAL: Final = 64 << 10
#: Bytes of a portion with many lines.
SMALL: Final = 8 << 10
#: Lines in the usual portion that are not yet many.
LINES: Final = 2048


@final
@define(eq=False)
class Portions:
    """Reads *incoming* up to *limit* bytes; *heard* is the loop time when some came last."""

    incoming: Incoming = field(repr=False)
    limit: int = 1 << 30
    heard: float = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop, init=False)
    rest: bytes = field(default=b"", init=False, repr=False)  # has come, and its turn has not
    _read: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.heard = self._loop.time()

    async def next(self) -> bytes:
        """Return what comes next, b"" at a clean end."""
        if not self.rest:
            return self.first(await self.incoming.chunk())
        await asyncio.sleep(0)
        return self._cut(self.rest)

    def first(self, chunk: bytes) -> bytes:
        """Return the first portion of *chunk*, which has come now; for it there is no *rest*."""
        self.heard = self._loop.time()
        self._read += len(chunk)
        if self._read > self.limit:
            raise ProtocolError(f"the stream is longer than {self.limit} bytes")
        return chunk if len(chunk) <= SMALL else self._cut(chunk)

    def _cut(self, chunk: bytes) -> bytes:
        size = USUAL if chunk.count(b"\n", 0, USUAL) <= LINES else SMALL
        self.rest = chunk[size:]
        return chunk[:size]
