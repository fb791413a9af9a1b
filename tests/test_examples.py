"""Every example runs as it is, offline, and shows what its text says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest


ROOT: Final = Path(__file__).parent.parent
EXAMPLES: Final = sorted(
    path.stem for path in (ROOT / "examples").glob("*.py") if path.stem != "__init__"
)
#: What must be among the lines that an example prints, in this order.
SHOWS: Final = {
    "compose_in_code": [
        "Hello.",
        "[('eu', 'failed'), ('us', 'ok')]",
        "a password must not leave the house",
        "at most 3 upstream calls, 30 s",
        "eu: asked first; score 0.00502 (input 9, output 500); about $0.00502; by its price",
    ],
    "plug_into_aiohttp": [
        "five at once: [200, 200, 503, 503, 503]",
        "after three failures: [503]",
        "the other path: [200]",
        "with retries: 200 attempt 3",
    ],
    "property_test_your_router": [
        "Sticky keeps what every router promises.",
        "A tenant never moves while its home is well.",
    ],
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_shows_what_it_says(name: str) -> None:
    """It ends by itself and without a complaint; its essential lines are there, in order."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", f"examples.{name}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (0, "") == (run.returncode, run.stderr)
    lines = run.stdout.splitlines()
    assert SHOWS[name] == [line for line in lines if line in SHOWS[name]]


def test_every_example_is_expected() -> None:
    """A new one says here what it shows."""
    assert set(SHOWS) == set(EXAMPLES)
