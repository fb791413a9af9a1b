"""What a whole reply of a Messages endpoint is to a caller who speaks chat."""

from __future__ import annotations

from typing import Any

import pytest

from llmstack.dialects.chat_over_messages.reply import FINISH
from llmstack.errors import ProtocolError
from tests.dialects.chat_over_messages.asking import CHAT


Fields = dict[str, Any]

USAGE = {"input_tokens": 10, "output_tokens": 4}
OLDER: Fields = {"functions": [{"name": "f"}]}


def message(*content: object, **fields: object) -> Fields:
    """A reply of a Messages endpoint."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
        **fields,
    }


def text(said: str) -> Fields:
    return {"type": "text", "text": said}


def use(known_as: str, **given: object) -> Fields:
    return {"type": "tool_use", "id": known_as, "name": "f", "input": given}


def call(known_as: str, arguments: str) -> Fields:
    function = {"name": "f", "arguments": arguments}
    return {"id": known_as, "type": "function", "function": function}


THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "s"}
HIDDEN = {"type": "redacted_thinking", "data": "x"}
SERVED = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}


def test_a_reply_is_a_completion() -> None:
    """All of it: head, message, finish, usage."""
    assert {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "claude",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 4,
            "total_tokens": 14,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        },
    } == CHAT.reply(message(text("Hello")), {}, 1700000000.99)


@pytest.mark.parametrize(
    ("content", "asked", "expected"),
    [
        ([], {}, {"content": None}),
        ([text("")], {}, {"content": None}),
        ([text("a "), THOUGHT, text("b")], {}, {"content": "a b"}),
        ([THOUGHT, HIDDEN, SERVED, text("a")], OLDER, {"content": "a"}),
        (
            [text("a"), use("x", b=[1, "é"], c=None), text("b"), use("y")],
            {},
            {
                "content": "ab",
                "tool_calls": [call("x", '{"b":[1,"é"],"c":null}'), call("y", "{}")],
            },
        ),
        (
            [use("x", a=1)],
            {"functions": []},
            {"content": None, "tool_calls": [call("x", '{"a":1}')]},
        ),
        (
            [use("x", a=1)],
            OLDER,
            {"content": None, "function_call": {"name": "f", "arguments": '{"a":1}'}},
        ),
    ],
)
def test_blocks_become_a_message(content: list[Fields], asked: Fields, expected: Fields) -> None:
    """Texts joined, calls in order and in the form that the caller knows, the rest left out."""
    (choice,) = CHAT.reply(message(*content), asked, 0)["choices"]

    assert {"role": "assistant", "refusal": None, **expected} == choice["message"]


@pytest.mark.parametrize(("stop", "finish"), FINISH.items())
def test_a_reason_to_stop_is_one_to_finish(stop: str, finish: str) -> None:
    """In the older form a call has a name of its own."""
    older = {"tool_calls": "function_call"}.get(finish, finish)

    for asked, expected in [({}, finish), (OLDER, older)]:
        (choice,) = CHAT.reply(message(stop_reason=stop), asked, 0)["choices"]
        assert expected == choice["finish_reason"]


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("pause_turn", "length"),
        ("refusal", "content_filter"),
    ],
)
def test_what_is_cut_is_not_called_whole(stop: str, finish: str) -> None:
    """Only an ordinary end is a ``stop``."""
    assert finish == FINISH[stop]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, None),
        ({}, None),
        ([], None),
        ({"input_tokens": None, "output_tokens": "4"}, (0, 0, 0, 0, 0, None)),
        (
            {
                "input_tokens": 1,
                "cache_read_input_tokens": 20,
                "cache_creation_input_tokens": 300,
                "output_tokens": 4000,
                "output_tokens_details": {"thinking_tokens": 7},
            },
            (321, 4000, 4321, 20, 300, 7),
        ),
        (
            {"input_tokens": 1, "output_tokens": 2, "output_tokens_details": None},
            (1, 2, 3, 0, 0, None),
        ),
    ],
)
def test_tokens_are_added_up(usage: object, expected: tuple[int | None, ...] | None) -> None:
    """The disjoint counts of the prompt are one number, and its parts beside it."""
    made = CHAT.reply(message(usage=usage), {}, 0).get("usage")
    seen = made and (
        *(made[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")),
        *(made["prompt_tokens_details"][name] for name in ("cached_tokens", "cache_write_tokens")),
        made.get("completion_tokens_details", {}).get("reasoning_tokens"),
    )

    assert expected == seen


@pytest.mark.parametrize(
    ("body", "asked", "said"),
    [
        (message(content="Hello"), {}, "the content of"),
        (message("Hello"), {}, "is no object"),
        (message({"text": "a"}), {}, "the type of"),
        (message({"type": "text"}), {}, "the text of"),
        (message({**use("x"), "input": "{}"}), {}, "the input of"),
        (message({**use("x"), "name": None}), {}, "the name of"),
        (message({**use("x"), "id": 1}), {}, "the id of"),
        (message(id=None), {}, "the id of"),
        (message(model=None), {}, "the model of"),
        (message(stop_reason=None), {}, "reason to stop"),
        (message(stop_reason="secret"), {}, "reason to stop"),
        (message(stop_reason=[]), {}, "reason to stop"),
        (message(use("x"), use("y")), OLDER, "more than the one call"),
    ],
)
def test_what_is_not_as_agreed_is_an_error(body: Fields, asked: Fields, said: str) -> None:
    """It says what is wrong, and nothing of the reply."""
    with pytest.raises(ProtocolError, match=said) as error:
        CHAT.reply(body, asked, 0)

    assert "secret" not in str(error.value)
