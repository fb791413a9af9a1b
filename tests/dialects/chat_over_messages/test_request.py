"""What the single fields of a chat request become in Messages."""

from __future__ import annotations

from typing import Any

import pytest

from llmstack.dialects.chat_over_messages import ChatOverMessages
from llmstack.errors import Untranslatable
from tests.dialects.chat_over_messages.asking import CHAT, asked, said


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"model": "other"}, {"model": "other"}),
        ({"stream": True}, {"stream": True}),
        ({"stream": False}, {"stream": False}),
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 1}, {"max_tokens": 1}),
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["a", " b"]}, {"stop_sequences": ["a", " b"]}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"temperature": 1}, {"temperature": 1}),
        ({"top_p": 0.3}, {"top_p": 0.3}),
        ({"temperature": 0.2, "top_p": 1}, {"temperature": 0.2}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"reasoning_effort": "minimal"}, {"output_config": {"effort": "low"}}),
        ({"reasoning_effort": "max"}, {"output_config": {"effort": "max"}}),
        (
            {"response_format": FORMAT},
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        ),
        (
            {"response_format": FORMAT, "reasoning_effort": "high"},
            {
                "output_config": {
                    "effort": "high",
                    "format": {"type": "json_schema", "schema": SCHEMA},
                }
            },
        ),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
        ({"metadata": {"user_id": "m"}}, {"metadata": {"user_id": "m"}}),
        ({"service_tier": "auto"}, {"service_tier": "auto"}),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}),
    ],
)
def test_a_field_becomes_another(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    """What is said in Messages, and nothing is dropped."""
    assert expected == said(**fields)
    assert () == CHAT.request(asked(**fields)).dropped


@pytest.mark.parametrize(
    ("fields", "expected", "dropped"),
    [
        ({"temperature": 1.1}, {"temperature": 1}, ["temperature"]),
        ({"temperature": 2, "top_p": 0.5}, {"temperature": 1}, ["temperature", "top_p"]),
        ({"temperature": 0, "top_p": 0.5}, {"temperature": 0}, ["top_p"]),
        ({"max_completion_tokens": 3, "max_tokens": 9}, {"max_tokens": 3}, ["max_tokens"]),
        ({"reasoning_effort": "extreme"}, {}, ["reasoning_effort"]),
        ({"service_tier": "flex"}, {}, ["service_tier"]),
        (
            {"safety_identifier": "s", "user": "u", "metadata": {"user_id": "m", "k": "v"}},
            {"metadata": {"user_id": "s"}},
            ["user", "metadata.user_id", "metadata"],
        ),
        ({"user": "u", "metadata": {"k": "v"}}, {"metadata": {"user_id": "u"}}, ["metadata"]),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": {}, "description": "d"},
                }
            },
            {"output_config": {"format": {"type": "json_schema", "schema": {}}}},
            ["response_format.json_schema.description"],
        ),
    ],
)
def test_what_cannot_be_said_of_it_is_told(
    fields: dict[str, Any], expected: dict[str, Any], dropped: list[str]
) -> None:
    """The rest is said, the path of what is missing is told."""
    assert expected == said(**fields)
    assert dropped == list(CHAT.request(asked(**fields)).dropped)


def test_sampling_may_be_left_out() -> None:
    """For models that refuse temperature and top_p, both are dropped and told."""
    translator = ChatOverMessages(sampling=False)
    translated = translator.request(asked(temperature=1.5, top_p=1))

    assert CHAT.request(asked()).body == translated.body
    assert ("temperature", "top_p") == translated.dropped


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": 1}, "model: must be a string"),
        ({"max_tokens": 0}, "max_tokens: must be an integer from 1 up"),
        ({"max_tokens": True}, "max_tokens: must be an integer from 1 up"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens: must be an integer from 1 up"),
        ({"temperature": -0.1}, "temperature: must be a number from 0 up"),
        ({"temperature": float("nan")}, "temperature: must be a number from 0 up"),
        ({"temperature": True}, "temperature: must be a number from 0 up"),
        ({"top_p": "1"}, "top_p: must be a number from 0 up"),
        ({"stop": ["a", "\n"]}, "stop[1]: Messages does not stop at blanks"),
        ({"stop": ""}, "stop[0]: Messages does not stop at blanks"),
        ({"stop": [1]}, "stop[0]: must be a string"),
        ({"stop": 1}, "stop: must be an array"),
        ({"reasoning_effort": 3}, "reasoning_effort: must be a string"),
        ({"service_tier": 3}, "service_tier: must be a string"),
        ({"metadata": []}, "metadata: must be an object"),
        ({"metadata": {"user_id": 1}}, "metadata.user_id: must be a string"),
        ({"user": 1}, "user: must be a string"),
        ({"response_format": "json"}, "response_format: must be an object"),
        (
            {"response_format": {"type": "json_object"}},
            "response_format.type: Messages writes JSON to a schema only",
        ),
        (
            {"response_format": {"type": "json_schema"}},
            "response_format.json_schema: must be an object",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
            "response_format.json_schema.schema: must be an object",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], said: str) -> None:
    """By path, and in words."""
    with pytest.raises(Untranslatable) as refusal:
        CHAT.request(asked(**fields))

    assert said == str(refusal.value)


def test_the_callers_body_is_not_changed() -> None:
    """Turns are made of new lists, though one is put into another."""
    body = asked(
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "a"}]},
            {"role": "user", "content": [{"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "c "},
        ],
        functions=[{"name": "f", "parameters": {}}],
    )
    copy = repr(body)

    assert CHAT.request(body).body == CHAT.request(body).body
    assert copy == repr(body)
