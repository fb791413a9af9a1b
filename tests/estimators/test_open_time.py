from __future__ import annotations

from itertools import count
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.estimators.open_time import OpenTimes


bases = st.sampled_from([0.5, 5.0, 40.0, 80.0])
chances = st.floats(0, 1, exclude_max=True)


def nominal(base: float, level: int) -> float:
    """The documentation: doubling, up to a cap of 30."""
    return min(30.0, base * 2.0 ** (level - 1))


def top(base: float) -> int:
    """The first level that lasts as long as the cap."""
    return next(n for n in count(1) if nominal(base, n) == 30.0)


@given(base=bases, chances=st.lists(chances, min_size=1, max_size=12))
@example(base=5.0, chances=[0.0, 0.5, 0.999])
def test_each_opening_in_a_row_is_twice_as_long(base: float, chances: list[float]) -> None:
    """P-CB-8: half to all of the nominal time, which doubles and never exceeds the cap."""
    times = OpenTimes(base, 30.0)
    waits = [times.open(0.0, chance=chance) for chance in chances]

    expected = [(0.5 + chance / 2) * nominal(base, n) for n, chance in enumerate(chances, 1)]
    assert pytest.approx(expected) == waits
    assert (len(chances), min(len(chances), top(base))) == (times.opened, times.level)


@given(base=bases, openings=st.integers(1, 9), quarters=st.integers(0, 600))
@example(base=5.0, openings=3, quarters=19 * 4)
@example(base=5.0, openings=3, quarters=20 * 4)
@example(base=5.0, openings=3, quarters=35 * 4)
def test_each_nominal_time_of_health_takes_one_back(
    base: float, openings: int, quarters: int
) -> None:
    """W-LL-22: so many levels are gone as their nominal times fit into the time of health."""
    times = OpenTimes(base, 30.0)
    for _ in range(openings):
        times.open(0.0, chance=0.0)
    level = min(openings, top(base))
    times.healthy_since = 100.0
    times.recover(100.0 + quarters / 4)

    health = [
        sum(nominal(base, n) for n in range(left + 1, level + 1)) for left in range(level + 1)
    ]
    expected = next(left for left, needed in enumerate(health) if needed <= quarters / 4)
    assert expected == times.level
    assert nominal(base, min(expected + 1, top(base))) / 2 == times.open(
        100.0 + quarters / 4, chance=0.0
    )


def test_health_is_not_counted_twice() -> None:
    """Looking often takes back no more than looking once."""
    often, once = OpenTimes(5.0, 30.0), OpenTimes(5.0, 30.0)
    for times in (often, once):
        for _ in range(4):
            times.open(0.0, chance=0.0)
        times.healthy_since = 0.0
    for second in range(31):
        often.recover(float(second))
    once.recover(30.0)

    assert (3, 3) == (often.level, once.level)


def test_health_counts_up_to_the_opening() -> None:
    """Nobody has to ask in between: what is not told of health is seen when it opens."""
    times = OpenTimes(5.0, 30.0)
    for _ in range(3):
        times.open(0.0, chance=0.0)
    times.healthy_since = 0.0

    assert 10.0 == times.open(20.0, chance=0.0)


def test_no_health_while_open() -> None:
    """Time that passes while it is open takes nothing back."""
    times = OpenTimes(5.0, 30.0)
    times.open(0.0, chance=0.0)
    times.healthy_since = 10.0
    times.open(11.0, chance=0.0)
    times.recover(1e9)

    assert 2 == times.level


@pytest.mark.parametrize(
    ("named", "wait"), [(0.0, 2.5), (2.0, 2.5), (60.0, 60.0), (9999.0, 300.0)], ids=str
)
def test_a_named_wait_is_a_floor(named: float, wait: float) -> None:
    """Retry-After is never undercut, but nobody is shut out for more than five minutes."""
    assert wait == OpenTimes(5.0, 30.0).open(0.0, chance=0.0, named=named)


def test_a_cap_above_five_minutes_stands() -> None:
    """The bound on named waits does not shorten what the settings say."""
    assert 500.0 == OpenTimes(1000.0, 1000.0).open(0.0, chance=0.0, named=400.0)


def test_no_exponent_overflows() -> None:
    """However often it opens."""
    times = OpenTimes(1e-300, 1e300)
    waits = [times.open(0.0, chance=0.0) for _ in range(2000)]

    assert sorted(waits) == waits


def test_two_with_other_seeds_part() -> None:
    """P-CB-8: breakers that opened together do not probe together."""
    waits = [
        [times.open(0.0, chance=rng.random()) for _ in range(5)]
        for times, rng in ((OpenTimes(5.0, 30.0), Random(seed)) for seed in (1, 2))
    ]

    assert all(one != other for one, other in zip(*waits, strict=True))
