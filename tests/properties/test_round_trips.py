"""Into the other dialect and back: what both can say comes home as it was.

Up to a normal form, which each side states here in a function of its own: what a dialect has
two ways to say, and what it has no place for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from itertools import groupby
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.dialects import chat, messages
from llmstack.dialects.chat_over_messages import ChatOverMessages
from llmstack.dialects.messages_over_chat import MessagesOverChat
from llmstack.dialects.translator import Piece, StreamTranslator
from tests.dialects import chat_side, messages_side
from tests.properties.said_in_both import Body, chat_requests, messages_requests


OVER_MESSAGES: Final = ChatOverMessages()
OVER_CHAT: Final = MessagesOverChat()
TELLS: Final = {"model": "m", "stream_options": {"include_usage": True}}
ASKED: Final = {"model": "m"}
AT: Final = 7.0
LONGEST: Final = 16_384


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
    said = [part for each in run if each["role"] == role for part in parts_of(each["content"])]
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
    tools = [normal_tool(each) for each in body["tools"]]
    normal = {"max_completion_tokens": LONGEST, **body, "messages": said, "tools": tools}
    normal.pop("parallel_tool_calls", None)
    return {**normal, **normal_settings(body), **normal_choice(body)}


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
    alone = body.get("parallel_tool_calls") is False
    if not alone or body.get("tool_choice") == "none":
        return {}
    return {"parallel_tool_calls": False, "tool_choice": body.get("tool_choice", "auto")}


def with_objects(body: Body) -> Body:
    """The same chat with the arguments of calls as objects."""
    said = [
        {**each, "tool_calls": [normal_call(call) for call in each["tool_calls"]]}
        if "tool_calls" in each
        else each
        for each in body["messages"]
    ]
    return {**body, "messages": said}


@given(body=chat_requests())
def test_a_chat_comes_back_from_messages(body: Body) -> None:
    """Nothing is dropped on either way; ids are as they were."""
    there = OVER_MESSAGES.request(body)
    back = OVER_CHAT.request(there.body)

    assert ((), ()) == (there.dropped, back.dropped)
    assert normal_chat(body) == with_objects(dict(back.body))


def normal_blocks(blocks: Iterable[Body]) -> list[Body]:
    """Results come first and calls last; a result without content has none."""
    order = {"tool_result": 0, "tool_use": 2}
    found = []
    for block in sorted(blocks, key=lambda each: order.get(each["type"], 1)):
        if block["type"] != "tool_result":
            found.append(block)
            continue
        inner = parts_of(block.get("content"))
        bare = {name: block[name] for name in block if name != "content"}
        found.append({**bare, "content": inner} if inner else bare)
    return found


def normal_messages(body: Body) -> Body:
    """Texts are blocks, but for the system's, which is one; messages of one role are one turn."""
    said = []
    for role, run in groupby(body["messages"], key=lambda each: each["role"]):
        blocks = [block for each in run for block in parts_of(each["content"])]
        said.append({"role": role, "content": normal_blocks(blocks)})
    tools = [{name: each[name] for name in each if name != "type"} for each in body["tools"]]
    found = {**body, "messages": said, "tools": tools}
    if "system" in body:
        found["system"] = "\n\n".join(part["text"] for part in parts_of(body["system"]))
    if "tool_choice" in body:
        choice = body["tool_choice"].items()
        found["tool_choice"] = {name: value for name, value in choice if value is not False}
    return found


@given(body=messages_requests())
def test_messages_come_back_from_a_chat(body: Body) -> None:
    """Nothing is dropped on either way; ids are as they were."""
    there = OVER_CHAT.request(body)
    back = OVER_MESSAGES.request(there.body)

    assert ((), ()) == (there.dropped, back.dropped)
    assert normal_messages(body) == back.body


#: Reasons that the other dialect has no word for, and the one that comes back.
STOPS: Final[Mapping[str, str]] = {
    "stop_sequence": "end_turn",
    "pause_turn": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
}


def normal_reply(body: Body) -> Body:
    """A refusal is a text that was filtered; who calls has stopped for that; tokens are counted."""
    (choice,) = body["choices"]
    message = choice["message"]
    text, refusal = message["content"] or "", message["refusal"] or ""
    calls = [normal_call(call) for call in message.get("tool_calls", ())]
    finish = "content_filter" if refusal else choice["finish_reason"]
    if calls and finish == "stop":
        finish = "tool_calls"
    said = {"role": "assistant", "content": text + refusal or None, "refusal": None}
    usage = body.get("usage") or dict.fromkeys(("prompt_tokens", "completion_tokens"), 0)
    return {
        **{name: body[name] for name in ("id", "model", "object")},
        "created": AT,
        "choices": [
            {
                "index": 0,
                "message": {**said, **({"tool_calls": calls} if calls else {})},
                "finish_reason": finish,
                "logprobs": None,
            }
        ],
        "usage": normal_usage(usage),
    }


def normal_usage(usage: Body) -> Body:
    """Totals, and of which kind they are."""
    given, made = usage["prompt_tokens"], usage["completion_tokens"]
    inner = usage.get("prompt_tokens_details") or {}
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    return {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made,
        "prompt_tokens_details": {
            "cached_tokens": inner.get("cached_tokens") or 0,
            "cache_write_tokens": inner.get("cache_write_tokens") or 0,
        },
        **({} if thought is None else {"completion_tokens_details": {"reasoning_tokens": thought}}),
    }


def normal_message(body: Body) -> Body:
    """All texts are one and come before the calls; thoughts stay with who thought them."""
    text = "".join(block.get("text", "") for block in body["content"])
    calls = [block for block in body["content"] if block["type"] == "tool_use"]
    kinds = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    counted = {name: body["usage"].get(name) or 0 for name in (*kinds, "output_tokens")}
    stop = body["stop_reason"]
    return {
        **{name: body[name] for name in ("id", "model", "role", "type")},
        "content": [*([{"type": "text", "text": text}] if text else []), *calls],
        "stop_reason": STOPS.get(stop, stop),
        "stop_sequence": None,
        "usage": counted,
    }


def piped(stream: StreamTranslator, pieces: Iterable[Piece]) -> list[Piece]:
    """All that a stream becomes."""
    return [*(more for name, data in pieces for more in stream.take(name, data)), *stream.end()]


@given(body=chat_side.replies())
def test_a_completion_comes_back_from_a_message(body: Body) -> None:
    """Its words, its calls, its finish, its tokens."""
    back = OVER_MESSAGES.reply(OVER_CHAT.reply(body, ASKED, AT), ASKED, AT)

    assert normal_reply(body) == normal_reply(dict(back))
    assert normal_reply(body) == {**back, "choices": normal_reply(dict(back))["choices"]}


@given(body=messages_side.replies())
def test_a_message_comes_back_from_a_completion(body: Body) -> None:
    """The same the other way round."""
    back = OVER_CHAT.reply(OVER_MESSAGES.reply(body, ASKED, AT), ASKED, AT)

    assert normal_message(body) == back


@pytest.mark.parametrize("stop", ["end_turn", "tool_use", "max_tokens", "refusal", *STOPS])
def test_every_reason_to_stop_comes_back(stop: str) -> None:
    """Or the nearest one that the other dialect can say."""
    call = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    content = [call] if stop == "tool_use" else [{"type": "text", "text": "Hi"}]
    usage = {"input_tokens": 1, "output_tokens": 2}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    body = {**head, "content": content, "stop_reason": stop, "stop_sequence": None, "usage": usage}
    back = OVER_CHAT.reply(OVER_MESSAGES.reply(body, ASKED, AT), ASKED, AT)

    assert STOPS.get(stop, stop) == back["stop_reason"]


@given(stream=chat_side.streams())
def test_chunks_come_back_from_events(stream: chat_side.ChatStream) -> None:
    """Put together, they are the reply that the stream was cut from."""
    events = piped(OVER_CHAT.stream(ASKED, AT), [("", chunk) for chunk in stream.chunks])
    back = dict(chat.assembled(piped(OVER_MESSAGES.stream(TELLS, AT), events)))

    assert normal_reply(stream.reply) == normal_reply(back)
    assert normal_reply(stream.reply)["usage"] == back["usage"]


@given(body=messages_side.replies(), data=st.data())
def test_events_come_back_from_chunks(body: Body, data: st.DataObject) -> None:
    """The same the other way round; a text behind a call stays a block of its own."""
    events = data.draw(messages_side.cuts(deepcopy(body)))
    chunks = piped(OVER_MESSAGES.stream(TELLS, AT), events)
    back = messages.assembled(piped(OVER_CHAT.stream(ASKED, AT), chunks))

    assert normal_message(body) == normal_message(dict(back))
    assert normal_message(body)["usage"] == back["usage"]
