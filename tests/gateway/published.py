"""What the gateway says, against what the publishers of the three dialects say of it.

A body or an event of the OpenAI API is checked twice: by the published document, and by the
openai SDK's model in strict mode, which also finds fields that are not known, however deep.
Messages are checked by the anthropic SDK's models, and by the order of events.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from anthropic.types import ErrorResponse, MessageTokensCount
from openai.types import CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from llmstack.dialects.chat import assembled
from llmstack.dialects.translator import Piece
from tests.dialects.messages_over_chat import published as messages
from tests.dialects.responses_over_chat.reader import read
from tests.openapi import wrong


__all__ = [
    "check_count",
    "check_embeddings",
    "check_error",
    "check_last_word",
    "check_models",
    "check_part",
    "check_reply",
    "check_stream",
    "events_in",
    "strangers",
    "unchunked",
]

Body = Mapping[str, Any]

#: What the servers send and one of the two sources lacks; each with its reason.
RELAXED: Final = {
    # The document has it in its examples, and the servers in each reply.
    "Response.store",
    # The document requires it, the SDK's model does not have it yet.
    "ResponseFunctionCallArgumentsDoneEvent.name",
}
#: The documentation of errors has this type for 413, the SDK's union of them has not.
TOO_LARGE: Final = "request_too_large"
ANY_EVENT: Final[TypeAdapter[Any]] = TypeAdapter(ResponseStreamEvent)
FAILED: Final = "response.failed"
#: Has no model; its documentation says that it may come anywhere.
PING: Final = ("ping", {"type": "ping"})


def strangers(value: object) -> Iterator[str]:
    """The fields in a validated *value* that its types do not have."""
    if isinstance(value, list):
        for each in value:
            yield from strangers(each)
    elif isinstance(value, BaseModel):
        yield from (f"{type(value).__name__}.{name}" for name in value.model_extra or ())
        for name in value.model_fields_set:
            yield from strangers(getattr(value, name, None))


def _same(expected: object, actual: object) -> None:
    # pytest explains only what fails in a module of tests.
    assert expected == actual, f"{expected!r} was expected, and not {actual!r}"


def _is_model(model: type[BaseModel], body: Body) -> None:
    _same(set(), set(strangers(model.model_validate(body, strict=True))) - RELAXED)


def _check_chat(body: Body) -> None:
    _same([], wrong("CreateChatCompletionResponse", body))
    _is_model(ChatCompletion, body)


def _relaxed(body: Body) -> Body:
    """A response without what the document does not have although the servers say it."""
    # The schema has no "store", although its own example has one; and it allows no null for
    # the usage, although the SDK's model does, and a response that has only begun has one.
    unsaid = {"store"} | ({"usage"} if body.get("usage", 0) is None else set())
    return {name: value for name, value in body.items() if name not in unsaid}


def _check_response(body: Body) -> None:
    _same([], wrong("Response", _relaxed(body)))
    _is_model(Response, body)


def check_reply(dialect: str, body: Body) -> None:
    """A whole reply is one that the dialect has."""
    {"chat": _check_chat, "messages": messages.check_message, "responses": _check_response}[
        dialect
    ](body)


def unchunked(body: bytes) -> tuple[bytes, bool]:
    """What the transfer coding carries, and whether it has its last chunk."""
    data = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return data, True
        data += rest[:length]
        body = rest[length + 2 :]
    return data, False


def events_in(data: bytes) -> list[Piece]:
    """The events of a stream, each with its name; ``[DONE]`` is one that says nothing."""
    found: list[Piece] = []
    assert data == b"" or data.endswith(b"\n\n")
    for block in data.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        assert set(fields) <= {"event", "data", ""}
        if "data" in fields:
            said = {} if fields["data"] == "[DONE]" else json.loads(fields["data"])
            found.append((fields.get("event", ""), said))
    return found


def check_part(dialect: str, events: Sequence[Piece]) -> None:
    """Each event is one that the dialect has, as far as the stream has come."""
    if dialect == "messages":
        messages.check_events([piece for piece in events if piece != PING])
        return
    for number, (name, data) in enumerate(events):
        if dialect == "responses":
            _same((name, number), (data["type"], data["sequence_number"]))
            _check_event(data)
        else:
            _same("", name)
            _same([], wrong("CreateChatCompletionStreamResponse", data))
            _is_model(ChatCompletionChunk, data)


def _check_event(data: Body) -> None:
    event = ANY_EVENT.validate_python(data, strict=True)
    _same(set(), set(strangers(event)) - RELAXED)
    if "response" in data:
        _check_response(data["response"])
        data = {**data, "response": _relaxed(data["response"])}
    # The SDK names the model of an event as the document names its schema.
    _same([], wrong(type(event).__name__, data))


def check_stream(dialect: str, events: Sequence[Piece], *, counted: bool = False) -> Body:
    """All events together are a stream that is whole; returns what a client has of it.

    *counted* is for a caller of chat who asked for the usage.
    """
    if dialect == "responses":
        check_part(dialect, events)
        relaxed = [
            (name, {**data, "response": _relaxed(data["response"])} if "response" in data else data)
            for name, data in events
        ]
        # It compares what the deltas say with what the last event has.
        return read(relaxed)
    if dialect == "messages":
        check_part(dialect, events)
        said = [piece for piece in events if piece != PING]
        messages.legal(said)
        return messages.accumulated(said)
    _same(("", {}), events[-1])
    check_part(dialect, events[:-1])
    chunks = [data for _, data in events[:-1]]
    _check_chunks(chunks, counted=counted)
    return assembled(events[:-1])


def _check_chunks(chunks: Sequence[Body], *, counted: bool) -> None:
    """One head for all; one role, at the beginning; one finish, and the usage behind it alone."""
    _same(1, len({(each["id"], each["created"], each["model"]) for each in chunks}))
    last = chunks[-1]
    _same(counted, (last["choices"] == [] and last.get("usage") is not None))
    _same([], [each for each in chunks[:-1] if each.get("usage") is not None])
    said = [each["choices"][0] for each in chunks if each["choices"]]
    _same("assistant", said[0]["delta"].get("role"))
    finishes = [each["finish_reason"] for each in said]
    _same([None] * (len(said) - 1), finishes[:-1])
    assert finishes[-1] is not None
    _same([said[-1]], chunks[-2 if counted else -1]["choices"])


def check_error(dialect: str, body: Body) -> None:
    """The body of an error reply."""
    if dialect == "messages":
        _check_anthropic_error(body)
        return
    _same([], wrong("ErrorResponse", body))
    _same([], wrong("Error", body["error"]))


def _check_anthropic_error(body: Body) -> None:
    if body["error"]["type"] == TOO_LARGE:
        body = {**body, "error": {**body["error"], "type": "invalid_request_error"}}
    assert isinstance(body["request_id"], str)
    _is_model(ErrorResponse, body)


def check_last_word(dialect: str, events: Sequence[Piece]) -> None:
    """A stream that broke: what it has is right, and the last event says that it broke."""
    *before, (name, said) = events
    if dialect == "responses":
        check_part(dialect, events)
        _same((FAILED, "failed"), (name, said["response"]["status"]))
        _same({"code", "message"}, set(said["response"]["error"]))
        return
    check_part(dialect, before)
    if dialect == "messages":
        _same("error", name)
        _check_anthropic_error(said)
        return
    error = dict(said["error"])
    # There are no headers any more that would name the request.
    assert error.pop("request_id").startswith("req_")
    _same("", name)
    check_error(dialect, {**said, "error": error})


def check_models(body: Body) -> None:
    """The list of models."""
    _same([], wrong("ListModelsResponse", body))
    for each in body["data"]:
        _same([], wrong("Model", each))
        _is_model(Model, each)


def check_embeddings(body: Body) -> None:
    """Vectors."""
    _same([], wrong("CreateEmbeddingResponse", body))
    _is_model(CreateEmbeddingResponse, body)


def check_count(body: Body) -> None:
    """The tokens of a prompt."""
    _is_model(MessageTokensCount, body)
