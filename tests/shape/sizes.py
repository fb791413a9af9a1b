"""Gates for sizes: of files, classes, layers and functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from tests.shape.source import Fault, Function, Source, definitions, functions, name_of


__all__ = ["attributes", "length", "methods", "nesting", "parameters", "settings"]

LINES: Final = 300
METHODS: Final = 15
ATTRIBUTES: Final = 12
SETTINGS: Final = 8
NESTING: Final = 3
PARAMETERS: Final = 6
BLOCKS: Final = (
    *(ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith),
    *(ast.Try, ast.TryStar, ast.Match),
)


def length(source: Source, allowed: int = LINES) -> Iterator[Fault]:
    """No file has more than 300 lines."""
    n = len(source.text.splitlines())
    if n > allowed:
        yield Fault("length", n, source.module, f"has {n} lines, and {allowed} are allowed")


def classes(source: Source) -> Iterator[tuple[str, ast.ClassDef]]:
    yield from definitions(source.tree, ast.ClassDef)


def methods(source: Source) -> Iterator[Fault]:
    """No class has more than 15 methods; those with names that Python gave are not counted."""
    for name, node in classes(source):
        own = {f.name for f in node.body if isinstance(f, Function)}
        n = sum(not (each.startswith("__") and each.endswith("__")) for each in own)
        if n > METHODS:
            yield Fault("methods", node.lineno, name, f"has {n}, and {METHODS} are allowed")


def fields(node: ast.ClassDef) -> set[str]:
    """The names that are annotated in the class body; not those of the class itself."""
    return {
        name_of(item.target)
        for item in node.body
        if isinstance(item, ast.AnnAssign) and name_of(item.annotation) != "ClassVar"
    }


def of_self(node: ast.ClassDef) -> set[str]:
    """The attributes that methods give to ``self``."""
    return {
        inner.attr
        for inner in ast.walk(node)
        if isinstance(inner, ast.Attribute)
        and isinstance(inner.ctx, ast.Store)
        and name_of(inner.value) == "self"
    }


def attributes(source: Source) -> Iterator[Fault]:
    """No class has more than 12 attributes."""
    for name, node in classes(source):
        n = len(fields(node) | of_self(node))
        if n > ATTRIBUTES:
            yield Fault("attributes", node.lineno, name, f"has {n}, and {ATTRIBUTES} are allowed")


def settings(source: Source) -> Iterator[Fault]:
    """No layer has more than 8 settings; a layer is what declares a role."""
    for name, node in classes(source):
        own = {name_of(item.target) for item in node.body if isinstance(item, ast.AnnAssign)}
        n = len(fields(node))
        if "role" in own - fields(node) and n > SETTINGS:
            yield Fault("settings", node.lineno, name, f"has {n}, and {SETTINGS} are allowed")


def depth(node: ast.AST) -> int:
    """How deep blocks stand in blocks under *node*; an ``elif`` is as deep as its ``if``."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (Function, ast.ClassDef, ast.Lambda)):
            continue
        is_elif = isinstance(node, ast.If) and [child] == node.orelse and isinstance(child, ast.If)
        deepest = max(deepest, depth(child) + (isinstance(child, BLOCKS) and not is_elif))
    return deepest


def nesting(source: Source) -> Iterator[Fault]:
    """No function nests more than 3 blocks."""
    for name, node in functions(source):
        n = depth(node)
        if n > NESTING:
            yield Fault("nesting", node.lineno, name, f"is {n} deep, and {NESTING} are allowed")


def parameters(source: Source) -> Iterator[Fault]:
    """No function has more than 6 parameters, ``self`` and ``cls`` not counted."""
    for name, node in functions(source):
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        n = sum(arg.arg not in {"self", "cls"} for arg in given)
        if n > PARAMETERS:
            yield Fault("parameters", node.lineno, name, f"has {n}, and {PARAMETERS} are allowed")
