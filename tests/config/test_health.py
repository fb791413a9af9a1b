"""Active health in a file: its probes, and whom they are sent to."""

from __future__ import annotations

import asyncio

import pytest

import llmstack as ls
from llmstack.config import parse
from llmstack.config.probing import PROBES
from llmstack.layers.health import HealthService
from llmstack.routers.router import RouterService
from tests.config.example import mistakes_of


TEXT = """\
[endpoints]
eu = {{ provider = "openai", base_url = "http://127.0.0.1:9001/v1/", models = {{ chat = "c" }} }}
us = {{ provider = "anthropic", base_url = "http://127.0.0.1:9002/v1" }}
{more}
[routes.chat]
layers = [
  {{ use = "fallback", endpoints = [{whom}] }},
  {{ use = "health", probe = {{ {probe} }} }},
  {{ use = "circuit_breaker" }},
]
[routes.inner]
layers = [{{ use = "round_robin", endpoints = ["us"] }}]
"""


def text(probe: str, whom: str = '"eu", "us"', more: str = "") -> str:
    return TEXT.format(probe=probe, whom=whom, more=more)


def health_of(probe: str) -> HealthService[ls.Request, object]:
    found: HealthService[ls.Request, object] = parse(text(probe)).routes["chat"]["health"]
    return found


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        ('use = "http_get", path = "/up", status = [200, 401]', ls.HttpGet("/up", {200, 401})),
        ('use = "http_get"', ls.HttpGet()),
        ('use = "tcp_connect"', ls.TcpConnect()),
        ('use = "one_token", model = "chat"', ls.OneToken("chat")),
        (
            'use = "one_token", model = "chat", operation = "x", body = { a = [{ b = 1 }] }',
            ls.OneToken("chat", "x", body={"a": [{"b": 1}]}),
        ),
    ],
    ids=str,
)
def test_a_probe_is_what_the_file_says(probe: str, expected: object) -> None:
    """Each with its settings."""
    assert expected == health_of(probe).settings.probe
    assert any(isinstance(expected, kind) for kind in PROBES.values())


def test_whom_the_router_asks_the_layer_probes() -> None:
    """One set for both, and each endpoint knows where it is; nothing is probed twice."""
    stack = parse(text('use = "http_get"')).routes["chat"]
    router: RouterService = stack["router"]
    endpoints = stack["health"].settings.endpoints

    assert router.endpoints is endpoints
    assert [
        ("eu", "http://127.0.0.1:9001/v1"),
        ("us", "http://127.0.0.1:9002/v1"),
    ] == [(endpoint.name, endpoint.url.rstrip("/")) for endpoint in endpoints]


def test_a_stack_of_a_file_starts_and_ends_its_probes() -> None:
    """With a session of its own, which is closed."""
    stack = parse(text('use = "http_get"')).routes["chat"]

    async def main() -> None:
        async with stack:
            await asyncio.sleep(0)
            assert ["eu", "us"] == [*stack.statistics()["health"]]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (
            text('use = "http_get"', '"eu", "inner"'),
            ["8: routes.chat.layers[1].probe: endpoint 'inner' has no url to probe"],
        ),
        (
            text('use = "one_token", model = "other"', '"us", "eu", "inner"'),
            ["8: routes.chat.layers[1].probe: endpoint 'eu' does not serve 'other'"],
        ),
        (
            text('use = "one_token", model = "chat", operation = "x"'),
            [
                (
                    "8: routes.chat.layers[1].probe: operation 'x' needs a body; without: "
                    "chat, count_tokens, embeddings, messages, models, responses"
                )
            ],
        ),
        (
            text('use = "ping"'),
            [
                (
                    "8: routes.chat.layers[1].probe.use: 'ping' is no probe; "
                    "there are http_get, one_token, tcp_connect"
                )
            ],
        ),
        (
            text('use = "http_get", transport = 1'),
            [
                (
                    "8: routes.chat.layers[1].probe.transport: is no setting here; "
                    "there are path, status"
                )
            ],
        ),
        (
            text('use = "http_get"').replace('use = "health",', 'use = "health", endpoints = [],'),
            [
                (
                    "8: routes.chat.layers[1].endpoints: is no setting here; "
                    "there are down, interval, probe, timeout, up"
                )
            ],
        ),
        (
            text('use = "http_get"', '"eu", "bad"', 'bad = { provider = "x" }'),
            [
                "4: endpoints.bad.base_url: is missing",
                "4: endpoints.bad.provider: must be 'anthropic' or 'constant' or 'openai', not 'x'",
            ],
        ),
    ],
    ids=["group", "model", "operation", "probe", "setting", "endpoints", "stand-in"],
)
def test_what_cannot_be_probed_is_told(wrong: str, expected: list[str]) -> None:
    """With its place; what is wrong with an endpoint is no mistake of the route."""
    assert [f"line {each}" for each in expected] == sorted(mistakes_of(wrong))


def test_a_route_without_it_is_as_it_was() -> None:
    """Its router has a set of its own."""
    stack = parse(text('use = "tcp_connect"')).routes["inner"]

    assert "health" not in repr(stack)
