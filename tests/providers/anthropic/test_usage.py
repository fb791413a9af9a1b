"""Tokens as the Anthropic format counts them."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.call import Usage
from llmstack.providers.anthropic.usage import counted, usage_in, usage_of


SAMPLES: Final[dict[str, tuple[object, Usage | None]]] = {
    "all": (
        {
            "input_tokens": 20,
            "cache_creation_input_tokens": 5,
            "cache_read_input_tokens": 100,
            "output_tokens": 7,
            "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 0},
            "service_tier": "standard",
        },
        Usage(25, 7, 100),
    ),
    "no cache": ({"input_tokens": 2, "output_tokens": 1}, Usage(2, 1)),
    "null": (
        {"input_tokens": 2, "output_tokens": 1, "cache_read_input_tokens": None},
        Usage(2, 1),
    ),
    "nothing written": ({"input_tokens": 20}, Usage(20)),
    "zeros": ({"input_tokens": 0, "output_tokens": 0}, Usage()),
    "no prompt": ({"output_tokens": 7}, None),
    "below zero": ({"input_tokens": -1, "output_tokens": 7}, None),
    "output below zero": ({"input_tokens": 1, "output_tokens": -7}, Usage(1)),
    "cached below zero": ({"input_tokens": 1, "cache_read_input_tokens": -7}, Usage(1)),
    "in words": ({"input_tokens": "20", "output_tokens": 7}, None),
    "in fractions": ({"input_tokens": 20.0, "output_tokens": 7}, None),
    "true": ({"input_tokens": True, "output_tokens": 7}, None),
    "none": (None, None),
    "list": ([1], None),
    "empty": ({}, None),
}


@pytest.mark.parametrize(("said", "usage"), SAMPLES.values(), ids=SAMPLES)
def test_counts_what_the_sample_says(said: object, usage: Usage | None) -> None:
    """What was written to a cache was read as input; the kinds add up."""
    assert usage == usage_of(counted(said))


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize(("said", "usage"), SAMPLES.values(), ids=SAMPLES)
def test_finds_the_same_in_the_tail(
    said: object, usage: Usage | None, separators: tuple[str, str]
) -> None:
    """Without decoding what is before it."""
    body = {"content": ["x" * 9000], "usage": said, "container": None}

    assert usage == usage_in(json.dumps(body, separators=separators).encode() + b"\n")


REAL: Final[dict[str, Any]] = {"input_tokens": 3, "output_tokens": 4}
FALSE: Final[dict[str, Any]] = {"usage": {"input_tokens": 9}}
frames = st.recursive(
    st.just(FALSE)
    | st.builds(lambda text: f'{text} "usage": {{"input_tokens": 9}}', st.text("{}")),
    lambda inner: st.lists(inner, min_size=1, max_size=2) | inner.map(lambda each: {"x": each}),
    max_leaves=4,
)


@given(inner=frames, first=st.booleans())
def test_is_not_fooled_by_content(inner: object, *, first: bool) -> None:
    """Neither by what a model writes in a text, nor by the arguments that it gives a tool."""
    content = {"content": [{"type": "tool_use", "input": inner}]}
    body = {"usage": REAL, **content} if first else {**content, "usage": REAL}

    assert Usage(3, 4) == usage_in(json.dumps(body).encode())
    assert usage_in(json.dumps(content).encode()) is None


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b'{"usage": 5}', b'{"usage": {"input_tokens": 3', b'{"usage": {\xff}}'),
        b'{"usage": {"input_tokens": 1}, "x": "' + b"x" * 4096 + b'"}',
        b'{"usage": ' + b'{"a":' * 700,
        b'{"usage": {"input_tokens": 1}',
    ],
    ids=["empty", "none", "number", "cut", "no text", "too far from the end", "deep", "no end"],
)
def test_says_nothing_where_there_is_nothing_to_read(body: bytes) -> None:
    """A guess would be billed."""
    assert usage_in(body) is None


def test_takes_the_last_that_can_be_read() -> None:
    """One that cannot does not hide the one before it."""
    assert Usage(3) == usage_in(b'{"usage": {"input_tokens": 3}, "usage": {"x": 1}}')
    assert Usage(4) == usage_in(b'{"usage": {"input_tokens": 3}, "usage": {"input_tokens": 4}}')
