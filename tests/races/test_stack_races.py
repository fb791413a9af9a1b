"""A stack that several enter and leave at once: what runs behind it is started and stopped once."""

from __future__ import annotations

import asyncio
from typing import Any

import llmstack as ls
from llmstack.testing import Explorer, echo
from tests.races.tried import all_over, tried


class Runs:
    """A layer with something behind it that takes a step to start and a step to stop."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def __call__(self, _inner: object, /) -> Any:  # noqa: ANN401 -- it is never called
        return self

    async def __aenter__(self) -> None:
        self.log.append("starts")
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.log.append("stopped")
            raise
        self.log.append("runs")

    async def __aexit__(self, *_error: object) -> None:
        self.log.append("stops")
        try:
            await asyncio.sleep(0)
        finally:
            self.log.append("stopped")


async def held(explorer: Explorer) -> None:
    """Two hold a stack for a step, each when it comes to it."""
    log: list[str] = []
    stack: Any = ls.ServiceBuilder().layer(Runs(log)).service(echo)
    inside = 0

    def check() -> None:
        assert 0 <= log.count("starts") - log.count("stopped") <= 1, log
        assert not inside or log[-1] == "runs", log

    async def hold() -> None:
        nonlocal inside
        async with stack:
            inside += 1
            try:
                await asyncio.sleep(0)
            finally:
                inside -= 1

    explorer.always(check)
    await all_over([hold(), hold()])

    assert log.count("starts") == log.count("stopped"), log


def test_a_stack_starts_and_stops_once_whoever_holds_it() -> None:
    """In all orders there are, those inside find it running, and at the end it has been stopped."""
    assert tried(held, runs=200, drawn=0, cancels=0).complete


def test_a_stack_whose_holders_leave_while_it_starts_or_stops() -> None:
    """A start that was cancelled is undone, and the next to hold it starts it anew."""
    tried(held, runs=0, drawn=150, cancels=2)
