"""The machines of active health: what decides, and whose turn it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llmstack.estimators.health import Checked, Checkups, Pulse, Turn, Verdict


#: Seconds between two probes.
INTERVAL = 40.0
COUNTS = st.integers(1, 4)
#: A history of probes, oldest first: good, bad, neutral, saved by traffic.
HISTORIES = st.text("gbns", max_size=40)


def lived(pulse: Pulse, history: str) -> list[Turn | None]:
    """What *pulse* says to each probe of *history*."""
    verdicts: dict[str, Verdict] = {"g": "good", "b": "bad", "n": "neutral"}
    turns = []
    for now, each in enumerate(history):
        if each == "s":
            turns.append(pulse.save())
        else:
            pulse.begin()
            turns.append(pulse.settle(verdicts[each], each, float(now)))
    return turns


def turned(history: str, falls: int, rises: int) -> dict[int, str]:
    """The model: after which probes the state turns, read off a text with patterns."""
    # Neutral ones are not there, so the places of the others are noted.
    places = [n for n, each in enumerate(history) if each != "n"]
    text = history.replace("n", "").replace("s", "g")
    found: dict[int, str] = {}
    runs = {"down": re.compile("b" * falls), "up": re.compile("g" * rises)}
    at, to = 0, "down"
    while (match := runs[to].search(text, at)) is not None:
        at = match.end()
        found[places[at - 1]] = to
        to = "up" if to == "down" else "down"
    return found


@given(history=HISTORIES, falls=COUNTS, rises=COUNTS)
def test_so_many_in_a_row_decide(history: str, falls: int, rises: int) -> None:
    """Bad ones put down, good ones and traffic lift up, and neutral ones are not there."""
    pulse = Pulse(falls, rises)
    turns = lived(pulse, history)
    expected = turned(history, falls, rises)
    row = re.search(r"(g*)(b*)$", history.replace("n", "").replace("s", "g"))
    assert row is not None
    good, bad = ("", row[2]) if row[2] else (row[1], "")
    known = pulse.statistics()

    assert expected == {n: turn.to for n, turn in enumerate(turns) if turn is not None}
    assert (list(expected.values()) or ["up"])[-1] == known.state
    assert (known.state == "down") is pulse.down is (pulse.standing() is not None)
    assert (len(good), len(bad)) == (known.good, known.bad)
    assert (len(history) - history.count("s"), history.count("s")) == (known.sent, known.saved)


def test_three_down_and_two_up() -> None:
    """F-73: the reason names what went wrong, the most frequent first."""
    pulse = Pulse(3, 2)
    for reason in ("ServerError 500", "TimeoutError"):
        assert pulse.settle("bad", reason, 1.0) is None
    why = "3 probes in a row failed: TimeoutError \N{MULTIPLICATION SIGN}2, ServerError 500"

    assert Turn("down", why) == pulse.settle("bad", "TimeoutError", 2.0)
    standing = pulse.standing()
    assert standing is not None
    assert ("down", why, True) == (standing.state, standing.reason, standing.soft)
    assert pulse.settle("neutral", "RateLimited 429", 3.0) is None
    assert pulse.settle("good", "", 4.0) is None
    assert pulse.settle("bad", "Later", 5.0) is None
    assert why == pulse.why
    assert pulse.settle("good", "", 6.0) is None
    assert Turn("up", "2 probes in a row went well") == pulse.save()
    assert pulse.standing() is None


def test_one_may_be_enough() -> None:
    """And says so; of a long row the last ones are told."""
    pulse = Pulse(1, 1)

    assert Turn("down", "a probe failed: Gone") == pulse.settle("bad", "Gone", 0.0)
    assert pulse.settle("bad", "Late", 0.0) is None
    assert "a probe failed: Late" == pulse.why
    assert Turn("up", "a probe went well") == pulse.settle("good", "", 0.0)


def test_statistics_tell_the_last_probe_and_the_money() -> None:
    """A saved probe is none: it has no time and no reason; an unknown cost is not zero."""
    pulse = Pulse(2, 2)
    assert Checked() == pulse.statistics()
    pulse.answered = True
    pulse.begin()
    assert not pulse.answered
    pulse.settle("bad", "Gone", 7.0)
    pulse.answered = True
    pulse.save()
    pulse.refused += 1
    assert not pulse.answered
    assert Checked("up", 1, 0, 1, 1, 1, "Gone", 7.0) == pulse.statistics()
    pulse.spend(0.5)
    pulse.spend(0.25)
    assert 0.75 == pulse.statistics().cost


def test_at_rest_nothing_is_down() -> None:
    """What was counted in a row is forgotten, what was counted in all is not."""
    pulse = Pulse(2, 2)
    lived(pulse, "bb")
    pulse.answered = True
    pulse.rest()

    assert Checked("up", sent=2, reason="b", at=1.0) == pulse.statistics()
    assert not pulse.answered
    assert [None] == lived(pulse, "b")


@pytest.mark.parametrize("wrong", [(0.0, 3, 2), (-1.0, 3, 2), (30.0, 0, 2), (30.0, 3, 0)])
def test_settings_are_checked(wrong: tuple[float, int, int]) -> None:
    """Where they are written."""
    with pytest.raises(ValueError, match="must be"):
        Checkups(*wrong, lambda: 0.5)


def test_an_interval_may_be_short() -> None:
    """And one probe may decide; what is least that it takes is nothing."""
    checkups = Checkups(0.5, 1, 1, lambda: 1.0)
    checkups.keep("a", 7.0)

    assert 7.25 == checkups.look(7.0)
    assert 7.5 == checkups.look(7.4)
    assert (None, "a") == (checkups.next(7.4), checkups.next(7.5))


@pytest.mark.parametrize(("roll", "after"), [(0.0, 36), (0.25, 38), (0.5, 40), (1.0, 44)])
@pytest.mark.parametrize("saved", [False, True])
def test_the_next_turn_is_an_interval_later(roll: float, after: float, *, saved: bool) -> None:
    """Give or take a tenth, from the end of the probe, or from where traffic saved it."""
    checkups = Checkups(INTERVAL, 1, 1, lambda: roll)
    checkups.keep("a", 0.0)
    if saved:
        checkups.save("a", 100.0)
    else:
        checkups.end("a", checkups.begin("a"), "neutral", "Busy", 100.0)

    assert checkups.next(100.0 + after - 1e-6) is None
    assert "a" == checkups.next(100.0 + after + 1e-6)


def test_each_counts_for_its_own() -> None:
    """So many bad ones, so many good ones, and when the last of them was."""
    checkups = Checkups(INTERVAL, 1, 2, lambda: 0.0)
    checkups.keep("ab", 0.0)
    pulse = checkups.pulses["a"]
    assert (False, "") == (pulse.answered, pulse.why)

    def turn(verdict: Verdict, now: float) -> Turn | None:
        return checkups.end("a", checkups.begin("a"), verdict, verdict, now)

    assert Turn("down", "a probe failed: bad") == turn("bad", 50.0)
    assert turn("good", 100.0) is None
    assert Turn("up", "2 probes in a row went well") == turn("good", 150.0)
    assert Checked("up", good=2, sent=3, reason="good", at=150.0) == pulse.statistics()
    assert Checked() == checkups.pulses["b"].statistics()


def test_a_probe_of_one_that_left_counts_for_nobody() -> None:
    """Nor for another one of that name; while it is under way, that one has to wait."""
    checkups = Checkups(INTERVAL, 1, 1, lambda: 0.0)
    checkups.keep(["a"], 0.0)
    old = checkups.begin("a")
    checkups.keep([], 1.0)
    checkups.keep(["a"], 2.0)
    new = checkups.pulses["a"]

    assert checkups.next(22.0) is None
    assert checkups.end("a", old, "bad", "Gone", 22.0) is None
    assert (Checked(sent=1), Checked()) == (old.statistics(), new.statistics())
    assert "a" == checkups.next(22.0)


def test_all_are_at_rest_at_the_end() -> None:
    """None is due, under way or down."""
    checkups = Checkups(INTERVAL, 1, 1, lambda: 0.0)
    checkups.keep("abc", 0.0)
    checkups.end("a", checkups.begin("a"), "bad", "Gone", 0.0)
    states = [pulse.down for pulse in checkups.pulses.values()]
    checkups.begin("b")
    checkups.begin("c")
    checkups.rest()

    assert [True, False, False] == states
    assert [False] * 3 == [pulse.down for pulse in checkups.pulses.values()]
    assert checkups.next(1000.0) is None
    checkups.keep("abc", 1000.0)
    assert checkups.next(1020.0) in {*"abc"}


NAMES = ["a", "b", "c", "d", "e"]
ROLLS = st.sampled_from([0.0, 0.25, 0.5, 1.0])


class Turns(RuleBasedStateMachine):
    """Against a list of appointments: (when, who), and who is at it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.roll = 0.0
        self.checkups = Checkups(INTERVAL, 2, 2, lambda: self.roll)
        self.appointments: list[tuple[float, str]] = []
        self.at_it: list[tuple[str, Pulse, bool]] = []  # and whether it is still in the set

    def expected(self) -> list[tuple[float, str]]:
        busy = [name for name, *_ in self.at_it]
        free = [each for each in self.appointments if each[1] not in busy]
        return sorted(free) if len(busy) < 2 else []

    @initialize()
    def all_are_there(self) -> None:
        self.keep(NAMES, 0.5)
        self.now += INTERVAL

    @rule(names=st.lists(st.sampled_from(NAMES), unique=True), roll=ROLLS)
    def other_names(self, names: list[str], roll: float) -> None:
        self.keep(names, roll)

    def keep(self, names: list[str], roll: float) -> None:
        self.roll = roll
        self.checkups.keep(names, self.now)
        known = [name for _, name in self.appointments]
        self.appointments = [each for each in self.appointments if each[1] in names]
        first = self.now + INTERVAL * (0.5 + roll / 2)
        self.appointments += [(first, name) for name in names if name not in known]
        self.at_it = [(name, p, there and name in names) for name, p, there in self.at_it]
        assert {*names} == {*self.checkups.pulses}

    @rule(seconds=st.sampled_from([0.0, 1.0, 7.5, 20.0, 36.0, 44.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(saved=st.booleans(), roll=ROLLS)
    def visit(self, saved: bool, roll: float) -> None:  # noqa: FBT001 -- drawn
        self.roll = roll
        name = self.checkups.next(self.now)
        due = [each for each in self.expected() if each[0] <= self.now]
        assert (name is None) is (not due)
        if name is None:
            return
        assert (due[0][0], name) in due
        if saved:
            self.checkups.save(name, self.now)
            self.again(name, there=True)
        else:
            self.at_it.append((name, self.checkups.begin(name), True))

    @precondition(lambda self: self.at_it)
    @rule(n=st.integers(0, 1), roll=ROLLS)
    def end(self, n: int, roll: float) -> None:
        self.roll = roll
        name, pulse, there = self.at_it.pop(n % len(self.at_it))
        before = pulse.statistics()
        self.checkups.end(name, pulse, "bad", "Gone", self.now)
        self.again(name, there=there)
        assert before.bad + there == pulse.statistics().bad

    @rule()
    def rest(self) -> None:
        self.checkups.rest()
        self.appointments.clear()
        self.at_it.clear()
        assert not any(pulse.down for pulse in self.checkups.pulses.values())

    def again(self, name: str, *, there: bool) -> None:
        """Whoever has left meanwhile keeps the first appointment of a newcomer, if any."""
        others = [each for each in self.appointments if not there or each[1] != name]
        self.appointments = [
            *others,
            *[(self.now + INTERVAL * (0.9 + self.roll / 5), name)] * there,
        ]

    @invariant()
    def never_more_than_two(self) -> None:
        assert len(self.at_it) <= 2

    @invariant()
    def it_knows_when_to_look(self) -> None:
        first = min((when for when, _ in self.expected()), default=inf)
        assert min(first, self.now + INTERVAL / 2) == pytest.approx(self.checkups.look(self.now))


TestTurns = Turns.TestCase


@given(
    rolls=st.lists(st.floats(0.0, 1.0), min_size=1),
    seconds=st.lists(st.floats(0.0, 5.0), min_size=1),
    leaves=st.floats(0.0, 300.0),
)
def test_every_endpoint_has_its_turn(
    rolls: Sequence[float], seconds: Sequence[float], leaves: float
) -> None:
    """None before half an interval, then each within interval x 1.1 + timeout, none that left."""
    turn = iter(range(1_000_000))
    checkups = Checkups(30.0, 3, 2, lambda: rolls[next(turn) % len(rolls)])
    out: list[tuple[float, str, Pulse]] = []
    begun: dict[str, list[float]] = {name: [0.0] for name in "abc"}
    now = 0.0
    while now < 400.0:
        for done in [each for each in out if each[0] <= now]:
            out.remove(done)
            checkups.end(done[1], done[2], "good", "", now)
        checkups.keep("abc" if now < leaves else "ab", now)
        while (name := checkups.next(now)) is not None:
            out.append((now + seconds[next(turn) % len(seconds)], name, checkups.begin(name)))
            begun[name].append(now)
            assert len(out) <= 2
        now = max(min([checkups.look(now), *(end for end, *_ in out)]), now)

    gaps = {name: [b - a for a, b in pairwise(at)] for name, at in begun.items()}
    assert all(at[1] >= 15.0 for at in begun.values() if len(at) > 1)
    assert all(gap <= 30 * 1.1 + 5 + 5 + 1e-9 for each in gaps.values() for gap in each)
    assert all(gap >= 27 - 1e-9 for each in gaps.values() for gap in each[1:])
    assert all(at <= leaves for at in begun["c"])
    assert all(400.0 - at[-1] <= 30 * 1.1 + 10 for name, at in begun.items() if name != "c")
