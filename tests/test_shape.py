"""The shape of the package, file by file: what ruff cannot see.

Each gate is tried on samples that break it, for a gate that cannot fail is none.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Final

import pytest

from tests.shape import habits, imports, sizes
from tests.shape.source import ROOT, Fault, Gate, Source, read, sources


GATES: Final[tuple[Gate, ...]] = (
    imports.at_the_top,
    imports.down_the_floors,
    imports.no_siblings,
    imports.no_ways_around,
    imports.outside_where_needed,
    sizes.attributes,
    sizes.length,
    sizes.methods,
    sizes.nesting,
    sizes.parameters,
    sizes.settings,
    habits.broad_except,
    habits.no_blackboard,
    habits.no_suppress,
    habits.nothing_mutable,
    habits.public_names,
)

#: File, rule and name, with the reason. The list only shrinks: what is not needed fails.
EXCEPTIONS: Final[Mapping[tuple[str, str, str], str]] = {
    ("llmstack/__main__.py", "names", "llmstack.__main__"): "it is run, not imported",
    ("llmstack/call.py", "attributes", "Attempt"): "a record: the facts of one attempt",
    ("llmstack/combine.py", "broad except", "Exception"): "map_error: the user's function judges",
    ("llmstack/config/tables.py", "attributes", "EndpointTable"): "a table of the file, key by key",
    (
        "llmstack/errors.py",
        "attributes",
        "LLMStackError",
    ): "the behaviour and the facts of all errors",
    ("llmstack/errors.py", "length", "llmstack.errors"): "the whole tree in one file, and drawn",
    ("llmstack/errors.py", "parameters", "LLMStackError.__init__"): "the facts of one error",
    ("llmstack/errors.py", "parameters", "UpstreamTimeout.__init__"): "the same, and the phase",
    ("llmstack/integrations/aiohttp.py", "broad except", "Exception"): "judge() is its classify=",
    ("llmstack/events.py", "broad except", "Exception"): "a line must not decide how a call ends",
    ("llmstack/events.py", "swallow", "Exception"): "the same: whoever wrote it is told",
    **{
        (
            "llmstack/events.py",
            "kwargs",
            f"EventLog.{name}",
        ): "the facts of a line: names and values"
        for name in ("__init__", "bind", "error", "info", "warning")
    },
    (
        "llmstack/layers/circuit_breaker.py",
        "settings",
        "CircuitBreaker",
    ): "when, for how long, and how again; and two say what counts",
    ("llmstack/layers/metrics.py", "broad except", "Exception"): "nor must a recorder",
    ("llmstack/layers/metrics.py", "swallow", "Exception"): "the same: the call is counted as lost",
    ("llmstack/layers/retry.py", "parameters", "Retry.wait_after"): "all that a wait depends on",
    (
        "llmstack/layers/retry.py",
        "settings",
        "Retry",
    ): "how often and how long; and four say of what",
    (
        "llmstack/providers/credential.py",
        "broad except",
        "Exception",
    ): "whatever the user's function does, there is no key",
}

PACKAGE: Final = sources("llmstack")


def faults(source: Source) -> list[Fault]:
    return [fault for gate in GATES for fault in gate(source)]


@pytest.mark.parametrize("path", PACKAGE)
def test_the_file_is_in_shape(path: str) -> None:
    """No gate finds anything but the exceptions above."""
    found = faults(read(path))
    wrong = [str(f) for f in found if (path, f.rule, f.name) not in EXCEPTIONS]

    assert [] == wrong, "\n".join([path, *wrong])


@pytest.mark.parametrize("path", sources("tests", "benchmarks", "examples"))
def test_what_is_around_the_package_is_short_too(path: str) -> None:
    """No file has more than 400 lines: a test brings its tables along."""
    wrong = [str(fault) for fault in sizes.length(read(path), 400)]

    assert [] == wrong, path


def test_every_exception_is_needed() -> None:
    """What has been repaired leaves the list."""
    found = {(path, f.rule, f.name) for path in PACKAGE for f in faults(read(path))}

    assert set() == EXCEPTIONS.keys() - found


def test_importing_the_package_does_not_import_aiohttp() -> None:
    """Nor what only the gateway needs: the front door is light."""
    code = "import sys, llmstack; print(*{'aiohttp', 'click', 'cattrs'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert "" == run.stdout.strip()


def nested(opening: str, depth: int) -> str:
    blocks = "".join(f"{'    ' * n}{opening}\n" for n in range(1, depth + 1))
    return f"async def f(x):\n{blocks}{'    ' * (depth + 1)}pass\n"


def with_members(head: str, member: str, n: int) -> str:
    members = "".join(f"    {member.format(n)}\n" for n in range(n))
    return f'__all__ = ["C"]\nclass C:\n    {head}\n{members}'


SERVICE: Final = "llmstack/service.py"
LAYER: Final = "llmstack/layers/retry.py"
EDGE: Final = "llmstack/gateway/app.py"
ROLE: Final = 'role: ClassVar[str] = "c"'
CATCH: Final = "try: x()\nexcept {}: {}\n"

#: A path, what stands there, and the rules that it breaks.
SAMPLES: Final[Mapping[str, tuple[str, str, list[str]]]] = {
    "import from below": (LAYER, "from llmstack import clock, errors", []),
    "import from the same floor": (SERVICE, "from llmstack.service import Layer", []),
    "import from above": (SERVICE, "from llmstack.endpoint import Endpoint", ["floor"]),
    "import of a module from above": (SERVICE, "from llmstack import endpoint", ["floor"]),
    "import of the front door": (LAYER, "from llmstack import Retry", ["floor"]),
    "import of the front door by its name": (LAYER, "import llmstack as ls", ["floor"]),
    "front door from above": ("llmstack/cli.py", "from llmstack import Retry", []),
    "unknown floor": (SERVICE, "from llmstack.attic import thing", ["floor"]),
    "file without floor": ("llmstack/attic.py", "", ["floor"]),
    "file without floor, from outside": ("llmstack/attic.py", "import attrs", ["floor", "outside"]),
    "lazy from above": (
        SERVICE,
        "def _f():\n    import llmstack.endpoint",
        ["lazy import", "floor"],
    ),
    "lazy at the front door": (
        "llmstack/__init__.py",
        "def __getattr__(name):\n    from llmstack.testing import x",
        [],
    ),
    "early at the front door": (
        "llmstack/__init__.py",
        "from llmstack.testing import x",
        ["floor"],
    ),
    "lazy in the kit": ("llmstack/testing/kit.py", "def _f():\n    import ast", []),
    "layer imports layer": (LAYER, "from llmstack.layers.timeout import Timeout", ["sibling"]),
    "layer imports layer as a module": (LAYER, "from llmstack.layers import timeout", ["sibling"]),
    "the room is not a sibling": (
        "llmstack/layers/__init__.py",
        "import llmstack.layers.retry",
        [],
    ),
    "picker imports picker": (
        "llmstack/routers/cost_based.py",
        "from llmstack.routers.fallback import Fallback",
        ["sibling"],
    ),
    "picker imports shell": (
        "llmstack/routers/cost_based.py",
        "from llmstack.routers.router import Router",
        [],
    ),
    "shell imports picker": (
        "llmstack/routers/router.py",
        "from llmstack.routers.fallback import Fallback",
        ["sibling"],
    ),
    "relative import": (LAYER, "from . import timeout", ["way around", "outside"]),
    "only for the checker": (
        LAYER,
        "from typing import TYPE_CHECKING\nTYPE_CHECKING",
        ["way around"],
    ),
    "only for the checker, by module": (
        LAYER,
        "import typing\ntyping.TYPE_CHECKING",
        ["way around"],
    ),
    "aiohttp in a layer": (LAYER, "from aiohttp import web", ["outside"]),
    "aiohttp in a provider": ("llmstack/providers/transport.py", "from aiohttp import web", []),
    "stranger": (LAYER, "import requests", ["outside"]),
    "300 lines": (LAYER, "\n" * 300, []),
    "301 lines": (LAYER, "\n" * 301, ["length"]),
    "15 methods": (LAYER, with_members("def __len__(self): ...", "def f{}(self): ...", 15), []),
    "16 methods": (LAYER, with_members("", "async def f{}(self): ...", 16), ["methods"]),
    "12 attributes": (LAYER, with_members("def f(self): self.f3 = 1", "f{}: int = 0", 12), []),
    "13 attributes": (
        LAYER,
        with_members("def f(self): self.a, self.f3 = 1, 2", "f{}: int = 0", 12),
        ["attributes"],
    ),
    "8 settings": (LAYER, with_members(ROLE, "f{}: int = 0", 8), []),
    "9 settings": (LAYER, with_members(ROLE, "f{}: int = 0", 9), ["settings"]),
    "9 fields, no layer": (LAYER, with_members("role: str", "f{}: int = 0", 9), []),
    "3 deep": (LAYER, "__all__ = ['f']\n" + nested("async with x:", 3), []),
    "4 deep": (LAYER, "__all__ = ['f']\n" + nested("while x:", 4), ["nesting"]),
    "elif is not deeper": (
        LAYER,
        "def _f(x):\n    if x: pass\n    elif 1: pass\n    elif 2: pass\n    elif 3: pass",
        [],
    ),
    "a function in a function begins again": (
        LAYER,
        "def _f(x):\n  if x:\n    if x:\n      def g():\n        if x:\n          if x: pass",
        [],
    ),
    "6 parameters": (LAYER, "class _C:\n    def f(self, a, b, /, c, d, *, e, f): ...", []),
    "7 parameters": (
        LAYER,
        "class _C:\n    def f(self, a, b, /, c, d, *, e, f, g): ...",
        ["parameters"],
    ),
    "blackboard": (LAYER, "class _C:\n    async def f(**facts): ...", ["kwargs"]),
    "blackboard in config": ("llmstack/config.py", "def _f(**facts): ...", []),
    "narrow": (LAYER, CATCH.format("(ValueError, OSError)", "pass"), []),
    "broad": (LAYER, CATCH.format("Exception", "raise"), ["broad except"]),
    "broad among narrow": (LAYER, CATCH.format("(OSError, Exception)", "raise"), ["broad except"]),
    "broad, in words": (LAYER, CATCH.format("builtins.Exception", "raise"), ["broad except"]),
    "broad, bare": (LAYER, CATCH.format("", "raise"), ["broad except"]),
    "broad, judged": (
        LAYER,
        "class _C:\n    classify: X\n" + CATCH.format("Exception", "raise"),
        [],
    ),
    "broad, judged by a parameter": (
        LAYER,
        "def _f(x, *, classify): ...\n" + CATCH.format("Exception", "raise"),
        [],
    ),
    "everything, judged": (
        LAYER,
        "class _C:\n    classify: X\n" + CATCH.format("BaseException", "raise"),
        ["broad except"],
    ),
    "swallowed": (
        LAYER,
        "class _C:\n    classify: X\n" + CATCH.format("Exception", "pass"),
        ["swallow"],
    ),
    "raised by somebody else": (
        LAYER,
        "class _C:\n    classify: X\n" + CATCH.format("Exception", "\n  def f(): raise"),
        ["swallow"],
    ),
    "passed": (SERVICE, CATCH.format("BaseException", "raise"), []),
    "passed not": (SERVICE, CATCH.format("BaseException", "pass"), ["swallow"]),
    "swallowed at the edge": (EDGE, CATCH.format("Exception", "pass"), []),
    "cancellation swallowed at the edge": (
        EDGE,
        CATCH.format("BaseException", "pass"),
        ["broad except", "swallow"],
    ),
    "suppressed": (LAYER, "with contextlib.suppress(OSError, Exception): pass", ["swallow"]),
    "suppressed, narrow": (LAYER, "with suppress(OSError): pass\nsuppress()", []),
    "mutable": (LAYER, "x = []", ["mutable"]),
    "mutable and final": (LAYER, "x: Final = {1: 2}", ["mutable"]),
    "mutable and final, typed": (LAYER, "x: Final[dict[int, int]] = {1: 2}", ["mutable"]),
    "mutable in a block": (LAYER, "if x:\n    y = {z for z in ()}", ["mutable"]),
    "mutable by call": (LAYER, "x = collections.defaultdict(int)", ["mutable"]),
    "mutable by call of a type": (LAYER, "x: Final = dict[str, int]()", ["mutable"]),
    "mutable in a class": (LAYER, "class _C:\n    x: ClassVar = []", ["mutable"]),
    "thing with identity": (
        LAYER,
        "from x import EndpointSet\ny = EndpointSet()",
        ["outside", "mutable"],
    ),
    "table": (LAYER, "x: Final[Mapping[int, int]] = {1: 2}", []),
    "table of a class": (LAYER, "class _C:\n    x: ClassVar[Mapping[int, int]] = {1: 2}", []),
    "read only": (LAYER, "x: Final = frozenset({1})\ny: int\nz = (1,)", []),
    "local": (LAYER, "def _f():\n    x = []", []),
    "names": (LAYER, "__all__ = ['MAX', 'Any', 'f']\ndef f(): ...\ndef _g(): ...", []),
    "names not sorted": (LAYER, "__all__ = ['f', 'Any', 'MAX']", ["names"]),
    "a name twice": (LAYER, "__all__ = ['f', 'f']", ["names"]),
    "a name left out": (LAYER, "__all__ = ['f']\nasync def g(): ...", ["names"]),
    "only words": (LAYER, "'''Words.'''", []),
}
NAMELESS: Final = "\n__all__ = []"


@pytest.mark.parametrize(("path", "text", "rules"), SAMPLES.values(), ids=SAMPLES)
def test_the_gates_bite(path: str, text: str, rules: list[str]) -> None:
    """A sample breaks the rules that it is meant to break, and no other."""
    text = text if "__all__" in text or not text.strip() else text + NAMELESS

    assert sorted(rules) == sorted(fault.rule for fault in faults(read(path, text)))


def test_a_module_with_names_says_which() -> None:
    """Without ``__all__`` everything would be public."""
    assert ["names"] == [fault.rule for fault in faults(read(LAYER, "'''Words.'''\nx = 1"))]


def test_a_fault_says_where_and_what() -> None:
    """In one line, as the tests above print it."""
    assert "line 3: length: llmstack.call has 301 lines" == str(
        Fault("length", 3, "llmstack.call", "has 301 lines")
    )
