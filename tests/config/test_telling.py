"""How mistakes are told: as one error, with paths as they stand in TOML, and with hints."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import ClassVar

import pytest
from attrs import Attribute, field, frozen
from hypothesis import given
from hypothesis import strategies as st

import llmstack as ls
from llmstack.config import ConfigMistakes, load, parse
from llmstack.config.mistakes import Mistakes, did_you_mean, shown
from llmstack.config.reading import Reader
from tests.config.example import mistakes_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1\nb = ]", "line 2, column 5: it is not TOML: Invalid value"),
        ("a = 1\n\nb b = 2", "line 3, column 3: it is not TOML: Expected '='"),
        ("a = 1\nb = [1,", "line 2: it is not TOML: "),
        ("a = 1\na = 2\n", "line 2, column 6: it is not TOML: Cannot overwrite a value"),
        (f"a = {'9' * 5000}", "line 1: it is not TOML: Exceeds the limit"),
        (f"a = {'[' * 3000}", "line 1: arrays and tables are nested too deeply"),
    ],
    ids=["value", "key", "end", "twice", "number", "depth"],
)
def test_what_is_not_toml(text: str, expected: str) -> None:
    """The parser's words with the place in front, and nothing else."""
    (said,) = mistakes_of(text)

    assert said.startswith(expected)
    assert "(at" not in said


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Why not, in the words of the system."""
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"a = 1\n# \xff\nb = 1\n# \xff")
    expected = {
        tmp_path / "none.toml": "it cannot be read: No such file or directory",
        tmp_path: "it cannot be read: Is a directory",
        binary: "line 2: it is not UTF-8",
    }
    for path, why in expected.items():
        with pytest.raises(ConfigMistakes) as raised:
            load(str(path))
        assert (why,) == raised.value.mistakes
        assert f"{path} has 1 mistake:\n  {why}" == str(raised.value)


def test_it_is_an_error_of_the_tree() -> None:
    """So a program can catch it as what it is; it counts, and lists."""
    with pytest.raises(
        ls.ConfigError, match=r"^here\.toml has 2 mistakes:\n  line 1: .*\n  line 1: "
    ):
        parse("", "here.toml")


names = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=5)


@given(st.lists(names | st.integers(0, 20), min_size=1))
def test_a_path_is_written_as_in_toml(parts: list[str | int]) -> None:
    """So it can be searched for, and each path looks different from any other one."""
    parts = ["top", *parts]

    assert parts == read_back(shown(tuple(parts)))


def read_back(text: str) -> list[str | int]:
    """The parts of a path as it is written."""
    parts: list[str | int] = []
    rest = text
    while rest:
        if rest.startswith("["):
            number, _, rest = rest[1:].partition("]")
            parts.append(int(number))
            continue
        rest = rest.removeprefix(".")
        if rest.startswith('"'):
            end = next(n for n in range(1, len(rest)) if rest[n] == '"' and not escaped(rest, n))
            parts.append(tomllib.loads(f"k = {rest[: end + 1]}")["k"])
            rest = rest[end + 1 :]
        else:
            stop = min((n for n in map(rest.find, ".[") if n >= 0), default=len(rest))
            parts.append(rest[:stop])
            rest = rest[stop:]
    return parts


def escaped(text: str, at: int) -> bool:
    """Whether an odd number of backslashes stands before *at*."""
    before = text[:at]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def test_a_hint_is_given_where_there_is_one() -> None:
    """What is near, else what there is, else that there is nothing."""
    assert "did you mean 'retry'?" == did_you_mean("retyr", ["timeout", "retry"])
    assert "there are a, b" == did_you_mean("zzz", ["b", "a"])
    assert "the only one is a" == did_you_mean("zzz", ["a", "a"])
    assert "there are a, b" == did_you_mean("zzz", ["b", "a", "b"])
    assert "there is none" == did_you_mean("zzz", [])


def test_mistakes_are_told_once_and_in_order() -> None:
    """By line, and as they were found within one; nothing is raised if there are none."""
    mistakes = Mistakes({("a",): 2, ("a", "b"): 1})
    mistakes.raise_any("f")
    for path in [("a",), ("a", "b", "c", 3), ("z",), ("a",), ("a", "b")]:
        mistakes.add(path, "no")

    with pytest.raises(ConfigMistakes) as raised:
        mistakes.raise_any("f")
    assert (
        "line 1: a.b.c[3]: no",
        "line 1: z: no",
        "line 1: a.b: no",
        "line 2: a: no",
    ) == raised.value.mistakes


def _broken(_settings: object, _field: Attribute[int], _value: int) -> None:
    raise ZeroDivisionError


@frozen
class Broken:
    number: int = field(validator=_broken)


def test_a_bug_is_no_mistake_of_the_file() -> None:
    """What a program of ours does wrong is not blamed on who wrote the file."""
    reader = Reader(Mistakes({}))

    with pytest.raises(ZeroDivisionError):
        reader.read({"number": 1}, Broken, ("a", "broken"))
    assert () == reader.mistakes.texts


@frozen
class Judged:
    """Settings that are wrong in the company of each other only."""

    number: int
    error: ClassVar[Exception]

    def __attrs_post_init__(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("number: must be odd", "line 2: a.number: must be odd"),
        ("numbers: must be odd", "line 1: a: numbers: must be odd"),
        ("number", "line 1: a: number"),
    ],
)
def test_what_begins_with_a_setting_is_told_at_its_place(
    words: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where what is wrong with all of them is the fault of one."""
    reader = Reader(Mistakes({("a",): 1, ("a", "number"): 2}))
    monkeypatch.setattr(Judged, "error", ls.ConfigError(words), raising=False)

    assert reader.read({"number": 1}, Judged, ("a",)) is None
    assert (expected,) == reader.mistakes.texts


def test_a_bug_that_sounds_like_a_mistake_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its class tells, not its words."""
    reader = Reader(Mistakes({}))
    monkeypatch.setattr(Judged, "error", ZeroDivisionError("number: no"), raising=False)

    with pytest.raises(ZeroDivisionError):
        reader.read({"number": 1}, Judged, ("a",))
