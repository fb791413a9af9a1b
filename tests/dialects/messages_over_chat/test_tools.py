"""Tools and the choice among them."""

from __future__ import annotations

import typing
from typing import Any, Final

import pytest
from anthropic.types import tool_choice_param, tool_param

from llmstack.dialects.messages_over_chat import MessagesOverChat
from llmstack.dialects.messages_over_chat.tools import CHOICES
from llmstack.errors import Untranslatable
from tests.dialects.messages_over_chat.asked import body


TRANSLATOR: Final = MessagesOverChat()
SCHEMA: Final = {"type": "object", "properties": {"x": {"type": "string"}}}
TOOL: Final = {"name": "f", "input_schema": SCHEMA}
FUNCTION: Final = {"name": "f", "parameters": SCHEMA}

#: A field of a tool, what the function has for it, and what is dropped; None if refused.
FIELDS: Final[list[tuple[str, object, dict[str, Any] | None, tuple[str, ...]]]] = [
    ("name", "n" * 64, {"name": "n" * 64}, ()),
    ("name", "n" * 65, None, ()),
    ("name", "a.b", None, ()),
    ("name", "f\n", None, ()),
    ("name", "", None, ()),
    ("name", 5, None, ()),
    ("input_schema", {}, {"parameters": {}}, ()),
    ("input_schema", None, None, ()),
    ("type", None, {}, ()),
    ("type", "custom", {}, ()),
    ("type", "web_search_20260318", None, ()),
    ("type", "bash_20250124", None, ()),
    ("description", "d", {"description": "d"}, ()),
    ("description", 5, None, ()),
    ("strict", True, {"strict": True}, ()),
    ("strict", False, {"strict": False}, ()),
    ("strict", None, {}, ()),
    ("cache_control", {"type": "ephemeral"}, {}, ("tools[*].cache_control",)),
    ("allowed_callers", ["direct"], {}, ("tools[*].allowed_callers",)),
    ("allowed_callers", ["code_execution_20260120"], None, ()),
    ("allowed_callers", "direct", None, ()),
    ("defer_loading", True, {}, ("tools[*].defer_loading",)),
    ("eager_input_streaming", True, {}, ("tools[*].eager_input_streaming",)),
    ("eager_input_streaming", None, {}, ()),
    ("input_examples", [], {}, ()),
    ("input_examples", [{}], {}, ("tools[*].input_examples",)),
    ("max_uses", 5, {}, ("tools[*].max_uses",)),
]


@pytest.mark.parametrize(("name", "value", "becomes", "dropped"), FIELDS)
def test_a_tool_is_a_function(
    name: str,
    value: object,
    becomes: dict[str, Any] | None,
    dropped: tuple[str, ...],
) -> None:
    """Each of its fields is said, dropped and told, or refused by its path."""
    asked = body(tools=[TOOL, {**TOOL, name: value}])
    if becomes is None:
        with pytest.raises(Untranslatable, match=rf"^tools\[1\]\.{name}: "):
            TRANSLATOR.request(asked)
        return

    said = TRANSLATOR.request(asked)
    function = {"type": "function", "function": {**FUNCTION, **becomes}}
    assert function == said.body["tools"][1]
    assert dropped == said.dropped


def test_every_field_of_a_tool_has_its_row() -> None:
    """Those of the SDK's type are all here."""
    assert set(typing.get_type_hints(tool_param.ToolParam)) <= {name for name, *_ in FIELDS}


PARALLEL: Final = {"parallel_tool_calls": False}
CHOSEN: Final[list[tuple[dict[str, Any], dict[str, Any]]]] = [
    ({"type": "auto"}, {"tool_choice": "auto"}),
    ({"type": "any"}, {"tool_choice": "required"}),
    ({"type": "none"}, {"tool_choice": "none"}),
    (
        {"type": "tool", "name": "f"},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
    ),
    ({"type": "auto", "disable_parallel_tool_use": True}, {"tool_choice": "auto", **PARALLEL}),
    ({"type": "any", "disable_parallel_tool_use": True}, {"tool_choice": "required", **PARALLEL}),
    ({"type": "auto", "disable_parallel_tool_use": False}, {"tool_choice": "auto"}),
]


@pytest.mark.parametrize(("choice", "becomes"), CHOSEN)
def test_the_choice_among_tools(choice: dict[str, Any], becomes: dict[str, Any]) -> None:
    """It has a word or a name there, and one call at a time is a field of its own."""
    said = TRANSLATOR.request(body(tools=[TOOL], tool_choice=choice))

    chosen = {name: said.body[name] for name in said.body if "tool_" in name}
    assert becomes == chosen
    assert () == said.dropped


def test_every_choice_of_the_sdk_has_its_row() -> None:
    """The words of the table, and a name."""
    kinds = {
        typing.get_args(typing.get_type_hints(kind)["type"])[0]
        for kind in typing.get_args(tool_choice_param.ToolChoiceParam)
    }

    assert kinds == {*CHOICES, "tool"}
    assert kinds == {choice["type"] for choice, _ in CHOSEN}


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"type": "tool"}, "tool_choice.name: must be a string"),
        ({"type": "some"}, "tool_choice.type: chat completions cannot say it"),
        ({"type": []}, "tool_choice.type: chat completions cannot say it"),
        ("auto", "tool_choice: must be an object"),
    ],
)
def test_a_choice_that_is_not_known_is_refused(choice: object, words: str) -> None:
    """By its path."""
    with pytest.raises(Untranslatable) as caught:
        TRANSLATOR.request(body(tools=[TOOL], tool_choice=choice))

    assert words == caught.value.message


@pytest.mark.parametrize("tools", [[], None])
def test_without_tools_there_is_no_choice(tools: object) -> None:
    """One that changes nothing is dropped and told, one that wants a call is refused."""
    said = TRANSLATOR.request(body(tools=tools, tool_choice={"type": "none"}))

    assert ("tool_choice",) == said.dropped
    assert not {"tools", "tool_choice"} & set(said.body)
    with pytest.raises(Untranslatable, match=r"^tool_choice: there are no tools$"):
        TRANSLATOR.request(body(tools=tools, tool_choice={"type": "any"}))


@pytest.mark.parametrize(
    ("tools", "words"),
    [(5, "tools: must be an array"), ([5], "tools[0]: must be an object")],
)
def test_tools_are_a_list_of_objects(tools: object, words: str) -> None:
    """Anything else is refused."""
    with pytest.raises(Untranslatable) as caught:
        TRANSLATOR.request(body(tools=tools))

    assert words == caught.value.message


def test_a_field_of_the_choice_that_is_not_known_is_told() -> None:
    """It may be left out: the choice itself is said."""
    said = TRANSLATOR.request(body(tools=[TOOL], tool_choice={"type": "auto", "x": 1}))

    assert ("tool_choice.x",) == said.dropped
