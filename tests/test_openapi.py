"""The published schemas, as the tests use them: they tell right from wrong."""

from __future__ import annotations

import pytest

from llmstack.testing.openai_wire import Answer, embeddings, error_body, models_body
from tests.openapi import fields_of, wrong


ANSWER = Answer("chatcmpl-1", 1, "m", ("able", "blue"), "stop", 3)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("CreateChatCompletionResponse", ANSWER.complete()),
        *(("CreateChatCompletionStreamResponse", chunk) for chunk in ANSWER.chunks(usage=True)),
        ("CreateEmbeddingResponse", embeddings({"model": "m", "input": "a"}, 1)),
        ("ListModelsResponse", models_body(["a"], 1)),
        ("ErrorResponse", error_body(500, "down", "code")),
    ],
)
def test_what_the_fake_provider_says_is_valid(name: str, body: object) -> None:
    """So what is tested against it is tested against the format."""
    assert [] == wrong(name, body)


@pytest.mark.parametrize(
    "change", [{"choices": None}, {"object": "chat"}, {"created": "now"}, {"more": 1}]
)
def test_what_is_not_valid_is_found(change: dict[str, object]) -> None:
    """A wrong type, a wrong constant, and a field that the format does not have."""
    assert [] != wrong("CreateChatCompletionResponse", {**ANSWER.complete(), **change})


def test_fields_are_those_of_all_parts() -> None:
    """Also of what a schema is put together from."""
    assert {"model", "messages", "temperature", "stream"} <= fields_of(
        "CreateChatCompletionRequest"
    )
    assert {"input", "previous_response_id", "temperature"} <= fields_of("CreateResponse")
