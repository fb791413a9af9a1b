from __future__ import annotations

from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.estimators.cusum import Cusum
from llmstack.estimators.trip import (
    Calm,
    ConsecutiveFailures,
    Detector,
    FailureRatio,
    Sample,
    Trip,
    TripPolicy,
)
from llmstack.estimators.z_score import LatencyZScore


Outcomes = list[tuple[float, bool]]

#: Seconds since the one before, in quarters so that sums are exact, and whether it is bad.
outcomes = st.lists(
    st.tuples(st.integers(0, 40).map(lambda n: n / 4), st.booleans()), min_size=1, max_size=40
)
rows = st.builds(ConsecutiveFailures, st.integers(1, 6))
ratios = st.builds(
    FailureRatio,
    st.sampled_from([0.1, 0.3, 0.5, 1.0]),
    volume=st.integers(1, 12),
    seconds=st.sampled_from([2.5, 10.0, 40.0]),
)


def says(detector: Detector, now: float, *, bad: bool) -> bool:
    """Whether it trips at an outcome, which then is for failures, to be named by the circuit."""
    said = detector.add(now, Sample(bad))
    assert said in (None, Trip("", slow_only=False))
    return said is not None


def trips(policy: TripPolicy, script: Outcomes) -> list[bool]:
    """What a new detector says to each outcome."""
    detector, now, said = policy.detector(), 0.0, []
    for gap, bad in script:
        now += gap
        said.append(says(detector, now, bad=bad))
    return said


def row_model(policy: ConsecutiveFailures, script: Outcomes) -> list[bool]:
    """The documentation: the last so many were all failures."""
    bads = [bad for _, bad in script]
    lasts = [bads[max(0, n - policy.failures) : n] for n in range(1, len(bads) + 1)]
    return [len(last) == policy.failures and all(last) for last in lasts]


def ratio_model(policy: FailureRatio, script: Outcomes) -> list[bool]:
    """The documentation: of those in the window, in tenths of it, so many were failures."""
    tenth, times, said = policy.seconds / 10, [0.0], []
    for gap, _ in script:
        times.append(times[-1] + gap)
    for n, now in enumerate(times[1:], 1):
        there = [
            bad
            for at, (_, bad) in zip(times[1 : n + 1], script, strict=False)
            if now // tenth - at // tenth < 10
        ]
        enough = len(there) >= policy.volume and sum(there) / len(there) >= policy.ratio
        said.append(script[n - 1][1] and enough)
    return said


@given(policy=rows, script=outcomes)
def test_failures_in_a_row_trip(policy: ConsecutiveFailures, script: Outcomes) -> None:
    """At the n-th failure without a success in between, and at each one after it."""
    assert row_model(policy, script) == trips(policy, script)


HALF: Final = FailureRatio(0.5, volume=4, seconds=10.0)


@given(policy=ratios, script=outcomes)
@example(policy=HALF, script=[(0, True), (0, False), (0, True), (0, True)])
@example(policy=HALF, script=[(0, True), (0, False), (0, True), (0, False), (0, True)])
@example(policy=HALF, script=[(0, True), (0, True), (0, True), (9.75, True)])
@example(policy=HALF, script=[(0, True), (0, True), (0, True), (10, True)])
@example(
    policy=FailureRatio(0.28, volume=25), script=[(0, False)] * 18 + [(0, True)] * 7
)  # as a float, 0.28 * 25 is more than 7
def test_a_ratio_trips(policy: FailureRatio, script: Outcomes) -> None:
    """At a failure that makes the ratio of the window reach the setting, volume given."""
    assert ratio_model(policy, script) == trips(policy, script)


def first(said: list[bool]) -> int:
    return said.index(True) if True in said else len(said)


others = st.sampled_from([Cusum(), Cusum(calls=7), LatencyZScore(), LatencyZScore(failures=2)])


@given(policy=rows | ratios | others, script=outcomes, data=st.data())
def test_a_failure_more_never_trips_later(
    policy: TripPolicy, script: Outcomes, data: st.DataObject
) -> None:
    """P-CB-4: a success that had been a failure trips at the same outcome or before."""
    place = data.draw(st.integers(0, len(script) - 1))
    worse = [*script[:place], (script[place][0], True), *script[place + 1 :]]

    assert first(trips(policy, worse)) <= first(trips(policy, script))


@given(
    policy=rows | others,
    script=outcomes,
    factor=st.sampled_from([0.0, 0.5, 1000.0]),
)
def test_failures_have_no_clock(policy: TripPolicy, script: Outcomes, factor: float) -> None:
    """P-CB-5: only the order of outcomes counts, whatever the rate."""
    assert trips(policy, script) == trips(policy, [(gap * factor, bad) for gap, bad in script])


@given(policy=ratios, bads=st.lists(st.booleans(), min_size=1, max_size=40))
def test_a_ratio_has_no_clock_within_its_window(policy: TripPolicy, bads: list[bool]) -> None:
    """P-CB-5: nor has a ratio, as long as nothing leaves the window."""
    at_once = [(0.0, bad) for bad in bads]
    spread = [(0.05, bad) for bad in bads]

    assert trips(policy, at_once) == trips(policy, spread)


POLICIES: Final = {
    "row": ConsecutiveFailures(3),
    "ratio": HALF,
    "cusum": Cusum(calls=1000),
    "z-score": LatencyZScore(failures=3),
}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=list(POLICIES))
def test_reset_forgets(policy: TripPolicy) -> None:
    """After a reset a detector says what a new one says."""
    detector = policy.detector()
    script = [True] * 6
    before = [says(detector, 1.0, bad=bad) for bad in script]
    detector.reset()

    assert before == [says(detector, 1.0, bad=bad) for bad in script]
    assert before == trips(policy, [(0.0, bad) for bad in script])


def test_one_success_clears_a_row() -> None:
    """P-CB-6: for a row that is one; F, S, F, S, F never trips."""
    assert [False] * 9 == trips(ConsecutiveFailures(2), [(0, n % 2 == 0) for n in range(9)])


Timed = list[tuple[float, float | None]]

#: Seconds since the one before, and how long it took: None is a failure.
timed = st.lists(
    st.tuples(
        st.integers(0, 40).map(lambda n: n / 4), st.sampled_from([0.5, 1.0, 1.25, 4.0, 4.0, None])
    ),
    min_size=1,
    max_size=40,
)
slow_ratios = st.builds(
    FailureRatio,
    st.just(1.0),
    volume=st.integers(1, 5),
    seconds=st.sampled_from([10.0, 40.0]),
    slow_after=st.just(1.0),
    slow_ratio=st.sampled_from([0.3, 0.5, 1.0]),
)


def slow_model(policy: FailureRatio, script: Timed) -> list[str]:
    """The documentation: what is said of good calls, each time from the whole past."""
    tenth, now, past, said = policy.seconds / 10, 0.0, list[tuple[float, bool]](), [""]
    for gap, took in script:
        now += gap
        if took is None:
            continue
        past.append((now, took > 1.0))
        slows = [slow for at, slow in past if now // tenth - at // tenth < 10]
        many = sum(slows) / len(slows) >= policy.slow_ratio
        was = "trip" == next(filter(None, reversed(said)), "")
        begins = not was and slows[-1] and many and len(slows) >= policy.volume
        said.append("trip" if begins else "calm" if was and not slows[-1] and not many else "")
    return said[1:]


TRIPS: Final = FailureRatio(1.0, volume=2, seconds=10.0, slow_after=1.0, slow_ratio=0.5)


@given(policy=slow_ratios, script=timed)
@example(policy=TRIPS, script=[(0, 4.0), (0, 0.5), (0, 4.0), (0, 0.5), (0, 0.5)])
@example(policy=TRIPS, script=[(0, 4.0), (0, None), (0, 4.0)])
@example(policy=TRIPS, script=[(0, 4.0), (0, 4.0), (10, 4.0), (10, 0.5), (0, 4.0)])
@example(policy=TRIPS, script=[(0, 4.0), (0, 4.0), (5, 0.5), (0, 0.5), (5, 4.0)])
def test_a_ratio_of_slow_calls(policy: FailureRatio, script: Timed) -> None:
    """Slowness begins at a slow call, volume given, and ends at a quick one, at any volume."""
    detector, now, said = policy.detector(), 0.0, []
    for gap, took in script:
        now += gap
        answer = detector.add(now, Sample(took is None, took))
        if took is not None:
            said.append(answer)

    kinds = {Trip: "trip", Calm: "calm", type(None): ""}
    assert slow_model(policy, script) == [kinds[type(each)] for each in said]
    assert all(each.slow_only for each in said if isinstance(each, Trip))


def test_slowness_says_its_numbers() -> None:
    """In the reason, both when it begins and when it ends."""
    detector = TRIPS.detector()
    said = [detector.add(0.0, Sample(bad=False, seconds=took)) for took in (4, 4, 0.5, 0.5, 1.0)]

    assert [
        None,
        Trip("2 of 2 good calls took longer than 1 s", slow_only=True),
        *[None, None],
        Calm("2 of 5 good calls took longer than 1 s"),
    ] == said


def test_without_a_bound_nothing_is_slow() -> None:
    """Nor is what took an unknown time, or, after a reset, what was."""
    slow = [Sample(bad=False, seconds=3600.0)] * 12
    unbound, bound = FailureRatio().detector(), FailureRatio(slow_after=1.0).detector()

    assert not any(unbound.add(0.0, sample) for sample in slow)
    assert not any(bound.add(0.0, Sample(bad=False)) for _ in slow)
    assert [9] == [n for n, sample in enumerate(slow) if bound.add(0.0, sample)]
    bound.reset()
    assert [9] == [n for n, sample in enumerate(slow) if bound.add(0.0, sample)]


WRONG: Final[list[tuple[type[TripPolicy], str, float]]] = [
    (ConsecutiveFailures, "failures", 0),
    (FailureRatio, "ratio", 0.0),
    (FailureRatio, "ratio", 1.1),
    (FailureRatio, "volume", 0),
    (FailureRatio, "seconds", 0.0),
    (FailureRatio, "slow_after", 0.0),
    (FailureRatio, "slow_ratio", 0.0),
    (FailureRatio, "slow_ratio", 1.1),
    (Cusum, "calls", 1),
    (Cusum, "floor", -0.1),
    (Cusum, "relearn", 0.0),
    (LatencyZScore, "z", 0.0),
    (LatencyZScore, "row", 0),
    (LatencyZScore, "least", 1),
    (LatencyZScore, "history", 1),
    (LatencyZScore, "floor", -0.1),
    (LatencyZScore, "failures", 0),
]


@pytest.mark.parametrize(
    ("policy", "field", "value"),
    WRONG,
    ids=[f"{policy.__name__}-{field}-{value}" for policy, field, value in WRONG],
)
def test_bad_settings_name_the_field(policy: type[TripPolicy], field: str, value: float) -> None:
    """Each at the place where it is written."""
    with pytest.raises(ValueError, match=field):
        policy(**{field: value})


def test_settings_may_be_small() -> None:
    """What is above the bound is no less right for being close to it."""
    assert 0.5 == FailureRatio(seconds=0.5).seconds
    assert 0.5 == Cusum(relearn=0.5).relearn
    assert 2 == Cusum(calls=2).calls


def test_what_is_not_said() -> None:
    """A sample without a name has none, and calm is not learned anew."""
    assert "" == Sample(bad=True).what
    assert Calm("quick", relearned=False) == Calm("quick")


def test_defaults() -> None:
    """What a user gets who says nothing."""
    assert 5 == ConsecutiveFailures().failures
    assert FailureRatio(0.5, volume=10, seconds=30.0, slow_after=None) == FailureRatio()
    assert 0.5 == FailureRatio().slow_ratio
    assert Cusum(calls=500_000, slow=True, floor=0.1, relearn=600.0) == Cusum()
    assert LatencyZScore(2.5, row=3, least=30, history=1000, floor=0.1) == LatencyZScore()
    assert 5 == LatencyZScore().failures
