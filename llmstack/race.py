"""Race: a second call that may overtake a late first one, and nothing left of the loser.

The first call runs in the caller's own task, so one that is on time costs a timer and no
task. The second is a task that begins when the timer rings, and is ended here whatever
becomes of the race: cancelled, awaited, and its reply closed if nobody gets it.

If the second answers first, the wait for the first is ended by a cancellation that is taken
back afterwards. Whose it was is told by counting, as in `asyncio.timeout`: a cancel of the
caller is never swallowed, not even in the same tick. Errors: those of the calls; a failure
goes before a refusal, else the last one stands. Events: none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, cast, final

from attrs import define, field

from llmstack.errors import LLMStackError, Refused


__all__ = ["Race", "SecondCall"]

T = TypeVar("T")

#: What became of a second call: the answer, beaten, failed, or refused before it was sent.
SecondCall = Literal["won", "lost", "failed", "unsent"]


@final
@define(eq=False)
class Race(Generic[T]):
    """Calls *ask*, and once more if the answer is late and *may* says yes then.

    *end* is told once what became of a second call that there was. An error of the first
    that *classify* does not know leaves at once; after any other, and any of the second,
    the other call may still answer. One race serves one call.
    """

    ask: Callable[[], Coroutine[Any, Any, T]]
    may: Callable[[], bool]
    end: Callable[[SecondCall], None]
    classify: Callable[[Exception], LLMStackError | None]
    _delay: float = field(default=0.0, init=False)
    _first: asyncio.Task[Any] | None = field(default=None, init=False)  # None: it is over
    _asked: int = field(default=0, init=False)  # cancels of the first that are not ours
    _second: asyncio.Task[T] | None = field(default=None, init=False)
    _began: bool = field(default=False, init=False)
    _overtaken: bool = field(default=False, init=False)
    _timer: asyncio.TimerHandle = field(init=False)

    async def run(self, delay: float) -> T:
        """Return the first answer; the second call is sent after *delay* seconds."""
        self._delay = delay
        replies: list[T] = []
        try:
            replies.append(await self._answer())
        except GeneratorExit:
            self._second = None  # nobody can await its end: the loop is gone
            raise
        finally:
            await self._drop(replies)
        return replies[0]

    async def _answer(self) -> T:
        # Emptied when one is raised, or the frame in its traceback would hold it.
        failures: list[BaseException] = []
        try:
            with self:
                return await self.ask()
        except Exception as error:
            if self._second is None or self.classify(error) is None:
                raise
            failures.append(error.with_traceback(None))
        # Not reached without a second call: only that ends the block early.
        return await self._of(cast("asyncio.Task[T]", self._second), failures)

    async def _of(self, second: asyncio.Task[T], failures: list[BaseException]) -> T:
        """Return the answer of *second*; *failures* has that of the first, if it has failed."""
        place = 0 if second.done() else 1  # in the order in which they failed
        await asyncio.wait([second])
        if self._conclude(second, taken=True) == "won":
            return second.result()
        error = None if second.cancelled() else second.exception()
        failures[place:place] = [] if error is None else [error]
        del second, error
        raise failures.pop(_last_word(failures))

    async def _drop(self, replies: list[T]) -> None:
        """Cancel the second call and wait for its end; a cancel of ours meanwhile reaches it.

        The answer in *replies*, if there is one, is closed if that cancel takes it away.
        """
        second = self._second
        if second is None:
            return
        second.cancel()
        cancels: list[asyncio.CancelledError] = []
        while not second.done():
            try:
                await asyncio.wait([second])
            except asyncio.CancelledError as error:
                second.cancel()
                cancels[:] = [error.with_traceback(None)]
        self._conclude(second, taken=False)
        if cancels:
            _close(replies)
            raise cancels.pop()

    def _conclude(self, second: asyncio.Task[T], *, taken: bool) -> SecondCall:
        """Say what became of *second*, which is done; close its reply unless it is *taken*."""
        self._second = None
        how: SecondCall = "lost"
        if not second.cancelled():
            error = second.exception()
            if error is not None:
                how = "unsent" if isinstance(error, Refused) else "failed"
            elif taken:
                how = "won"
            else:
                _close([second.result()])
        self.end(how if self._began else "unsent")
        return how

    def __enter__(self) -> Self:
        """Set the timer; RuntimeError where there is no task that could be overtaken."""
        loop = asyncio.get_running_loop()
        first = asyncio.current_task(loop)
        if first is None:
            raise RuntimeError("a race is run in a task, and here is none")
        self._first, self._asked = first, first.cancelling()
        self._timer = loop.call_later(self._delay, self._send)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> bool:
        """Send nothing any more; keep a cancellation to ourselves if it is ours alone."""
        first, self._first = self._first, None
        self._timer.cancel()
        if first is None or not self._overtaken:
            return False
        foreign = first.uncancel() > self._asked
        return isinstance(error, asyncio.CancelledError) and not foreign

    def _send(self) -> None:
        """Begin the second call, if it may begin."""
        if self.may():
            self._second = asyncio.create_task(self._call())  # noqa: TID251 -- ended by run
            self._second.add_done_callback(self._overtake)

    async def _call(self) -> T:
        self._began = True
        return await self.ask()

    def _overtake(self, second: asyncio.Task[T]) -> None:
        """Wake whoever waits for the first call still, if the second has answered."""
        if self._first is not None and not second.cancelled() and second.exception() is None:
            self._overtaken = True
            self._first.cancel()


def _close(replies: list[Any]) -> None:
    """Close what nobody will get: streams and whatever else has a ``close``."""
    for reply in replies:
        close = getattr(reply, "close", None)
        if callable(close):
            close()


def _last_word(failures: Sequence[BaseException]) -> int:
    """Return the place of what failed last; refusals count only among themselves."""
    sent = [n for n, failure in enumerate(failures) if not isinstance(failure, Refused)]
    return sent[-1] if sent else len(failures) - 1
