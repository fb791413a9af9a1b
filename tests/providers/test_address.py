"""Where a leaf asks and what its headers carry: what would go wrong later is told at once."""

from __future__ import annotations

import pytest

import llmstack as ls
from llmstack.providers.address import is_sendable


@pytest.mark.parametrize("leaf", [ls.OpenAI, ls.Anthropic])
@pytest.mark.parametrize(
    "url",
    [
        "http://127.0. 0.1:9001/v1",
        " http://127.0.0.1:9001",
        "http://127.0.0.1:9001/v1\n",
        "http://127.0.0.1:9001/v1 /",
        "http://127.0.0.1:9001/a\tb",
        "http://127.0.0.1:9001/\u00a0",
    ],
)
def test_an_address_has_no_white_space(leaf: type[ls.OpenAI | ls.Anthropic], url: str) -> None:
    """It comes from copying, and would be dropped without a word or sent as a part of the path."""
    with pytest.raises(ls.ConfigError, match="base_url must have no white space"):
        leaf(url)


@pytest.mark.parametrize("leaf", [ls.OpenAI, ls.Anthropic])
@pytest.mark.parametrize("key", ["", " ", "   "])
def test_a_key_is_more_than_blanks(leaf: type[ls.OpenAI | ls.Anthropic], key: str) -> None:
    """Of which nothing arrives: a server strips them off."""
    with pytest.raises(ls.ConfigError, match="api_key is empty or has signs"):
        leaf("http://127.0.0.1:9001", api_key=key)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", True), (" a b ", True), ("", False), (" ", False), ("a\n", False), ("é", False)],
)
def test_what_a_header_can_carry(text: str, *, expected: bool) -> None:
    """Signs that can be seen, and blanks among them."""
    assert expected is is_sendable(text)
