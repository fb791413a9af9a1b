"""Several keys of one endpoint, as a file names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import llmstack as ls
from llmstack.config import parse
from llmstack.layers.translate import TranslateService
from llmstack.providers.credential import SecretFile
from llmstack.routers.router import RouterService
from tests.config.example import mistakes_of


TEXT = """\
[endpoints.eu]
provider = "{}"
base_url = "http://127.0.0.1:9001/v1"
model = "m"
weight = 3
account = "acme"
connect = 1.5
{}
{}

[routes.chat]
layers = [{{ use = "round_robin", endpoints = ["eu"] }}, {{ use = "cooldown" }}]
"""
KEYS = """\
keys = [
  { name = "one", api_key = "env:ONE", models = ["m", "n"], weight = 2 },
  { name = "two", api_key = "file:two", account = "umbrella" },
]
"""
WHY = "so that no key stands in this file"
THERE = "there are account, api_key, models, name, weight"


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ONE", "sk-one")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two").write_text("sk-two\n")


def group_of(text: str) -> tuple[ls.Endpoint, ls.Stack[Any, Any], ls.Stack[Any, Any]]:
    """The endpoint, its own stack, and that of the route."""
    route = parse(text).routes["chat"]
    layer: Any = next(layer for layer in route.layers if hasattr(layer, "endpoints"))
    (endpoint,) = layer.endpoints
    assert isinstance(endpoint.service, ls.Stack)
    return endpoint, endpoint.service, route


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_an_endpoint_with_several_keys(provider: str) -> None:
    """A key is called after where it is; all share a transport, and the board of the routes."""
    endpoint, group, route = group_of(TEXT.format(provider, KEYS, "rotations = 1"))
    keys: Any = group.layers[0]
    leaves: list[Any] = []
    for member in keys.endpoints:
        assert isinstance(member.service, TranslateService)
        leaves.append(member.service.inner)

    assert ("eu", 3, "m", "", "") == (
        *(endpoint.name, endpoint.weight, endpoint.models),
        *(endpoint.key, endpoint.account),
    )
    assert [("eu/one", 2, "env:ONE", "acme"), ("eu/two", 1, "file:two", "umbrella")] == [
        (each.name, each.weight, each.key, each.account) for each in keys.endpoints
    ]
    assert ["", "m", "n"] == sorted(keys.endpoints[0].models)
    assert ["sk-one", "sk-two"] == [leaf.api_key.current().reveal() for leaf in leaves]
    assert isinstance(leaves[1].api_key, SecretFile)
    assert leaves[0].transport is leaves[1].transport
    assert [1.5, 1.5] == [leaf.connect for leaf in leaves]
    assert group["cooldown"].board is route["cooldown"].board
    assert (1, 2) == (keys.rotations, group.bound.calls)
    assert "sk-" not in route.describe()


def test_as_many_rotations_as_keys_has_by_default() -> None:
    """Where the file says nothing."""
    _, group, _ = group_of(TEXT.format("openai", KEYS, ""))
    keys: Any = group.layers[0]

    assert ls.Keys(keys.endpoints).rotations == keys.rotations == 2


def test_endpoints_that_differ_in_their_key_alone_may_be_a_route() -> None:
    """The same router by name, where endpoints are written one by one."""
    text = TEXT.format("openai", 'api_key = "env:ONE"', "")
    text = text.replace('use = "round_robin"', 'use = "keys", rotations = 0')
    router = parse(text).routes["chat"]["router"]

    assert isinstance(router, RouterService)
    assert "keys" == router.name


@pytest.mark.parametrize(
    ("keys", "more", "says"),
    [
        ("keys = []", "", "line 8: endpoints.eu.keys: must not be empty"),
        ("keys = 3", "", "line 8: endpoints.eu.keys: must be an array, not 3"),
        ("keys = [3]", "", "line 8: endpoints.eu.keys[0]: must be a table, not 3"),
        ("", "rotations = 1", "line 1: endpoints.eu: rotations is for keys only"),
        (KEYS, "rotations = -1", "line 13: endpoints.eu.rotations: must be >= 0, not -1"),
        (
            KEYS,
            'api_key = "env:ONE"',
            "line 1: endpoints.eu: keys and api_key exclude each other: several, or one",
        ),
        (
            KEYS.replace('"two", api', '"one", api'),
            "",
            "line 8: endpoints.eu.keys: two are named 'one'",
        ),
        (
            'keys = [{ name = "one", api_key = "env:ONE", models = ["n"] }]',
            "",
            "line 8: endpoints.eu.keys: none may be used for the model 'm'",
        ),
        (
            KEYS.replace('["m", "n"]', "[]"),
            "",
            "line 9: endpoints.eu.keys[0].models: must not be empty",
        ),
        (
            KEYS.replace("weight = 2", "weight = -2"),
            "",
            "line 9: endpoints.eu.keys[0].weight: must be a finite number >= 0, not -2",
        ),
        (
            KEYS.replace('"umbrella"', '""'),
            "",
            "line 10: endpoints.eu.keys[1].account: must not be empty",
        ),
        (
            KEYS.replace('name = "two"', 'name = ""'),
            "",
            "line 10: endpoints.eu.keys[1].name: must not be empty",
        ),
        (
            KEYS.replace('name = "two", ', ""),
            "",
            "line 10: endpoints.eu.keys[1].name: is missing",
        ),
        (
            KEYS.replace("file:two", "sk-two"),
            "",
            f'line 10: endpoints.eu.keys[1].api_key: must be "env:NAME" or "file:PATH", {WHY}',
        ),
        (
            KEYS.replace("account", "label"),
            "",
            f"line 10: endpoints.eu.keys[1].label: is no setting here; {THERE}",
        ),
    ],
)
def test_what_is_wrong_with_keys(keys: str, more: str, says: str) -> None:
    """Each mistake at its place, and no other."""
    assert [says] == mistakes_of(TEXT.format("openai", keys, more))
