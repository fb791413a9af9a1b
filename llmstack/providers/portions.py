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
    _read: int = field(default=0, init=False)
    _rest: bytes = field(default=b"", init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.heard = self._loop.time()

    async def next(self) -> bytes:
        """Return what comes next, b"" at a clean end."""
        if self._rest:
            chunk = self._rest
            await asyncio.sleep(0)
        else:
            chunk = await self.incoming.chunk()
            self.heard = self._loop.time()
            self._read += len(chunk)
            if self._read > self.limit:
                raise ProtocolError(f"the stream is longer than {self.limit} bytes")
        if len(chunk) <= SMALL:
            self._rest = b""
            return chunk
        size = USUAL if chunk.count(b"\n", 0, USUAL) <= LINES else SMALL
        self._rest = chunk[size:]
        return chunk[:size]
