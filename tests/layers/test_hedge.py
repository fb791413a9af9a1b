"""When a hedge sends a second call, when not, and what comes of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from math import inf
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

import llmstack as ls
from llmstack import clock
from llmstack.call import Call
from llmstack.estimators.retry_budget import RetryBudget
from llmstack.layers.hedge import Hedge, always, by_shape, without_tools
from llmstack.order import Bound
from tests.layers.hedged import DELAY, Line, Plan, after, learn, over
from tests.racers import timed


@pytest.mark.parametrize(
    ("lines", "said", "took", "asked", "counts"),
    [
        ([("ok", 0.5)], "ok 1", 0.5, 1, {}),
        ([("ok", 9.0), ("ok", 1.0)], "ok 2", DELAY + 1.0, 2, {"sent": 1, "won": 1}),
        ([("ok", 1.5), ("ok", 1.0)], "ok 1", 1.5, 2, {"sent": 1, "lost": 1}),
        ([("busy", 0.5)], "busy 1", 0.5, 1, {}),
        ([("busy", 1.5), ("ok", 1.0)], "ok 2", DELAY + 1.0, 2, {"sent": 1, "won": 1}),
        ([("wrong", 1.5), ("ok", 1.0)], "wrong 1", 1.5, 2, {"sent": 1, "lost": 1}),
        ([("ok", 9.0), ("wrong", 1.0)], "ok 1", 9.0, 2, {"sent": 1, "failed": 1}),
        ([("ok", 9.0), ("busy", 1.0)], "ok 1", 9.0, 2, {"sent": 1, "failed": 1}),
        ([("busy", 9.0), ("failed", 1.0)], "busy 1", 9.0, 2, {"sent": 1, "failed": 1}),
        ([("busy", 1.5), ("failed", 1.0)], "failed 2", 1.98, 2, {"sent": 1, "failed": 1}),
        ([("busy", 1.5), ("full", 1.0)], "busy 1", 1.98, 2, {"refused": 1}),
        ([("full", 9.0), ("failed", 1.0)], "failed 2", 9.0, 2, {"sent": 1, "failed": 1}),
        ([("ok", 9.0), ("full", 0.0)], "ok 1", 9.0, 2, {"refused": 1}),
        ([("bug", 1.5), ("ok", 1.0)], "bug 1", 1.5, 2, {"sent": 1, "lost": 1}),
        ([("ok", 9.0), ("bug", 1.0)], "ok 1", 9.0, 2, {"sent": 1, "failed": 1}),
    ],
    ids=lambda value: "-".join(map(str, sum(value, ()))) if isinstance(value, list) else "",
)
def test_the_first_success_is_the_answer(
    lines: list[Line], said: str, took: float, asked: int, counts: dict[str, int]
) -> None:
    """After the delay a second call; a failure waits for the other; a refusal was never sent.

    W-LL-31: what is wrong with the request is wrong with it anywhere, and ends both.
    """
    found, _ = timed(after(lines))

    assert (said, took, [0.0, DELAY][:asked], counts) == found


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (Hedge(hedgeable=lambda _: False), "the request says so"),
        (Hedge(hedgeable=always, samples=41), "too few are known"),
        (Hedge(hedgeable=always, spread=10.5), "nobody is that slow"),
        (Hedge(hedgeable=always, window=4.0), "all that was known is too old"),
        (Hedge(hedgeable=always, key=id), "nobody is like it"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_nothing_is_sent_twice_where_it_would_not_help(layer: Hedge, why: str) -> None:
    """The first call alone, without as much as a timer."""
    found, _ = timed(after([("ok", 9.0)], layer))

    assert ("ok 1", 9.0, [0.0], {}) == found, why


@pytest.mark.parametrize(
    ("left", "asked"), [(1.9, 1), (2 * DELAY, 1), (2 * DELAY + 0.01, 2), (inf, 2)]
)
def test_nothing_is_sent_that_the_deadline_cannot_hold(left: float, asked: int) -> None:
    """There must be time for the delay and for an ordinary answer."""

    async def main() -> list[float]:
        request = ls.Request("m", call=Call(deadline=10.0 + left))
        _, _, times, _ = await after([("ok", 9.0)], None, request)
        return times

    assert [0.0, DELAY][:asked] == timed(main())[0]


def test_p_he_5_nothing_is_sent_after_the_first_content() -> None:
    """P-HE-5: a stream that was handed up in time may then take as long as it likes."""
    plan = Plan()
    service = over(plan)

    async def main() -> int:
        await learn(service, plan)
        plan.lines.append(("stream", 0.5))
        async with await service(ls.Request("m")) as stream:
            await asyncio.sleep(30.0)
            return len([event async for event in stream])

    assert (2, 41.5) == timed(main())
    assert (1, 0) == (len(plan.asked), service.counts.sent)


def test_p_he_6_with_a_share_of_nothing_there_is_no_layer() -> None:
    """P-HE-6: not even a wrapper, and the bound is that of what is below."""
    plan = Plan()
    layer = Hedge(hedgeable=always, share=0.0)

    assert layer(plan) is plan
    assert Bound(3, 7.0) == layer.bound(Bound(3, 7.0))
    assert {} == ls.ServiceBuilder().layer(layer).service(plan).statistics()


def test_the_bound_is_twice_that_of_below() -> None:
    """Two calls, and the second begins while the first is under way."""
    assert Bound(6, 14.0) == Hedge(hedgeable=always).bound(Bound(3, 7.0))
    stack = ls.ServiceBuilder().layer(Hedge(hedgeable=always)).service(Plan())
    assert "at most 2 upstream calls" in stack.describe()


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.05, 0.1, 0.25]))
def test_p_he_1_and_2_no_more_than_the_share_and_one(seed: int, share: float) -> None:
    """P-HE-1: in no window more extra calls than that; P-HE-2: at most two of a call at once."""
    dice = Random(seed)
    begun: list[float] = []
    extra: list[float] = []
    most = 0

    async def inner(request: ls.Request, /) -> str:
        nonlocal most
        times = extra if request.call.id in out else begun
        times.append(clock.now())
        out.append(request.call.id)
        most = max(most, out.count(request.call.id))
        try:
            await asyncio.sleep(dice.choice([1.0, 1.0, 1.0, 9.0]))
        finally:
            out.remove(request.call.id)
        return "ok"

    out: list[str] = []
    service = Hedge(hedgeable=always, share=share, window=10.0, samples=2, spread=1.0)(inner)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for n in range(80):
                group.create_task(service(ls.Request("m", call=Call(str(n)))))
                await asyncio.sleep(dice.expovariate(dice.choice([1.0, 20.0])))

    with capture_logs():
        timed(main())

    assert 80 == len(begun)
    assert most <= 2
    for now in extra:
        sent, asked = (sum(now - 10.0 < at <= now for at in times) for times in (extra, begun))
        assert sent <= share * asked + 1


draws = st.lists(
    st.tuples(
        st.sampled_from([0.5, 1.0, 3.0, 9.0]),
        st.sampled_from([0.25, 1.0, 2.0, 9.0]),
        st.sampled_from(["ok", "ok", "busy"]),
        st.sampled_from(["ok", "ok", "busy"]),
    ),
    min_size=1,
    max_size=30,
)


@given(drawn=draws)
def test_p_he_3_nobody_is_slower_or_worse_off(drawn: list[tuple[float, float, str, str]]) -> None:
    """P-HE-3: with the same draws no answer is later, and none becomes a failure."""

    async def one(service: Any, n: int) -> tuple[bool, float]:  # noqa: ANN401
        begun = clock.now()
        with suppress(ls.Overloaded):
            await service(ls.Request("m", call=Call(str(n))))
            return True, clock.now() - begun
        return False, clock.now() - begun

    async def main(layer: ls.Layer) -> list[tuple[bool, float]]:
        asked: set[str] = set()

        async def inner(request: ls.Request, /) -> str:
            again = request.call.id in asked
            asked.add(request.call.id)
            first, second, act, other = drawn[int(request.call.id)]
            await asyncio.sleep(second if again else first)
            if (other if again else act) == "busy":
                raise ls.Overloaded
            return "ok"

        service = layer(inner)
        return [await one(service, n) for n in range(len(drawn))]

    with capture_logs():
        hot = Hedge(hedgeable=always, share=0.5, samples=1, spread=1.0)
        hedged, _ = timed(main(hot))
        alone, _ = timed(main(Hedge(hedgeable=always, share=0.0)))

    for (well, took), (well_alone, took_alone) in zip(hedged, alone, strict=True):
        assert well >= well_alone
        assert took <= took_alone + 1e-9 or not well_alone


def test_a_shared_budget_is_kept_as_well() -> None:
    """What retries have used up is not there for hedges; nothing of their own is lost by it."""
    shared = RetryBudget(ratio=0.0, min_per_sec=0.1, ttl=10.0)
    layer = Hedge(hedgeable=always, budget=shared)

    async def main() -> list[Any]:
        plan = Plan()
        service = over(plan, layer)
        await learn(service, plan)
        found: list[Any] = []
        for _ in range(2):
            plan.lines.extend([("ok", 3.0), ("ok", 3.0)])
            found.append(await service(ls.Request("m")))
        out = [(each.statistics().extra, each.statistics().in_flight) for each in service.budgets]
        assert [(0, 0), (0, 0)] == out
        assert 1 == service.budgets[0].statistics().granted - service.counts.withheld
        return [*found, service.counts.sent, service.counts.withheld]

    with capture_logs():
        assert ["ok 1", "ok 3", 1, 1] == timed(main())[0]


def test_many_may_be_out_at_once() -> None:
    """It is a share of the calls of a window, not of those in flight."""
    plan = Plan()
    service = over(plan, Hedge(hedgeable=always, share=0.2))

    async def main() -> None:
        await learn(service, plan)
        plan.lines.extend([("ok", 9.0)] * 18)
        async with asyncio.TaskGroup() as group:
            for _ in range(9):
                group.create_task(service(ls.Request("m")))

    with capture_logs():
        timed(main())

    assert (9, 0) == (service.counts.sent, service.counts.withheld)


def test_errors_of_others_are_judged_by_the_classifier() -> None:
    """What it knows is a failure, and the second call may still answer; all else is a bug."""

    def judge(error: Exception) -> ls.LLMStackError | None:
        return ls.ServerError() if isinstance(error, ZeroDivisionError) else None

    layer = Hedge(hedgeable=always, classify=judge)
    found, _ = timed(after([("bug", 1.5), ("ok", 1.0)], layer))
    other, _ = timed(after([("busy", 1.5), ("ok", 1.0)], layer))

    assert ("ok 2", 1.98) == found[:2]
    assert ("busy 1", 1.5) == other[:2]


def test_what_was_refused_costs_no_budget() -> None:
    """Nothing was sent, so the next call may be sent twice."""
    plan = Plan()
    service = over(plan, Hedge(hedgeable=always, share=0.01))

    async def main() -> list[Any]:
        await learn(service, plan, calls=100)
        plan.lines.extend([("ok", 15.0), ("full", 0.0)] * 4 + [("ok", 30.0), ("ok", 1.0)])
        return [await service(ls.Request("m")) for _ in range(5)]

    with capture_logs():
        said, _ = timed(main())

    assert ["ok 1", "ok 3", "ok 5", "ok 7", "ok 10"] == said
    assert (1, 4) == (service.counts.won, service.counts.refused)


def test_events_and_statistics() -> None:
    """A second call that was sent is told, with its delay, and again if it has won."""
    plan = Plan()
    service = over(plan)

    async def main() -> None:
        await learn(service, plan)
        plan.lines.extend([("ok", 9.0), ("ok", 1.0), ("ok", 1.5), ("ok", 9.0)])
        plan.lines.extend([("ok", 9.0), ("full", 0.0)])
        for name in ("a", "b", "c"):
            await service(ls.Request("m", call=Call(name)))
        await service("no request of ours")

    with capture_logs() as logs:
        timed(main())

    events = [(e["event"], e["log_level"], e["request_id"], e["wait"]) for e in logs]
    told = [("sent", "a"), ("won", "a"), ("sent", "b")]
    assert [(f"hedge.{what}", "info", who, DELAY) for what, who in told] == events
    counts = {"sent": 2, "won": 1, "lost": 1, "failed": 0, "refused": 1, "withheld": 0}
    delays = {by_shape(ls.Request("m")): pytest.approx(1.5, rel=0.02)}  # by now the second slowest
    assert {**counts, "delay": delays} == service.statistics()


def test_requests_of_any_type_are_hedged() -> None:
    """They are of one kind, and have no deadline and no id."""
    plan = Plan()
    service = over(plan)

    async def main() -> object:
        plan.lines.extend([("ok", 1.0)] * 39 + [("ok", 10.0)])
        async with asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(service("any"))
        plan.lines.extend([("ok", 9.0), ("ok", 1.0)])
        return await service("any")

    with capture_logs() as logs:
        assert ("ok 42", 10.0 + DELAY + 1.0) == timed(main())

    assert ["", ""] == [each["request_id"] for each in logs]


def test_only_time_to_content_is_learnt() -> None:
    """A failure says nothing; what was cut off says that it would have taken longer."""
    plan = Plan([("busy", 1.0), ("ok", 2.0), ("ok", 30.0)])
    service = over(plan)

    async def main() -> None:
        request = ls.Request("m")
        with suppress(ls.Overloaded):
            await service(request)
        await service(request)
        with suppress(TimeoutError):
            async with asyncio.timeout(4.0):
                await service(request)
        plan.lines.append(("busy", 0.0))

    timed(main())

    (times,) = service.times.machines.values()
    assert 1 == times.count
    assert [[1], [1]] == [list(kind.values()) for kind in (times._newer.seen, times._newer.cut)]


def test_a_timeout_below_is_cut_off_too() -> None:
    """Who gave up after four seconds knows that it takes longer."""

    async def inner(_request: object, /) -> str:
        await asyncio.sleep(4.0)
        raise ls.UpstreamTimeout

    service = Hedge(hedgeable=always)(inner)

    async def main() -> None:
        with suppress(ls.UpstreamTimeout):
            await service("any")

    timed(main())

    (times,) = service.times.machines.values()  # type: ignore[attr-defined]
    assert (0, [1]) == (times.count, list(times._newer.cut.values()))


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (ls.Request("m"), ls.Request("m", tenant="t"), True),
        (ls.Request("m"), ls.Request("n"), False),
        (ls.Request("m"), ls.Request("m", stream=True), False),
        (ls.Request("m"), ls.Request("m", operation="embeddings"), False),
        (ls.Request("m", b"x" * 64), ls.Request("m", b"x" * 127), True),
        (ls.Request("m", b"x" * 64), ls.Request("m", b"x" * 128), False),
        (ls.Request("m", {"a": object()}), ls.Request("m", {"a": object()}), True),
    ],
)
def test_what_is_alike(one: ls.Request, other: ls.Request, *, alike: bool) -> None:
    """Operation, model, whether it streams, and how long the body is, by factors of four."""
    assert alike == (by_shape(one) == by_shape(other))


def test_tools_may_run_twice() -> None:
    """So there is a predicate that leaves out who offers them."""
    assert without_tools(ls.Request("m", {"tools": []}))
    assert not without_tools(ls.Request("m", {"tools": [{"type": "web_search"}]}))
    assert always(ls.Request("m"))


def test_what_may_be_sent_twice_must_be_said() -> None:
    """There is no default for it; all else has one, and limits."""
    with pytest.raises(TypeError, match="hedgeable"):
        Hedge()  # type: ignore[call-arg]
    wrong = {"share": [-0.1, 1.1], "samples": [0, 1.5], "spread": [0.5], "window": [0.0]}
    for name, value in ((name, value) for name, values in wrong.items() for value in values):
        settings: dict[str, Any] = {name: value}
        with pytest.raises((ValueError, TypeError), match=name):
            Hedge(hedgeable=always, **settings)
