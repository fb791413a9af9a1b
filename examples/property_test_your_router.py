"""Property-test a router of your own with `check_router`: hundreds of drawn situations.

Two routers that prefer the endpoint nearest to home. The first one keeps all promises that
routers make. The second one looks right, too, but it forgets that the nearest endpoint may
refuse; the check finds the smallest situation in which that matters. What one sees:

1. what the good one does with a request, as its plan tells it;
2. that the good one passes;
3. what is wrong with the other one: the promise, and endpoints and traffic that break it.

    python examples/property_test_your_router.py

In a test suite it is three lines::

    def test_my_router_keeps_its_promises() -> None:
        check_router(nearest)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, ClassVar

from attrs import define, frozen

import llmstack as ls
from llmstack.routers.picker import Picker
from llmstack.routers.plan import Terms
from llmstack.routers.router import RouterService
from llmstack.testing import echo
from llmstack.testing.check import check_router


#: Kilometres from here, by the tag of an endpoint's region.
KILOMETRES = {"region:eu": 300, "region:us": 6_000, "region:ap": 9_000}


def kilometres(endpoint: ls.Endpoint) -> int:
    """How far the endpoint is; one without a region may be anywhere."""
    return min((KILOMETRES[tag] for tag in endpoint.tags if tag in KILOMETRES), default=20_000)


@define(eq=False)
class Nearest:
    """The picker: the nearest endpoint first. It learns nothing, so most of it is empty."""

    def order(
        self, _request: ls.Request, endpoints: Sequence[ls.Endpoint], _now: float, /
    ) -> Iterator[ls.Endpoint]:
        yield from sorted(endpoints, key=kilometres)

    def settle(self, _endpoint: ls.Endpoint, _started: float, _outcome: ls.Outcome, /) -> None:
        """Learn nothing."""

    def explain(
        self, _request: ls.Request, endpoints: Sequence[ls.Endpoint], _now: float, /
    ) -> dict[str, Terms]:
        return {e.name: Terms(reason=f"{kilometres(e):,} km away") for e in endpoints}

    def keep(self, _names: Collection[str], /) -> None:
        """Forget nothing."""

    def statistics(self) -> dict[str, Any]:
        return {}


class OnlyTheNearest(Nearest):
    """The mistake: whoever asks for the next one is told that there is none."""

    def order(
        self, _request: ls.Request, endpoints: Sequence[ls.Endpoint], _now: float, /
    ) -> Iterator[ls.Endpoint]:
        yield from sorted(endpoints, key=kilometres)[:1]


@frozen
class ByDistance:
    """The layer: the shell of all routers around a picker."""

    endpoints: list[ls.Endpoint]
    picker: Callable[[], Picker] = Nearest

    role: ClassVar[str] = "router"

    def __call__(self, inner: ls.Service[ls.Request, Any], /) -> RouterService:
        return RouterService(ls.EndpointSet(self.endpoints), self.picker(), inner, "nearest")


def nearest(endpoints: list[ls.Endpoint]) -> ls.Layer:
    return ByDistance(endpoints)


def only_the_nearest(endpoints: list[ls.Endpoint]) -> ls.Layer:
    return ByDistance(endpoints, OnlyTheNearest)


async def plan() -> None:
    endpoints = [ls.Endpoint(place, echo, tags=[f"region:{place}"]) for place in ("ap", "us", "eu")]
    stack = ls.ServiceBuilder().layer(nearest(endpoints)).service(ls.dispatch)
    print(f"The plan:\n{stack['router'].plan(ls.Request('m'))}\n")


def main() -> None:
    asyncio.run(plan())

    check_router(nearest)
    print("nearest: keeps its promises\n")

    try:
        check_router(only_the_nearest)
    except AssertionError as error:
        print(f"only_the_nearest: {error}")
        print(*error.__notes__, sep="\n")


if __name__ == "__main__":
    main()
