"""Tokens as providers count them."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.call import Usage
from llmstack.providers.openai.usage import usage_in, usage_of


SAMPLES: Final[dict[str, tuple[object, Usage | None]]] = {
    "OpenAI": (
        {
            "prompt_tokens": 20,
            "completion_tokens": 7,
            "total_tokens": 27,
            "prompt_tokens_details": {"cached_tokens": 15, "audio_tokens": 0},
        },
        Usage(5, 7, 15),
    ),
    "DeepSeek": (
        {"prompt_tokens": 20, "completion_tokens": 7, "prompt_cache_hit_tokens": 4},
        Usage(16, 7, 4),
    ),
    "embeddings": ({"prompt_tokens": 20, "total_tokens": 20}, Usage(20, 0)),
    "nothing written": ({"prompt_tokens": 20, "completion_tokens": None}, Usage(20, 0)),
    "nothing": ({"prompt_tokens": 0, "completion_tokens": 0}, Usage()),
    "no details": (
        {"prompt_tokens": 2, "completion_tokens": 1, "prompt_tokens_details": None},
        Usage(2, 1),
    ),
    "more cached than sent": (
        {"prompt_tokens": 2, "prompt_tokens_details": {"cached_tokens": 9}},
        Usage(0, 0, 2),
    ),
    "cached below zero": (
        {"prompt_tokens": 2, "prompt_tokens_details": {"cached_tokens": -9}},
        Usage(2, 0, 0),
    ),
    "no prompt": ({"completion_tokens": 7}, None),
    "below zero": ({"prompt_tokens": -1, "completion_tokens": 7}, None),
    "output below zero": ({"prompt_tokens": 1, "completion_tokens": -7}, None),
    "in words": ({"prompt_tokens": "20", "completion_tokens": 7}, None),
    "in fractions": ({"prompt_tokens": 20.0, "completion_tokens": 7}, None),
    "true": ({"prompt_tokens": True, "completion_tokens": 7}, None),
    "null": (None, None),
    "list": ([1], None),
    "empty": ({}, None),
}


@pytest.mark.parametrize(("said", "usage"), SAMPLES.values(), ids=SAMPLES)
def test_counts_what_the_sample_says(said: object, usage: Usage | None) -> None:
    """The kinds of ours add up: what was cached is not counted as input too."""
    assert usage == usage_of(said)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize(("said", "usage"), SAMPLES.values(), ids=SAMPLES)
def test_finds_the_same_in_the_tail(
    said: object, usage: Usage | None, separators: tuple[str, str]
) -> None:
    """Without decoding what is before it."""
    body = {"data": ["x" * 9000], "usage": said, "after": None}

    assert usage == usage_in(json.dumps(body, separators=separators).encode())


REAL: Final[dict[str, Any]] = {"prompt_tokens": 3, "completion_tokens": 4}


@given(text=st.text('"usage: {}\\', max_size=60), first=st.booleans())
def test_is_not_fooled_by_content(text: str, *, first: bool) -> None:
    """What a model writes stands in a string, where quotes are escaped."""
    words = {"choices": [{"message": {"content": f'{text} "usage": {{"prompt_tokens": 9}}'}}]}
    body = {"usage": REAL, **words} if first else {**words, "usage": REAL}

    assert Usage(3, 4) == usage_in(json.dumps(body).encode())


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b'{"usage": 5}', b'{"usage": {"prompt_tokens": 3', b'{"usage": {\xff}}'),
        b'{"usage": {"prompt_tokens": 1}, "x": "' + b"x" * 4096 + b'"}',
        b'{"usage": ' + b'{"a":' * 700,
    ],
    ids=["empty", "none", "number", "cut", "no text", "too far from the end", "deep"],
)
def test_says_nothing_where_there_is_nothing_to_read(body: bytes) -> None:
    """A guess would be billed."""
    assert usage_in(body) is None


def test_takes_the_last_that_can_be_read() -> None:
    """One that cannot does not hide the one before it."""
    assert Usage(3) == usage_in(b'{"usage": {"prompt_tokens": 3}, "usage": {"x": 1}}')
    assert Usage(4) == usage_in(b'{"usage": {"prompt_tokens": 3}, "usage": {"prompt_tokens": 4}}')
