"""One run of a scenario on a loop that asks what comes next.

Whoever is ready is in a lane: each task in its own, and each timer that has rung; all other
callbacks are in one, for asyncio promises to keep their order. What comes first in a lane
may come next. `llmstack.testing.choices` says which, and what `llmstack.testing.races` tries
are such runs. Errors: none; what was wrong is kept. Events: none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Self, TypeVar, cast, final

from attrs import define, field

from llmstack.testing.cancel import Livelock
from llmstack.testing.choices import Choices
from llmstack.testing.virtual import VirtualLoop, end_others, left_behind, lines_of


__all__ = ["Explorer", "Run", "Scenario"]

T = TypeVar("T")

#: Steps that one run may take.
LIMIT: Final = 5_000


@final
@define(eq=False)
class Explorer:
    """What a scenario asks what to choose, and tells what must hold; each run has its own.

    *cancelled* are the tasks that were cancelled from nowhere, once for each time.
    """

    _choices: Choices
    cancelled: list[asyncio.Task[Any]] = field(factory=list, init=False)
    _checks: list[Callable[[], object]] = field(factory=list, init=False)

    def choose(self, *options: T) -> T:
        """Return one of *options*; which, is a part of what is explored, and no deviation."""
        return options[self._choices.freely(len(options))]

    def always(self, check: Callable[[], object], /) -> None:
        """Call *check* before each step from now on, and at the end; it raises what is wrong."""
        self._checks.append(check)

    def check(self) -> None:
        """Call all checks now."""
        for check in self._checks:
            check()


Scenario = Callable[[Explorer], Coroutine[Any, Any, object]]


@final
@define(eq=False)
class Run:
    """One run of a scenario, in the order that is chosen; *tells* is whether it is written down."""

    scenario: Scenario
    choices: Choices
    cancels: float
    tells: bool = False
    told: list[str] = field(factory=list, init=False)
    taken: int = field(default=0, init=False)
    error: Exception | None = field(default=None, init=False)
    _explorer: Explorer = field(init=False)
    _root: asyncio.Task[object] | None = field(default=None, init=False)  # None: it is over
    _tasks: list[asyncio.Task[Any]] = field(factory=list, init=False)  # by age
    _heard: list[str] = field(factory=list, init=False)

    def play(self) -> Self:
        """Run it; what was wrong is in `error` then."""
        explorer = self._explorer = Explorer(self.choices)
        loop = VirtualLoop()
        loop._ready = _Ready(self._pick)  # noqa: SLF001 -- what comes next is said nowhere else
        loop.set_exception_handler(self._hear)
        with self, asyncio.Runner(loop_factory=lambda: loop) as runner:
            root = self._root = runner.get_loop().create_task(self.scenario(explorer), name="root")
            over = loop.create_future()  # a task that waits for the root would add steps
            root.add_done_callback(over.set_result)
            try:
                loop.run_until_complete(over)
                explorer.check()
                root.result()
                self._root = None
                self._heard += [f"left behind: {name}" for name in runner.run(left_behind())]
            finally:
                self._root = None
                runner.run(end_others())
        if self._heard and self.error is None:
            self.error = AssertionError("; ".join(self._heard))
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if isinstance(error, asyncio.CancelledError):
            error = AssertionError("the scenario awaited what was cancelled, and went with it")
        self.error = error if isinstance(error, Exception) else None
        return self.error is not None

    def _hear(self, _loop: object, context: dict[str, Any]) -> None:
        self._heard.append(f"{context['message']}: {context.get('exception')!r}")

    def _pick(self, ready: deque[asyncio.Handle]) -> int:
        """Return the place in *ready* of what goes on; cancel before that, where it is chosen."""
        root = self._root
        if root is None or root.done():
            return 0
        self._explorer.check()
        self.taken += 1
        if self.taken > LIMIT:
            raise Livelock(f"not over after {LIMIT} steps")
        while True:
            lanes = self._lanes(ready)
            names, others = [*lanes], self._others()
            choice = self.choices.next_of(names, len(others))
            if choice < len(names):
                self._tell("" if not choice else "instead: ", names[choice])
                return lanes[names[choice]]
            task = others[choice - len(names)]
            self._tell("cancel of ", task)
            self._cancel(task)

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        self.cancels -= 1
        self._explorer.cancelled.append(task)
        task.cancel()

    def _lanes(self, ready: deque[asyncio.Handle]) -> dict[object, int]:
        """Return what may go on, and where in *ready* it is."""
        lanes: dict[object, int] = {}
        for place, handle in enumerate(ready):
            lane = _lane(handle)
            lanes.setdefault(lane, place)
            new = isinstance(lane, asyncio.Task) and lane not in self._tasks
            if new and lane is not self._root:
                self._tasks.append(cast("asyncio.Task[Any]", lane))
        return lanes

    def _others(self) -> list[asyncio.Task[Any]]:
        """Return the tasks that may be cancelled, the oldest first."""
        if not self.cancels:
            return []
        self._tasks = [task for task in self._tasks if not task.done()]
        return self._tasks

    def _tell(self, how: str, lane: object) -> None:
        if not self.tells:
            return
        who = "a timer" if isinstance(lane, asyncio.TimerHandle) else lane
        if isinstance(lane, asyncio.Task):
            who = f"{lane.get_name()} at {lines_of(lane)}"
        self.told.append(f"{asyncio.get_running_loop().time():g} s  {how}{who}")


@final
class _Ready(deque[asyncio.Handle]):
    """The queue of ready callbacks, which are taken out in the order that is chosen."""

    def __init__(self, pick: Callable[[deque[asyncio.Handle]], int]) -> None:
        super().__init__()
        self._pick = pick

    def popleft(self) -> asyncio.Handle:
        """Take out what is run next."""
        # What was taken back does nothing, so its place in the order means nothing.
        void = (n for n, handle in enumerate(self) if handle.cancelled())
        place = next(void, None)
        if place is None:
            place = self._pick(self)
        handle = self[place]
        del self[place]
        return handle


def _lane(handle: asyncio.Handle) -> object:
    """Return whose step *handle* is: of a task, of a timer, or of no one in particular."""
    owner = getattr(cast("Any", handle)._callback, "__self__", None)  # noqa: SLF001 -- as asyncio's repr
    if isinstance(owner, asyncio.Task):
        return owner
    return handle if isinstance(handle, asyncio.TimerHandle) else "a callback"
