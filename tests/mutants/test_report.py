"""The table of mutants, the list of those that may live, and what is remembered of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.mutants.report import Report, Verdict
from tests.mutants.scope import ROOT, SCOPE, own_tests
from tests.mutants.store import Known, digest, names
from tests.mutants.survivors import LIST, Place, as_entries, listed


ONE: Final = Place("estimators/ramp", "Ramp.share", "-if now >= 1:\n+if now > 1:")
TWO: Final = Place("estimators/ramp", "Ramp.share", "-return 1.0\n+return 2.0")
TEXT: Final = """
[[survivors]]
module = "estimators/ramp"
function = "Ramp.share"
reason = "it is the same"
changes = [
'''
-if now >= 1:
+if now > 1:
''',
'''
-return 1.0
+return 2.0
''',
]
"""


def report(listed: dict[Place, int], *found: tuple[Place, Verdict]) -> Report:
    made = Report(listed)
    for place, verdict in found:
        made.add(place, verdict)
    return made


def test_all_that_live_are_listed() -> None:
    """Then it is good, if nineteen of twenty are killed and no more is listed."""
    kills: list[tuple[Place, Verdict]] = [(TWO, "killed")] * 19
    good = report({ONE: 1}, *kills, (ONE, "survived"))

    assert 0.95 == good.share
    assert good.good
    assert not report({ONE: 1}, *kills[1:], (ONE, "survived")).good
    assert not report({}, *kills, (ONE, "survived")).good
    assert not report({}, *kills, (ONE, "not covered")).good
    assert not report({ONE: 2}, *kills, (ONE, "survived")).good
    assert report({}).good


def test_mutants_of_one_name_are_counted() -> None:
    """Two alike that live need two in the list, and of two in the list both must live."""
    two = report({ONE: 1}, (ONE, "survived"), (ONE, "survived"))
    one = report({ONE: 2}, (ONE, "survived"), (ONE, "killed"))

    assert ([ONE], []) == (two.unlisted, two.stale)
    assert ([], [ONE]) == (one.unlisted, one.stale)


def test_only_what_was_looked_at_is_stale() -> None:
    """Of a module that was not run nobody knows."""
    other = Place("estimators/window", "", "+1")

    assert [TWO] == report({TWO: 1, other: 1}, (ONE, "killed")).stale


def test_the_table() -> None:
    """A line for each module and one for all; below it, what is to be done."""
    made = report({TWO: 1}, (ONE, "survived"), (ONE, "killed"), (ONE, "not covered"))
    table, _, rest = "\n".join(made.lines()).partition("\n\n")

    assert [
        ["module", "mutants", "killed", "survived", "not", "covered", "share"],
        ["estimators/ramp", "3", "1", "1", "1", "33.3%"],
        ["all", "3", "1", "1", "1", "33.3%"],
    ] == [line.split() for line in table.splitlines()]
    assert ["not in the list", "do not live", "33.3% are killed, and it should be 95%"] == [
        words
        for words in (
            "not in the list",
            "do not live",
            "33.3% are killed, and it should be 95%",
        )
        if words in rest
    ]
    assert 2 == rest.count("+if now > 1:")
    assert 1 == rest.count("+return 2.0")
    assert ["all", "0", "0", "0", "0", "-"] == [*report({}).lines()][-1].split()


def test_the_list_is_read() -> None:
    """Each change of an entry is one; what is there twice counts twice."""
    assert Counter({ONE: 1, TWO: 1}) == listed(TEXT)
    assert Counter({ONE: 2, TWO: 2}) == listed(TEXT * 2)
    assert Counter() == listed("")


def test_what_is_to_be_listed_can_be_pasted() -> None:
    """It lacks the reason only, and without one it is refused."""
    text = as_entries([ONE, TWO])

    assert Counter({ONE: 1, TWO: 1}) == listed(text.replace('""', '"it is the same"'))
    with pytest.raises(ValueError, match=r"estimators/ramp, Ramp\.share: .* has a reason"):
        listed(text)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('reason = "it is the same"', ""),
        ('reason = "it is the same"', 'reason = " "'),
        ('module = "estimators/ramp"', 'modul = "estimators/ramp"'),
        ('function = "Ramp.share"', 'function = "Ramp.share"\nline = 3'),
        (TEXT[TEXT.index("changes") :], "changes = []"),
    ],
    ids=["no reason", "an empty one", "no module", "too much", "no change"],
)
def test_a_wrong_entry_is_refused(right: str, wrong: str) -> None:
    """An entry that says less than it must, or what nobody reads."""
    with pytest.raises(ValueError, match="an entry has"):
        listed(TEXT.replace(right, wrong))


def test_the_list_is_whole() -> None:
    """Each entry is of a module that is mutated, and its first line is in there."""
    for place in listed(LIST.read_text("utf-8")):
        text = (ROOT / "llmstack" / f"{place.module}.py").read_text("utf-8")
        gone = [line[1:].strip() for line in place.diff.splitlines() if line.startswith("-")]

        assert place.module in SCOPE
        assert [] == [line for line in gone if line not in text]


def test_all_machines_are_mutated() -> None:
    """Each file of the estimators is in the scope."""
    machines = {path.stem for path in (ROOT / "llmstack" / "estimators").glob("[!_]*.py")}
    theirs = {name.partition("/")[2] for name in SCOPE if name.startswith("estimators/")}

    assert machines == theirs


@pytest.mark.parametrize("module", SCOPE)
def test_what_is_mutated_has_tests(module: str) -> None:
    """The module is there, and so is each file of its tests."""
    assert (ROOT / "llmstack" / f"{module}.py").exists()
    assert all(path.exists() for path in own_tests(module))


def test_verdicts_are_remembered(tmp_path: Path) -> None:
    """As long as what they depend on is the same."""
    path = tmp_path / "kept" / "ramp.json"
    known = Known(path, "then")
    known.read()
    known.verdicts = {"a": "killed", "b": "survived"}
    known.write()
    same, other, last = Known(path, "then"), Known(path, "now"), Known(path, "now", "all")
    for each in (same, other, last):
        each.read()

    assert known.verdicts == same.verdicts == last.verdicts
    assert {} == other.verdicts


def test_who_was_killed_may_stay_dead(tmp_path: Path) -> None:
    """If those are asked that lived; and what comes of it is not taken for a whole run."""
    path = tmp_path / "ramp.json"
    known = Known(path, "then")
    known.verdicts = {"a": "killed", "b": "survived", "c": "not covered"}
    known.write()
    lived = Known(path, "now", "killed")
    lived.read()
    found = dict(lived.verdicts)
    lived.verdicts["b"] = "killed"
    lived.write()
    whole = Known(path, "now")
    whole.read()

    assert {"a": "killed"} == found
    assert {} == whole.verdicts


def test_a_digest_is_of_what_files_hold(tmp_path: Path) -> None:
    """Of each by itself, in their order, and of nothing else."""
    for name, text in (("a", "one"), ("b", "two"), ("c", "one"), ("d", "onetwo"), ("e", "")):
        (tmp_path / name).write_text(text)
    digests = {files: digest(tmp_path / name for name in files) for files in ("ab", "cb", "ba")}

    assert digests["ab"] == digests["cb"] != digests["ba"]
    assert digests["ab"] != digest(tmp_path / name for name in "de")


def test_mutants_of_one_name_are_numbered() -> None:
    """So that each has a verdict."""
    assert ["f\n+1\n1", "f\n+1\n2", "g\n+1\n1"] == names([["f", "+1"]] * 2 + [["g", "+1"]])
