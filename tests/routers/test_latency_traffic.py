"""`LatencyBased` under traffic: no herd, no black hole, nobody forgotten, and what is explored."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from math import log, sqrt
from random import Random
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from llmstack.builder import ServiceBuilder
from llmstack.call import Attempt, Call, Outcome
from llmstack.endpoint import Endpoint
from llmstack.errors import LLMStackError, ServerError
from llmstack.estimators.explore import Exploration
from llmstack.messages import Request, Response, dispatch
from llmstack.routers.latency_based import Fastest, LatencyBased
from llmstack.testing.scripted import echo
from llmstack.testing.virtual import run_virtual
from tests.routers.measured import NEVER, Facts, facts, fastest, take, walk
from tests.routers.stage import Actors, listed, outcome_of


ALWAYS = Exploration(share=1.0)
Wait = Callable[[float], float]


def stack(layer: LatencyBased, waits: dict[str, Wait], seed: int = 1) -> Any:  # noqa: ANN401
    """Endpoints that answer after a time that depends on when; below zero they fail."""

    async def service(request: Request) -> Response:
        assert request.endpoint is not None
        wait = waits[request.endpoint.name](asyncio.get_running_loop().time())
        await asyncio.sleep(abs(wait))
        if wait < 0:
            raise ServerError("down")
        return Response(b"{}")

    return ServiceBuilder(seed=seed).layer(layer).service(service)


async def traffic(service: Any, rate: float, seconds: float) -> list[Attempt]:  # noqa: ANN401
    """Send so many calls a second, without waiting for replies; return who was asked."""
    calls: list[Call] = []

    async def call() -> None:
        request = Request()
        calls.append(request.call)
        try:
            await service(request)
        except LLMStackError:
            return

    async with asyncio.TaskGroup() as group:
        for _ in range(int(rate * seconds)):
            group.create_task(call())
            await asyncio.sleep(1 / rate)
    return [attempt for call in calls for attempt in call.attempts]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("since", [0.0, 60.0])
@pytest.mark.parametrize("rate", [2.0, 20.0])
def test_a_fast_failure_draws_no_traffic(seed: int, since: float, rate: float) -> None:
    """W-LL-5, W-LK-4: one of three fails in 10 ms; without retries 98 of 100 calls succeed."""
    waits: dict[str, Wait] = {
        "a": lambda _: 0.5,
        "b": lambda now: -0.01 if now >= since else 0.3,
        "c": lambda _: 0.6,
    }
    service = stack(LatencyBased(listed([1, 1, 1])), waits, seed)
    attempts = run_virtual(traffic(service, rate, 300))[0]
    good = sum(attempt.how == "ok" for attempt in attempts)

    assert 0.98 <= good / len(attempts) < 1
    late = Counter(each.endpoint for each in attempts if each.started > 120)
    assert late["b"] < 0.02 * late.total()


@given(endpoints=st.integers(1, 6), calls=st.integers(1, 40), explore=st.booleans())
def test_a_cold_start_does_not_herd(endpoints: int, calls: int, *, explore: bool) -> None:
    """W-LL-7: of calls that start together all endpoints get the same, give or take one."""
    explored = Exploration() if explore else NEVER
    layer = LatencyBased(listed([1] * endpoints), explore=explored, rng=Random(calls))
    inner = Actors(delay=1.0)
    router = layer(inner)

    async def main() -> None:
        await asyncio.gather(*(router(Request()) for _ in range(calls)))

    run_virtual(main())
    taken = Counter(name for name, _ in inner.asked)

    assert calls == taken.total()
    assert max(taken.values()) - min(taken[e.name] for e in listed([1] * endpoints)) <= 1


def test_an_unknown_endpoint_is_neither_free_nor_endless() -> None:
    """It gets one call at first, and once it is known its share; meanwhile the others go on."""
    wait: Wait = lambda _: 0.4  # noqa: E731 -- three of them
    waits = {"a": wait, "b": wait, "new": lambda _: 5.0}
    layer = LatencyBased([*listed([1, 1])], explore=NEVER)

    async def main() -> tuple[list[Attempt], list[Attempt]]:
        service = stack(layer, waits)
        await traffic(service, 10, 30)
        service.services[0].endpoints.add(Endpoint("new", echo))
        return await traffic(service, 10, 5), await traffic(service, 10, 60)

    early, later = run_virtual(main())[0]

    assert 1 == sum(each.endpoint == "new" for each in early)
    assert 0 < sum(each.endpoint == "new" for each in later) < 0.05 * len(later)


@pytest.mark.parametrize("others", ["a", "ac", "acd"])
def test_slow_once_is_not_slow_for_ever(others: str) -> None:
    """W-LL-6: exploration brings back who has become fast; without it nothing does."""
    waits: dict[str, Wait] = {name: lambda _: 0.1 for name in others}
    waits |= {"z": lambda now: 10.0 if now < 20 else 0.02}
    shares = []
    for explore in (Exploration(), NEVER):
        layer = LatencyBased([Endpoint(name, echo) for name in waits], explore=explore)

        async def main(layer: LatencyBased = layer) -> list[Attempt]:
            service = stack(layer, waits)
            attempts = []
            for _ in range(3000):
                request = Request()
                await service(request)
                await asyncio.sleep(0.1)
                attempts += request.call.attempts
            return attempts

        taken = [each.endpoint for each in run_virtual(main())[0]]
        shares.append(taken[-500:].count("z") / 500)

    explored, never = shares
    assert explored > 0.9
    assert 0.0 == never or len(others) > 1


@given(
    seed=st.integers(0, 999),
    world=st.lists(
        st.tuples(st.integers(0, 10).map(lambda n: 0.01 * 2.0**n), st.sampled_from([1.0, 50.0])),
        min_size=2,
        max_size=5,
    ),
    failing=st.integers(0, 2),
)
def test_everybody_is_asked_again_within_a_bounded_time(
    seed: int, world: list[tuple[float, float]], failing: int
) -> None:
    """P-EX-1, invariant 7: be it a thousand times slower, of small weight, or always failing."""
    endpoints = [Endpoint(str(n), echo, weight) for n, (_, weight) in enumerate(world)]
    explore = Exploration(share=0.2)
    picker = fastest(LatencyBased(endpoints, explore=explore, rng=Random(seed)))
    slowest = max(latency for latency, _ in world) / min(latency for latency, _ in world)
    # Until its memory has faded to four times the fastest; then one draw for each is to come.
    patience = 30 * max(1.0, log(slowest)) + 30 + len(world) * 60
    asked = dict.fromkeys((e.name for e in endpoints), 0.0)
    for step in range(1500):
        now = step / 2
        endpoint = next(picker.order(Request(), endpoints, now))
        n = endpoints.index(endpoint)
        outcome = Outcome(now, first=now)
        if n < min(failing, len(world) - 1):
            outcome = Outcome.of(ServerError(), now)
        picker.settle(endpoint, now - world[n][0], outcome)
        asked[endpoint.name] = now
        assert now - min(asked.values()) < patience


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
    waits: dict[str, Wait] = {"a": lambda _: 0.1, "b": lambda _: 0.2}
    seen: Counter[str] = Counter()

    async def leaf(request: Request) -> Response:
        assert request.endpoint is not None
        seen[request.endpoint.name] += 1
        await asyncio.sleep(waits[request.endpoint.name](0.0))
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


def test_the_same_seed_and_events_are_the_same_picks() -> None:
    """P-LB-8: and another seed looks elsewhere at another time."""

    explore = Exploration(share=0.3, stale_after=0.5)

    def picks(seed: int) -> list[str]:
        dice = Random(5)
        waits: dict[str, Wait] = {n: lambda _: dice.uniform(0.1, 0.9) for n in "abc"}
        service = stack(LatencyBased(listed([1, 1, 1]), explore=explore), waits, seed)
        return [each.endpoint for each in run_virtual(traffic(service, 5, 200))[0]]

    assert picks(1) == picks(1)
    assert picks(1) != picks(2)


def test_nobody_to_order_is_nobody() -> None:
    """An empty list gives an empty order, also to a call that would explore."""
    picker = fastest(LatencyBased(listed([1]), explore=ALWAYS))

    assert [] == walk(picker, [], 0.0)
