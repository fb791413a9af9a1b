"""Mutation tests of the machines and the parsers; ``make mutants`` runs them.

::

    make mutants                                  all of them (half an hour)
    make mutants ARGS=estimators/cusum            one module, or several
    make mutants ARGS=--known                     the table of what is known, nothing is run
    make mutants ARGS='--lived estimators/cusum'  only those again that lived
    make mutants ARGS=--again                     forget what is known

It may be broken off, and goes on where it was. The end is 1 if too few are killed, if one
lives that is not in ``survivors.toml``, or if one is there that does not.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from tests.mutants.bench.mutate import Mutant, mutants
from tests.mutants.bench.trial import Trial
from tests.mutants.report import Report, Verdict
from tests.mutants.scope import ROOT, SCOPE, own_tests
from tests.mutants.store import Keep, Known, digest, names
from tests.mutants.survivors import LIST, Place, listed


__all__ = ["main"]

STORE: Final = ROOT / ".mutants"
HERE: Final = Path(__file__).parent
TAKEN: Final = re.compile(r"^from (tests\.[a-z.]+) import (test_\w+)", re.MULTILINE)
#: After so many verdicts they are written down.
OFTEN: Final = 20


def files_of(module: str) -> Iterator[Path]:
    """Yield what the verdicts on *module* depend on."""
    yield ROOT / "llmstack" / f"{module}.py"
    tests = own_tests(module)
    tests += tuple(taken for test in tests if test.parent == HERE for taken in taken_by(test))
    yield from tests
    for folder in sorted({test.parent for test in tests} - {HERE}):
        yield from sorted(set(folder.glob("*.py")) - set(folder.glob("test_*.py")))


def taken_by(test: Path) -> Iterator[Path]:
    """Yield the files whose tests one in this folder takes."""
    for home, name in TAKEN.findall(test.read_text("utf-8")):
        yield ROOT / home.replace(".", "/") / f"{name}.py"


def verdict_on(trial: Trial, mutant: Mutant) -> Verdict:
    """Ask the tests."""
    if not trial.reaches(mutant.line):
        return "not covered"
    return "killed" if trial.kills(mutant.text) else "survived"


def ask(module: str, every: Mapping[str, Mutant], known: Known) -> None:
    """Ask the tests of *module* about each mutant of which nothing is known."""
    known.verdicts = {name: each for name, each in known.verdicts.items() if name in every}
    left = {name: mutant for name, mutant in every.items() if name not in known.verdicts}
    path = ROOT / "llmstack" / f"{module}.py"
    trial = Trial(path, f"llmstack.{module.replace('/', '.')}", own_tests(module))
    with trial if left else nullcontext():
        for n, (name, mutant) in enumerate(left.items(), 1):
            known.verdicts[name] = verdict_on(trial, mutant)
            if n % OFTEN == 0:
                known.write()
                print(f"{module}: {n} of {len(left)}", file=sys.stderr)
    known.write()


def look_at(module: str, report: Report, options: argparse.Namespace) -> None:
    """Find out what becomes of the mutants of *module*."""
    text = (ROOT / "llmstack" / f"{module}.py").read_text("utf-8")
    all_of_it = list(mutants(text))
    called = names((each.function, each.diff) for each in all_of_it)
    every = dict(zip(called, all_of_it, strict=True))
    path = STORE / f"{module.replace('/', '.')}.json"
    keep: Keep = "all" if options.known else "killed" if options.lived else "nothing"
    known = Known(path, digest(files_of(module)), keep)
    if not options.again:
        known.read()
    try:
        if not options.known:
            ask(module, every, known)
    except KeyboardInterrupt:
        known.write()
        raise
    if left := len(every.keys() - known.verdicts.keys()):
        print(f"{module}: {left} have not been asked about", file=sys.stderr)
    for name in every.keys() & known.verdicts.keys():
        report.add(Place(module, every[name].function, every[name].diff), known.verdicts[name])


def main() -> int:
    """Look at the modules that the arguments name, or at all."""
    os.environ["HYPOTHESIS_PROFILE"] = "mutants"
    parser = argparse.ArgumentParser(description="Mutation tests of machines and parsers.")
    parser.add_argument("modules", nargs="*", help="such as estimators/cusum; else all")
    parser.add_argument("--known", action="store_true", help="the table of what is known")
    parser.add_argument("--lived", action="store_true", help="only those again that lived")
    parser.add_argument("--again", action="store_true", help="forget what is known")
    options = parser.parse_args()
    if strange := set(options.modules) - SCOPE.keys():
        parser.error(f"not in the scope: {', '.join(sorted(strange))}")
    report = Report(listed(LIST.read_text("utf-8")))
    try:
        for module in options.modules or SCOPE:
            look_at(module, report, options)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("broken off; the next run goes on from here", file=sys.stderr)
        return 130
    print(*report.lines(), sep="\n")
    return not report.good


if __name__ == "__main__":
    sys.exit(main())
