"""The mistakes in a configuration file: all of them at once, each with its path and line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final, final

from attrs import define, field

from llmstack.config.lines import Path
from llmstack.errors import ConfigError


__all__ = ["ConfigMistakes", "Mistakes", "did_you_mean", "shown"]

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


@final
class ConfigMistakes(ConfigError):
    """A configuration file with mistakes; *mistakes* has a line of text for each."""

    def __init__(self, file: str, mistakes: tuple[str, ...]) -> None:
        count = f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}"
        super().__init__("\n  ".join([f"{file} has {count}:", *mistakes]))
        self.mistakes = mistakes


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint at what was meant by *word*, or what there is."""
    names = sorted(set(known))
    close = get_close_matches(word, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    if len(names) > 1:
        return f"there are {', '.join(names)}"
    return f"the only one is {names[0]}" if names else "there is none"


@final
@define(eq=False)
class Mistakes:
    """Collects mistakes in the order of the file."""

    lines: Mapping[Path, int]
    found: list[tuple[int, str]] = field(factory=list, init=False)

    def add(self, path: Path, says: str) -> None:
        """Note what is wrong at *path*; a part that is missing has the line of its parent."""
        parents = (path[:n] for n in range(len(path), 0, -1))
        line = next((self.lines[each] for each in parents if each in self.lines), 1)
        self.found.append((line, f"line {line}: {shown(path)}: {says}"))

    @property
    def texts(self) -> tuple[str, ...]:
        """What was noted, each once, in the order of the file."""
        in_order = sorted(self.found, key=lambda one: one[0])
        return tuple(dict.fromkeys(text for _, text in in_order))

    def raise_any(self, file: str) -> None:
        """Raise `ConfigMistakes` if there are any."""
        if self.found:
            raise ConfigMistakes(file, self.texts)


def shown(path: Path) -> str:
    """Write *path* as one would in TOML.

    >>> shown(("routes", "*", "layers", 0, "use"))
    'routes."*".layers[0].use'
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if _BARE.fullmatch(part) else f'."{_escaped(part)}"'
    return text.removeprefix(".")


def _escaped(key: str) -> str:
    """Return *key* as it may stand in quotes, with nothing that a terminal would obey."""
    parts = (f"\\{c}" if c in '"\\' else c if c.isprintable() else f"\\U{ord(c):08x}" for c in key)
    return "".join(parts)
