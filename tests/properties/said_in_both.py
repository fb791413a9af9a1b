"""Requests that both chat and Messages can say, drawn in each of the two."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from hypothesis import strategies as st

from tests.dialects import chat_side


__all__ = ["Body", "chat_requests", "messages_requests"]

Body = dict[str, Any]

words: Final = st.text('ab "\\{\n\u00e9\U0001f600', max_size=4).map(lambda text: f"x{text}.")
blanks: Final = st.sampled_from(["", " ", "\n"])
inputs: Final = chat_side.objects()
names: Final = st.sampled_from(["look_up", "f-1"])
SCHEMA: Final = {"type": "object", "properties": {"a": {"type": "string"}}}
PNG: Final = "iVBORw=="
LINK: Final = "https://a.example/b.png"


def optional(**fields: Sequence[Any]) -> st.SearchStrategy[Body]:
    """Objects with any of the fields, each with one of its values."""
    choices = {name: st.sampled_from(values) for name, values in fields.items()}
    return st.fixed_dictionaries({}, optional=choices)


def of(**fields: object) -> st.SearchStrategy[Body]:
    """Objects with all of the fields, each drawn or as it is."""
    drawn = {
        name: each if isinstance(each, st.SearchStrategy) else st.just(each)
        for name, each in fields.items()
    }
    return st.fixed_dictionaries(drawn)


text_parts: Final = of(type="text", text=words)
image_parts: Final = of(
    type="image_url",
    image_url=of(url=st.sampled_from([LINK, f"data:image/png;base64,{PNG}"])),
)


def contents(*parts: st.SearchStrategy[Body]) -> st.SearchStrategy[Any]:
    return words | st.lists(st.one_of(*parts), min_size=1, max_size=3)


@st.composite
def chat_exchanges(draw: st.DrawFn, turn: int) -> list[Body]:
    """What the assistant says and calls, the results in any order, and the user again."""
    called = [(f"call_{turn}_{n}", draw(names), draw(inputs)) for n in range(draw(counts))]
    said: Body = {"role": "assistant", "content": draw(contents(text_parts))}
    if called:
        said["content"] = draw(st.none() | contents(text_parts))
        said["tool_calls"] = [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": json.dumps(it)}}
            for id_, name, it in called
        ]
    results = [
        {"role": "tool", "tool_call_id": id_, "content": draw(blanks | contents(text_parts))}
        for id_, _, _ in called
    ]
    users = st.lists(of(role="user", content=contents(text_parts, image_parts)), max_size=2)
    more = draw(users) or [{"role": "user", "content": "go on"}]
    return [said, *draw(st.permutations(results)), *more]


counts: Final = st.integers(0, 3)
chat_systems: Final = of(
    role=st.sampled_from(["system", "developer"]), content=contents(text_parts) | blanks
)
chat_functions: Final = st.fixed_dictionaries(
    {"name": st.just("look_up"), "parameters": st.just(SCHEMA)},
    optional={"description": words, "strict": st.booleans()},
)
chat_tools: Final = st.fixed_dictionaries(
    {
        "tools": st.builds(
            lambda one: [
                {"type": "function", "function": one},
                {"type": "function", "function": {"name": "f-1"}},
            ],
            chat_functions,
        ),
    },
    optional={
        "tool_choice": st.sampled_from(
            ["auto", "none", "required", {"type": "function", "function": {"name": "f-1"}}]
        ),
        "parallel_tool_calls": st.booleans(),
    },
)
chat_fields: Final = optional(
    max_completion_tokens=[1, 900],
    stop=["END", ["a", "b"]],
    stream=[True, False],
    reasoning_effort=["low", "medium", "high", "xhigh", "max"],
    service_tier=["auto", "default"],
    safety_identifier=["user-1"],
    response_format=[
        {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}
    ],
)
sampling: Final = optional(temperature=[0, 0.5, 1]) | optional(top_p=[0.1, 1])


@st.composite
def chat_requests(draw: st.DrawFn) -> Body:
    """Requests of which Messages has every word."""
    said = [draw(of(role="user", content=contents(text_parts, image_parts)))]
    for turn in range(draw(st.integers(0, 2))):
        said += draw(chat_exchanges(turn))
    for system in draw(st.lists(chat_systems, max_size=2)):
        places = [n for n, each in enumerate(said) if each["role"] == "user"]
        said.insert(draw(st.sampled_from(places)), system)
    settings = {**draw(chat_fields), **draw(sampling)}
    return {"model": "m", "messages": said, **settings, **draw(chat_tools)}


text_blocks: Final = of(type="text", text=words)
image_blocks: Final = of(
    type="image",
    source=st.sampled_from(
        [
            {"type": "url", "url": LINK},
            {"type": "base64", "media_type": "image/png", "data": PNG},
        ]
    ),
)


@st.composite
def rounds(draw: st.DrawFn, turn: int) -> list[Body]:
    """Turns of the assistant, and the answer of the user, in one message or in several."""
    ids = [f"toolu_{turn}-{n}" for n in range(draw(counts))]
    calls = [draw(of(type="tool_use", id=each, name=names, input=inputs)) for each in ids]
    said = draw(st.lists(text_blocks, min_size=0 if calls else 1, max_size=2))
    results = [
        draw(st.fixed_dictionaries({"type": st.just("tool_result"), "tool_use_id": st.just(each)},
             optional={"content": blanks | contents(text_blocks)}))
        for each in draw(st.permutations(ids))
    ]  # fmt: skip
    more = draw(st.lists(text_blocks | image_blocks, min_size=0 if calls else 1, max_size=2))
    both = {"assistant": draw(st.permutations([*said, *calls])), "user": [*results, *more]}
    cut = draw(st.integers(0, 3))
    return [
        {"role": role, "content": some}
        for role, blocks in both.items()
        for some in (blocks[:cut], blocks[cut:])
        if some
    ]


messages_tools: Final = st.fixed_dictionaries(
    {
        "tools": st.builds(
            lambda one: [one, {"name": "f-1", "input_schema": {"type": "object"}}],
            st.fixed_dictionaries(
                {"name": st.just("look_up"), "input_schema": st.just(SCHEMA)},
                optional={
                    "type": st.just("custom"),
                    "description": words,
                    "strict": st.booleans(),
                },
            ),
        ),
    },
    optional={
        "tool_choice": st.sampled_from(
            [
                {"type": "auto"},
                {"type": "none"},
                {"type": "any", "disable_parallel_tool_use": True},
                {"type": "auto", "disable_parallel_tool_use": False},
                {"type": "tool", "name": "f-1"},
            ]
        )
    },
)
messages_fields: Final = optional(
    stop_sequences=[["END"], ["a", "b"]],
    stream=[True, False],
    output_config=[
        {"effort": "low"},
        {"effort": "max", "format": {"type": "json_schema", "schema": SCHEMA}},
    ],
    service_tier=["auto", "standard_only"],
    metadata=[{"user_id": "user-1"}],
)


@st.composite
def messages_requests(draw: st.DrawFn) -> Body:
    """Requests of which a chat has every word."""
    first = draw(contents(text_blocks, image_blocks))
    said = [{"role": "user", "content": first}]
    for turn in range(draw(st.integers(0, 2))):
        said += draw(rounds(turn))
    settings = {**draw(messages_fields), **draw(sampling), **draw(messages_tools)}
    if draw(st.booleans()):
        settings["system"] = draw(contents(text_blocks))
    return {"model": "m", "max_tokens": draw(st.integers(1, 9)), "messages": said, **settings}
