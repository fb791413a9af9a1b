"""What a page of the documentation must have, read from the code that it describes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from typing import Any, Final

import attrs

from llmstack import errors
from tests.shape.source import Source, name_of


__all__ = ["HEADINGS", "layers_in", "missing", "sections"]

HEADINGS: Final = (
    "About",
    "Example",
    "Settings and defaults",
    "Events and statistics",
    "Behaviour at the edges",
    "Anti-patterns",
)
EVENT: Final = re.compile(r"[a-z_]+\.[a-z_]+")
UNDERLINE: Final = re.compile(r"([=\-~^\"'#*+])\1{2,}")


def headings(page: str) -> list[tuple[int, str]]:
    """The headings of a page with the numbers of their lines: text over a line of signs."""
    return [
        (n, text)
        for n, (text, under) in enumerate(pairwise(page.splitlines()))
        if text.strip() and UNDERLINE.fullmatch(under) and len(under) >= len(text)
    ]


def sections(page: str) -> dict[str, str]:
    """The text under each heading."""
    found, lines = headings(page), page.splitlines()
    ends = [*(n for n, _ in found), len(lines)][1:]
    return {text: "\n".join(lines[n + 2 : end]) for (n, text), end in zip(found, ends, strict=True)}


def default_in_words(default: object) -> set[str]:
    """The ways to write a default down; none of them if only the field has to be named."""
    if default is attrs.NOTHING:
        return {"required"}
    if isinstance(default, float):
        return {repr(default), f"{default:g}"}
    if callable(default):
        return {getattr(default, "__name__", type(default).__name__)}
    if default is None or isinstance(default, (bool, int, str)):
        return {str(default), repr(default)}
    return set() if isinstance(default, attrs.Factory) else {repr(default), type(default).__name__}  # type: ignore[arg-type]


def layers_in(source: Source) -> list[str]:
    """The names of the layers of a module: its classes that declare a role."""
    classes = [node for node in source.tree.body if isinstance(node, ast.ClassDef)]
    return [
        node.name
        for node in classes
        if any(isinstance(n, ast.AnnAssign) and name_of(n.target) == "role" for n in node.body)
    ]


def layers(source: Source) -> Iterator[type[Any]]:
    """The layers of a module themselves."""
    module = import_module(source.module)
    for name in layers_in(source):
        yield getattr(module, name)


def events(source: Source) -> Iterator[str]:
    """The names of the events that a module logs."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            said = node.args[0]
            if name_of(node.func.value) in {"log", "_log"} and isinstance(said, ast.Constant):
                yield from EVENT.findall(str(said.value))


def raised(source: Source) -> Iterator[str]:
    """The errors of ours that a module raises by name."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Raise) and name_of(node.exc) in errors.__all__:
            yield name_of(node.exc)


def facts(source: Source) -> Iterator[tuple[str, str]]:
    """What a page has to name, with the section where, "" for anywhere."""
    for kind in layers(source):
        yield "", kind.__name__
        for field in attrs.fields(kind):
            yield "Settings and defaults", field.alias
    for event in events(source):
        yield "Events and statistics", event
    for error in raised(source):
        yield "", error


def rows(settings: str, names: set[str]) -> dict[str, str]:
    """The text about each setting: from the line that names it to the next such line."""
    found: dict[str, str] = {}
    name = ""
    for line in settings.splitlines():
        named = re.match(r"\W*``(\w+)``", line)
        name = named[1] if named and named[1] in names else name
        found[name] = f"{found.get(name, '')}\n{line}"
    return found


def says(text: str, word: str) -> bool:
    """Whether *word* stands in *text*, not as a part of another one."""
    return re.search(rf"(?<![\w.]){re.escape(word)}(?![\w]|\.\d)", text) is not None


def missing(source: Source, page: str) -> list[str]:
    """What *page* should say about the layers of a module, and does not."""
    found = sections(page)
    titles = [text for _, text in headings(page) if text in HEADINGS]
    wrong = [] if list(HEADINGS) == titles else [f"headings are {titles}"]
    wrong += [] if ">>> " in found.get("Example", "") else ["no example that runs"]
    for where, word in dict.fromkeys(facts(source)):
        if not says(found.get(where, "") if where else page, word):
            wrong.append(f"{word} is not named under {where or 'any heading'}")
    for kind in layers(source):
        fields = {field.alias: field for field in attrs.fields(kind)}
        about = rows(found.get("Settings and defaults", ""), set(fields))
        for name, field in fields.items():
            words = default_in_words(field.default)
            if words and not any(says(about.get(name, ""), word) for word in words):
                wrong.append(f"default of {name} should be {' or '.join(sorted(words))}")
    return wrong
