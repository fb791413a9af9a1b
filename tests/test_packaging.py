"""Who says what: standards and tools in pyproject.toml, setuptools' own business in setup.cfg."""

from __future__ import annotations

import io
import os
import random
import runpy
import tomllib
from configparser import ConfigParser
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile

import pytest

import llmstack
from tests.shape.source import ROOT


PYPROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUP: Final = (ROOT / "setup.cfg").read_text()
OURS: Final = {
    "options": {"packages", "zip_safe"},
    "options.packages.find": {"include"},
    "options.package_data": {"llmstack"},
}


def overlap(pyproject: dict[str, Any], setup: str) -> set[str]:
    """What is said in the wrong one of the two files; setuptools takes one and drops the other."""
    config = ConfigParser()
    config.read_string(setup)
    said = {f"{name}.{key}" for name in config.sections() for key in config[name]}
    allowed = {f"{name}.{key}" for name, keys in OURS.items() for key in keys}
    tool = pyproject.get("tool", {}).get("setuptools", {})
    return (said - allowed) | {f"tool.setuptools.{key}" for key in tool.keys() - {"dynamic"}}


def test_nothing_is_said_in_both_files() -> None:
    """A field in both would be lost without a word."""
    assert set() == overlap(PYPROJECT, SETUP)


@pytest.mark.parametrize(
    ("pyproject", "setup", "expected"),
    [
        ({}, "[metadata]\nname = llmstack", {"metadata.name"}),
        ({}, "[options]\ninstall_requires = attrs", {"options.install_requires"}),
        ({"tool": {"setuptools": {"packages": []}}}, "", {"tool.setuptools.packages"}),
        ({"tool": {"setuptools": {"dynamic": {}}}}, "[options]\npackages = find:", set()),
    ],
    ids=["metadata", "dependencies", "packages", "neither"],
)
def test_an_overlap_is_found(pyproject: dict[str, Any], setup: str, expected: set[str]) -> None:
    """The check above can fail."""
    assert expected == overlap(pyproject, setup)


@pytest.mark.parametrize("tool", ["ruff", "mypy"])
def test_what_judges_the_code_is_pinned_and_is_what_runs(tool: str) -> None:
    """Rules grow with each release, so a run elsewhere must use the same one."""
    pins = [line for line in PYPROJECT["dependency-groups"]["dev"] if line.startswith(tool)]

    assert [f"{tool}=={version(tool)}"] == pins


def test_every_module_function_of_random_is_banned() -> None:
    """Chance comes from dice that somebody holds; a new function would be a way around."""
    banned = PYPROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    ways = {f"random.{name}" for name in random.__all__ if name != "Random"}

    assert set() == ways - banned.keys()


def test_the_version_is_a_literal_that_can_be_read_without_import() -> None:
    """Building must not need what the package needs."""
    line = f'__version__ = "{llmstack.__version__}"\n'

    assert line in (ROOT / "llmstack" / "__init__.py").read_text()
    assert {"attr": "llmstack.__version__"} == PYPROJECT["tool"]["setuptools"]["dynamic"]["version"]


def test_the_command_exists() -> None:
    """The script that is installed starts a module of the package."""
    module, _, function = PYPROJECT["project"]["scripts"]["llmstack"].partition(":")

    assert ("llmstack.cli", "main") == (module, function)
    assert find_spec(module) is not None


def test_continuous_integration_runs_the_check() -> None:
    """By a file that can be executed, and without standard input."""
    script = ROOT / ".ci" / "run"

    assert os.access(script, os.X_OK)
    assert "exec make check </dev/null" == script.read_text().splitlines()[-1]


def wheel(*names: str, **fields: str) -> ZipFile:
    """A wheel in memory with the files *names* and the metadata *fields*."""
    facts = {"Name": "llmstack-layers", "License-Expression": "MIT"} | fields
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in facts.items()]
    lines += [f"Requires-Dist: {name}>=1" for name in ("aiohttp", "attrs", "structlog")]
    file = ZipFile(io.BytesIO(), "w")
    file.writestr("x.dist-info/METADATA", "\n".join([*lines, 'Requires-Dist: click; extra == "g"']))
    for name in names:
        file.writestr(name, "")
    return file


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (wheel("p/a.py", "p/py.typed"), []),
        (wheel("p/a.py"), ["missing: p/py.typed"]),
        (wheel("p/a.py", "p/py.typed", "tests/b.py"), ["should not be in it: tests/b.py"]),
        (wheel("p/a.py", "p/py.typed", Name="other"), ["Name is other, not llmstack-layers"]),
        (
            wheel("p/a.py", "p/py.typed", Requires_Dist="yarl"),
            ["it requires ['aiohttp', 'attrs', 'structlog', 'yarl']"],
        ),
    ],
    ids=["right", "file missing", "tests shipped", "wrong name", "one dependency more"],
)
def test_a_wrong_wheel_is_found(built: ZipFile, expected: list[str], tmp_path: Path) -> None:
    """What ``make check`` asks of the wheel can fail."""
    package = tmp_path / "p"
    package.mkdir()
    for name in ("a.py", "py.typed"):
        (package / name).touch()

    assert expected == runpy.run_path(str(ROOT / ".ci" / "wheel.py"))["faults"](built, package)
