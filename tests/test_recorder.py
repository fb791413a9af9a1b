"""Numbers in memory: counters that add up, and buckets against a count by hand."""

from __future__ import annotations

from itertools import pairwise
from math import inf, nextafter
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.recorder import SECONDS, Histogram, MemoryRecorder, Recorder


BOUNDS: Final = [*SECONDS, inf]
edges = st.sampled_from(SECONDS).flatmap(
    lambda bound: st.sampled_from([nextafter(bound, 0), bound, nextafter(bound, inf)])
)


@given(st.lists(st.floats(0, 200) | edges, max_size=30))
@example([0.0, 0.01, 81.92, nextafter(81.92, inf), 1e9])
def test_a_bucket_has_what_is_up_to_its_bound(values: list[float]) -> None:
    """And above the bound before it: a value that is a bound is below it, as in Prometheus."""
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    up_to = [sum(value <= bound for value in values) for bound in BOUNDS]

    assert up_to == [sum(histogram.buckets[: n + 1]) for n in range(len(BOUNDS))]
    assert len(values) == histogram.count
    assert pytest.approx(sum(values)) == histogram.total


def test_the_bounds_double() -> None:
    """So that the error of a quantile is the same everywhere; they are a contract with boards."""
    assert (0.01, 81.92, 14) == (SECONDS[0], SECONDS[-1], len(SECONDS))
    assert [2.0] * 13 == [pytest.approx(b / a) for a, b in pairwise(SECONDS)]


names = st.sampled_from(["calls", "tokens"])
labels = st.dictionaries(st.sampled_from(["endpoint", "how"]), st.sampled_from("ab"))


@given(st.lists(st.tuples(names, labels, st.integers(0, 9), st.booleans())))
def test_a_series_is_its_name_and_labels(
    added: list[tuple[str, dict[str, str], int, bool]],
) -> None:
    """Asked for again it is the same one, in whatever order its labels are given."""
    recorder = MemoryRecorder()
    totals: dict[tuple[str, frozenset[tuple[str, str]]], int] = {}
    for name, given_labels, amount, turned in added:
        items = list(given_labels.items())[:: -1 if turned else 1]
        recorder.counter(name, "Help.", dict(items))(amount)
        recorder.histogram(name, "Help.", dict(items))(amount)
        key = name, frozenset(given_labels.items())
        totals[key] = totals.get(key, 0) + amount

    assert totals == {key: recorder.value(key[0], dict(key[1])) for key in totals}
    assert sorted(totals.values()) == sorted(h.total for h in recorder.histograms.values())
    assert len(added) == sum(h.count for h in recorder.histograms.values())
    assert 0.0 == recorder.value("never", {})


def test_it_is_a_recorder() -> None:
    """As the protocol says, for mypy and for who reads."""
    recorder: Recorder = MemoryRecorder()
    add = recorder.counter("calls", "Calls.", {})
    add(0.5)
    add(1.0)

    assert isinstance(recorder, MemoryRecorder)
    assert 1.5 == recorder.value("calls", {})
