"""Endpoints that come, go and change while traffic runs."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import LLMStackError, NoEndpoint
from llmstack.messages import Request
from llmstack.routers.round_robin import RoundRobin
from llmstack.routers.router import RouterService
from llmstack.routers.turns import Turns
from llmstack.testing.scripted import echo
from llmstack.testing.virtual import run_virtual
from tests.routers.stage import ROUTERS, Account, Actors, Ranked, Router, listed, outcome_of


NAMES: Final = "abcd"
names = st.sampled_from(NAMES)
changes = st.one_of(
    st.tuples(st.sampled_from(["add", "remove", "enable", "disable"]), names, st.just(1)),
    st.tuples(st.just("reweight"), names, st.integers(0, 3)),
    st.tuples(st.just("call"), st.just(""), st.integers(1, 6)),
)


def change(there: dict[str, tuple[int, bool]], kind: str, name: str, weight: int) -> None:
    """Do to the model, name to weight and whether it is enabled, what is done to the set."""
    old, enabled = there.get(name, (1, True))
    if kind == "remove":
        there.pop(name, None)
    elif (name in there) != (kind == "add"):
        switched = {"enable": True, "disable": False}.get(kind, enabled)
        there[name] = (weight if kind == "reweight" else old), switched


def apply(endpoints: EndpointSet, kind: str, name: str, weight: int) -> None:
    if kind == "add" and name not in endpoints:
        endpoints.add(Endpoint(name, echo))
    elif kind == "reweight" and name in endpoints:
        endpoints.reweight(name, weight)
    elif kind in {"remove", "enable", "disable"} and name in endpoints:
        getattr(endpoints, kind)(name)


@pytest.mark.parametrize("kind", ROUTERS)
@given(steps=st.lists(changes, max_size=20))
@example(steps=[("call", "", 1)])
@example(
    steps=[
        ("add", "a", 1),
        ("add", "b", 1),
        ("call", "", 2),
        ("disable", "a", 1),
        ("reweight", "b", 0),
        ("call", "", 1),
        ("enable", "a", 1),
        ("remove", "b", 1),
        ("call", "", 1),
    ]
)
def test_calls_go_to_who_is_there(kind: type[Router], steps: list[tuple[str, str, int]]) -> None:
    """Each to one that is there, enabled and has a weight; the first is seen by the next call."""
    endpoints, there = EndpointSet(), dict[str, tuple[int, bool]]()
    router = kind(endpoints)(Actors())
    account = Account.of(router)

    async def main() -> None:
        for what, name, number in steps:
            if what != "call":
                change(there, what, name, number)
                apply(endpoints, what, name, number)
                continue
            before = len(account.yielded)
            outcomes = [await outcome_of(router, Request()) for _ in range(number)]
            fit = {name for name, (weight, enabled) in there.items() if weight and enabled}
            assert list(there) == [endpoint.name for endpoint in endpoints]
            if fit:
                assert fit >= set(outcomes)
                assert outcomes == account.yielded[before:]
                assert there.keys() >= router.statistics().keys()
            else:
                assert {NoEndpoint} == set(map(type, outcomes))
                check_reasons(outcomes[0], there)
        assert [] == account.pending

    asyncio.run(main())


def check_reasons(outcome: object, there: dict[str, tuple[int, bool]]) -> None:
    """Each is named with what keeps it out, and there is no time to wait for."""
    assert isinstance(outcome, NoEndpoint)
    why = [
        f"{name}: {'has weight 0' if enabled else 'is disabled'}"
        for name, (_, enabled) in there.items()
    ]
    assert f"no endpoint could take the request ({'; '.join(why)})" == outcome.message
    assert (None, False) == (outcome.ready_at, outcome.soft)


def test_a_request_in_flight_is_not_touched() -> None:
    """The endpoint is removed under it; it comes back all the same, and is settled."""
    endpoints = EndpointSet(listed([1, 1]))
    router = RoundRobin(endpoints)(Actors(delay=1.0))
    account = Account.of(router)

    async def main() -> list[object]:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(router(Request()))
            await asyncio.sleep(0.5)
            endpoints.remove("a")
            second = group.create_task(router(Request()))
        return [first.result(), second.result(), await router(Request())]

    outcomes, _ = run_virtual(main())

    assert ["a", "b", "b"] == outcomes
    assert [] == account.pending
    assert [{"a", "b"}, {"b"}] == account.kept
    assert {"b"} == router.statistics().keys()


def test_who_is_switched_off_is_not_forgotten() -> None:
    """It keeps its statistics; whoever is removed does not, nor what was insisted on."""
    endpoints = EndpointSet(listed([1, 1, 1]))
    router = RoundRobin(endpoints)(Actors(dict.fromkeys("ab", "soft")))
    account = Account.of(router)
    assert isinstance(account.picker, Turns)
    endpoints.remove("c")

    async def main() -> None:
        await router(Request())
        endpoints.disable("a")
        await router(Request())
        endpoints.remove("b")
        endpoints.enable("a")
        await router(Request())

    asyncio.run(main())

    assert [{"a", "b"}, {"a", "b"}, {"a"}] == account.kept
    assert ["a"] == list(account.picker.turns.credit) == list(account.picker.insisted.credit)


@pytest.mark.parametrize("change", ["disable", "remove"])
@pytest.mark.parametrize("act", ["hard", "fail"])
def test_a_walk_passes_over_who_was_switched_off_meanwhile(act: str, change: str) -> None:
    """It began before the change; nobody is asked any more who was switched off."""
    endpoints = EndpointSet(listed([1, 1, 1]))
    inner = Actors({"a": act}, delay=1.0)
    account = Account(Ranked("abc"))
    router = RouterService(endpoints, account, inner, goes_on=lambda _error, _asked: True)

    async def main() -> object:
        async with asyncio.TaskGroup() as group:
            call = group.create_task(router(Request()))
            await asyncio.sleep(0.5)
            getattr(endpoints, change)("b")
            await router(Request())  # another call sees the change before the walk goes on
        return call.result()

    outcome, _ = run_virtual(main())

    assert "c" == outcome
    assert ("b", False) not in inner.asked
    assert [] == account.pending
    assert ("b", "refused") in account.settled


def test_a_walk_does_not_miss_who_was_only_reweighted() -> None:
    """A change to one endpoint leaves the others, and itself, in the walk."""
    endpoints = EndpointSet(listed([1, 1]))
    inner = Actors({"a": "hard"}, delay=1.0)
    router = RouterService(endpoints, Ranked("ab"), inner)

    async def main() -> object:
        async with asyncio.TaskGroup() as group:
            call = group.create_task(router(Request()))
            await asyncio.sleep(0.5)
            endpoints.reweight("b", 7)
        return call.result()

    assert ("b", 2.0) == run_virtual(main())


def test_who_comes_while_a_walk_runs_is_not_asked_by_it() -> None:
    """The walk is over those that were there; the refusal says so."""
    endpoints = EndpointSet(listed([1]))
    inner = Actors({"a": "hard"}, delay=1.0)
    router = RouterService(endpoints, Ranked("ab"), inner)

    async def main() -> object:
        async with asyncio.TaskGroup() as group:
            call = group.create_task(outcome_of(router, Request()))
            await asyncio.sleep(0.5)
            endpoints.add(listed([1, 1])[1])
        return call.result()

    outcome, _ = run_virtual(main())

    assert isinstance(outcome, LLMStackError)
    assert "(a: full; b: came too late)" in outcome.message


def test_a_shared_set_changes_for_all_its_routers() -> None:
    """Each with turns of its own, over the same endpoints."""
    shared = EndpointSet(listed([1, 1, 1]))
    layer = RoundRobin(shared)
    one, two = layer(Actors()), RoundRobin(shared)(Actors())
    shared.disable("b")

    async def main() -> Counter[object]:
        return Counter([await router(Request()) for router in (one, two) for _ in range(4)])

    assert {"a": 4, "c": 4} == asyncio.run(main())
