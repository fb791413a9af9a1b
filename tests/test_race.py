"""A second call that may overtake the first: every order of two ends and a cancel."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.errors import classify
from llmstack.race import Race, SecondCall
from tests.racers import ACTS, NAMES, Calls, Reply, Told, heard, timed


def said_by(who: str, act: str) -> str:
    return who if act == "ok" else f"{NAMES[act]} {who}"


def expected(
    first: tuple[str, float], second: tuple[str, float], delay: float, leaves: float
) -> Told:
    """What would end the race, each at its time: the first of these does."""
    (act, at), (other, then) = first, (second[0], delay + second[1])
    if min(at, leaves) < delay:
        return Told(*min((leaves, "cancelled"), (at, said_by("one", act)))[::-1], ())
    last, early = sorted([(at, "one", act), (then, "two", other)], reverse=True)
    gives_way = last[2] == "refused" and early[2] != "refused"
    ways = [(leaves, "cancelled")]
    ways += [(at, said_by("one", act))] if act in {"ok", "fault", "bug"} else []
    ways += [(then, "two")] if other == "ok" else []
    ways += [(last[0], said_by(*(early if gives_way else last)[1:]))] if other != "ok" else []
    when, said = min(ways)
    failed: SecondCall = "unsent" if other == "refused" else "failed"
    fate: SecondCall = "won" if said == "two" else failed if then <= when else "lost"
    return Told(said, when, (fate,))


acts = st.sampled_from(ACTS)
#: Whole seconds, with a remainder of its own for each kind of event: no two come at once.
first_ends = st.tuples(acts, st.integers(0, 6).map(lambda n: n + 0.125))
second_ends = st.tuples(acts, st.integers(0, 6).map(float))
leaving = st.integers(0, 12).map(lambda n: n + 0.25) | st.just(99.0)


@given(first=first_ends, second=second_ends, delay=st.integers(0, 4), leaves=leaving)
@example(("failed", 2.125), ("ok", 3.0), 1, 99.0)
@example(("failed", 2.125), ("refused", 3.0), 1, 99.0)
@example(("refused", 2.125), ("failed", 0.0), 1, 99.0)
@example(("bug", 2.125), ("failed", 0.0), 1, 99.0)
@example(("fault", 2.125), ("ok", 3.0), 1, 99.0)
@example(("ok", 4.125), ("fault", 1.0), 1, 99.0)
@example(("failed", 2.125), ("bug", 0.0), 1, 99.0)
def test_every_order_of_two_ends_and_a_cancel(
    first: tuple[str, float], second: tuple[str, float], delay: int, leaves: float
) -> None:
    """The caller gets what the story of events says, then; nobody is left at work or open."""
    calls = Calls(first, second)

    told, _ = timed(heard(calls.race(), calls, delay, leaves))

    assert expected(first, second, float(delay), leaves) == told
    assert (0, []) == (calls.out, calls.closed())


@pytest.mark.parametrize("act", ACTS)
def test_without_leave_the_first_is_alone(act: str) -> None:
    """As if there were no race."""
    calls = Calls((act, 2.0))

    told, _ = timed(heard(calls.race(may=False), calls, 1.0, 99.0))

    assert Told("one" if act == "ok" else f"{NAMES[act]} one", 2.0, ()) == told


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first", "second"])
def test_of_two_answers_at_once_one_is_taken_and_one_is_closed(order: tuple[int, int]) -> None:
    """It is the first call's that is taken, in whatever order they come in one iteration."""
    calls = Calls(("ok", 0.0), ("ok", 0.0))

    async def main() -> str:
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[str]] = [loop.create_future(), loop.create_future()]

        async def ask() -> Reply:
            calls.begun += 1
            calls.replies.append(Reply(await answers[calls.begun - 1]))
            return calls.replies[-1]

        def answer() -> None:
            for n in order:
                answers[n].set_result(["one", "two"][n])

        loop.call_at(2.0, answer)
        return (await Race(ask, lambda: True, calls.ends.append, classify).run(1.0)).name

    assert ("one", 2.0) == timed(main())
    assert (["two"] if order == (1, 0) else []) == calls.closed()
    assert (2, ["lost"]) == (calls.begun, calls.ends)


def test_a_cancel_in_the_tick_of_the_second_answer_is_not_swallowed() -> None:
    """For some iterations of the loop both are in the air; then the caller has the answer."""
    told = []
    for hops in range(8):
        calls = Calls(("ok", 9.0), ("ok", 1.0))
        told.append(timed(heard(calls.race(), calls, 1.0, 2.0, hops))[0])

        left = [reply.name for reply in calls.replies if not reply.closed]
        assert ([] if told[-1].said == "cancelled" else ["two"]) == left
        assert 0 == calls.out

    said = [each.said for each in told]
    came = said.index("two")
    assert ["cancelled"] * came + ["two"] * (8 - came) == said
    assert 3 < came < 8
    assert {2.0} == {each.at for each in told}
