"""Virtual time: an event loop whose clock jumps to the next timer when nothing is ready.

`run_virtual` is `asyncio.run` on a `VirtualLoop`. The clock starts at 0.0, stands still
while callbacks run, and jumps when all of them wait, so an hour of sleeping costs as
long as its wake-ups. `clock.wall()` asks the loop too: it is the loop's *epoch*, which
may be set at any time, plus the virtual time.

Sockets between peers on the same loop work: while any is open, the loop looks at the
kernel for *grace* real seconds before it jumps. Threads started by ``run_in_executor``
hold the clock still until they are back. Peers in other processes are not waited for.

Errors: `Deadlock` where a real loop would hang for ever. Tasks that outlive the main one
are cancelled, and named in a `ResourceWarning`.
"""

from __future__ import annotations

import asyncio
import math
import warnings
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from pathlib import PurePath
from selectors import DefaultSelector, SelectorKey
from string import digits
from types import CoroutineType
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack, final


__all__ = [
    "Deadlock",
    "VirtualLoop",
    "end_others",
    "left_behind",
    "lines_of",
    "others",
    "run_virtual",
    "waiting",
    "warn_of",
]

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

#: 2026-01-01T00:00:00Z.
EPOCH: Final = 1_767_225_600.0

#: Iterations of the loop in which a task may still end after the main one has.
GRACE: Final = 8

#: Real seconds for which a thread, or a socket when there is no timer, is waited for.
PATIENCE: Final = 5.0


class Deadlock(RuntimeError):
    """Nothing is ready, no timer is set and no input comes: all tasks wait for ever."""


@final
class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that never sleeps when it can move its clock instead.

    *before_step*, if given, is called before each single callback that the loop runs.
    """

    # Of asyncio.BaseEventLoop, which types leave out.
    _clock_resolution: float
    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(
        self,
        *,
        epoch: float = EPOCH,
        grace: float = 0.005,
        before_step: Callable[[], None] | None = None,
    ) -> None:
        self.epoch = epoch
        self._grace = grace
        self._now = 0.0
        self._threads = 0
        super().__init__(_Selector(self._patience, self._jump))
        # What is due before now + resolution is run: with the next float, nothing is early.
        self._clock_resolution = math.ulp(self._now)
        if before_step is not None:
            self._ready = _Steps(before_step)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def wall(self) -> float:
        """Return the virtual time of day in seconds since 1970."""
        return self.epoch + self._now

    def run_in_executor(
        self,
        executor: Executor | None,
        func: Callable[[Unpack[_Ts]], _T],
        *args: *_Ts,
    ) -> asyncio.Future[_T]:
        """Run *func* in a thread; the clock stands still until it is back."""
        future = super().run_in_executor(executor, func, *args)
        self._threads += 1
        future.add_done_callback(self._thread_is_back)
        return future

    async def shutdown_default_executor(self) -> None:
        """Wait for the threads, which is done in a thread too."""
        self._threads += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self._threads -= 1

    def _thread_is_back(self, _future: asyncio.Future[Any]) -> None:
        self._threads -= 1

    def _next(self) -> float:
        return self._scheduled[0].when() if self._scheduled else math.inf

    def _patience(self, sockets: int) -> float:
        """Return the real seconds to wait for input before the clock may jump."""
        if self._threads or (sockets and self._next() == math.inf):
            return PATIENCE
        return self._grace if sockets else 0.0

    def _jump(self) -> None:
        """Move the clock to the next timer."""
        if self._threads or self._next() == math.inf:
            why = "a thread does not come back" if self._threads else "nothing can wake the loop up"
            raise Deadlock(f"{why}; waiting: {', '.join(waiting(self)) or 'no task'}")
        self._now = max(self._now, self._next())
        self._clock_resolution = math.ulp(self._now)


@final
class _Selector(DefaultSelector):
    """Looks at the kernel first, and moves the clock only when nothing has come."""

    def __init__(self, patience: Callable[[int], float], jump: Callable[[], None]) -> None:
        super().__init__()
        self._patience = patience
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """Return what is ready; *timeout* only says whether anything else is to do."""
        events = super().select(0)
        if events or timeout == 0:
            return events
        wait = self._patience(len(self.get_map()) - 1)  # one is the loop's own wake-up pipe
        events = super().select(wait) if wait else []
        if not events:
            self._jump()
        return events


@final
class _Steps(deque[asyncio.Handle]):
    """The queue of ready callbacks; says when one is taken out."""

    def __init__(self, before: Callable[[], None]) -> None:
        super().__init__()
        self._before = before

    def popleft(self) -> asyncio.Handle:
        """Take the next callback out, which is then run."""
        self._before()
        return super().popleft()


def others(loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[Any]]:
    """Return the tasks of *loop* that are not done, but for the one that asks, by name."""

    def place(task: asyncio.Task[Any]) -> tuple[str, int, str]:
        name = task.get_name()
        return name.rstrip(digits), len(name), name  # so that Task-9 comes before Task-10

    return sorted(asyncio.all_tasks(loop) - {asyncio.current_task(loop)}, key=place)


def waiting(loop: asyncio.AbstractEventLoop) -> list[str]:
    """Return each other task of *loop*: its name, and the lines where it waits."""
    return [f"{task.get_name()} at {lines_of(task)}" for task in others(loop)]


def lines_of(task: asyncio.Task[Any]) -> str:
    """Return the lines where *task* waits, the outermost first."""
    lines: list[str] = []
    coro: object = task.get_coro()
    while isinstance(coro, CoroutineType):
        code = coro.cr_code
        line = coro.cr_frame.f_lineno if coro.cr_frame else code.co_firstlineno
        lines.append(f"{code.co_name} ({PurePath(code.co_filename).name}:{line})")
        coro = coro.cr_await
    return " > ".join(lines)


def run_virtual(
    main: Coroutine[Any, Any, _T], *, epoch: float = EPOCH, grace: float = 0.005
) -> tuple[_T, float]:
    """Run *main* on a loop of its own; return its result and the virtual seconds it took.

    >>> run_virtual(asyncio.sleep(3600, "rested"))
    ('rested', 3600.0)
    """
    loop = VirtualLoop(epoch=epoch, grace=grace)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        try:
            result = runner.run(main)
        except Deadlock:
            runner.run(end_others())
            raise
        elapsed = loop.time()
        left = runner.run(left_behind())
        runner.run(end_others())
    warn_of(left)
    return result, elapsed


async def left_behind() -> list[str]:
    """Return the other tasks that are still there after a few steps of grace."""
    for _ in range(GRACE):
        await asyncio.sleep(0)
    return waiting(asyncio.get_running_loop())


async def end_others() -> None:
    """Cancel all other tasks and wait until they have ended."""
    tasks = others(asyncio.get_running_loop())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def warn_of(left: Sequence[str], /) -> None:
    """Warn of tasks that were *left* behind, in the name of the caller's caller."""
    if left:
        warnings.warn(f"tasks left behind: {', '.join(left)}", ResourceWarning, stacklevel=3)
