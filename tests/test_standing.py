from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from llmstack.builder import ServiceBuilder, Stack
from llmstack.call import Attempt
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import RateLimited, ServerError
from llmstack.layers.circuit_breaker import CircuitBreaker
from llmstack.layers.concurrency_limit import ConcurrencyLimit
from llmstack.layers.cooldown import Cooldown
from llmstack.messages import Request, dispatch
from llmstack.routers.round_robin import RoundRobin
from llmstack.standing import SWITCHED_OFF, UP, Standing, standing_of, together, worst_of
from llmstack.testing.scripted import ScriptedService, echo
from llmstack.testing.virtual import run_virtual


DEGRADED: Final = Standing("degraded", "slow", "circuit_breaker")
SOFT: Final = Standing("down", "open", "circuit_breaker", 7.0, soft=True)
HARD: Final = Standing("down", "put aside", "cooldown", 5.0)
#: From good to bad.
LADDER: Final = (UP, DEGRADED, SOFT, HARD, SWITCHED_OFF)


@pytest.mark.parametrize("place", range(1, len(LADDER)))
def test_the_worst_counts(place: int) -> None:
    """Of two neighbours on the ladder the worse one, in any order; of equals the first."""
    better, worse = LADDER[place - 1 : place + 1]
    like = Standing(worse.state, "another reason", soft=worse.soft)

    assert [worse, worse] == [worst_of([better, worse]), worst_of([worse, better])]
    assert worse is worst_of([better, worse, like])
    assert UP is worst_of([])


def test_it_is_said_in_words() -> None:
    """The state, who says so, and why."""
    assert "up" == str(UP)
    assert "down (cooldown: put aside)" == str(HARD)
    assert "disabled (switched off)" == str(SWITCHED_OFF)


def test_a_group_is_as_good_as_its_best_member() -> None:
    """If one is up it is; else it says how each of them stands, and when the first is ready."""
    told = together({"a": HARD, "b": SOFT})

    assert UP is together({"a": HARD, "b": UP})
    assert UP is together({})
    assert ("down", True, "", 5.0) == (told.state, told.soft, told.gate, told.ready_at)
    assert f"a is {HARD}; b is {SOFT}" == told.reason
    assert None is together({"a": DEGRADED}).ready_at


def test_all_gates_on_the_way_are_asked() -> None:
    """Each under its role, and those that have nothing to say are passed over."""

    class Stern:
        inner = None

        def standing(self, _request: object) -> Standing:
            return Standing("degraded", "it is me")

    class Between:
        inner = Stern()

    assert Standing("degraded", "it is me", "Stern") == standing_of(Between(), object())
    assert UP is standing_of(echo, object())


def stack_of(*endpoints: Endpoint) -> Stack[Any, Any]:
    builder = ServiceBuilder(seed=1).layer(RoundRobin(EndpointSet(endpoints)))
    layers = (CircuitBreaker(), Cooldown(), ConcurrencyLimit(1))
    for layer in layers:
        builder = builder.layer(layer)
    return builder.service(dispatch)


def test_the_verdict_on_an_endpoint_is_the_worst_of_its_gates() -> None:
    """Of breaker, cooldown and limit; with the reason, in standings, statistics and plan."""
    limited = RateLimited("limited", retry_after=20.0)
    eu = Endpoint("eu", ScriptedService([*[ServerError()] * 6, limited]), key="one")
    us = Endpoint("us", ScriptedService(["ok"], delay=3.0))
    stack = stack_of(eu, us, Endpoint("off", echo))
    stack["router"].endpoints.disable("off")

    async def main() -> tuple[list[dict[str, Standing]], str]:
        seen = []
        request = Request("m").to(eu, Attempt("eu", 0.0))
        for _ in range(6):
            with pytest.raises(ServerError):
                await stack["circuit_breaker"](request)
        seen.append(stack.standings())
        stack["circuit_breaker"].close("eu")
        with pytest.raises(RateLimited):
            await stack["circuit_breaker"](request)
        seen.append(stack.standings(Request("m")))
        held = asyncio.get_running_loop().create_task(stack(Request("m")))
        await asyncio.sleep(1.0)
        seen.append(stack.statistics()["endpoints"])
        plan = str(stack["router"].plan(Request("m")))
        await held
        return seen, plan

    (broken, limits, full), plan = run_virtual(main())[0]
    assert ["down", "up", "disabled"] == [each.state for each in broken.values()]
    assert broken["eu"].reason.startswith("open: 6 of the last 6 calls failed: ServerError")
    assert ("circuit_breaker", False) == (broken["eu"].gate, broken["eu"].soft)
    assert ("down", "cooldown", 20.0) == (
        limits["eu"].state,
        limits["eu"].gate,
        round((limits["eu"].ready_at or 0.0) - 0.8, 0),
    )
    assert ("down", "concurrency_limit", "all 1 permits are out") == (
        full["us"].state,
        full["us"].gate,
        full["us"].reason,
    )
    assert ["eu: would refuse", "us: would refuse", "off: left out"] == [
        line.partition(";")[0] for line in plan.splitlines()
    ]
    assert "; down (cooldown: key one for m is put aside for" in plan


def test_what_is_said_of_a_member_is_said_of_the_group() -> None:
    """By its router, which stands behind the endpoint; and by the gates before it."""
    members = stack_of(Endpoint("a", echo), Endpoint("b", echo))
    stack = stack_of(Endpoint("group", members), Endpoint("us", echo))

    async def main() -> list[Standing]:
        seen = []
        members["circuit_breaker"].open("a")
        seen.append(stack.standings()["group"])
        members["circuit_breaker"].open("b")
        seen.append(stack.standings()["group"])
        stack["router"].endpoints.disable("group")
        seen.append(stack.standings()["group"])
        return seen

    one, both, off = run_virtual(main())[0]
    assert [UP, SWITCHED_OFF] == [one, off]
    assert "a is down (circuit_breaker: open: by hand); b is down" in both.reason
    assert "down" == both.state


def test_what_stands_above_the_router_of_a_group_is_said_of_it_too() -> None:
    """All its members are up, and it takes nothing; so as an endpoint, and as a stack by itself."""
    slow: ScriptedService[Request, Any] = ScriptedService(["ok"], delay=3.0)
    layers = (ConcurrencyLimit(1, key=lambda _: None), RoundRobin([Endpoint("a", slow)]))
    group: Stack[Any, Any] = ServiceBuilder(layers).service(dispatch)
    stack = stack_of(Endpoint("group", group))

    async def main() -> list[Standing]:
        held = asyncio.get_running_loop().create_task(group(Request("m")))
        await asyncio.sleep(1.0)
        seen = [stack.standings()["group"], group.standing(), group.standings()["a"]]
        await held
        return [*seen, stack.standing(), group.standing()]

    *full, member, whole, after = run_virtual(main())[0]
    down = Standing("down", "all 1 permits are out", "concurrency_limit")
    assert [down, down] == full
    assert [UP] * 3 == [member, whole, after]


def test_a_member_that_is_not_fit_does_not_speak_for_its_group() -> None:
    """The only key that may be used for the model is out of tokens; another one does not help."""
    limited: ScriptedService[Request, Any] = ScriptedService([RateLimited(retry_after=20.0)])
    one = Endpoint("one", limited, models={"m": "m"}, key="one")
    other = Endpoint("other", echo, models={"n": "n"}, key="other")
    stack = stack_of(Endpoint("group", stack_of(one, other)))

    async def main() -> list[str]:
        with pytest.raises(RateLimited):
            await stack(Request("m"))
        return [str(stack.standings(Request(model))["group"]) for model in ("m", "n", "")]

    (m, n, any_model), _ = run_virtual(main())
    assert m.startswith("down (one is down (cooldown: key one for m is put aside")
    assert m.endswith("other is disabled (does not serve model 'm'))")
    assert ["up", "up"] == [n, any_model]


def test_a_key_without_a_model_counts_a_little() -> None:
    """One that may not be asked for some model is degraded, as long as no model is named."""
    eu = Endpoint("eu", ScriptedService([RateLimited(retry_after=20.0)]), key="one")
    stack = stack_of(eu)

    async def main() -> list[str]:
        with pytest.raises(RateLimited):
            await stack(Request("m"))
        return [stack.standings(Request(model))["eu"].state for model in ("m", "other", "")]

    assert (["down", "up", "degraded"], 0.0) == run_virtual(main())


def test_without_a_router_there_is_none() -> None:
    """And without a loop, no statistics of them, for there is no time."""
    plain: Stack[Any, Any] = ServiceBuilder().layer(ConcurrencyLimit(1)).service(echo)

    async def main() -> tuple[dict[str, Standing], list[str]]:
        return plain.standings(), list(plain.statistics())

    assert (({}, ["concurrency_limit"]), 0.0) == run_virtual(main())
    assert "endpoints" not in stack_of(Endpoint("eu", echo)).statistics()
