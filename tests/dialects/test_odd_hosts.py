"""What odd hosts and odd callers say, and what becomes of it in another dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmstack.dialects import chat, messages
from llmstack.dialects.chat_over_messages import ChatOverMessages
from llmstack.dialects.messages_over_chat import MessagesOverChat
from llmstack.dialects.responses_over_chat import ResponsesOverChat
from llmstack.dialects.translator import Translated
from llmstack.errors import ProtocolError


ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
REPLY = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 2},
}


def conversation(*said: tuple[str, str]) -> Translated:
    spoken = [{"role": role, "content": text} for role, text in said]
    return ChatOverMessages().request({"model": "m", "max_tokens": 9, "messages": spoken})


def test_an_instruction_behind_the_answer_is_asked() -> None:
    """Messages would go on with the assistant's turn, which nobody wants to be gone on with."""
    said = conversation(
        ("system", "Be brief."),
        *(("user", "Why?"), ("assistant", "So."), ("developer", "Sum up."), ("system", "Now.")),
    )
    turns = [(turn["role"], turn["content"][0]["text"]) for turn in said.body["messages"]]

    assert ("Be brief.", ("user", "Sum up.\n\nNow.")) == (said.body["system"], turns[-1])
    assert () == said.dropped


def test_an_instruction_before_a_question_is_of_the_system() -> None:
    """And a chat that ends with the assistant goes on with it, as it is written there."""
    asked = conversation(("user", "a"), ("assistant", "b"), ("system", "c"), ("user", "d"))
    begun = conversation(("user", "a"), ("system", "c"), ("assistant", "b"))

    assert ["c", "c"] == [asked.body["system"], begun.body["system"]]
    assert ["user", "assistant"] == [each.body["messages"][-1]["role"] for each in (asked, begun)]


def test_a_turn_that_says_nothing_is_told() -> None:
    """It cannot be said, and without it the assistant's turn is gone on with."""
    assert ("messages[*].content",) == conversation(
        ("user", "a"), ("assistant", "b"), ("user", " ")
    ).dropped


def test_events_are_known_by_their_type_where_they_have_no_name() -> None:
    """The type is in the data of each."""
    translator = ChatOverMessages().stream(ASKED, 1.0)
    chunks = [piece for _, data in messages.pieces(REPLY) for piece in translator.take("", data)]

    whole = chat.assembled([*chunks, *translator.end()])
    assert "Hi" == whole["choices"][0]["message"]["content"]


@pytest.mark.parametrize("count", [-5, True, "3", None, 1.5])
def test_a_count_that_is_none_counts_nothing(count: object) -> None:
    """No caller reads a negative number of tokens."""
    reply = {**REPLY, "usage": {"input_tokens": count, "output_tokens": 2}}
    usage = ChatOverMessages().reply(reply, ASKED, 1.0)["usage"]

    assert (0, 2, 2) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
        usage["total_tokens"],
    )


def call(**said: object) -> dict[str, Any]:
    delta = {"role": "assistant", "tool_calls": [{"type": "function", **said}]}
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return {"id": "c", "created": 1, "model": "m", "choices": [choice]}


END = {
    "id": "c",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}],
}


def test_calls_without_an_index_are_calls_of_their_own() -> None:
    """None is merged with another one, nor lost."""
    translator = ResponsesOverChat().stream({"model": "m", "input": "Hi"}, 1.0)
    for n in (1, 2):
        translator.take("", call(function={"name": "f", "arguments": json.dumps({"a": n})}))
    translator.take("", END)
    items = translator.end()[-1][1]["response"]["output"]

    assert [{"a": 1}, {"a": 2}] == [json.loads(item["arguments"]) for item in items]


def test_a_call_without_an_index_goes_on_without_a_name() -> None:
    """Pieces that bring no name are of the call before them."""
    translator = ResponsesOverChat().stream({"model": "m", "input": "Hi"}, 1.0)
    translator.take("", call(function={"name": "f", "arguments": '{"a"'}))
    translator.take("", call(function={"arguments": ": 1}"}))
    translator.take("", END)
    (item,) = translator.end()[-1][1]["response"]["output"]

    assert {"a": 1} == json.loads(item["arguments"])


@pytest.mark.parametrize(("thought", "told"), [(True, None), (-1, None), (2, 2)])
def test_thoughts_are_counted_if_they_can_be(thought: object, told: int | None) -> None:
    """Like all other counts."""
    counts = {"input_tokens": 1, "output_tokens": 2}
    usage = {**counts, "output_tokens_details": {"thinking_tokens": thought}}
    made = ChatOverMessages().reply({**REPLY, "usage": usage}, ASKED, 1.0)["usage"]

    assert told == made.get("completion_tokens_details", {}).get("reasoning_tokens")


def test_two_calls_under_one_index_are_no_reply() -> None:
    """One of them would be lost when they are put together."""
    two = [call(index=0, id=name, function={"name": "f", "arguments": "{}"}) for name in "ab"]

    with pytest.raises(ProtocolError, match="two tool calls have one index"):
        chat.assembled([("", chunk) for chunk in (*two, END)])


@pytest.mark.parametrize("empty", [[], {}, "", None])
def test_what_is_empty_is_nothing_to_a_caller_of_messages(empty: object) -> None:
    """In PHP an empty object is written as an empty array."""
    deltas: list[object] = [
        {"content": "Hi", "tool_calls": empty},
        empty,
        {"tool_calls": [{"index": 0, "function": empty}]},
        {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]},
    ]
    translator = MessagesOverChat().stream(ASKED, 1.0)
    chunks = [{"id": "c", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    said = [piece for chunk in chunks for piece in translator.take("", chunk)]
    whole = messages.assembled([*said, *translator.end()])

    assert ["text", "tool_use"] == [block["type"] for block in whole["content"]]
