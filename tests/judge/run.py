"""Run `tests.judge.scenario`; ``make judge`` does, in an environment that has the judge."""

from __future__ import annotations

import sys
from pathlib import Path
from runpy import run_module


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))  # where `tests` is
    run_module("tests.judge.scenario", run_name="__main__")
