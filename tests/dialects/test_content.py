"""What counts as content, in each dialect: the point from which nothing is tried elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from llmstack.dialects.content import of_chat, of_messages, of_responses


def delta(**said: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": None}]}


def finish(reason: str | None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


@pytest.mark.parametrize(
    ("data", "counts"),
    [
        ({}, False),
        ({"choices": []}, False),
        ({"choices": [{"index": 0, "delta": None}]}, False),
        (delta(role="assistant", content=""), False),
        (delta(content="Hi"), True),
        (delta(refusal="No"), True),
        (delta(reasoning_content="Hm"), True),
        (delta(tool_calls=[{"index": 0}]), True),
        (delta(function_call={"name": "f"}), True),
        (finish("stop"), False),
        (finish("length"), True),
        (finish("tool_calls"), True),
    ],
)
def test_of_chat(data: dict[str, Any], counts: object) -> None:
    """Text, reasoning, a refusal, a tool call; and a finish that says more than stop."""
    assert counts is of_chat(("", data))


@pytest.mark.parametrize(
    ("name", "data", "counts"),
    [
        ("message_start", {"message": {"content": []}}, False),
        ("ping", {}, False),
        ("content_block_start", {"content_block": {"type": "text", "text": ""}}, False),
        ("content_block_start", {"content_block": {"type": "thinking"}}, False),
        ("content_block_start", {"content_block": {"type": "tool_use"}}, True),
        ("content_block_delta", {"delta": {"type": "text_delta", "text": ""}}, False),
        ("content_block_delta", {"delta": {"type": "text_delta", "text": "H"}}, True),
        ("content_block_delta", {"delta": {"type": "thinking_delta", "thinking": "H"}}, True),
        ("content_block_delta", {"delta": {"partial_json": "{"}}, True),
        ("content_block_stop", {"index": 0}, False),
        ("message_delta", {"delta": {"stop_reason": "end_turn"}}, False),
        ("message_delta", {"delta": {"stop_reason": "max_tokens"}}, True),
        ("message_stop", {}, False),
    ],
)
def test_of_messages(name: str, data: dict[str, Any], counts: object) -> None:
    """A piece of a block that is not empty, a tool, or an end that says more than end_turn."""
    assert counts is of_messages((name, data))


@pytest.mark.parametrize(
    ("name", "data", "counts"),
    [
        ("response.created", {}, False),
        ("response.output_item.added", {"item": {"type": "message"}}, False),
        ("response.output_item.added", {"item": {"type": "reasoning"}}, False),
        ("response.output_item.added", {"item": {"type": "function_call"}}, True),
        ("response.output_text.delta", {"delta": ""}, False),
        ("response.output_text.delta", {"delta": "H"}, True),
        ("response.output_text.done", {"text": "H"}, False),
        ("response.incomplete", {}, True),
        ("response.completed", {}, False),
    ],
)
def test_of_responses(name: str, data: dict[str, Any], counts: object) -> None:
    """A delta that is not empty, a call, or an end before the end."""
    assert counts is of_responses((name, data))
