"""The recorder for Prometheus, against the one in memory and the client's own parser."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from llmstack.errors import ConfigError
from llmstack.integrations.prometheus import PrometheusRecorder
from llmstack.recorder import SECONDS, MemoryRecorder


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(recorder: PrometheusRecorder) -> Samples:
    """All that is rendered, as the client's own parser reads it."""
    families = text_string_to_metric_families(recorder.render().decode())
    return {(s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples}


def key(name: str, labels: Mapping[str, str]) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


label = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
amounts = st.lists(
    st.tuples(st.sampled_from(["a_total", "b_total"]), label, st.integers(0, 99)), max_size=20
)


@given(amounts)
def test_counters_are_those_of_the_recorder_in_memory(added: list[tuple[str, str, int]]) -> None:
    """Whatever the labels are, quotes and line ends too, and in whichever order they come."""
    memory, recorder = MemoryRecorder(), PrometheusRecorder()
    for n, (name, value, amount) in enumerate(added):
        labels = {"endpoint": value, "how": "ok"}
        turned = dict(reversed(labels.items())) if n % 2 else labels
        for each in (memory, recorder):
            each.counter(name, "Says.", turned)(amount)

    expected = {(n, frozenset(labels)): c.value for (n, labels), c in memory.counters.items()}
    assert expected == samples(recorder)


@given(st.lists(st.floats(0, 100) | st.sampled_from(SECONDS), max_size=20))
def test_histograms_are_those_of_the_recorder_in_memory(observed: list[float]) -> None:
    """Prometheus adds buckets up; a value on a bound counts below it in both."""
    memory, recorder = MemoryRecorder(), PrometheusRecorder()
    for value in observed:
        memory.histogram("s", "Says.", {"endpoint": "eu"})(value)
        recorder.histogram("s", "Says.", {"endpoint": "eu"})(value)
    if not observed:
        assert {} == samples(recorder)
        return

    (histogram,) = memory.histograms.values()
    found = samples(recorder)
    for n, bound in enumerate([*SECONDS, float("inf")]):
        le = "+Inf" if bound == float("inf") else str(bound)
        expected = sum(histogram.buckets[: n + 1])
        assert expected == found[key("s_bucket", {"endpoint": "eu", "le": le})]
    assert histogram.count == found[key("s_count", {"endpoint": "eu"})]
    assert histogram.total == pytest.approx(found[key("s_sum", {"endpoint": "eu"})])
    assert len(SECONDS) + 3 == len(found)


def test_series_without_labels() -> None:
    """There is one of each."""
    recorder = PrometheusRecorder()
    recorder.counter("calls_total", "Calls.", {})(3)
    recorder.histogram("seconds", "Time.", {})(1)

    found = samples(recorder)
    assert 3 == found[key("calls_total", {})]
    assert 1 == found[key("seconds_count", {})]


def test_the_text_is_that_of_the_format() -> None:
    """Help and type stand above, and there are no dates of birth."""
    recorder = PrometheusRecorder()
    recorder.counter("calls_total", "Calls.", {"endpoint": "eu"})(1)

    assert [
        "# HELP calls_total Calls.",
        "# TYPE calls_total counter",
        'calls_total{endpoint="eu"} 1.0',
    ] == recorder.render().decode().splitlines()


def test_two_recorders_do_not_mix() -> None:
    """The registry is not the process-wide one."""
    one, other = PrometheusRecorder(), PrometheusRecorder()
    one.counter("calls_total", "Calls.", {})(1)
    other.counter("calls_total", "Calls.", {})(5)

    assert (1, 5) == (samples(one)[key("calls_total", {})], samples(other)[key("calls_total", {})])


def test_a_name_stands_for_one_metric() -> None:
    """Other labels, or another kind, are a mistake that says what was there before."""
    recorder = PrometheusRecorder()
    recorder.counter("calls_total", "Calls.", {"how": "ok", "endpoint": "eu"})

    with pytest.raises(ConfigError, match="is a counter by endpoint, how, and not a counter by no"):
        recorder.counter("calls_total", "Calls.", {})
    with pytest.raises(ConfigError, match="and not a histogram by endpoint, how"):
        recorder.histogram("calls_total", "Calls.", {"endpoint": "eu", "how": "ok"})
