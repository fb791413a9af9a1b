"""Where in a TOML text each value stands: the line of every key path.

`tomllib` gives positions of syntax errors only. This goes over a text that it has already
accepted, so that it need not know what a value means, only where it begins and ends.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from typing import Final, final

from attrs import define, field


__all__ = ["Path", "lines_of"]

#: Keys and indices from the top of the document down.
Path = tuple[str | int, ...]

_BLANK: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_KEY: Final = r'[ \t]*(?:"(?:[^"\\]|\\.)*"|\'[^\']*\'|[A-Za-z0-9_-]+)[ \t]*'
_KEYS: Final = re.compile(rf"{_KEY}(?:\.{_KEY})*")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL
)
_PLAIN: Final = re.compile(r"[^,\]}\n#]+")


@final
@define(eq=False)
class _Walk:
    """One pass over the text."""

    text: str
    at: int = 0
    ends: list[int] = field(init=False)  # where each line ends
    lines: dict[Path, int] = field(factory=dict)
    tables: dict[Path, int] = field(factory=dict)  # tables so far in each array of tables

    def __attrs_post_init__(self) -> None:
        self.ends = [match.start() for match in re.finditer("\n", self.text)]

    def note(self, path: Path) -> None:
        self.lines.setdefault(path, bisect_left(self.ends, self.at) + 1)

    def blank(self) -> None:
        match = _BLANK.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def take(self, mark: str) -> bool:
        """Step over *mark* if it is next."""
        if self.text.startswith(mark, self.at):
            self.at += len(mark)
            return True
        return False

    def keys(self) -> Path:
        """Read a dotted key."""
        match = _KEYS.match(self.text, self.at)
        self.at = match.end() if match else self.at
        value: object = tomllib.loads(f"{match[0]} = 0") if match else 0
        path: Path = ()
        while isinstance(value, dict):
            ((key, value),) = value.items()  # what quotes and escapes mean
            path += (key,)
        return path

    def document(self) -> dict[Path, int]:
        table: Path = ()
        self.blank()
        while self.at < len(self.text):
            if self.take("["):
                table = self.header()
            else:
                self.pair(table)
            self.blank()
        return self.lines

    def header(self) -> Path:
        """Read the rest of ``[a.b]`` or ``[[a.b]]``; return where its keys belong."""
        many = self.take("[")
        path = self.within(self.keys())
        self.at = self.text.index("]", self.at) + (2 if many else 1)
        if many:
            n = self.tables[path] = self.tables.get(path, -1) + 1
            path += (n,)
        for depth in range(1, len(path) + 1):
            self.note(path[:depth])
        return path

    def within(self, keys: Path) -> Path:
        """Return *keys* as a path, with the index of the newest table of each array."""
        path: Path = ()
        for place, key in enumerate(keys):
            path += (key,)
            if path in self.tables and place < len(keys) - 1:
                path += (self.tables[path],)
        return path

    def pair(self, table: Path) -> None:
        before = self.at
        path = table + self.keys()
        end, self.at = self.at, before
        for depth in range(len(table) + 1, len(path) + 1):
            self.note(path[:depth])
        self.at = end
        self.take("=")
        self.value(path)

    def value(self, path: Path) -> None:
        """Step over a value, noting what is inside of it."""
        self.blank()
        if self.take("["):
            self.items(path)
        elif self.take("{"):
            self.members(path)
        else:
            match = _STRING.match(self.text, self.at) or _PLAIN.match(self.text, self.at)
            self.at = match.end() if match else self.at + 1

    def items(self, path: Path) -> None:
        n = 0
        self.blank()
        while not self.take("]"):
            self.note((*path, n))
            self.value((*path, n))
            n += 1
            self.blank()
            self.take(",")
            self.blank()

    def members(self, path: Path) -> None:
        self.blank()
        while not self.take("}"):
            self.pair(path)
            self.blank()
            self.take(",")
            self.blank()


def lines_of(text: str) -> dict[Path, int]:
    r"""Return the line, from 1, on which each key and each array item of *text* begins.

    >>> lines_of("[a]\nb = [\n  1,\n  {c = 2},\n]")
    {('a',): 1, ('a', 'b'): 2, ('a', 'b', 0): 3, ('a', 'b', 1): 4, ('a', 'b', 1, 'c'): 4}
    """
    return _Walk(text).document()
