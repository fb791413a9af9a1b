from __future__ import annotations

from math import exp, log
from statistics import fmean, pstdev
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.estimators.trip import Calm, Detector, Sample, Trip
from llmstack.estimators.z_score import LatencyZScore


def play(detector: Detector, times: list[float]) -> list[Trip | Calm | None]:
    return [detector.add(0.0, Sample(bad=False, seconds=seconds)) for seconds in times]


def model(policy: LatencyZScore, times: list[float]) -> list[str]:
    """The documentation: each time against the list of those before it."""
    known, said = list[float](), list[str]()
    slows: list[bool] = []
    for seconds in times:
        x, window = log(max(seconds, 1e-6)), known[-max(policy.history, policy.least) :]
        limit = float("inf")
        if len(window) >= policy.least:
            limit = fmean(window) + policy.z * max(0.1, pstdev(window))
            limit = max(limit, log(policy.floor))
        slows.append(x > limit)
        known.append(min(x, limit))
        was = next((each for each in reversed(said) if each), "quick")
        last = slows[-policy.row :]
        said.append("")
        if len(last) == policy.row and was != "slow" and all(last):
            said[-1], slows = "slow", []
        elif len(last) == policy.row and was == "slow" and not any(last):
            said[-1], slows = "quick", []
    return said


times = st.lists(
    st.sampled_from([0.0, 0.01, 0.9, 1.0, 1.1, 1.25, 1.5, 5.0, 5.0, 50.0]), max_size=40
)


@given(
    policy=st.builds(
        LatencyZScore,
        st.sampled_from([1.0, 2.5]),
        row=st.integers(1, 3),
        least=st.integers(2, 8),
        history=st.integers(2, 12),
        floor=st.sampled_from([0.1, 1.2]),
    ),
    times=times,
)
@example(policy=LatencyZScore(least=5, row=2), times=[1.0] * 6 + [5.0] * 2 + [1.0] * 3 + [5.0])
@example(policy=LatencyZScore(least=5, row=1), times=[1.0] * 5 + [5.0] * 30)
@example(policy=LatencyZScore(least=5, history=2, row=1), times=[1.0] * 5 + [5.0])
@example(policy=LatencyZScore(least=5, row=2), times=[1.0] * 5 + [5.0, 1.0] * 5)
@example(policy=LatencyZScore(least=3, row=1, floor=1.2), times=[0.01] * 3 + [1.0, 1.25])
@example(policy=LatencyZScore(least=3, row=1, floor=1.2), times=[0.01] * 3 + [1.2])
def test_follows_the_model(policy: LatencyZScore, times: list[float]) -> None:
    """Slow, and quick again, at the same calls, whatever they take."""
    kinds = {Trip: "slow", Calm: "quick", type(None): ""}

    assert model(policy, times) == [kinds[type(each)] for each in play(policy.detector(), times)]


#: The baseline of twenty calls, in seconds.
TWENTY: Final = [0.1 + n / 2000 for n in range(20)]


@pytest.mark.parametrize(("seconds", "slow"), [(0.5, True), (0.105, False)], ids=["500", "105"])
def test_an_anomaly_of_twenty(seconds: float, slow: bool) -> None:  # noqa: FBT001
    """CB-8, mended: the same two calls, after enough of them, on a logarithmic scale."""
    detector = LatencyZScore(least=20, row=1).detector()
    before, said = play(detector, TWENTY), play(detector, [seconds])

    assert not any(before)
    assert slow == any(said)


@pytest.mark.parametrize(("row", "words"), [(1, "1 good call"), (2, "2 good calls")])
def test_so_many_in_a_row_are_said(row: int, words: str) -> None:
    """In words that fit."""
    said = play(LatencyZScore(row=row).detector(), [0.1] * 30 + [0.5] * row)

    trip = said[-1]
    assert isinstance(trip, Trip)
    assert trip.reason.startswith(f"{words} in a row took longer than 0.1")


def test_one_failure_may_be_enough() -> None:
    """If the settings say so."""
    assert LatencyZScore(failures=1).detector().add(0.0, Sample(bad=True))


def test_one_call_is_no_trip_and_three_are() -> None:
    """CB-2, mended: an outlier after a good baseline is one slow call."""
    detector = LatencyZScore().detector()
    said = play(detector, [0.1] * 30 + [0.5, 0.1, 0.5, 0.5, 0.5, *[0.1] * 3])

    assert [34, 37] == [n for n, each in enumerate(said) if each]
    assert Trip("3 good calls in a row took longer than 0.131 s", slow_only=True) == said[34]
    assert Calm("3 good calls in a row took no longer than 0.132 s") == said[37]


def test_nothing_is_slow_before_there_are_enough() -> None:
    """W-LK-16: of seven calls none could be 2.5 deviations from their own average; so thirty."""
    few, enough = LatencyZScore(row=1).detector(), LatencyZScore(row=1).detector()

    assert not any(play(few, [*[1.0] * 29, 1000.0]))
    assert play(enough, [*[1.0] * 30, 1000.0])[-1]


def test_what_stays_slow_becomes_usual() -> None:
    """Each slow call enters as the slowest that is not: the baseline follows, step by step."""
    detector = LatencyZScore(history=100).detector()
    said = [each for each in play(detector, [1.0] * 100 + [3.0] * 100) if each]

    assert [Trip, Calm] == [type(each) for each in said]


def test_an_outlier_does_not_hide_the_next() -> None:
    """A thousand times as slow, it moves what is usual by no more than a slow one does."""
    one, other = LatencyZScore(row=2).detector(), LatencyZScore(row=2).detector()
    huge, large = play(one, [1.0] * 30 + [1e3, 1.6]), play(other, [1.0] * 30 + [1.4, 1.6])

    assert huge == large
    assert huge[-1]


def test_failures_in_a_row_trip_for_themselves() -> None:
    """A good call in between begins anew, failures have no time, and some calls none either."""
    policy = LatencyZScore(failures=3, row=1, least=2)
    detector, bad, good = policy.detector(), Sample(bad=True), Sample(bad=False)
    said = [detector.add(0.0, each) for each in (bad, bad, good, bad, bad, bad, bad)]

    assert [None] * 5 + [Trip()] * 2 == said
    detector.reset()
    assert [None, None] == [detector.add(0.0, each) for each in (bad, bad)]
    assert [None, None, None] == play(detector, [1.0, 1.0, 1.0])


def test_a_closed_circuit_begins_anew_and_knows_what_is_usual() -> None:
    """A reset ends the slowness and its count, not the memory of the times."""
    detector = LatencyZScore(least=20, row=2).detector()
    before = play(detector, [*[1.0] * 20, 5.0])
    detector.reset()
    then = play(detector, [5.0, 5.0])
    detector.reset()
    after = play(detector, [5.0, 5.0])

    assert not any(before)
    assert [False, True] * 2 == [bool(each) for each in then + after]


def test_sums_forget_what_the_window_forgets() -> None:
    """W-LK-19: after twenty thousand calls, the bound is that of the last ten."""
    detector = LatencyZScore(least=10, history=10, row=1).detector()
    play(detector, [0.5, 1.0, 2.0, 4.0, 8.0] * 4_000)
    window = [log(2**n) for n in range(-1, 4)]
    bound = exp(fmean(window) + 2.5 * pstdev(window))

    assert [None] == play(detector, [bound * 0.999])
    play(detector, [0.5, 1.0, 2.0, 4.0, 8.0] * 2)
    assert [True] == [bool(each) for each in play(detector, [bound * 1.001])]
