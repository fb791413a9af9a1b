"""Recognises the next ordinary event of a stream without decoding it.

Events of one stream differ in one string: the piece of text. So the bytes around it are
learned from an event that was decoded; whatever has the same bytes around a sound JSON
string is an event of the same kind, and as valid. No finish, error, usage or other choice
can hide in it, for a string ends at its first bare quote.

Where many such events have come at once, all of them are recognised together, and are not
even taken apart: what lies between the bytes that repeat is the pieces of text.

Measured on CPython 3.11, events of 300 bytes: 0.5 µs for one that fits (0.7 µs with
OpenAI's padding), against 3.1 µs for decoding it alone; to learn from one takes 2.2 µs. In
a run of 200 it is 0.4 µs an event.
"""

from __future__ import annotations

import re
from string import ascii_letters, digits
from typing import Final, Self, final

from attrs import define, field, frozen


__all__ = ["Between", "Shape", "Template"]

_STRING: Final = rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+'
_PIECE: Final = rb"(" + _STRING + rb")"
#: What events are padded with.
_PADDING: Final = (ascii_letters + digits + " ").encode()
#: Bytes before the text by which the events of a run are told apart.
KEY: Final = 24
#: Events to learn from. Where each is of another shape, it does not pay.
LESSONS: Final = 64


@final
@frozen
class Between:
    """What varies in an event, its text first; *lines* are those of many, none without text."""

    one: re.Pattern[bytes]
    lines: re.Pattern[bytes]

    @classmethod
    def of(cls, pattern: bytes) -> Self:
        """Take what *pattern* matches, which has the text as its group."""
        return cls(re.compile(pattern), re.compile(rb'(?:(?![\n"])' + pattern + rb"\n)*+"))


_TEXT: Final = Between.of(_PIECE)


@final
@frozen
class Shape:
    """Where the *text* stands in the events of a format, and what else varies.

    Events with the *mark* in them have padding behind the text: all that varies in those is
    *padded*.
    """

    text: re.Pattern[bytes]
    mark: bytes
    padded: Between

    @classmethod
    def of(cls, *names: str, mark: bytes, padding: bytes) -> Self:
        """Name the fields of the text; *padding* is a pattern of what follows the text."""
        text = rb'"(?:' + "|".join(names).encode() + rb')"\s*:\s*"(?=[^"])'
        return cls(re.compile(text), mark, Between.of(_PIECE + padding))


@final
@define(eq=False)
class Template:
    """The bytes before and after the text of an ordinary event; none until one was learned.

    *text* counts the bytes of text in the events that fitted.
    """

    shape: Shape = field(repr=False)
    text: int = field(default=0, init=False)
    _head: bytes = field(default=b"", init=False)
    _tail: bytes = field(default=b"", init=False)
    _between: Between = field(default=_TEXT, init=False)
    _middle: bytes = field(default=b"", init=False)  # between the text and the padding
    _start: bytes = field(default=b"", init=False)  # of an event on the wire; none to be found
    _lessons: int = field(default=LESSONS, init=False)

    def fits(self, data: bytes) -> bool:
        """Whether *data* is an event like the one that was learned."""
        head, tail = self._head, self._tail
        if not head or not data.startswith(head) or not data.endswith(tail):
            return False
        found = self._between.one.fullmatch(data, len(head), len(data) - len(tail))
        if found is None or not _is_utf8(data):
            return False
        self.text += found.end(1) - len(head)
        return True

    def run(self, chunk: bytes) -> tuple[int, int]:
        """Return how many events like the one that was learned begin *chunk*, and their bytes.

        Those are meant that have a text and are written as it is usual: LF ends a line, and
        a space follows each colon.
        """
        start, end = self._start, self._tail + b"\n\n"
        if not start or not chunk.startswith(start):
            return 0, 0
        found = self._between.one.fullmatch(chunk, len(start), len(chunk) - len(end))
        if found is None or not found.end(1) > len(start) or not chunk.endswith(end):
            return self._several(chunk, start, end)
        if not (chunk.isascii() or _is_utf8(chunk)):
            return 0, 0
        self.text += found.end(1) - len(start)
        return 1, len(chunk)

    def _several(self, chunk: bytes, start: bytes, end: bytes) -> tuple[int, int]:
        # To split at all that repeats would be the same, and takes five times as long.
        key = start[-KEY:]
        *pieces, last = chunk[len(start) :].split(key)
        repeats = end + start
        if len(pieces) != chunk.count(repeats):
            return 0, 0
        surplus = len(key) - len(repeats)
        pieces = [piece[:surplus] for piece in pieces]
        found = self._between.one.match(last)
        if found is not None and last.startswith(end, found.end()):
            pieces.append(found[0])
        lines = b"".join([piece + b"\n" for piece in pieces])
        if lines.count(b"\n") != len(pieces):
            return 0, 0  # some piece has a line break of its own, and is no text
        lines = lines[: self._between.lines.match(lines).end()]  # type: ignore[union-attr]
        if not _is_utf8(lines):
            return 0, 0
        count = lines.count(b"\n")
        self.text += self._texts(lines, pieces[:count])
        return count, count * len(repeats) + len(lines) - count

    def _texts(self, lines: bytes, pieces: list[bytes]) -> int:
        """Return how many bytes of text there are in *pieces*, which *lines* were made of."""
        if not self._middle:
            return len(lines) - len(pieces)
        return sum([piece.rindex(self._middle) for piece in pieces])

    def learn(self, data: bytes, name: str = "") -> None:
        """Take *data*, which has been decoded and found ordinary, as the model of the next.

        *name* is the one that such events have on the wire.
        """
        self._head = self._start = b""
        self._lessons -= 1
        starts = list(self.shape.text.finditer(data)) if self._lessons >= 0 else []
        if len(starts) != 1:
            return
        start = starts[0].end()
        padded = self.shape.mark in data
        self._between = self.shape.padded if padded else _TEXT
        found = self._between.one.match(data, start)
        if found is None:
            return
        self._head, self._tail = data[:start], data[found.end() :]
        self._middle = data[found.end(1) : found.end()].rstrip(_PADDING)
        if b"\n" not in data:
            named = b"event: " + name.encode() + b"\n" if name else b""
            self._start = named + b"data: " + self._head

    def forget(self) -> None:
        """Fit nothing any more, and learn nothing."""
        self._head, self._start, self._lessons = b"", b"", 0


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
