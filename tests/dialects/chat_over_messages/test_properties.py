"""What holds for every request, reply and stream between chat and Messages."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from llmstack.dialects import chat, messages
from llmstack.dialects.translator import JSON
from llmstack.errors import LLMStackError, ProtocolError, Untranslatable
from tests.dialects.chat_over_messages.asking import (
    CHAT,
    COMPLETIONS,
    MARK,
    MESSAGES,
    SAMPLING,
    known,
    requests,
)
from tests.dialects.messages_side import cuts, replies


Message = dict[str, Any]


def texts(content: Any) -> list[str]:
    """The texts of a content of either dialect that have a sign in them."""
    parts = [{"text": content}] if isinstance(content, str) else content or []
    said = [part.get("text", part.get("refusal", "")) for part in parts]
    return [text.rstrip() for text in said if text.strip()]


def images(content: Any) -> int:
    """How many images a content of either dialect has."""
    parts = content if isinstance(content, list) else []
    return sum(part["type"] in {"image", "image_url"} for part in parts)


def asked_for(chat: list[Message]) -> dict[str, Any]:
    """What a chat says: texts by who says them, and calls with their results."""
    sides: dict[str, Any] = {"system": [], "user": [], "assistant": [], "calls": [], "images": 0}
    waiting: dict[str, list[Any]] = {}
    for message in chat:
        side = {"developer": "system"}.get(message["role"], message["role"])
        if side in {"tool", "function"}:
            key = message.get("tool_call_id", message.get("name"))
            waiting.pop(key).append(texts(message["content"]))
            continue
        sides[side] += texts(message["content"]) + texts(message.get("refusal"))
        sides["images"] += images(message["content"])
        calls = [(call["id"], call["function"]) for call in message.get("tool_calls", ())]
        if "function_call" in message:
            calls.append((message["function_call"]["name"], message["function_call"]))
        for key, call in calls:
            waiting[key] = [call["name"], json.loads(call["arguments"] or "{}")]
            sides["calls"].append(waiting[key])
    return sides


def turned_into(body: JSON) -> dict[str, Any]:
    """The same of a Messages request, with the rules that its turns have to keep."""
    sides: dict[str, Any] = {"user": [], "assistant": [], "calls": [], "images": 0}
    waiting: dict[str, list[Any]] = {}
    ids: set[str] = set()
    for n, turn in enumerate(body["messages"]):
        role = turn["role"]
        assert n == 0 or role != body["messages"][n - 1]["role"]
        results = [block for block in turn["content"] if block["type"] == "tool_result"]
        assert results == turn["content"][: len(results)]
        assert sorted(waiting) == sorted(block["tool_use_id"] for block in results)
        for block in results:
            waiting[block["tool_use_id"]].append(texts(block.get("content")))
        spoken = [block for block in turn["content"] if block["type"] == "text"]
        assert all(block["text"].strip() for block in spoken)
        sides[role] += texts(spoken)
        sides["images"] += images(turn["content"])
        calls = [block for block in turn["content"] if block["type"] == "tool_use"]
        waiting = {call["id"]: [call["name"], call["input"]] for call in calls}
        assert not ids & waiting.keys()
        ids |= waiting.keys()
        sides["calls"] += waiting.values()
    assert not waiting
    assert all(re.fullmatch("[a-zA-Z0-9_-]+", each) for each in ids)
    return sides


@given(body=requests())
def test_a_request_says_the_same_in_messages(body: JSON) -> None:
    """All texts, images, calls and results are there, in turns that Messages allows."""
    made = CHAT.request(body).body
    expected = asked_for(body["messages"])
    system = [text.strip() for text in expected.pop("system")]

    assert expected == turned_into(made)
    assert "".join(system).split() == "".join(made.get("system", "").split("\n\n")).split()


@given(body=requests(), stream=st.sampled_from([True, False, None]))
def test_a_request_is_one_that_the_sdks_know(body: JSON, stream: bool | None) -> None:
    """The caller's is allowed by openai's types, ours by anthropic's, and no field is unknown."""
    spoken = [m for m in body["messages"] if "reasoning_content" not in m]
    assert spoken == known(COMPLETIONS, {**body, "messages": spoken})["messages"]
    made = dict(CHAT.request({**body, "stream": stream}).body)
    if made.pop("stream", False) is not stream:
        assert not stream
    for name in SAMPLING:
        assert 0 <= made.pop(name, 0) <= 1

    assert made == known(MESSAGES, made)


def spoilt(value: Any, place: int, junk: Any) -> tuple[Any, int]:
    """The value with *junk* in the place that is so many values away, and what is left of it."""
    if place == 0:
        return junk, -1
    place -= 1
    if isinstance(value, (dict, list)):
        pairs = list(value.items() if isinstance(value, dict) else enumerate(value))
        for key, each in pairs:
            changed, place = spoilt(each, place, junk)
            if place < 0:
                pairs = [(k, changed if k == key else v) for k, v in pairs]
                return (dict(pairs) if isinstance(value, dict) else [v for _, v in pairs]), place
    return value, place


JUNK = st.sampled_from(
    [MARK, f"{MARK}.{MARK}", None, True, -1, 2.5, [], [MARK], [[MARK]], {}, {"type": MARK}]
)


@given(body=requests(), place=st.integers(1, 120), junk=JUNK)
def test_a_spoilt_request_is_refused_or_said(body: JSON, place: int, junk: Any) -> None:
    """Whatever stands anywhere, it is `Untranslatable` or a valid request, and never told."""
    asked, left = spoilt(body, place, junk)
    assume(left < 0)
    told: tuple[str, ...] = ()
    try:
        translated = CHAT.request(asked)
        told = translated.dropped
        made = {n: v for n, v in translated.body.items() if n not in SAMPLING}
        assert made == known(MESSAGES, made)
    except Untranslatable as error:
        told = (str(error), repr(error))

    assert not [text for text in told if MARK in text]


ASKED = st.sampled_from(
    [
        {},
        {"functions": [{"name": "f"}]},
        {"stream_options": {"include_usage": True}},
        {"stream_options": {"include_usage": True}, "functions": [{"name": "f"}]},
    ]
)


def parsed(reply: JSON) -> JSON:
    """The reply with the arguments of calls as what they are the JSON of."""
    for choice in reply["choices"]:
        message = choice["message"]
        called = [call["function"] for call in message.get("tool_calls", ())]
        for function in [*called, *([message["function_call"]] if "function_call" in message else [])]:
            function["arguments"] = json.loads(function["arguments"])
    return reply


def chunks(asked: JSON, events: list[tuple[str, Any]]) -> list[tuple[str, JSON]]:
    """The chunks of a stream."""
    stream = CHAT.stream(asked, at=1700000000.9)
    made = [piece for name, data in events for piece in stream.take(name, data)]
    return [*made, *stream.end()]


@given(data=st.data(), message=replies(), asked=ASKED)
def test_a_stream_is_the_reply_cut_into_pieces(
    data: st.DataObject, message: JSON, asked: JSON
) -> None:
    """Chunks put together are what becomes of the events put together, or neither can be."""
    events = data.draw(cuts(dict(message)))
    try:
        expected = parsed(CHAT.reply(messages.assembled(events), asked, at=1700000000.9))
    except ProtocolError:
        with pytest.raises(ProtocolError, match="more than the one call"):
            chunks(asked, events)
        return
    told = chunks(asked, events)
    if "stream_options" not in asked:
        expected = {name: expected[name] for name in expected if name != "usage"}

    assert expected == parsed({"usage": None, **chat.assembled(told)} | {}) | (
        {} if "stream_options" in asked else {}
    )


@given(data=st.data(), message=replies(), asked=ASKED)
def test_every_chunk_is_one_that_the_sdk_knows(
    data: st.DataObject, message: JSON, asked: JSON
) -> None:
    """In strict mode, with no field that the types do not have, and one head for all."""
    try:
        told = chunks(asked, data.draw(cuts(dict(message))))
    except LLMStackError:
        assume(False)
    heads = {(c["id"], c["object"], c["created"], c["model"]) for _, c in told}

    assert {(message["id"], "chat.completion.chunk", 1700000000, message["model"])} == heads
    for name, chunk in told:
        validated = ChatCompletionChunk.model_validate(chunk, strict=True)
        assert ("", chunk) == (name, validated.model_dump(mode="json", exclude_unset=True))
        assert not validated.model_extra


@given(message=replies(), asked=ASKED)
def test_every_reply_is_one_that_the_sdk_knows(message: JSON, asked: JSON) -> None:
    """The same for whole replies."""
    try:
        made = CHAT.reply(message, asked, at=5.5)
    except ProtocolError:
        assume(False)
    completion = ChatCompletion.model_validate(made, strict=True)

    assert made == completion.model_dump(mode="json", exclude_unset=True)
    assert fields(ChatCompletion.model_validate(made)) <= set(ChatCompletion.model_fields)


def fields(model: ChatCompletion) -> set[str]:
    return model.model_fields_set
