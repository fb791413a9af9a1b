from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.estimators.trip import ConsecutiveFailures, FailureRatio, TripPolicy


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


def trips(policy: TripPolicy, script: Outcomes) -> list[bool]:
    """What a new detector says to each outcome."""
    detector, now, said = policy.detector(), 0.0, []
    for gap, bad in script:
        now += gap
        said.append(detector.add(now, bad=bad))
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


@given(policy=rows | ratios, script=outcomes, data=st.data())
def test_a_failure_more_never_trips_later(
    policy: TripPolicy, script: Outcomes, data: st.DataObject
) -> None:
    """P-CB-4: a success that had been a failure trips at the same outcome or before."""
    place = data.draw(st.integers(0, len(script) - 1))
    worse = [*script[:place], (script[place][0], True), *script[place + 1 :]]

    assert first(trips(policy, worse)) <= first(trips(policy, script))


@given(
    policy=st.builds(ConsecutiveFailures, st.integers(1, 6)),
    script=outcomes,
    factor=st.sampled_from([0.0, 0.5, 1000.0]),
)
def test_a_row_has_no_clock(policy: TripPolicy, script: Outcomes, factor: float) -> None:
    """P-CB-5: only the order of outcomes counts, whatever the rate."""
    assert trips(policy, script) == trips(policy, [(gap * factor, bad) for gap, bad in script])


@given(policy=ratios, bads=st.lists(st.booleans(), min_size=1, max_size=40))
def test_a_ratio_has_no_clock_within_its_window(policy: TripPolicy, bads: list[bool]) -> None:
    """P-CB-5: nor has a ratio, as long as nothing leaves the window."""
    at_once = [(0.0, bad) for bad in bads]
    spread = [(0.05, bad) for bad in bads]

    assert trips(policy, at_once) == trips(policy, spread)


@pytest.mark.parametrize("policy", [ConsecutiveFailures(3), HALF], ids=["row", "ratio"])
def test_reset_forgets(policy: TripPolicy) -> None:
    """After a reset a detector says what a new one says."""
    detector = policy.detector()
    script = [True] * 6
    before = [detector.add(1.0, bad=bad) for bad in script]
    detector.reset()

    assert before == [detector.add(1.0, bad=bad) for bad in script]
    assert before == trips(policy, [(0.0, bad) for bad in script])


def test_one_success_clears_a_row() -> None:
    """P-CB-6: for a row that is one; F, S, F, S, F never trips."""
    assert [False] * 9 == trips(ConsecutiveFailures(2), [(0, n % 2 == 0) for n in range(9)])


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: ConsecutiveFailures(0), "failures"),
        (lambda: FailureRatio(0.0), "ratio"),
        (lambda: FailureRatio(1.1), "ratio"),
        (lambda: FailureRatio(volume=0), "volume"),
        (lambda: FailureRatio(seconds=0.0), "seconds"),
    ],
    ids=["failures", "ratio too small", "ratio too large", "volume", "seconds"],
)
def test_bad_settings_name_the_field(make: Callable[[], TripPolicy], field: str) -> None:
    """Each at the place where it is written."""
    with pytest.raises(ValueError, match=field):
        make()


def test_defaults() -> None:
    """What a user gets who says nothing."""
    assert 5 == ConsecutiveFailures().failures
    assert FailureRatio(0.5, volume=10, seconds=30.0) == FailureRatio()
