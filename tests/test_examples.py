"""Each example runs as it is, offline, and says what its text promises."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from typing import Final

import pytest

from tests.shape.source import ROOT, sources


EXAMPLES: Final = [path for path in sources("examples") if not path.endswith("__init__.py")]

#: What must be in the output, in this order: patterns of whole lines.
SAYS: Final[dict[str, list[str]]] = {
    "examples/compose_in_code.py": [
        "The plan:",
        "eu: asked first; .*weight 3",
        "us: asked if 1 refuse; .*",
        "The reply: Layers, all the way down.",
        "  asked eu: Overloaded",
        r"  asked us: ok, for \$0.000096",
        r"  tokens by tenant: \{'acme': 17\}",
        "The stack:",
        r"CountTokens\(\)",
        "    above retry: a call counts once, with all its attempts",
        "at most 3 upstream calls, 30 s",
    ],
    "examples/plug_into_aiohttp.py": [
        "1. .*",
        "   200 slow, but here",
        "   200 slow, but here",
        r"   503 \{\"error\": \"all 2 permits are out\"\}",
        "2. .*",
        r"   \(its handler was cancelled\)",
        r"   504 \{\"error\": \"no end of the reply within 0.5 s\"\}",
        "3. .*",
        "   200 third time lucky",
        "4. .*",
        "   500 as always",
        "   500 as always",
        "   500 as always",
        r"   503 \{\"error\": \"open: .*\"\}, come back in \d s",
        "   meanwhile: 200 slow, but here",
    ],
    "examples/property_test_your_router.py": [
        "The plan:",
        "eu: asked first; 300 km away",
        "us: asked if 1 refuse; 6,000 km away",
        "ap: asked if 2 refuse; 9,000 km away",
        "nearest: keeps its promises",
        "only_the_nearest: nobody could be asked, so all were: .*",
    ],
}


def test_every_example_is_here() -> None:
    """A new one says what it prints, or it is not run."""
    assert sorted(SAYS) == EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES)
def test_an_example_says_what_it_promises(path: str) -> None:
    """In its order, and with no complaint; it ends by itself."""
    run = subprocess.run(
        [sys.executable, "-W", "error", path],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (0, "") == (run.returncode, run.stderr)
    left = iter(run.stdout.splitlines())
    missing = [
        line for line in SAYS[path] if not any(re.fullmatch(line, printed) for printed in left)
    ]
    assert [] == missing, run.stdout


@pytest.mark.parametrize("path", EXAMPLES)
def test_an_example_tells_how_it_is_run_and_what_one_sees(path: str) -> None:
    """Before anything else."""
    text = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""

    assert f"python {path}" in text
    assert "What one sees:" in text
