"""Where values stand in TOML: against documents whose writer knows what it wrote where."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.config.lines import Path, lines_of


SCALARS = (
    "{n}",
    "0x{n}",
    "{n}.5e3",
    "true",
    "1979-05-27 07:32:00Z",
    "07:32:00",
    '"a # [b] = {{c}}, \\" \\\\ ] {n}"',
    "'a # [b] = {{c}}, \" \\'",
    '""',
    "''",
    '"""a\n"b" = [\n# {{ \\""" {n}"""',
    '"""\n""\n"""""',
    '"""x\\\n   y\\\\"""',
    "'''a\n[[b]]\n'c' \\'''",
    "'''\n''\n'''''",
)
BLANK = ("", " ", "\n", "\n\n", " # ] } = [x]\n", "\t# \"'''\n  ")


KEYS = ("key-{}", "{}", "ä b {}", 'q" {}', "a.b{}")


class Writer:
    """Writes a document by chance, each key once, and notes the line of whatever it begins."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.text = ""
        self.keys = 0
        self.lines: dict[Path, int] = {}

    def document(self) -> None:
        tables: list[Path] = [()]
        arrays: dict[Path, int] = {}
        for _ in range(self.rng.randrange(7)):
            self.text += self.rng.choice(BLANK) + "\n"
            kind = self.rng.random()
            if arrays and kind < 0.3:
                path = self.rng.choice(list(arrays))
                arrays[path] += 1
                table = (*path, arrays[path])
                # Only the newest table of an array can be named again.
                tables = [each for each in tables if each[: len(path)] != path]
                arrays = {
                    each: n
                    for each, n in arrays.items()
                    if each[: len(path)] != path or each == path
                }
                self.header(table, "[[", "]]")
            elif kind < 0.6:
                path = self.new_path(self.rng.choice(tables))
                arrays[path] = 0
                table = (*path, 0)
                self.header(table, "[[", "]]")
            else:
                table = self.new_path(self.rng.choice(tables))
                self.header(table, "[", "]")
            tables.append(table)
            self.pairs(table)

    def header(self, table: Path, opening: str, closing: str) -> None:
        for depth in range(1, len(table) + 1):
            self.note(table[:depth])
        space = self.rng.choice(["", " "])
        dotted = f"{space}.{space}".join(self.quoted(key) for key in table if isinstance(key, str))
        self.text += f"{opening}{space}{dotted}{space}{closing}{self.rng.choice(BLANK)}\n"

    def pairs(self, table: Path) -> None:
        for _ in range(self.rng.randrange(4)):
            self.pair(table)
            self.text += self.rng.choice(["", "  # = ["]) + "\n" + self.rng.choice(BLANK)
            if not self.text.endswith("\n"):
                self.text += "\n"

    def pair(self, table: Path) -> None:
        path = self.new_path(table)
        for depth in range(len(table) + 1, len(path) + 1):
            self.note(path[:depth])
        space = self.rng.choice(["", " ", "\t"])
        keys = [self.quoted(str(key)) for key in path[len(table) :]]
        self.text += f"{space}.{space}".join(keys) + f"{space}={space}"
        self.value(path)

    def value(self, path: Path) -> None:
        kind = self.rng.random()
        if kind < 0.2 and len(path) < 8:
            self.text += "["
            for n in range(self.rng.randrange(4)):
                self.text += self.rng.choice(BLANK)
                self.note((*path, n))
                self.value((*path, n))
                self.text += self.rng.choice(BLANK) + ","
            self.text = self.text.removesuffix(self.rng.choice(["", ","]))
            self.text += self.rng.choice(BLANK) + "]"
        elif kind < 0.4 and len(path) < 8:
            self.text += self.rng.choice(["{", "{ "])
            for n in range(self.rng.randrange(4)):
                self.text += ", " if n else ""
                self.pair(path)
            self.text += self.rng.choice(["}", " }"])
        else:
            self.text += self.rng.choice(SCALARS).format(n=self.keys)

    def new_path(self, table: Path) -> Path:
        path = table
        for _ in range(self.rng.choice([1, 1, 2, 3])):
            self.keys += 1
            path += (self.rng.choice(KEYS).format(self.keys),)
        return path

    def quoted(self, key: str) -> str:
        forms = [json.dumps(key), json.dumps(key, ensure_ascii=False), json.dumps(key)]
        forms += [key] * 3 if key.isascii() and key.replace("-", "").isalnum() else []
        forms += [f"'{key}'"] if "'" not in key else []
        return self.rng.choice(forms)

    def note(self, path: Path) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)


def as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def paths(value: object, path: Path = ()) -> Iterator[Path]:
    """Every path in what `tomllib` makes of a document."""
    if path:
        yield path
    steps = value.items() if isinstance(value, dict) else enumerate(as_list(value))
    for step, each in steps:
        yield from paths(each, (*path, step))


@given(st.randoms(use_true_random=False), st.booleans())
def test_every_path_is_found_where_it_was_written(rng: Random, windows: bool) -> None:  # noqa: FBT001
    """Whatever keys, strings, comments and nesting there are; with either ending of lines."""
    writer = Writer(rng)
    writer.pairs(())
    writer.document()
    text = writer.text.replace("\n", "\r\n") if windows else writer.text

    assert set(writer.lines) == set(paths(tomllib.loads(text))), "the writer of this test is right"
    assert writer.lines == lines_of(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("\n# a = 1\n", {}),
        ("a = 1", {("a",): 1}),
        ("\n\na.b = 1\na.c = 2", {("a",): 3, ("a", "b"): 3, ("a", "c"): 4}),
        ("[a.b]\n[a]", {("a",): 1, ("a", "b"): 1}),
        ("[[a]]\n[[a]]\nb=1", {("a",): 1, ("a", 0): 1, ("a", 1): 2, ("a", 1, "b"): 3}),
        ("[[a]]\n[a.b]\nc=1", {("a",): 1, ("a", 0): 1, ("a", 0, "b"): 2, ("a", 0, "b", "c"): 3}),
        ('"\\u0061" = 1', {("a",): 1}),
        ("a = [[\n],[\n]]", {("a",): 1, ("a", 0): 1, ("a", 1): 2}),
        ("a = {b = [\n1]}", {("a",): 1, ("a", "b"): 1, ("a", "b", 0): 2}),
        ('a = """\n"""\nb = 1', {("a",): 1, ("b",): 3}),
    ],
)
def test_known_places(text: str, expected: dict[Path, int]) -> None:
    """A table has the line of its first mention, an item that of its beginning."""
    assert expected == lines_of(text)


def test_a_long_document_takes_no_square_of_its_length() -> None:
    """Four thousand values in one array: each place is found, at once."""
    lines = lines_of("a = [\n" + "1,\n" * 4000 + "]")

    assert 4001 == lines[("a", 3999)]
    assert 4001 == len(lines)
