"""Gates for imports: who stands on whom, and what comes from outside."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from tests.shape.source import ROOT, Fault, Function, Source, functions


__all__ = [
    "at_the_top",
    "down_the_floors",
    "no_siblings",
    "no_ways_around",
    "outside_where_needed",
]

#: From the ground up. A module imports from its own floor or from below.
FLOORS: Final = (
    {"errors", "clock", "hooks", "events"},
    {"call"},
    {"service"},
    {"endpoint"},
    {"body", "stream"},
    {"messages"},
    {"alarm", "keyed", "combine", "order", "race", "recorder", "standing"},
    {"builder"},
    {"estimators", "dialects"},
    {"layers"},
    {"routers"},
    {"state", "providers"},
    {"llmstack"},
    {"testing"},
    {"simulate", "integrations", "config"},
    {"gateway"},
    {"demo"},
    {"cli"},
    {"__main__"},
)
#: The lowest floor on which a package from outside may be used.
OUTSIDE: Final[Mapping[str, str]] = {
    "attrs": "errors",
    "structlog": "errors",
    "aiohttp": "providers",
    "yarl": "providers",  # the addresses of aiohttp
    "hypothesis": "testing",
    "prometheus_client": "integrations",
    "cattrs": "config",
    "click": "gateway",
}
#: What pickers share: the shell that serves them all, and its parts; and what a fallback is of.
SHARED: Final = {
    f"llmstack.routers.{name}"
    for name in (
        *("agenda", "eligibility", "foresight", "picker", "plan"),
        *("router", "triggers", "turns", "walk", "watch"),
    )
}
LAZY: Final = ("llmstack/__init__.py", "llmstack/testing/", "llmstack/cli.py", "llmstack/cli/")


def room(module: str) -> str:
    """The file or folder right under the package; the package itself has the name it has."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else module


def floor(module: str) -> int | None:
    return next((n for n, rooms in enumerate(FLOORS) if room(module) in rooms), None)


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or path.is_dir()


def imports(tree: ast.AST) -> list[tuple[int, str]]:
    """The modules that are imported anywhere under *tree*, each once a line."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(node.lineno, alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            inner = [f"{base}.{alias.name}" for alias in node.names]
            found |= {(node.lineno, name if is_module(name) else base) for name in inner}
    return sorted(found)


def lazy(source: Source) -> Iterator[tuple[Function, int, str]]:
    """The imports inside functions."""
    for _, function in functions(source):
        for line, module in imports(function):
            yield function, line, module


def at_the_top(source: Source) -> Iterator[Fault]:
    """No import inside a function, but where the room says so."""
    if not source.path.startswith(LAZY):
        for function, line, module in lazy(source):
            yield Fault("lazy import", line, function.name, f"imports {module} when it is called")


def down_the_floors(source: Source) -> Iterator[Fault]:
    """A module imports from its own floor or from below; the front door may go up lazily."""
    mine = floor(source.module)
    if mine is None:
        yield Fault("floor", 1, room(source.module), "has no place in FLOORS")
        return
    late = {line for _, line, _ in lazy(source)} if source.module == "llmstack" else set()
    for line, module in imports(source.tree):
        theirs = floor(module) if module.partition(".")[0] == "llmstack" else 0
        if line not in late and (theirs is None or theirs > mine):
            yield Fault("floor", line, module, f"is above {room(source.module)}")


def no_siblings(source: Source) -> Iterator[Fault]:
    """No layer imports a layer, and no picker a picker: what they share lies below."""
    package, _, own = source.module.rpartition(".")
    if package not in {"llmstack.layers", "llmstack.routers"}:
        return
    for line, module in imports(source.tree):
        if module.startswith(package) and module not in SHARED:
            yield Fault("sibling", line, module, f"is imported by its sibling {own}")


def outside_where_needed(source: Source) -> Iterator[Fault]:
    """What comes from outside stays on the floors that need it."""
    mine = floor(source.module)
    for line, module in imports(source.tree):
        name = module.partition(".")[0]
        if name == "llmstack" or name in sys.stdlib_module_names:
            continue
        lowest = floor(f"llmstack.{OUTSIDE[name]}") if name in OUTSIDE else None
        if lowest is None or mine is None or mine < lowest:
            yield Fault("outside", line, name, "does not belong on this floor")


def no_ways_around(source: Source) -> Iterator[Fault]:
    """No import that only the type checker sees, and none that is relative."""
    for node in ast.walk(source.tree):
        if "TYPE_CHECKING" in (getattr(node, "id", ""), getattr(node, "attr", "")):
            yield Fault("way around", node.lineno, "TYPE_CHECKING", "hides an import")  # type: ignore[attr-defined]
        if isinstance(node, ast.ImportFrom) and node.level:
            yield Fault("way around", node.lineno, f"{'.' * node.level}", "is a relative import")
