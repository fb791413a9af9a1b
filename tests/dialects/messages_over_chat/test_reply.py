"""A chat completion as a message: blocks, the reason to stop, tokens, and what is no reply."""

from __future__ import annotations

import typing
from typing import Any, Final

import pytest
from anthropic.types import StopReason
from openai.types.chat import chat_completion

from llmstack.dialects.messages_over_chat import MessagesOverChat
from llmstack.dialects.messages_over_chat.reply import FINISHES
from llmstack.errors import ProtocolError
from tests.dialects.messages_over_chat.published import check_message


TRANSLATOR: Final = MessagesOverChat()
ASKED: Final = {"model": "asked"}
NONE: Final = {
    "input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 0,
}
DEEP: Final = '{"a":' * 100_000


def completion(finish: object = "stop", usage: object = None, **said: object) -> dict[str, Any]:
    """A completion that says this."""
    message = {"role": "assistant", "content": None, **said}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"id": "c", "model": "gpt", "choices": [choice], "usage": usage}


def call(arguments: object = "{}", **fields: object) -> dict[str, Any]:
    """A call of ``f``."""
    function = {"name": "f", "arguments": arguments}
    return {"id": "1", "type": "function", "function": function, **fields}


def use(identity: str = "1", **given: object) -> dict[str, Any]:
    """The block of a call of ``f``."""
    return {"type": "tool_use", "id": identity, "name": "f", "input": given}


def text(said: str) -> dict[str, Any]:
    """A block of text."""
    return {"type": "text", "text": said}


#: What is said and how it finished, the blocks it becomes, and the reason to stop.
SAID: Final[list[tuple[dict[str, Any], object, list[dict[str, Any]], str]]] = [
    ({"content": "hi"}, "stop", [text("hi")], "end_turn"),
    ({"content": "hi"}, None, [text("hi")], "end_turn"),
    ({"content": "hi"}, "length", [text("hi")], "max_tokens"),
    ({"content": "hi"}, "content_filter", [text("hi")], "refusal"),
    ({"content": ""}, "stop", [], "end_turn"),
    ({}, "length", [], "max_tokens"),
    ({"content": "hi", "tool_calls": {}}, "stop", [text("hi")], "end_turn"),
    ({"content": " "}, "stop", [text(" ")], "end_turn"),
    ({"refusal": "no"}, "stop", [text("no")], "refusal"),
    ({"content": "hi", "refusal": "no"}, "stop", [text("hi"), text("no")], "refusal"),
    ({"refusal": "no"}, "length", [text("no")], "max_tokens"),
    ({"content": "hi", "refusal": ""}, "stop", [text("hi")], "end_turn"),
    ({"tool_calls": [call()]}, "tool_calls", [use()], "tool_use"),
    ({"tool_calls": [call()]}, "stop", [use()], "tool_use"),
    ({"tool_calls": [call()]}, None, [use()], "tool_use"),
    ({"tool_calls": []}, "tool_calls", [], "end_turn"),
    ({"content": "hi", "tool_calls": None}, "function_call", [text("hi")], "end_turn"),
    ({"tool_calls": [call('{"x":[1]}')]}, "tool_calls", [use(x=[1])], "tool_use"),
    ({"tool_calls": [call("")]}, "tool_calls", [use()], "tool_use"),
    ({"tool_calls": [call(" \n")]}, "tool_calls", [use()], "tool_use"),
    ({"tool_calls": [call(None)]}, "tool_calls", [use()], "tool_use"),
    ({"tool_calls": [call(), call(id="2")]}, "tool_calls", [use(), use("2")], "tool_use"),
    ({"tool_calls": [call(id="functions.f:0")]}, "stop", [use("functions_f_0")], "tool_use"),
    ({"tool_calls": [call(), call(id="")]}, "tool_calls", [use(), use("c_1")], "tool_use"),
    ({"tool_calls": [call('{"x":')]}, "length", [use()], "max_tokens"),
    ({"tool_calls": [call('{"x":1}')]}, "length", [use(x=1)], "max_tokens"),
    ({"tool_calls": [call("[1]")]}, "content_filter", [use()], "refusal"),
    ({"tool_calls": [call(), call(function={})]}, "length", [use()], "max_tokens"),
    ({"function_call": {"name": "f", "arguments": ""}}, "function_call", [use("c_0")], "tool_use"),
    ({"content": "hi", "reasoning_content": "hm"}, "stop", [text("hi")], "end_turn"),
    ({"content": "hi", "annotations": [], "audio": None}, "stop", [text("hi")], "end_turn"),
    (
        {"content": "hi", "tool_calls": [call()]},
        "tool_calls",
        [text("hi"), use()],
        "tool_use",
    ),
]


@pytest.mark.parametrize(("said", "finish", "blocks", "reason"), SAID)
def test_a_reply(
    said: dict[str, Any],
    finish: object,
    blocks: list[dict[str, Any]],
    reason: str,
) -> None:
    """Text, refusal and calls are blocks; how it ended is told without inventing."""
    message = TRANSLATOR.reply(completion(finish, **said), ASKED, 0.0)

    check_message(message)
    assert {
        "id": "c",
        "type": "message",
        "role": "assistant",
        "model": "gpt",
        "content": blocks,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": NONE,
    } == message


def test_every_published_finish_has_a_reason() -> None:
    """The table has those of the openai SDK, and reasons of the anthropic SDK."""
    finishes = chat_completion.Choice.model_fields["finish_reason"].annotation

    assert set(typing.get_args(finishes)) == set(FINISHES)
    assert set(FINISHES.values()) <= set(typing.get_args(StopReason))


def counted(*, read: int = 0, written: int = 0, **rest: object) -> dict[str, Any]:
    """Tokens as Messages counts them, of 10 in the prompt and 7 in the answer."""
    return {
        "input_tokens": 10 - read - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": 7,
        **rest,
    }


COUNTS: Final[list[tuple[dict[str, Any], dict[str, Any]]]] = [
    ({}, counted()),
    ({"prompt_tokens_details": None}, counted()),
    ({"prompt_tokens_details": {"cached_tokens": 4}}, counted(read=4)),
    ({"prompt_tokens_details": {"cached_tokens": 11}}, counted(read=10)),
    ({"prompt_tokens_details": {"cached_tokens": None}}, counted()),
    ({"prompt_tokens_details": {"cache_write_tokens": 3}}, counted(written=3)),
    (
        {"prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 9}},
        counted(read=4, written=6),
    ),
    ({"prompt_cache_hit_tokens": 4}, counted(read=4)),
    (
        {"completion_tokens_details": {"reasoning_tokens": 5}},
        counted(output_tokens_details={"thinking_tokens": 5}),
    ),
    (
        {"completion_tokens_details": {"reasoning_tokens": 9}},
        counted(output_tokens_details={"thinking_tokens": 7}),
    ),
    ({"completion_tokens_details": {"reasoning_tokens": None}}, counted()),
    ({"completion_tokens_details": []}, counted()),
    ({"prompt_tokens": -1, "completion_tokens": True}, NONE),
    ({"prompt_tokens": 1.5, "completion_tokens": "7"}, NONE),
]


@pytest.mark.parametrize(("usage", "tokens"), COUNTS)
def test_tokens_are_counted_in_kinds_that_add_up(
    usage: dict[str, Any],
    tokens: dict[str, Any],
) -> None:
    """What is read from a cache, or written to one, is not counted again as input."""
    body = completion(usage={"prompt_tokens": 10, "completion_tokens": 7, **usage})

    assert tokens == TRANSLATOR.reply(body, ASKED, 0.0)["usage"]


@pytest.mark.parametrize(
    ("model", "told"),
    [("gpt", "gpt"), ("", "asked"), (None, "asked"), (5, "")],
)
def test_the_model_is_the_one_that_answered(model: object, told: str) -> None:
    """Or the one that was asked for, where the endpoint does not say."""
    assert told == TRANSLATOR.reply({**completion(), "model": model}, ASKED, 0.0)["model"]


@pytest.mark.parametrize("identity", ["", None, 5])
def test_a_reply_without_an_id_has_a_plain_one(identity: object) -> None:
    """The dialect wants one."""
    assert "msg" == TRANSLATOR.reply({**completion(), "id": identity}, ASKED, 0.0)["id"]


def test_the_first_choice_is_the_reply() -> None:
    """Whatever its place, and if it has no index."""
    other = {"index": 1, "message": {"content": "no"}, "finish_reason": "stop"}
    body = completion(content="hi")
    first = dict(body["choices"][0])
    del first["index"]
    for choices in ([other, body["choices"][0]], [first, other]):
        said = TRANSLATOR.reply({**body, "choices": choices}, ASKED, 0.0)

        assert [text("hi")] == said["content"]


BROKEN: Final[list[tuple[dict[str, Any], str]]] = [
    ({}, "no choice"),
    ({"choices": None}, "no choice"),
    ({"choices": []}, "no choice"),
    ({"choices": [{"index": 1}]}, "no choice"),
    ({"choices": {}}, "choices are no list of objects"),
    ({"choices": ["x"]}, "choices are no list of objects"),
    ({"choices": [{"index": 0}, "x"]}, "choices are no list of objects"),
    ({"choices": [{"index": 0}]}, "the message of a reply is missing or malformed"),
    (completion("eos"), "a reason that is not known"),
    (completion(["stop"]), "a reason that is not known"),
    (completion(content=["x"]), "the content is no string"),
    (completion(refusal=5), "the refusal is no string"),
    (completion(tool_calls={"x": 1}), "tool_calls are no list of objects"),
    (completion(tool_calls=["x"]), "tool_calls are no list of objects"),
    (completion(tool_calls=[{"id": "1", "type": "custom"}]), "no function with a name"),
    (completion(tool_calls=[call(function={"name": ""})]), "no function with a name"),
    (completion(tool_calls=[call(function={"name": 5})]), "the name of a tool call is no string"),
    (completion(tool_calls=[call(id=5)]), "the id of a tool call is no string"),
    (completion(tool_calls=[call({"x": 1})]), "the text of a tool call is no string"),
    *(
        (completion(tool_calls=[call(arguments)]), "arguments of a tool call are no JSON object")
        for arguments in ('{"canary":', "canary", '["canary"]', "{} {}", '{"x":NaN}', DEEP)
    ),
]


@pytest.mark.parametrize(("body", "words"), BROKEN)
def test_what_is_no_reply_is_an_error(body: dict[str, Any], words: str) -> None:
    """Nothing of what was said is in it, nor in what caused it."""
    with pytest.raises(ProtocolError, match=words) as caught:
        TRANSLATOR.reply(body, ASKED, 0.0)

    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
