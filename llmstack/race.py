"""Race: a second call that may overtake a late first one, and nothing left of the loser.

The first call runs in the caller's own task, so one that is on time costs a timer and no
task. The second is a task that begins when the timer rings, and is ended here whatever
becomes of the race: cancelled, awaited, and its reply closed if nobody gets it.

If the second answers first, an `Alarm` ends the wait for the first: a cancel of the caller is
never swallowed, not even in the same tick. Errors: those of the calls; a failure goes before
a refusal, else the last one stands. Events: none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, Literal, TypeVar, cast, final

from attrs import define, field

from llmstack import clock
from llmstack.alarm import Alarm
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
    _first: Alarm | None = field(default=None, init=False)  # wakes who waits for it; None: over
    _second: asyncio.Task[T] | None = field(default=None, init=False)
    _began: bool = field(default=False, init=False)

    async def run(self, delay: float) -> T:
        """Return the first answer; the second call is sent after *delay* seconds."""
        replies: list[T] = []
        try:
            replies.append(await self._answer(delay))
        except GeneratorExit:
            self._second = None  # nobody can await its end: the loop is gone
            raise
        finally:
            await self._drop(replies)
        return replies[0]

    async def _answer(self, delay: float) -> T:
        # Emptied when one is raised, or the frame in its traceback would hold it.
        failures: list[BaseException] = []
        alarm = self._first = Alarm(clock.now() + delay, self._send)
        try:
            with alarm:
                return await self.ask()
        except Exception as error:
            if self._second is None or self._is_final(error):
                raise
            failures.append(error.with_traceback(None))
        finally:
            self._first = None
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
            self._first.ring()

    def _is_final(self, error: Exception) -> bool:
        """Whether the first call leaves with *error* though there is a second one.

        A bug, or what is wrong with the request: without the second it would be the answer.
        """
        fault = self.classify(error)
        return fault is None or not (fault.again or fault.elsewhere)


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
