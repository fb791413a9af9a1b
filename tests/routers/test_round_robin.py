"""Turns by weight: fair at any time, together or one by one, and whoever refuses."""

from __future__ import annotations

import asyncio
from collections import Counter
from fractions import Fraction
from random import Random
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.messages import Request
from llmstack.order import Bound
from llmstack.routers.round_robin import RoundRobin
from llmstack.routers.router import RouterService
from llmstack.routers.turns import Turns
from llmstack.service import by_endpoint
from llmstack.testing.scripted import echo
from llmstack.testing.virtual import run_virtual
from tests.routers.stage import Actors, listed, outcome_of


weights = st.lists(st.integers(1, 7), min_size=1, max_size=6)
#: The most that anyone is off its share, in turns: 13 / 12, of all weights up to 7 for up to 6.
OFF: Final = Fraction(13, 12)


async def asked(router: RouterService, calls: int) -> str:
    return "".join([str(await router(Request())) for _ in range(calls)])


@pytest.mark.parametrize(
    ("weights", "calls", "expected"),
    [([1, 1, 1], 4, "abca"), ([5, 1, 1], 7, "aabacaa"), ([1, 0, 1], 4, "acac"), ([3], 3, "aaa")],
)
def test_the_sequence(weights: list[int], calls: int, expected: str) -> None:
    """LR-15, and the published one: weight 0 is no turn, and nobody has five in a row."""
    router = RoundRobin(listed(weights))(Actors())

    assert expected == asyncio.run(asked(router, calls))


def test_ten_calls_to_three() -> None:
    """EG-1, LR-10: each of three has ten calls divided by three, and a cycle is exact."""
    router = RoundRobin(listed([1, 1, 1]))(Actors())
    counts = Counter(asyncio.run(asked(router, 10)))

    assert {"a": 4, "b": 3, "c": 3} == counts


@given(weights)
@example([1, 1, 1, 7, 7, 7])
def test_each_gets_its_share_at_any_time(weights: list[int]) -> None:
    """At no time is anyone much more than a turn off it, and after a cycle it is exact."""
    total, there = sum(weights), listed(weights)
    router = RoundRobin(there)(Actors())

    async def main() -> None:
        taken: Counter[object] = Counter()
        for n in range(1, 2 * total + 1):
            taken[await router(Request())] += 1
            off = [taken[e.name] * total - n * e.weight for e in there]
            assert max(map(abs, off)) <= OFF * total
        assert [2 * weight for weight in weights] == [taken[e.name] for e in there]

    asyncio.run(main())


@given(
    n=st.integers(1, 6),
    k=st.integers(1, 6),
    seed=st.integers(0, 999),
    acts=st.lists(st.sampled_from(["ok", "fail", "busy", "bug"]), min_size=6, max_size=6),
)
def test_calls_that_overlap_take_different_turns(
    n: int, k: int, seed: int, acts: list[str]
) -> None:
    """Of n * k calls each of n has k, in whatever order they begin and end, failed or not."""
    rng = Random(seed)
    inner = Actors(dict(zip("abcdef", acts, strict=True)))
    delays = [rng.random() for _ in range(n * k)]

    async def late(request: Request) -> object:
        await asyncio.sleep(delays[len(inner.asked)])
        return await inner(request)

    router = RoundRobin(listed([1] * n))(late)
    taken: Counter[str] = Counter()

    async def call(begins: float) -> None:
        await asyncio.sleep(begins)
        request = Request()
        await outcome_of(router, request)
        taken[request.call.attempts[0].endpoint] += 1

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(n * k):
                group.create_task(call(rng.random() * 2))

    run_virtual(main())

    assert dict.fromkeys("abcdef"[:n], k) == taken


@given(
    n=st.integers(1, 6),
    k=st.integers(1, 6),
    down=st.sets(st.sampled_from("abcdef")),
    soft=st.booleans(),
    late=st.booleans(),
    seed=st.integers(0, 999),
)
@example(n=4, k=1, down={"a", "b"}, soft=False, late=False, seed=0)
@example(n=2, k=6, down={"a", "b"}, soft=True, late=False, seed=0)
@example(n=6, k=6, down={"a", "b", "c", "f"}, soft=False, late=True, seed=3)
def test_refusals_leave_the_others_even(
    n: int, k: int, down: set[str], seed: int, *, soft: bool, late: bool
) -> None:
    """Of calls that overlap the counts differ by one at most; by two if refusals come late.

    In any case the others owe each other exactly what they would if they were alone.
    """
    rng, names = Random(seed), "abcdef"[:n]
    inner = Actors(dict.fromkeys(down, "soft" if soft else "hard"))

    async def service(request: Request) -> object:
        if late or request.insists or by_endpoint(request) not in down:
            await asyncio.sleep(rng.random())
        return await inner(request)

    router = RoundRobin(listed([1] * n))(service)

    async def call(begins: float) -> object:
        await asyncio.sleep(begins)
        return await outcome_of(router, Request())

    async def main() -> Counter[object]:
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(call(rng.random())) for _ in range(n * k)]
        return Counter(str(each.result()) for each in calls)

    taken, _ = run_virtual(main())

    alone = [name for name in names if name not in down]
    up = alone or (list(names) if soft else [])
    counts = [taken[name] for name in up]
    assert (n * k if up else 0) == sum(counts)
    assert max(counts, default=0) - min(counts, default=0) <= 1 + late
    assert isinstance(router.picker, Turns)
    turns = router.picker.turns
    for name in alone:
        owed = sum(turns.earned.get(other, {}).get(name, 0.0) for other in down)
        assert n * k - len(alone) * taken[name] == turns.credit[name] + owed


@given(weights=weights, down=st.lists(st.integers(1, 7), max_size=3), soft=st.booleans())
@example(weights=[5, 1, 1], down=[7, 1, 7], soft=False)
def test_the_others_share_what_a_refusal_leaves(
    weights: list[int], down: list[int], *, soft: bool
) -> None:
    """By weight, as if those that refuse were not there: nobody is much more than a turn off."""
    up, total = listed(weights), sum(weights)
    away = [Endpoint(f"down {n}", echo, weight) for n, weight in enumerate(down)]
    acts = dict.fromkeys([e.name for e in up], "soft") if soft else {}
    acts |= dict.fromkeys([e.name for e in away], "hard")
    router = RoundRobin([*away, *up])(Actors(acts))

    async def main() -> None:
        taken: Counter[object] = Counter()
        for n in range(1, 3 * total + 1):
            taken[await router(Request())] += 1
            off = [taken[e.name] * total - n * e.weight for e in up]
            assert max(map(abs, off)) < 1.25 * total

    asyncio.run(main())


def test_who_refuses_is_asked_in_its_turn_and_not_in_each() -> None:
    """So a gate that lets through a share of what comes gets that share of its turns."""
    inner = Actors({"a": "hard"})
    router = RoundRobin(listed([1, 1, 1]))(inner)
    asyncio.run(asked(router, 6))
    assert "abcabcabc" == "".join(name for name, _ in inner.asked)

    inner.acts = {}
    assert "abcabc" == asyncio.run(asked(router, 6))


def test_late_refusals_give_back_what_came_meanwhile() -> None:
    """While `a` was being asked, others have paid it; when it refuses, they get that too."""
    inner = Actors({"a": "hard"})

    async def late(request: Request) -> object:
        await asyncio.sleep(1.0 if by_endpoint(request) == "a" else 0.0)
        return await inner(request)

    router = RoundRobin(listed([1, 1, 1]))(late)

    async def main() -> tuple[str, object]:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(router(Request()))
            await asyncio.sleep(0)
            meanwhile = await asked(router, 2)
        return meanwhile, first.result()

    (meanwhile, first), _ = run_virtual(main())

    assert "bc" == meanwhile
    assert "b" == first
    assert {"a": 0.0, "b": -1.0, "c": 1.0} == router.statistics()


@given(weights=weights, by=st.permutations("abcdef"), calls=st.integers(1, 30))
def test_names_do_not_matter(weights: list[int], by: list[str], calls: int) -> None:
    """Renamed endpoints are chosen as before, under their new names."""
    there = listed(weights)
    renamed = [Endpoint(new, echo, e.weight) for e, new in zip(there, by, strict=False)]
    new_name = dict(zip("abcdef", by, strict=True))
    before = asyncio.run(asked(RoundRobin(there)(Actors()), calls))

    assert "".join(new_name[name] for name in before) == asyncio.run(
        asked(RoundRobin(renamed)(Actors()), calls)
    )


@given(weights=weights, shuffle=st.randoms())
def test_the_order_of_the_list_only_breaks_ties(weights: list[int], shuffle: Random) -> None:
    """Who has most to get goes first wherever it stands, and a cycle is the same for each."""
    there = listed(weights)
    mixed = shuffle.sample(there, len(there))
    cycle = asyncio.run(asked(RoundRobin(mixed)(Actors()), sum(weights)))

    assert {e.name: e.weight for e in there} == Counter(cycle)
    first = next(e.name for e in mixed if e.weight == max(weights))
    assert first == cycle[0]


@given(weights=weights, scale=st.sampled_from([0.125, 0.5, 4.0, 1024.0]))
def test_only_the_proportion_of_weights_matters(weights: list[int], scale: float) -> None:
    """All of them times the same number is the same sequence."""
    router = RoundRobin(listed(weights))(Actors())
    scaled = RoundRobin(listed([weight * scale for weight in weights]))(Actors())

    assert asyncio.run(asked(router, 30)) == asyncio.run(asked(scaled, 30))


def test_a_cancelled_call_has_had_its_turn() -> None:
    """It was sent; the next call goes to the next endpoint."""
    router = RoundRobin(listed([1, 1]))(Actors(delay=1.0))

    async def main() -> str:
        async with asyncio.TaskGroup() as group:
            call = group.create_task(router(Request()))
            await asyncio.sleep(0.5)
            call.cancel()
        return await asked(router, 2)

    assert ("ba", 2.5) == run_virtual(main())


def test_an_endpoint_that_comes_back_has_no_debts() -> None:
    """What it owed or was owed went with it, and was shared out among those that stayed."""
    endpoints = EndpointSet(listed([5, 1, 1]))
    router = RoundRobin(endpoints)(Actors())

    async def main() -> str:
        before = await asked(router, 1)
        assert {"a": -2.0, "b": 1.0, "c": 1.0} == router.statistics()
        gone = endpoints.remove("a")
        between = await asked(router, 1)
        assert {"b": -1.0, "c": 1.0} == router.statistics()
        endpoints.add(gone)
        return f"{before} {between} {await asked(router, 7)}"

    assert "a b acaabaa" == asyncio.run(main())


def test_explains_by_credit_and_weight() -> None:
    """The richest after earning is next; lower is better, so the sign is turned."""
    picker, there = Turns(), listed([5, 1])
    next(picker.order(Request(), there, 0.0))
    terms = picker.explain(Request(), there, 0.0)

    assert {"a": -4.0, "b": -2.0} == {name: each.score for name, each in terms.items()}
    assert {"credit": -1.0, "weight": 5.0} == terms["a"].terms
    assert "weight 5" == terms["a"].reason
    assert {"a": -1.0, "b": 1.0} == picker.statistics()


def test_the_bound_is_one_call() -> None:
    """A refusal is no call."""
    assert Bound(2, 9.0) == RoundRobin(listed([1, 1])).bound(Bound(2, 9.0))
