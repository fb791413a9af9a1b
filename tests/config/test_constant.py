"""An endpoint in a file that asks nobody."""

from __future__ import annotations

import asyncio

import pytest

import llmstack as ls
from llmstack.config import ConfigMistakes, parse


TEXT = """
[endpoints.eu]
provider = "openai"
base_url = "http://127.0.0.1:1/v1"
[endpoints.sorry]
provider = "constant"
{}
[routes."*"]
layers = [{{ use = "fallback", endpoints = ["eu", "sorry"] }}]
"""


def test_the_last_of_a_fallback_answers_in_any_dialect() -> None:
    """With nobody at the first address."""
    stack = parse(TEXT.format('text = "Later."\ntags = ["eu-only"]')).routes["*"]
    said = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}

    async def main() -> list[object]:
        async with stack:
            chat = await stack(ls.Request("m", said))
            message = await stack(ls.Request("m", said, operation="messages"))
        return [chat.data["choices"][0]["message"]["content"], message.data["content"][0]["text"]]

    assert ["Later.", "Later."] == asyncio.run(main())
    assert {"eu-only"} == stack["router"].endpoints["sorry"].tags


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ("", "line 5: endpoints.sorry.text: is missing"),
        ('text = ""', "line 7: endpoints.sorry.text: "),
        (
            'text = "a"\nbase_url = "http://a"',
            "line 8: endpoints.sorry.base_url: is no setting here",
        ),
    ],
)
def test_what_it_needs_and_has_not(settings: str, mistake: str) -> None:
    """Each mistake with its place; what other endpoints have is none of its settings."""
    with pytest.raises(ConfigMistakes) as told:
        parse(TEXT.format(settings))

    assert mistake in str(told.value)
