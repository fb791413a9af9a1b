"""The parts of a message and the tools of a request, row by row."""

from __future__ import annotations

from typing import Any, Final

import pytest

from llmstack.dialects.responses_over_chat import ResponsesOverChat
from llmstack.dialects.responses_over_chat.tables import CHOICES, PARTS, TOOLS
from llmstack.errors import Untranslatable


Thing = dict[str, Any]

BREAK: Final = {"prompt_cache_breakpoint": {"mode": "explicit"}}
TEXT: Final = {"type": "input_text", "text": "a"}
IMAGE: Final = {"type": "input_image", "image_url": "https://a.example/b.png"}
URL: Final = {"url": "https://a.example/b.png"}
FILE: Final = {"type": "input_file", "filename": "a.pdf", "file_data": "data:x"}
FUNCTION: Final = {
    "type": "function",
    "name": "f",
    "description": "d",
    "parameters": {"type": "object"},
    "strict": False,
}
GRAMMAR: Final = {"type": "grammar", "syntax": "lark", "definition": "start: A"}


def content(part: object, role: str = "user") -> tuple[Any, tuple[str, ...]]:
    said = ResponsesOverChat().request({"input": [{"role": role, "content": [part]}]})
    return said.body["messages"][0]["content"], said.dropped


def tools(**fields: object) -> tuple[Thing, tuple[str, ...]]:
    said = ResponsesOverChat().request({"input": "hi", **fields})
    return {name: said.body[name] for name in fields if name in said.body}, said.dropped


@pytest.mark.parametrize(
    ("part", "expected", "dropped"),
    [
        (TEXT, "a", ()),
        ({"type": "output_text", "text": "a"}, "a", ()),
        ({**TEXT, **BREAK}, [{"type": "text", "text": "a", **BREAK}], ()),
        ({**TEXT, "prompt_cache_breakpoint": None}, "a", ()),
        ({**TEXT, "annotations": [1]}, "a", ("input[*].content[*].annotations",)),
        (IMAGE, [{"type": "image_url", "image_url": URL}], ()),
        (
            {**IMAGE, **BREAK, "detail": "low", "file_id": None},
            [{"type": "image_url", "image_url": {**URL, "detail": "low"}, **BREAK}],
            (),
        ),
        (
            {**IMAGE, "detail": "original"},
            [{"type": "image_url", "image_url": URL}],
            ("input[*].content[*].detail",),
        ),
        ({**IMAGE, "detail": None}, [{"type": "image_url", "image_url": URL}], ()),
        (
            {**FILE, "file_id": None, "detail": "low"},
            [{"type": "file", "file": {"filename": "a.pdf", "file_data": "data:x"}}],
            ("input[*].content[*].detail",),
        ),
        (
            {"type": "input_file", "file_id": "file_1", "file_url": None, **BREAK},
            [{"type": "file", "file": {"file_id": "file_1"}, **BREAK}],
            (),
        ),
    ],
)
def test_parts(part: Thing, expected: object, dropped: tuple[str, ...]) -> None:
    """A part of the user says in chat what the row says; a single text is a string."""
    assert (expected, dropped) == content(part)


@pytest.mark.parametrize(
    ("part", "role", "says"),
    [
        ({**IMAGE, "file_id": "x"}, "user", "file_id: chat completions cannot say it"),
        ({"type": "input_image"}, "user", "image_url: must be a string"),
        ({**FILE, "file_url": "x"}, "user", "file_url: chat completions cannot say it"),
        ({"type": "input_file", "filename": "x"}, "user", "file_data: there is no file here"),
        ({"type": "input_text"}, "user", "text: must be a string"),
        ({"type": "refusal", "refusal": "x"}, "user", "type: chat completions cannot say it"),
        ({"type": "refusal"}, "assistant", "refusal: must be a string"),
        ({"type": "input_audio"}, "user", "type: chat completions cannot say it"),
        ({"type": []}, "user", "type: chat completions cannot say it"),
        (IMAGE, "assistant", "type: chat completions cannot say it"),
        (IMAGE, "developer", "type: chat completions cannot say it"),
        (FILE, "system", "type: chat completions cannot say it"),
    ],
)
def test_parts_that_are_refused(part: Thing, role: str, says: str) -> None:
    """The refusal names the place in the part."""
    with pytest.raises(Untranslatable) as caught:
        content(part, role)

    assert f"input[0].content[0].{says}" == caught.value.message


def test_what_a_refusal_has_besides_is_told() -> None:
    """As with all parts."""
    part = {"type": "refusal", "refusal": "no", "odd": 1}

    assert (None, ("input[*].content[*].odd",)) == content(part, "assistant")


def test_several_parts_stay_parts() -> None:
    """Their borders are kept."""
    body = {"input": [{"role": "user", "content": [TEXT, TEXT]}]}
    expected = [{"type": "text", "text": "a"}, {"type": "text", "text": "a"}]

    assert expected == ResponsesOverChat().request(body).body["messages"][0]["content"]


@pytest.mark.parametrize(
    ("tool", "expected", "dropped"),
    [
        (FUNCTION, {n: v for n, v in FUNCTION.items() if n != "type"}, ()),
        (
            {"type": "function", "name": "f", "description": None, "parameters": None}
            | {"strict": None, "defer_loading": True, "output_schema": {"type": "object"}},
            {"name": "f"},
            ("tools[*].defer_loading", "tools[*].output_schema"),
        ),
        ({"type": "custom", "name": "c"}, {"name": "c"}, ()),
        (
            {"type": "custom", "name": "c", "description": "d", "format": {"type": "text"}},
            {"name": "c", "description": "d", "format": {"type": "text"}},
            (),
        ),
        (
            {"type": "custom", "name": "c", "format": {**GRAMMAR, "odd": 1}, "allowed_callers": 1},
            {
                "name": "c",
                "format": {
                    "type": "grammar",
                    "grammar": {"syntax": "lark", "definition": "start: A"},
                },
            },
            ("tools[*].allowed_callers", "tools[*].format.odd"),
        ),
        (
            {"type": "custom", "name": "c", "format": {"type": "text", "odd": 1}},
            {"name": "c", "format": {"type": "text"}},
            ("tools[*].format.odd",),
        ),
    ],
)
def test_tools(tool: Thing, expected: Thing, dropped: tuple[str, ...]) -> None:
    """A tool goes into an object of its own kind."""
    kind = tool["type"]

    assert ({"tools": [{"type": kind, kind: expected}]}, dropped) == tools(tools=[tool])


#: The types of the hosted tools in OpenAI's OpenAPI document, version 2.3.0, and no type at all.
HOSTED: Final = (
    *("apply_patch", "code_interpreter", "computer", "computer_use_preview", "file_search"),
    *("image_generation", "local_shell", "mcp", "namespace", "programmatic_tool_calling"),
    *("shell", "tool_search", "web_search", "web_search_2025_08_26", "web_search_preview"),
    *("web_search_preview_2025_03_11", None, ["function"]),
)


@pytest.mark.parametrize("kind", HOSTED, ids=str)
def test_hosted_tools_are_refused(kind: object) -> None:
    """The refusal names the type of the tool by its place."""
    with pytest.raises(Untranslatable) as caught:
        tools(tools=[FUNCTION, {"type": kind, "name": "x"}])

    assert "tools[1].type: chat completions cannot say it" == caught.value.message


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"tools": [{"type": "function"}]}, "tools[0].name: must be a string"),
        ({"tools": {"type": "function"}}, "tools: must be an array"),
        ({"tools": ["f"]}, "tools[0]: must be an object"),
        (
            {"tools": [{"type": "custom", "name": "c", "format": "text"}]},
            "tools[0].format: must be an object",
        ),
        (
            {"tools": [{"type": "custom", "name": "c", "format": {"type": "regex"}}]},
            "tools[0].format.type: chat completions cannot say it",
        ),
        (
            {"tools": [{"type": "custom", "name": "c", "format": {"type": "grammar"}}]},
            "tools[0].format.syntax: must be a string",
        ),
        ({"tool_choice": "any"}, "tool_choice: chat completions cannot say it"),
        ({"tool_choice": "function"}, "tool_choice: chat completions cannot say it"),
        ({"tool_choice": 7}, "tool_choice: must be an object"),
        ({"tool_choice": {"type": "mcp"}}, "tool_choice.type: chat completions cannot say it"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name: must be a string"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.mode: must be a string"),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}},
            "tool_choice.tools[0].type: chat completions cannot say it",
        ),
    ],
)
def test_tools_and_choices_that_are_refused(fields: Thing, says: str) -> None:
    """The refusal names the place."""
    with pytest.raises(Untranslatable) as caught:
        tools(**fields)

    assert says == caught.value.message


@pytest.mark.parametrize(
    ("choice", "expected", "dropped"),
    [
        ("none", "none", ()),
        ("auto", "auto", ()),
        ("required", "required", ()),
        ({"type": "function", "name": "f"}, {"type": "function", "function": {"name": "f"}}, ()),
        (
            {"type": "custom", "name": "f", "odd": 1},
            {"type": "custom", "custom": {"name": "f"}},
            ("tool_choice.odd",),
        ),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}],
                "odd": 1,
            },
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [
                        {"type": "function", "function": {"name": "f"}},
                        {"type": "custom", "custom": {"name": "c"}},
                    ],
                },
            },
            ("tool_choice.odd",),
        ),
    ],
)
def test_choices(choice: object, expected: object, dropped: tuple[str, ...]) -> None:
    """Which tools may or must be called."""
    said, told = tools(tools=[FUNCTION], tool_choice=choice)

    assert (expected, dropped) == (said["tool_choice"], told)


def test_a_choice_that_binds_is_said_without_tools_too() -> None:
    """Then the endpoint says what is wrong with it."""
    choice = {"type": "function", "name": "f"}
    expected = {"type": "function", "function": {"name": "f"}}

    assert ({"tool_choice": expected}, ()) == tools(tool_choice=choice)


def test_the_tables_are_of_what_is_tried_here() -> None:
    """No type is in a table without a row above."""
    kinds = {"input_text", "output_text", "input_image", "input_file", "refusal"}

    assert kinds == set(PARTS)
    assert {"function", "custom"} == set(TOOLS)
    assert {"none", "auto", "required", "function", "custom", "allowed_tools"} == set(CHOICES)
