"""The front door: names that are loaded when they are asked for, and typed all the same."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module

import pytest

import llmstack
from tests.shape.source import ROOT


def stub() -> dict[str, str]:
    """The names that type checkers see, with the modules that they see them in."""
    tree = ast.parse((ROOT / "llmstack" / "__init__.pyi").read_text())
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_type_checkers_and_python_see_the_same_names() -> None:
    """And each is the one of its own module."""
    seen = stub()

    assert {*llmstack.__all__} == {*seen, "__version__"}
    assert [] == [
        name
        for name, home in seen.items()
        if getattr(llmstack, name) is not getattr(import_module(home), name)
    ]


def test_what_is_asked_for_is_loaded_and_nothing_else() -> None:
    """The import alone loads no module of the package; a name loads its own."""
    code = (
        "import sys, llmstack; before = {m for m in sys.modules if m.startswith('llmstack.')};"
        "llmstack.Price; now = sys.modules;"
        "print(before, 'llmstack.endpoint' in now, 'aiohttp' in now)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert "set() True False" == run.stdout.strip()


def test_a_name_that_is_not_there_is_missed_as_usual() -> None:
    """With the usual words, so that hasattr and getattr work."""
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        _ = llmstack.Nonsense  # type: ignore[attr-defined]


def test_dir_lists_the_public_names() -> None:
    """Loaded or not."""
    assert {*llmstack.__all__} <= {*dir(llmstack)}
