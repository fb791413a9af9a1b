"""The time-decayed average against a weighted sum, and its promises by number."""

from __future__ import annotations

from itertools import pairwise
from math import exp, inf, isfinite, log, prod

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.estimators.ewma import TimeEwma


values = st.floats(0, 1e6)
moments = st.integers(0, 400).map(float)
samples = st.lists(st.tuples(values, moments), max_size=12)
averages = st.builds(
    TimeEwma, st.floats(0.1, 60), floor=st.floats(0, 1), stale_tau=st.floats(0.1, 90)
)


def fed(average: TimeEwma, script: list[tuple[float, float]]) -> TimeEwma:
    for x, now in script:
        average.add(x, now)
    return average


def state(average: TimeEwma) -> tuple[float | None, float, int]:
    return average.value, average.at, average.count


def model(average: TimeEwma, script: list[tuple[float, float]], now: float, prior: float) -> float:
    """The documentation as a sum: a weight for each sample, and one for the prior."""
    if not script:
        return prior
    newest = [max(at for _, at in script[: n + 1]) for n in range(len(script))]
    gaps = [after - before for before, after in pairwise(newest)]
    shares = [1.0, *(max(1 - exp(-gap / average.tau), average.floor) for gap in gaps)]
    fresh = exp(-max(0.0, now - newest[-1]) / average.stale_tau)
    weights = [share * prod(1 - s for s in shares[n + 1 :]) for n, share in enumerate(shares)]
    past = sum(weight * x for weight, (x, _) in zip(weights, script, strict=True))
    return fresh * past + (1 - fresh) * prior


@given(average=averages, script=samples, now=moments, prior=values)
@example(average=TimeEwma(), script=[(1.0, 0.0), (5.0, 0.0)], now=0.0, prior=9.0)
@example(average=TimeEwma(), script=[(1.0, 50.0), (5.0, 20.0), (9.0, 60.0)], now=70.0, prior=9.0)
@example(average=TimeEwma(), script=[(1.0, 50.0)], now=20.0, prior=9.0)
@example(average=TimeEwma(), script=[(1.0, 0.0), (5.0, 7.0)], now=37.0, prior=9.0)
def test_reads_as_the_weighted_sum(
    average: TimeEwma, script: list[tuple[float, float]], now: float, prior: float
) -> None:
    """Any samples, in any order of time, read as the sum of what each has left."""
    fed(average, script)

    expected = model(average, script, now, prior)
    assert pytest.approx(expected, rel=1e-9, abs=1e-6) == average.read(now, prior)
    assert len(script) == average.count


def test_defaults_are_those_of_the_table() -> None:
    """Ten seconds, a floor of a twentieth, and news is stale in half a minute."""
    average = TimeEwma()

    assert (10.0, 0.05, 30.0) == (average.tau, average.floor, average.stale_tau)
    assert (None, 0.0, 0) == state(average)


@given(average=averages, script=samples, now=moments, prior=values)
def test_stays_between_the_samples_and_the_prior(
    average: TimeEwma, script: list[tuple[float, float]], now: float, prior: float
) -> None:
    """P-EW-1: convex, but for rounding; finite and never negative."""
    read = fed(average, script).read(now, prior)

    seen = [prior, *(x for x, _ in script)]
    slack = 1e-12 * max(seen)
    assert min(seen) - slack <= read <= max(seen) + slack
    assert isfinite(read)
    assert read >= 0


@given(average=averages, script=samples, looks=st.lists(st.tuples(moments, values), min_size=1))
def test_reading_changes_nothing(
    average: TimeEwma, script: list[tuple[float, float]], looks: list[tuple[float, float]]
) -> None:
    """P-EW-2: looked at between any two samples or not, the average is the same to the bit."""
    left = TimeEwma(average.tau, floor=average.floor, stale_tau=average.stale_tau)
    for x, at in script:
        for now, prior in looks:
            average.read(now, prior)
        average.add(x, at)

    assert state(fed(left, script)) == state(average)


@given(k=st.integers(1, 40), span=st.floats(0, 120), average=averages, x=values)
@example(k=10, span=0.0, average=TimeEwma(), x=5.0)
@example(k=4, span=20.0, average=TimeEwma(), x=5.0)
def test_counts_time_and_not_arrivals(k: int, span: float, average: TimeEwma, x: float) -> None:
    """P-EW-3: k samples leave what the time leaves, whatever k; or, in a burst, the floor's part.

    What is left of the old value is the smaller of exp(-span / tau) and (1 - floor) ** k:
    the rate says nothing until gaps are so short that the floor holds.
    """
    average.add(1.0, 0.0)
    for n in range(1, k + 1):
        average.add(x, span * n / k)

    left = min(exp(-span / average.tau), (1 - average.floor) ** k)
    expected = x + left * (1.0 - x)
    assert average.value == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(average=averages, x=values, prior=values)
def test_old_news_is_no_news(average: TimeEwma, x: float, prior: float) -> None:
    """P-EW-4: after five stale times less than a hundredth of the difference is left."""
    average.add(x, 0.0)
    at_once, later = (average.read(at * average.stale_tau, prior) for at in (0.0, 5.0))

    assert x == at_once
    slack = 1e-9 * max(x, prior)
    assert abs(later - prior) <= 0.01 * abs(x - prior) + slack
    assert abs(later - prior) >= 0.006 * abs(x - prior) - slack


@given(script=samples, now=moments, shift=st.integers(-(10**6), 10**9), power=st.integers(-9, 9))
def test_has_no_unit_and_no_epoch(
    script: list[tuple[float, float]], now: float, shift: int, power: int
) -> None:
    """P-EW-5: later by a constant changes nothing; all seconds scaled scale what is read."""
    unit = 2.0**power
    scaled = fed(
        TimeEwma(10 * unit, stale_tau=30 * unit), [(x * unit, at * unit) for x, at in script]
    )
    shifted = fed(TimeEwma(), [(x, at + shift) for x, at in script])
    plain = fed(TimeEwma(), script)

    assert plain.read(now, 3.0) == shifted.read(now + shift, 3.0)
    assert pytest.approx(plain.read(now, 3.0) * unit) == scaled.read(now * unit, 3.0 * unit)


@given(average=averages, script=samples, now=moments, prior=values, part=st.floats(0, 1))
@example(average=TimeEwma(), script=[], now=0.0, prior=3.0, part=1.0)
@example(average=TimeEwma(), script=[(2.0, 0.0)], now=9.0, prior=2.0, part=1.0)
def test_a_bound_at_or_below_the_estimate_says_nothing(
    average: TimeEwma, script: list[tuple[float, float]], now: float, prior: float, part: float
) -> None:
    """P-EW-6, P-CE-1: "at least so long" leaves no trace where more was expected anyway."""
    before = state(fed(average, script))
    average.add_censored(part * average.read(now, prior), now, prior)

    assert before == state(average)


@given(
    average=averages,
    script=samples,
    now=moments,
    prior=values,
    above=st.floats(1e-3, 1e6),
    later=st.lists(moments, max_size=4),
)
@example(TimeEwma(), [(1.0, 0.0)], 30.0, 10.0, 0.01, [30.0, 60.0])
@example(TimeEwma(), [(1.0, 30.0)], 10.0, 10.0, 1.0, [30.0, 60.0])
@example(TimeEwma(), [], 30.0, 10.0, 1.0, [30.0, 60.0])
def test_a_bound_above_the_estimate_raises_it(
    average: TimeEwma,
    script: list[tuple[float, float]],
    now: float,
    prior: float,
    above: float,
    later: list[float],
) -> None:
    """P-CE-1: by the share that a sample has, from what was read; at no later time is less read.

    Started from the remembered value, it would read *less* than before where that value
    is stale and below the prior: the first example.
    """
    fed(average, script)
    looks = [now, *(max(now, at) for at in later)]
    before, count = [average.read(at, prior) for at in looks], average.count
    x = before[0] + above
    share = max(1 - exp(-max(0.0, now - average.at) / average.tau), average.floor)
    average.add_censored(x, now, prior)
    after = [average.read(at, prior) for at in looks]

    expected = before[0] + share * above if script else x
    assert pytest.approx(expected, rel=1e-9, abs=1e-6) == after[0]
    assert all(b <= a * (1 + 1e-12) + 1e-9 for b, a in zip(before, after, strict=True))
    assert count + 1 == average.count
    assert max(now, *(at for _, at in script), 0.0) == average.at


def test_lr_7_and_lr_8() -> None:
    """LR-7, LR-8: the first sample is the average; the next moves it by alpha."""
    average = TimeEwma(floor=0.3)
    average.add(1.0, 0.0)
    first = average.value
    average.add(0.0, 0.0)

    assert 1.0 == first
    assert pytest.approx(0.7) == average.value


def test_sr_4() -> None:
    """SR-4: from 100, alpha 0.2, the samples 80 and 50 give 96 and 86.8; two were counted."""
    average = TimeEwma(floor=0.2, value=100.0)
    average.add(80.0, 0.0)
    first = average.value
    average.add(50.0, 0.0)

    assert pytest.approx(96.0) == first
    assert pytest.approx(86.8) == average.value
    assert 2 == average.count


def test_half_the_past_is_gone_in_its_half_life() -> None:
    """A number to hold on to: tau * ln 2 later a sample weighs as much as all before it."""
    average = TimeEwma(10.0)
    average.add(1.0, 100.0)
    average.add(3.0, 100.0 + 10.0 * log(2))

    assert pytest.approx(2.0) == average.value


@pytest.mark.parametrize(
    ("name", "value"),
    [("tau", 0.0), ("tau", -inf), ("floor", -0.1), ("floor", 1.1), ("stale_tau", 0.0)],
)
def test_names_a_bad_setting(name: str, value: float) -> None:
    """What cannot be is refused where it is written."""
    with pytest.raises(ValueError, match=name):
        TimeEwma(**{name: value})
