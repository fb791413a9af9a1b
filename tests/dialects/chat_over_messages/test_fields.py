"""Every field of a chat request has a place in the tables, and the page has the same tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import pytest

from llmstack.dialects.chat_over_messages import ChatOverMessages
from llmstack.dialects.chat_over_messages.fields import (
    DROPPED,
    EFFORTS,
    MAX_TOKENS,
    NEUTRAL,
    REFUSED,
    TIERS,
    TRANSLATED,
)
from llmstack.dialects.chat_over_messages.parts import IMAGES, PARTS
from llmstack.dialects.chat_over_messages.reply import FINISH
from llmstack.errors import Untranslatable
from tests.dialects.chat_over_messages.asking import CHAT, asked
from tests.shape.pages import sections
from tests.shape.source import ROOT


#: CreateChatCompletionRequest in version 2.3.0 of OpenAI's OpenAPI document.
FIELDS: Final = [
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
]

PAGE: Final = sections((ROOT / "docs/reference/translation_chat_over_messages.rst").read_text())

#: A value of each field that asks for something.
ASKS: Final[Mapping[str, Any]] = {
    "audio": {"voice": "alloy", "format": "wav"},
    "frequency_penalty": 0.5,
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "modalities": ["text", "audio"],
    "moderation": {"model": "omni-moderation-latest"},
    "n": 2,
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": -0.5,
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "explicit"},
    "prompt_cache_retention": "24h",
    "seed": 0,
    "store": True,
    "top_logprobs": 1,
    "verbosity": "high",
    "web_search_options": {},
}


def test_every_field_is_in_one_table() -> None:
    """None is forgotten, none is in two tables, and no table has one that does not exist."""
    assert sorted(FIELDS) == sorted([*TRANSLATED, *DROPPED, *REFUSED])
    assert sorted(ASKS) == sorted([*DROPPED, *REFUSED])


@pytest.mark.parametrize("name", sorted(DROPPED))
def test_what_is_dropped_is_told(name: str) -> None:
    """The field is not in the body, and its name is told."""
    translated = CHAT.request(asked(**{name: ASKS[name]}))

    assert ((name,), CHAT.request(asked()).body) == (translated.dropped, translated.body)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_refused_is_named(name: str) -> None:
    """The refusal says which field, and why."""
    with pytest.raises(Untranslatable) as refusal:
        CHAT.request(asked(**{name: ASKS[name]}))

    assert f"{name}: {REFUSED[name]}" == str(refusal.value)
    assert refusal.value.elsewhere
    assert refusal.value.unsent


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, None) for name in FIELDS if name != "messages"),
        *((name, value) for name, values in NEUTRAL.items() for value in values),
        ("metadata", {}),
        ("tools", []),
        ("functions", []),
        ("response_format", {"type": "text"}),
        ("stop", []),
        ("parallel_tool_calls", True),
        ("parallel_tool_calls", False),
        ("tool_choice", "auto"),
        ("tool_choice", "none"),
        ("stream_options", {"include_usage": True}),
    ],
)
def test_what_asks_for_nothing_is_left_out(name: str, value: object) -> None:
    """Nothing is said, and nothing told."""
    translated = CHAT.request({**asked(), name: value})
    expected = dict(CHAT.request(asked()).body)
    if name == "model":
        del expected["model"]

    assert (expected, ()) == (translated.body, translated.dropped)


def test_an_unknown_field_is_dropped_and_told() -> None:
    """Whatever its value, unless that is null."""
    assert ("top_k",) == CHAT.request(asked(top_k=4, other=None)).dropped


def table(section: str) -> list[list[str]]:
    """The rows of the tables in a section, each with what is marked as code in it."""
    rows = [line for line in PAGE[section].splitlines() if re.match(r"``\w+`` +``", line)]
    return [re.findall(r"``(\w+)``", row) for row in rows]


@pytest.mark.parametrize(
    ("section", "rows"), [("Translated", TRANSLATED), ("Dropped", DROPPED), ("Refused", REFUSED)]
)
def test_the_page_has_the_tables_of_fields(section: str, rows: Mapping[str, str]) -> None:
    """Name for name and word for word."""
    found = re.findall(r"^``(\w+)``\n    (.+)$", PAGE[section], re.MULTILINE)

    assert list(rows.items()) == found


def test_the_page_has_the_tables_of_values() -> None:
    """Efforts, tiers, parts, image types, reasons to finish, and the limit."""
    assert [*map(list, EFFORTS.items()), *map(list, TIERS.items())] == table("Values")
    assert [[role, *parts] for role, parts in PARTS.items()] == table("Conversation")
    assert [["stop_reason", "finish_reason"], *map(list, FINISH.items())] == table("Reply")
    assert set(IMAGES) == set(re.findall(r"``(image/\w+)``", PAGE["Conversation"]))
    assert f" it is {MAX_TOKENS} tokens" in PAGE["Values"]


def test_it_says_what_it_translates() -> None:
    """The names of the dialects, for whoever chooses a translator."""
    assert ("chat", "messages", True) == (CHAT.asks, CHAT.speaks, CHAT.sampling)
    assert not ChatOverMessages(sampling=False).sampling
