"""A file becomes a gateway: its stacks are those that one would have built in Python."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import llmstack as ls
from llmstack.builder import Stack
from llmstack.config import load, parse
from llmstack.layers.metrics import Metrics
from llmstack.layers.translate import TranslateService
from llmstack.order import role_of
from llmstack.providers.openai import OpenAI
from llmstack.recorder import MemoryRecorder
from tests.config.example import EXAMPLE, LAYERED


def roles(stack: Stack[Any, Any]) -> list[str]:
    """The layers of a stack by name, outermost first."""
    return [role_of(layer) for layer in stack.layers]


def endpoints(stack: Stack[Any, Any]) -> dict[str, ls.Endpoint]:
    """What the router of a stack chooses from."""
    (router,) = (layer for layer in stack.layers if role_of(layer) == "router")
    assert hasattr(router, "endpoints")
    return {each.name: each for each in router.endpoints}


def test_the_example_becomes_what_it_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Layers in their order with their settings, endpoints with all that is said of them."""
    monkeypatch.setenv("EU_KEY", "sk-canary")
    path = tmp_path / "llmstack.toml"
    path.write_text(EXAMPLE)
    config = load(str(path))
    eu, us = endpoints(config.routes["chat"]).values()

    assert ("127.0.0.1", 8080) == config.listen
    assert {"chat", "*"} == set(config.routes)
    assert () == config.warnings
    metrics, deadline, retry, router, _, breaker, timeout = config.routes["chat"].layers
    assert isinstance(metrics, Metrics)
    assert [
        ls.Deadline(60),
        ls.Retry(attempts=3),
        ls.LatencyBased([eu, us]),
        ls.CircuitBreaker(ls.FailureRatio(ratio=0.3)),
        ls.Timeout(first_token=10, idle=30, total=25),
    ] == [deadline, retry, router, breaker, timeout]
    assert ("eu", 3, "gpt-4o-2024-08-06") == (eu.name, eu.weight, eu.models)
    assert ls.Price(2.5, 10.0) == eu.price
    assert ("us", 1, None) == (us.name, us.weight, us.price)
    assert ["gpt-4o", "other"] == [us.model_for("chat"), us.model_for("other")]
    assert ls.Capabilities(context=128_000, vision=False) == us.capabilities
    assert {"usa", "no-training"} == us.tags
    assert isinstance(eu.service, TranslateService)
    assert isinstance(us.service, TranslateService)
    one, two = eu.service.inner, us.service.inner
    assert isinstance(one, OpenAI)
    assert isinstance(two, OpenAI)
    assert one.transport is two.transport
    assert ("http://127.0.0.1:9001/v1", 3.0) == (one.base_url, one.connect)
    assert "sk-canary" == (one.api_key.current().reveal() if one.api_key else "")
    assert (None, 1.5) == (two.api_key, two.connect)


FORMATS = """
[endpoints]
plain.provider = "openai"
plain.base_url = "http://127.0.0.1:9001/v1"
plain.speaks = ["chat"]
plain.asks_usage = false
plain.done_is_terminal = true
claude = {{ provider = "anthropic", base_url = "http://127.0.0.1:9002/v1", api_key = "{}" }}

[routes.chat]
layers = [{{ use = "round_robin", endpoints = ["plain", "claude"] }}]
"""


def test_an_endpoint_may_speak_another_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """And callers of any dialect may ask it; what a host lacks of its format is translated."""
    monkeypatch.setenv("KEY", "sk-ant")
    found = endpoints(parse(FORMATS.format("env:KEY")).routes["chat"]).values()
    plain, claude = (each.service for each in found)
    assert isinstance(plain, TranslateService)
    assert isinstance(claude, TranslateService)
    leaf, host = claude.inner, plain.inner

    assert isinstance(leaf, ls.Anthropic)
    assert isinstance(host, OpenAI)
    assert (False, True) == (host.asks_usage, host.done_is_terminal)
    assert ("http://127.0.0.1:9002/v1", "sk-ant") == (
        leaf.base_url,
        leaf.api_key.current().reveal() if leaf.api_key else "",
    )
    assert {"chat", "messages", "responses"} == plain.speaks
    assert {"chat", "messages", "responses"} <= claude.speaks


def test_a_route_can_stand_where_an_endpoint_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a group then: the one stack, not a copy, that also answers under its own name."""
    monkeypatch.setenv("EU_KEY", "sk-123")
    config = parse(EXAMPLE)
    group = endpoints(config.routes["*"])["chat"]

    assert config.routes["chat"] is group.service
    assert endpoints(config.routes["*"])["eu"] is endpoints(config.routes["chat"])["eu"]
    (fallback,) = (layer for layer in config.routes["*"].layers if role_of(layer) == "router")
    assert (ls.Busy, ls.NotReady) == fallback.triggers  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("{robin}", ["metrics", "router", "metrics"]),
        (
            '{{ use = "retry" }}, {robin}, {{ use = "circuit_breaker" }}',
            ["metrics", "retry", "router", "metrics", "circuit_breaker"],
        ),
        ('{{ use = "metrics" }}, {robin}', ["metrics", "router"]),
        ('{robin}, {{ use = "metrics" }}', ["router", "metrics"]),
    ],
    ids=["router", "more", "above", "below"],
)
def test_metrics_are_added_to_a_route_that_has_none(layers: str, expected: list[str]) -> None:
    """One outermost, for what callers see, and one below the router, for each attempt."""
    recorder = MemoryRecorder()
    text = layers.format(robin='{ use = "round_robin", endpoints = ["eu"] }')
    stack = parse(LAYERED.format(text), recorder=recorder).routes["chat"]

    assert expected == roles(stack)
    assert all(each.recorder is recorder for each in stack.layers if isinstance(each, Metrics))


def test_doubts_are_no_mistakes() -> None:
    """They are warnings with the place of the layer below, and the stack is built."""
    layers = """\
  { use = "deadline", seconds = 1 },
  { use = "retry" },
  { use = "retry" },
  { use = "round_robin", endpoints = ["eu", "us"] },
  { use = "timeout", total = 3 },
"""
    config = parse(LAYERED.format(layers))

    assert [
        "line 6: routes.chat.layers[2]: two layers are retry: two of them multiply",
        "line 8: routes.chat.layers[4]: timeout allows 3 s, but deadline above it only 1 s",
    ] == list(config.warnings)
    assert {"chat"} == set(config.routes)


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:65535", ("::1", 65535)),
        ("localhost:00080", ("localhost", 80)),
    ],
)
def test_where_to_listen(listen: str, expected: tuple[str, int]) -> None:
    """A host, which may be an address of version 6 in brackets, and a port."""
    layer = '{ use = "round_robin", endpoints = ["eu"] }'

    assert expected == parse(f"server.listen = {listen!r}\n{LAYERED.format(layer)}").listen


def test_what_it_builds_answers() -> None:
    """Through a real socket: the file says where, and what the model is called there."""

    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        choice = {"message": {"role": "assistant", "content": f"I am {asked['model']}."}}
        return web.json_response({"choices": [choice | {"finish_reason": "stop", "index": 0}]})

    async def main() -> object:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        config = parse(
            f"""\
            endpoints.eu = {{ provider = "openai", base_url = "{site.name}/v1/", model = "small" }}
            routes.chat.layers = [{{ use = "round_robin", endpoints = ["eu"] }}]
            """
        )
        async with config.routes["chat"] as stack:
            reply = await stack(ls.Request("chat", {"model": "chat", "messages": []}))
        await runner.cleanup()
        return json.loads(reply.body)["choices"][0]["message"]["content"]

    assert "I am small." == asyncio.run(main())
