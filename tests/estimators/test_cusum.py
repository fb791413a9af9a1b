from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from itertools import accumulate, islice, repeat
from math import ceil, log
from random import Random
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.estimators.cusum import Cusum, Walk
from llmstack.estimators.trip import Calm, Detector, Sample, Trip


LIMIT: Final = log(500_000)
QUICK: Final = Sample(bad=False, seconds=1.0)
SLOW: Final = Sample(bad=False, seconds=100.0)
BAD: Final = Sample(bad=True, what="ServerError")
UNTIMED: Final = Sample(bad=False)
SAMPLES: Final = {"quick": QUICK, "slow": SLOW, "bad": BAD, "untimed": UNTIMED}


def published() -> Walk:
    """For 5 % against 45 %, in units of a step down: +4 / -1, to 24."""
    return Walk(24, up=4, down=1)


def first_trip(walk: Walk, bads: list[bool]) -> int | None:
    return next((n for n, bad in enumerate(bads) if walk.add(bad=bad)), None)


@given(bads=st.lists(st.booleans(), max_size=60), up=st.integers(1, 6), down=st.integers(1, 3))
@example(bads=[True] * 6, up=4, down=1)
@example(bads=[False] * 30 + [True] * 6, up=4, down=1)
@example(bads=[True] * 5 + [False] * 4 + [True] * 2, up=4, down=1)
def test_a_walk_trips_where_some_run_of_calls_is_bad_enough(
    bads: list[bool], up: int, down: int
) -> None:
    """At the first call with which some run, whenever it began, makes up the limit."""
    steps = [up if bad else -down for bad in bads]
    expected = next(
        (
            end - 1
            for end in range(1, len(steps) + 1)
            if max(sum(steps[start:end]) for start in range(end)) >= 24
        ),
        None,
    )

    assert expected == first_trip(Walk(24, up=up, down=down), bads)


@given(bads=st.lists(st.booleans(), min_size=1, max_size=60), data=st.data())
def test_a_bad_call_more_never_trips_later(bads: list[bool], data: st.DataObject) -> None:
    """P-CB-4: whichever good call it replaces."""
    place = data.draw(st.integers(0, len(bads) - 1))
    worse = [*bads[:place], True, *bads[place + 1 :]]
    before, after = first_trip(published(), bads), first_trip(published(), worse)

    assert before is None or (after is not None and after <= before)


def steps_to_trip(walk: Walk, rate: float) -> float:
    """The mean number of calls to the limit from 0, exactly: a Markov chain, solved."""

    def after(height: int, *, bad: bool) -> int:
        walk.height = height
        walk.add(bad=bad)
        return round(walk.height)

    # The mean from each height, less those from where its two steps lead, is one call.
    rows = [[float(n == m) for m in range(24)] + [1.0] for n in range(24)]
    for n, row in enumerate(rows):
        row[after(n, bad=False)] -= 1 - rate
        if after(n, bad=True) < 24:
            row[after(n, bad=True)] -= rate
    for n in reversed(range(24)):
        rows[n] = [x / rows[n][n] for x in rows[n]]
        for m in range(n):
            rows[m] = [x - rows[m][n] * y for x, y in zip(rows[m], rows[n], strict=True)]
    return rows[0][-1]


@pytest.mark.parametrize(
    ("rate", "low", "high"),
    [
        (0.05, 2.85e6, 2.95e6),
        (0.08, 7.9e4, 8.1e4),
        (0.10, 1.35e4, 1.45e4),
        (0.3, 42, 43),
        (0.5, 15.5, 16.5),
        (0.8, 7.5, 8.5),
        (1.0, 6, 6),
    ],
    ids=str,
)
def test_the_published_walk(rate: float, low: float, high: float) -> None:
    """Healthy it trips once in 2.9 million calls, at half bad ones after 16."""
    assert low <= steps_to_trip(published(), rate) <= high


def test_the_published_walk_is_that_for_five_percent() -> None:
    """Its unit is .547, a step up is 4.02 of them, and the default limit is 24."""
    walk = Walk.against(0.05, LIMIT)

    assert pytest.approx((0.547, 4.02, 24.0), rel=2e-3) == (
        walk.down,
        walk.up / walk.down,
        walk.limit / walk.down,
    )


@pytest.mark.parametrize(
    ("usual", "fault", "row"),
    [
        *[(0.01, 0.30, 4), (0.015, 0.325, 5), (0.02, 0.35, 5), (0.03, 0.35 + 0.1 / 3, 6)],
        *[(0.05, 0.45, 6), (0.075, 0.475, 8), (0.10, 0.50, 9), (0.15, 0.55, 11), (0.20, 0.60, 12)],
    ],
    ids=str,
)
def test_the_steps_are_logarithms_of_likelihoods(usual: float, fault: float, row: int) -> None:
    """Of each share that is usual against that of a fault; so many bad calls in a row trip."""
    walk = Walk.against(usual, LIMIT)

    assert pytest.approx(fault / usual) == 2.718281828459045**walk.up
    assert pytest.approx((1 - usual) / (1 - fault)) == 2.718281828459045**walk.down
    assert row - 1 == first_trip(walk, [True] * 20)


@pytest.mark.parametrize("usual", [0.01, 0.02, 0.05, 0.1, 0.2])
def test_good_calls_clear_a_walk(usual: float) -> None:
    """P-CB-6: as many as the limit is steps, however often it has tripped; 24 at 5 %."""
    walk = Walk.against(usual, LIMIT)
    for _ in range(40):
        walk.add(bad=True)
    needed = ceil(LIMIT / walk.down)
    heights = []
    for _ in range(needed):
        walk.add(bad=False)
        heights.append(walk.height)

    assert usual != 0.05 or 24 <= needed <= 25
    assert needed - 1 == heights.index(0.0)


def trips(walk: Walk, rate: float, calls: int, seed: int) -> int:
    draw, count = Random(seed).random, 0
    for _ in range(calls):
        if walk.add(bad=draw() < rate):
            walk.height = 0.0
            count += 1
    return count


def test_false_alarms_are_bounded() -> None:
    """P-CB-3: of a million calls, 5 % of them bad, at most n / e ** limit, and five sigma."""
    assert trips(Walk.against(0.05, LIMIT), 0.05, 1_000_000, seed=1) <= 2 + 5 * 2**0.5


@pytest.mark.parametrize("usual", [0.01, 0.02, 0.05, 0.1, 0.2])
def test_false_alarms_are_bounded_for_each_share(usual: float) -> None:
    """P-CB-3: at a limit that is reached now and then, so that the bound is one."""
    count = trips(Walk.against(usual, log(100)), usual, 50_000, seed=2)

    assert 25 <= count <= 500 + 5 * 500**0.5


def healthy(kind: str, seed: int, failing: float = 0.0) -> Iterator[Sample]:
    """Calls of an endpoint at its best, of which some fail as a matter of course."""
    dice = Random(seed)
    kinds: dict[str, Callable[[], float]] = {
        "lognormal .5": lambda: dice.lognormvariate(0, 0.5),
        "lognormal 1": lambda: dice.lognormvariate(0, 1.0),
        "pareto": lambda: dice.paretovariate(2.1),
        "stragglers": lambda: dice.lognormvariate(0, 0.5) * (10 if dice.random() < 0.05 else 1),
        "constant": lambda: 1.0,
        "at once": lambda: 0.0,
    }
    while True:
        yield BAD if dice.random() < failing else Sample(bad=False, seconds=kinds[kind]())


KINDS: Final = ["lognormal .5", "lognormal 1", "pareto", "stragglers", "constant", "at once"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_healthy_endpoint_does_not_trip(kind: str) -> None:
    """W-LK-17: neither sum, in 20 000 calls that are learned from, whatever their times."""
    detector = Cusum().detector()

    samples = islice(healthy(kind, 1, failing=0.01), 20_000)

    assert not any(detector.add(0.0, sample) for sample in samples)


def needed(detector: Detector, samples: Iterable[Sample]) -> int | None:
    """At the how many-th of such calls it trips."""
    said = map(detector.add, repeat(0.0), islice(samples, 400))
    return next((n for n, each in enumerate(said, 1) if each), None)


@pytest.mark.parametrize(
    ("kind", "factor", "most"),
    [("lognormal .5", 3, 14), ("lognormal .5", 5, 9), ("lognormal 1", 5, 25), ("constant", 3, 6)],
    ids=str,
)
def test_slowness_is_seen(kind: str, factor: int, most: int) -> None:
    """Three or five times as slow as it was: the median of eleven runs, in calls."""
    calls = []
    for seed in range(11):
        samples, detector = healthy(kind, seed), Cusum().detector()
        before = [detector.add(0.0, sample) for sample in islice(samples, 1000)]
        after = (Sample(bad=False, seconds=factor * (each.seconds or 0)) for each in samples)
        calls.append(needed(detector, after) or 400)
        assert not any(before)

    assert most >= sorted(calls)[5] >= 6


def warm(policy: Cusum) -> Detector:
    """One that has seen a hundred calls of a second."""
    detector = policy.detector()
    assert not any(detector.add(0.0, QUICK) for _ in range(100))
    return detector


def height(steps: list[float], limit: float) -> float:
    return reduce(lambda h, step: min(limit, max(0.0, h + step)), steps, 0.0)


def rate_of(learned: list[bool]) -> float:
    """A tenth of each hundred that are learned."""
    hundreds = [learned[n : n + 100] for n in range(0, len(learned) - 99, 100)]
    return reduce(lambda p, each: max(0.01, 0.9 * p + 0.001 * sum(each)), hundreds, 0.05)


def model(script: list[tuple[str, float]], policy: Cusum) -> list[str]:
    """The documentation, each time from lists of all steps since the sums began."""
    limit, learned = log(policy.calls), [False] * 100
    fails, slows, said = list[float](), list[float](), list[str]()
    since, answers, known = -1.0, 0, 100
    for what, now in script:
        usual = max(height(fails, limit), height(slows, limit)) <= limit / 2
        walk = Walk.against(rate_of(learned), limit)
        fails.append(walk.up if what == "bad" else -walk.down)
        learned += [what == "bad"] * usual
        said.append("")
        if height(fails, limit) >= limit:
            said[-1], since = "failed", -1.0
            fails, slows = [], []  # the circuit opens, and once it closes, it resets
        elif what in {"quick", "slow"}:
            walk = Walk.against(0.05, limit)
            slows.append(walk.up if what == "slow" and known >= 100 else -walk.down)
            known += usual
            answers += 1
            if since < 0 and height(slows, limit) >= limit:
                said[-1], since, answers = "slow", now, 0
            elif since >= 0 and height(slows, limit) == 0:
                said[-1], since = "quick", -1.0
            elif since >= 0 and answers >= 20 and now - since >= policy.relearn:
                said[-1], since, known, slows = "usual", -1.0, 0, []
    return said


def in_words(said: Trip | Calm | None) -> str:
    if isinstance(said, Trip):
        return "slow" if said.slow_only else "failed"
    return "" if said is None else "usual" if said.relearned else "quick"


runs = st.lists(
    st.tuples(
        st.sampled_from([*SAMPLES, "slow"]), st.integers(1, 12), st.sampled_from([0.0, 1.0, 30.0])
    ),
    max_size=16,
)
FEW: Final = Cusum(calls=5_000, relearn=100.0)


@given(runs)
@example([("slow", 7, 0.0), ("quick", 12, 1.0), ("quick", 12, 1.0), ("slow", 12, 0.0)])
@example([("slow", 7, 0.0), ("slow", 12, 1.0), ("slow", 12, 30.0), ("slow", 12, 0.0)])
@example([("slow", 7, 0.0), ("slow", 12, 1.0), ("slow", 8, 11.0), ("slow", 4, 0.0)])
@example([("slow", 3, 1.0), ("bad", 9, 1.0), ("slow", 3, 0.0), ("bad", 2, 1.0), ("quick", 12, 1.0)])
@example([("slow", 4, 0.0), ("untimed", 4, 9.0), ("quick", 9, 0.0), *[("bad", 2, 1.0)] * 4])
def test_follows_the_model(script: list[tuple[str, int, float]]) -> None:
    """Of calls that fail, and that are quick and slow, after a hundred that were usual."""
    gaps = [(what, gap) for what, times, gap in script for _ in range(times)]
    moments = list(accumulate((gap for _, gap in gaps), initial=0.0))[1:]
    calls = [(what, now) for (what, _), now in zip(gaps, moments, strict=True)]
    detector, said = warm(FEW), []
    for what, now in calls:
        answer = in_words(detector.add(now, SAMPLES[what]))
        said.append(answer)
        if answer == "failed":
            detector.reset()

    assert model(calls, FEW) == said


@pytest.mark.parametrize(("good", "row"), [(0, 6), (99, 6), (1_600, 4)], ids=str)
def test_how_often_it_fails_is_learned(good: int, row: int) -> None:
    """Where hardly a call fails, four failures in a row trip it, and not six."""
    detector = Cusum(slow=False).detector()
    assert not any(detector.add(0.0, QUICK) for _ in range(good))

    assert row == needed(detector, repeat(BAD))


@pytest.mark.parametrize(("good", "row"), [(99, 4), (100, 3)], ids=str)
def test_what_is_learned_holds_from_the_next_call_on(good: int, row: int) -> None:
    """The hundredth call makes a failure weigh more, and the failure behind it does."""
    detector = Cusum(calls=854, slow=False).detector()
    assert not any(detector.add(0.0, QUICK) for _ in range(good))

    assert row == needed(detector, repeat(BAD))


@pytest.mark.parametrize(("good", "row"), [(99, 4), (100, 3)], ids=str)
def test_calls_are_learned_while_the_sum_is_no_more_than_half(good: int, row: int) -> None:
    """Of those behind two failures all but two are, so the hundredth is the 102nd of all."""
    detector = Cusum(calls=773, slow=False).detector()
    assert not any(detector.add(0.0, sample) for sample in [BAD] * 2 + [UNTIMED] * good)

    assert row == needed(detector, repeat(BAD))


def test_failures_are_not_learned_while_they_are_suspicious() -> None:
    """One of five fails, for 500 calls, and after that six in a row trip it as they did."""
    detector = Cusum(slow=False).detector()
    script = [BAD] * 3 + [BAD, *[UNTIMED] * 4] * 100 + [UNTIMED] * 30
    assert not any(detector.add(0.0, sample) for sample in script)

    assert 6 == needed(detector, repeat(BAD))


def test_times_are_not_learned_while_they_are_suspicious() -> None:
    """One of five is a little slow, for 500 calls, and after that it still is."""
    detector = Cusum().detector()
    usual, slow = Sample(bad=False, seconds=4.0), Sample(bad=False, seconds=4.4)
    script = [QUICK] * 90 + [usual] * 10 + [slow] * 3 + [slow, *[QUICK] * 4] * 100 + [QUICK] * 30
    assert not any(detector.add(0.0, sample) for sample in script)

    assert 6 == needed(detector, repeat(slow))


def test_times_are_learned_at_other_times() -> None:
    """What a quarter of all calls takes, now and then, is usual in the end."""
    detector, dice = Cusum(floor=0.0).detector(), Random(4)
    warm_up = [detector.add(0.0, Sample(bad=False, seconds=dice.uniform(1, 2))) for _ in range(100)]
    later = [
        detector.add(0.0, Sample(bad=False, seconds=dice.uniform(1, 2) * (1 + n / 2_000)))
        for n in range(4_000)
    ]

    assert not any(warm_up + later)


@pytest.mark.parametrize(
    ("policy", "seconds", "row"),
    [
        (Cusum(floor=5.0), 4.9, None),
        (Cusum(floor=5.0), 5.1, 6),
        (Cusum(floor=0.0), 1.9, None),
        (Cusum(slow=False), 1000.0, None),
    ],
    ids=["below the floor", "above the floor", "not twice the median", "no matter"],
)
def test_what_is_never_slow(policy: Cusum, seconds: float, row: int | None) -> None:
    """What is quicker than the floor, or close to the usual; or all, if slowness is no matter."""
    samples = repeat(Sample(bad=False, seconds=seconds), 30)

    assert row == needed(warm(policy), samples)
