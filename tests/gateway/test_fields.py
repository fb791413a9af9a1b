"""Fields by other spellings, and what is looked at below the first level."""

from __future__ import annotations

from typing import Any, Final

import pytest

from llmstack.gateway.errors import Problem
from llmstack.gateway.parse import check_content
from llmstack.messages import Request
from tests.gateway.test_parse import parsed


#: What is wrong below the first level, the path of it, and what must be there.
BELOW: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "include_usage": (
        {"stream_options": {"include_usage": "yes"}},
        "stream_options.include_usage must be true or false, and it is a string",
    ),
    "parts": (
        {"messages": [{"role": "user"}, {"role": "user", "content": [{}, 1]}]},
        "messages[1].content must be an array of objects",
    ),
    "text": (
        {"messages": [{"role": "user", "content": [{"text": "a"}, {"text": 1}]}]},
        "messages[0].content[1].text must be a string, and it is an integer",
    ),
    "tool_calls": (
        {"messages": [{"role": "assistant", "tool_calls": 5}]},
        "messages[0].tool_calls must be an array of objects, and it is an integer",
    ),
}


@pytest.mark.parametrize("case", BELOW)
def test_a_few_things_below_the_first_level_are_looked_at(case: str) -> None:
    """Each is named by its path."""
    fields, message = BELOW[case]

    found = parsed("chat", **fields)

    assert isinstance(found, Problem)
    assert (400, message, message.partition(" ")[0]) == (found.status, found.message, found.param)


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
@pytest.mark.parametrize("operation", ["chat", "embeddings"])
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
