"""Server-sent events, parsed as the bytes come: no I/O, no clock, no decoding of data.

After the HTML standard, section 9.2.6: lines end with LF, CR or CRLF, a BOM at the start
is dropped, a blank line ends an event, an event without a ``data`` line is none. Two
things differ, because here the bytes go on. A CR that comes last is held until it is
known whether an LF belongs to it, unless the byte before it was a CR as well; so events
are the same however the bytes are cut. And ``retry`` is ignored: nobody reconnects.

Every byte belongs to the event that it precedes or ends: comments and blank lines are in
the `raw` of the event after them, and all `raw` together are the stream up to its tail.

Errors: `SSELimitExceeded`, for a line or an event that has no end in sight.
"""

from __future__ import annotations

import re
from typing import Final, Literal, final

from attrs import define, field


__all__ = ["SSEEvent", "SSELimitExceeded", "SSEParser", "split"]

Limit = Literal["max_line", "max_event"]

BOM: Final = b"\xef\xbb\xbf"

#: More than one line has data.
MANY: Final = slice(None)

#: A CR after a CR is a blank line already, so it need not wait for an LF.
_LINE_END: Final = re.compile(rb"\n|(?<=\r)\r|\r\n?")


@final
@define
class SSEEvent:
    """One event: the exact bytes on the wire, and what they say.

    *data* is the data lines joined by LF, *event* the name or "", *id* the last id that
    the stream has given so far.
    """

    raw: bytes
    data: bytes
    event: str = ""
    id: str = ""


def split(run: bytes, last_id: str = "") -> list[SSEEvent]:
    r"""Return the events of *run*, which are whole and have one data line, and a name at most.

    >>> [event.data for event in split(b"data: a\n\nevent: x\ndata: b\n\n")]
    [b'a', b'b']
    """
    events = [_plain(block, b"\n\n", last_id) for block in run.split(b"\n\n")[:-1]]
    return [event for event in events if event is not None]


def _plain(block: bytes, end: bytes, last_id: str) -> SSEEvent | None:
    """Return the event that *block* is, up to the blank line; None unless it is a plain one."""
    if b"\r" in block:
        return None
    if block[:6] == b"data: ":
        return None if b"\n" in block else SSEEvent(block + end, block[6:], "", last_id)
    name, _, data = block.partition(b"\ndata: ")
    if name[:7] != b"event: " or b"\n" in name or b"\n" in data or not data:
        return None
    return SSEEvent(block + end, data, name[7:].decode(errors="replace"), last_id)


class SSELimitExceeded(ValueError):
    """A line or an event is longer than the parser allows."""

    def __init__(self, limit: Limit, most: int) -> None:
        super().__init__(f"an event stream goes over {limit}, which is {most} bytes")
        self.limit = limit
        self.most = most


@final
@define(eq=False)
class SSEParser:
    r"""Turns chunks of bytes into events.

    *max_line* bounds a line without its end, *max_event* everything in `SSEEvent.raw`.

    >>> parser = SSEParser()
    >>> parser.feed(b"data: hel")
    []
    >>> parser.feed(b"lo\n\n")
    [SSEEvent(raw=b'data: hello\n\n', data=b'hello', event='', id='')]
    >>> parser.close()
    False
    """

    max_line: int = 1 << 20
    max_event: int = 1 << 22

    #: A chunk of no more bytes keeps to both limits if it stands alone.
    _small: int = field(init=False)
    _bom: bytes | None = field(default=b"", init=False)  # what may become one, at the start
    _raw: bytearray = field(factory=bytearray, init=False)  # whole lines since the last event
    _line: bytearray = field(factory=bytearray, init=False)  # the line that has no end yet
    _held: bool = field(default=False, init=False)  # a CR, of which the LF may come
    _data: slice | None = field(default=None, init=False)  # where it is in the raw
    _event: str = field(default="", init=False)
    _id: str = field(default="", init=False)
    _fields: bool = field(default=False, init=False)  # since the last blank line
    _over: SSELimitExceeded | None = field(default=None, init=False)

    @_small.default
    def _smaller(self) -> int:
        return min(self.max_line, self.max_event)

    def feed(self, chunk: bytes, /) -> list[SSEEvent]:
        """Take *chunk* and return the events that it completes.

        Events before the one that goes over a limit are returned; the error is raised as
        soon as there are none, and from then on.
        """
        if self._over is not None:
            raise SSELimitExceeded(self._over.limit, self._over.most)
        if self._bom is not None:
            chunk = self._without_bom(self._bom + chunk)
        events: list[SSEEvent] = []
        try:
            if len(chunk) <= self._small:
                self._by_blocks(chunk, events)
            else:
                self._by_lines(chunk, events)
        except SSELimitExceeded as error:
            self._over = error
            self._forget()
            if not events:
                raise
        return events

    def close(self) -> bool:
        """Return whether the stream ended inside an event, which is then lost.

        Comments and blank lines that come last are nothing to lose.
        """
        partial = bool(self._line) and not self._line.startswith(b":")
        return self._fields or partial or bool(self._bom)

    def _without_bom(self, start: bytes) -> bytes:
        if len(start) < len(BOM) and BOM.startswith(start):
            self._bom = start
            return b""
        self._bom = None
        return start.removeprefix(BOM)

    def _by_blocks(self, chunk: bytes, events: list[SSEEvent]) -> None:
        """The fast way, for the usual: one data line an event, no line over the limits."""
        end = b"\r\n\r\n" if b"\r" in chunk else b"\n\n"
        *blocks, tail = chunk.split(end)
        begun = self.begun
        for block in blocks:
            event = None if begun else _plain(block, end, self._id)
            if event is None:
                self._by_lines(block + end, events)
                begun = self.begun
            else:
                events.append(event)
        if tail:
            self._by_lines(tail, events)

    @property
    def id(self) -> str:
        """The last id that the stream has given."""
        return self._id

    @property
    def begun(self) -> bool:
        """Whether there are bytes of an event that has no end yet, or of what precedes one."""
        return bool(self._raw or self._line or self._held)

    def _by_lines(self, chunk: bytes, events: list[SSEEvent]) -> None:
        """The way that knows everything, and keeps what is unfinished."""
        if self._held:
            chunk = b"\r" + chunk
        self._held = chunk.endswith(b"\r") and not chunk.endswith(b"\r\r")
        if self._held:
            chunk = chunk[:-1]
        start = 0
        for end in _LINE_END.finditer(chunk):
            self._line += chunk[start : end.start()]
            start = end.end()
            self._check()
            line = bytes(self._line)
            self._line.clear()
            self._raw += line
            self._raw += end[0]
            self._check()
            if line:
                self._field(line, len(self._raw) - len(end[0]))
            else:
                self._blank(events)
        self._line += chunk[start:]
        self._check()

    def _check(self) -> None:
        room = self.max_event - len(self._raw)
        if len(self._line) > min(self.max_line, room):
            # The one that comes first, so that it is the same however the bytes are cut.
            if self.max_line <= room:
                raise SSELimitExceeded("max_line", self.max_line)
            raise SSELimitExceeded("max_event", self.max_event)

    def _field(self, line: bytes, stop: int) -> None:
        """Learn from *line*, which ends in the raw at *stop*."""
        name, _, value = line.partition(b":")
        if not name:
            return  # a comment
        self._fields = True
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data = slice(stop - len(value), stop) if self._data is None else MANY
        elif name == b"event":
            self._event = value.decode(errors="replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode(errors="replace")

    def _blank(self, events: list[SSEEvent]) -> None:
        if self._data is not None:
            data = _data_in(self._raw) if self._data is MANY else bytes(self._raw[self._data])
            events.append(SSEEvent(bytes(self._raw), data, self._event, self._id))
            self._forget()
        self._event = ""
        self._fields = False

    def _forget(self) -> None:
        self._raw.clear()
        self._line.clear()
        self._data = None


def _data_in(raw: bytearray) -> bytes:
    """Return what all data lines of *raw* say.

    They are looked for again, because line by line they would take up to ten times the room.
    """
    said = bytearray()
    start = 0
    for end in _LINE_END.finditer(raw):
        name, _, value = raw[start : end.start()].partition(b":")
        if name == b"data":
            said += value.removeprefix(b" ") + b"\n"
        start = end.end()
    return bytes(said[:-1])
