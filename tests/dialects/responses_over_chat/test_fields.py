"""Each field of a request of the Responses API is carried, translated, dropped or refused."""

from __future__ import annotations

from typing import Any, Final

import pytest

from llmstack.dialects.responses_over_chat import ResponsesOverChat
from llmstack.dialects.responses_over_chat.tables import FIELDS
from llmstack.errors import Untranslatable
from tests.openapi import fields_of


#: The schema CreateResponse of OpenAI's OpenAPI document, version 2.3.0.
PUBLISHED: Final = {
    *("background", "context_management", "conversation", "include", "input", "instructions"),
    *("max_output_tokens", "max_tool_calls", "metadata", "model", "moderation"),
    *("parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key"),
    *("prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier"),
    *("service_tier", "store", "stream", "stream_options", "temperature", "text", "tool_choice"),
    *("tools", "top_logprobs", "top_p", "truncation", "user"),
}
TOOLS: Final = [{"type": "function", "name": "f", "parameters": None, "strict": None}]
SCHEMA: Final = {"type": "json_schema", "name": "s", "schema": {"type": "object"}, "strict": True}
LOGPROBS: Final = "message.output_text.logprobs"


def asked(**fields: object) -> dict[str, Any]:
    """The shortest request, with these fields."""
    return {"input": "hi", **fields}


def changed(body: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What *body* says in chat besides its message, and what was dropped."""
    said = ResponsesOverChat().request(body)
    rest = {name: value for name, value in said.body.items() if name != "messages"}
    assert [{"role": "user", "content": "hi"}] == said.body["messages"]
    return rest, said.dropped


#: A field, its value, what chat is told and what is dropped.
ROWS: Final[list[tuple[str, Any, dict[str, Any], tuple[str, ...]]]] = [
    ("background", False, {}, ()),
    ("context_management", [{"type": "compaction"}], {}, ("context_management",)),
    ("include", [LOGPROBS], {"logprobs": True}, ()),
    ("include", ["reasoning.encrypted_content", 7], {}, ("include[*]",)),
    ("include", [], {}, ()),
    ("max_output_tokens", 16, {"max_completion_tokens": 16}, ()),
    ("max_tool_calls", 3, {}, ("max_tool_calls",)),
    ("metadata", {"a": "b"}, {"metadata": {"a": "b"}}, ()),
    ("model", "m", {"model": "m"}, ()),
    ("parallel_tool_calls", True, {}, ()),
    ("prompt_cache_key", "k", {"prompt_cache_key": "k"}, ()),
    ("prompt_cache_options", {"ttl": "30m"}, {"prompt_cache_options": {"ttl": "30m"}}, ()),
    ("prompt_cache_retention", "24h", {"prompt_cache_retention": "24h"}, ()),
    ("reasoning", {"effort": "low", "summary": None}, {"reasoning_effort": "low"}, ()),
    ("reasoning", {"summary": "auto"}, {}, ("reasoning.summary",)),
    (
        "reasoning",
        {"effort": None, "generate_summary": "auto", "mode": "pro", "context": "auto"},
        {},
        ("reasoning.generate_summary", "reasoning.mode", "reasoning.context"),
    ),
    ("safety_identifier", "s", {"safety_identifier": "s"}, ()),
    ("service_tier", "flex", {"service_tier": "flex"}, ()),
    ("service_tier", "ultrafast", {}, ("service_tier",)),
    ("store", False, {}, ()),
    ("stream", True, {"stream": True, "stream_options": {"include_usage": True}}, ()),
    ("stream", False, {"stream": False}, ()),
    ("stream_options", {"include_obfuscation": False}, {}, ()),
    ("stream_options", {"include_obfuscation": True}, {}, ("stream_options.include_obfuscation",)),
    ("temperature", 0, {"temperature": 0}, ()),
    ("text", {"format": {"type": "text"}}, {"response_format": {"type": "text"}}, ()),
    ("text", {"format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}, ()),
    (
        "text",
        {"format": {**SCHEMA, "description": None, "odd": 1}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": True},
            }
        },
        ("text.format.odd",),
    ),
    (
        "text",
        {"format": {"type": "text", "odd": 1}},
        {"response_format": {"type": "text"}},
        ("text.format.odd",),
    ),
    ("text", {"verbosity": "low", "format": None, "more": 1}, {"verbosity": "low"}, ("text.more",)),
    ("tool_choice", "auto", {}, ()),
    ("tool_choice", "none", {}, ()),
    ("tool_choice", "required", {"tool_choice": "required"}, ()),
    ("tools", [], {}, ()),
    ("top_logprobs", 2, {"logprobs": True, "top_logprobs": 2}, ()),
    ("top_logprobs", 0, {}, ()),
    ("top_p", 0.5, {"top_p": 0.5}, ()),
    ("truncation", "disabled", {}, ()),
    ("truncation", "auto", {}, ("truncation",)),
    ("user", "u", {"user": "u"}, ()),
    # Of no schema that is known here; a name that is none is not repeated.
    ("image", {"context_compression": "auto"}, {}, ("image",)),
    ("a b", 1, {}, ("?",)),
    ("a" * 41, 1, {}, ("?",)),
]

#: A field, its value, and the path and the reason of the refusal.
REFUSED: Final[list[tuple[str, Any, str]]] = [
    ("background", True, "background: nothing is stored between requests; false is"),
    ("conversation", "c", "conversation: nothing is stored between requests"),
    ("conversation", {"id": "c"}, "conversation: nothing is stored between requests"),
    ("moderation", {"model": "m"}, "moderation: chat completions say the verdict in another form"),
    ("previous_response_id", "r", "previous_response_id: nothing is stored between requests"),
    ("prompt", {"id": "p"}, "prompt: nothing is stored between requests"),
    ("store", True, "store: nothing is stored between requests; false is"),
    ("text", {"format": {"type": "grammar"}}, "text.format.type: chat completions cannot say it"),
    ("text", {"format": "json"}, "text.format: must be an object"),
    ("text", "json", "text: must be an object"),
    ("reasoning", "low", "reasoning: must be an object"),
    ("include", "all", "include: must be an array"),
    ("instructions", ["be kind"], "instructions: must be a string"),
    ("stream_options", True, "stream_options: must be an object"),
]


def test_the_table_has_every_field_of_the_document() -> None:
    """No field is forgotten, and none is invented."""
    assert PUBLISHED == set(FIELDS)
    assert PUBLISHED == fields_of("CreateResponse")


def test_every_field_is_tried_here() -> None:
    """All of them are in the rows, besides the two that make the messages."""
    tried = {row[0] for row in ROWS} | {row[0] for row in REFUSED} | {"input"}

    assert set() == PUBLISHED - tried


@pytest.mark.parametrize(("name", "value", "expected", "dropped"), ROWS)
def test_what_chat_is_told(
    name: str, value: object, expected: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    """A field says in chat what the row says, and what is left out is told."""
    assert (expected, dropped) == changed(asked(**{name: value}))


@pytest.mark.parametrize(("name", "value", "says"), REFUSED)
def test_what_is_refused(name: str, value: object, says: str) -> None:
    """The refusal names the field."""
    with pytest.raises(Untranslatable) as caught:
        ResponsesOverChat().request(asked(**{name: value}))

    assert caught.value.message.startswith(says)


@pytest.mark.parametrize("name", sorted(PUBLISHED - {"input"}))
def test_null_says_nothing(name: str) -> None:
    """A null is as good as no field."""
    assert ({}, ()) == changed(asked(**{name: None}))


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_table_says_what_happens(name: str) -> None:
    """What is carried is the same under its new name; what is dropped is told; and so on."""
    fate = FIELDS[name].fate
    rows = [row for row in ROWS if row[0] == name]
    if fate == "carried":
        assert all(value == said[FIELDS[name].words] for _, value, said, _ in rows)
    if fate == "dropped":
        assert [({}, (name,))] == [(said, dropped) for _, _, said, dropped in rows]
    assert (fate == "refused") == (
        name in {n for n, _, says in REFUSED if "must be" not in says} - {"text"}
    )


def test_top_logprobs_come_with_what_asks_for_them() -> None:
    """Both together are one question, and none is asked for where none is wanted."""
    both = asked(include=[LOGPROBS], top_logprobs=0)

    assert ({"logprobs": True, "top_logprobs": 0}, ()) == changed(both)


def test_tools_bring_their_settings_along() -> None:
    """Chat hears how tools are chosen if there are any."""
    body = asked(tools=TOOLS, parallel_tool_calls=False, tool_choice="auto")
    function = {"type": "function", "function": {"name": "f"}}

    assert (
        {"tools": [function], "parallel_tool_calls": False, "tool_choice": "auto"},
        (),
    ) == changed(body)
    assert {"tools": [function]} == changed(asked(tools=TOOLS))[0]
