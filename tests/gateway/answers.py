"""One answer in three dialects: how an endpoint says it, and what a caller should have of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import field, frozen

from llmstack.dialects import chat, messages, responses
from llmstack.dialects.translator import Piece
from llmstack.dialects.wire import DONE, encoded


__all__ = ["ANSWERS", "Said", "body_of", "bytes_of", "heard", "stream_of"]

Body = dict[str, Any]

#: How each dialect says that an answer is whole, was cut by its length, or was filtered.
FINISHES: Final[Mapping[str, tuple[str, str, str]]] = {
    "stop": ("stop", "end_turn", "completed"),
    "length": ("length", "max_tokens", "max_output_tokens"),
    "filter": ("content_filter", "refusal", "content_filter"),
}


@frozen
class Said:
    """What an endpoint says; *calls* are names with arguments.

    Tokens are 20 in, of which so many are *cached*, and 5 out; or nobody *counts* them. With
    *early* streams begin as those of some hosts: a chat with a chunk without choices, a
    response with a null for its usage.
    """

    text: str = ""
    refusal: str = ""
    calls: Sequence[tuple[str, Mapping[str, Any]]] = ()
    finish: str = "stop"
    cached: int = field(default=0, kw_only=True)
    counts: bool = field(default=True, kw_only=True)
    early: bool = field(default=False, kw_only=True)

    def ids(self) -> list[tuple[str, str, Mapping[str, Any]]]:
        """The calls with an id each."""
        return [(f"call_{n}", name, given) for n, (name, given) in enumerate(self.calls)]


PLACE: Final = ("look_up", {"place": 'a "b" \u00e9', "n": 1})
ANSWERS: Final[Mapping[str, Said]] = {
    "text": Said("two words"),
    "refusal": Said(refusal="I will not."),
    "one call": Said(calls=[PLACE]),
    "two calls": Said(calls=[PLACE, ("now", {})]),
    "text and a call": Said("let me see", calls=[PLACE]),
    "cut": Said("two", finish="length"),
    "filtered": Said("two", finish="filter"),
    "cached": Said("two words", cached=12),
    "not counted": Said("two words", counts=False),
    "empty choices first": Said("two words", early=True),
}


def _chat(said: Said) -> Body:
    message: Body = {"role": "assistant", "content": said.text or None}
    message["refusal"] = said.refusal or None
    if said.calls:
        message["tool_calls"] = [
            {
                "id": called,
                "type": "function",
                "function": {"name": name, "arguments": _json(given)},
            }
            for called, name, given in said.ids()
        ]
    finish = "tool_calls" if said.calls else FINISHES[said.finish][0]
    usage = {
        "prompt_tokens": 20,
        "completion_tokens": 5,
        "total_tokens": 25,
        "prompt_tokens_details": {"cached_tokens": said.cached},
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m-1",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        **({"usage": usage} if said.counts else {}),
    }


def _messages(said: Said) -> Body:
    content: list[Body] = [
        {"type": "text", "text": text} for text in (said.text, said.refusal) if text
    ]
    content += [
        {"type": "tool_use", "id": called, "name": name, "input": given}
        for called, name, given in said.ids()
    ]
    stop = FINISHES["filter" if said.refusal else said.finish][1]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m-1",
        "content": content,
        "stop_reason": "tool_use" if said.calls else stop,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 20 - said.cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": said.cached,
            "output_tokens": 5,
        },
    }


def _responses(said: Said) -> Body:
    status = "completed" if said.finish == "stop" else "incomplete"
    part: Body = {"type": "refusal", "refusal": said.refusal}
    if said.text:
        part = {"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": status}
    output: list[Body] = [{**message, "content": [part]}] if said.text or said.refusal else []
    output += [
        {"id": f"fc_{called}", "type": "function_call", "status": status, "call_id": called}
        | {"name": name, "arguments": _json(given)}
        for called, name, given in said.ids()
    ]
    usage = {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": said.cached, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 25,
    }
    why = None if said.finish == "stop" else {"reason": FINISHES[said.finish][2]}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 7,
        "status": status,
        "error": None,
        "incomplete_details": why,
        "instructions": None,
        "metadata": {},
        "model": "m-1",
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        **({"usage": usage} if said.counts else {}),
    }


def _json(given: Mapping[str, Any]) -> str:
    return json.dumps(given, ensure_ascii=False)


_SAYS: Final = {"chat": _chat, "messages": _messages, "responses": _responses}
_CUTS: Final = {"chat": chat.pieces, "messages": messages.pieces, "responses": responses.pieces}


def body_of(dialect: str, said: Said) -> Body:
    """The whole reply."""
    return _SAYS[dialect](said)


def stream_of(dialect: str, said: Said) -> list[Piece]:
    """The events of the same; the leaf asks each endpoint for the usage."""
    pieces: list[Piece] = _CUTS[dialect](body_of(dialect, said))
    if said.early and dialect == "chat":
        return [("", {**pieces[0][1], "choices": []}), *pieces]
    if said.early and dialect == "responses":
        begun = {**pieces[0][1]["response"], "usage": None, "store": True}
        early = [(name, {**data, "response": begun}) for name, data in pieces[:2]]
        return [*early, *pieces[2:-1], _stored(pieces[-1])]
    return pieces


def _stored(last: Piece) -> Piece:
    name, data = last
    return name, {**data, "response": {**data["response"], "store": True}}


def bytes_of(dialect: str, pieces: Sequence[Piece], *, whole: bool = True) -> bytes:
    """The events as they are written, and what ends a *whole* stream of chat."""
    return encoded(pieces, DONE if whole and dialect == "chat" else b"")


def heard(dialect: str, body: Mapping[str, Any]) -> tuple[str, list[Any], tuple[int, int, int]]:
    """The words, the calls and the tokens of a whole reply: all in, of these cached, and out."""
    return _HEARS[dialect](body)


Heard = tuple[str, list[Any], tuple[int, int, int]]


def _of_chat(body: Mapping[str, Any]) -> Heard:
    message = body["choices"][0]["message"]
    words = (message.get("content") or "") + (message.get("refusal") or "")
    calls = [
        (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in message.get("tool_calls") or ()
    ]
    usage = body.get("usage") or {"prompt_tokens": 0, "completion_tokens": 0}
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return words, calls, (usage["prompt_tokens"], cached, usage["completion_tokens"])


def _of_messages(body: Mapping[str, Any]) -> Heard:
    words = "".join(block.get("text", "") for block in body["content"])
    calls = [
        (block["id"], block["name"], block["input"])
        for block in body["content"]
        if block["type"] == "tool_use"
    ]
    usage = body["usage"]
    read = usage["cache_read_input_tokens"]
    given = usage["input_tokens"] + usage["cache_creation_input_tokens"] + read
    return words, calls, (given, read, usage["output_tokens"])


def _of_responses(body: Mapping[str, Any]) -> Heard:
    parts = [part for item in body["output"] for part in item.get("content", ())]
    words = "".join(part.get("text", part.get("refusal")) for part in parts)
    calls = [
        (item["call_id"], item["name"], json.loads(item["arguments"]))
        for item in body["output"]
        if item["type"] == "function_call"
    ]
    usage = body.get("usage")
    if usage is None:
        return words, calls, (0, 0, 0)
    cached = usage["input_tokens_details"]["cached_tokens"]
    return words, calls, (usage["input_tokens"], cached, usage["output_tokens"])


_HEARS: Final = {"chat": _of_chat, "messages": _of_messages, "responses": _of_responses}
