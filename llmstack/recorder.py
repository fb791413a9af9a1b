"""Where numbers go: a small protocol for metrics, and a recorder that keeps them in memory.

A layer asks once for each series it writes and keeps what it gets, so that recording is
one call with one number.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Final, Protocol, final

from attrs import define, field


__all__ = ["SECONDS", "Add", "Counter", "Histogram", "MemoryRecorder", "Recorder"]

#: Adds to a counter, or one observation to a histogram.
Add = Callable[[float], None]

#: Upper bounds of buckets, in seconds: from a cache hit to a long generation.
SECONDS: Final = (
    0.01,
    0.02,
    0.04,
    0.08,
    0.16,
    0.32,
    0.64,
    1.28,
    2.56,
    5.12,
    10.24,
    20.48,
    40.96,
    81.92,
)


class Recorder(Protocol):
    """Makes series; the same name and labels give the same series."""

    def counter(self, name: str, says: str, labels: Mapping[str, str], /) -> Add:
        """Return how to add to the counter *name*; *says* is its help text."""
        ...

    def histogram(self, name: str, says: str, labels: Mapping[str, str], /) -> Add:
        """Return how to observe in the histogram *name*, in the buckets of `SECONDS`."""
        ...


@final
@define(eq=False)
class Histogram:
    """Counts by bucket; the last one is for what is above all bounds."""

    buckets: list[int] = field(factory=lambda: [0] * (len(SECONDS) + 1), init=False)
    total: float = field(default=0.0, init=False)

    def add(self, value: float) -> None:
        """Count *value* in its bucket."""
        self.buckets[bisect_left(SECONDS, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many were observed."""
        return sum(self.buckets)


@final
@define(eq=False)
class Counter:
    """A number that grows."""

    value: float = 0.0

    def add(self, amount: float) -> None:
        """Let it grow by *amount*."""
        self.value += amount


_Key = tuple[str, tuple[tuple[str, str], ...]]


def _key(name: str, labels: Mapping[str, str]) -> _Key:
    return name, tuple(sorted(labels.items()))


@final
@define(eq=False)
class MemoryRecorder:
    """Keeps all series in memory, for tests and for programs without a metrics system.

    >>> recorder = MemoryRecorder()
    >>> recorder.counter("calls", "Calls.", {"endpoint": "eu"})(1)
    >>> recorder.value("calls", {"endpoint": "eu"})
    1.0
    """

    counters: dict[_Key, Counter] = field(factory=dict, init=False)
    histograms: dict[_Key, Histogram] = field(factory=dict, init=False)

    def counter(self, name: str, _says: str, labels: Mapping[str, str], /) -> Add:
        """Return how to add to the counter."""
        return self.counters.setdefault(_key(name, labels), Counter()).add

    def histogram(self, name: str, _says: str, labels: Mapping[str, str], /) -> Add:
        """Return how to observe in the histogram."""
        return self.histograms.setdefault(_key(name, labels), Histogram()).add

    def value(self, name: str, labels: Mapping[str, str]) -> float:
        """Return the counter with these labels; 0 if nothing was ever added."""
        counter = self.counters.get(_key(name, labels))
        return 0.0 if counter is None else counter.value
