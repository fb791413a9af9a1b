"""The list of mutants that may live, each with the reason why no test could tell it.

An entry names a module, a function, and what is changed as text: so it holds wherever the
function moves to, and is stale as soon as the changed line, or a test that now kills it, says
otherwise. One reason may be that of several changes. Errors: `ValueError` from an entry that
is not whole.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, final

from attrs import frozen


__all__ = ["LIST", "Place", "as_entries", "listed"]

LIST: Final = Path(__file__).with_name("survivors.toml")
_KEYS: Final = frozenset({"module", "function", "reason", "changes"})


@final
@frozen(order=True)
class Place:
    """What names a mutant, together with how many there are of the same name."""

    module: str
    function: str
    diff: str


def listed(text: str) -> Counter[Place]:
    """Return the mutants that *text* lists; one that is there twice stands for two alike."""
    found: Counter[Place] = Counter()
    for entry in tomllib.loads(text).get("survivors", []):
        found.update(_places(entry))
    return found


def _places(entry: dict[str, Any]) -> list[Place]:
    name = f"{entry.get('module')}, {entry.get('function')}"
    if entry.keys() != _KEYS:
        raise ValueError(f"{name}: an entry has {', '.join(sorted(_KEYS))}")
    if not entry["reason"].strip() or not entry["changes"]:
        raise ValueError(f"{name}: an entry has a reason and changes")
    module, function = entry["module"], entry["function"]
    return [Place(module, function, diff.strip("\n")) for diff in entry["changes"]]


def as_entries(places: Iterable[Place]) -> str:
    """Return *places* as they stand in the list, but for the reason."""
    homes: dict[tuple[str, str], list[str]] = {}
    for place in places:
        homes.setdefault((place.module, place.function), []).append(place.diff)
    return "\n".join(
        "\n".join(
            (
                "[[survivors]]",
                f'module = "{module}"',
                f'function = "{function}"',
                'reason = ""',
                "changes = [",
                *(f"'''\n{diff}\n'''," for diff in diffs),
                "]\n",
            )
        )
        for (module, function), diffs in homes.items()
    )
