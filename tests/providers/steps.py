"""How many steps a backtracking matcher takes: a model of `re` that counts, and no clock.

It reads the tree that `re` itself has made of a pattern, and tries what `re` tries in the same
order, without its shortcuts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final


__all__ = ["Matcher", "steps"]

_PARSER: Final[Any] = import_module("re._parser")
#: A node is its kind and, of a type for each kind, what it is made of.
Node = tuple[Any, Any]
Nodes = Sequence[Node]
Then = Callable[[int], bool]
_CATEGORIES: Final = {"SPACE": r"\s", "DIGIT": r"\d", "WORD": r"\w"}


def steps(pattern: re.Pattern[str], text: str, *, first: bool = False) -> tuple[bool, int]:
    """Whether *pattern* is found in *text*, or stands *first*, and how many steps that takes."""
    folds = bool(pattern.flags & re.IGNORECASE)
    nodes = [*_PARSER.parse(pattern.pattern, pattern.flags & re.IGNORECASE)]
    starts = range(1 if first else len(text) + 1)
    matcher = Matcher(text.lower() if folds else text, folds=folds)
    found = any(matcher.match(nodes, start, _yes) for start in starts)
    return found, matcher.taken


def _yes(_end: int) -> bool:
    return True


class Matcher:
    """One text, and the steps that were taken in it."""

    def __init__(self, text: str, *, folds: bool) -> None:
        self.text = text
        self.folds = folds
        self.taken = 0
        self.groups: dict[int, str] = {}

    def match(self, nodes: Nodes, i: int, then: Then) -> bool:
        """Whether *nodes* match from *i* on, and *then* what is behind them."""
        self.taken += 1
        if not nodes:
            return then(i)
        (kind, value), rest = nodes[0], nodes[1:]

        def behind(j: int) -> bool:
            return self.match(rest, j, then)

        match str(kind):
            case "MAX_REPEAT":
                return self.repeat(nodes[0], i, behind)
            case "SUBPATTERN":
                return self.group(value, i, behind)
            case "BRANCH":
                return any(self.match([*each], i, behind) for each in value[1])
            case "ASSERT" | "ASSERT_NOT" | "AT":
                return self.holds(str(kind), value, i) and behind(i)
            case other:
                far = self.taken_by(other, value, i)
                return bool(far) and behind(i + far)

    def taken_by(self, kind: str, value: Any, i: int) -> int:  # noqa: ANN401 -- as the tree has it
        """How many signs the node takes, 0 if it does not fit; no group here is empty."""
        if kind == "GROUPREF":
            there = self.groups[value]
            return len(there) if self.text.startswith(there, i) else 0
        return int(i < len(self.text) and self.fits(kind, value, self.text[i]))

    def repeat(self, node: Node, i: int, behind: Then) -> bool:
        low, high, inner = node[1]

        def more(j: int) -> bool:
            again = (max(low - 1, 0), high - 1, inner)
            return self.repeat((node[0], again), j, behind)

        deeper = high > 0 and i < len(self.text) and self.match([*inner], i, more)
        return deeper or (low == 0 and behind(i))

    def group(self, value: tuple[int, int, int, Nodes], i: int, behind: Then) -> bool:
        def close(j: int) -> bool:
            self.groups[value[0]] = self.text[i:j]
            return behind(j)

        return self.match([*value[3]], i, close)

    def holds(self, kind: str, value: Any, i: int) -> bool:  # noqa: ANN401 -- as the tree has it
        """Whether what takes no room is so: a border, or what is around."""
        if kind != "AT":
            start = i if value[0] > 0 else i - 1
            found = start >= 0 and self.match([*value[1]], start, _yes)
            return found is (kind == "ASSERT")
        if str(value) == "AT_BEGINNING_STRING":
            return i == 0
        around = [bool(re.match(r"\w", self.text[n : n + 1])) for n in (i - 1, i) if n >= 0]
        return around[0] is not (around[1] if i else False)

    def fits(self, kind: str, value: Any, sign: str) -> bool:  # noqa: ANN401 -- as the tree has it
        """Whether one sign is as the node says."""
        either = {sign, sign.upper()} if self.folds else {sign}
        match kind:
            case "LITERAL":
                return chr(value) in either
            case "NOT_LITERAL":
                return chr(value) not in either
            case "RANGE":
                return any(value[0] <= ord(each) <= value[1] for each in either)
            case "CATEGORY":
                is_one = re.match(_CATEGORIES[str(value).rpartition("_")[2]], sign) is not None
                return is_one is not ("NOT" in str(value))
            case "IN":
                no = str(value[0][0]) == "NEGATE"
                return no != any(self.fits(str(k), v, sign) for k, v in value[no:])
            case _:
                return sign != "\n"
