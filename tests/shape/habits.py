"""Gates for habits: blackboards, broad ``except``, shared state, public names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from typing import Final

from tests.shape.source import Fault, Source, below, definitions, functions, name_of, read, sources


__all__ = ["broad_except", "no_blackboard", "no_suppress", "nothing_mutable", "public_names"]

BLACKBOARDS: Final = ("llmstack/config", "llmstack/cli")
#: Where every error of a call passes, and nothing is judged.
PASSES: Final = ("llmstack/service.py", "llmstack/stream.py")
EDGE: Final = "llmstack/gateway/"
READ_ONLY: Final = {"Mapping", "Sequence", "Collection", "Set", "AbstractSet", "Iterable"}
DISPLAYS: Final = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
MUTABLE: Final = {
    *("list", "dict", "set", "bytearray", "iter", "open"),
    *("deque", "defaultdict", "Counter", "OrderedDict", "ChainMap", "SimpleNamespace"),
    *("WeakKeyDictionary", "WeakValueDictionary", "WeakSet", "count", "cycle", "Random", "array"),
    *("Lock", "RLock", "Event", "Semaphore", "Condition", "Queue", "local", "StringIO", "BytesIO"),
}


def no_blackboard(source: Source) -> Iterator[Fault]:
    """No ``**kwargs`` outside of configuration and command line."""
    if not source.path.startswith(BLACKBOARDS):
        for name, node in functions(source):
            if node.args.kwarg:
                yield Fault("kwargs", node.lineno, name, f"takes **{node.args.kwarg.arg}")


def broad(kind: ast.expr | None) -> str:
    """The broad class that a handler of *kind* catches; "" if it is a narrow one."""
    if kind is None:
        return "BaseException"
    kinds = {name_of(each) for each in (kind.elts if isinstance(kind, ast.Tuple) else [kind])}
    return next((name for name in ("BaseException", "Exception") if name in kinds), "")


def takes_classify(source: Source) -> bool:
    """Whether a class or function here is given the classifier that judges errors."""
    nodes = list(ast.walk(source.tree))
    fields = [name_of(n.target) for n in nodes if isinstance(n, ast.AnnAssign)]
    return "classify" in [*fields, *(n.arg for n in nodes if isinstance(n, ast.arg))]


def broad_except(source: Source) -> Iterator[Fault]:
    """Errors are caught by name; what catches all has a reason to be there and raises again."""
    edge = source.path.startswith(EDGE)
    for node in ast.walk(source.tree):
        kind = broad(node.type) if isinstance(node, ast.ExceptHandler) else ""
        if not kind or not isinstance(node, ast.ExceptHandler):
            continue
        judges = kind == "Exception" and (edge or takes_classify(source))
        if not judges and source.path not in PASSES:
            yield Fault("broad except", node.lineno, kind, "is caught where nothing judges it")
        raises = any(isinstance(inner, ast.Raise) for inner in below(node))
        if not raises and not (edge and kind == "Exception"):
            yield Fault("swallow", node.lineno, kind, "is caught and not raised again")


def no_suppress(source: Source) -> Iterator[Fault]:
    """``suppress(Exception)`` is a broad ``except`` that swallows."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and name_of(node) == "suppress" and node.args:
            kind = broad(ast.Tuple(node.args))
            if kind:
                yield Fault("swallow", node.lineno, kind, "is suppressed")


@cache
def things_with_identity() -> set[str]:
    """The classes of the package whose objects change."""
    trees = [read(path).tree for path in sources("llmstack")]
    return {
        name
        for tree in trees
        for name, node in definitions(tree, ast.ClassDef)
        if "define" in map(name_of, node.decorator_list)
    }


def read_only(annotation: ast.expr | None) -> bool:
    """Whether an annotation is one through which mypy allows no change."""
    while name_of(annotation) in {"Final", "ClassVar"} and isinstance(annotation, ast.Subscript):
        annotation = annotation.slice
    return name_of(annotation) in READ_ONLY


def nothing_mutable(source: Source) -> Iterator[Fault]:
    """Nothing at module or class level can change; a table is typed as one that is only read."""
    kinds = MUTABLE | things_with_identity()
    scopes = [source.tree, *(node for _, node in definitions(source.tree, ast.ClassDef))]
    for node in (node for scope in scopes for node in below(scope)):
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or not node.value:
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        made = name_of(node.value) if isinstance(node.value, ast.Call) else ""
        changes = isinstance(node.value, DISPLAYS) or made in kinds
        typed = isinstance(node, ast.AnnAssign) and read_only(node.annotation)
        if changes and not typed and name_of(target) != "__all__":
            yield Fault("mutable", node.lineno, name_of(target), "can be changed by everybody")


def order(name: str) -> tuple[int, str]:
    """The order of ``__all__``, as ruff sorts: constants, classes, the rest."""
    rank = 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2
    return rank, name


def public_names(source: Source) -> Iterator[Fault]:
    """``__all__`` is sorted and has each public class and function of the module, once."""
    body = source.tree.body
    named = [
        node
        for node in body
        if isinstance(node, ast.Assign) and name_of(node.targets[0]) == "__all__"
    ]
    own = {
        node.name
        for node in body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
    }
    if not named:
        if len(body) > 1:
            yield Fault("names", 1, source.module, "has no __all__")
        return
    public: list[str] = ast.literal_eval(named[0].value)
    line = named[0].lineno
    if public != sorted(set(public), key=order):
        yield Fault("names", line, "__all__", "is not sorted, or says a name twice")
    for name in sorted(own - set(public)):
        yield Fault("names", line, name, "is public and not in __all__")
