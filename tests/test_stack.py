"""A built stack: its description, its statistics, lookup, start and stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import pytest
from attrs import define, field, frozen
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.builder import ServiceBuilder, Stack
from llmstack.combine import either
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import ConfigError, Overloaded
from llmstack.order import Bound
from tests.test_builder import Any_, Counting, CountingService, Mark, ask, built, echo


T = TypeVar("T")


def test_a_description_reads_in_the_way_of_the_data() -> None:
    """Settings, the reasons for the place, the floor and the most that a request can take."""
    retry = Counting("retry", above={"breaker": "each attempt counts"}, below={"cache": "saves"})
    breaker = Counting("breaker", limit=5, below={"retry": "it multiplies"})
    stack = built(retry, plain, breaker).service(echo)

    expected = [
        "Counting(role='retry', limit=64)",
        "    above breaker: each attempt counts",
        "plain",
        "Counting(role='breaker', limit=5)",
        "    below retry: it multiplies",
        "echo",
        "at most 4 upstream calls, 5 s",
    ]
    assert expected == stack.describe().splitlines()
    assert "echo\nat most 1 upstream call" == ServiceBuilder().service(echo).describe()
    assert "<Stack retry > plain > breaker > echo>" == repr(stack)
    assert "<Stack echo>" == repr(ServiceBuilder().service(echo))
    assert Bound(4, 5.0) == stack.bound


def plain(inner: Any_, /) -> Any_:
    return inner


def test_a_group_is_described_behind_its_endpoint() -> None:
    """However deep; an endpoint that is no stack is left to its router's settings."""
    deep = built(plain).service(echo)
    group = built(Counting("inner", endpoints=[Endpoint("deep", deep)])).service(echo)
    router = Counting("outer", endpoints=EndpointSet([Endpoint("eu", echo), Endpoint("us", group)]))

    expected = [
        "Counting(role='outer', limit=64)",
        "    us:",
        "        Counting(role='inner', limit=64)",
        "            deep:",
        "                plain",
        "                echo",
        "                at most 1 upstream call",
        "        echo",
        "        at most 2 upstream calls, 5 s",
        "echo",
        "at most 2 upstream calls, 5 s",
    ]
    assert expected == built(router).service(echo).describe().splitlines()
    twice = built(router, Counting("again", endpoints=router.endpoints)).service(echo)
    assert 1 == twice.describe().count("us:")


def test_statistics_are_found_by_role() -> None:
    """Of each layer that keeps some; of several of one role each has its number."""
    stack = built(
        Counting("a"), plain, Counting("b"), Counting("a"), Counting("ab"), Counting("a")
    ).service(CountingService(Counting("floor"), echo))
    ask(stack["b"])

    expected = {"a": 0, "b": 1, "a 2": 1, "ab": 1, "a 3": 1}
    assert expected == {role: state["calls"] for role, state in stack.statistics().items()}
    assert {} == ServiceBuilder().service(echo).statistics()


def test_a_service_is_found_by_role_or_type() -> None:
    """The outermost; what is not there is named with what is."""
    stack = built(plain, Counting("a", limit=1), Counting("a", limit=2)).service(echo)

    assert 1 == stack["a"].layer.limit
    assert stack["a"] is stack.find(CountingService)
    with pytest.raises(ConfigError, match=r"no layer is b; there are: plain, a, a$"):
        stack["b"]
    with pytest.raises(ConfigError, match=r"no layer is b; there are: none$"):
        ServiceBuilder().service(echo)["b"]
    with pytest.raises(ConfigError, match="no Stack"):
        stack.find(Stack)


def test_the_floor_is_found_by_type() -> None:
    """It has no role, but it is a service of the stack."""
    floor = CountingService(Counting("floor"), echo)

    assert floor is built(plain).service(floor).find(CountingService)


Log = list[str]


@frozen
class Runs:
    """A layer that has something to start and to stop."""

    name: str
    log: Log = field(repr=False)
    fails: str = ""
    endpoints: Any = ()

    def __call__(self, inner: Any_, /) -> RunsService:
        return RunsService(self.name, self.log, self.fails, inner)


@define(eq=False)
class RunsService:
    name: str
    log: Log
    fails: str = ""
    inner: Any_ = echo

    async def __call__(self, request: object, /) -> object:
        return await self.inner(request)

    async def __aenter__(self) -> None:
        await asyncio.sleep(0)
        if self.fails == "start":
            raise Overloaded(f"{self.name} does not start")
        self.log.append(f"+{self.name}")

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0)
        self.log.append(f"-{self.name}")
        if self.fails == "stop":
            raise Overloaded(f"{self.name} does not stop")


def run(stack: Stack[Any, Any], then: Callable[[], object] = int) -> None:
    async def main() -> None:
        async with stack as same:
            assert same is stack
            then()

    asyncio.run(main())


def test_a_stack_starts_from_its_floor_and_stops_the_other_way() -> None:
    """Whoever is above may use what is below, from its start to its end."""
    log: Log = []
    stack = built(Runs("a", log), plain, Runs("b", log)).service(RunsService("floor", log))
    run(stack, lambda: log.append("runs"))

    assert ["+floor", "+b", "+a", "runs", "-a", "-b", "-floor"] == log


def test_endpoints_are_there_for_as_long_as_layers_run() -> None:
    """What runs in a layer may ask one, to its last moment."""
    log: Log = []
    router = Runs("router", log, endpoints=[Endpoint("a", RunsService("client", log))])
    run(built(router, Runs("probes", log)).service(echo), lambda: log.append("runs"))

    started = ["client", "probes", "router"]
    assert [f"+{name}" for name in started] == log[:3]
    assert [f"-{name}" for name in reversed(started)] == log[4:]


def test_what_stands_behind_endpoints_is_started_too() -> None:
    """Each once, however many endpoints it stands behind; groups with all that is in them."""
    log: Log = []
    client = RunsService("client", log)
    group = built(Runs("inner", log)).service(RunsService("leaf", log))
    endpoints = [Endpoint("a", client), Endpoint("b", group), Endpoint("c", client)]
    router = Runs("router", log, endpoints=EndpointSet([*endpoints, Endpoint("d", group)]))
    other = Runs("other", log, endpoints=[Endpoint("e", client), Endpoint("f", echo)])
    run(built(either(bool, router, other)).service(echo), lambda: log.append("runs"))

    started, stopped = log[: log.index("runs")], log[log.index("runs") + 1 :]
    assert ["+client", "+inner", "+leaf"] == sorted(started)
    assert [f"-{name[1:]}" for name in reversed(started)] == stopped
    assert started.index("+leaf") < started.index("+inner")


def test_a_start_that_fails_stops_what_had_started() -> None:
    """The last first, and the failure leaves as it came; the next start begins anew."""
    log: Log = []
    stack = built(Runs("a", log), Runs("b", log, "start"), Runs("c", log)).service(echo)
    for _ in range(2):
        with pytest.raises(Overloaded, match="b does not start"):
            run(stack)

    assert ["+c", "-c"] * 2 == log


def test_a_stop_that_fails_stops_the_rest() -> None:
    """And says so."""
    log: Log = []
    stack = built(Runs("a", log, "stop"), Runs("b", log)).service(echo)
    with pytest.raises(Overloaded, match="a does not stop"):
        run(stack)

    assert ["+b", "+a", "-a", "-b"] == log


def test_what_happens_inside_does_not_keep_a_stack_from_stopping() -> None:
    """The error leaves as it came."""
    log: Log = []

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(built(Runs("a", log)).service(echo), fail)

    assert ["+a", "-a"] == log


def test_a_stack_may_be_started_again() -> None:
    """After it was stopped; stopping what does not run is nothing."""
    log: Log = []
    stack = built(Runs("a", log)).service(echo)
    run(stack)
    assert "?" == ask(stack)
    run(stack)
    asyncio.run(stack.__aexit__(None, None, None))

    assert ["+a", "-a"] * 2 == log


def test_a_stack_that_two_start_runs_until_the_last_stops_it() -> None:
    """A group may run for itself and behind another stack at the same time."""
    log: Log = []
    group = built(Runs("group", log)).service(echo)
    outer = built(Runs("router", log, endpoints=[Endpoint("a", group)])).service(echo)

    async def main() -> None:
        async with group:
            async with outer:
                log.append("both")
            log.append("one")

    asyncio.run(main())

    assert ["+group", "both", "one", "-group"] == [word for word in log if "router" not in word]


def test_a_stack_is_a_service_like_any_other() -> None:
    """It may be an endpoint, the floor of another stack, or called by itself."""
    inner = built(Mark("x")).service(echo)

    assert "?x/x" == ask(inner)
    assert "?yx/x/y" == ask(built(Mark("y")).service(inner))
    assert "?x/x" == ask(Endpoint("group", inner).service)


@given(st.integers(0, 3))
@example(0)
def test_the_layers_and_services_of_a_stack_are_pairs(count: int) -> None:
    """Outermost first; the floor is the last service."""
    stack = built(*[Counting(str(n)) for n in range(count)]).service(echo)

    assert [str(n) for n in range(count)] == [s.layer.role for s in stack.services[:-1]]  # type: ignore[attr-defined]
    assert echo is stack.services[-1]
    assert list(stack.layers) == [s.layer for s in stack.services[:-1]]  # type: ignore[attr-defined]
    assert attrs.has(Stack)


def test_a_layer_without_a_repr_is_described_by_its_role() -> None:
    """An address in memory would say nothing."""

    class Plain:
        role = "plain"

        def __call__(self, inner: T) -> T:
            return inner

    assert "plain" == ServiceBuilder().layer(Plain()).service(echo).describe().splitlines()[0]
