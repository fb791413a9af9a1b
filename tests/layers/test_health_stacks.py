"""Health in stacks: where it stands, whom the router asks, and the one verdict that there is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from llmstack.builder import ServiceBuilder, Stack
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import ConfigError, NoEndpoint, ServerError
from llmstack.estimators.trip import ConsecutiveFailures
from llmstack.layers.circuit_breaker import CircuitBreaker
from llmstack.layers.concurrency_limit import ConcurrencyLimit
from llmstack.layers.cooldown import Cooldown
from llmstack.layers.health import Health
from llmstack.layers.retry import Retry
from llmstack.layers.timeout import Timeout
from llmstack.messages import Request, dispatch
from llmstack.routers.fallback import Fallback
from llmstack.routers.round_robin import RoundRobin
from llmstack.service import Layer
from llmstack.standing import Standing
from llmstack.testing.scripted import ScriptedService, echo
from tests.layers.probed import EU, US, Doctor, watched


def built(endpoints: EndpointSet, doctor: Doctor, *below: Layer) -> Stack[Request, Any]:
    """A fallback over *endpoints* that are probed."""
    builder = ServiceBuilder(seed=1).layer(Fallback(endpoints)).layer(Health(endpoints, doctor))
    for layer in below:
        builder = builder.layer(layer)
    return builder.service(dispatch)


def saying(*names: str) -> EndpointSet:
    """Endpoints that answer with their names."""
    return EndpointSet(Endpoint(name, ScriptedService([name] * 99)) for name in names)


def test_its_place_is_between_the_router_and_all_that_is_kept_for_each_endpoint() -> None:
    """Any other order is told, with the reason."""
    right: list[Layer] = [
        *(Retry(), RoundRobin([EU]), Health([EU], Doctor()), CircuitBreaker()),
        *(Cooldown(), ConcurrencyLimit(3), Timeout(total=3)),
    ]
    ServiceBuilder(tuple(right)).service(echo)
    for other in (n for n in range(len(right)) if n != 2):
        layers = [*right]
        layers[2], layers[other] = layers[other], layers[2]
        with pytest.raises(ConfigError, match=r"health must be|must be \w+ health"):
            ServiceBuilder(tuple(layers)).service(echo)


def test_the_router_goes_on_to_the_next_one() -> None:
    """Nobody sees more of it than another endpoint; nothing is sent to the one that is down."""
    endpoints, doctor = saying("eu", "us"), Doctor({"eu": ServerError()})
    stack = built(endpoints, doctor)

    async def main() -> list[str]:
        async with stack:
            first = await stack(Request("m"))
            await asyncio.sleep(130)
            return [first, *[await stack(Request("m")) for _ in range(3)]]

    assert ["eu", "us", "us", "us"] == watched(main)[0]


def test_if_all_are_down_the_best_is_asked_all_the_same() -> None:
    """Probes that are wrong about everything make no outage (W-LK-27)."""
    endpoints, doctor = saying("eu", "us"), Doctor({"eu": ServerError(), "us": ServerError()})
    stack = built(endpoints, doctor)

    async def main() -> list[str]:
        async with stack:
            await asyncio.sleep(100)
            states = [standing.state for standing in stack.standings().values()]
            return [*states, await stack(Request("m"))]

    assert ["down", "down", "eu"] == watched(main)[0]


def test_who_is_down_comes_back_with_its_probes() -> None:
    """W-LK-27: without any traffic to it."""
    endpoints, doctor = saying("eu", "us"), Doctor({"eu": ServerError()})
    stack = built(endpoints, doctor)

    async def main() -> list[str]:
        async with stack:
            await asyncio.sleep(100)
            down = await stack(Request("m"))
            doctor.finds.clear()
            await asyncio.sleep(66)
            return [down, await stack(Request("m"))]

    assert ["us", "eu"] == watched(main)[0]


def test_a_stack_that_is_never_started_is_passive() -> None:
    """No probes, and nothing is ever down."""
    endpoints, doctor = saying("eu"), Doctor({"eu": ServerError()})
    stack = built(endpoints, doctor)

    async def main() -> str:
        await asyncio.sleep(1000)
        return str(await stack(Request("m")))

    assert "eu" == watched(main)[0]
    assert [] == doctor.at


def test_probes_pass_no_layer_and_start_with_none() -> None:
    """W-LL-34, G3: no permit is taken, no circuit seen, no call sent upstream."""
    upstream = ScriptedService[Any, Any]([])
    doctor = Doctor({"eu": ServerError()})
    stack = built(EndpointSet([Endpoint("eu", upstream)]), doctor, *gates())

    async def main() -> None:
        async with stack:
            assert [] == doctor.at
            await asyncio.sleep(100)
            known = stack.statistics()
            assert ({}, {}, {}) == (
                *(known["circuit_breaker"], known["cooldown"]),
                known["concurrency_limit"],
            )

    watched(main)
    assert [] == upstream.calls


def gates() -> Iterable[Layer]:
    """What is kept for each endpoint."""
    yield CircuitBreaker(ConsecutiveFailures(2), base=600.0, cap=600.0)
    yield Cooldown()
    yield ConcurrencyLimit(1)


def verdict(stack: Stack[Request, Any]) -> str:
    """What is said of the one in Europe, in all three places."""
    plan = {each.endpoint: each.standing for each in stack["router"].plan(Request("m")).candidates}
    said = {stack.standings()["eu"], plan["eu"], stack.statistics()["endpoints"]["eu"]}
    assert {Standing()} == {plan["us"], stack.standings()["us"]}
    (one,) = said
    return f"{one.state} {one.gate}"


def test_there_is_one_verdict_with_its_reason() -> None:
    """The worst of health, breaker and cooldown, in `standings`, `plan` and `statistics`."""
    doctor = Doctor()
    stack = built(saying("eu", "us"), doctor, *gates())
    found: list[str] = []

    async def main() -> Standing:
        breaker, cooldown = stack["circuit_breaker"], stack["cooldown"]
        async with stack:
            found.append(verdict(stack))
            breaker.open("eu")
            found.append(verdict(stack))  # soft by now, for one probe
            doctor.finds["eu"] = ServerError()
            await asyncio.sleep(100)
            found.append(verdict(stack))
            cooldown.put_aside("endpoint", "eu", 300.0)
            found.append(verdict(stack))  # hard
            cooldown.clear()
            breaker.reset("eu")
            standing = stack.standings()["eu"]
            doctor.finds.clear()
            await asyncio.sleep(70)
            found.append(verdict(stack))
        return standing

    why = "3 probes in a row failed: ServerError \N{MULTIPLICATION SIGN}3"
    assert Standing("down", why, "health", soft=True) == watched(main)[0]
    assert ["up ", "down circuit_breaker", "down health", "down cooldown", "up "] == found


def test_if_nobody_is_left_the_reasons_say_why() -> None:
    """Of each endpoint, by name."""
    endpoints, doctor = saying("eu"), Doctor({"eu": ServerError()})
    closed = ConcurrencyLimit(1)
    stack = built(endpoints, doctor, closed)

    async def main() -> str:
        async with stack:
            await asyncio.sleep(100)
            stack["concurrency_limit"].permits("eu").admit(0.0)
            with pytest.raises(NoEndpoint) as nobody:
                await stack(Request("m"))
            return nobody.value.message

    assert "eu" in watched(main)[0]


def test_settings_and_reasons_are_described() -> None:
    """In the way of the data."""
    shown = built(EndpointSet([EU, US]), Doctor(), CircuitBreaker()).describe()

    assert "Health(endpoints=[eu, us], interval=30.0, timeout=5.0, down=3, up=2)" in shown
    assert "    below router: above it, one endpoint that is down would" in shown
