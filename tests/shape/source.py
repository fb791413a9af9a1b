"""What a gate reads: one file of the package, parsed; and what it finds."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from attrs import frozen


__all__ = [
    "ROOT",
    "Fault",
    "Function",
    "Gate",
    "Source",
    "below",
    "definitions",
    "functions",
    "name_of",
    "read",
    "sources",
]

ROOT: Final = Path(__file__).parent.parent.parent
NAMED: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
SCOPES: Final = (*NAMED, ast.Lambda)

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = TypeVar("Definition", bound=ast.AST)


@frozen
class Source:
    """One file: its path from the root with slashes, and its text, parsed."""

    path: str
    text: str
    tree: ast.Module

    @property
    def module(self) -> str:
        """The name it is imported by; a package has the name of its folder."""
        name = self.path.removesuffix(".py").removesuffix("/__init__")
        return name.replace("/", ".")


@frozen
class Fault:
    """A rule that is broken, at which line, by what, and how."""

    rule: str
    line: int
    name: str
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.rule}: {self.name} {self.text}"


Gate = Callable[[Source], Iterator[Fault]]


def read(path: str, text: str | None = None) -> Source:
    """Parse *text*, or what stands in the file at *path*."""
    text = (ROOT / path).read_text() if text is None else text
    return Source(path, text, ast.parse(text))


def sources(*folders: str) -> list[str]:
    """The paths of all Python files in *folders*."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def below(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes under *node* that belong to its own scope."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, SCOPES):
            yield from below(child)


def definitions(
    node: ast.AST, kind: type[Definition], within: str = ""
) -> Iterator[tuple[str, Definition]]:
    """The definitions of a *kind* under *node* at any depth, with their qualified names."""
    for child in ast.iter_child_nodes(node):
        name = f"{within}{child.name}" if isinstance(child, NAMED) else ""
        if isinstance(child, kind):
            yield name, child
        yield from definitions(child, kind, f"{name}." if name else within)


def functions(source: Source) -> Iterator[tuple[str, Function]]:
    """All functions and methods of a file, with their qualified names."""
    yield from definitions(source.tree, ast.FunctionDef)
    yield from definitions(source.tree, ast.AsyncFunctionDef)


def name_of(node: ast.AST | None) -> str:
    """The last name in an expression such as ``a.b.C(…)`` or ``C[…]``; "" if it has none."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=inner) | ast.Subscript(value=inner):
            return name_of(inner)
        case _:
            return ""
