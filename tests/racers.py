"""What runs in the tests of races: calls that end as they are told, and answers to be closed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, TypeVar

from llmstack.errors import BadRequest, ConcurrencyFull, Overloaded, classify
from llmstack.race import Race, SecondCall
from llmstack.testing.virtual import run_virtual


T = TypeVar("T")

ACTS: Final = ("ok", "failed", "refused", "fault", "bug")
NAMES: Final = {
    "failed": "Overloaded",
    "refused": "ConcurrencyFull",
    "fault": "BadRequest",
    "bug": "Bug",
}


def timed(main: Coroutine[Any, Any, T]) -> tuple[T, float]:
    """The result of *main*, and the seconds that it took, on a loop whose clock jumps."""
    # In a thread: where a coroutine goes on behind an exception that was thrown into it, as
    # one that was overtaken does, Python 3.11 tells a tracer of returns without calls, and
    # coverage loses what comes next in the frames below.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run_virtual, main).result()


class Bug(Exception):
    """An error that nobody knows."""


class Reply:
    """An answer that wants to be closed by whoever does not pass it on."""

    def __init__(self, name: str) -> None:
        self.name, self.closed = name, 0

    def close(self) -> None:
        self.closed += 1


class Calls:
    """What is asked: the n-th call ends with the n-th act after so many seconds."""

    def __init__(self, *plan: tuple[str, float], cleanup: float = 0.0) -> None:
        self.plan, self.cleanup = plan, cleanup
        self.begun = 0
        self.out = 0
        self.replies: list[Reply] = []
        self.ends: list[SecondCall] = []
        self.errors: dict[str, list[Exception]] = {
            "failed": [Overloaded("one"), Overloaded("two")],
            "refused": [ConcurrencyFull("one"), ConcurrencyFull("two")],
            "fault": [BadRequest("one"), BadRequest("two")],
            "bug": [Bug("one"), Bug("two")],
        }

    async def ask(self) -> Reply:
        n = self.begun
        self.begun += 1
        act, seconds = self.plan[n]
        self.out += 1
        try:
            await asyncio.sleep(seconds)
            if act in self.errors:
                raise self.errors[act][n]
            self.replies.append(Reply("one" if n == 0 else "two"))
            return self.replies[-1]
        except asyncio.CancelledError:
            await asyncio.sleep(self.cleanup)
            raise
        finally:
            self.out -= 1

    def race(self, *, may: bool = True) -> Race[Reply]:
        return Race(self.ask, lambda: may, self.ends.append, classify)

    def closed(self) -> list[str]:
        return [reply.name for reply in self.replies for _ in range(reply.closed)]


class Told(NamedTuple):
    """What the caller gets, when, and what became of a second call."""

    said: str
    at: float
    second: tuple[SecondCall, ...]


async def heard(
    race: Race[Reply], calls: Calls, delay: float, leaves: float, hops: int = 0
) -> Told:
    """Run *race* for a caller who leaves at some time, so many iterations of the loop later."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(race.run(delay))  # noqa: TID251 -- awaited below

    def leave(hops: int) -> None:
        if hops:
            loop.call_soon(leave, hops - 1)
        else:
            task.cancel()

    loop.call_at(leaves, leave, hops)
    await asyncio.wait([task])
    if task.cancelled():
        said = "cancelled"
    elif task.exception() is not None:
        said = f"{type(task.exception()).__name__} {task.exception().args[0]}"  # type: ignore[union-attr]
    else:
        said = task.result().name
    return Told(said, loop.time(), tuple(calls.ends))
