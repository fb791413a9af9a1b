"""What a race leaves behind: nothing, wherever it is cancelled and whoever misbehaves."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from contextvars import ContextVar
from itertools import product
from typing import Final
from weakref import ref

import pytest

from llmstack.errors import BadRequest, ConcurrencyFull, LLMStackError, Overloaded, classify
from llmstack.race import Race, SecondCall
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from tests.racers import ACTS, Bug, Calls, Reply, Told, heard, timed


def test_our_own_cancellation_is_taken_back() -> None:
    """After a race that the second has won, the task counts no cancel and can still wait."""
    calls = Calls(("ok", 9.0), ("ok", 1.0))

    async def main() -> tuple[str, int]:
        async with asyncio.timeout(5.0):
            reply = await calls.race().run(1.0)
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(1.0)
        return reply.name, task.cancelling()

    assert (("two", 0), 3.0) == timed(main())


def test_a_cancel_from_before_is_not_taken_for_one_of_now() -> None:
    """A task that goes on after a cancel, as clean-up does, may race as well."""
    calls = Calls(("ok", 9.0), ("ok", 1.0))

    async def main() -> tuple[str, int]:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1.0)
        return (await calls.race().run(1.0)).name, task.cancelling()

    assert (("two", 1), 2.0) == timed(main())


@pytest.mark.parametrize("act", ["ok", "failed", "bug"])
def test_a_first_call_that_does_not_let_itself_be_overtaken(act: str) -> None:
    """It has swallowed the cancellation: its answer stands, and so does a bug of its own."""
    calls = Calls(("ok", 9.0), ("ok", 1.0))

    async def ask() -> Reply:
        try:
            return await calls.ask()
        except asyncio.CancelledError:
            if act != "ok":
                raise (Overloaded if act == "failed" else Bug)("one") from None
            calls.replies.append(Reply("one"))
            return calls.replies[-1]

    async def main() -> tuple[str, int]:
        race: Race[Reply] = Race(ask, lambda: True, calls.ends.append, classify)
        try:
            said = (await race.run(1.0)).name
        except Bug:
            said = "bug"
        task = asyncio.current_task()
        assert task is not None
        return said, task.cancelling()

    said, _ = timed(main())

    assert ({"ok": "one", "failed": "two", "bug": "bug"}[act], 0) == said
    assert ([] if act == "failed" else ["two"]) == calls.closed()
    assert ["won" if act == "failed" else "lost"] == calls.ends


def test_a_second_call_that_cancels_itself_has_lost() -> None:
    """The failure of the first stands; it is waited for, if it is still to come."""

    async def main(first: float) -> tuple[str, list[SecondCall]]:
        calls = Calls(("failed", first))

        async def ask() -> Reply:
            if calls.begun:
                await asyncio.sleep(1.0)
                raise asyncio.CancelledError
            return await calls.ask()

        race: Race[Reply] = Race(ask, lambda: True, calls.ends.append, classify)
        with pytest.raises(Overloaded, match="one"):
            await race.run(1.0)
        return "", calls.ends

    assert ("", ["lost"]) == timed(main(3.0))[0]
    assert (("", ["lost"]), 2.0) == timed(main(1.5))


def test_a_second_call_that_never_began_was_not_sent() -> None:
    """The timer rings in the very tick in which the first has its answer."""
    calls = Calls(("ok", 0.0))

    async def main() -> str:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()
        loop.call_at(1.0, answer.set_result, None)

        async def ask() -> Reply:
            calls.begun += 1
            await answer
            return Reply("one")

        race: Race[Reply] = Race(ask, lambda: True, calls.ends.append, classify)
        return (await race.run(1.0)).name

    assert ("one", 1.0) == timed(main())
    assert (1, ["unsent"]) == (calls.begun, calls.ends)


@pytest.mark.parametrize("cleanup", [0.0, 0.5])
@pytest.mark.parametrize(("first", "second"), list(product(ACTS, ACTS)))
def test_a_cancel_at_every_step_leaves_nothing(first: str, second: str, cleanup: float) -> None:
    """Once and twice: whoever is cancelled is awaited, even where it takes its time."""
    made: list[Calls] = []

    async def scenario() -> str:
        made.append(Calls((first, 3.0), (second, 1.5), cleanup=cleanup))
        try:
            return (await made[-1].race().run(1.0)).name
        except (LLMStackError, Bug) as error:
            return type(error).__name__

    def check(run: CancelledRun[str]) -> None:
        if run.cancels[:1] == (0,):
            return  # it never began
        calls = made[-1]
        open_ = [reply.name for reply in calls.replies if not reply.closed]
        assert (0, ()) == (calls.out, run.left)
        assert calls.begun - 1 <= len(calls.ends) <= 1
        assert ([run.result] if run.result in {"one", "two"} else []) == open_

    runs = cancelled_everywhere(scenario, check)

    assert "returned" == runs[0].ended
    assert {"cancelled"} == {run.ended for run in runs[1:]}


def test_the_caller_waits_for_the_end_of_the_loser() -> None:
    """Until its cleanup is done; a cancel meanwhile takes the answer away, and closes it."""
    for (first, second), leaves in product([(2.125, 9.0), (9.0, 1.0)], [99.0, 2.25]):
        calls = Calls(("ok", first), ("ok", second), cleanup=0.5)
        told, _ = timed(heard(calls.race(), calls, 1.0, leaves))

        name = "one" if first < 1.0 + second else "two"
        assert (name if leaves == 99.0 else "cancelled") == told.said
        assert min(leaves, min(first, 1.0 + second) + 0.5) == told.at
        assert ([] if leaves == 99.0 else [name]) == calls.closed()
        assert 0 == calls.out


CONTEXT: Final[ContextVar[str]] = ContextVar("context", default="")


def test_both_calls_see_the_context_of_the_caller() -> None:
    """What a caller has set for its logs holds in the second call too."""
    seen: list[str] = []

    async def ask() -> Reply:
        seen.append(CONTEXT.get())
        await asyncio.sleep(3.0)
        return Reply("")

    async def main() -> None:
        CONTEXT.set("caller")
        await Race(ask, lambda: True, lambda _: None, classify).run(1.0)

    timed(main())

    assert ["caller", "caller"] == seen


@pytest.mark.parametrize(
    ("first", "second"),
    [("failed", "failed"), ("failed", "refused"), ("refused", "failed"), ("bug", "failed")],
)
@pytest.mark.parametrize("later", [0.5, 3.0], ids=["second ends first", "first ends first"])
def test_what_failed_is_freed(first: str, second: str, later: float) -> None:
    """Behind the race neither error nor frame nor race waits for the collector."""
    held: list[ref[object]] = []
    kinds: dict[str, type[Exception]] = {
        "failed": Overloaded,
        "refused": ConcurrencyFull,
        "bug": Bug,
    }
    plan = [(first, 2.0), (second, later)]

    def kept(error: Exception) -> Exception:
        held.append(ref(error))
        return error

    async def ask() -> Reply:
        act, seconds = plan.pop(0)
        await asyncio.sleep(seconds)
        raise kept(kinds[act]())

    async def main() -> None:
        race: Race[Reply] = Race(ask, lambda: True, lambda _: None, classify)
        held.append(ref(race))
        with suppress(LLMStackError, Bug):
            await race.run(1.0)

    gc.collect()
    gc.disable()
    try:
        timed(main())
        alive = [each() for each in held]
    finally:
        gc.enable()

    assert [None] * len(held) == alive
    assert len(held) > 1


def test_an_error_that_is_no_failure_of_ours_leaves_at_once() -> None:
    """The classifier says so; if it is broken itself, its own error leaves, and nothing else."""

    def broken(_error: Exception) -> LLMStackError | None:
        raise BadRequest("broken")

    calls = Calls(("failed", 2.0), ("ok", 9.0))
    race: Race[Reply] = Race(calls.ask, lambda: True, calls.ends.append, broken)

    told, _ = timed(heard(race, calls, 1.0, 99.0))

    assert Told("BadRequest broken", 2.0, ("lost",)) == told
    assert 0 == calls.out


def test_what_has_no_close_is_let_go() -> None:
    """A reply may be anything; here the first call swallows that it was overtaken."""
    asked: list[float] = []

    async def ask() -> str:
        asked.append(9.0 if not asked else 1.0)
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(asked[-1])
        return "reply"

    ends: list[SecondCall] = []
    race: Race[str] = Race(ask, lambda: True, ends.append, classify)

    assert ("reply", 2.0) == timed(race.run(1.0))
    assert (2, ["lost"]) == (len(asked), ends)


def test_a_call_that_is_collected_awaits_nothing() -> None:
    """When there is no loop any more its frame is closed; nobody can wait for the second then."""
    calls = Calls(("ok", 9.0), ("ok", 9.0))

    async def main() -> None:
        task = asyncio.ensure_future(calls.race().run(1.0))  # noqa: TID251 -- awaited below
        await asyncio.sleep(2.0)
        others = asyncio.all_tasks() - {task, asyncio.current_task()}
        task.get_coro().close()
        for each in (task, *others):
            each.cancel()
        await asyncio.gather(task, *others, return_exceptions=True)

    timed(main())

    assert (2, 0, []) == (calls.begun, calls.out, calls.ends)


def test_a_race_needs_a_task() -> None:
    """There is nobody to be overtaken otherwise."""

    async def main() -> str:
        calls = Calls(("ok", 0.0))
        waiting: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def step() -> None:
            try:
                calls.race().run(1.0).send(None)
            except RuntimeError as error:
                waiting.set_result(str(error))

        asyncio.get_running_loop().call_soon(step)
        return await waiting

    assert "an alarm wakes a task, and here is none" == timed(main())[0]
