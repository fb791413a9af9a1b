from __future__ import annotations

from functools import reduce
from math import exp, inf, log
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.estimators.baseline import FailureRate, UsualTime, logarithm


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=12))
@example([(100, False), (100, True)])
@example([(0, False)] * 12)
@example([(30, False)] * 12)
def test_a_rate_is_a_tenth_news(batches: list[tuple[int, bool]]) -> None:
    """Each hundred calls move it by a tenth of the way to their share, within 1 % to 20 %."""
    rate, changed = FailureRate(), []
    for bads, first in batches:
        for n in range(100):
            bad = n < bads if first else n >= 100 - bads
            changed.append(rate.add(bad=bad))

    expected = reduce(
        lambda now, batch: min(0.2, max(0.01, 0.9 * now + 0.001 * batch[0])), batches, 0.05
    )
    assert pytest.approx(expected) == rate.value
    assert [n % 100 == 99 for n in range(100 * len(batches))] == changed


def test_a_rate_comes_close() -> None:
    """After some thousand calls of which 10 % fail, it is between 8 and 12 %."""
    dice, rate = Random(1), FailureRate()
    seen = []
    for n in range(20_000):
        rate.add(bad=dice.random() < 0.1)
        seen.append(rate.value if n >= 5_000 else 0.1)

    assert 0.08 < min(seen) < max(seen) < 0.12


TIMES = st.sampled_from([0.0, 0.0625, 0.5, 1.0, 1.5, 2.0, 3.0, 8.0])


def moves(times: list[float], quantile: float, start: float, step: float) -> float:
    """The documentation: up where one is above it, down where not, by the quantile."""
    return reduce(
        lambda now, x: now + step * (quantile - (log(max(x, 1e-6)) <= now)), times, log(start)
    )


@given(first=st.lists(TIMES, min_size=100, max_size=100), later=st.lists(TIMES, max_size=60))
@example(first=[1.0] * 100, later=[1.5] * 60)
@example(first=[1.0] * 50 + [1.5] * 50, later=[])
@example(first=[1.0] * 100, later=[1.0])
@example(first=[0.5] * 25 + [1.0] * 50 + [3.0] * 25, later=[8.0] * 5)
@example(first=[1.0] * 95 + [8.0] * 5, later=[8.0] * 3)
@example(first=[0.5] * 25 + [1.0] * 70 + [8.0] * 5, later=[3.0, 0.5, 3.0])
def test_a_usual_time(first: list[float], later: list[float]) -> None:
    """The quantiles of the first hundred, moved by what comes later, in parts of the spread."""
    usual = UsualTime(floor=0.0)
    before = []
    for seconds in first:
        before.append((usual.seconds, usual.is_slow(logarithm(1e9))))
        usual.add(logarithm(seconds))
    for seconds in later:
        usual.add(logarithm(seconds))
    ordered = sorted(max(x, 1e-6) for x in first)
    step = 0.02 * max(0.1, log(ordered[75]) - log(ordered[24])) / 1.349
    high = moves(later, 0.95, ordered[94], step)
    middle = moves(later, 0.5, ordered[49], step)

    assert {(inf, False)} == set(before)
    assert pytest.approx(exp(max(high, middle + log(2)))) == usual.seconds
    assert not usual.is_slow(logarithm(usual.seconds * 0.999))
    assert usual.is_slow(logarithm(usual.seconds * 1.001))


@pytest.mark.parametrize(("seconds", "slow"), [(0.49, False), (0.5, True), (9.0, True)], ids=str)
def test_nothing_below_the_floor_is_slow(seconds: float, slow: bool) -> None:  # noqa: FBT001
    """CB-8, mended, W-LK-18: a tenfold of next to nothing is next to nothing."""
    usual = UsualTime(floor=0.5)
    for _ in range(100):
        usual.add(logarithm(0.01))

    assert slow == usual.is_slow(logarithm(seconds))
    assert 0.5 == usual.seconds


@pytest.mark.parametrize("spread", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("kind", ["lognormal", "pareto", "stragglers"])
def test_one_call_in_twenty_is_slow(kind: str, spread: float) -> None:
    """However the times of a healthy endpoint are distributed, it is no more than that."""
    dice, usual = Random(2), UsualTime(floor=0.0)
    slow = 0
    for _ in range(10_000):
        seconds = dice.paretovariate(2.1) if kind == "pareto" else dice.lognormvariate(0, spread)
        seconds *= 10 if kind == "stragglers" and dice.random() < 0.05 else 1
        slow += usual.is_slow(logarithm(seconds))
        usual.add(logarithm(seconds))

    assert 300 < slow < 600


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_it_follows(factor: float) -> None:
    """What all calls take from now on is usual after some thousand of them."""
    dice, usual = Random(3), UsualTime(floor=0.0)
    for _ in range(100):
        usual.add(logarithm(dice.lognormvariate(0, 0.5)))
    before = usual.seconds
    for _ in range(4_000):
        usual.add(logarithm(factor * dice.lognormvariate(0, 0.5)))

    assert 0.7 * factor < usual.seconds / before < 1.4 * factor


def test_it_keeps_no_times_once_it_knows() -> None:
    """Whatever the traffic, three numbers are held and not the calls."""
    usual = UsualTime(floor=0.0)
    held = []
    for _ in range(300):
        usual.add(logarithm(1.0))
        held.append(len(usual._first))

    assert [*range(1, 100), *[0] * 201] == held


def learnt(logarithms: list[float]) -> UsualTime:
    usual = UsualTime(0.0)
    for x in logarithms:
        usual.add(x)
    return usual


def test_the_median_is_the_fiftieth_of_a_hundred() -> None:
    """Twice that is slow, where nearly all take less."""
    usual = learnt([log(1 + n / 100) for n in range(100)])

    assert pytest.approx(2 * 1.49) == usual.seconds


def test_a_step_is_a_part_of_the_spread() -> None:
    """Of what lies between the 25th and the 76th of a hundred; the 95th takes it."""
    usual = learnt([n / 10 for n in range(100)])
    before = usual.seconds
    usual.add(20.0)

    assert pytest.approx(exp(9.4)) == before
    assert pytest.approx(exp(9.4 + 0.95 * 0.02 / 1.349 * (7.5 - 2.4))) == usual.seconds


def test_what_takes_as_long_is_not_slow() -> None:
    """Nor does it make the usual time longer: only what takes longer does."""
    usual = learnt([0.0] * 100)
    high = learnt([0.0] * 94 + [3.0] * 6)
    before = high.seconds
    high.add(3.0)

    assert [False, True] == [usual.is_slow(log(seconds)) for seconds in (2.0, 2.001)]
    assert before > high.seconds
