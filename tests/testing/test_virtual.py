import asyncio
import gc
import math
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack import clock
from llmstack.testing.virtual import GRACE, Deadlock, VirtualLoop, run_virtual


def loop() -> VirtualLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualLoop)
    return running


@given(st.lists(st.lists(st.floats(0.0, 1e9), max_size=4), min_size=1, max_size=5))
@example([[1e17, 1.0], [1e17]])
@example([[0.1] * 10, [1.0]])
@example([[], []])
def test_sleepers_wake_at_their_times_and_in_order(plans: list[list[float]]) -> None:
    """Tasks that sleep at the same time wake exactly when the sums of their sleeps say."""
    woken: list[tuple[float, int]] = []

    async def sleeper(name: int, naps: list[float]) -> None:
        for nap in naps:
            await asyncio.sleep(nap)
            woken.append((clock.now(), name))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for name, naps in enumerate(plans):
                group.create_task(sleeper(name, naps))

    _, elapsed = run_virtual(main())

    times = {name: list(accumulate(naps)) for name, naps in enumerate(plans)}
    assert times == {n: [at for at, name in woken if name == n] for n in range(len(plans))}
    assert sorted(at for at, _ in woken) == [at for at, _ in woken]
    assert max((at for naps in times.values() for at in naps), default=0.0) == elapsed


def test_time_begins_at_zero_and_stands_still_while_callbacks_run() -> None:
    """Only waiting costs time, however many iterations the loop takes."""

    async def main() -> tuple[float, float]:
        before = clock.now()
        for _ in range(100):
            await asyncio.sleep(0)
        return before, clock.now()

    assert ((0.0, 0.0), 0.0) == run_virtual(main())


def test_a_long_sleep_is_one_jump() -> None:
    """A century is exact, though asyncio never asks the selector for more than a day."""
    assert ("old", 3.2e9) == run_virtual(asyncio.sleep(3.2e9, "old"))


def test_a_timeout_ends_what_waits_for_ever() -> None:
    """The real `asyncio.timeout` fires at its virtual moment."""

    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.Event().wait()
        return clock.now()

    assert (30.0, 30.0) == run_virtual(main())


def test_the_wall_clock_is_the_epoch_plus_the_time() -> None:
    """It can be set at the start, and set back or forth while the loop runs."""

    async def main() -> tuple[float, float, float]:
        start = clock.wall()
        await asyncio.sleep(5)
        later = clock.wall()
        loop().epoch -= 3600
        return start, later, clock.wall()

    assert ((100.0, 105.0, -3495.0), 5.0) == run_virtual(main(), epoch=100.0)


def test_the_default_date_is_fixed() -> None:
    """The first of January 2026, whenever the test runs."""

    async def main() -> float:
        return clock.wall()

    assert 1_767_225_600.0 == run_virtual(main())[0]


async def for_ever() -> None:
    await asyncio.Event().wait()


async def sleep_without_end() -> None:
    await asyncio.sleep(math.inf)


async def open_and_wait() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        await for_ever()


@pytest.mark.parametrize(
    ("stuck", "where"),
    [
        (for_ever, r"for_ever \(.*\) > wait \("),
        (sleep_without_end, r"sleep_without_end \(.*\) > sleep \("),
        (open_and_wait, r"open_and_wait \(.*\) > for_ever \(.*\) > wait \("),
    ],
)
def test_a_deadlock_names_who_waits_and_where(
    monkeypatch: pytest.MonkeyPatch, stuck: Callable[[], Coroutine[Any, Any, None]], where: str
) -> None:
    """Instead of hanging; and the tasks can still clean up."""
    monkeypatch.setattr("llmstack.testing.virtual.PATIENCE", 0.02)
    cleaned: list[str] = []

    async def main() -> None:
        other = loop().create_task(for_ever(), name="the other")
        try:
            await asyncio.sleep(3)
            await stuck()
        finally:
            cleaned.append(f"main, {other.done()}")

    message = "nothing can wake the loop up; waiting: Task-"
    with pytest.raises(Deadlock, match=rf"^{message}\d+ at main .* > {where}.*, the other at for"):
        run_virtual(main())
    assert ["main, False"] == cleaned


def test_a_thread_holds_the_clock_still() -> None:
    """A timer does not fire while a thread works; the thread's result comes first."""

    async def main() -> tuple[int, float]:
        async with asyncio.timeout(0.001):
            done = threading.Event()
            loop().call_soon(done.set)
            seen = await asyncio.to_thread(lambda: 7 if done.wait(5) else 0), clock.now()
        await asyncio.sleep(10)
        return seen

    assert ((7, 0.0), 10.0) == run_virtual(main())


def test_a_socket_is_waited_for_when_there_is_no_timer() -> None:
    """For longer than the grace before a jump: the other end may be in a thread."""
    ours, theirs = socket.socketpair()
    late = threading.Timer(0.05, theirs.send, [b"late"])

    async def main() -> bytes:
        late.start()
        ours.setblocking(False)
        return await loop().sock_recv(ours, 9)

    with ours, theirs:
        answer = run_virtual(main(), grace=0.001)
        late.join()

    assert (b"late", 0.0) == answer


def test_a_thread_that_does_not_come_back_is_a_deadlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, though a timer is set."""
    monkeypatch.setattr("llmstack.testing.virtual.PATIENCE", 0.02)
    done = threading.Event()

    async def main() -> None:
        try:
            async with asyncio.timeout(1):
                await asyncio.to_thread(done.wait, 5)
        finally:
            done.set()

    with pytest.raises(Deadlock, match="a thread does not come back; waiting: Task-"):
        run_virtual(main())


@given(sizes=st.lists(st.integers(1, 300_000), min_size=1, max_size=4))
def test_sockets_on_the_same_loop_are_faster_than_any_timer(sizes: list[int]) -> None:
    """Bytes between two peers on the loop arrive before the clock moves."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1000):
            writer.write(chunk)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main() -> list[tuple[int, float]]:
        seen = []
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            for size in sizes:
                writer.write(bytes(size))
                async with asyncio.timeout(1e-6):
                    seen.append((len(await reader.readexactly(size)), clock.now()))
                await asyncio.sleep(2)
            writer.close()
            await writer.wait_closed()
        return seen

    seen, _ = run_virtual(main())

    assert [(size, 2.0 * n) for n, size in enumerate(sizes)] == seen


def test_without_sockets_nothing_real_is_waited_for() -> None:
    """A grace too long for the kernel is no error, for it is never used."""
    assert ("here", 1.0) == run_virtual(asyncio.sleep(1, "here"), grace=1e12)


def test_a_task_left_behind_is_cancelled_and_named() -> None:
    """The warning says which one; its cleanup has run."""
    ended: list[str] = []
    kept: list[asyncio.Task[None]] = []

    async def left() -> None:
        try:
            await for_ever()
        finally:
            await asyncio.sleep(5)
            ended.append("left")

    async def main() -> str:
        kept.append(loop().create_task(left(), name="orphan"))
        await asyncio.sleep(1)
        return "done"

    with pytest.warns(ResourceWarning, match=r"tasks left behind: orphan at left .*for_ever"):
        answer = run_virtual(main())
    assert ("done", 1.0) == answer
    assert ["left"] == ended


def test_a_task_that_is_about_to_end_is_not_left_behind() -> None:
    """It has a few iterations, as many as the documentation says, and not many more."""

    async def steps(number: int) -> None:
        for _ in range(number):
            await asyncio.sleep(0)

    kept: list[asyncio.Task[None]] = []

    async def main(number: int) -> None:
        kept.append(loop().create_task(steps(number)))

    run_virtual(main(GRACE))
    with pytest.warns(ResourceWarning, match=r"at steps \(test_virtual.py:\d+\)"):
        run_virtual(main(GRACE + 3))


def test_an_open_generator_is_closed() -> None:
    """As `asyncio.run` does, before the loop is closed."""
    closed: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.append("numbers")

    async def main() -> AsyncIterator[int]:
        generator = numbers()
        await anext(generator)
        return generator

    run_virtual(main())
    gc.collect()

    assert ["numbers"] == closed


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError, KeyboardInterrupt])
def test_an_error_leaves_as_it_came(error: type[BaseException]) -> None:
    """Whatever the main coroutine raises is raised, and no loop is left open."""

    async def main() -> None:
        await asyncio.sleep(1)
        raise error

    with pytest.raises(error):
        run_virtual(main())
