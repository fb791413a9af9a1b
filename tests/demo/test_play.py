"""The play itself, short, over real servers."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import ClientSession
from attrs import define, field
from structlog.testing import capture_logs

import llmstack as ls
from llmstack import clock
from llmstack.demo import run_demo
from llmstack.demo.play import Builds, play
from llmstack.demo.report import Summary
from llmstack.demo.stack import build
from llmstack.demo.traffic import Answered, Callers, added
from llmstack.providers.openai import OpenAI
from llmstack.testing.provider import FakeProvider
from llmstack.testing.virtual import run_virtual


HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"
ROOT = Path(__file__).parents[2]


def played(*, as_json: bool = False, build: Builds = build) -> int:
    """Run the demo in real time, as the command line does, but shorter than that allows."""
    # In a thread: coverage on Python 3.11 loses its place where aiohttp swallows errors.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run_demo, 4.0, 1, as_json=as_json, build=build).result(100)


@define
class Watched:
    """A screen that remembers."""

    frames: list[tuple[float, int, dict[str, str]]] = field(factory=list)
    news: list[tuple[float, str]] = field(factory=list)

    def show(self, at: float, recent: Sequence[Answered], states: Mapping[str, str]) -> None:
        self.frames.append((at, len(recent), dict(states)))

    def tell(self, at: float, news: str) -> None:
        self.news.append((at, news))

    def close(self) -> None:
        """Nothing to do."""


def seen(seconds: float, build: Builds = build) -> tuple[Summary, Watched]:
    """Play on virtual time: real sockets, the same in each run, and over in a moment."""
    screen = Watched()
    # In a thread: coverage on Python 3.11 loses its place where aiohttp swallows errors.
    with capture_logs() as logs, ThreadPoolExecutor(1) as pool:
        run = pool.submit(
            lambda: run_virtual(play(seconds, 1, screen, logs, build), grace=0.001)[0]
        )
        return run.result(100), screen


def test_the_share_moves_away_and_comes_back() -> None:
    """The whole play of twenty seconds; the fast provider wins, loses all, and wins again."""
    summary, screen = seen(20.0)

    assert 0 == summary.failures == summary.exit_code
    assert 700 < summary.requests < 900
    assert summary.share_before > 0.5
    assert summary.share_during < 0.05
    assert summary.share_after > summary.share_before / 2
    assert 1 <= summary.breaker_openings <= summary.extra_attempts < 30
    # In virtual time nothing but sleep takes any.
    assert 0.0 == summary.added_ms
    assert 40 < summary.p50_ms < summary.p99_ms < 300
    told = [news for _, news in screen.news]
    dies = told.index("the fast provider dies: its connections are reset, new ones refused")
    reason = (
        "6 of the last 20 calls failed: ConnectionFailed \N{MULTIPLICATION SIGN}5, ConnectionLost"
    )
    opens = told.index(f"the breaker of fast opens: {reason}")
    back = told.index("the fast provider is back")
    closes = told.index("the breaker of fast closes: probes succeeded")
    assert 1 == told.count(told[opens]) == told.count(told[closes])
    assert dies < opens < back < closes
    assert [5.0, 13.0] == pytest.approx([screen.news[n][0] for n in (dies, back)], abs=0.01)
    assert 80 <= len(screen.frames) <= 82
    assert {"open", "closed"} <= {states.get("fast") for _, _, states in screen.frames}
    assert 30 < max(count for _, count, _ in screen.frames) < 60


def test_the_same_seed_plays_the_same() -> None:
    """To the last answer."""
    assert seen(3.0) == seen(3.0)


def alone(fast: str, _slow: str, _dear: str, seed: int) -> ls.Stack[ls.Request, Any]:
    """Know nobody but the provider that dies."""
    only = ls.RoundRobin([ls.Endpoint("fast", OpenAI(fast))])
    breaker = ls.CircuitBreaker(base=1, cap=2)
    return ls.ServiceBuilder(seed=seed).layer(only).layer(breaker).service(ls.dispatch)


def test_a_stack_that_cannot_go_elsewhere_fails_its_callers() -> None:
    """So the zero above is not for want of an outage; and the demo ends with 1."""
    summary, _ = seen(4.0, alone)

    assert summary.failures > 10
    assert (1, 0.0) == (summary.exit_code, summary.share_during)


def test_the_exit_code_is_that_of_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    """In one process, with real time, as the command line calls it."""
    assert 1 == played(as_json=True, build=alone)
    assert json.loads(capsys.readouterr().out)["failures"] > 0


def test_what_the_gateway_adds_is_the_difference() -> None:
    """In milliseconds, of two ways that are asked in turn."""

    async def main() -> float:
        async with (
            FakeProvider(latency=0.25) as one,
            FakeProvider(latency=1.0) as other,
            ClientSession() as session,
        ):
            return await added(session, one.base_url, other.base_url)

    extra, took = run_virtual(main(), grace=0.001)

    assert 750 == pytest.approx(extra)
    assert 200 == pytest.approx(took)


def test_neither_side_has_the_better_place() -> None:
    """What is asked first in a pair is slower here, on either side; and so is the beginning."""
    asked = 0

    def latency(_dice: Random) -> float:
        nonlocal asked
        asked += 1
        return 0.25 + 0.5 * (asked % 2) + (8.0 if asked <= 20 else 0.0)

    async def main() -> float:
        async with (
            FakeProvider(latency=latency) as one,
            FakeProvider(latency=lambda dice: latency(dice) + 1.0) as other,
            ClientSession() as session,
        ):
            return await added(session, one.base_url, other.base_url)

    extra, _ = run_virtual(main(), grace=0.001)

    assert 1000 == pytest.approx(extra)


@define
class Broken(Watched):
    """A screen that breaks down."""

    def show(self, _at: float, _recent: object, _states: object) -> None:
        raise ZeroDivisionError


def test_what_breaks_the_show_breaks_the_demo() -> None:
    """It ends at once, and not as if all had been seen."""
    with pytest.raises(ExceptionGroup) as raised, ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: run_virtual(play(1e9, 1, Broken(), [], build))).result(100)

    assert isinstance(raised.value.exceptions[0], ZeroDivisionError)


def test_an_interrupt_gives_the_cursor_back() -> None:
    """On a terminal, in the middle of the play."""
    ours, theirs = pty.openpty()
    # A terminal of its own size; output that nobody reads would block.
    process = subprocess.Popen(
        [sys.executable, "-m", "llmstack", "demo", "--seconds", "60"],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "80"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    try:
        while HIDE not in said:
            said += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # the other side is closed
            while part := os.read(ours, 4096):
                said += part
        assert 1 == process.wait(30)
    finally:
        process.kill()
        process.wait()
        os.close(ours)

    assert said.count(HIDE) == said.count(SHOW) == 1
    assert said.index(HIDE) < said.index(SHOW)
    assert said.rstrip().endswith(b"Aborted!")


def test_callers_do_not_notice_the_outage(capsys: pytest.CaptureFixture[str]) -> None:
    """No failure; somebody else answered meanwhile; and the exit code says so."""
    code = played(as_json=True)
    out, err = capsys.readouterr()
    figures = json.loads(out)

    assert (0, "") == (code, err)
    assert 0 == figures["failures"] < figures["requests"]
    assert figures["share_during"] < figures["share_before"]
    assert figures["extra_attempts"] >= 1
    assert (4.0, 1) == (figures["seconds"], figures["seed"])


def test_without_a_terminal_it_prints_lines_the_summary_and_the_stack(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And tells of the outage when it happens."""
    code = played()
    out, err = capsys.readouterr()

    assert (0, "") == (code, err)
    assert "the fast provider dies" in out
    assert "the fast provider is back" in out
    assert "no failure was seen by callers" in out
    assert ".layer(ls.LatencyBased(endpoints))" in out


def test_a_failure_is_told_with_its_reason() -> None:
    """What callers see that is no answer: a status, an empty reply, a connection that is gone."""
    answers: list[tuple[str, str]] = []

    async def main() -> None:
        async with FakeProvider() as provider, ClientSession() as session:
            callers = Callers(session, provider.base_url, Random(1))
            provider.fail(503)
            await callers.call(clock.now() + 0.01)
            provider.behave()
            await provider.die()
            await callers.call(clock.now() + 0.01)
            answers.extend((each.endpoint, each.failure) for each in callers.answered)

    # In a thread: coverage on Python 3.11 loses its place where aiohttp swallows errors.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, main()).result(60)

    assert ("", "status 503") == answers[0]
    assert "" == answers[-1][0]
    assert "Client" in answers[-1][1]
