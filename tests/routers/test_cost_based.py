"""Where this request costs least: against exact fractions, and what a price does not say."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import inf
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.builder import ServiceBuilder
from llmstack.call import Attempt, Call, Outcome
from llmstack.endpoint import Endpoint, EndpointSet, Price
from llmstack.errors import ConfigError, ServerError
from llmstack.layers.retry import Retry
from llmstack.messages import Request, dispatch
from llmstack.order import Bound
from llmstack.routers.cost_based import Cheapest, CostBased, Unknown
from llmstack.testing.scripted import echo
from llmstack.testing.virtual import run_virtual
from tests.routers.stage import Actors


prices = st.none() | st.builds(Price, st.integers(0, 40), st.integers(0, 40))
unknowns = st.just("last") | st.builds(Price, st.integers(0, 40), st.integers(0, 40))
worlds = st.lists(prices, min_size=1, max_size=6)
#: The text of the prompt in tokens, the limit of the caller, and what is asked for.
asks = st.tuples(
    st.integers(0, 4000),
    st.none() | st.integers(0, 4000),
    st.sampled_from(["chat", "embeddings", "responses"]),
)
Ask = tuple[int, int | None, str]


def priced(prices: Sequence[Price | None]) -> list[Endpoint]:
    """Endpoints a, b, c ... that charge so much."""
    return [Endpoint(chr(ord("a") + n), echo, price=price) for n, price in enumerate(prices)]


def request_of(ask: Ask) -> Request:
    tokens, limit, operation = ask
    body: dict[str, Any] = {"input": "four" * tokens}
    if limit is not None:
        body["max_output_tokens"] = limit
    return Request("m", body, operation)


def expense(price: Price | None, unknown: Unknown, ask: Ask) -> Fraction | None:
    """The cost of a request, exactly; None if it is unknown."""
    tokens, limit, operation = ask
    price = price or (unknown if isinstance(unknown, Price) else None)
    if price is None:
        return None
    written = 0 if operation == "embeddings" else 500 if limit is None else limit
    return (tokens * Fraction(price.input) + written * Fraction(price.output)) / 1_000_000


def cheapest(layer: CostBased) -> Cheapest:
    """The picker that a use of *layer* gets."""
    picker = layer(echo).picker
    assert isinstance(picker, Cheapest)
    return picker


def walk(picker: Cheapest, request: Request, endpoints: Sequence[Endpoint]) -> list[str]:
    """The whole order, as if all refused."""
    return [endpoint.name for endpoint in picker.order(request, endpoints, 0.0)]


@given(world=worlds, unknown=unknowns, ask=asks)
@example(world=[None, Price(9, 9)], unknown="last", ask=(1, 1, "chat"))
@example(world=[None, Price(9, 9)], unknown=Price(0, 0), ask=(1, 1, "chat"))
@example(world=[Price(1, 9), Price(2, 1)], unknown="last", ask=(9, None, "embeddings"))
@example(world=[Price(0, 500), Price(250, 0)], unknown="last", ask=(1000, None, "chat"))
def test_the_order_is_that_of_the_least_expense(
    world: list[Price | None], unknown: Unknown, ask: Ask
) -> None:
    """Invariant 6, W-LL-44, U-19: by exact cost, ties as listed, unknown ones at the end."""
    endpoints = priced(world)
    picker = cheapest(CostBased(endpoints, unknown=unknown))
    cost = {e.name: expense(e.price, unknown, ask) for e in endpoints}
    order = walk(picker, request_of(ask), endpoints)

    assert [e.name for e in endpoints] == sorted(order)
    for one, other in pairwise(order):
        (mine, theirs) = (cost[one], cost[other])
        assert theirs is None or mine is not None
        # Floats may take two sums for one, or the other way round.
        assert mine is None or theirs is None or mine <= theirs * (1 + Fraction(1, 10**12))
        if mine == theirs and world[ord(one) - 97] == world[ord(other) - 97]:
            assert one < other


@given(world=worlds, unknown=unknowns, ask=asks)
@example(world=[Price(1, 9)], unknown="last", ask=(1, 0, "chat"))
def test_a_plan_shows_the_cost_and_how_it_was_reckoned(
    world: list[Price | None], unknown: Unknown, ask: Ask
) -> None:
    """W-LK-11: the tokens in and out, the price, and where it is from; the call goes there."""
    router = CostBased(priced(world), unknown=unknown)(Actors())

    async def main() -> tuple[Any, object]:
        before = router.statistics()
        plan = router.plan(request_of(ask))
        assert before == router.statistics()
        return plan, await router(request_of(ask))

    plan, taken = asyncio.run(main())

    assert taken == plan.order[0]
    for each in plan:
        price = world[ord(each.endpoint) - 97]
        cost = expense(price, unknown, ask)
        written = 0 if ask[2] == "embeddings" else 500 if ask[1] is None else ask[1]
        assert {"input": ask[0], "output": written} == each.terms.terms
        assert (None if cost is None else pytest.approx(float(cost))) == each.terms.cost
        assert each.terms.cost == each.terms.score
        said = "its price is unknown" if cost is None else "by its price"
        assert each.terms.reason.startswith(said if price or cost is None else "by the price taken")


def test_long_prompts_and_long_answers_go_to_different_places() -> None:
    """The prompt, the caller's own limit under each of its names, and the guess without one."""
    reads, writes = Price(1, 10), Price(4, 4)
    endpoints = priced([reads, writes])
    picker = cheapest(CostBased(endpoints, output=100))

    def chosen(prompt: int, limits: dict[str, Any], operation: str = "chat") -> str:
        content = "four" * prompt
        body = {"messages": [{"role": "user", "content": content}], **limits}
        return walk(picker, Request("m", body, operation), endpoints)[0]

    # a is cheaper as long as 3 x prompt > 6 x answer; a message has 6 tokens besides its text.
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        assert ["a", "b"] == [chosen(1000, {name: limit}) for limit in (502, 504)]
        assert ["b", "a"] == [chosen(prompt, {name: 503}) for prompt in (999, 1001)]
    assert ["b", "a"] == [chosen(prompt, {}) for prompt in (193, 195)]
    assert ["b", "a"] == [chosen(prompt, {"max_tokens": None}) for prompt in (193, 195)]
    assert "a" == chosen(1, {"max_tokens": 9999}, "embeddings")


@given(world=worlds, ask=asks, factor=st.sampled_from([2.0**-30, 0.5, 4.0, 2.0**20]))
def test_the_currency_decides_nothing(world: list[Price | None], ask: Ask, factor: float) -> None:
    """Invariant 19: all prices times the same."""
    dearer = [p and Price(p.input * factor, p.output * factor) for p in world]

    assert walk(cheapest(CostBased(priced(world))), request_of(ask), priced(world)) == walk(
        cheapest(CostBased(priced(dearer))), request_of(ask), priced(dearer)
    )


@given(world=worlds, ask=asks, shuffle=st.randoms(use_true_random=False))
def test_the_order_of_the_list_decides_only_ties(
    world: list[Price | None], ask: Ask, shuffle: Random
) -> None:
    """Invariant 20: the same costs come in the same order."""
    endpoints = priced(world)
    mixed = shuffle.sample(endpoints, len(endpoints))
    costs = []
    for each in (endpoints, mixed):
        picker = cheapest(CostBased(endpoints))
        told = picker.explain(request_of(ask), each, 0.0)
        costs.append([told[name].cost for name in walk(picker, request_of(ask), each)])

    assert costs[0] == costs[1]


@given(
    ties=st.integers(1, 5),
    kind=st.sampled_from([Price(1, 2), Price(0, 0), None]),
    refused=st.lists(st.integers(0, 5), max_size=12),
)
def test_ties_rotate_and_a_refusal_gives_the_turn_back(
    ties: int, kind: Price | None, refused: list[int]
) -> None:
    """Whoever waited longest, of those that answer; the dear one comes only when all refuse."""
    endpoints = [*priced([kind] * ties), Endpoint("z", echo, price=kind and Price(9, 9))]
    endpoints = endpoints if kind else endpoints[:-1]
    inner = Actors()
    router = CostBased(endpoints)(inner)
    queue = [e.name for e in endpoints[:ties]]

    async def main() -> None:
        for n in refused:
            inner.acts = dict.fromkeys(queue[:n], "hard")
            inner.asked.clear()
            if n < ties:
                assert queue[n] == await router(Request())
                assert queue[: n + 1] == [name for name, _ in inner.asked]
                queue.append(queue.pop(n))
            elif kind:
                assert "z" == await router(Request())

    asyncio.run(main())


@pytest.mark.parametrize("concurrent", [False, True])
def test_equals_get_the_same(*, concurrent: bool) -> None:
    """Also when all calls start together: a turn is taken when it is given, not when it ends."""
    inner = Actors(delay=1.0)
    router = CostBased(priced([Price(1, 1)] * 3))(inner)

    async def main() -> None:
        if concurrent:
            await asyncio.gather(*(router(Request()) for _ in range(30)))
        else:
            for _ in range(30):
                await router(Request())

    run_virtual(main())

    assert {"a": 10, "b": 10, "c": 10} == Counter(name for name, _ in inner.asked)


def test_the_cheapest_is_tried_first_and_retry_goes_on() -> None:
    """LR-2, EG-4: a router catches no failure; with `Retry` above the next cheapest answers."""
    inner = Actors({"b": "fail"})
    layer = CostBased(priced([Price(5, 5), Price(1, 1), Price(2, 2), None]))
    stack = ServiceBuilder(seed=1).layer(Retry(attempts=3)).layer(layer).service(inner)
    inner.acts = {"b": "fail"}

    async def main() -> list[object]:
        first = await stack(Request())
        inner.acts = {}
        return [first, *[await stack(Request()) for _ in range(5)]]

    assert ["c", "b", "b", "b", "b", "b"] == run_virtual(main())[0]
    assert ["b", "c"] == [name for name, _ in inner.asked][:2]


def test_nothing_is_learned_from_how_calls_end() -> None:
    """Invariant 5: a failure changes no place, up or down, nor does a slow success."""
    endpoints = priced([Price(1, 1), Price(2, 2), Price(3, 3)])
    picker = cheapest(CostBased(endpoints))
    for outcome in (Outcome.of(ServerError(), 9.0), Outcome(99.0, first=99.0, cost=5.0)):
        for endpoint in endpoints:
            picker.settle(endpoint, 0.0, outcome)

        assert ["a", "b", "c"] == walk(picker, Request(), endpoints)


def test_a_price_that_changes_counts_at_once() -> None:
    """W-LK-10: prices are read from the endpoints, which may be others by the next call."""
    endpoints = EndpointSet(priced([Price(1, 1), Price(2, 2)]))
    router = CostBased(endpoints)(Actors())

    async def main() -> list[object]:
        before = await router(Request())
        endpoints.remove("a")
        endpoints.add(Endpoint("a", echo, price=Price(3, 3)))
        return [before, await router(Request())]

    assert ["a", "b"] == asyncio.run(main())
    assert endpoints is router.endpoints


def test_who_was_tried_is_left_out() -> None:
    """And a name that is gone loses its turn, so that nothing is kept of it."""
    endpoints = EndpointSet(priced([Price(1, 1), Price(1, 1)]))
    router = CostBased(endpoints)(Actors())

    async def main() -> list[object]:
        tried = Request(call=Call(attempts=[Attempt("a", 0.0, router=router)]))
        seen = [await router(tried), router.statistics()]
        endpoints.remove("b")
        return [*seen, await router(Request()), router.statistics()]

    assert ["b", {"b": 1}, "a", {"a": 2}] == asyncio.run(main())


def test_settings() -> None:
    """What is not a policy for unknown prices, or a number of tokens, is named."""
    layer = CostBased(priced([None]))

    assert ("last", 500) == (layer.unknown, layer.output)
    assert "CostBased(endpoints=[a], unknown='last', output=500)" == repr(layer)
    assert Bound(2, 9.0) == layer.bound(Bound(2, 9.0))
    assert inf == cheapest(layer).cost(layer.endpoints[0], cheapest(layer).expected(Request()))  # type: ignore[index]
    wrong: dict[str, Any]
    for wrong in ({"unknown": "first"}, {"unknown": None}, {"output": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}.* must be"):
            CostBased(priced([None]), **wrong)
    with pytest.raises(ConfigError, match="a router needs at least one"):
        CostBased([])
    assert dispatch is layer(dispatch).inner
