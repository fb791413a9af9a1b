"""The play itself, short, over real servers."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

from aiohttp import ClientSession

from llmstack import clock
from llmstack.demo.traffic import Callers
from llmstack.testing.provider import FakeProvider


ROOT = Path(__file__).parents[2]


def played(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo as a user does."""
    return subprocess.run(  # our own interpreter, on our own module
        [sys.executable, "-m", "llmstack", "demo", "--seconds", "4", *arguments],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_callers_do_not_notice_the_outage() -> None:
    """No failure; somebody else answered meanwhile; and the exit code says so."""
    run = played("--json")
    seen = json.loads(run.stdout)

    assert (0, "") == (run.returncode, run.stderr)
    assert 0 == seen["failures"] < seen["requests"]
    assert seen["share_during"] < seen["share_before"]
    assert seen["extra_attempts"] >= 1
    assert (4.0, 1) == (seen["seconds"], seen["seed"])


def test_without_a_terminal_it_prints_lines_the_summary_and_the_stack() -> None:
    """And tells of the outage when it happens."""
    run = played()

    assert 0 == run.returncode, run.stderr
    assert "the fast provider dies" in run.stdout
    assert "the fast provider is back" in run.stdout
    assert "no failure was seen by callers" in run.stdout
    assert ".layer(ls.LatencyBased(endpoints))" in run.stdout


def test_a_failure_is_told_with_its_reason() -> None:
    """What callers see that is no answer: a status, an empty reply, a connection that is gone."""
    seen: list[tuple[str, str]] = []

    async def main() -> None:
        async with FakeProvider() as provider, ClientSession() as session:
            callers = Callers(session, provider.base_url, Random(1))
            provider.fail(503)
            await callers.call(clock.now() + 0.01)
            provider.behave()
            await provider.die()
            await callers.call(clock.now() + 0.01)
            seen.extend((each.endpoint, each.failure) for each in callers.answered)

    # In a thread: coverage on Python 3.11 loses its place where aiohttp swallows errors.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, main()).result(60)

    assert ("", "status 503") == seen[0]
    assert "" == seen[-1][0]
    assert "Client" in seen[-1][1]
