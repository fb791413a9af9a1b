"""Recognises the next ordinary event of a stream without decoding it.

Events of one stream differ in one string: the piece of text. So the bytes around it are
learned from an event that was decoded; whatever has the same bytes around a sound JSON
string is an event of the same kind, and as valid. No finish, error, usage or other choice
can hide in it, for a string ends at its first bare quote.

Measured on CPython 3.11, events of 300 bytes: 0.5 µs for one that fits (0.7 µs with
OpenAI's padding), against 3.1 µs for decoding it alone; to learn from one takes 2.2 µs.
"""

from __future__ import annotations

import re
from typing import Final, Self, final

from attrs import define, field, frozen


__all__ = ["Shape", "Template"]

_STRING: Final = rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+'
_PIECE: Final = re.compile(rb"(" + _STRING + rb")")
#: Events to learn from. Where each is of another shape, it does not pay.
LESSONS: Final = 64


@final
@frozen
class Shape:
    """Where the *text* stands in the events of a format, and what else varies.

    Events with the *mark* in them have padding behind the text: all that varies in those is
    *padded*.
    """

    text: re.Pattern[bytes]
    mark: bytes
    padded: re.Pattern[bytes]

    @classmethod
    def of(cls, *names: str, mark: bytes, padding: bytes) -> Self:
        """Name the fields of the text; *padding* is a pattern of what follows the text."""
        text = rb'"(?:' + "|".join(names).encode() + rb')"\s*:\s*"(?=[^"])'
        return cls(re.compile(text), mark, re.compile(rb"(" + _STRING + rb")" + padding))


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
    _between: re.Pattern[bytes] = field(default=_PIECE, init=False)
    _lessons: int = field(default=LESSONS, init=False)

    def fits(self, data: bytes) -> bool:
        """Whether *data* is an event like the one that was learned."""
        head, tail = self._head, self._tail
        if not head or not data.startswith(head) or not data.endswith(tail):
            return False
        found = self._between.fullmatch(data, len(head), len(data) - len(tail))
        if found is None or not (data.isascii() or _is_utf8(data)):
            return False
        self.text += found.end(1) - len(head)
        return True

    def learn(self, data: bytes) -> None:
        """Take *data*, which has been decoded and found ordinary, as the model of the next."""
        self._head = b""
        self._lessons -= 1
        starts = list(self.shape.text.finditer(data)) if self._lessons >= 0 else []
        if len(starts) != 1:
            return
        start = starts[0].end()
        self._between = self.shape.padded if self.shape.mark in data else _PIECE
        end = self._between.match(data, start)
        if end is not None:
            self._head, self._tail = data[:start], data[end.end() :]

    def forget(self) -> None:
        """Fit nothing any more, and learn nothing."""
        self._head, self._lessons = b"", 0


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
