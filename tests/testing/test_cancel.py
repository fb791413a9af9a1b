import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

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
    seen: list[tuple[CancelledRun[str], list[int]]] = []

    async def scenario() -> str:
        done.append(0)
        for lap in range(laps):
            await asyncio.sleep(0)
            done[-1] = lap + 1
        return "over"

    def check(run: CancelledRun[str]) -> None:
        seen.append((run, list(done)))
        done.clear()

    runs = cancelled_everywhere(scenario, check, again=again)

    expected: list[object] = [
        (CancelledRun((), laps + 1, "returned", "over", None, 0.0, ()), [laps])
    ]
    for n in range(laps + 1):
        # The second step of a cancel never comes: the first has ended the task.
        gone: object = CancelledRun((n,), n + 1, "cancelled", None, None, 0.0, ())
        expected += [(gone, [n - 1] if n else [])] * (1 + len(again))
    assert expected == seen
    assert [run for run, _ in seen] == runs


def test_the_second_cancel_comes_so_many_steps_later() -> None:
    """It meets what the first one has begun, here a cleanup that waits."""

    async def scenario() -> float:
        try:
            await asyncio.sleep(2)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return clock.now()

    runs = cancelled_everywhere(scenario, no_check, again=(1, 2, 5))

    # Steps left alone: the task begins, the timer fires, the task goes on. A cancel at 1
    # comes when the timer is about to fire; at 2 the task is told of it, 3 is the timer of
    # the cleanup, 4 its end. Two cancels before the task is told are one for it.
    assert [
        ((), "returned", 2.0),
        *[((0,), "cancelled", None)] * 4,
        ((1,), "returned", 3.0),
        ((1, 2), "returned", 3.0),
        ((1, 3), "cancelled", None),
        ((1,), "returned", 3.0),
        ((2,), "returned", 3.0),
        ((2, 3), "cancelled", None),
        ((2, 4), "cancelled", None),
        ((2,), "returned", 3.0),
    ] == [(run.cancels, run.ended, run.result) for run in runs]


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
async def permit_given_back_if_all_is_well(out: list[str]) -> AsyncIterator[None]:
    out.append("permit")
    yield
    out.remove("permit")


@pytest.mark.parametrize(
    ("permit", "again", "lost"),
    [
        (permit_given_back_at_once, (1, 2), None),
        (permit_given_back_later, (), "cancelled at steps [3] of 4"),
        (permit_given_back_later, (1, 2), "cancelled at steps [1, 3] of 4"),
        (permit_given_back_if_all_is_well, (), "cancelled at steps [1] of 3"),
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

    if lost is None:
        cancelled_everywhere(scenario, check, again=again)
    else:
        with pytest.raises(AssertionError) as caught:
            cancelled_everywhere(scenario, check, again=again)
        assert [lost] == caught.value.__notes__


def test_a_check_may_ask_on_the_same_loop() -> None:
    """Its clock goes on from where the run has ended, and a lock that is free can be taken."""
    locks: list[asyncio.Lock] = []

    async def scenario() -> None:
        locks.append(asyncio.Lock())
        async with locks[-1]:
            await asyncio.sleep(1)

    async def check(run: CancelledRun[None]) -> None:
        assert run.elapsed == clock.now()
        if locks:
            async with locks.pop(), asyncio.timeout(1):
                await asyncio.sleep(0.5)
        times.append(clock.now())

    times: list[float] = []
    cancelled_everywhere(scenario, check, again=())

    assert [1.5, 0.0, 1.5, 1.5] == times


def test_a_task_left_behind_is_in_the_record_and_in_a_warning() -> None:
    """Only the run that leaves it has it; its cleanup has run before the next one."""
    tasks: list[asyncio.Task[None]] = []

    async def scenario() -> None:
        tasks.append(asyncio.create_task(asyncio.sleep(9), name="orphan"))  # noqa: TID251
        await asyncio.sleep(0)
        tasks.pop().cancel()

    left: list[tuple[str, ...]] = []

    def check(run: CancelledRun[None]) -> None:
        left.append(tuple(name.partition(" ")[0] for name in run.left))
        assert not any(task.done() for task in tasks[-1:])

    with pytest.warns(ResourceWarning, match="tasks left behind: orphan at sleep"):
        cancelled_everywhere(scenario, check, again=())
    assert [(), (), ("orphan",), ("orphan",)] == left
    assert all(task.done() for task in tasks)


def test_an_error_of_the_scenario_is_in_the_record() -> None:
    """An error is an end like the others, with its object."""
    bug = ZeroDivisionError()

    async def scenario() -> None:
        raise bug

    runs = cancelled_everywhere(scenario, no_check)

    assert [("raised", bug)] + [("cancelled", None)] * 3 == [(run.ended, run.error) for run in runs]


def test_a_scenario_without_end_is_stopped() -> None:
    """By the limit on steps, which is said."""

    async def scenario() -> None:
        while True:  # noqa: ASYNC110 -- nothing will ever happen
            await asyncio.sleep(1)

    with pytest.raises(Livelock, match="not over after 10 steps") as caught:
        cancelled_everywhere(scenario, no_check, limit=10)
    assert ["cancelled at steps [] of 10"] == caught.value.__notes__


def test_the_limit_is_not_reached_by_as_many_steps() -> None:
    """So many are allowed, one more is not."""

    async def scenario() -> None:
        for _ in range(9):
            await asyncio.sleep(0)

    assert 10 == cancelled_everywhere(scenario, no_check, limit=10)[0].steps
    with pytest.raises(Livelock):
        cancelled_everywhere(scenario, no_check, limit=9)


def test_a_deadlock_made_by_a_cancel_is_found() -> None:
    """And the note tells where the cancel was."""

    async def scenario() -> None:
        ready = asyncio.Event()
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            await ready.wait()

    with pytest.raises(Deadlock, match="root at scenario") as caught:
        cancelled_everywhere(scenario, no_check)
    assert ["cancelled at steps [1] of 3"] == caught.value.__notes__
