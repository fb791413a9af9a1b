"""Routes: which stack takes a name, and which can take anything at all."""

from __future__ import annotations

import attrs
import pytest

import llmstack as ls
from llmstack.config.tables import ServerTable, address
from llmstack.gateway.routes import Gateway, takes_traffic
from llmstack.messages import dispatch
from llmstack.testing.scripted import echo
from tests.gateway.stage import Chat, over


def routed(endpoints: ls.EndpointSet) -> Chat:
    return ls.ServiceBuilder().layer(ls.RoundRobin(endpoints)).service(dispatch)


def test_a_name_has_its_route_and_the_star_takes_the_others() -> None:
    """An exact name goes first."""
    chat, rest = over(echo), over(echo)
    both, one = Gateway(routes={"*": rest, "chat": chat}), Gateway(routes={"chat": chat})

    assert [chat, rest, rest] == [both.route(name) for name in ("chat", "gpt", "")]
    assert [chat, None, None] == [one.route(name) for name in ("chat", "gpt", "*x")]


def test_routes_do_not_change_behind_the_gateways_back() -> None:
    """They are copied, and read only."""
    routes = {"chat": over(echo)}
    gateway = Gateway(routes=routes)
    del routes["chat"]

    assert ["chat"] == list(gateway.routes)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("routes", {}), ("max_body", 0), ("body_timeout", 0), ("shutdown_timeout", -1)),
        *(("write_timeout", 0), ("ping_after", -1)),
    ],
)
def test_a_bad_setting_is_named(setting: str, value: object) -> None:
    """By the name it was given under."""
    settings: dict[str, object] = {"routes": {"chat": over(echo)}, setting: value}

    with pytest.raises(ValueError, match=setting):
        Gateway(**settings)  # type: ignore[arg-type]


def test_the_settings_are_those_of_a_configuration() -> None:
    """Under the same names, with the same defaults; 0 is the silence that a file can name."""
    routes = {"chat": over(echo)}
    table = attrs.asdict(ServerTable())
    gateway = Gateway(routes=routes, **table | {"listen": address(table["listen"])})

    assert Gateway(routes=routes) == gateway
    assert (30.0, 15.0) == (gateway.write_timeout, gateway.ping_after)
    assert [None, 0] == [Gateway(routes=routes, ping_after=off).ping_after for off in (None, 0)]


def test_metrics_are_not_in_the_repr() -> None:
    """A gateway shows what it serves and where."""
    assert "metrics" not in repr(Gateway(routes={"chat": over(echo)}, metrics=bytes))


def test_a_stack_takes_traffic_while_an_endpoint_does() -> None:
    """A group in it counts as what it is; a stack without a router always does."""
    inner = ls.EndpointSet([ls.Endpoint("eu", echo), ls.Endpoint("us", echo)])
    outer = ls.EndpointSet([ls.Endpoint("group", routed(inner))])
    stack, seen = routed(outer), []
    for name in ("eu", "us"):
        seen.append(takes_traffic(stack))
        inner.disable(name)
    seen.append(takes_traffic(stack))
    outer.add(ls.Endpoint("spare", echo))
    seen.append(takes_traffic(stack))
    outer.remove("spare")
    inner.enable("us")
    outer.disable("group")
    seen.append(takes_traffic(stack))

    assert [True, True, False, True, False] == seen
    assert takes_traffic(over(echo))
    assert takes_traffic(echo)
