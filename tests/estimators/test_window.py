"""Windows against the list of all outcomes there ever were."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.estimators.window import LastN, Window


Script = list[tuple[float, bool]]
moments = st.integers(-20, 60).map(lambda quarters: quarters / 4)
scripts = st.lists(st.tuples(moments, st.booleans()), max_size=25)
windows = st.builds(Window, seconds=st.floats(0.3, 12), buckets=st.integers(1, 7))


def model(window: Window, script: Script, now: float) -> tuple[int, int]:
    """All outcomes, each with its tick; counted are those of the last ticks."""
    width = Fraction(window.seconds / window.buckets)
    ticks: list[int] = []
    for at, _ in script:
        ticks.append(max([floor(Fraction(at) / width), *ticks]))
    last = max([floor(Fraction(now) / width), *ticks])
    held = [
        bad for tick, (_, bad) in zip(ticks, script, strict=True) if last - tick < window.buckets
    ]
    return len(held), sum(held)


@given(window=windows, script=scripts, looks=st.lists(moments, min_size=1, max_size=3))
@example(Window(10.0), [(0.5, True), (6.0, False)], [6.0, 9.75, 10.0, 15.75, 16.0])
@example(Window(10.0), [(9.0, True), (0.0, True)], [9.0, 0.0, 18.75, 19.0])
@example(Window(10.0), [(0.0, True), (19.5, False), (30.0, True)], [19.0, 30.0])
@example(Window(10.0), [(-20.5, True), (-11.0, False)], [-20.0, -11.0, -10.5, -1.0])
def test_counts_as_the_list_does(window: Window, script: Script, looks: list[float]) -> None:
    """After each outcome, at any moment, in any order of time, looked at or not."""
    for n, (at, bad) in enumerate(script):
        for now in looks:
            assert model(window, script[:n], now) == window.read(now)
        window.add(at, bad=bad)

    for now in looks:
        assert model(window, script, now) == window.read(now)


@given(window=windows, at=moments)
def test_an_outcome_counts_for_its_time(window: Window, at: float) -> None:
    """For the seconds, or up to one bucket less; then it is gone."""
    window.add(at, bad=True)
    tick = window.seconds / window.buckets

    assert (1, 1) == window.read(at)
    assert (1, 1) == window.read(at + 0.999 * (window.seconds - tick))
    assert (0, 0) == window.read(at + 1.001 * window.seconds)


@given(window=windows, script=scripts, after=scripts, now=moments)
def test_cleared_is_new(window: Window, script: Script, after: Script, now: float) -> None:
    """Nothing from before counts, and time may even start again."""
    for at, bad in script:
        window.add(at, bad=bad)
    window.clear()
    cleared = window.read(now)
    for at, bad in after:
        window.add(at, bad=bad)

    assert (0, 0) == cleared
    assert model(window, after, now) == window.read(now)


def test_what_it_holds_is_bounded() -> None:
    """Ten thousand outcomes over ten thousand seconds are a count for each bucket."""
    window = Window(seconds=10.0, buckets=10)
    for second in range(10_000):
        window.add(float(second), bad=second % 2 == 0)

    assert (10, 5) == window.read(9_999.0)
    assert [1] * 10 == window._counts
    assert 5 == sum(window._bads)

    last = LastN(3)
    for _ in range(10_000):
        last.add(bad=True, what="Lost")
    assert ["Lost"] * 3 == list(last._names)


def test_a_failure_needs_no_name() -> None:
    """It is counted all the same."""
    last = LastN()
    last.add(bad=True)

    assert "1 of the last 1 calls failed: " == last.says()


@given(size=st.integers(1, 40), outcomes=st.lists(st.booleans(), max_size=90))
@example(size=20, outcomes=[True] * 21)
@example(size=1, outcomes=[True, False])
def test_the_last_of_a_list(size: int, outcomes: list[bool]) -> None:
    """After each outcome the count is that of the end of the list."""
    last = LastN(size)
    for n, bad in enumerate(outcomes, 1):
        last.add(bad=bad)
        held = outcomes[:n][-size:]
        assert (len(held), sum(held)) == last.read()

    last.clear()
    assert (0, 0) == last.read()


@given(
    size=st.integers(1, 9),
    names=st.lists(st.sampled_from(["", "Lost", "Busy", "Gone"]), max_size=30),
)
@example(size=9, names=["Lost", "", "Busy", "Lost", "", "Busy", "Busy"])
@example(size=2, names=["Lost", "Busy", "", ""])
def test_says_what_the_last_ones_were(size: int, names: list[str]) -> None:
    """The number of failures with their names, the most frequent first, then the older."""
    last = LastN(size)
    for name in names:
        last.add(bad=name != "", what=name)
    held = names[-size:]
    failed = [name for name in held if name]
    order = sorted(set(failed), key=lambda name: (-failed.count(name), failed.index(name)))
    listed = ", ".join(
        name if failed.count(name) == 1 else f"{name} \N{MULTIPLICATION SIGN}{failed.count(name)}"
        for name in order
    )

    assert f"{len(failed)} of the last {len(held)} calls failed: {listed}" == last.says()
    last.clear()
    last.add(bad=True, what="New")
    assert "1 of the last 1 calls failed: New" == last.says()


def test_nineteen_of_the_last_twenty() -> None:
    """By default it holds the twenty outcomes by which a failure is called total."""
    last = LastN()
    for bad in (False, False, *[True] * 19):
        last.add(bad=bad)

    assert (20, 19) == last.read()


def test_a_window_is_ten_seconds_in_ten_buckets() -> None:
    """The defaults."""
    assert (10.0, 10) == (Window().seconds, Window().buckets)


def test_names_a_bad_setting() -> None:
    """A window without time or buckets counts nothing."""
    with pytest.raises(ValueError, match="seconds"):
        Window(seconds=0.0)
    with pytest.raises(ValueError, match="buckets"):
        Window(buckets=0)
    for size in (0, -1):
        with pytest.raises(ValueError, match="size"):
            LastN(size)
