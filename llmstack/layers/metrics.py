"""Metrics: calls, time, tokens and money, by endpoint.

Put one above the router to see what callers see, and one directly below it to see every
attempt; above a router there is no endpoint and the label is empty. A stream is counted
when it is over. Refusals are counted, but their time is not.

Series: ``llmstack_calls_total`` by endpoint, how it ended, and error class;
``llmstack_call_seconds`` and ``llmstack_first_content_seconds`` by endpoint, of calls that
got content; ``llmstack_tokens_total`` by endpoint and kind; ``llmstack_cost_usd_total``.
Errors: none; a recorder that raises changes no call, and how often it did is counted.
Events: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import ClassVar, Final, Generic, final

from attrs import define, field, frozen

from llmstack import clock
from llmstack.call import Outcome
from llmstack.keyed import Keyed
from llmstack.recorder import Add, Recorder
from llmstack.service import Req, Resp, Service, by_endpoint, observe


__all__ = ["Metrics", "MetricsService", "Series"]

_BY_ENDPOINT: Final = ("endpoint",)
#: What is counted: the name of the series, its help text, its labels.
_COUNTERS: Final[Mapping[str, tuple[str, str, tuple[str, ...]]]] = MappingProxyType(
    {
        "calls": ("llmstack_calls_total", "Calls that ended.", ("endpoint", "how", "error")),
        "tokens": ("llmstack_tokens_total", "Tokens of replies.", ("endpoint", "kind")),
        "cost": ("llmstack_cost_usd_total", "Cost of replies in USD.", _BY_ENDPOINT),
    }
)
_HISTOGRAMS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "call": ("llmstack_call_seconds", "Time of calls that got content."),
        "first_content": ("llmstack_first_content_seconds", "Time to the first content."),
    }
)


@final
@define(eq=False)
class Series:
    """The machine: the series of one key, each asked for when it first gets a number."""

    recorder: Recorder
    idle: bool = field(default=True, init=False)
    calls: int = field(default=0, init=False)
    lost: int = field(default=0, init=False)
    _made: dict[tuple[str, ...], Add] = field(factory=dict, init=False, repr=False)

    def settle(self, endpoint: str, started: float, outcome: Outcome, /) -> None:
        """Record how a call ended; *lost* counts those that the recorder did not take."""
        self.calls += 1
        try:
            self._record(endpoint, started, outcome)
        except Exception:  # noqa: BLE001 -- a recorder must not decide how a call ends
            self.lost += 1

    def _record(self, endpoint: str, started: float, outcome: Outcome) -> None:
        error = type(outcome.error).__name__ if outcome.error is not None else ""
        self._add(("calls", outcome.how, error), endpoint, 1.0)
        if outcome.first is not None:
            self._add(("call",), endpoint, outcome.ended - started)
            self._add(("first_content",), endpoint, outcome.first - started)
        usage = outcome.usage
        if usage is not None:
            self._add(("tokens", "input"), endpoint, usage.input)
            self._add(("tokens", "cached"), endpoint, usage.cached)
            self._add(("tokens", "output"), endpoint, usage.output)
        if outcome.cost is not None:
            self._add(("cost",), endpoint, outcome.cost)

    def _add(self, series: tuple[str, ...], endpoint: str, amount: float) -> None:
        """Add to *series*: what is counted, and the values of its labels but the endpoint."""
        add = self._made.get(series)
        if add is None:
            add = self._made[series] = self._make(series, endpoint)
        add(amount)

    def _make(self, series: tuple[str, ...], endpoint: str) -> Add:
        what, *labels = series
        if what in _HISTOGRAMS:
            name, says = _HISTOGRAMS[what]
            return self.recorder.histogram(name, says, {"endpoint": endpoint})
        name, says, names = _COUNTERS[what]
        given = dict(zip(names, (endpoint, *labels), strict=True))
        return self.recorder.counter(name, says, given)


@final
@frozen
class Metrics:
    """Count calls, time, tokens and cost by endpoint, in *recorder*.

    >>> from llmstack.recorder import MemoryRecorder
    >>> Metrics(MemoryRecorder())
    Metrics()
    """

    recorder: Recorder = field(repr=False)

    role: ClassVar[str] = "metrics"

    def __call__(self, inner: Service[Req, Resp], /) -> MetricsService[Req, Resp]:
        """Wrap *inner*."""
        return MetricsService(inner, Keyed(partial(Series, self.recorder)))


@final
@define(eq=False)
class MetricsService(Generic[Req, Resp]):
    """The shell: note the start, observe."""

    inner: Service[Req, Resp]
    series: Keyed[Series]

    async def __call__(self, request: Req, /) -> Resp:
        """Call the inner service and record how it ends."""
        endpoint = by_endpoint(request) or ""
        started = clock.now()
        settle = self.series(endpoint).settle
        return await observe(
            self.inner, request, lambda outcome: settle(endpoint, started, outcome)
        )

    def statistics(self) -> dict[object, dict[str, int]]:
        """Return how many calls ended, and how many the recorder did not take, by endpoint."""
        return {
            endpoint: {"calls": series.calls, "lost": series.lost}
            for endpoint, series in self.series.items()
        }
