"""The two dialects as their publishers have them: models, and the order of events."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from openai.types.chat import completion_create_params as chat
from pydantic import TypeAdapter

from llmstack.dialects.translator import Piece


__all__ = ["accumulated", "check_chat_request", "check_events", "check_message", "legal"]

EVENTS: Final[TypeAdapter[Any]] = TypeAdapter(RawMessageStreamEvent)
MESSAGE: Final = {
    *("id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"),
}
USAGE: Final = {
    *("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
    "output_tokens_details",
}
BLOCKS: Final[Mapping[str, set[str]]] = {
    "text": {"type", "text"},
    "tool_use": {"type", "id", "name", "input"},
}


@cache
def requests() -> Mapping[bool, TypeAdapter[Any]]:
    """The models of a chat request, by whether it is to be streamed."""
    return {
        False: TypeAdapter(chat.CompletionCreateParamsNonStreaming),
        True: TypeAdapter(chat.CompletionCreateParamsStreaming),
    }


def read_out(value: object) -> None:
    """Go through all there is: lists are only checked while they are read."""
    if isinstance(value, Mapping):
        for inner in value.values():
            read_out(inner)
    elif isinstance(value, Iterable) and not isinstance(value, str):
        for inner in value:
            read_out(inner)


def check_chat_request(body: Mapping[str, Any]) -> None:
    """It is what the openai SDK's types say, with no field that they do not have."""
    known = typing.get_type_hints(chat.CompletionCreateParamsStreaming)
    assert set(body) <= set(known)
    read_out(requests()[body.get("stream") is True].validate_python(body, strict=True))


def check_message(body: Mapping[str, Any]) -> None:
    """It is what the anthropic SDK's model says, with no field that this package has not."""
    Message.model_validate(body, strict=True)
    assert set(body) == MESSAGE
    assert USAGE - {"output_tokens_details"} <= set(body["usage"]) <= USAGE
    for block in body["content"]:
        assert BLOCKS[block["type"]] == set(block)


def check_events(events: Sequence[Piece]) -> None:
    """Each is what the anthropic SDK's model of it says, and is named by its type."""
    for name, data in events:
        assert data["type"] == name
        EVENTS.validate_python(data, strict=True)
    check_message(events[0][1]["message"])


def legal(events: Sequence[Piece]) -> list[int]:
    """The indexes of the blocks, if the events are in the published order.

    ``message_start``; then blocks, each a start, deltas and a stop with its index, one after
    the other; then ``message_delta`` once or more, and ``message_stop``.
    """
    state, block, seen = "nothing", "", list[int]()
    after = {
        ("nothing", "message_start"): "between",
        ("between", "content_block_start"): "block",
        ("block", "content_block_delta"): "block",
        ("block", "content_block_stop"): "between",
        ("between", "message_delta"): "ending",
        ("ending", "message_stop"): "over",
    }
    for name, data in events:
        state = after[state, name]
        if name == "content_block_start":
            assert len(seen) == data["index"]
            block = {"text": "text_delta", "tool_use": "input_json_delta"}[
                data["content_block"]["type"]
            ]
            seen.append(data["index"])
        elif name == "content_block_delta":
            assert (data["index"], data["delta"]["type"]) == (seen[-1], block)
        elif name == "content_block_stop":
            assert data["index"] == seen[-1]
    assert state == "over"
    return seen


def accumulated(events: Sequence[Piece]) -> dict[str, Any]:
    """The message that the anthropic SDK makes of the events."""
    message: Any = None
    buffers: dict[int, bytes] = {}
    for _, data in events:
        event = EVENTS.validate_python(data)
        message = accumulate_event(event=event, current_snapshot=message, json_bufs=buffers)
    whole: dict[str, Any] = message.to_dict(mode="json")
    # It takes this from the last event, also where that does not have it.
    assert whole.pop("stop_details", None) is None
    return whole
