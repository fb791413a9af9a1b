"""Every ending once, under the right labels, in the right buckets."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from llmstack.builder import ServiceBuilder
from llmstack.call import Outcome, Usage
from llmstack.endpoint import Endpoint, Price
from llmstack.errors import ConcurrencyFull, ServerError
from llmstack.layers.metrics import Metrics, MetricsService, Series
from llmstack.layers.retry import Retry
from llmstack.messages import EventStream, Request, Response, dispatch
from llmstack.recorder import SECONDS, Add, MemoryRecorder
from llmstack.routers.round_robin import RoundRobin
from llmstack.testing.scripted import ENDINGS, ScriptedEvent, dispatched, stream_of, under_way
from llmstack.testing.virtual import run_virtual


CALLS: Final = "llmstack_calls_total"
CALL: Final = "llmstack_call_seconds"
FIRST: Final = "llmstack_first_content_seconds"
TOKENS: Final = "llmstack_tokens_total"
COST: Final = "llmstack_cost_usd_total"

#: How each of `ENDINGS` is counted: how, error, and whether content came.
TOLD: Final[Mapping[str, tuple[str, str, bool]]] = {
    "reply": ("ok", "", True),
    "error": ("failed", "ServerError", False),
    "cancel": ("cancelled", "CancelledError", False),
    "read": ("ok", "", True),
    "broken": ("failed", "StreamBroken", True),
    "closed": ("abandoned", "", True),
    "dropped": ("abandoned", "", True),
}


def told(recorder: MemoryRecorder) -> dict[tuple[str, ...], float]:
    """All counters: the name and the values of the labels in the order of their names."""
    return {
        (name, *(value for _, value in labels)): counter.value
        for (name, labels), counter in recorder.counters.items()
    }


def times(recorder: MemoryRecorder) -> dict[tuple[str, ...], tuple[int, float]]:
    """All histograms: how many, and their sum."""
    return {
        (name, *(value for _, value in labels)): (histogram.count, histogram.total)
        for (name, labels), histogram in recorder.histograms.items()
    }


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("request_", "label"), [(dispatched("eu"), "eu"), (Request(), ""), ("of another kind", "")]
)
def test_a_call_is_counted_when_it_is_over(ending: str, request_: object, label: str) -> None:
    """Once, however it ends; its time only if content came; above a router without a name."""
    recorder = MemoryRecorder()

    async def main() -> dict[object, dict[str, int]]:
        async with under_way(Metrics(recorder), request_, ending) as service:
            assert {} == recorder.counters
            assert {label: {"calls": 0, "lost": 0}} == service.statistics()
        assert isinstance(service, MetricsService)
        return service.statistics()

    counts = run_virtual(main())[0]

    how, error, content = TOLD[ending]
    assert {(CALLS, label, error, how): 1.0} == told(recorder)
    assert ({(CALL, label): (1, 0.0), (FIRST, label): (1, 0.0)} if content else {}) == times(
        recorder
    )
    assert {label: {"calls": 1, "lost": 0}} == counts
    assert TOLD.keys() == set(ENDINGS)


quarters = st.integers(0, 400).map(lambda n: n / 4)
outcomes = st.builds(
    lambda start, first, rest, how, usage, cost: (
        float(start),
        Outcome(
            start + (first or 0.0) + rest,
            how,
            ServerError() if how == "failed" else None,
            first=None if first is None else start + first,
            usage=usage,
            cost=cost,
        ),
    ),
    st.integers(0, 99),
    st.none() | quarters,
    quarters,
    st.sampled_from(["ok", "failed", "refused", "abandoned"]),
    st.none() | st.builds(Usage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
    st.none() | st.integers(0, 8).map(lambda n: n / 8),
)


@given(st.lists(st.tuples(st.sampled_from(["eu", "us"]), outcomes), max_size=20))
def test_the_series_are_sums_over_outcomes(ended: list[tuple[str, tuple[float, Outcome]]]) -> None:
    """Each by endpoint; a time in the bucket it belongs to; unknown is not counted as zero."""
    recorder = MemoryRecorder()
    series = {name: Series(recorder) for name in ("eu", "us")}
    counters: Counter[tuple[str, ...]] = Counter()
    seconds: dict[tuple[str, str], list[float]] = {}
    for name, (started, outcome) in ended:
        series[name].settle(name, started, outcome)
        error = "ServerError" if outcome.how == "failed" else ""
        counters[CALLS, name, error, outcome.how] += 1
        if outcome.first is not None:
            seconds.setdefault((CALL, name), []).append(outcome.ended - started)
            seconds.setdefault((FIRST, name), []).append(outcome.first - started)
        if outcome.usage is not None:
            for kind in ("input", "cached", "output"):
                counters[TOKENS, name, kind] += getattr(outcome.usage, kind)
        if outcome.cost is not None:
            counters[COST, name] += outcome.cost  # type: ignore[assignment]

    assert dict(counters) == told(recorder)
    assert {key: (len(each), sum(each)) for key, each in seconds.items()} == times(recorder)
    for (name, labels), histogram in recorder.histograms.items():
        buckets = [0] * (len(SECONDS) + 1)
        for value in seconds[name, labels[0][1]]:
            buckets[bisect_left(SECONDS, value)] += 1
        assert buckets == histogram.buckets
    assert Counter(name for name, _ in ended) == {n: s.calls for n, s in series.items() if s.calls}


def test_above_a_router_are_calls_and_below_it_attempts() -> None:
    """One call of a stream that two others have failed before; a refusal is an attempt as well."""
    above, below = MemoryRecorder(), MemoryRecorder()

    def acts(name: str) -> object:
        if name == "full":
            raise ConcurrencyFull
        if name == "down":
            raise ServerError
        stream = stream_of([3.0, ScriptedEvent()])
        stream.source.usage = Usage(1000, 10, 100)  # type: ignore[misc]
        return stream

    async def provider(request: Request) -> object:
        assert request.endpoint is not None
        await asyncio.sleep(0.5)
        return acts(request.endpoint.name)

    endpoints = [
        Endpoint(name, provider, price=Price(1, 10, 0.5)) for name in ("full", "down", "good")
    ]
    stack = (
        ServiceBuilder()
        .layer(Metrics(above))
        .layer(Retry(attempts=2))
        .layer(RoundRobin(endpoints))
        .layer(Metrics(below))
        .service(dispatch)
    )

    async def main() -> None:
        stream = await stack(Request(stream=True))
        assert isinstance(stream, EventStream)
        async with stream:
            assert (3, {}) == (len(told(below)) + 1, told(above))
            async for _ in stream:
                pass

    run_virtual(main())
    spent = 1000e-6 + 100 * 0.5e-6 + 10 * 10e-6

    def sold(name: str) -> dict[tuple[str, ...], Any]:
        kinds = {"input": 1000.0, "cached": 100.0, "output": 10.0}
        tokens: dict[tuple[str, ...], Any] = {(TOKENS, name, k): n for k, n in kinds.items()}
        return {**tokens, (COST, name): pytest.approx(spent)}

    assert {(CALLS, "", "", "ok"): 1.0, **sold("")} == told(above)
    assert {
        (CALLS, "full", "ConcurrencyFull", "refused"): 1.0,
        (CALLS, "down", "ServerError", "failed"): 1.0,
        (CALLS, "good", "", "ok"): 1.0,
        **sold("good"),
    } == told(below)
    assert {(CALL, ""): (1, 4.5), (FIRST, ""): (1, 1.5)} == times(above)
    assert {(CALL, "good"): (1, 3.5), (FIRST, "good"): (1, 0.5)} == times(below)


@define(eq=False)
class Asked:
    """A recorder that remembers what it was asked for, and may refuse."""

    wrong: str = ""
    made: list[tuple[str, str, Mapping[str, str]]] = field(factory=list)
    added: list[float] = field(factory=list)

    def counter(self, name: str, says: str, labels: Mapping[str, str], /) -> Add:
        if self.wrong == "making":
            raise ValueError("no such series")
        self.made.append((name, says, labels))
        return self.add

    def histogram(self, name: str, says: str, labels: Mapping[str, str], /) -> Add:
        return self.counter(name, says, labels)

    def add(self, value: float) -> None:
        if self.wrong == "adding":
            raise OSError("the disk is full")
        self.added.append(value)


def test_a_series_is_asked_for_once() -> None:
    """With its help text and its labels by name: the contract with whoever reads them."""
    recorder = Asked()

    async def provider(_request: object) -> Response:
        return Response(usage=Usage(1, 2, 3), price=Price(1, 1))

    async def main() -> None:
        service = Metrics(recorder)(provider)
        for _ in range(3):
            await service(dispatched("eu"))

    run_virtual(main())

    eu = {"endpoint": "eu"}
    assert [
        (CALLS, "Calls that ended.", {**eu, "how": "ok", "error": ""}),
        (CALL, "Time of calls that got content.", eu),
        (FIRST, "Time to the first content.", eu),
        (TOKENS, "Tokens of replies.", {**eu, "kind": "input"}),
        (TOKENS, "Tokens of replies.", {**eu, "kind": "cached"}),
        (TOKENS, "Tokens of replies.", {**eu, "kind": "output"}),
        (COST, "Cost of replies in USD.", eu),
    ] == recorder.made
    assert 3 * 7 == len(recorder.added)


@pytest.mark.parametrize("wrong", ["making", "adding"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_recorder_that_raises_changes_no_call(ending: str, wrong: str) -> None:
    """What it did not take is counted; the call ends as it would without."""

    async def main() -> tuple[object, object]:
        async with under_way(Metrics(Asked(wrong)), dispatched("eu"), ending) as service:
            answer = await service(dispatched("eu"))
        return answer, service.statistics()

    assert ("ok", {"eu": {"calls": 2, "lost": 2}}) == run_virtual(main())[0]


@pytest.mark.parametrize("wrong", ["making", "adding"])
def test_the_error_passes_a_recorder_that_raises(wrong: str) -> None:
    """The caller gets the failure, not the recorder's."""

    async def provider(_request: object) -> object:
        raise ServerError("down")

    with pytest.raises(ServerError, match="down"):
        run_virtual(Metrics(Asked(wrong))(provider)("?"))


def test_a_recorder_may_be_shared_and_a_use_is_not() -> None:
    """Two uses add to the same series, and each counts its own calls."""
    recorder = MemoryRecorder()
    layer = Metrics(recorder)

    async def echo(request: object) -> object:
        return request

    one, two = layer(echo), layer(echo)

    async def main() -> None:
        for service in (one, one, two):
            await service(dispatched("eu"))

    run_virtual(main())

    assert 3.0 == recorder.value(CALLS, {"endpoint": "eu", "how": "ok", "error": ""})
    assert [2, 1] == [each.statistics()["eu"]["calls"] for each in (one, two)]
    assert ("metrics", "Metrics()") == (layer.role, repr(layer))
    assert Series(recorder).idle
