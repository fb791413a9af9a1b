"""Cancel at every step: what a caller's leaving may do, tried at every place it can happen.

`cancelled_everywhere` runs a scenario on a `VirtualLoop` and counts its steps. Then it
runs it again for each step and cancels the root task there; and again with a second
cancel a few steps later, which is what kills a ``finally`` that awaits.

A step is one callback that the loop runs: the resumption of any task, a timer, a
``call_soon``. That is finer than one iteration of the loop, so a cancel also falls
between two callbacks of the same iteration. A cancel at step *i* comes just before the
*i*-th callback, counted from 0, which is the first resumption of the root task.

Steps are the same in each run only if the scenario is: no sockets, no threads, seeded
chance. Errors: `Deadlock`, `Livelock`, and what the check raises, each with a note that
says where the cancels were. Tasks left behind are in the record, in a `ResourceWarning`,
and cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, Literal, Self, TypeVar, final

from attrs import define, evolve, field, frozen

from llmstack.testing.virtual import VirtualLoop, end_others, left_behind, warn_of


__all__ = ["CancelledRun", "Livelock", "cancelled_everywhere"]

_T = TypeVar("_T")

Ending = Literal["returned", "raised", "cancelled"]


class Livelock(RuntimeError):
    """The scenario took more steps than it may."""


@final
@frozen
class CancelledRun(Generic[_T]):
    """One run of the scenario: where it was cancelled, and how it ended.

    *cancels* are the steps at which a cancel came; the run left alone has none. *elapsed*
    is virtual seconds, *left* names the tasks that outlived the root task.
    """

    cancels: tuple[int, ...]
    steps: int
    ended: Ending
    result: _T | None
    error: BaseException | None
    elapsed: float
    left: tuple[str, ...]


Check = Callable[[CancelledRun[_T]], Awaitable[None] | None]


def cancelled_everywhere(
    scenario: Callable[[], Coroutine[Any, Any, _T]],
    check: Check[_T],
    *,
    again: Sequence[int] = (1, 2),
    limit: int = 100_000,
) -> list[CancelledRun[_T]]:
    """Run *scenario* left alone, then cancelled at each step, once and twice.

    The second cancel comes so many steps after the first as *again* says, or not at all if
    the task has ended by then. *check* is called after each run, on its loop if it is a
    coroutine function, so that it may ask whether things still work. More than *limit*
    steps in one run are a `Livelock`.

    Returns the runs; the one without a cancel is the first.
    """
    alone = _run(scenario, check, (), limit)
    runs = [alone]
    for step in range(alone.steps):
        plans = [(step,), *((step, step + later) for later in again)]
        runs += [_run(scenario, check, plan, limit) for plan in plans]
    return runs


@final
@define(eq=False)
class _Steps:
    """Counts steps, cancels the root task at those in *plan*, and says so on errors."""

    plan: tuple[int, ...]
    limit: int
    taken: int = field(default=0, init=False)
    cancels: tuple[int, ...] = field(default=(), init=False)
    root: asyncio.Task[Any] | None = field(default=None, init=False)

    def before_step(self) -> None:
        """Count one step of the root task's life, and cancel it if that is planned."""
        root = self.root
        if root is None or root.done():
            return
        if self.taken >= self.limit:
            raise Livelock(f"not over after {self.limit} steps")
        if self.taken in self.plan:
            self.cancels += (self.taken,)
            root.cancel()
        self.taken += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None:
            error.add_note(f"cancelled at steps {list(self.cancels)} of {self.taken}")


def _run(
    scenario: Callable[[], Coroutine[Any, Any, _T]],
    check: Check[_T],
    plan: tuple[int, ...],
    limit: int,
) -> CancelledRun[_T]:
    steps = _Steps(plan, limit)
    loop = VirtualLoop(before_step=steps.before_step)
    with steps, asyncio.Runner(loop_factory=lambda: loop) as runner:
        root = steps.root = runner.get_loop().create_task(scenario(), name="root")
        over = loop.create_future()  # a task that waits for the root would add steps
        root.add_done_callback(over.set_result)
        try:
            loop.run_until_complete(over)
            run = CancelledRun(steps.cancels, steps.taken, *_ending(root), loop.time(), ())
            run = evolve(run, left=tuple(runner.run(left_behind())))
            runner.run(_checked(check, run))
        finally:
            steps.root = None
            runner.run(end_others())
        warn_of(run.left)
    return run


def _ending(root: asyncio.Task[_T]) -> tuple[Ending, _T | None, BaseException | None]:
    if root.cancelled():
        return "cancelled", None, None
    error = root.exception()
    return ("raised", None, error) if error else ("returned", root.result(), None)


async def _checked(check: Check[_T], run: CancelledRun[_T]) -> None:
    checking = check(run)
    if checking is not None:
        await checking
