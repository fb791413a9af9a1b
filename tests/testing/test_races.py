from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from itertools import permutations, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.testing import Deadlock, Explored, Explorer, Livelock, explore, replay, run_virtual
from llmstack.testing.interleaved import Scenario
from tests.races.tried import all_over, tried


def walkers(steps: list[int], trace: list[int]) -> list[Coroutine[Any, Any, None]]:
    """Tasks that leave their number in *trace* at each of their steps."""

    async def walk(n: int, steps: int) -> None:
        trace.append(n)
        for _ in range(steps):
            await asyncio.sleep(0)
            trace.append(n)

    return [walk(n, each) for n, each in enumerate(steps)]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_the_first_run_is_as_asyncio_would_have_it(steps: list[int]) -> None:
    """Without deviations, tasks take turns as they do on any loop."""
    seen: list[list[int]] = []
    plain: list[int] = []

    async def scenario(_explorer: Explorer) -> None:
        seen.append([])
        await all_over(walkers(steps, seen[-1]))

    explore(scenario, runs=1, drawn=0)
    run_virtual(all_over(walkers(steps, plain)))

    assert [plain] == seen


@pytest.mark.parametrize("steps", [[0, 0], [1, 2], [0, 1, 1]])
def test_all_orders_there_are(steps: list[int]) -> None:
    """With enough runs all interleavings are seen, and the end says that there is no other."""
    seen: set[tuple[int, ...]] = set()

    async def scenario(_explorer: Explorer) -> None:
        trace: list[int] = []
        await all_over(walkers(steps, trace))
        seen.add(tuple(trace))

    explored = explore(scenario, runs=10_000, cancels=0)

    assert explored.complete
    assert set(permutations([n for n, more in enumerate(steps) for _ in range(more + 1)])) == seen


def test_all_choices_there_are_each_once() -> None:
    """What a scenario chooses is tried in all combinations, none of which is a deviation."""
    seen: list[tuple[object, ...]] = []

    async def scenario(explorer: Explorer) -> None:
        seen.append(
            (explorer.choose("a", "b", "c"), explorer.choose("only"), explorer.choose(1, 2))
        )

    explored = explore(scenario)

    assert Explored(runs=6, deviations=1, complete=True) == explored
    assert sorted(product("abc", ["only"], [1, 2])) == sorted(seen)


def test_the_plainest_runs_come_first() -> None:
    """Runs with one deviation come before all with two: of three tasks, one goes ahead."""
    seen: list[int] = []

    async def scenario(_explorer: Explorer) -> None:
        trace: list[int] = []
        await all_over(walkers([0, 0, 0], trace))
        seen.append(sum(a > b for n, a in enumerate(trace) for b in trace[n:]))

    explored = explore(scenario, runs=4, drawn=0, cancels=0)

    assert Explored(runs=4, deviations=0, complete=False) == explored
    assert [0, 1, 2] == sorted(set(seen))


class Door:
    """A half-open door that may be tried by one at a time, if *careful*."""

    def __init__(self, *, careful: bool) -> None:
        self.careful = careful
        self.taken = False
        self.inside = 0

    async def try_it(self) -> None:
        if self.taken:
            return
        self.taken = self.careful
        await asyncio.sleep(0)
        self.taken = True
        self.inside += 1
        await asyncio.sleep(0)
        self.inside -= 1
        self.taken = False

    def check(self) -> None:
        assert self.inside <= 1, "two are inside"


def door(*, careful: bool, late: int) -> Scenario:
    """Two who try a door, the second some steps later than the first."""

    async def scenario(explorer: Explorer) -> None:
        there = Door(careful=careful)
        explorer.always(there.check)

        async def second() -> None:
            for _ in range(late):
                await asyncio.sleep(0)
            await there.try_it()

        await all_over([there.try_it(), second()])

    return scenario


def word_of(error: BaseException) -> str:
    """The word in the note of *error*, with which it comes again."""
    return error.__notes__[-1].partition('"')[2].rstrip('")')


@pytest.mark.parametrize(("late", "least"), [(0, 0), (1, 1), (2, 2)])
def test_a_probe_that_is_checked_and_set_with_a_wait_between(late: int, least: int) -> None:
    """It is found with as few deviations as it takes, the steps are told, and it comes again."""
    scenario = door(careful=False, late=late)
    with pytest.raises(AssertionError, match="two are inside") as found:
        explore(scenario, cancels=0)

    word = word_of(found.value)
    steps = found.value.__notes__[0].splitlines()
    assert least == len([pair for pair in word.split("-") if pair])
    assert least == len([step for step in steps if "instead: " in step])
    assert "the steps:" == steps[0]
    assert steps[1].startswith("0 s  root at scenario (test_races.py:")
    with pytest.raises(AssertionError) as again:
        replay(scenario, word)
    assert found.value.__notes__[-1] == again.value.__notes__[-1]


@pytest.mark.parametrize("late", [0, 1, 2])
def test_a_probe_that_is_set_at_once(late: int) -> None:
    """Nothing is found where nothing is wrong, in all orders that there are."""
    scenario = door(careful=True, late=late)

    assert explore(scenario, cancels=0).complete
    replay(scenario, "")


@pytest.mark.parametrize("seed", range(2))
def test_what_takes_many_deviations_is_drawn_and_made_small(seed: int) -> None:
    """One that is far ahead is found by drawing; what the error does not need is left out."""
    scenario = door(careful=False, late=6)
    with pytest.raises(AssertionError, match="two are inside") as found:
        explore(scenario, runs=1, drawn=2000, cancels=0, seed=seed)

    # The first is overtaken at each wait that the second has more, give or take a step.
    assert 6 == pytest.approx(len(word_of(found.value).split("-")), abs=1)


def test_drawn_runs_are_repeatable() -> None:
    """The same seed draws the same runs, and another one others."""

    def traces(seed: int) -> list[list[int]]:
        seen: list[list[int]] = []

        async def scenario(explorer: Explorer) -> None:
            seen.append([explorer.choose(*range(100))])
            await all_over(walkers([3, 3, 3], seen[-1]))

        explored = explore(scenario, runs=0, drawn=20, seed=seed)
        assert Explored(runs=20, deviations=-1, complete=False) == explored
        return seen

    assert traces(1) == traces(1)
    assert traces(1) != traces(2)


def leaves(*, cleanup: int) -> Scenario:
    """Somebody takes a thing, and gives it back after so many waits, wherever it is cancelled."""

    async def scenario(explorer: Explorer) -> None:
        out = 0

        async def take() -> None:
            nonlocal out
            out += 1
            try:
                await asyncio.sleep(1.0)
            finally:
                for _ in range(cleanup):
                    await asyncio.sleep(0)
                out -= 1

        tasks = await all_over([take()])
        assert tasks[0].cancelled() == (tasks[0] in explorer.cancelled)
        assert out == 0, "it is out"

    return scenario


@pytest.mark.parametrize(("cleanup", "cancels"), [(0, 2), (1, 0)])
def test_what_is_given_back_wherever_it_is_cancelled(cleanup: int, cancels: int) -> None:
    """All places to cancel are tried, and nothing is found; nor where nobody may cancel."""
    assert tried(leaves(cleanup=cleanup), runs=1000, drawn=50, cancels=cancels).complete


def test_a_cancel_at_every_step() -> None:
    """A ``finally`` that awaits is found, and where it was cancelled."""
    with pytest.raises(AssertionError, match="it is out") as found:
        tried(leaves(cleanup=1), runs=1000, drawn=0)

    assert "cancel of Task-" in found.value.__notes__[0]


def test_drawn_runs_cancel_too() -> None:
    """A second cancel that comes while the first is still at work is found by drawing as well."""
    with pytest.raises(AssertionError, match="it is out"):
        tried(leaves(cleanup=3), runs=0, drawn=500, cancels=2)


async def waits_for_ever(_explorer: Explorer) -> None:
    await asyncio.Event().wait()


async def goes_on_for_ever(_explorer: Explorer) -> None:
    while True:  # noqa: ASYNC110 -- that is what is wrong with it
        await asyncio.sleep(0)


async def leaves_a_task(_explorer: Explorer) -> None:
    loop = asyncio.get_running_loop()
    loop.left = loop.create_task(asyncio.sleep(9))  # type: ignore[attr-defined]


async def drops_an_error(_explorer: Explorer) -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    await all_over([fails()])
    gc.collect()


async def goes_with_a_task(_explorer: Explorer) -> None:
    await asyncio.get_running_loop().create_task(asyncio.sleep(1.0))


async def ends_wrong(explorer: Explorer) -> None:
    right = [True]
    explorer.always(lambda: 1 / right[0])
    right[0] = False


@pytest.mark.parametrize(
    ("scenario", "error", "words"),
    [
        (waits_for_ever, Deadlock, "root at waits_for_ever"),
        (goes_on_for_ever, Livelock, "not over after 5000 steps"),
        (leaves_a_task, AssertionError, "left behind: Task-.* at sleep"),
        (drops_an_error, AssertionError, "never retrieved: ZeroDivisionError"),
        (goes_with_a_task, AssertionError, "awaited what was cancelled"),
        (ends_wrong, ZeroDivisionError, "division by zero"),
    ],
)
def test_what_is_wrong_everywhere(
    scenario: Callable[[Explorer], Any], error: type[Exception], words: str
) -> None:
    """A scenario that hangs, spins, leaves a task or an error behind, or ends badly, fails."""
    with pytest.raises(error, match=words) as found:
        tried(scenario, runs=100, drawn=0)

    assert 'once more: replay(scenario, "' in found.value.__notes__[-1]


def test_an_error_that_does_not_come_again_is_raised_as_it_was() -> None:
    """A scenario that is not the same in each run cannot hide its error."""
    runs = 0

    async def scenario(_explorer: Explorer) -> None:
        nonlocal runs
        runs += 1
        assert runs != 3, "the third"

    with pytest.raises(AssertionError, match="the third"):
        explore(scenario, runs=1, drawn=9)


def test_what_is_no_error_is_not_kept() -> None:
    """An interrupt leaves at once."""

    class Interrupt(BaseException):
        pass

    async def scenario(explorer: Explorer) -> None:
        explorer.always(interrupt)
        await asyncio.sleep(0)

    def interrupt() -> None:
        raise Interrupt

    with pytest.raises(Interrupt):
        explore(scenario)
