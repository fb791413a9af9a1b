"""What the layers of all routers have in common before the first call."""

from __future__ import annotations

from math import inf

import pytest

from llmstack.builder import ServiceBuilder
from llmstack.endpoint import Capabilities, Endpoint, EndpointSet, Price
from llmstack.errors import ConfigError
from llmstack.layers.deadline import Deadline
from llmstack.order import Bound
from llmstack.routers.fallback import Fallback
from llmstack.routers.round_robin import RoundRobin
from llmstack.routers.router import as_endpoints, bound_of_endpoints, named
from llmstack.testing.scripted import echo
from tests.routers.stage import ROUTERS, Router, listed


@pytest.mark.parametrize("kind", ROUTERS)
def test_a_router_needs_endpoints(kind: type[Router]) -> None:
    """An empty list, or two of one name, is a mistake where it is written."""
    with pytest.raises(ConfigError, match="a router needs at least one"):
        kind([])
    with pytest.raises(ConfigError, match="two endpoints are named 'a'"):
        kind([*listed([1]), *listed([1])])


def test_endpoints_are_shared_only_as_a_set() -> None:
    """A list is copied for each use of the layer; a set is the one that was passed."""
    shared = EndpointSet(listed([1, 1]))
    of_list, of_set = RoundRobin(listed([1, 1])), RoundRobin(shared)
    one, two = of_list(echo), of_list(echo)

    assert one.endpoints is not two.endpoints
    assert one.picker is not two.picker
    assert shared is of_set(echo).endpoints is of_set(echo).endpoints
    assert of_set(echo).picker is not of_set(echo).picker
    assert isinstance(as_endpoints(iter(listed([1, 1]))), tuple)


def test_a_router_shows_names_and_weights() -> None:
    """Weights of 1 go without saying, and no service is shown."""
    endpoints = as_endpoints([Endpoint("eu", echo), Endpoint("us", echo, 2.5)])

    assert "[eu, us x 2.5]" == named(endpoints)
    assert "RoundRobin(endpoints=[eu, us x 2.5])" == repr(RoundRobin(endpoints))


def test_the_bound_counts_the_calls_of_groups() -> None:
    """Those that may ask most, as many as are asked, each once."""

    stack = ServiceBuilder().layer(Deadline(7)).layer(Fallback(listed([1, 1, 1])))
    plain, group = listed([1])[0], Endpoint("g", stack.service(echo))
    assert Bound(1, 5.0) == bound_of_endpoints((plain,), Bound(1, 5.0))
    assert Bound(8, 20.0) == bound_of_endpoints((plain, group), Bound(2, 10.0), 2)
    assert Bound(6, 10.0) == bound_of_endpoints((group,), Bound(2, 10.0))
    assert Bound(3, 7.0) == bound_of_endpoints((group,), Bound(1, 10.0))
    assert Bound(2, 10.0) == bound_of_endpoints(EndpointSet(), Bound(2, 10.0))


def test_the_bound_counts_the_dearest_endpoint() -> None:
    """The dearest of those that are asked; one that is not known makes all of it unknown."""
    window = Capabilities(context=1_000_000, max_output=1_000_000)
    cheap = Endpoint("cheap", echo, price=Price(1, 1), capabilities=window)
    dear = Endpoint("dear", echo, price=Price(2, 3), capabilities=window)
    group = Endpoint("g", ServiceBuilder().layer(Fallback([cheap, dear])).service(echo))
    assert Bound(4, 20.0, 14.0) == bound_of_endpoints((cheap, dear), Bound(2, 10.0), 2)
    assert Bound(2, 10.0, 10.0) == bound_of_endpoints((cheap, dear), Bound(2, 10.0))
    assert Bound(4, 10.0, 14.0) == bound_of_endpoints((cheap, group), Bound(2, 10.0))
    assert inf == bound_of_endpoints((cheap, Endpoint("unknown", echo)), Bound(1)).cost
