"""Metrics for Prometheus: a recorder for the `Metrics` layer, and the text of its series.

The registry is the recorder's own, so two in one process do not mix, and nothing is there
but what layers recorded. Give one recorder to all stacks of a program. A name stands for
one metric: it comes with the same labels each time. Needs ``prometheus-client``, which the
extra ``gateway`` brings.

Errors: `ConfigError`, for a name that comes again as something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import final

from attrs import define, field, frozen
from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client.registry import Collector

from llmstack.errors import ConfigError
from llmstack.recorder import SECONDS, Add


__all__ = ["PrometheusRecorder"]


@final
@frozen
class _Undated(Collector):
    """What a registry has, without the moment at which each series was made."""

    registry: CollectorRegistry

    def collect(self) -> Iterator[Metric]:
        for metric in self.registry.collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
            yield metric


@final
@define(eq=False)
class PrometheusRecorder:
    """Makes series in a registry of its own; `render` gives them as text.

    >>> recorder = PrometheusRecorder()
    >>> recorder.counter("calls_total", "Calls.", {"endpoint": "eu"})(2)
    >>> print(recorder.render().decode().splitlines()[2])
    calls_total{endpoint="eu"} 2.0
    """

    registry: CollectorRegistry = field(factory=CollectorRegistry, init=False, repr=False)
    _counters: dict[str, Counter] = field(factory=dict, init=False, repr=False)
    _histograms: dict[str, Histogram] = field(factory=dict, init=False, repr=False)
    _known: dict[str, tuple[str, ...]] = field(factory=dict, init=False, repr=False)

    def counter(self, name: str, says: str, labels: Mapping[str, str], /) -> Add:
        """Return how to add to the counter *name*, which ends in ``_total``."""
        self._check(name, "counter", labels)
        counter = self._counters.get(name)
        if counter is None:
            counter = self._counters[name] = Counter(name, says, labels, registry=self.registry)
        return (counter.labels(**labels) if labels else counter).inc

    def histogram(self, name: str, says: str, labels: Mapping[str, str], /) -> Add:
        """Return how to observe in the histogram *name*, in the buckets of `SECONDS`."""
        self._check(name, "histogram", labels)
        found = self._histograms.get(name)
        if found is None:
            found = Histogram(name, says, labels, buckets=SECONDS, registry=self.registry)
            self._histograms[name] = found
        return (found.labels(**labels) if labels else found).observe

    def render(self) -> bytes:
        """Return all series in the text format; a thread may do it while others record."""
        return generate_latest(_Undated(self.registry))

    def _check(self, name: str, kind: str, labels: Mapping[str, str]) -> None:
        now = (kind, *sorted(labels))
        before = self._known.setdefault(name, now)
        if now != before:
            raise ConfigError(f"{name} is a {_in_words(before)}, and not a {_in_words(now)}")


def _in_words(known: tuple[str, ...]) -> str:
    kind, *labels = known
    return f"{kind} by {', '.join(labels) or 'nothing'}"
