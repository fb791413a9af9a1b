"""Routers in routers: an endpoint whose service is itself a stack."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from attrs import define, field

from llmstack.builder import ServiceBuilder
from llmstack.endpoint import Endpoint
from llmstack.errors import (
    AuthFailed,
    BadRequest,
    LLMStackError,
    NoEndpoint,
    RateLimited,
    ServerError,
)
from llmstack.layers.retry import Retry
from llmstack.messages import Request, dispatch
from llmstack.routers.fallback import Fallback
from llmstack.routers.round_robin import RoundRobin
from llmstack.service import Service
from llmstack.testing.virtual import run_virtual
from tests.routers.stage import error_of


@define
class World:
    """Leaves that act by name; *asked* is whom a request has reached, ``!`` if it insists."""

    acts: Mapping[str, str]
    asked: list[str] = field(factory=list)

    def leaf(self, name: str) -> Endpoint:
        async def service(request: Request) -> str:
            self.asked.append(name + ("!" if request.insists else ""))
            act = self.acts.get(name, "ok")
            if act == "ok" or (act == "soft" and request.insists):
                return name
            raise error_of(act)

        return Endpoint(name, service)

    def group(self, names: str, kind: type[RoundRobin | Fallback] = RoundRobin) -> Endpoint:
        stack = ServiceBuilder().layer(kind([self.leaf(name) for name in names]))
        return Endpoint(f"[{names}]", stack.service(dispatch))


def ask(service: Service[Request, object], request: Request | None = None) -> tuple[object, float]:
    """The reply or the error, and the virtual seconds it took."""

    async def main() -> object:
        try:
            return await service(request or Request())
        except LLMStackError as error:
            return error

    return run_virtual(main())


def test_who_refuses_in_a_group_is_nobody_outside() -> None:
    """A group that got only refusals refuses itself; the outer router walks on."""
    world = World({"a": "hard", "b": "open"})
    request = Request()
    router = RoundRobin([world.group("ab"), world.leaf("c")])(dispatch)

    assert "c" == ask(router, request)[0]
    assert ["a", "b", "c"] == world.asked
    assert ["c"] == [attempt.endpoint for attempt in request.call.attempts]
    assert 1 == request.call.sent


def test_only_the_outermost_router_insists() -> None:
    """The group reports that it could be insisted on; first everybody is asked plainly."""
    world = World({"a": "soft", "b": "hard", "c": "hard"})
    router = RoundRobin([world.group("ab"), world.leaf("c")])(dispatch)

    assert "a" == ask(router)[0]
    assert ["a", "b", "c", "a!"] == world.asked


def test_nobody_insists_while_somebody_takes_it() -> None:
    """A soft refusal deep in a group loses against whoever admits plainly."""
    world = World({"a": "soft", "b": "soft"})
    router = RoundRobin([world.group("ab"), world.leaf("c")])(dispatch)

    assert "c" == ask(router)[0]
    assert ["a", "b", "c"] == world.asked


def test_a_refusal_names_reasons_and_time_of_the_group() -> None:
    """The earliest time at which anybody in it may be asked, and why not now."""
    world = World({"a": "open", "b": "hard", "c": "hard"})
    router = RoundRobin([world.leaf("c"), world.group("ab")])(dispatch)
    error, elapsed = ask(router)

    assert isinstance(error, NoEndpoint)
    assert (20.0, False, 0.0) == (error.ready_at, error.soft, elapsed)
    assert "c: full; [ab]: no endpoint could take the request (a: open; b: full)" in error.message


@pytest.mark.parametrize("act", ["fail", "limited", "auth"])
def test_a_retry_comes_back_to_a_group_with_untried_members(act: str) -> None:
    """At once, and after all that are untried outside; a wait named by one is not the group's."""
    world = World({"a": act, "c": "auth"})
    request = Request()
    stack = (
        ServiceBuilder(seed=1)
        .layer(Retry(attempts=3))
        .layer(RoundRobin([world.group("ab"), world.leaf("c")]))
        .service(dispatch)
    )

    assert ("b", 0.0) == ask(stack, request)
    assert ["a", "c", "b"] == world.asked
    tried = [attempt.endpoint for attempt in request.call.attempts]
    assert ["[ab]", "a", "c", "[ab]", "b"] == tried
    assert [True, False] * 2 == [request.call.attempts[n].group for n in (0, 1, 3, 4)]
    assert 3 == request.call.sent


def test_a_group_with_nobody_left_waits_as_its_last_member_says() -> None:
    """All members have been tried: now a named wait stands for the group as well."""
    world = World({"a": "limited"})
    stack = (
        ServiceBuilder(seed=1)
        .layer(Retry(attempts=2))
        .layer(RoundRobin([world.group("a")]))
        .service(dispatch)
    )
    error, elapsed = ask(stack)

    assert isinstance(error, RateLimited)
    assert ["a", "a"] == world.asked
    assert 30.0 <= elapsed < 31.0


@pytest.mark.parametrize(
    ("acts", "untried"),
    [({"a": "fail"}, 3), ({"a": "fault"}, 3), ({"a": "hard", "b": "fail"}, 1)],
)
def test_untried_counts_members_and_neighbours(acts: dict[str, str], untried: int) -> None:
    """Two in the group and one outside are left when the first of three has failed."""
    world = World(acts)
    names = "ab" if acts["a"] == "hard" else "abc"
    router = RoundRobin([world.group(names), world.leaf("d")])(dispatch)
    error, _ = ask(router)

    assert isinstance(error, ServerError | BadRequest)
    assert untried == error.untried
    assert error.endpoint == ("b" if acts["a"] == "hard" else "a")
    tried = [(each.endpoint, each.how) for each in error.attempts]
    assert [(f"[{names}]", "failed"), (error.endpoint, "failed")] == tried


def test_a_member_that_may_not_be_asked_is_not_left() -> None:
    """The request itself was at fault in the group, so nobody comes back for the others in it."""
    world = World({"a": "fault", "c": "auth"})
    triggers = [BadRequest, AuthFailed]
    router = Fallback([world.group("ab"), world.leaf("c")], triggers=triggers)(dispatch)
    error, _ = ask(router)

    assert isinstance(error, AuthFailed)
    assert 0 == error.untried


def test_only_a_group_has_members() -> None:
    """What a leaf says of others that are left is not ours to count."""

    async def leaf(_request: Request) -> object:
        raise ServerError(untried=7)

    error, _ = ask(RoundRobin([Endpoint("a", leaf), Endpoint("b", leaf)])(dispatch))

    assert isinstance(error, ServerError)
    assert 1 == error.untried


def test_a_fallback_over_groups_walks_them_in_order() -> None:
    """A failure in one group is a failure of the group; an inner fallback walks first."""
    world = World({"a": "fail", "b": "fail", "c": "hard", "d": "fail"})
    router = Fallback([world.group("ab", Fallback), world.group("cd"), world.leaf("e")])(dispatch)

    assert "e" == ask(router)[0]
    assert ["a", "b", "c", "d", "e"] == world.asked


def test_one_group_behind_two_names_is_walked_once() -> None:
    """Its own router knows what this call has tried, under whatever name it is reached."""
    world = World({"a": "fail", "b": "fail"})
    group = world.group("ab").service
    router = Fallback([Endpoint("one", group), Endpoint("two", group)])(dispatch)
    error, _ = ask(router)

    assert isinstance(error, ServerError)
    assert ["a", "b"] == world.asked


def test_insisting_above_is_insisting_below() -> None:
    """A request that insists already is let through by all gates of the group at once."""
    world = World({"a": "soft"})
    router = RoundRobin([world.group("ab")])(dispatch)

    assert "a" == asyncio.run(router(Request(insists=True)))
    assert ["a!"] == world.asked
