"""Input items become messages, in their order, and the assistant's items join."""

from __future__ import annotations

from typing import Any, Final

import pytest

from llmstack.dialects.responses_over_chat import ResponsesOverChat
from llmstack.dialects.responses_over_chat.tables import ITEMS
from llmstack.errors import Untranslatable


Item = dict[str, Any]

SAID: Final = {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed"}


def user(content: object) -> Item:
    return {"role": "user", "content": content}


def said(*texts: str) -> Item:
    parts = [{"type": "output_text", "text": t, "annotations": [], "logprobs": []} for t in texts]
    return {**SAID, "content": parts}


def called(n: int) -> Item:
    return {
        "type": "function_call",
        "id": f"fc_{n}",
        "call_id": f"c{n}",
        "name": "f",
        "arguments": "{}",
        "status": "completed",
    }


def answered(n: int, output: object = "ok") -> Item:
    return {"type": "function_call_output", "call_id": f"c{n}", "output": output}


def call(n: int) -> Item:
    return {"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def assistant(content: object, *calls: Item) -> Item:
    message: Item = {"role": "assistant", "content": content}
    return {**message, "tool_calls": list(calls)} if calls else message


def tool(n: int, content: object = "ok") -> Item:
    return {"role": "tool", "tool_call_id": f"c{n}", "content": content}


def texts(*parts: str) -> list[Item]:
    return [{"type": "text", "text": part} for part in parts]


def translated(*items: object, **fields: object) -> tuple[list[Item], tuple[str, ...]]:
    result = ResponsesOverChat().request({"input": list(items), **fields})
    return result.body["messages"], result.dropped


CUSTOM: Final = {"type": "custom_tool_call", "call_id": "c1", "name": "sh", "input": "ls"}
#: Items, and the messages that they become without anything being dropped.
ROWS: Final[list[tuple[str, list[Item], list[Item]]]] = [
    ("a text", [user("a")], [user("a")]),
    ("no part", [user([])], [user("")]),
    ("a typed message", [{"type": "message", **user("a")}], [user("a")]),
    ("roles", [{"role": r, "content": r} for r in ("system", "developer")],
     [{"role": r, "content": r} for r in ("system", "developer")]),
    ("an answer", [said("a")], [assistant("a")]),
    ("an answer in words", [{"role": "assistant", "content": "a"}], [assistant("a")]),
    ("an empty answer", [said()], [assistant("")]),
    ("two texts", [said("a", "b")], [assistant(texts("a", "b"))]),
    ("two answers", [said("a"), said("b")], [assistant("a"), assistant("b")]),
    ("a call", [user("a"), called(1), answered(1)], [user("a"), assistant(None, call(1)), tool(1)]),
    ("parallel", [called(1), called(2), answered(2), answered(1)],
     [assistant(None, call(1), call(2)), tool(2), tool(1)]),
    ("one by one", [called(1), answered(1), called(2), answered(2)],
     [assistant(None, call(1)), tool(1), assistant(None, call(2)), tool(2)]),
    ("text, then a call", [said("a"), called(1)], [assistant("a", call(1))]),
    ("a call, then text", [called(1), said("a")], [assistant("a", call(1))]),
    ("text around a call", [said("a"), called(1), said("b", "c")],
     [assistant(texts("a", "b", "c"), call(1))]),
    ("a call after the tool", [called(1), answered(1), said("b")],
     [assistant(None, call(1)), tool(1), assistant("b")]),
    ("an output in parts", [answered(1, [{"type": "input_text", "text": "a"}])], [tool(1, "a")]),
    ("an output in two", [answered(1, [{"type": "input_text", "text": t} for t in "ab"])],
     [tool(1, texts("a", "b"))]),
    ("a custom call", [CUSTOM, {**answered(1), "type": "custom_tool_call_output"}],
     [assistant(None, {"id": "c1", "type": "custom", "custom": {"name": "sh", "input": "ls"}}),
      tool(1)]),
    ("a refusal", [{**SAID, "content": [{"type": "refusal", "refusal": "no"}]}],
     [{**assistant(None), "refusal": "no"}]),
    ("a text and a refusal",
     [{**SAID, "content": [*said("a")["content"], {"type": "refusal", "refusal": "no"}]}],
     [{**assistant("a"), "refusal": "no"}]),
    ("a refusal in two parts",
     [{**SAID, "content": 2 * [{"type": "refusal", "refusal": "no"}]}],
     [{**assistant(None), "refusal": "nono"}]),
    ("a call, a text and a refusal",
     [called(1), said("a"), {**SAID, "content": [{"type": "refusal", "refusal": "no"}]}],
     [{**assistant("a", call(1)), "refusal": "no"}]),
    ("refusals that join",
     [called(1), *2 * [{**SAID, "content": [{"type": "refusal", "refusal": "no"}]}], said("a")],
     [{**assistant("a", call(1)), "refusal": "nono"}]),
]  # fmt: skip


@pytest.mark.parametrize(("items", "expected"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS])
def test_items_become_messages(items: list[Item], expected: list[Item]) -> None:
    """As the row says, and nothing has to be told."""
    assert (expected, ()) == translated(*items)


def test_a_string_is_the_users_message_after_the_instructions() -> None:
    """Instructions come first, as the system's."""
    body = {"instructions": "be kind", "input": "hi"}
    expected = [{"role": "system", "content": "be kind"}, user("hi")]

    assert expected == ResponsesOverChat().request(body).body["messages"]
    assert (expected[:1], ()) == translated(instructions="be kind")


@pytest.mark.parametrize("body", [{}, {"input": []}, {"input": None}], ids=["no", "none", "null"])
def test_there_must_be_something_to_say(body: Item) -> None:
    """Chat wants one message at least."""
    with pytest.raises(Untranslatable, match=r"^input: there is nothing to say$"):
        ResponsesOverChat().request(body)


def test_thoughts_are_dropped_and_told() -> None:
    """They do not come between a text and its call, and many are told once."""
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}

    assert ([user("a"), assistant("b", call(1))], ("input[*]",)) == translated(
        user("a"), thought, said("b"), thought, called(1)
    )


@pytest.mark.parametrize(
    ("item", "dropped"),
    [
        ({**said("a"), "phase": "commentary"}, "input[*].phase"),
        ({**called(1), "namespace": "n"}, "input[*].namespace"),
        ({**answered(1), "caller": {"type": "direct"}}, "input[*].caller"),
        ({**user("a"), "b c": 1}, "input[*].?"),
    ],
)
def test_what_a_message_cannot_have_is_told(item: Item, dropped: str) -> None:
    """By its path, with a star for the position."""
    assert (dropped,) == translated(user("a"), item)[1]


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ({"type": "item_reference", "id": "x"}, "input[0].type: nothing is stored"),
        ({"type": None, "id": "x"}, "input[0].type: nothing is stored"),
        ({"id": "x"}, "input[0].type: nothing is stored"),
        ({"type": "web_search_call", "id": "x"}, "input[0].type: chat completions cannot say it"),
        ({"type": "compaction", "encrypted_content": "x"}, "input[0].type: chat completions"),
        ({"type": ["message"]}, "input[0].type: chat completions cannot say it"),
        ({"role": "critic", "content": "a"}, "input[0].role: chat completions cannot say it"),
        ({"type": "message"}, "input[0].role: chat completions cannot say it"),
        ({**called(1), "call_id": None}, "input[0].call_id: must be a string"),
        ({**called(1), "name": 1}, "input[0].name: must be a string"),
        ({**called(1), "arguments": {}}, "input[0].arguments: must be a string"),
        ({**CUSTOM, "input": None}, "input[0].input: must be a string"),
        ({**answered(1), "call_id": None}, "input[0].call_id: must be a string"),
        (answered(1, 7), "input[0].output: must be an array"),
        (answered(1, [{"type": "input_image"}]), "input[0].output[0].type: chat completions"),
        (user(7), "input[0].content: must be an array"),
        ("hi", "input[0]: must be an object"),
    ],
)
def test_what_cannot_be_said_is_refused(item: object, says: str) -> None:
    """The refusal names the place."""
    with pytest.raises(Untranslatable) as caught:
        translated(item)

    assert caught.value.message.startswith(says)


def test_the_table_says_what_is_tried_here() -> None:
    """Every type of the table stands in a row above."""
    tried = {item.get("type", "message") for _, items, _ in ROWS for item in items}

    assert {n for n, row in ITEMS.items() if row.fate == "translated"} == tried
    assert {"reasoning"} == {n for n, row in ITEMS.items() if row.fate == "dropped"}
    assert {"item_reference"} == {n for n, row in ITEMS.items() if row.fate == "refused"}


def test_the_callers_body_is_left_as_it_is() -> None:
    """Joining builds new messages."""
    given = [called(1), said("a"), said("b"), user([{"type": "input_text", "text": "c"}])]
    before = repr(given)
    translated(*given)

    assert before == repr(given)
