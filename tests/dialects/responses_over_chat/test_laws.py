"""What holds for every request, every reply and every stream."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from random import Random
from typing import Any, Final, cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import BaseModel, omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.chat.completion_create_params import CompletionCreateParams
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from llmstack.dialects import chat
from llmstack.dialects.responses_over_chat import ResponsesOverChat
from llmstack.dialects.translator import Piece
from llmstack.errors import Untranslatable
from tests.dialects import chat_side
from tests.dialects.responses_over_chat.asked import MARK, broken, requests
from tests.dialects.responses_over_chat.chat import Thing, events
from tests.dialects.responses_over_chat.reader import Illegal, read
from tests.openapi import wrong


ASKED: Final = TypeAdapter[Any](CompletionCreateParams)
#: The model of each event, by its type.
MODELS: Final[dict[str, type[BaseModel]]] = {
    get_args(model.model_fields["type"].annotation)[0]: model
    for model in get_args(get_args(ResponseStreamEvent)[0])
}


#: A request with settings of every kind, to be repeated.
RICH: Final[Thing] = {
    "instructions": MARK,
    "metadata": {MARK: MARK},
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "json_object"}, "verbosity": "low"},
    "tool_choice": {"type": "function", "name": "f"},
    "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}],
    "top_logprobs": 3,
}


def consumed(value: Any) -> object:  # noqa: ANN401 -- whatever pydantic gives
    """The value with all that pydantic checks only when somebody looks at it."""
    if isinstance(value, dict):
        return {key: consumed(each) for key, each in value.items()}
    return value if isinstance(value, (str, int, float, type(None))) else [*map(consumed, value)]


def unknown(model: object) -> Iterator[str]:
    """The fields of a model, and of those in it, that it does not have."""
    if isinstance(model, BaseModel):
        yield from (f"{type(model).__name__}.{name}" for name in model.model_extra or ())
        for name in type(model).model_fields:
            yield from unknown(getattr(model, name))
    if isinstance(model, list):
        for each in model:
            yield from unknown(each)


def stored(body: Thing) -> Thing:
    """A response without what the servers say and the document does not have."""
    return {name: value for name, value in body.items() if name != "store"}


def checked(response: Thing) -> None:
    """Check a response against the document, and against the SDK's model."""
    assert [] == wrong("Response", stored(response))
    model = Response.model_validate(response, strict=True)
    assert {"Response.store"} == set(unknown(model))


def parted(chunks: list[Thing]) -> tuple[list[Thing], list[Thing], list[Thing]]:
    """The chunks with deltas only, and those around them; a finish that says more is split."""
    ends = [n for n, each in enumerate(chunks) if each["choices"]]
    first, last = ends[0], ends[-1]
    (choice,) = chunks[last]["choices"]
    early = {**chunks[last], "choices": [{**choice, "finish_reason": None}], "usage": None}
    finish = {**chunks[last], "choices": [{**choice, "delta": {}}]}
    return chunks[:first], [*chunks[first:last], early], [finish, *chunks[last + 1 :]]


def pieces_of(stream: chat_side.ChatStream, asked: Thing) -> list[Piece]:
    return events(stream.chunks, asked)


@given(requests())
def test_every_request_is_one_of_chat(body: Thing) -> None:
    """By the document, and by the SDK's types; and it says in what it was left short."""
    said = ResponsesOverChat().request(body)

    assert [] == wrong("CreateChatCompletionRequest", said.body)
    assert consumed(said.body) == consumed(ASKED.validate_python(said.body, strict=True))
    assert MARK not in repr(said.dropped)
    assert len(set(said.dropped)) == len(said.dropped)


@given(broken())
def test_a_broken_request_is_translated_or_refused(body: Thing) -> None:
    """Never anything else; and no word of the caller's is in the refusal."""
    try:
        told = repr(ResponsesOverChat().request(body).dropped)
    except Untranslatable as error:
        told = error.message

    assert MARK not in told


@given(requests(), chat_side.replies())
def test_every_reply_is_a_response(body: Thing, reply: Thing) -> None:
    """By the document, and by the SDK's model; the texts in it are those of the chat."""
    said: Any = ResponsesOverChat().reply(reply, asked=body, at=1.5)
    message = reply["choices"][0]["message"]
    parts = [part for item in said["output"] for part in item.get("content", ())]
    calls = [item for item in said["output"] if item["type"] == "function_call"]

    checked(said)
    assert (message["content"] or "") == "".join(part.get("text", "") for part in parts)
    assert (message["refusal"] or "") == "".join(part.get("refusal", "") for part in parts)
    assert [(c["id"], c["function"]) for c in message.get("tool_calls", ())] == [
        (c["call_id"], {"name": c["name"], "arguments": c["arguments"]}) for c in calls
    ]


@given(requests(), chat_side.streams())
def test_a_stream_ends_in_the_reply(body: Thing, stream: chat_side.ChatStream) -> None:
    """Its terminal has the response that the assembled chat completion is."""
    translator = ResponsesOverChat()
    name, terminal = pieces_of(stream, body)[-1]
    assembled = chat.assembled(("", chunk) for chunk in stream.chunks)

    assert translator.reply(stream.reply, asked=body, at=5.5) == terminal["response"]
    assert translator.reply(assembled, asked=body, at=5.5) == terminal["response"]
    assert name == f"response.{terminal['response']['status']}"


@given(chat_side.streams())
def test_a_client_reads_the_same_from_the_events(stream: chat_side.ChatStream) -> None:
    """They come as they may, and the deltas say what the terminal says."""
    pieces = pieces_of(stream, RICH)

    assert pieces[-1][1]["response"] == read(pieces)


@given(chat_side.streams())
def test_every_event_is_published(stream: chat_side.ChatStream) -> None:
    """By the document, and by the SDK's models."""
    for name, data in pieces_of(stream, RICH):
        model = MODELS[name].model_validate(data, strict=True)
        known = {
            "Response.store",
            "ResponseFunctionCallArgumentsDoneEvent.name",  # the document wants it
        }

        assert set() == set(unknown(model)) - known
        if "response" in data:
            checked(data["response"])
        assert [] == wrong("ResponseStreamEvent", data, closed=False)


@given(chat_side.streams(), st.randoms(use_true_random=False))
def test_any_order_says_the_same(stream: chat_side.ChatStream, rng: Random) -> None:
    """Where a host mixes texts and calls, only the order of the output is another one."""
    before, said, after = parted(stream.chunks)
    words = [each for each in said if "tool_calls" not in each["choices"][0]["delta"]]
    calls = [each for each in said if each not in words]
    mixed: list[Thing] = []
    while words or calls:
        mixed.append((words if not calls or (words and rng.random() < 0.5) else calls).pop(0))
    pieces = events([*before, *mixed, *after])
    plain: Any = events(stream.chunks)[-1][1]["response"]
    response = read(pieces)
    output = [sorted(each["output"], key=itemgetter("id")) for each in (plain, response)]

    assert {**plain, "output": output[0]} == {**response, "output": output[1]}


@given(chat_side.streams())
def test_the_sdk_builds_the_same(stream: chat_side.ChatStream) -> None:
    """Its accumulator takes every event; what it has added up is what the terminal has."""
    state = ResponseStreamState[Any](input_tools=omit, text_format=omit)
    pieces = pieces_of(stream, {})
    for name, data in pieces:
        state.handle_event(cast("Any", MODELS[name].model_validate(data)))
    snapshot = vars(state)["_ResponseStreamState__current_snapshot"]
    grown = [item.to_dict() for item in snapshot.output]
    response = pieces[-1][1]["response"]

    assert len(response["output"]) == len(grown)
    for built, item in zip(grown, response["output"], strict=True):
        texts = [part.get("text") for part in item.get("content", ())]
        assert item.get("arguments") == built.get("arguments")
        assert texts == [part.get("text") for part in built.get("content", ())]
    completed = state._completed_response
    assert (completed is not None) == (response["status"] == "completed")


@given(chat_side.streams(), st.data())
def test_the_reader_bites(stream: chat_side.ChatStream, data: st.DataObject) -> None:
    """Without any one of its events, or with one twice, a stream is none."""
    pieces = pieces_of(stream, {})
    n = data.draw(st.integers(0, len(pieces) - 1))
    fewer, more = pieces[:n] + pieces[n + 1 :], pieces[: n + 1] + pieces[n:]
    for wrong_ones in (fewer, more):
        numbered = [
            (name, {**event, "sequence_number": k}) for k, (name, event) in enumerate(wrong_ones)
        ]
        if pieces[n][0] == "response.in_progress":
            continue  # a second one, or none, does no harm
        with pytest.raises((Illegal, KeyError, IndexError)):
            read(numbered)
