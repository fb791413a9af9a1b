"""The mutants of a module: its text, changed in one place each.

The changes are those of mutmut, and a few more: a call whose result nobody takes is left out,
a condition is turned round, a setting is not validated. mutmut itself would run only what it
changes in functions, and in no property; but half of a machine is the thresholds, and half of
a parser the tables, that stand outside of them. So its changes are taken, and
`tests.mutants.bench.trial` runs them.

What has no consequence while a program runs is left alone: docstrings, annotations, aliases
of types, ``__all__``. So is how attrs makes a class (``init=False``, ``kw_only=True``, a field
without its default): what stands in a field, the default itself and the bounds, is changed.
None in the place of False is no change either, for nothing here tells them apart; True is.
Nor is a `zip` that is not strict.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import unified_diff
from textwrap import dedent
from typing import Any, Final, final

import libcst as cst
import libcst.matchers as m
from attrs import frozen
from mutmut.mutation.file_mutation import (
    NEVER_MUTATE_FUNCTION_NAMES,
    ChildReplacementTransformer,
    MutationVisitor,
)
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode


__all__ = ["Mutant", "mutants"]


@final
@frozen
class Mutant:
    """A changed text: in which *function* (or class, or none), on what *line*, and the *diff*."""

    function: str
    line: int
    diff: str
    text: str


def _left_out(node: cst.Expr) -> Iterator[cst.CSTNode]:
    if m.matches(node.value, m.Call() | m.Await(m.Call())):
        yield node.with_changes(value=cst.Ellipsis())


def _turned(node: cst.If | cst.While) -> Iterator[cst.CSTNode]:
    test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    yield node.with_changes(test=cst.UnaryOperation(cst.Not(), test))


def _not_validated(node: cst.Call) -> Iterator[cst.CSTNode]:
    kept = [each for each in node.args if not m.matches(each, _VALIDATOR)]
    if len(kept) < len(node.args):
        yield node.with_changes(args=kept)


_VALIDATOR: Final = m.Arg(keyword=m.Name("validator"))
OPERATORS: Final = (
    *mutation_operators,
    (cst.Expr, _left_out),
    (cst.If, _turned),
    (cst.While, _turned),
    (cst.Call, _not_validated),
)

_FIELD: Final = m.Call(m.Name("field") | m.Name("Factory") | m.Attribute(m.Name("validators")))
#: What is looked into, but not changed itself.
_MADE_BY_ATTRS: Final = m.AnnAssign(value=_FIELD) | _FIELD
_TYPE: Final = m.Subscript(
    m.OneOf(
        *map(m.Name, ("Callable", "Iterable", "Literal", "Mapping", "Sequence", "dict", "tuple"))
    )
)
_NO_VALUE: Final = (
    m.Assign([m.AssignTarget(m.Name("__all__"))])
    | m.Assign(value=_TYPE)
    | m.Assign(value=m.BinaryOperation(operator=m.BitOr(), right=m.Name("None")))
    | m.Assign(value=m.Call(m.Name("TypeVar")))
    | m.Arg(keyword=m.OneOf(*map(m.Name, ("eq", "init", "kw_only", "repr", "takes_self"))))
    | m.Import()
    | m.ImportFrom()
)


#: That two things are of one length is so.
_GUARD: Final = re.compile(r",\s*(strict=\w+)?(?=\))")


@final
class _Visitor(MutationVisitor):  # type: ignore[misc] # where there is no mutmut it has no type
    """Also looks into functions with decorators, and remembers where each change is."""

    def __init__(self, statements: Iterable[cst.CSTNode]) -> None:
        super().__init__(OPERATORS, IgnoredCode(set(), set(), set()))
        self.numbers = {id(each): n for n, each in enumerate(statements)}
        self.number = -1
        self.names: list[str] = []
        self.places: list[tuple[int, str]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        self.number = self.numbers.get(id(node), self.number)
        if isinstance(node, cst.ClassDef | cst.FunctionDef):
            self.names.append(node.name.value)
        return bool(super().on_visit(node))

    def on_leave(self, original_node: cst.CSTNode) -> None:
        super().on_leave(original_node)
        if isinstance(original_node, cst.ClassDef | cst.FunctionDef):
            self.names.pop()

    def _create_mutations(self, node: cst.CSTNode) -> None:
        if not m.matches(node, _MADE_BY_ATTRS):
            super()._create_mutations(node)
        elif isinstance(node, cst.Call):
            for changed in _not_validated(node):
                self.mutations.append(_Changed(node, changed))
        self.places += [(self.number, ".".join(self.names))] * (
            len(self.mutations) - len(self.places)
        )

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef):
            return node.name.value in NEVER_MUTATE_FUNCTION_NAMES
        return m.matches(node, _NO_VALUE) or bool(super()._skip_node_and_children(node))


@final
@frozen
class _Changed:
    original_node: Any
    mutated_node: Any


def mutants(text: str) -> Iterator[Mutant]:
    """Yield the mutants of the module *text*, from its top to its end."""
    wrapper = cst.MetadataWrapper(cst.parse_module(text))
    module = wrapper.module
    visitor = _Visitor(module.body)
    wrapper.visit(visitor)
    head = "".join(map(module.code_for_node, module.header))
    parts = [module.code_for_node(each) for each in module.body]
    known = {text}
    for (number, function), change in zip(visitor.places, visitor.mutations, strict=True):
        swap = ChildReplacementTransformer(change.original_node, change.mutated_node)
        part = module.code_for_node(module.body[number].visit(swap))
        changed = "".join((head, *parts[:number], part, *parts[number + 1 :]))
        if changed in known or not _compiles(changed):
            continue
        known.add(changed)
        above = (head + "".join(parts[:number])).count("\n")
        line, diff = _diff(parts[number].splitlines(), part.splitlines())
        before, _, after = diff.partition("\n+")
        if _bare(before[1:]) != _bare(after):
            yield Mutant(function, above + line, diff, changed)


def _bare(text: str) -> str:
    """Return *text* without what makes no difference."""
    return _GUARD.sub("", text).replace("False", "None")


def _compiles(text: str) -> bool:
    try:
        compile(text, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


def _diff(before: Iterable[str], after: Iterable[str]) -> tuple[int, str]:
    """Return the first line that differs, and those that do, without what is around them."""
    diff = list(unified_diff([*before], [*after], lineterm="", n=0))[2:]
    line = int(diff[0].split()[1].lstrip("-").split(",")[0])
    changed = [each for each in diff if not each.startswith("@@")]
    bare = dedent("\n".join(each[1:] for each in changed)).split("\n")
    return line, "\n".join(each[0] + text for each, text in zip(changed, bare, strict=True))
