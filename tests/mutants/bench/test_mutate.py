"""The mutants of a small module; run where mutmut is, as `make mutants` does first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from tests.mutants.bench.mutate import mutants
from tests.mutants.bench.run import files_of
from tests.mutants.bench.swap import changed_functions, swap
from tests.mutants.scope import ROOT


TEXT: Final = '''"""Text."""

from typing import Literal

from attrs import field, frozen, validators

__all__ = ["Least"]

Kind = Literal["a", "b"]
FEW = 5


@frozen
class Least:
    """The least."""

    size: int = field(default=3, validator=validators.ge(1), kw_only=True)

    @property
    def double(self) -> int:
        """Twice."""
        return self.size * 2


def clear(kept: list[int]) -> None:
    """Forget *kept*, if it is long."""
    if len(kept) > FEW:
        kept.clear()
'''


def test_the_changes() -> None:
    """Constants, settings, properties, conditions and calls; no types, no texts about it."""
    assert [
        ("", "FEW = None"),
        ("", "FEW = 6"),
        ("Least", "size: int = field(default=3, kw_only=True)"),
        ("Least", "size: int = field(default=4, validator=validators.ge(1), kw_only=True)"),
        ("Least", "size: int = field(default=3, validator=validators.ge(2), kw_only=True)"),
        ("Least.double", "return self.size / 2"),
        ("Least.double", "return self.size * 3"),
        ("clear", "if not (len(kept) > FEW):"),
        ("clear", "if len(kept) >= FEW:"),
        ("clear", "..."),
    ] == [(each.function, each.diff.partition("\n+")[2]) for each in mutants(TEXT)]


def test_one_line_is_changed() -> None:
    """And that is the one which the mutant names."""
    lines = TEXT.splitlines()
    for each in mutants(TEXT):
        changed = each.text.splitlines()

        assert [each.line - 1] == [n for n, line in enumerate(lines) if line != changed[n]]


MODULE: Final = """
def half(n):
    return n / 2


def at_import():
    return 3


def other():
    return 1


SIZE = at_import()
"""
TESTS: Final = """
import tried_here


def test_both():
    assert tried_here.half(5) == 2.5
    assert tried_here.SIZE == 3
"""
TRIED: Final = """
import sys
from pathlib import Path
from tests.mutants.bench.trial import Trial

trial = Trial(Path("tried_here.py"), "tried_here", [Path("test_tried_here.py")])
with trial:
    print(*(trial.reaches(line) for line in (2, 3, 7, 11)))
    print(*(trial.kills(text) for text in sys.argv[1:]))
"""


def test_a_trial(tmp_path: Path) -> None:
    """A test that fails kills, one that does not end too; what no test runs is not reached."""
    (tmp_path / "tried_here.py").write_text(MODULE)
    (tmp_path / "test_tried_here.py").write_text(TESTS)
    changes = [
        *(("n / 2", "n * 0.5"), ("n / 2", "n // 2"), ("return n / 2", "while True: pass")),
        *(("return 3", "return 4"), ("return 1", "return 2"), (MODULE, "nonsense")),
    ]
    ended = subprocess.run(
        [sys.executable, "-c", TRIED, *(MODULE.replace(*change) for change in changes)],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert [
        ["True", "True", "True", "False"],
        ["False", "True", "True", "True", "False", "True"],
    ] == [line.split() for line in ended.stdout.splitlines()]


def test_verdicts_depend_on_tests_that_are_taken() -> None:
    """And on what is beside those, but not on what asks them."""
    files = {str(path.relative_to(ROOT)) for path in files_of("providers/sse")}

    assert {"llmstack/providers/sse.py", "tests/providers/test_batch.py"} <= files
    assert {"tests/mutants/bench/test_sse_at_once.py", "tests/providers/test_sse.py"} <= files
    assert {"tests/providers/steps.py"} <= files
    assert {"tests/providers/test_said.py", "tests/mutants/bench/run.py"} & files == set()


BEFORE: Final = """
class Least:
    size = [n for n in (1, 2)]

    @property
    def double(self):
        return 2

    @staticmethod
    def half(size=1):
        return size / 2

def clear():
    return [n for n in (1, 2)]
"""


@pytest.mark.parametrize(
    ("right", "wrong", "names"),
    [
        ("return 2", "return 3", ["Least.double"]),
        ("return size / 2", "return 3", ["Least.half"]),
        ("return [n for", "return [-n for", ["clear"]),
        ("= [n for", "= [-n for", None),
        ("size=1", "size=2", None),
        ("(1, 2)]\n\n", "(1, 3)]\n\n", None),
        ("clear", "other", None),
        ("2", "2", []),
    ],
)
def test_which_functions_differ(right: str, wrong: str, names: list[str] | None) -> None:
    """Those alone, and not what is done when the module is imported."""
    codes = changed_functions(BEFORE, BEFORE.replace(right, wrong, 1))

    assert names == (None if codes is None else [*codes])


def test_functions_take_another_code() -> None:
    """Properties and static methods too, wherever they are known already."""
    module = ModuleType("module")
    exec(BEFORE, vars(module))
    clear, least = module.clear, module.Least()
    after = BEFORE.replace("return", "return 'changed',")
    codes = changed_functions(BEFORE, after)
    assert codes is not None

    assert swap(module, codes)
    assert ["changed"] * 3 == [each[0] for each in (clear(), least.double, least.half())]
    assert not swap(module, {"size": codes["clear"]})
    assert not swap(module, {"Least.size": codes["clear"]})
