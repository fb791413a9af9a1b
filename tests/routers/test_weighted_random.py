"""Shares by chance: exact on a grid of draws, and as they should be over many."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.builder import ServiceBuilder
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import ConfigError, NoEndpoint
from llmstack.messages import Request
from llmstack.order import Bound
from llmstack.routers.router import RouterService
from llmstack.routers.weighted_random import WeightedRandom
from llmstack.testing.scripted import echo
from tests.routers.stage import Actors, listed, outcome_of


weights = st.lists(st.integers(0, 5), min_size=1, max_size=5).filter(any)
some = st.lists(st.just(0.0) | st.floats(1e-9, 1e9), min_size=1, max_size=5).filter(any)


class Dice(Random):
    """Chance as told; a copy has what is left."""

    def __init__(self, draws: Iterable[float]) -> None:
        super().__init__(0)
        self.draws = list(draws)

    def random(self) -> float:
        return self.draws.pop(0)

    def __deepcopy__(self, memo: object) -> Dice:
        return Dice(self.draws)


def grid(total: int) -> list[float]:
    """One draw in the middle of each of *total* equal parts of chance."""
    return [(n + 0.5) / total for n in range(total)]


async def asked(router: RouterService, calls: int) -> list[object]:
    return [await router(Request()) for _ in range(calls)]


@given(weights)
def test_each_has_exactly_its_part_of_chance(weights: list[int]) -> None:
    """P-AL-1: of as many equal draws as the weights add up to, each gets its weight."""
    there, total = listed(weights), sum(weights)
    router = WeightedRandom(there, rng=Dice(grid(total)))(Actors())
    taken = Counter(asyncio.run(asked(router, total)))

    assert {e.name: e.weight for e in there if e.weight} == taken


@given(weights)
def test_a_refusal_draws_anew_among_the_rest(weights: list[int]) -> None:
    """Who is drawn and refuses leaves each of the others its exact part of what is left."""
    there = [e for e in listed(weights) if e.weight]
    for first in there:
        rest = [e for e in there if e is not first]
        total = int(sum(e.weight for e in rest))
        before = sum(e.weight for e in there[: there.index(first)])
        draw = (before + first.weight / 2) / sum(weights)
        draws = [each for second in grid(total) for each in (draw, second)]
        router = WeightedRandom(listed(weights), rng=Dice(draws))(Actors({first.name: "hard"}))

        taken = Counter(asyncio.run(asked(router, total)))

        assert {e.name: e.weight for e in rest} == taken


def test_fractions_are_kept() -> None:
    """W-LL-3, LR-20: .3, .2 and .1 are three to two to one, and 1.4 is not 1."""
    router = WeightedRandom(listed([0.3, 0.2, 0.1]), rng=Dice(grid(6)))(Actors())
    uneven = WeightedRandom(listed([1.4, 1.0]), rng=Dice(grid(12)))(Actors())

    assert {"a": 3, "b": 2, "c": 1} == Counter(asyncio.run(asked(router, 6)))
    assert {"a": 7, "b": 5} == Counter(asyncio.run(asked(uneven, 12)))


#: Chi-square with 2 degrees of freedom: a fair draw is above this once in a thousand.
BOUND: Final = 13.8


@pytest.mark.parametrize("seed", range(5))
def test_frequencies_pass_a_chi_square(seed: int) -> None:
    """LR-3, LR-13, P-AL-2: 6,000 draws over 1, 2, 3, and after a refusal over what is left."""
    for acts, expected in (
        ({}, {"a": 1000, "b": 2000, "c": 3000}),
        ({"c": "hard"}, {"a": 2000, "b": 4000}),
    ):
        router = WeightedRandom(listed([1, 2, 3]), rng=Random(seed))(Actors(acts))
        taken = Counter(asyncio.run(asked(router, 6000)))

        chi_square = sum((taken[name] - n) ** 2 / n for name, n in expected.items())
        assert expected.keys() == taken.keys()
        assert chi_square < BOUND


@given(weights=some, seed=st.integers(0, 999), refuse=st.integers(0, 4))
def test_weight_zero_is_never_drawn(weights: list[float], seed: int, refuse: int) -> None:
    """LR-6: nor is anybody who is not there, whatever the others say."""
    acts = dict.fromkeys("abcde"[:refuse], "hard")
    inner = Actors(acts)
    router = WeightedRandom(listed(weights), rng=Random(seed))(inner)

    async def main() -> list[object]:
        return [await outcome_of(router, Request()) for _ in range(20)]

    outcomes = asyncio.run(main())

    positive = {e.name for e in listed(weights) if e.weight}
    assert positive >= {name for name, _ in inner.asked}
    assert all(isinstance(each, NoEndpoint) == (positive <= acts.keys()) for each in outcomes)


@given(weights=weights, seed=st.integers(0, 999))
def test_the_same_seed_is_the_same_sequence(weights: list[int], seed: int) -> None:
    """P-LB-8: and a sequence it is, not one number."""
    runs = [
        asyncio.run(asked(WeightedRandom(listed(weights), rng=Random(seed))(Actors()), 30))
        for _ in range(2)
    ]

    assert runs[0] == runs[1]


def test_five_hundred_draws_at_once_differ() -> None:
    """LR-14: chance does not come from the clock."""
    router = WeightedRandom(listed([1, 1, 1]))(Actors())

    assert {"a", "b", "c"} == set(asyncio.run(asked(router, 500)))


@given(weights=weights, shuffle=st.randoms())
def test_the_order_of_the_list_changes_no_share(weights: list[int], shuffle: Random) -> None:
    """P-LB-5, P-AL-3: nor does a factor on all weights."""
    there, total = listed(weights), sum(weights)
    mixed = [Endpoint(e.name, echo, e.weight * 4) for e in shuffle.sample(there, len(there))]
    taken = Counter(
        asyncio.run(asked(WeightedRandom(mixed, rng=Dice(grid(total)))(Actors()), total))
    )

    assert {e.name: e.weight for e in there if e.weight} == taken


def test_a_builder_seeds_the_dice() -> None:
    """Two stacks with one seed draw alike, with another they do not; given dice stay."""
    layer = WeightedRandom(listed([1, 1, 1]))

    def drawn(builder: ServiceBuilder) -> list[object]:
        async def main() -> list[object]:
            stack = builder.layer(layer).service(Actors())
            return [await stack(Request()) for _ in range(50)]

        return asyncio.run(main())

    assert drawn(ServiceBuilder(seed=1)) == drawn(ServiceBuilder(seed=1))
    assert drawn(ServiceBuilder(seed=1)) != drawn(ServiceBuilder(seed=2))
    assert drawn(ServiceBuilder()) != drawn(ServiceBuilder())
    assert layer == WeightedRandom(layer.endpoints, rng=Random(7))


def test_each_use_has_dice_of_its_own_unless_given_some() -> None:
    """Given dice are shared by all uses of the layer."""
    given_dice = Dice([0.1, 0.9])
    shared = WeightedRandom(listed([1, 1]), rng=given_dice)
    layer = WeightedRandom(listed([1, 1]))

    assert ["a"] == asyncio.run(asked(shared(Actors()), 1))
    assert ["b"] == asyncio.run(asked(shared(Actors()), 1))
    one, two = (asyncio.run(asked(layer(Actors()), 50)) for _ in range(2))
    assert one != two


def test_a_plan_shows_the_draws() -> None:
    """The one of the next call, and those that would follow refusals; shares of what is left."""
    router = WeightedRandom(listed([1, 3, 4]), rng=Dice([0.2, 0.9, 0.5]))(Actors({"b": "hard"}))

    async def main() -> tuple[list[Any], object]:
        seen = [
            (each.endpoint, each.terms.draw, each.terms.score, each.terms.terms)
            for each in router.plan(Request())
        ]
        return seen, await router(Request())

    seen, taken = asyncio.run(main())

    assert [
        ("b", 0.2, -0.375, {"weight": 3.0, "share": 0.375}),
        ("c", 0.9, -0.8, {"weight": 4.0, "share": 0.8}),
        ("a", 0.5, -1.0, {"weight": 1.0, "share": 1.0}),
    ] == seen
    assert "c" == taken
    assert {} == router.statistics()


def test_there_must_be_somebody_to_draw() -> None:
    """LR-5, LR-9: a list without a positive weight is a mistake; a set may be filled later."""
    with pytest.raises(ConfigError, match="endpoints: no weight is positive"):
        WeightedRandom(listed([0.0]))
    for weight in (float("nan"), -1.0, float("inf")):
        with pytest.raises(ConfigError, match="weight must be a finite number >= 0"):
            WeightedRandom(listed([weight]))
    later = EndpointSet(listed([0.0]))
    router = WeightedRandom(later)(Actors())
    assert isinstance(asyncio.run(outcome_of(router, Request())), NoEndpoint)
    later.reweight("a", 0.5)
    assert ["a"] == asyncio.run(asked(router, 1))


def test_the_bound_is_one_call() -> None:
    """A refusal is no call."""
    assert Bound(2, 9.0) == WeightedRandom(listed([1, 1])).bound(Bound(2, 9.0))
