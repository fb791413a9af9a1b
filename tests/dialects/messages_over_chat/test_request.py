"""What becomes of each field at the top of a Messages request."""

from __future__ import annotations

import typing
from typing import Any, Final

import pytest
from anthropic.types import message_create_params as stable
from anthropic.types.beta import message_create_params as beta

from llmstack.dialects.messages_over_chat import MessagesOverChat
from llmstack.dialects.messages_over_chat.request import BUDGETS, DROPPED, REFUSED, TRANSLATED
from llmstack.dialects.translator import Translated
from llmstack.errors import Untranslatable
from tests.dialects.messages_over_chat.asked import MINIMAL, body


TRANSLATOR: Final = MessagesOverChat()
CHAT: Final[dict[str, Any]] = {
    "model": "m",
    "messages": [{"role": "user", "content": "hi"}],
    "max_completion_tokens": 9,
}
SCHEMA: Final = {"type": "object", "properties": {}, "additionalProperties": False}
FORMAT: Final = {"type": "json_schema", "schema": SCHEMA}
STRUCTURED: Final = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": SCHEMA, "strict": True},
    },
}
TOOL: Final = {"name": "f", "input_schema": SCHEMA}
FUNCTION: Final = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}

#: Every field that the SDK or the published interface has, with what it becomes, what is
#: dropped of it, or None where it is refused.
ROWS: Final[list[tuple[str, object, dict[str, Any] | None, tuple[str, ...]]]] = [
    ("model", "other", {"model": "other"}, ()),
    ("max_tokens", 1, {"max_completion_tokens": 1}, ()),
    ("max_tokens", 0, None, ()),
    ("max_tokens", True, None, ()),
    ("max_tokens", "9", None, ()),
    ("messages", [], None, ()),
    ("messages", "hi", None, ()),
    ("temperature", 0.5, {"temperature": 0.5}, ()),
    ("temperature", 0, {"temperature": 0}, ()),
    ("temperature", True, None, ()),
    ("temperature", "hot", None, ()),
    ("top_p", 0.25, {"top_p": 0.25}, ()),
    ("top_k", 0, {}, ("top_k",)),
    ("stop_sequences", ["a", "b"], {"stop": ["a", "b"]}, ()),
    ("stop_sequences", [*"abcd"], {"stop": [*"abcd"]}, ()),
    ("stop_sequences", [*"abcde"], None, ()),
    ("stop_sequences", [], {}, ()),
    ("stop_sequences", "a", None, ()),
    ("stop_sequences", [1], None, ()),
    ("stream", True, {"stream": True, "stream_options": {"include_usage": True}}, ()),
    ("stream", False, {"stream": False}, ()),
    ("metadata", {"user_id": "u" * 64}, {"safety_identifier": "u" * 64}, ()),
    ("metadata", {"user_id": "u" * 65}, {}, ("metadata.user_id",)),
    ("metadata", {"user_id": None}, {}, ()),
    ("metadata", {"team": "x"}, {}, ("metadata.team",)),
    ("metadata", {"user_id": 5}, None, ()),
    ("metadata", "me", None, ()),
    ("service_tier", "auto", {"service_tier": "auto"}, ()),
    ("service_tier", "standard_only", {"service_tier": "default"}, ()),
    ("service_tier", "gold", None, ()),
    ("service_tier", [], None, ()),
    ("output_config", {"format": FORMAT}, STRUCTURED, ()),
    ("output_config", {"format": {**FORMAT, "x": 1}}, STRUCTURED, ("output_config.format.x",)),
    ("output_config", {"format": {"type": "regex"}}, None, ()),
    ("output_config", {"format": {"type": "json_schema"}}, None, ()),
    ("output_config", {"format": None, "effort": None}, {}, ()),
    ("output_config", {"effort": "low"}, {"reasoning_effort": "low"}, ()),
    ("output_config", {"effort": "medium"}, {"reasoning_effort": "medium"}, ()),
    ("output_config", {"effort": "high"}, {"reasoning_effort": "high"}, ()),
    ("output_config", {"effort": "xhigh"}, {"reasoning_effort": "xhigh"}, ()),
    ("output_config", {"effort": "max"}, {"reasoning_effort": "max"}, ()),
    ("output_config", {"effort": "all"}, None, ()),
    ("output_config", {"effort": []}, None, ()),
    ("output_config", {"task_budget": 1}, {}, ("output_config.task_budget",)),
    ("output_config", [], None, ()),
    ("output_format", FORMAT, STRUCTURED, ()),
    ("thinking", {"type": "enabled", "budget_tokens": 1024}, {"reasoning_effort": "low"}, ()),
    ("thinking", {"type": "enabled", "budget_tokens": 4095}, {"reasoning_effort": "low"}, ()),
    ("thinking", {"type": "enabled", "budget_tokens": 4096}, {"reasoning_effort": "medium"}, ()),
    ("thinking", {"type": "enabled", "budget_tokens": 16383}, {"reasoning_effort": "medium"}, ()),
    ("thinking", {"type": "enabled", "budget_tokens": 16384}, {"reasoning_effort": "high"}, ()),
    ("thinking", {"type": "enabled"}, None, ()),
    ("thinking", {"type": "adaptive"}, {}, ("thinking",)),
    ("thinking", {"type": "disabled"}, {}, ("thinking",)),
    ("thinking", {"type": "between_tools"}, {}, ("thinking",)),
    (
        "thinking",
        {"type": "adaptive", "display": "omitted"},
        {},
        ("thinking.display", "thinking"),
    ),
    ("thinking", 5, None, ()),
    ("tools", [TOOL], {"tools": [FUNCTION]}, ()),
    ("tool_choice", {"type": "auto"}, {}, ("tool_choice",)),
    ("cache_control", {"type": "ephemeral"}, {}, ("cache_control",)),
    ("diagnostics", {"previous_message_id": "x"}, {}, ("diagnostics",)),
    ("speed", "fast", {}, ("speed",)),
    ("user_profile_id", "p", {}, ("user_profile_id",)),
    ("workspace_id", "w", {}, ("workspace_id",)),
    ("betas", ["b"], {}, ("betas",)),
    ("billing_policy", {"a": 1}, {}, ("billing_policy",)),
    ("context_management", {"edits": []}, {}, ("context_management",)),
    ("fallback_credit_token", "t", {}, ("fallback_credit_token",)),
    ("fallbacks", [], {}, ()),
    ("fallbacks", "default", {}, ("fallbacks",)),
    ("container", "c", None, ()),
    ("inference_geo", "eu", None, ()),
    ("mcp_servers", [{"type": "url"}], None, ()),
    ("mcp_servers", [], {}, ()),
    ("compaction", {}, None, ()),
    ("thread", {}, None, ()),
    ("a_new_field", 1, {}, ("a_new_field",)),
    (
        "system",
        "be brief",
        {"messages": [{"role": "system", "content": "be brief"}, *CHAT["messages"]]},
        (),
    ),
]


@pytest.mark.parametrize(("name", "value", "becomes", "dropped"), ROWS)
def test_each_field_is_said_dropped_or_refused(
    name: str,
    value: object,
    becomes: dict[str, Any] | None,
    dropped: tuple[str, ...],
) -> None:
    """What is dropped is told, what is refused is named, nothing is silent."""
    if becomes is None:
        with pytest.raises(Untranslatable, match=rf"^{name}\b.*: "):
            TRANSLATOR.request(body(**{name: value}))
        return

    assert Translated({**CHAT, **becomes}, dropped) == TRANSLATOR.request(body(**{name: value}))


@pytest.mark.parametrize("name", sorted(TRANSLATED - {"model", "messages"}))
def test_a_null_says_nothing(name: str) -> None:
    """A field that is null is as one that is not there."""
    expected = dict(CHAT)
    if name == "max_tokens":
        del expected["max_completion_tokens"]

    assert Translated(expected) == TRANSLATOR.request(body(**{name: None}))


@pytest.mark.parametrize("name", sorted(DROPPED | REFUSED))
def test_a_null_is_not_told(name: str) -> None:
    """Nothing is lost with a null, so nothing is dropped or refused."""
    assert Translated(CHAT) == TRANSLATOR.request(body(**{name: None}))


def test_every_field_of_the_sdk_has_its_row() -> None:
    """The list here, the tables of the code and the types of the SDK are of the same fields."""
    hints = typing.get_type_hints
    ours = TRANSLATED | DROPPED | REFUSED
    listed = {name for name, *_ in ROWS} - {"a_new_field"}

    assert ours == listed
    assert set(hints(stable.MessageCreateParamsStreaming)) <= listed
    assert set(hints(beta.MessageCreateParamsStreaming)) <= listed
    assert not TRANSLATED & DROPPED
    assert not TRANSLATED & REFUSED
    assert not DROPPED & REFUSED


def test_words_for_the_effort_come_before_a_budget() -> None:
    """With both, the budget is dropped and told."""
    thinking = {"type": "enabled", "budget_tokens": 1024}
    said = TRANSLATOR.request(body(thinking=thinking, output_config={"effort": "max"}))

    assert Translated({**CHAT, "reasoning_effort": "max"}, ("thinking",)) == said


def test_the_newer_name_of_the_format_comes_first() -> None:
    """With both, ``output_config.format`` stands."""
    other = {"type": "json_schema", "schema": {"type": "object"}}
    said = TRANSLATOR.request(body(output_format=other, output_config={"format": FORMAT}))

    assert Translated({**CHAT, **STRUCTURED}) == said


def test_the_limit_has_the_name_that_the_endpoint_knows() -> None:
    """A setting chooses the older name."""
    said = MessagesOverChat(limit="max_tokens").request(MINIMAL).body

    assert 9 == said["max_tokens"]
    assert "max_completion_tokens" not in said


@pytest.mark.parametrize("name", ["SECRET", "x" * 41, "a.b", ""])
def test_a_name_that_is_no_name_is_not_repeated(name: str) -> None:
    """Of fields that are not known only what looks like a field is told."""
    assert Translated(CHAT, ("?",)) == TRANSLATOR.request(body(**{name: 1}))


def test_a_body_without_a_model_is_refused() -> None:
    """It cannot be sent anywhere."""
    with pytest.raises(Untranslatable, match="model: must be a string"):
        TRANSLATOR.request({"messages": MINIMAL["messages"]})


def test_the_budgets_rise() -> None:
    """The first number that a budget is below is the one that counts."""
    assert sorted(BUDGETS) == list(BUDGETS)
