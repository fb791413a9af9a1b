"""When a second call is worth sending, against the list of all that has been seen."""

from __future__ import annotations

from math import ceil, floor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.estimators.hedge_delay import HedgeDelay, Wait
from llmstack.estimators.sketch import Sketch, curve, quantile


Line = tuple[float, float, bool]
Script = list[Line]
moments = st.integers(0, 60).map(lambda quarters: quarters / 4)
lines = st.tuples(moments, st.sampled_from([1.0, 2.0, 8.0, 32.0]), st.booleans())
scripts = st.lists(lines, max_size=40)


def near(seconds: float) -> float:
    """What a sketch makes of a duration."""
    sketch = Sketch()
    sketch.add(seconds)
    return curve(sketch)[0][0]


def rank(values: list[float], level: float) -> float:
    """The quantile of a list without gaps, by rank."""
    return sorted(values)[max(1, ceil(level * len(values) - 1e-9)) - 1]


def held(script: Script, looks: list[float], window: float) -> Script:
    """Those of the window that is running and of the one before it; time never goes back."""
    times = [at for at, _, _ in script] + looks
    start = times[0]
    running, placed = 0, []
    for n, at in enumerate(times):
        running = max(running, floor((at - start) / window))
        placed += [running] if n < len(script) else []
    return [line for line, n in zip(script, placed, strict=True) if n >= running - 1]


@given(script=scripts, now=moments, window=st.sampled_from([1.0, 4.0, 10.0]))
@example([(0.0, 1.0, True)] * 19 + [(0.0, 32.0, True)], 7.75, 4.0)
@example([(0.0, 1.0, True)] * 19 + [(0.0, 32.0, True)], 8.0, 4.0)
@example([(0.0, 1.0, True)] * 19 + [(3.0, 32.0, True)], 4.0, 4.0)
@example([(0.0, 8.0, True)] * 9 + [(4.0, 1.0, True)] * 19 + [(4.0, 32.0, True)], 8.0, 4.0)
@example([(0.0, 1.0, True)] * 9 + [(6.0, 1.0, True)] * 19 + [(6.0, 32.0, True)], 12.5, 4.0)
def test_reads_what_the_list_of_two_windows_says(script: Script, now: float, window: float) -> None:
    """The quantile, from enough samples with enough spread; nothing otherwise."""
    times = HedgeDelay(0.1, window=window, samples=5, spread=4.0)
    for at, seconds, seen in script:
        (times.add if seen else times.add_censored)(seconds, at)

    there = held(script, [now], window)
    sketch = Sketch()
    for _, seconds, seen in there:
        (sketch.add if seen else sketch.add_censored)(seconds)
    found = curve(sketch)
    median, slow, tail = (quantile(found, level) for level in (0.5, 0.9, 0.99))
    worth = sketch.count >= 5 and median < 1000 and tail >= 4 * median
    longest = near(max((seconds for _, seconds, _ in there), default=1.0))
    assert (Wait(min(slow, longest), median) if worth else None) == times.read(now)
    assert sketch.count == times.count


@given(values=st.lists(st.sampled_from([1.0, 1.5, 2.0, 9.0, 20.0]), min_size=20, max_size=80))
def test_waits_as_long_as_nearly_all_take(values: list[float]) -> None:
    """By rank in the sorted list: with 5 %, one in twenty takes longer."""
    times = HedgeDelay()
    for seconds in values:
        times.add(seconds, 0.0)

    median, slow, tail = (near(rank(values, level)) for level in (0.5, 0.95, 0.99))
    assert (Wait(slow, median) if tail >= 4 * median else None) == times.read(0.0)


def learnt(times: HedgeDelay, fast: int, slow: float, *, slower: int = 1) -> HedgeDelay:
    for _ in range(fast):
        times.add(1.0, 0.0)
    for _ in range(slower):
        times.add(slow, 0.0)
    return times


def test_nothing_below_the_least_samples() -> None:
    """Nineteen are too few, twenty are enough; what was cut off is no sample."""
    times = learnt(HedgeDelay(), 18, 10.0)
    for _ in range(20):
        times.add_censored(0.5, 0.0)
    before = times.read(0.0)
    times.add(1.0, 0.0)

    assert (19, None) == (times.count - 1, before)
    assert Wait(near(1.0), near(1.0)) == times.read(0.0)


@pytest.mark.parametrize(
    ("slow", "spread", "worth"),
    [(3.5, 4.0, False), (4.5, 4.0, True), (3.5, 3.0, True), (1.0, 1.0, True)],
)
def test_nothing_without_a_tail(slow: float, spread: float, *, worth: bool) -> None:
    """Where the slowest take less than four times the median, a second call gains nothing."""
    times = learnt(HedgeDelay(spread=spread), 60, slow)

    assert worth == (times.read(0.0) is not None)


def test_a_tail_that_nobody_waits_for_is_a_tail() -> None:
    """If the slowest are always cut off, nothing is known but that they take long.

    Else a second call that helps would hide its reason: it would be off, then on, then off.
    """
    times = learnt(HedgeDelay(), 98, 1.0)
    for _ in range(2):
        times.add_censored(3.0, 0.0)

    assert Wait(near(1.0), near(1.0)) == times.read(0.0)


def test_waits_as_long_as_anybody_has_waited_where_no_more_is_known() -> None:
    """One in five is cut off after 3 s, so the quantile is beyond that; it is no less."""
    times = learnt(HedgeDelay(), 40, 1.0)
    for _ in range(10):
        times.add_censored(3.0, 0.0)

    assert Wait(near(3.0), near(1.0)) == times.read(0.0)


def test_nothing_where_most_were_cut_off() -> None:
    """Without a median nobody knows how long a second call would take."""
    times = learnt(HedgeDelay(), 20, 1.0)
    for _ in range(30):
        times.add_censored(0.5, 0.0)
    for _ in range(30):
        times.add_censored(3.0, 0.0)

    assert None is times.read(0.0)


def test_a_reading_serves_for_a_sixteenth_more() -> None:
    """To read a hundred times as often costs no more; and it is never staler than that."""
    times = learnt(HedgeDelay(), 155, 10.0, slower=5)
    first = times.read(0.0)
    seen = []
    for _ in range(11):
        times.add(10.0, 0.0)
        seen.append(times.read(0.0))

    assert Wait(near(1.0), near(1.0)) == first
    assert [first] * 10 + [Wait(near(10.0), near(1.0))] == seen
    assert seen[-1] == times.wait


def test_what_was_cut_off_makes_a_reading_stale_too() -> None:
    """Three of 44 took longer than three seconds: there is a tail now, and nobody knows it."""
    times = learnt(HedgeDelay(), 40, 1.0)
    seen = [times.read(0.0)]
    for _ in range(3):
        times.add_censored(3.0, 0.0)
        seen.append(times.read(0.0))

    assert [None, None, None, Wait(near(3.0), near(1.0))] == seen


def test_a_reading_ends_with_its_windows() -> None:
    """In the next window it is as it was; in the one after it there is nothing to read."""
    times = learnt(HedgeDelay(), 60, 10.0)
    found = [times.read(at) for at in (0.0, 119.0, 120.0)]

    assert [Wait(near(1.0), near(1.0))] * 2 + [None] == found


def test_what_was_cut_off_begins_a_window_too() -> None:
    """It counts as long as the answers behind it."""
    times = HedgeDelay()
    times.add(1.0, 0.0)
    for _ in range(10):
        times.add_censored(50.0, 61.0)
    for _ in range(30):
        times.add(1.0, 62.0)

    assert Wait(near(50.0), near(1.0)) == times.read(125.0)


def test_one_sample_may_be_enough() -> None:
    """If the settings say so."""
    times = HedgeDelay(samples=1, spread=1.0)
    times.add(3.0, 0.0)

    assert Wait(near(3.0), near(3.0)) == times.read(0.0)


def test_may_always_be_dropped() -> None:
    """A map that is full may forget it: it is soon learnt again."""
    assert learnt(HedgeDelay(), 20, 10.0).idle


def test_the_defaults() -> None:
    """One in twenty, of at least twenty, with a tail of four times the median, in a minute."""
    times = HedgeDelay()

    assert (0.05, 60.0, 20, 4.0) == (times.share, times.window, times.samples, times.spread)


@pytest.mark.parametrize(
    ("name", "values"),
    [("share", [0.0, 1.1]), ("window", [0.0]), ("samples", [0]), ("spread", [0.9])],
)
def test_settings_have_limits(name: str, values: list[float]) -> None:
    """Each of them is named."""
    for value in values:
        settings: dict[str, float] = {name: value}
        with pytest.raises(ValueError, match=name):
            HedgeDelay(**settings)  # type: ignore[arg-type]
