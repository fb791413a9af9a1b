import asyncio
import gc
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any, Final
from weakref import ref

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack import clock
from llmstack.alarm import Alarm
from llmstack.testing.virtual import run_virtual
from tests.layers.timed import timers


Levels = list[tuple[int, int]]
Log = list[tuple[int, str, float]]
Block = Callable[[float, Coroutine[Any, Any, str]], Coroutine[Any, Any, str]]


async def by_alarm(when: float, body: Coroutine[Any, Any, str]) -> str:
    with Alarm(when):
        await body
        return "over"
    return "woken"


async def by_asyncio(when: float, body: Coroutine[Any, Any, str]) -> str:
    try:
        async with asyncio.timeout_at(when):
            await body
            return "over"
    except TimeoutError:
        return "woken"


def nested(block: Block, levels: Levels, seconds: int, cancel: int) -> tuple[Log, str, int]:
    """Sleep in nested blocks, each of which rests a while behind its end; cancel meanwhile."""
    log: Log = []

    async def level(n: int) -> str:
        if n == len(levels):
            return await asyncio.sleep(seconds, "over")
        when, rest = levels[n]
        how = await block(when, level(n + 1))
        log.append((n, how, clock.now()))
        return await asyncio.sleep(rest, how)

    async def main() -> tuple[str, int]:
        task = asyncio.current_task()
        assert task is not None
        timer = asyncio.get_running_loop().call_at(cancel, task.cancel)
        try:
            await level(0)
        except asyncio.CancelledError:
            return "cancelled", task.cancelling()
        finally:
            timer.cancel()
        return "over", task.cancelling()

    (how, cancels), _ = run_virtual(main())
    return log, how, cancels


def model(levels: Levels, seconds: int, cancel: int) -> tuple[Log, str, int]:
    """Tick by tick: a foreign cancel, then the outermost alarm, and only then the sleeper."""
    log: Log = []
    depth, due, now = len(levels), seconds, 0
    while True:
        now += 1
        if now == cancel:
            return log, "cancelled", 1
        rung = [n for n in range(depth) if levels[n][0] == now]
        if rung:
            depth = rung[0]
            log.append((depth, "woken", now))
            due = now + levels[depth][1]
        while due == now and depth:
            depth -= 1
            log.append((depth, "over", now))
            due = now + levels[depth][1]
        if due == now:
            return log, "over", 0


NEVER: Final = 10**6


@given(
    levels=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), max_size=5),
    seconds=st.integers(1, 6),
    cancel=st.just(NEVER) | st.integers(1, 9),
)
@example(levels=[(3, 1)] * 5, seconds=9, cancel=NEVER)
@example(levels=[(3, 1)] * 5, seconds=3, cancel=NEVER)
@example(levels=[(3, 1)] * 5, seconds=9, cancel=3)
@example(levels=[(3, 1)] * 5, seconds=9, cancel=4)
@example(levels=[(4, 0), (3, 1), (3, 0)], seconds=9, cancel=NEVER)
@example(levels=[(4, 0), (3, 1)], seconds=9, cancel=4)
def test_whose_cancellation_it_was(levels: Levels, seconds: int, cancel: int) -> None:
    """Of those in one tick a caller's, else the outermost alarm's, as `asyncio.timeout` has it.

    None is lost, none is left over, and what ends in the tick of its alarm is late.
    """
    expected = model(levels, seconds, cancel)

    assert expected == nested(by_asyncio, levels, seconds, cancel)
    assert expected == nested(by_alarm, levels, seconds, cancel)


@pytest.mark.parametrize("raises", [False, True])
def test_a_block_that_ends_otherwise_keeps_its_end(*, raises: bool) -> None:
    """One that swallows the cancellation has its result, one that translates it its error."""

    async def stubborn() -> str:
        try:
            return await asyncio.sleep(9, "slept")
        except asyncio.CancelledError as error:
            if raises:
                raise ZeroDivisionError from error
            return await asyncio.sleep(2, "stubborn")

    async def main() -> tuple[object, int]:
        task = asyncio.current_task()
        assert task is not None
        end: object = None
        try:
            with Alarm(5):
                end = await stubborn()
        except ZeroDivisionError as error:
            end = type(error)
        return end, task.cancelling()

    expected = ((ZeroDivisionError, 0), 5.0) if raises else (("stubborn", 0), 7.0)
    assert expected == run_virtual(main())


def test_it_rings_for_a_task_that_is_being_cancelled() -> None:
    """What was asked of the task before the block is not taken for a cancel in it."""

    async def main() -> tuple[int, float]:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            with Alarm(5):
                await asyncio.sleep(9)
        return task.cancelling(), clock.now()

    assert ((1, 5.0), 5.0) == run_virtual(main())


def test_a_swallowed_alarm_leaves_nothing_behind() -> None:
    """Behind a block that swallowed the cancellation nobody is about to be cancelled."""

    async def main() -> tuple[bool, int]:
        task = asyncio.current_task()
        assert task is not None
        with Alarm(1) as alarm:
            await asyncio.gather(asyncio.sleep(9), return_exceptions=True)
        await asyncio.sleep(9)
        return alarm.rang, task.cancelling()

    assert ((True, 0), 10.0) == run_virtual(main())


@pytest.mark.parametrize(("seconds", "rang"), [(1, False), (9, True)])
def test_neither_timer_nor_alarm_stays(seconds: int, *, rang: bool) -> None:
    """Behind the block no timer is left, and the alarm is freed without the collector."""

    async def main() -> None:
        with Alarm(5) as alarm:
            assert 1 == timers()
            await asyncio.sleep(seconds)
        assert (rang, 0) == (alarm.rang, timers())
        held = ref(alarm)
        gc.disable()
        try:
            del alarm
            assert held() is None
        finally:
            gc.enable()

    run_virtual(main())


@pytest.mark.parametrize("rings", [True, False])
def test_an_alarm_with_something_to_do_first_rings_only_if_told(rings: bool) -> None:  # noqa: FBT001
    """What is called at its time says, then or later, whether there is a reason to wake up."""
    called: list[float] = []

    async def main() -> tuple[str, float]:
        def then() -> None:
            called.append(clock.now())
            if rings:
                asyncio.get_running_loop().call_later(2, alarm.ring)

        with (alarm := Alarm(5, then)):
            await asyncio.sleep(9)
            return "over", clock.now()
        return "woken", clock.now()

    assert (("woken", 7.0) if rings else ("over", 9.0)) == run_virtual(main())[0]
    assert [5.0] == called


def test_an_alarm_needs_a_task() -> None:
    """In a plain callback there is nobody to be woken."""
    seen: list[str] = []

    def callback() -> None:
        with pytest.raises(RuntimeError) as raised:
            ExitStack().enter_context(Alarm(5))
        seen.append(str(raised.value))

    async def main() -> None:
        asyncio.get_running_loop().call_soon(callback)
        await asyncio.sleep(1)
        assert 0 == timers()

    run_virtual(main())

    assert ["an alarm wakes a task, and here is none"] == seen
