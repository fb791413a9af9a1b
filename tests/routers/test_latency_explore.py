"""Who is explored by which calls, and that a plan tells it and changes nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from math import sqrt
from random import Random
from typing import Any, Final

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from llmstack.builder import ServiceBuilder
from llmstack.call import Attempt, Call, Outcome
from llmstack.endpoint import Endpoint
from llmstack.estimators.explore import Exploration
from llmstack.messages import Request, Response, dispatch
from llmstack.routers.latency_based import Fastest, LatencyBased
from llmstack.testing.scripted import echo
from llmstack.testing.virtual import run_virtual
from tests.routers.measured import NEVER, Facts, facts, fastest, take, walk
from tests.routers.stage import Actors, listed, outcome_of


ALWAYS: Final = Exploration(share=1.0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.02, 0.2])
def test_the_share_that_explores_is_as_set(seed: int, share: float) -> None:
    """P-EX-2: where there is always somebody to look at, it is the share, within 3 sigma."""
    endpoints, n = listed([1, 1, 1]), 5000
    layer = LatencyBased(endpoints, tau=1e6, explore=Exploration(share=share), rng=Random(seed))
    picker = fastest(layer)
    taken: Counter[str] = Counter()
    for step in range(n + 3):
        now = step * 40.0
        endpoint = next(picker.order(Request(), endpoints, now))
        latency = {"a": 0.4, "b": 0.5, "c": 0.6}[endpoint.name]
        picker.settle(endpoint, now - latency, Outcome(now, first=now))
        taken[endpoint.name] += step >= 3

    sigma = sqrt(share * (1 - share) / n)
    assert abs((taken["b"] + taken["c"]) / n - share) <= 3 * sigma + 3 / n


def known(explore: Exploration = ALWAYS, at: float = 0.0) -> tuple[Fastest, list[Endpoint]]:
    """Three that are known: b is the fastest, c has not been seen for 30 seconds longer."""
    endpoints = listed([1, 1, 1])
    picker = fastest(LatencyBased(endpoints, explore=explore, rng=Random(1)))
    for endpoint, latency, when in zip(endpoints, (0.5, 0.25, 0.75), (31, 31, 0), strict=True):
        Facts(latency).happen(picker, endpoint, at + when)
    return picker, endpoints


def names(endpoints: list[Endpoint]) -> str:
    """The names in one word."""
    return "".join(endpoint.name for endpoint in endpoints)


def test_a_call_explores_who_was_not_seen_for_longest() -> None:
    """More than 30 s, that is; the rest of the order stays as it is, for who refuses."""
    picker, endpoints = known()

    assert "cba" == names(walk(picker, endpoints, 32.0))
    assert "bac" == names(walk(known()[0], endpoints, 30.0))
    assert "bac" == names(walk(known(NEVER)[0], endpoints, 32.0))


@pytest.mark.parametrize(
    ("request_", "explores"),
    [
        (Request(), True),
        (Request(insists=True), False),
        (Request(call=Call(attempts=[Attempt("a", 0.0)])), False),
        (Request(call=Call(attempts=[Attempt("group", 0.0, group=True)])), True),
        (Request(call=Call(deadline=32.0 + 4 * 0.25)), True),
        (Request(call=Call(deadline=32.0 + 3.99 * 0.25)), False),
    ],
    ids=["plain", "insists", "has tried", "is in a group", "has time", "has no time"],
)
def test_a_call_without_room_does_not_explore(request_: Request, *, explores: bool) -> None:
    """P-EX-3: time is what an answer takes that is four times as slow as that of the best."""
    picker, endpoints = known()
    for endpoint in endpoints:
        picker.seen[endpoint.name].latency.at = 32.0  # as fresh as if seen now
    order = names(walk(picker, endpoints, 32.0, request_))

    assert ("cba" if explores else "bac") == order


def test_weight_and_load_do_not_count_as_seconds() -> None:
    """A great capacity does not make time, and many calls in flight do not take it."""
    for weight, pending, plain in ((100.0, 0, "ab"), (1.0, 30, "ba"), (0.01, 0, "ba")):
        endpoints = [Endpoint("a", echo, weight), Endpoint("b", echo)]
        for deadline, expected in ((3.9, plain), (4.1, "ba")):
            picker = fastest(LatencyBased(endpoints, explore=ALWAYS, rng=Random(1)))
            Facts(1.0, 0, pending).happen(picker, endpoints[0])
            request = Request(call=Call(deadline=deadline))

            assert expected == names(walk(picker, endpoints, 0.0, request))


@pytest.mark.parametrize(
    ("share", "drawn", "explores"),
    [(0.0, 0.0, False), (0.5, 0.5, False), (0.5, 0.4999, True), (1.0, 0.9999, True)],
)
def test_a_draw_below_the_share_explores(share: float, drawn: float, *, explores: bool) -> None:
    """A share of 0 never does, whatever is drawn, and a share of 1 always."""

    class Drawn(Random):
        def random(self) -> float:
            return drawn

    picker, endpoints = known(Exploration(share=share))
    picker.rng = Drawn()

    assert ("cba" if explores else "bac") == names(walk(picker, endpoints, 32.0))


def test_one_look_at_a_time() -> None:
    """Who is being looked at is not looked at again."""
    picker, endpoints = known()
    take(picker, endpoints[2], 32.0)

    assert "bac" == names(walk(picker, endpoints, 32.0))


def test_a_refused_look_does_not_take_the_next_one() -> None:
    """P-EX-3: or an open breaker would take every draw from whoever else is stale."""
    endpoints = listed([1, 1, 1, 1])
    picker = fastest(LatencyBased(endpoints, explore=ALWAYS, rng=Random(1)))
    for endpoint in endpoints[:2]:
        Facts(1.0).happen(picker, endpoint)
    firsts = [walk(picker, endpoints, now)[0].name for now in (1.0, 2.0, 31.0, 31.0, 32.0, 33.0)]

    # c and d were never seen, a and b not for 31 seconds; each has a look, and then c again.
    assert ["c", "d", "a", "b", "c", "d"] == firsts


def test_a_group_explores_its_members() -> None:
    """That the call is on its way to the group is no attempt at anybody in it."""
    waits = {"a": 0.1, "b": 0.2}
    seen: Counter[str] = Counter()

    async def leaf(request: Request) -> Response:
        assert request.endpoint is not None
        seen[request.endpoint.name] += 1
        await asyncio.sleep(waits[request.endpoint.name])
        return Response(b"{}")

    members = [Endpoint("a", leaf), Endpoint("b", leaf)]
    group = ServiceBuilder().layer(LatencyBased(members, explore=ALWAYS)).service(dispatch)
    outer = LatencyBased([Endpoint("group", group)])(dispatch)

    async def main() -> None:
        for _ in range(6):
            await outer(Request())
            await asyncio.sleep(31)

    run_virtual(main())

    assert {"a": 3, "b": 3} == seen


def trace(picker: Fastest) -> object:
    """All that there is to see of a picker."""
    return (
        {n: (s.latency.value, s.latency.at, s.success.value) for n, s in picker.seen.items()},
        {n: (s.pending, s.last, s.since) for n, s in picker.seen.items()},
        (picker.prior, picker.turns.turn, dict(picker.turns.chosen), picker.rng.getstate()),
    )


@given(
    world=st.lists(facts.map(lambda each: evolve(each, pending=0)), min_size=1, max_size=5),
    seed=st.integers(0, 99),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    now=st.sampled_from([1.0, 31.0, 300.0]),
    refuse=st.sets(st.sampled_from("abcde")),
    tried=st.integers(0, 1),
)
def test_the_next_call_goes_where_the_plan_says(
    world: list[Facts],
    seed: int,
    share: float,
    now: float,
    refuse: set[str],
    tried: int,
) -> None:
    """Explored or not, as far down as it is refused; the draw is shown; no trace is left."""
    inner = Actors(dict.fromkeys(refuse, "hard"))
    endpoints = listed([each.weight for each in world])
    layer = LatencyBased(endpoints, explore=Exploration(share=share), rng=Random(seed))
    router = layer(inner)
    picker = router.picker
    assert isinstance(picker, Fastest)

    async def main() -> tuple[Any, object]:
        await asyncio.sleep(now)
        attempts = [Attempt("a", 0.0, router=router, again=True)] * tried
        request = Request(call=Call(attempts=attempts))
        before = trace(picker)
        plan = router.plan(request)
        assert before == trace(picker)
        assert str(plan) == str(router.plan(request))
        return plan, await outcome_of(router, request)

    for each, endpoint in zip(world, endpoints, strict=True):
        each.happen(picker, endpoint)
    dice = Random()
    dice.setstate(picker.rng.getstate())
    plan, outcome = run_virtual(main())[0]
    drawn = dice.random()

    taken = [name for name in plan.order if name not in refuse]
    asked = [name for name, _ in inner.asked]
    explored = [each.endpoint for each in plan if each.terms.reason.startswith("explored")]
    assert list(plan.order[: plan.order.index(taken[0]) + 1] if taken else plan.order) == asked
    assert not taken or taken[0] == outcome
    assert explored == list(plan.order[:1])[: len(explored)]
    assert not explored or (drawn < share and not tried)
    assert plan.candidates[0].terms.draw == drawn


@given(world=st.lists(facts, min_size=1, max_size=5), seed=st.integers(0, 99))
def test_to_explain_changes_nothing(world: list[Facts], seed: int) -> None:
    """A read: neither the dice nor who is known, also of who was never asked."""
    endpoints = listed([1] * (len(world) + 1))
    picker = fastest(LatencyBased(endpoints, explore=ALWAYS, rng=Random(seed)))
    for each, endpoint in zip(world, endpoints, strict=False):
        each.happen(picker, endpoint)
    before = trace(picker)
    told = picker.explain(Request(), endpoints, 99.0)

    assert before == trace(picker)
    assert {e.name for e in endpoints} == told.keys()
    assert 1 == sum(each.reason.startswith("explored") for each in told.values())


def test_nobody_to_order_is_nobody() -> None:
    """An empty list gives an empty order, also to a call that would explore."""
    picker = fastest(LatencyBased(listed([1]), explore=ALWAYS))

    assert [] == walk(picker, [], 0.0)
