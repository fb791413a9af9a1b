"""A plan is the truth about the next call, for each router in any state."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.call import Attempt, Call
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.messages import Request
from llmstack.routers.fallback import Fallback
from llmstack.routers.plan import Candidate, Plan, Terms
from llmstack.routers.round_robin import RoundRobin
from llmstack.routers.router import RouterService
from llmstack.routers.weighted_random import WeightedRandom
from llmstack.testing.scripted import echo
from tests.routers.stage import ROUTERS, Account, Actors, Ranked, Router, listed, outcome_of


weights = st.lists(st.integers(1, 5), min_size=1, max_size=5)


def made(kind: type[Router], weights: list[int], seed: int, inner: Actors) -> RouterService:
    if kind is RoundRobin:
        return RoundRobin(listed(weights))(inner)
    return (WeightedRandom if kind is WeightedRandom else Fallback)(
        listed(weights), rng=Random(seed)
    )(inner)


@pytest.mark.parametrize("kind", ROUTERS)
@given(
    weights=weights,
    seed=st.integers(0, 99),
    warm=st.integers(0, 20),
    tried=st.integers(0, 2),
    refuse=st.sets(st.sampled_from("abcde")),
)
def test_the_next_call_goes_where_the_plan_says(
    kind: type[Router], weights: list[int], seed: int, warm: int, tried: int, refuse: set[str]
) -> None:
    """As far down the plan as it is refused; and to plan leaves no trace."""
    inner = Actors()
    router = made(kind, weights, seed, inner)

    async def main() -> tuple[tuple[str, ...], object]:
        for _ in range(warm):
            await router(Request())
        attempts = [Attempt(e.name, 0.0, router=router, again=True) for e in router.endpoints]
        request = Request(call=Call(attempts=attempts[:tried]))
        plan = router.plan(request)
        assert str(plan) == str(router.plan(request))
        inner.acts = dict.fromkeys(refuse, "hard")
        inner.asked.clear()
        return plan.order, await outcome_of(router, request)

    order, outcome = asyncio.run(main())

    taken = [name for name in order if name not in refuse]
    asked = [name for name, _ in inner.asked]
    assert set(order) == {endpoint.name for endpoint in router.endpoints}
    assert list(order[: order.index(taken[0]) + 1] if taken else order) == asked
    assert not taken or taken[0] == outcome


@pytest.mark.parametrize("seed", range(10))
def test_a_plan_goes_on_with_the_same_dice(seed: int) -> None:
    """Those that were tried are drawn after the others, not with the draws of the others."""
    inner = Actors(dict.fromkeys("abcd", "hard"))
    router = made(WeightedRandom, [1, 1, 1, 1], seed, inner)
    attempts = [Attempt(name, 0.0, router=router, again=True) for name in "bcd"]

    async def main() -> tuple[str, ...]:
        request = Request(call=Call(attempts=attempts))
        plan = router.plan(request)
        await outcome_of(router, request)
        return plan.order

    assert asyncio.run(main()) == tuple(name for name, _ in inner.asked)


def planned(router: RouterService, request: Request) -> Plan:
    async def main() -> Plan:
        return router.plan(request)

    return asyncio.run(main())


@pytest.mark.parametrize("kind", ROUTERS)
def test_a_candidate_has_model_score_terms_and_reason(kind: type[Router]) -> None:
    """EA-7: all four, in every router; and the score is a number made of the terms."""
    there = [Endpoint("eu", echo, 3, models={"chat": "gpt-4o"}), Endpoint("us", echo)]
    plan = planned(kind(there)(echo), Request("chat"))

    assert {"eu": "gpt-4o", "us": "chat"} == {each.endpoint: each.model for each in plan}
    assert ["asked first", "asked if 1 refuse"] == [each.verdict for each in plan]
    for each in plan:
        assert each.terms.reason
        assert each.terms.score is not None
        assert each.terms.terms
        assert f"{each.endpoint}: {each.verdict}; score" in str(each)


def test_who_is_left_out_is_named_with_the_reason() -> None:
    """After those that would be asked: disabled, unfit, tried; the attempt that may come again."""
    endpoints = EndpointSet(listed([1, 0, 1, 1, 1]))
    endpoints.disable("c")
    router = RouterService(endpoints, Ranked("edcba"), echo)
    tried = [
        Attempt("a", 0.0, router=router, again=True),
        Attempt("d", 0.0, router=router, again=False),
    ]
    plan = planned(router, Request(call=Call(attempts=tried)))

    assert ("e", "a") == plan.order
    assert [
        "e: asked first",
        "a: asked if 1 refuse",
        "b: left out; has weight 0",
        "c: left out; is disabled",
        "d: left out; has been tried",
    ] == str(plan).splitlines()


def test_a_plan_settles_what_its_copy_yields() -> None:
    """As refused, so that the copy goes on as the picker itself would."""
    router = RouterService(EndpointSet(listed([1, 1])), Ranked("ab"), echo)
    account = Account.of(router)
    copies: list[Account] = []

    class Copied(Account):
        def __deepcopy__(self, memo: object) -> Account:
            copies.append(Account(Ranked("ab")))
            return copies[-1]

    router.picker = Copied(account.picker)
    planned(router, Request())

    assert [[("a", "refused"), ("b", "refused")]] == [copy.settled for copy in copies]
    assert [] == account.yielded


def test_a_candidate_in_words() -> None:
    """All that is known, in one line; what is not known is not said."""
    terms = Terms(
        reason="because", score=1.25, terms={"x": 0.5, "y": 2}, latency=0.25, cost=0.0015, draw=0.5
    )

    assert "a: asked first" == str(Candidate("a", None, "asked first", Terms()))
    assert "a: asked first; score 1.25 (x 0.5, y 2); about 0.25 s; about $0.0015; because" == str(
        Candidate("a", "m", "asked first", terms)
    )
    assert "a: asked first; score 0" == str(Candidate("a", None, "asked first", Terms(score=0)))
