import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack import clock
from llmstack.testing.cancel import CancelledRun, Livelock, cancelled_everywhere
from llmstack.testing.virtual import Deadlock


def no_check(_run: CancelledRun[object]) -> None:
    """Everything is fine."""


@given(laps=st.integers(0, 5), again=st.lists(st.integers(1, 4), unique=True, max_size=2))
def test_every_step_is_cancelled(laps: int, again: list[int]) -> None:
    """A task of so many laps has one step more, and ends after each number of laps."""
    done: list[int] = []
    seen: list[object] = []

    async def scenario() -> str:
        done.append(0)
        for lap in range(laps):
            await asyncio.sleep(0)
            done[-1] = lap + 1
        return "over"

    def check(run: CancelledRun[str]) -> None:
        seen.append((run, *done))
        done.clear()

    runs = cancelled_everywhere(scenario, check, again=again)

    alone = CancelledRun((), laps + 1, "returned", "over", None, 0.0, ())
    expected: list[object] = [(alone, laps)]
    for n in range(laps + 1):
        # The second step of a cancel never comes: the first has ended the task.
        gone = CancelledRun((n,), n + 1, "cancelled", None, None, 0.0, ())
        expected += [(gone, n - 1) if n else (gone,)] * (1 + len(again))
    assert expected == seen
    assert runs == [run for run, *_ in seen]  # type: ignore[misc]


@given(again=st.lists(st.integers(1, 3), unique=True))
def test_the_second_cancel_comes_so_many_steps_later(again: list[int]) -> None:
    """It meets what the first one has begun, here a cleanup of two steps."""

    async def scenario() -> float:
        try:
            await asyncio.sleep(2)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return clock.now()

    runs = cancelled_everywhere(scenario, no_check, again=again)

    # Alone: the task begins, the timer fires, the task goes on. The cleanup: the task gets
    # the cancel, its timer fires, it ends; unless it had been cancelled before it began.
    expected: list[object] = [((), "returned", 2.0)]
    for step, slept in ((0, None), (1, 0.0), (2, 2.0)):
        ended = "cancelled" if slept is None else "returned"
        result = None if slept is None else slept + 1
        expected.append(((step,), ended, result))
        for later in again:
            second = slept is not None and later <= 2 + (step == 2 and later == 0)
            expected.append(
                ((step, step + later), "cancelled", None) if second else ((step,), ended, result)
            )
    assert expected == [(run.cancels, run.ended, run.result) for run in runs]


def test_a_cancel_falls_between_two_callbacks_of_one_iteration() -> None:
    """So what the first callback sees differs from what the second one sees."""
    seen: list[int] = []

    async def scenario() -> None:
        loop, root = asyncio.get_running_loop(), asyncio.current_task()
        assert root is not None
        loop.call_soon(lambda: seen.append(root.cancelling()))
        loop.call_soon(lambda: seen.append(root.cancelling()))
        await asyncio.sleep(0)

    pairs: list[list[int]] = []

    def check(_run: CancelledRun[None]) -> None:
        pairs.append(list(seen))
        seen.clear()

    cancelled_everywhere(scenario, check, again=())

    assert [[0, 0], [], [1, 1], [0, 1], [0, 0]] == pairs


Permit = Callable[[list[str]], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def permit_given_back_at_once(out: list[str]) -> AsyncIterator[None]:
    out.append("permit")
    try:
        yield
    finally:
        out.remove("permit")


@asynccontextmanager
async def permit_given_back_later(out: list[str]) -> AsyncIterator[None]:
    out.append("permit")
    try:
        yield
    finally:
        await asyncio.sleep(0)
        out.remove("permit")


@asynccontextmanager
async def permit_given_back_on_errors(out: list[str]) -> AsyncIterator[None]:
    out.append("permit")
    try:
        yield
    except Exception:
        out.remove("permit")
        raise
    out.remove("permit")


@pytest.mark.parametrize(
    ("permit", "again", "lost"),
    [
        (permit_given_back_at_once, (1, 2), None),
        (permit_given_back_later, (), None),
        (permit_given_back_later, (1,), r"cancelled at steps \[1, 2\] of 3"),
        (permit_given_back_on_errors, (), r"cancelled at steps \[1\] of 2"),
    ],
)
def test_a_lost_permit_is_found(permit: Permit, again: tuple[int, ...], lost: str | None) -> None:
    """By one cancel where a release is left out, by two where a release awaits."""
    out: list[str] = []

    async def scenario() -> None:
        async with permit(out):
            await asyncio.sleep(1)

    def check(_run: CancelledRun[None]) -> None:
        assert not out

    found = None
    try:
        cancelled_everywhere(scenario, check, again=again)
    except AssertionError as error:
        found = error.__notes__[0]
    assert (lost is None) == (found is None)
    assert lost is None or pytest.raises(AssertionError, match=lost)
