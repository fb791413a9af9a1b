"""The guess at a prompt's tokens: what counts how much, and that nothing breaks it."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.estimators.tokens import IMAGE_TOKENS, prompt_tokens, text_tokens


texts = st.text(st.characters(codec=None), max_size=30)
fields = texts | st.sampled_from(
    ["messages", "content", "text", "input", "prompt", "tools", "tool_calls", "refusal", "type"]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(fields, inner, max_size=4),
    max_leaves=25,
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "messages": json_values
        | st.lists(
            st.fixed_dictionaries({}, optional={"content": json_values, "tool_calls": json_values})
        ),
        "input": json_values,
        "prompt": json_values,
        "tools": json_values,
    },
)


def quarters(*parts: str) -> int:
    """The bytes of each, in fours; what is left over counts whole."""
    return sum(len([*part.encode("utf-8", "surrogatepass")][::4]) for part in parts)


def user(content: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": content}]}


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 90_000}}
TEXT = {"type": "text", "text": "12345"}


@given(texts)
@example("1234")
@example("12345")
@example("äöü")
@example("\ud800\ud800")
def test_a_text_is_its_bytes_by_four(text: str) -> None:
    """Rounded up, in UTF-8, for whatever a JSON string may hold: half a surrogate pair too."""
    assert quarters(text) == text_tokens(text)


@given(st.lists(texts, max_size=5))
def test_a_chat_is_its_texts_and_three_for_each_and_the_reply(contents: list[str]) -> None:
    """Each text is rounded by itself."""
    body = {"messages": [{"role": "user", "content": content} for content in contents]}

    assert quarters(*contents) + 3 * len(contents) + 3 == prompt_tokens(body)


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (user([]), 6),
        (user([TEXT, TEXT]), 6 + 4),
        (user([TEXT, "12345", 7, None, True]), 6 + 4),
        (user([IMAGE]), 6 + 765),
        (user([TEXT, IMAGE, {}]), 6 + 2 + 2 * 765),
        (user([{"type": "refusal", "refusal": "12345"}]), 6 + 2),
        (user([{"text": ["12345"]}]), 6 + 765),
        (user(None), 6),
        (user({"text": "12345"}), 6 + 2),
        ({"messages": []}, 3),
        ({"messages": ["12345", None]}, 9),
        ({"messages": "12345"}, 0),
        ({"messages": [{"tool_calls": [{"function": {"name": "12345"}}]}]}, 6 + 2 + 1 + 2),
        ({"messages": [], "tools": [{"name": "12345", "n": [1, None, "1"]}]}, 3 + 1 + 2 + 1 + 1),
        ({"tools": "12345"}, 2),
        ({"input": "12345"}, 2),
        ({"input": ["12345", "1", ""]}, 3),
        ({"input": [5, 0, 7]}, 3),
        ({"input": [[5, 0, 7], [1]]}, 4),
        ({"input": {"text": "12345"}}, 0),
        ({"input": [{"role": "user", "content": "12345"}]}, 3 + 2),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "12345"}]}]}, 5),
        ({"input": [{"type": "function_call", "arguments": "12345"}]}, 2),
        ({"input": [{"type": "function_call_output", "output": "12345"}]}, 2),
        ({"input": [{"type": "item_reference", "id": "1"}]}, 765),
        ({"instructions": "12345", "input": "1"}, 3),
        ({"system": "12345", "messages": []}, 3 + 2),
        ({"system": [TEXT, TEXT], "messages": []}, 3 + 4),
        (user([{"type": "tool_use", "id": "1", "input": {"a": "12345"}}]), 6 + 1 + 2),
        (user([{"type": "thinking", "thinking": "12345", "signature": "1"}]), 6 + 2),
        (user([{"type": "tool_result", "content": "12345"}]), 6 + 2),
        (user([{"type": "tool_result", "content": [TEXT, {"type": "image"}, 7]}]), 6 + 2 + 1530),
        (user([{"type": "image", "content": "12345"}]), 6 + 765),
        ({"prompt": ["12345"]}, 2),
        ({"prompt": "12345", "input": "1", "model": "gpt", "user": "x"}, 3),
        ({}, 0),
        ([], 0),
        ("12345", 0),
        (None, 0),
    ],
)
def test_what_counts(body: object, tokens: int) -> None:
    """Texts, token numbers, names and fields of tools; an image as a constant, never its bytes."""
    assert tokens == prompt_tokens(body)


def test_an_image_is_a_constant() -> None:
    """The number is public, so that a caller who knows better can take it out again."""
    assert prompt_tokens(user([IMAGE])) - prompt_tokens(user([])) == IMAGE_TOKENS


@given(bodies | json_values)
@example({"input": True})
@example({"messages": [{"content": [[["deep"]]]}]})
def test_takes_any_json_value(body: object) -> None:
    """A body is whatever the caller sent: there is a number, and nothing is raised or changed."""
    before = json.dumps(body)

    tokens = prompt_tokens(body)
    assert tokens >= 0
    assert before == json.dumps(body)


def test_depth_is_no_matter() -> None:
    """Nested deeper than a recursion could go."""
    deep: object = "12345"
    for _ in range(100_000):
        deep = [deep]

    assert 2 + 3 + 3 == prompt_tokens({"messages": [{"tool_calls": deep}]})
