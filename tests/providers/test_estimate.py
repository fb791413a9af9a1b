"""What a stream took is guessed from its text, and from what the provider did say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.call import Usage
from llmstack.providers.anthropic.progress import Progress as OfMessages
from llmstack.providers.estimate import estimated, text_bytes
from llmstack.providers.openai.progress import Progress as OfChat


@pytest.mark.parametrize(
    ("said", "text", "expected"),
    [
        (None, 0, Usage(9, 0, estimated=True)),
        (None, 1, Usage(9, 1, estimated=True)),
        (None, 4, Usage(9, 1, estimated=True)),
        (None, 5, Usage(9, 2, estimated=True)),
        (Usage(3, 1, 2), 0, Usage(3, 1, 2, estimated=True)),
        (Usage(3, 1, 2), 8, Usage(3, 2, 2, estimated=True)),
        (Usage(0, 0), 4, Usage(0, 1, estimated=True)),
    ],
)
def test_what_was_said_stands(said: Usage | None, text: int, expected: Usage) -> None:
    """Of the prompt wholly, of the output at least; it is flagged in any case."""
    assert expected == estimated(said, 9, text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"text": "abc"}, 3),
        ({"text": "\u00e9\U0001f600"}, 6),
        ({"text": "\ud83d"}, 3),
        ({"text": None, "other": "abc"}, 0),
        ({"text": ["a"]}, 0),
        ([{"text": "a"}, {"other": [{"text": "bc", "name": "d"}]}], 4),
        ({"text": {"text": "a"}}, 1),
        ("abc", 0),
        (None, 0),
    ],
)
def test_texts_are_counted_by_their_name(value: object, expected: int) -> None:
    """In bytes, wherever they stand."""
    assert expected == text_bytes(value, ("text", "name"))


def test_no_depth_is_too_deep() -> None:
    """What could be read can be counted."""
    value: dict[str, Any] = {"text": "a"}
    for _ in range(100_000):
        value = {"a": value}

    assert 1 == text_bytes(value, ("text",))


words = st.lists(st.text("ab c.", min_size=1, max_size=9), max_size=12)


def chunk(text: str, padding: str | None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    data = {"id": "c", "choices": [choice], "usage": None, "obfuscation": padding}
    if padding is None:
        del data["obfuscation"]
    return json.dumps(data, separators=(",", ":")).encode()


@given(texts=words, padded=st.booleans())
def test_the_text_of_a_chat_stream_is_counted(texts: list[str], *, padded: bool) -> None:
    """Whether its events are decoded or recognised, and whatever they are padded with."""
    progress = OfChat()

    for n, text in enumerate(texts):
        assert progress.take(chunk(text, "x" * (n % 3) if padded else None))

    assert len("".join(texts)) == progress.text


@given(texts=words, spaces=st.booleans())
def test_the_text_of_a_messages_stream_is_counted(texts: list[str], *, spaces: bool) -> None:
    """As above."""
    progress = OfMessages()

    for n, text in enumerate(texts):
        delta = {"type": "text_delta", "text": text}
        event = {"type": "content_block_delta", "index": 0, "delta": delta}
        data = json.dumps(event, separators=(",", ":")).encode()
        assert progress.take(data[:-1] + b" " * (n % 3 if spaces else 0) + b"}")

    assert len("".join(texts)) == progress.text
