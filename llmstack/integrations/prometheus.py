"""Metrics for Prometheus: a recorder for the `Metrics` layer, and the text of its series.

A recorder keeps plain numbers, which become metrics of ``prometheus-client`` when somebody
asks for them: to add to one of its own counters costs six times as much. Two recorders in
one process do not mix, and nothing is there but what layers recorded. Give one recorder to
all stacks of a program. A name stands for one metric: it comes with the same labels each
time. Needs ``prometheus-client``, which the extra ``gateway`` brings.

Errors: `ConfigError`, for a name that comes again as something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Final, final

from attrs import define, field
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from llmstack.errors import ConfigError
from llmstack.recorder import SECONDS, Add, Counter, Histogram


__all__ = ["PrometheusRecorder"]

_BOUNDS: Final = (*map(str, SECONDS), "+Inf")
#: The values of the labels, in the order of the family.
_Values = tuple[str, ...]


@final
@define(eq=False)
class _Family:
    """All series of one name; *labels* are sorted."""

    name: str
    says: str
    kind: str
    labels: tuple[str, ...]
    counters: dict[_Values, Counter] = field(factory=dict, init=False)
    histograms: dict[_Values, Histogram] = field(factory=dict, init=False)

    def values(self, labels: Mapping[str, str]) -> _Values:
        """Return what tells a series from the others."""
        return tuple(labels[name] for name in self.labels)

    def metric(self) -> Metric:
        """Return the numbers as they are now; other threads may go on counting."""
        if self.kind == "counter":
            counters = CounterMetricFamily(self.name, self.says, labels=self.labels)
            for values, counter in self.counters.copy().items():
                counters.add_metric(values, counter.value)
            return counters
        histograms = HistogramMetricFamily(self.name, self.says, labels=self.labels)
        for values, histogram in self.histograms.copy().items():
            # Copied, so that the last bucket and the count are the same number.
            upto = accumulate(histogram.buckets.copy())
            histograms.add_metric(values, list(zip(_BOUNDS, upto, strict=True)), histogram.total)
        return histograms


@final
@define(eq=False)
class PrometheusRecorder(Collector):
    """Keeps series; `render` gives them as text, and *registry* to what else can read one.

    >>> recorder = PrometheusRecorder()
    >>> recorder.counter("calls_total", "Calls.", {"endpoint": "eu"})(2)
    >>> print(recorder.render().decode().splitlines()[2])
    calls_total{endpoint="eu"} 2.0
    """

    registry: CollectorRegistry = field(factory=CollectorRegistry, init=False, repr=False)
    _families: dict[str, _Family] = field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.registry.register(self)

    def counter(self, name: str, says: str, labels: Mapping[str, str], /) -> Add:
        """Return how to add to the counter *name*, which ends in ``_total``."""
        family = self._family(name, says, "counter", labels)
        return family.counters.setdefault(family.values(labels), Counter()).add

    def histogram(self, name: str, says: str, labels: Mapping[str, str], /) -> Add:
        """Return how to observe in the histogram *name*, in the buckets of `SECONDS`."""
        family = self._family(name, says, "histogram", labels)
        return family.histograms.setdefault(family.values(labels), Histogram()).add

    def render(self) -> bytes:
        """Return all series in the text format; a thread may do it while others record."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, for the registry."""
        for family in self._families.copy().values():
            yield family.metric()

    def _family(self, name: str, says: str, kind: str, labels: Mapping[str, str]) -> _Family:
        now = _Family(name, says, kind, tuple(sorted(labels)))
        before = self._families.setdefault(name, now)
        if (before.kind, before.labels) != (now.kind, now.labels):
            raise ConfigError(f"{name} is a {_in_words(before)}, and not a {_in_words(now)}")
        return before


def _in_words(family: _Family) -> str:
    return f"{family.kind} by {', '.join(family.labels) or 'nothing'}"
