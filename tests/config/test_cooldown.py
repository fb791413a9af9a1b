"""Which endpoints of a file share what befalls them, and that all routes know of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmstack.config import Config, ConfigMistakes, parse
from llmstack.layers.cooldown import Cooldown


TEXT = """\
[endpoints]
eu = {{ {}, api_key = "env:KEY" }}
us = {{ {}, api_key = "env:KEY", account = "acme" }}
file = {{ {}, api_key = "file:key" }}
bare = {{ {} }}

[routes.one]
layers = [
  {{ use = "round_robin", endpoints = ["eu", "us", "file", "bare"] }},
  {{ use = "cooldown" }},
]

[routes.two]
layers = [{{ use = "fallback", endpoints = ["us", "one"] }}, {{ use = "cooldown", cap = 60 }}]
""".format(*['provider = "openai", base_url = "http://127.0.0.1:9001"'] * 4)


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Config:
    monkeypatch.setenv("KEY", "sk-canary")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key").write_text("sk-canary")
    return parse(TEXT)


def layers_of(config: Config, route: str) -> tuple[Any, ...]:
    return config.routes[route].layers


def test_an_endpoint_is_named_after_where_its_key_is(config: Config) -> None:
    """Not after the key; without one it shares nothing."""
    robin = next(layer for layer in layers_of(config, "one") if hasattr(layer, "endpoints"))

    assert [
        ("eu", "env:KEY", ""),
        ("us", "env:KEY", "acme"),
        ("file", "file:key", ""),
        ("bare", "", ""),
    ] == [(e.name, e.key, e.account) for e in robin.endpoints]
    assert "canary" not in repr(robin.endpoints)


def test_all_routes_of_a_file_know_the_same(config: Config) -> None:
    """They have one board, and settings of their own."""
    one, two = (
        layer
        for route in ("one", "two")
        for layer in layers_of(config, route)
        if isinstance(layer, Cooldown)
    )

    assert one.board is not None
    assert one.board is two.board
    assert (21600.0, 60.0) == (one.cap, two.cap)
    assert one.board is config.routes["two"]["cooldown"].board


def test_two_files_do_not(config: Config) -> None:
    """A file that is read again begins with a clean board."""
    board = config.routes["one"]["cooldown"].board

    assert board is not parse(TEXT).routes["one"]["cooldown"].board


@pytest.mark.parametrize(("account", "says"), [('""', "must not be empty"), ("3", "a string, not")])
def test_an_account_has_a_name(account: str, says: str) -> None:
    """Or is left out."""
    text = TEXT.replace('"acme"', account).replace(', api_key = "env:KEY"', "")
    with pytest.raises(ConfigMistakes, match=rf"line 3: endpoints\.us\.account: .*{says}"):
        parse(text.replace(', api_key = "file:key"', ""))
