"""What the tools of a chat request become, and the choice among them."""

from __future__ import annotations

from typing import Any

import pytest

from llmstack.errors import Untranslatable
from tests.dialects.chat_over_messages.asking import CHAT, asked, said


Fields = dict[str, Any]

ANY = {"type": "object"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}


def tool(name: str, **fields: object) -> Fields:
    return {"type": "function", "function": {"name": name, **fields}}


def named(name: str) -> Fields:
    return {"type": "function", "function": {"name": name}}


def allowed(mode: str, *names: str) -> Fields:
    return {
        "type": "allowed_tools",
        "allowed_tools": {"mode": mode, "tools": [named(name) for name in names]},
    }


F, G = {"name": "f", "input_schema": ANY}, {"name": "g", "input_schema": ANY}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"name": "f"}, F),
        ({"name": "f", "parameters": None, "description": None, "strict": None}, F),
        ({"name": "f", "parameters": {}}, F),
        ({"name": "f", "parameters": []}, F),
        (
            {"name": "f", "parameters": {"properties": {}}},
            {**F, "input_schema": {**ANY, "properties": {}}},
        ),
        (
            {"name": "A-z_9", "parameters": SCHEMA, "description": "d", "strict": True},
            {"name": "A-z_9", "description": "d", "input_schema": SCHEMA, "strict": True},
        ),
        ({"name": "f", "strict": False}, {**F, "strict": False}),
    ],
)
def test_a_function_is_a_tool(given: Fields, expected: Fields) -> None:
    """In either form; the older one allows for one call at a time."""
    once = {"type": "auto", "disable_parallel_tool_use": True}

    assert {"tools": [expected]} == said(tools=[{"type": "function", "function": given}])
    assert {"tools": [expected], "tool_choice": once} == said(functions=[given])


@pytest.mark.parametrize(
    ("fields", "choice", "tools"),
    [
        ({}, None, [F, G]),
        ({"parallel_tool_calls": True}, None, [F, G]),
        (
            {"parallel_tool_calls": False},
            {"type": "auto", "disable_parallel_tool_use": True},
            [F, G],
        ),
        ({"tool_choice": "auto"}, {"type": "auto"}, [F, G]),
        ({"tool_choice": "required"}, {"type": "any"}, [F, G]),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            {"type": "any", "disable_parallel_tool_use": True},
            [F, G],
        ),
        ({"tool_choice": "none"}, {"type": "none"}, [F, G]),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}, [F, G]),
        ({"tool_choice": named("g")}, {"type": "tool", "name": "g"}, [F, G]),
        (
            {"tool_choice": named("g"), "parallel_tool_calls": False},
            {"type": "tool", "name": "g", "disable_parallel_tool_use": True},
            [F, G],
        ),
        ({"tool_choice": allowed("auto", "g", "h")}, {"type": "auto"}, [G]),
        ({"tool_choice": allowed("required", "f", "g")}, {"type": "any"}, [F, G]),
        ({"function_call": {"name": "g"}}, {"type": "tool", "name": "g"}, [F, G]),
    ],
)
def test_a_choice_is_said(fields: Fields, choice: Fields | None, tools: list[Fields]) -> None:
    """Among two tools, with or without calls in parallel."""
    expected = {"tools": tools} if choice is None else {"tools": tools, "tool_choice": choice}

    assert expected == said(tools=[tool("f"), tool("g")], **fields)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto", "disable_parallel_tool_use": True}),
        ("none", {"type": "none"}),
        ({"name": "f"}, {"type": "tool", "name": "f", "disable_parallel_tool_use": True}),
    ],
)
def test_the_older_choice_is_said(choice: object, expected: Fields) -> None:
    """Each with one call at most."""
    assert expected == said(functions=[{"name": "f"}], function_call=choice)["tool_choice"]


@pytest.mark.parametrize("fields", [{}, {"tools": []}, {"tool_choice": "auto"}])
def test_tools_of_the_past_are_known_and_closed(fields: Fields) -> None:
    """A conversation with calls declares their names, each once, and allows for none."""
    function = {"name": "f", "arguments": "{}"}
    calls = [{"id": each, "type": "function", "function": function} for each in "ab"]
    results = [{"role": "tool", "tool_call_id": each, "content": "1"} for each in "ab"]
    other = {"role": "assistant", "function_call": {"name": "g", "arguments": "{}"}}
    messages = [
        {"role": "assistant", "tool_calls": calls},
        *results,
        other,
        {"role": "function", "name": "g", "content": ""},
    ]
    body = CHAT.request({"messages": messages, **fields}).body

    assert ([F, G], {"type": "none"}) == (body["tools"], body["tool_choice"])


def test_what_is_left_out_of_a_tool_is_told() -> None:
    """Of either form, and of a choice."""
    tools = [{**tool("f", examples=[1]), "cache_control": {"type": "ephemeral"}}]
    older = CHAT.request(
        asked(functions=[{"name": "f", "x": 1}], function_call={"name": "f", "y": 1})
    )

    assert ("tools[*].cache_control", "tools[*].function.examples") == (
        CHAT.request(asked(tools=tools)).dropped
    )
    assert ("functions[*].x", "function_call.y") == older.dropped


FUNCTIONS_ONLY = "Messages has functions only"
BAD_NAME = "not a name of a tool in Messages"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tools": "f"}, "tools: must be an array"),
        ({"tools": [1]}, "tools[0]: must be an object"),
        (
            {"tools": [tool("f"), {"type": "custom", "custom": {}}]},
            f"tools[1].type: {FUNCTIONS_ONLY}",
        ),
        ({"tools": [{"type": "function"}]}, "tools[0].function: must be an object"),
        ({"tools": [tool("a.b")]}, f"tools[0].function.name: {BAD_NAME}"),
        ({"tools": [tool("f", description=1)]}, "tools[0].function.description: must be a string"),
        ({"tools": [tool("f", parameters=[1])]}, "tools[0].function.parameters: must be an object"),
        (
            {"tools": [tool("f", parameters={"type": "string"})]},
            "tools[0].function.parameters: Messages has objects only",
        ),
        ({"functions": [{}]}, "functions[0].name: must be a string"),
        ({"functions": "f"}, "functions: must be an array"),
        ({"functions": [{"name": "f"}], "tools": [tool("f")]}, "functions: there are tools too"),
        ({"tool_choice": "required"}, "tool_choice: there are no tools"),
        ({"tool_choice": named("f")}, "tool_choice: there are no tools"),
        ({"tools": [tool("f")], "tool_choice": "any"}, "tool_choice: not a choice"),
        ({"tools": [tool("f")], "tool_choice": 1}, "tool_choice: must be an object"),
        ({"tools": [tool("f")], "tool_choice": named("g")}, "tool_choice: there is no such tool"),
        (
            {"tools": [tool("f")], "tool_choice": {"type": "function", "function": {"name": "é"}}},
            f"tool_choice.function.name: {BAD_NAME}",
        ),
        (
            {"tools": [tool("f")], "tool_choice": {"type": "custom", "custom": {"name": "f"}}},
            f"tool_choice.type: {FUNCTIONS_ONLY}",
        ),
        (
            {"tools": [tool("f")], "tool_choice": allowed("auto", "g")},
            "tool_choice: there is no such tool",
        ),
        (
            {"tools": [tool("f")], "tool_choice": allowed("none", "f")},
            "tool_choice.allowed_tools.mode: not a mode",
        ),
        (
            {
                "tools": [tool("f")],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [named("f"), {"type": "mcp"}]},
                },
            },
            f"tool_choice.allowed_tools.tools[1].type: {FUNCTIONS_ONLY}",
        ),
        ({"functions": [{"name": "f"}], "function_call": "always"}, "function_call: not a choice"),
        (
            {"functions": [{"name": "f"}], "function_call": {}},
            "function_call.name: must be a string",
        ),
    ],
)
def test_a_tool_that_cannot_be_said_is_refused(fields: Fields, said: str) -> None:
    """By its path."""
    with pytest.raises(Untranslatable) as refusal:
        CHAT.request(asked(**fields))

    assert said == str(refusal.value)
