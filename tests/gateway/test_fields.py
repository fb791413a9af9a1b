"""Fields by other spellings, and what is looked at below the first level."""

from __future__ import annotations

from typing import Any, Final

import pytest

from llmstack.gateway.errors import Problem
from llmstack.gateway.parse import check_content
from llmstack.messages import Request
from tests.gateway.test_parse import GOOD, parsed


#: What is wrong below the first level or missing, the path of it, and what must be there.
BELOW: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "chat include_usage": (
        {"stream_options": {"include_usage": "yes"}},
        "stream_options.include_usage must be true or false, and it is a string",
    ),
    "chat parts": (
        {"messages": [{"role": "user"}, {"role": "user", "content": [{}, 1]}]},
        "messages[1].content must be an array of objects",
    ),
    "chat text": (
        {"messages": [{"role": "user", "content": [{"text": "a"}, {"text": 1}]}]},
        "messages[0].content[1].text must be a string, and it is an integer",
    ),
    "chat tool_calls": (
        {"messages": [{"role": "assistant", "tool_calls": 5}]},
        "messages[0].tool_calls must be an array of objects, and it is an integer",
    ),
    "messages none": ({"messages": []}, "messages must be an array of at least one message"),
    "messages content": (
        {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": None}]},
        "messages[1].content must be a string or an array",
    ),
    "messages parts": (
        {"messages": [{"role": "user", "content": ["a"]}]},
        "messages[0].content must be an array of objects",
    ),
    "messages text": (
        {"messages": [{"role": "user", "content": [{"text": []}]}]},
        "messages[0].content[0].text must be a string, and it is an array",
    ),
    "messages system": (
        {"system": [{"text": "a"}, {"text": {}}]},
        "system[1].text must be a string, and it is an object",
    ),
    "messages limit": (
        {"max_tokens": None},
        "max_tokens must be an integer from 0 up",
    ),
    "messages no limit": (
        {"max_tokens": "9"},
        "max_tokens must be an integer from 0 up, and it is a string",
    ),
    "messages negative": ({"max_tokens": -1}, "max_tokens must be an integer from 0 up"),
    "count_tokens content": (
        {"messages": [{"role": "user", "content": 1}]},
        "messages[0].content must be a string or an array, and it is an integer",
    ),
    "count_tokens text": (
        {"system": [{"text": 1}]},
        "system[0].text must be a string, and it is an integer",
    ),
    "responses input": (
        {"input": None},
        "input must be a text or an array of items, and not empty",
    ),
    "responses empty": ({"input": ""}, "input must be a text or an array of items, and not empty"),
    "responses nothing": (
        {"input": [], "prompt": {}},
        "input must be a text or an array of items, and not empty",
    ),
    "responses item": ({"input": [{}, "a"]}, "input[1] must be an object, and it is a string"),
    "responses content": (
        {"input": [{"content": {}}]},
        "input[0].content must be a string or an array, and it is an object",
    ),
    "responses parts": (
        {"input": [{"content": [7]}]},
        "input[0].content must be an array of objects",
    ),
    "responses text": (
        {"input": [{}, {"content": [{"text": False}]}]},
        "input[1].content[0].text must be a string, and it is true or false",
    ),
}


@pytest.mark.parametrize("case", BELOW)
def test_a_few_things_below_the_first_level_are_looked_at(case: str) -> None:
    """Each is named by its path."""
    fields, message = BELOW[case]

    found = parsed(case.partition(" ")[0], **fields)

    assert isinstance(found, Problem)
    assert (400, message, message.partition(" ")[0]) == (found.status, found.message, found.param)


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        ("messages", {"max_tokens": 0, "system": "be kind", "stop_sequences": ["."]}),
        ("messages", {"system": [{"type": "text", "text": "a"}], "tool_choice": {"type": "any"}}),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "image"}]}]}),
        ("count_tokens", {"max_tokens": "many", "thinking": {"type": "adaptive"}}),
        ("responses", {"input": None, "previous_response_id": "resp_1"}),
        ("responses", {"input": None, "prompt": {"id": "pmpt_1"}}),
        ("responses", {"input": None, "conversation": "conv_1"}),
        ("responses", {"conversation": {"id": "conv_1"}, "instructions": None}),
        ("responses", {"input": [{"role": "user", "content": "a"}, {"type": "reasoning"}]}),
        ("responses", {"input": [{"content": None}, {"content": [{"text": "a"}, {}]}]}),
    ],
)
def test_what_is_good_in_other_dialects_passes(operation: str, fields: dict[str, Any]) -> None:
    """A limit of nothing fills a cache, and an input may be elsewhere."""
    assert isinstance(parsed(operation, **fields), Request)


@pytest.mark.parametrize(
    "fields",
    [
        *({"stream_options": each} for each in (None, {}, {"include_usage": None})),
        {"stream_options": {"include_usage": True, "other": "yes"}},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": None}]},
        {"messages": [{"role": "a", "content": [], "tool_calls": [{}]}]},
        {"messages": [{"role": "a", "content": [{"text": "b"}, {"text": None}, {"text": ""}]}]},
        {"metadata": {"api_key": "mine"}},
    ],
)
def test_what_is_good_below_the_first_level_passes(fields: dict[str, Any]) -> None:
    """Null leaves a thing out, and what is not known goes on as it is."""
    assert isinstance(parsed("chat", **fields), Request)
    assert isinstance(parsed("embeddings", messages=5, stream_options=5), Request)


@pytest.mark.parametrize(
    ("name", "param"),
    [
        *(("openai_api_key", None), ("websocket_base_url", None), ("My-API-Base", None)),
        *(("x endpoint", None), ("a_extra_headers", None), ("provider", "provider")),
        *(("mock_response", "mock_response"), ("Mock-Response", "Mock-Response")),
    ],
)
@pytest.mark.parametrize("operation", GOOD)
def test_other_spellings_are_refused_as_well(name: str, param: str | None, operation: str) -> None:
    """By their end; what stands before it may be any text, and is not repeated."""
    found = parsed(operation, **{name: 1})

    assert isinstance(found, Problem)
    assert ("forbidden_field", param) == (found.code, found.param)
    assert (param or "a field with such a name") == found.message.partition(" is not for ")[0]


@pytest.mark.parametrize(
    ("coding", "status"),
    [("chunked", None), (" Chunked", None), ("gzip, chunked", 415), ("gzip", 415), ("", 415)],
)
def test_a_body_comes_in_chunks_and_in_nothing_else(coding: str, status: int | None) -> None:
    """Nobody unpacks it here, so it would be taken for what it is not."""
    headers = {"Content-Type": "application/json", "Transfer-Encoding": coding}
    found = check_content(headers, 9)

    assert status == (None if found is None else found.status)
