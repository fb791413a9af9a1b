"""The mutants of a small module; run where mutmut is, as `make mutants` does first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from tests.mutants.bench.mutate import mutants
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


TRIED: Final = """
import sys
from pathlib import Path
from tests.mutants.bench.trial import Trial

module, test = Path("tried_here.py"), Path("test_tried_here.py")
module.write_text("def half(n):\\n    return n / 2\\n\\n\\ndef other():\\n    return 1\\n")
test.write_text("import tried_here\\ndef test_half():\\n    assert tried_here.half(5) == 2.5\\n")
trial = Trial(module, "tried_here", [test])
with trial:
    print(*(trial.reaches(line) for line in (1, 2, 6)))
    print(*(trial.kills(text) for text in sys.argv[1:]))
"""


def test_a_trial(tmp_path: Path) -> None:
    """A test that fails kills, one that does not end too; what no test runs is not reached."""
    half = "def half(n):\n    return n "
    texts = [half + "* 0.5", half + "// 2", "def half(n):\n    while True: pass", "nonsense"]
    ended = subprocess.run(
        [sys.executable, "-c", TRIED, *texts],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ["True True False", "False True True True"] == ended.stdout.splitlines()


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
