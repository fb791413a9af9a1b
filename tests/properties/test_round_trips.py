"""Into the other dialect and back: what both can say comes home as it was.

Up to a normal form, which each side states here in a function of its own: what a dialect has
two ways to say, and what it has no place for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from itertools import groupby
from typing import Any, Final

from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.dialects import chat, messages
from llmstack.dialects.chat_over_messages import ChatOverMessages
from llmstack.dialects.messages_over_chat import MessagesOverChat
from llmstack.dialects.translator import Piece, StreamTranslator
from tests.dialects import chat_side, messages_side


Body = dict[str, Any]

OVER_MESSAGES: Final = ChatOverMessages()
OVER_CHAT: Final = MessagesOverChat()
TELLS: Final = {"model": "m", "stream_options": {"include_usage": True}}
ASKED: Final = {"model": "m"}
AT: Final = 7.0
LONGEST: Final = 16_384

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


def of(**fields: Any) -> st.SearchStrategy[Body]:
    """Objects with all of the fields, each drawn or as it is."""
    drawn = {
        name: each if isinstance(each, st.SearchStrategy) else st.just(each)
        for name, each in fields.items()
    }
    return st.fixed_dictionaries(drawn)


# ------------------------------------------------------------------- requests of chat

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


def parts_of(content: str | list[Body] | None) -> list[Body]:
    """A content of either dialect as a list, without texts that say nothing."""
    listed = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    return [part for part in listed if part["type"] != "text" or part["text"].strip()]


def shortest(parts: list[Body]) -> str | list[Body]:
    """Nothing, and a single text, are a string."""
    if not parts:
        return ""
    return parts[0]["text"] if [p["type"] for p in parts] == ["text"] else parts


def normal_call(call: Body) -> Body:
    """Arguments are the object that they are the JSON of."""
    function = call["function"]
    return {**call, "function": {**function, "arguments": json.loads(function["arguments"])}}


def normal_turn(role: str, run: Sequence[Body]) -> list[Body]:
    """Messages of one side are one turn; the results of tools come first in the user's."""
    said = [
        part for each in run if each["role"] in {role, "user"} for part in parts_of(each["content"])
    ]
    if role == "assistant":
        calls = [normal_call(call) for each in run for call in each.get("tool_calls", ())]
        content = shortest(said) if said or not calls else None
        return [{"role": role, "content": content, **({"tool_calls": calls} if calls else {})}]
    results = [
        {**each, "content": shortest(parts_of(each["content"]))}
        for each in run
        if each["role"] == "tool"
    ]
    return [*results, *([{"role": "user", "content": shortest(said)}] if said else [])]


def normal_chat(body: Body) -> Body:
    """All system texts are one, at the beginning; turns are merged; what is usual is said."""
    systems = [each for each in body["messages"] if each["role"] in {"system", "developer"}]
    system = "\n\n".join(part["text"] for each in systems for part in parts_of(each["content"]))
    said = [{"role": "system", "content": system}] if system else []
    spoken = [each for each in body["messages"] if each not in systems]
    for is_own, run in groupby(spoken, key=lambda each: each["role"] == "assistant"):
        said += normal_turn("assistant" if is_own else "user", list(run))
    usual = {"max_completion_tokens": LONGEST}
    normal = {**usual, **body, "messages": said, "tools": [*map(normal_tool, body["tools"])]}
    return {**normal, **normal_settings(normal)} | normal_choice(normal)


def normal_tool(tool: Body) -> Body:
    """A function without parameters takes any object."""
    return {**tool, "function": {"parameters": {"type": "object"}, **tool["function"]}}


def normal_settings(body: Body) -> Body:
    """Stops are a list; a format has no name that is read; a stream counts its tokens."""
    found: Body = {}
    if isinstance(body.get("stop"), str):
        found["stop"] = [body["stop"]]
    if "response_format" in body:
        described = {**body["response_format"]["json_schema"], "name": "output"}
        found["response_format"] = {"type": "json_schema", "json_schema": described}
    if body.get("stream"):
        found["stream_options"] = {"include_usage": True}
    return found


def normal_choice(body: Body) -> Body:
    """One call at a time is a choice of its own; several at a time need not be said."""
    alone = body.pop("parallel_tool_calls", True) is False
    if not alone or body.get("tool_choice") == "none":
        return {}
    return {"parallel_tool_calls": False, "tool_choice": body.get("tool_choice", "auto")}
