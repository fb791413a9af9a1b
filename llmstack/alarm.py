"""Alarms: what ends a wait, or a stream, at a point of loop time.

`Alarm` does for one task what `asyncio.timeout` does, without a context manager that is
awaited. Whose cancellation it was is told by counting, as there: each alarm takes back the
request that it made itself, and what is then left was made by somebody else, so a caller's
cancel is never swallowed, not even in the same tick. Where several alarms ring in one
tick, the outermost has the word.

`abort_at` does the same for a stream, which outlives the call that returned it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, final
from weakref import ref

from attrs import define, field

from llmstack.errors import LLMStackError


__all__ = ["Alarm", "abort_at"]


@final
@define(eq=False)
class Alarm:
    """Wakes the current task out of the block at *when*, a point of loop time.

    A block that was left that way goes on behind it, without an error, and says what it
    has to say there. A block that ends otherwise, even after the alarm has rung, keeps
    its result or its error. One alarm serves one block. With *then*, that is called at *when*
    instead, and `ring` is for whoever finds, within the block, that there is a reason to.

    >>> async def main():
    ...     with Alarm(asyncio.get_running_loop().time() + 0.001):
    ...         return await asyncio.sleep(60, "rested")
    ...     return "woken"
    >>> asyncio.run(main())
    'woken'
    """

    when: float
    then: Callable[[], None] | None = field(default=None, repr=False)
    rang: bool = field(default=False, init=False)
    _task: asyncio.Task[Any] = field(init=False, repr=False)
    _asked: int = field(init=False, repr=False)
    _timer: asyncio.TimerHandle = field(init=False, repr=False)

    def __enter__(self) -> Self:
        """Set the alarm; RuntimeError where there is no task that it could wake."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("an alarm wakes a task, and here is none")
        self._task, self._asked = task, task.cancelling()
        self._timer = loop.call_at(self.when, self.then or self.ring)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> bool:
        """Take the alarm back; keep the cancellation to itself if it is this alarm's alone."""
        self._timer.cancel()
        if not self.rang:
            return False
        foreign = self._task.uncancel() > self._asked
        return isinstance(error, asyncio.CancelledError) and not foreign

    def ring(self) -> None:
        """Wake the task, which is in the block still."""
        self.rang = True
        self._task.cancel()


def abort_at(when: float, reply: object, error: Callable[[], LLMStackError], /) -> None:
    """Abort *reply* with ``error()`` at *when*, unless it has ended; nothing if it is no stream.

    A stream is what has ``abort`` and ``on_end``. It is held by nobody here, so one that is
    dropped unread is finalised as if it had no alarm; its end takes the timer back.
    """
    on_end = getattr(reply, "on_end", None)
    if on_end is None or not hasattr(reply, "abort"):
        return
    timer = asyncio.get_running_loop().call_at(when, _abort, ref(reply), error)
    on_end(lambda _outcome: timer.cancel())


def _abort(held: ref[Any], error: Callable[[], LLMStackError]) -> None:
    reply = held()
    if reply is not None:
        reply.abort(error())
