"""What holds for every reply and every stream of a Messages endpoint that is said in chat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from hypothesis import assume, given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from llmstack.dialects import chat, messages
from llmstack.dialects.translator import JSON, Piece
from llmstack.errors import ProtocolError
from tests.dialects.chat_over_messages.asking import CHAT, JUNK, MARK, spoilt
from tests.dialects.messages_side import Events, cuts, replies


AT: Final = 1700000000.9
TELLS: Final = {"stream_options": {"include_usage": True}}
OLDER: Final = {"functions": [{"name": "f"}]}


@st.composite
def told(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A message, and what was asked: functions of the older form only for one call at most."""
    message = draw(replies())
    calls = [block for block in message["content"] if block["type"] == "tool_use"]
    asked = [{}, TELLS] if len(calls) > 1 else [{}, TELLS, OLDER, OLDER | TELLS]
    return message, draw(st.sampled_from(asked))


def chunks(asked: JSON, events: Events) -> list[Piece]:
    """The chunks of a stream."""
    stream = CHAT.stream(asked, at=AT)
    made = [piece for name, data in events for piece in stream.take(name, data)]
    return [*made, *stream.end()]


def parsed(reply: JSON) -> JSON:
    """The reply with the arguments of calls as what they are the JSON of."""
    message = reply["choices"][0]["message"]
    called = [call["function"] for call in message.get("tool_calls", ())]
    for function in [*called, message.get("function_call", {"arguments": "0"})]:
        function["arguments"] = json.loads(function["arguments"])
    return reply


@given(data=st.data(), drawn=told())
def test_a_stream_is_the_reply_cut_into_pieces(
    data: st.DataObject, drawn: tuple[JSON, JSON]
) -> None:
    """Chunks put together are what becomes of the events put together."""
    message, asked = drawn
    events = data.draw(cuts(dict(message)))
    expected = dict(parsed(CHAT.reply(messages.assembled(events), asked, AT)))
    if "stream_options" not in asked:
        del expected["usage"]

    assert expected == parsed(chat.assembled(chunks(asked, events)))


@given(data=st.data(), drawn=told())
def test_the_finish_and_then_the_usage_are_last(
    data: st.DataObject, drawn: tuple[JSON, JSON]
) -> None:
    """One chunk begins, one finishes, and behind it stands the usage alone, if it was asked for."""
    message, asked = drawn
    made = [chunk for _, chunk in chunks(asked, data.draw(cuts(dict(message))))]
    tells = "stream_options" in asked
    body = made[:-1] if tells else made
    finishes = [chunk["choices"][0]["finish_reason"] for chunk in body]
    roles = [chunk["choices"][0]["delta"].get("role") for chunk in body]

    assert [None] * (len(body) - 1) == finishes[:-1]
    assert ["assistant"] + [None] * (len(body) - 1) == roles
    assert finishes[-1] is not None
    assert (made[-1]["choices"] == [], made[-1].get("usage") is not None) == (tells, tells)
    assert all((chunk.get("usage", 0) is None) == tells for chunk in body)


def strangers(value: object) -> Iterator[str]:
    """The fields in a validated *value* that its types do not have."""
    if isinstance(value, list):
        for each in value:
            yield from strangers(each)
    elif isinstance(value, BaseModel):
        yield from value.model_extra or {}
        for name in value.model_fields_set:
            yield from strangers(getattr(value, name))


def test_a_stranger_is_seen() -> None:
    """The check of the fields sees one in a list in a model."""
    message = {"role": "assistant", "odd": 1}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    body = {"id": "a", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}

    assert ["odd"] == list(strangers(ChatCompletion.model_validate(body, strict=True)))


@given(data=st.data(), drawn=told())
def test_every_chunk_is_one_that_the_sdk_knows(
    data: st.DataObject, drawn: tuple[JSON, JSON]
) -> None:
    """In strict mode, with no field that the types do not have, and one head for all."""
    message, asked = drawn
    made = chunks(asked, data.draw(cuts(dict(message))))
    heads = {(chunk["id"], chunk["created"], chunk["model"]) for _, chunk in made}

    assert {(message["id"], int(AT), message["model"])} == heads
    for name, chunk in made:
        validated = ChatCompletionChunk.model_validate(chunk, strict=True)
        assert ("", []) == (name, list(strangers(validated)))


@given(drawn=told())
def test_every_reply_is_one_that_the_sdk_knows(drawn: tuple[JSON, JSON]) -> None:
    """The same for whole replies."""
    made = ChatCompletion.model_validate(CHAT.reply(*drawn, AT), strict=True)

    assert [] == list(strangers(made))


def kind(event: object) -> object:
    return event.get("type") if isinstance(event, dict) else None


@given(data=st.data(), drawn=told(), place=st.integers(1, 90), junk=JUNK)
def test_a_spoilt_reply_is_said_or_an_error(
    data: st.DataObject, drawn: tuple[JSON, JSON], place: int, junk: object
) -> None:
    """Whatever stands anywhere in it, whole or as a stream, it is a `ProtocolError` at worst."""
    message, asked = drawn
    events = [event for _, event in data.draw(cuts(dict(message)))]
    whole, left = spoilt(message, place, junk)
    cut, none_left = spoilt(events, place, junk)
    assume(left < 0 and none_left < 0)
    errors = []
    for say in (
        lambda: CHAT.reply(whole, asked, AT),
        lambda: chunks(asked, [(name, e) for e in cut if isinstance(name := kind(e), str)]),
    ):
        try:
            say()
        except ProtocolError as error:
            errors.append(str(error))

    assert not [text for text in errors if MARK in text]
