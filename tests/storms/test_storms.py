"""Storms through the whole gateway: short ones, each once; ``make storms`` plays them in full."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
from attrs import evolve

from llmstack.messages import Request
from llmstack.testing.provider import FakeProvider, Hang
from llmstack.testing.virtual import run_virtual
from tests.storms.catalogue import SHORT, storms
from tests.storms.judge import broken, crowd, first_good
from tests.storms.run import both_forms, go, played
from tests.storms.storm import Called, Fault, Played, Promises, Storm
from tests.storms.world import SOON, connected, out, stack_over, under_way


ROOT: Final = Path(__file__).parents[2]
#: Complete replies and streams in turns.
SHORT_ONES: Final = [
    both[n % 2]
    for n, both in enumerate(zip(storms(SHORT), storms(evolve(SHORT, streams=True)), strict=True))
]


@pytest.mark.parametrize("storm", SHORT_ONES, ids=lambda storm: storm.name)
def test_promises_are_kept_in_a_storm(storm: Storm) -> None:
    """And it was one: somebody had to be asked again, or was told that it is in vain."""
    result = played(storm)

    assert [] == broken(storm, result)
    assert any(call.attempts != 1 for call in result.calls)


def test_a_storm_is_the_same_each_time() -> None:
    """With the same dice, to the last attempt."""
    storm = next(each for each in SHORT_ONES if each.name == "all fail 3 times in 10")
    shorter = evolve(storm, seconds=10.0)
    once, again = played(shorter), played(shorter)

    assert [call.attempts for call in once.calls] == [call.attempts for call in again.calls]
    for before, now in zip(once.asked, again.asked, strict=True):
        assert pytest.approx(before) == now


def calm(**promises: Any) -> Storm:  # noqa: ANN401 -- those of each case
    """A storm of two endpoints, of which a has trouble from second 10 to 20."""
    return Storm(
        name="calm",
        fleet=2,
        faults=(Fault(10.0, "a", "dies"), Fault(20.0, "a", "returns")),
        seconds=40.0,
        rate=2.0,
        latency=0.5,
        streams=False,
        promises=Promises(**promises),
    )


def told(*failed: int, until: int = 80, unasked: bool = False) -> Played:
    """Two calls a second, all of which went well but for those with such numbers."""
    calls = tuple(
        Called(
            n / 2,
            n / 2 + 0.5,
            "502" if n in failed else "",
            attempts=n not in failed or not unasked,
        )
        for n in range(until)
    )
    times = tuple(call.at for call in calls if call.attempts)
    return Played(calls, (times[::2], times[1::2]))


def more(played: Played, *times: float, at: int = 0) -> Played:
    """The same with requests that arrived at such times too."""
    asked = [*played.asked]
    asked[at] = tuple(sorted([*asked[at], *times]))
    return evolve(played, asked=tuple(asked))


LATE: Final = told(*range(20, 52))
#: What was promised, what came of it, and what is said.
CASES: Final[Mapping[str, tuple[Storm, Played, list[str]]]] = {
    "all well": (calm(healthy=True, answered=1.0, asks=True), told(), []),
    "a failure": (calm(healthy=True), told(7), ["1 calls failed, the first: 502"]),
    "a failure where none is healthy": (calm(), told(7), []),
    "enough": (calm(answered=0.9), told(*range(8)), []),
    "too few": (calm(answered=0.9), told(*range(9)), ["9 of 80 calls failed"]),
    "asked in vain": (calm(asks=True), told(7), []),
    "not asked": (
        calm(asks=True),
        told(7, unasked=True),
        ["1 calls failed for which nobody was asked"],
    ),
    "a fifth more": (calm(healthy=True), more(told(), *[1.0] * 16), []),
    "more than a fifth": (
        calm(healthy=True),
        more(told(), *[1.0] * 17),
        ["97 attempts, and 96 are allowed"],
    ),
    "in trouble": (calm(), more(told(), *[12.0] * 24), []),
    "more in trouble": (
        calm(),
        more(told(), *[12.0] * 25),
        ["45 attempts in trouble, and 44 are allowed"],
    ),
    "the floor": (calm(), more(told(), *[1.0] * 66), []),
    "above the floor": (
        calm(),
        more(told(), *[1.0] * 67),
        ["147 attempts, and 146 are allowed"],
    ),
    "left alone": (calm(named=0.1), told(), []),
    "asked while under way": (calm(named=0.1), more(told(), 10.2), []),
    "asked too early": (
        calm(named=0.1),
        more(told(), 10.55),
        ["a was asked 1 times before its time"],
    ),
    "never asked again": (
        calm(named=0.1),
        told(until=40),
        ["nobody who was limited was ever asked again"],
    ),
    "back at once": (calm(back=20.0), told(*range(20, 42)), []),
    "back in time": (calm(back=20.0), told(*range(20, 51)), []),
    "back too late": (
        calm(back=20.0),
        LATE,
        ["the first request that was answered came 6.00 s after the return"],
    ),
    "back late, as was said": (calm(back=20.0, within=6.0), LATE, []),
    "no crowd": (calm(back=20.0, spare=0.6), more(told(), 30.1), []),
    "a crowd": (
        calm(back=20.0),
        more(told(), 30.1),
        ["3 requests in a second after the return, at 2 calls a second"],
    ),
    "a crowd before": (calm(back=20.0), more(told(), 15.1), []),
    "something is left": (
        calm(),
        evolve(told(), left=("retry budget in_flight: 1",)),
        ["not given back: retry budget in_flight: 1"],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_judge_says_which_promise_was_not_kept(case: tuple[Storm, Played, list[str]]) -> None:
    """And nothing where all were; each bound from both sides."""
    storm, result, words = case

    assert words == broken(storm, result)


def test_what_is_not_given_back_is_found() -> None:
    """What layers count, requests that are under way, and sockets: while one hangs, and later."""

    async def main() -> list[list[str]]:
        found = []
        async with FakeProvider() as provider:
            provider.always(Hang())
            stack = stack_over("latency_based", [provider], 0)
            async with stack, asyncio.TaskGroup() as group:
                call = group.create_task(stack(Request("chat", {"messages": [{"role": "user"}]})))
                await asyncio.sleep(1)
                there = [*under_way([provider]), *connected([provider])]
                found.append([*out(stack.statistics()), *there])
                call.cancel()
            await asyncio.sleep(SOON)
            there = [*under_way([provider]), *connected([provider])]
            found.append([*out(stack.statistics()), *there])
        return found

    with ThreadPoolExecutor(1) as thread:
        during, after = thread.submit(lambda: run_virtual(main())[0]).result()

    layers = ["budget in_flight: 1", "router a pending: 1", "breaker a in_flight: 1"]
    upstream = ["limit a in_flight: 1", "requests at a: 1", "connections to a: 1"]
    for expected, actual in zip([*layers, *upstream], during, strict=True):
        assert actual.endswith(expected)
    assert [] == after


def test_without_an_answer_there_is_no_first() -> None:
    """Nor a crowd where nobody came."""
    nothing = Played((), ((),))

    assert float("inf") == first_good(calm(), nothing, 0.0)
    assert 0 == crowd(nothing, 0.0)


def test_the_table_has_a_line_for_each_storm_and_says_what_broke() -> None:
    """It ends with 1 then, and with 0 if all is well; all forms of all storms can be played."""
    storm = next(each for each in SHORT_ONES if each.name == "all refuse")
    shorter = evolve(storm, faults=(Fault(0.0, "abc", "dies"),), seconds=1.0)
    kept = evolve(shorter, name="kept", promises=Promises(back=0.0, within=float("inf")))
    wrong = evolve(shorter, name="wrong", promises=Promises(healthy=True))
    lines: list[str] = []

    assert 0 == go([kept, wrong], ["kep"], lines.append)
    assert 1 == go([kept, wrong], say=lines.append)
    head, first, good, _, second, third, bad = lines
    assert [3, 3] == [len(head.split("  ")[0].split()) + 2, len(lines) // 2]
    assert first == second
    assert "kept" in first
    assert "BROKEN: 5 calls failed, the first: 50" in third
    assert ["no promises were broken\n", "1 promises were broken\n"] == [good, bad]
    assert 2 * len(SHORT_ONES) == len(both_forms(SHORT))


def test_the_command_plays_what_it_is_told() -> None:
    """A name that no storm has: nothing, and nothing is wrong."""
    command = [sys.executable, "-m", "tests.storms.run", "no such storm"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert "no promises were broken" == run.stdout.splitlines()[-1]
    assert "" == run.stderr
