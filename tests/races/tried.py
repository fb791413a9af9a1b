"""What the explorations share: a thread to run in, and callers whose ends are looked at later."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from structlog.testing import capture_logs

from llmstack.testing.interleaved import Scenario
from llmstack.testing.races import Explored, explore


def tried(scenario: Scenario, *, runs: int, drawn: int, cancels: int = 1) -> Explored:
    """What was explored, without the log; it raises what goes wrong."""
    # In a thread: where a coroutine goes on behind an exception that was thrown into it,
    # Python 3.11 tells a tracer of returns without calls, and coverage loses lines.
    with capture_logs(), ThreadPoolExecutor(1) as thread:
        return thread.submit(explore, scenario, runs=runs, drawn=drawn, cancels=cancels).result()


async def all_over(calls: Iterable[Coroutine[Any, Any, Any]]) -> list[asyncio.Task[Any]]:
    """The tasks of *calls*, when all of them are over."""
    tasks = [asyncio.ensure_future(call) for call in calls]  # noqa: TID251 -- awaited below
    await asyncio.wait(tasks)
    return tasks
