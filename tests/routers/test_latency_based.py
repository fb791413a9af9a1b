"""Who comes first: the rank against its formula, and the laws that it must obey."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import groupby, pairwise, permutations
from math import exp
from random import Random
from typing import Any

import pytest
from attrs import evolve
from hypothesis import assume, example, given
from hypothesis import strategies as st

from llmstack.builder import ServiceBuilder
from llmstack.call import Outcome
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import ConfigError, ServerError
from llmstack.messages import Request, dispatch
from llmstack.order import Bound
from llmstack.routers.latency_based import Fastest, LatencyBased
from llmstack.testing.scripted import echo
from llmstack.testing.virtual import run_virtual
from tests.routers.measured import (
    NEVER,
    Facts,
    facts,
    fastest,
    picker_of,
    pool,
    ranked,
    take,
    walk,
)
from tests.routers.stage import Actors, listed


worlds = st.lists(facts, min_size=1, max_size=5)
seconds = st.sampled_from([0.0, 1.0, 30.0, 300.0])


def scores(world: Sequence[Facts]) -> list[float]:
    """Algorithms 1.2 at second 0: latency (pending + 1) / weight / success squared."""
    known = sorted(each.latency for each in world if each.latency is not None)
    half = len(known) // 2
    prior = (known[half] + known[-1 - half]) / 2 if known else 1.0
    found = []
    for each in world:
        latency = prior if each.latency is None else each.latency
        first = 0.0 if each.latency is None and each.failures else 1.0
        left = each.failures - (each.latency is None)
        success = max(0.02, first * 0.95 ** max(left, 0))
        found.append(latency * (each.pending + 1) / each.weight / success**2)
    return found


def late(world: Sequence[Facts], each: Facts) -> bool:
    """Whether enough first probes are out: one, or one in twenty of all in flight."""
    out = sum(other.pending for other in world)
    return each.latency is None and each.pending >= max(1, -(-out // 20))


@given(world=worlds)
@example(world=[Facts(pending=1), Facts(), Facts(9.0)])
@example(world=[Facts(None, 0, 1), Facts(1.0, 0, 30)])
@example(world=[Facts(None, 0, 2), Facts(1.0, 0, 19)])
@example(world=[Facts(None, 0, 2), Facts(1.0, 0, 38)])
@example(world=[Facts(None, 1), Facts(None, 2), Facts(4.0, 6)])
def test_the_rank_is_that_of_the_formula(world: list[Facts]) -> None:
    """By score; the unmeasured that has enough first probes out comes after all others."""
    order, score = ranked(world), scores(world)

    assert sorted(order) == list(range(len(world)))
    for one, other in pairwise(order):
        assert late(world, world[one]) <= late(world, world[other])
        if late(world, world[one]) == late(world, world[other]):
            assert score[one] <= score[other] * (1 + 1e-9)


@given(world=worlds)
def test_a_plan_shows_the_formula(world: list[Facts]) -> None:
    """EA-7: the score, what it is made of, the latency expected, and words."""
    picker, endpoints = picker_of(world), pool(world)
    told = picker.explain(Request(), endpoints, 0.0)
    score = scores(world)

    for n, each in enumerate(endpoints):
        terms = told[each.name]
        made = dict(terms.terms)
        success = max(made.pop("success"), 0.02)
        load = (made.pop("pending") + 1) / made.pop("weight")
        assert pytest.approx(score[n]) == terms.score
        assert pytest.approx(score[n]) == made.pop("latency") * load / success**2
        assert world[n].pending == terms.terms["pending"]
        assert terms.latency == terms.terms["latency"]
        assert ("not measured yet" in terms.reason) == (world[n].latency is None)
        assert not made


@given(world=worlds, data=st.data(), now=seconds)
def test_to_become_better_never_costs_a_place(
    world: list[Facts], data: st.DataObject, now: float
) -> None:
    """P-LB-2: less latency, fewer in flight or fewer failures, whatever the others have."""
    n = data.draw(st.integers(0, len(world) - 1))
    was = world[n]
    better = evolve(
        was,
        latency=None if was.latency is None else was.latency * data.draw(st.sampled_from([0.5, 1])),
        failures=data.draw(st.integers(0, was.failures)),
        pending=data.draw(st.integers(0, was.pending)),
    )
    after = [*world[:n], better, *world[n + 1 :]]

    assert ranked(after, now).index(n) <= ranked(world, now).index(n)


@given(world=worlds, data=st.data(), now=seconds, how=st.sampled_from(["endpoint", "caller"]))
def test_a_failure_never_gains_a_place(
    world: list[Facts], data: st.DataObject, now: float, how: str
) -> None:
    """Invariant 5, W-LL-5: however fast it was, and whomever it blames."""
    n = data.draw(st.integers(0, len(world) - 1))
    picker, endpoints = picker_of(world), pool(world)
    before = walk(picker_of(world), endpoints, now).index(endpoints[n])
    latency = world[n].latency

    take(picker, endpoints[n], now)
    failed = Outcome(now, "failed", ServerError(), "endpoint" if how == "endpoint" else "caller")
    picker.settle(endpoints[n], now, failed)
    picker.turns.chosen.clear()

    assert before <= walk(picker, endpoints, now).index(endpoints[n])
    assert latency == picker.seen[endpoints[n].name].latency.value


@given(world=worlds, data=st.data(), now=seconds)
def test_the_worse_is_never_asked_before_the_better(
    world: list[Facts], data: st.DataObject, now: float
) -> None:
    """P-LB-3: not slower, not more in flight, not failing more often, and one of it less."""
    worse = data.draw(facts.filter(lambda each: each.latency is not None))
    assert worse.latency is not None
    better = Facts(
        worse.latency * data.draw(st.sampled_from([0.5, 1.0])),
        data.draw(st.integers(0, worse.failures)),
        data.draw(st.integers(0, worse.pending)),
        worse.weight,
    )
    assume(better != worse)
    order = ranked([worse, *world, better], now)

    assert order.index(len(world) + 1) < order.index(0)


def runs(picker: Fastest, endpoints: Sequence[Endpoint], now: float) -> list[set[str]]:
    """The order, with those of equal score together."""
    told = picker.explain(Request(), endpoints, now)
    order = [e.name for e in walk(picker, endpoints, now)]
    return [set(names) for _, names in groupby(order, lambda name: told[name].score)]


@given(world=worlds, shuffle=st.randoms(use_true_random=False), now=seconds)
def test_the_order_of_the_list_decides_only_ties(
    world: list[Facts], shuffle: Random, now: float
) -> None:
    """P-LB-5, invariant 20: the same endpoints in another list come in the same order."""
    endpoints = pool(world)
    mixed = shuffle.sample(endpoints, len(endpoints))

    assert runs(picker_of(world), endpoints, now) == runs(picker_of(world), mixed, now)


@given(world=worlds, now=seconds)
def test_names_decide_nothing(world: list[Facts], now: float) -> None:
    """P-LB-5: endpoints with other names, in another alphabetical order, keep their places."""
    endpoints = [Endpoint(f"{9 - n}", echo, each.weight) for n, each in enumerate(world)]
    picker = fastest(LatencyBased(endpoints, explore=NEVER))
    for each, endpoint in zip(world, endpoints, strict=True):
        each.happen(picker, endpoint)
    picker.turns.chosen.clear()

    assert ranked(world, now) == [endpoints.index(e) for e in walk(picker, endpoints, now)]


@given(world=worlds, now=seconds, factor=st.sampled_from([2.0**-20, 0.5, 8.0, 2.0**30]))
def test_units_decide_nothing(world: list[Facts], now: float, factor: float) -> None:
    """P-LB-6, invariant 19: all latencies, or all weights, times the same, in any unit."""
    slower = [evolve(w, latency=w.latency and w.latency * factor) for w in world]
    heavier = [evolve(w, weight=w.weight * factor) for w in world]

    assert ranked(world, now) == ranked(slower, now, prior=factor)
    assert ranked(world, now) == ranked(heavier, now)


@given(world=worlds, now=seconds, factor=st.sampled_from([0.5, 8.0]), shift=st.integers(0, 999))
def test_the_unit_and_the_zero_of_the_clock_decide_nothing(
    world: list[Facts], now: float, factor: float, shift: int
) -> None:
    """P-EW-5: with all seconds times the same, those of *tau* too, and counted from elsewhere."""
    endpoints = pool(world)
    picker = fastest(LatencyBased(endpoints, prior=factor, tau=10 * factor, explore=NEVER))
    for each, endpoint in zip(world, endpoints, strict=True):
        scaled = evolve(each, latency=each.latency and each.latency * factor)
        scaled.happen(picker, endpoint, float(shift))
    picker.turns.chosen.clear()
    order = walk(picker, endpoints, shift + now * factor)

    assert ranked(world, now) == [endpoints.index(e) for e in order]


def test_a_weight_is_a_capacity() -> None:
    """Of two that are alike, the one of weight 3 takes three of four calls at once."""
    picker, endpoints = picker_of([Facts(1.0), Facts(1.0, weight=3)]), listed([1, 3])
    taken = [next(picker.order(Request(), endpoints, 0.0)).name for _ in range(40)]

    assert {"a": 10, "b": 30} == {name: taken.count(name) for name in "ab"}


def test_the_first_goes_to_the_first_and_the_second_to_who_is_unknown() -> None:
    """LR-1: two healthy endpoints, two calls; and who is as good takes turns."""
    router = LatencyBased(listed([1, 1]), explore=NEVER)(Actors())

    async def main() -> list[object]:
        return [await router(Request()) for _ in range(6)]

    assert ["a", "b", "a", "b", "a", "b"] == run_virtual(main())[0]
    fresh = LatencyBased(listed([1, 1]), explore=NEVER)(Actors())

    async def real() -> list[object]:
        return [await fresh(Request()) for _ in range(2)]

    assert ["a", "b"] == asyncio.run(real())


@pytest.mark.parametrize("n", range(1, 6))
def test_ties_rotate_and_a_refusal_gives_the_turn_back(n: int) -> None:
    """U-11: whoever refused is asked first again."""
    inner = Actors({"a": "hard"})
    router = LatencyBased(listed([1] * n), explore=NEVER)(inner)

    async def main() -> list[object]:
        if n > 1:
            await router(Request())
        inner.acts = {}
        inner.asked.clear()
        return [await router(Request()) for _ in range(2 * n)]

    # b has had its turn, so it comes last; nobody else has had one.
    cycle = ["a", *"cdef"[: n - 2], "b"] if n > 1 else ["a"]
    assert cycle * 2 == run_virtual(main())[0]


@pytest.mark.parametrize("order", list(permutations([0.1, 0.2, 0.3])))
def test_four_of_five_go_to_the_fastest(order: tuple[float, ...]) -> None:
    """EG-3: of three, one call after another, once each has been seen."""
    latencies = dict(zip("abc", order, strict=True))

    async def service(request: Request) -> str:
        assert request.endpoint is not None
        await asyncio.sleep(latencies[request.endpoint.name])
        return request.endpoint.name

    async def main() -> list[object]:
        stack = ServiceBuilder(seed=1).layer(LatencyBased(listed([1] * 3))).service(service)
        return [await stack(Request()) for _ in range(600)]

    taken = run_virtual(main())[0]

    assert set("abc") == set(taken[:500])
    assert 80 <= taken[500:].count(min(latencies, key=lambda name: latencies[name]))


@pytest.mark.parametrize(
    ("wrong", "values"),
    [
        ("tau", (0.0, -1.0, float("inf"), float("nan"))),
        ("prior", (0.0, float("inf"), float("nan"))),
        ("gamma", (0.5, 11.0, float("nan"))),
        ("least", (0.0, 1.5, float("nan"))),
    ],
)
def test_wrong_settings_are_named(wrong: str, values: tuple[float, ...]) -> None:
    """Where they are written; without bounds a score could be neither number nor order."""
    settings: dict[str, Any]
    for value in values:
        settings = {wrong: value}
        with pytest.raises(ValueError, match=wrong):
            LatencyBased(listed([1]), **settings)
    with pytest.raises(ConfigError, match="a router needs at least one"):
        LatencyBased([])


@given(
    prior=st.sampled_from([0.25, 3.0]),
    gamma=st.sampled_from([1.0, 3.0]),
    least=st.sampled_from([0.25, 1.0]),
    tau=st.sampled_from([5.0, 40.0]),
    failures=st.integers(1, 40),
)
def test_each_setting_is_the_one_it_is_called(
    prior: float, gamma: float, least: float, tau: float, failures: int
) -> None:
    """Who is unmeasured has the prior; failures weigh by *gamma*, as if no more than *least*."""
    a, b = endpoints = listed([1, 1])
    layer = LatencyBased(endpoints, prior=prior, gamma=gamma, least=least, tau=tau, explore=NEVER)
    picker = fastest(layer)
    Facts(2.0, failures).happen(picker, a)
    assert prior == fastest(layer).explain(Request(), [b], 0.0)["b"].latency

    success = max(least, 0.95**failures)
    assert pytest.approx(2.0 / success**gamma) == picker.explain(Request(), [a], 0.0)["a"].score
    # One more sample, a tau later, has the weight that the first has lost.
    take(picker, a, tau)
    picker.settle(a, tau - 4.0, Outcome(tau, first=tau))
    assert pytest.approx(4.0 - 2.0 * exp(-1)) == picker.statistics()["a"]["latency"]


def test_who_comes_back_has_no_turn_behind_it() -> None:
    """Of the removed no name is kept, nor when it was chosen."""
    endpoints = listed([1, 1])
    picker = fastest(LatencyBased(endpoints, explore=NEVER))
    for endpoint in endpoints[1], endpoints[1], endpoints[0]:
        Facts(1.0).happen(picker, endpoint)
    assert ["b", "a"] == [e.name for e in walk(picker, endpoints, 0.0)]
    picker.keep({"b"})

    assert {"b"} == picker.turns.chosen.keys() == picker.seen.keys()
    picker.keep({"a", "b"})
    assert ["a", "b"] == [e.name for e in walk(picker, endpoints, 0.0)]


def test_defaults_are_those_of_the_page() -> None:
    """The settings, the bound, and that a set is shared."""
    endpoints = EndpointSet(listed([1, 2]))
    layer = LatencyBased(endpoints)

    assert "LatencyBased(endpoints=[a, b x 2], tau=10.0, prior=1.0, gamma=2.0)" == repr(layer)
    assert (0.02, 0.02, 4.0) == (layer.least, layer.explore.share, layer.explore.reach)
    assert layer == LatencyBased(endpoints, rng=Random(3))
    assert Bound(2, 9.0) == layer.bound(Bound(2, 9.0))
    assert endpoints is layer(dispatch).endpoints
