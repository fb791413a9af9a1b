"""Exploration against its definition, candidate by candidate, and its laws by number."""

from __future__ import annotations

from functools import partial
from math import ceil, inf, sqrt
from random import Random

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.estimators.explore import Candidate, Exploration


NOW = 100.0
pools = st.lists(
    st.tuples(
        st.none() | st.integers(50, 120).map(float),
        st.integers(0, 12).map(float),
        st.integers(0, 3) | st.integers(0, 60),
    ),
    max_size=7,
).map(lambda rows: [Candidate(f"e{n}", *row) for n, row in enumerate(rows)])
settings = st.builds(
    Exploration,
    stale_after=st.integers(1, 60).map(float),
    reach=st.integers(1, 6).map(float),
    probe_share=st.floats(0, 1),
)


def deserves(rule: Exploration, candidate: Candidate, pool: list[Candidate]) -> bool:
    """The definition of who is worth a look, one clause at a time."""
    in_flight = sum(other.pending for other in pool)
    if candidate.pending >= max(1, ceil(rule.probe_share * in_flight)):
        return False
    if candidate.seen is None:
        return True
    stale = NOW - candidate.seen > rule.stale_after
    return stale and all(candidate.score / rule.reach <= other.score for other in pool)


@given(rule=settings, pool=pools)
@example(Exploration(), [Candidate("e0", 70.0, 1.0)])
@example(Exploration(), [Candidate("e0", 69.0, 1.0)])
@example(Exploration(), [Candidate("e0", 100.0, 1.0), Candidate("e1", 9.0, 4.0)])
@example(Exploration(), [Candidate("e0", None, 9.0, 1), Candidate("e1", 9.0, 1.0, 1)])
@example(Exploration(), [Candidate("e0", None, 9.0), Candidate("e1", None, 1.0)])
@example(Exploration(), [Candidate("e0", 9.0, 1.0, 1), Candidate("e1", 10.0, 1.0)])
@example(Exploration(), [Candidate("e0", 9.0, 1.0, 1), Candidate("e1", 99.0, 1.0, 20)])
def test_goes_to_the_stalest_that_deserves_it(rule: Exploration, pool: list[Candidate]) -> None:
    """Whoever it names was seen before all others that deserve a look; a tie goes to the first."""
    worthy = [candidate for candidate in pool if deserves(rule, candidate, pool)]
    worthy.sort(key=lambda candidate: -inf if candidate.seen is None else candidate.seen)

    assert (worthy[0].name if worthy else None) == rule.stalest(pool, NOW)


@given(pool=pools, power=st.integers(-9, 9), late=st.integers(-50, 10**6))
def test_has_no_unit_and_no_epoch(pool: list[Candidate], power: int, late: int) -> None:
    """Scores in another unit, and times from another zero, send it to the same place."""
    moved = [
        attrs.evolve(
            candidate,
            score=candidate.score * 2.0**power,
            seen=None if candidate.seen is None else candidate.seen + late,
        )
        for candidate in pool
    ]
    rule = Exploration()

    assert rule.stalest(pool, NOW) == rule.stalest(moved, NOW + late)


@pytest.mark.parametrize("n", [2, 8, 20])
@pytest.mark.parametrize("seed", range(5))
def test_everyone_is_tried_in_bounded_time(n: int, seed: int) -> None:
    """P-EX-1: at ten calls a second all plausible ones are seen within T_max.

    T_max = stale_after + (n + 4 * sqrt(n) + 8) / (eps * rate): n draws have to say yes,
    and that many are waited for, four deviations included. All others always lose the ranking.
    """
    rng, rule, rate = Random(seed), Exploration(), 10
    seen: dict[str, float | None] = {f"e{k}": 0.0 if k % 2 else None for k in range(n)}
    most = rule.stale_after + (n + 4 * sqrt(n) + 8) / (rule.share * rate)
    for call in range(1, int(most * rate) + 1):
        now = call / rate
        pool = [Candidate(name, at, 1.0 + (name != "e1")) for name, at in seen.items()]
        goal = rule.explore(partial(list, pool), chance=rng.random(), now=now)
        seen[goal or "e1"] = now

    assert all(seen.values())


def test_explores_its_share_of_the_calls() -> None:
    """P-EX-2: of a thousand chances evenly spread exactly twenty explore, and the pool is
    looked at for no other.
    """
    looked = []

    def pool() -> list[Candidate]:
        looked.append(1)
        return [Candidate("e0", None, 1.0)]

    rule = Exploration()
    went = [rule.explore(pool, chance=k / 1000, now=NOW) for k in range(1000)]

    assert ["e0"] * 20 + [None] * 980 == went
    assert 20 == len(looked)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 1.0])
def test_explores_no_more_than_its_share(share: float) -> None:
    """P-EX-2: with seeded chance within three deviations, though everyone is always unseen."""
    rng, rule, calls = Random(3), Exploration(share=share), 20_000
    pool = [Candidate("e0", None, 1.0), Candidate("e1", None, 1.0)]
    went = sum(
        rule.explore(lambda: pool, chance=rng.random(), now=NOW) is not None for _ in range(calls)
    )

    assert abs(went - share * calls) <= 3 * sqrt(calls * share * (1 - share))


def test_nobody_to_explore() -> None:
    """P-EX-3: who is not given (open, exhausted, tried) is not named: of none, none."""
    assert None is Exploration(share=1.0).explore(list, chance=0.0, now=NOW)


def test_first_probes_go_one_by_one() -> None:
    """Ten unmeasured endpoints at rest get one probe each, not ten to the first."""
    rule, out = Exploration(), dict.fromkeys("abcdefghij", 0)
    went = []
    for _ in range(12):
        name = rule.stalest([Candidate(key, None, 1.0, n) for key, n in out.items()], NOW)
        went.append(name)
        if name is not None:
            out[name] += 1

    assert [*"abcdefghij", None, None] == went


@pytest.mark.parametrize(
    ("in_flight", "probes"), [(0, 1), (1, 1), (20, 1), (20.5, 2), (40, 2), (41, 3), (1000, 50)]
)
def test_probes_are_a_share_of_the_traffic(in_flight: float, probes: int) -> None:
    """A twentieth of what is in flight, rounded up, and at least one."""
    assert probes == Exploration().probes(in_flight)


def test_defaults_are_those_of_the_table() -> None:
    """Two calls in a hundred, after thirty seconds, where four times better would win."""
    assert Exploration(share=0.02, stale_after=30.0, reach=4.0, probe_share=0.05) == Exploration()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("share", -0.1),
        ("share", 1.1),
        ("stale_after", 0.0),
        ("reach", 0.9),
        ("probe_share", -0.1),
        ("probe_share", 1.1),
    ],
)
def test_names_a_bad_setting(name: str, value: float) -> None:
    """What cannot be is refused where it is written."""
    with pytest.raises(ValueError, match=name):
        Exploration(**{name: value})
