"""What holds for every request, every reply and every stream."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.dialects import chat, messages
from llmstack.dialects.messages_over_chat import MessagesOverChat
from llmstack.dialects.translator import Piece, Translator
from llmstack.errors import ProtocolError, Untranslatable
from tests.dialects.chat_side import ChatStream, replies, streams
from tests.dialects.messages_over_chat.asked import CANARY, anything, bodies
from tests.dialects.messages_over_chat.published import (
    accumulated,
    check_chat_request,
    check_events,
    check_message,
    legal,
)


TRANSLATOR: Final[Translator] = MessagesOverChat()
ASKED: Final = {"model": "asked"}


def events_of(chunks: list[dict[str, Any]]) -> list[Piece]:
    """The events of a stream of *chunks*."""
    stream = TRANSLATOR.stream(ASKED, 0.0)
    said = [piece for chunk in chunks for piece in stream.take("", chunk)]
    return [*said, *stream.end()]


@given(bodies())
def test_a_request_becomes_one_that_the_openai_sdk_would_send(body: dict[str, Any]) -> None:
    """Each field is known there and of its type; the caller's body is left as it was."""
    before = deepcopy(body)
    said = TRANSLATOR.request(body)

    check_chat_request(said.body)
    assert before == body
    assert said.body["model"] == body["model"]
    assert (said.body.get("stream_options") == {"include_usage": True}) == (
        body.get("stream") is True
    )


@given(bodies())
def test_what_is_dropped_is_told_by_path_and_once(body: dict[str, Any]) -> None:
    """Paths are of names and stars; nothing of what the caller wrote is in them."""
    dropped = TRANSLATOR.request(body).dropped

    assert len(set(dropped)) == len(dropped)
    assert CANARY not in "".join(dropped)
    marked = any(path.endswith("cache_control") for path in dropped)
    assert marked == ('"cache_control"' in json.dumps(body))
    assert ("top_k" in dropped) == ("top_k" in body)


@given(bodies())
def test_what_the_caller_wrote_arrives(body: dict[str, Any]) -> None:
    """Results answer calls, each text of a user's turn is there, in its order."""
    said = TRANSLATOR.request(body).body["messages"]
    open_calls: list[str] = []
    for message in said:
        if message["role"] == "tool":
            assert message["tool_call_id"] == open_calls.pop(0)
            continue
        assert not open_calls
        open_calls = [call["id"] for call in message.get("tool_calls", ())]

    assert not open_calls
    asked = [
        block["text"]
        for message in body["messages"]
        if message["role"] == "user"
        for block in ([] if isinstance(message["content"], str) else message["content"])
        if block["type"] == "text"
    ]
    told = iter(
        part.get("text")
        for message in said
        if message["role"] == "user"
        for part in (
            [{"text": message["content"]}]
            if isinstance(message["content"], str)
            else message["content"]
        )
    )
    assert all(text in told for text in asked)


@given(bodies(), st.data())
def test_a_body_that_is_wrong_somewhere_is_refused_or_said(
    body: dict[str, Any],
    data: st.DataObject,
) -> None:
    """Whatever stands in the place of a value, no other error comes, and none tells it."""
    spots: list[tuple[Any, Any]] = []

    def collect(value: object) -> None:
        if isinstance(value, (dict, list)):
            inside = value.items() if isinstance(value, dict) else enumerate(value)
            for key, inner in inside:
                spots.append((value, key))
                collect(inner)

    body = deepcopy(body)
    collect(body)
    holder, key = data.draw(st.sampled_from(spots))
    holder[key] = data.draw(anything())
    try:
        dropped = TRANSLATOR.request(body).dropped
    except Untranslatable as error:
        dropped = (str(error),)

    assert CANARY not in "".join(dropped)


@given(replies())
def test_a_reply_becomes_a_message(body: dict[str, Any]) -> None:
    """It is what the anthropic SDK would take, and has the texts and calls of the reply."""
    said = TRANSLATOR.reply(body, ASKED, 0.0)

    check_message(said)
    message = body["choices"][0]["message"]
    texts = [text for text in (message["content"], message["refusal"]) if text]
    assert texts == [block["text"] for block in said["content"] if block["type"] == "text"]
    calls = [
        (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in message.get("tool_calls", ())
    ]
    assert calls == [
        (block["id"], block["name"], block["input"])
        for block in said["content"]
        if block["type"] == "tool_use"
    ]
    usage = body.get("usage") or {"prompt_tokens": 0, "completion_tokens": 0}
    kinds = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    assert usage["prompt_tokens"] == sum(said["usage"][kind] for kind in kinds)
    assert usage["completion_tokens"] == said["usage"]["output_tokens"]


@given(streams())
def test_a_stream_says_what_the_whole_reply_would(stream: ChatStream) -> None:
    """The events, put together by either side's own rules, are the translated reply."""
    events = events_of(stream.chunks)
    reply = TRANSLATOR.reply(stream.reply, ASKED, 0.0)

    assert reply == messages.assembled(events)
    assert reply == accumulated(events)
    joined = chat.assembled([("", chunk) for chunk in stream.chunks])
    assert reply == TRANSLATOR.reply(joined, ASKED, 0.0)


@given(streams())
def test_the_events_are_legal(stream: ChatStream) -> None:
    """Each is of its model, they are in the published order, and no delta is empty."""
    events = events_of(stream.chunks)

    check_events(events)
    assert len(legal(events)) == len(TRANSLATOR.reply(stream.reply, ASKED, 0.0)["content"])
    deltas = [data["delta"] for name, data in events if name == "content_block_delta"]
    assert all(delta.get("text") or delta.get("partial_json") for delta in deltas)


@given(streams())
def test_text_is_handed_on_with_the_chunk_that_brings_it(stream: ChatStream) -> None:
    """Nothing of a text waits for a later chunk."""
    translator = TRANSLATOR.stream(ASKED, 0.0)
    for chunk in stream.chunks:
        deltas = [choice["delta"] for choice in chunk["choices"]]
        brought = "".join(
            (delta.get("content") or "") + (delta.get("refusal") or "") for delta in deltas
        )
        events = translator.take("", chunk)

        assert brought == "".join(
            data["delta"].get("text", "") for name, data in events if "block_delta" in name
        )


@given(streams(), st.data())
def test_a_chunk_that_is_wrong_somewhere_is_said_or_an_error(
    stream: ChatStream,
    data: st.DataObject,
) -> None:
    """Whatever stands in its place, the only error is that of the protocol, without values."""
    chunks: list[Any] = deepcopy(stream.chunks)
    spots: list[tuple[Any, Any]] = []

    def collect(value: object) -> None:
        if isinstance(value, (dict, list)):
            for key in value if isinstance(value, dict) else range(len(value)):
                spots.append((value, key))
                collect(value[key])

    collect(chunks)
    holder, key = data.draw(st.sampled_from(spots))
    holder[key] = data.draw(anything())
    broken = ""
    try:
        legal(events_of([chunk for chunk in chunks if isinstance(chunk, dict)]))
    except ProtocolError as error:
        broken = str(error)

    assert CANARY not in broken


def test_the_settings_are_those_that_are_known() -> None:
    """It says what it translates, and takes no other name for the limit."""
    assert ("messages", "chat") == (TRANSLATOR.asks, TRANSLATOR.speaks)
    with pytest.raises(ValueError, match="limit"):
        MessagesOverChat("tokens")  # type: ignore[arg-type]
