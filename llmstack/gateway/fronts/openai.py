"""Chat completions and embeddings, in the dialect of the OpenAI API.

An error is one object with four keys. In a stream it is an event of its own that also names
the request, there being no headers then, and no ``[DONE]`` comes after it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from llmstack.gateway.errors import Problem
from llmstack.gateway.fields import (
    BOOL,
    CHOICE,
    COUNT,
    INTEGER,
    LOOKED_AT,
    NUMBER,
    OBJECT,
    OBJECTS,
    STOP,
    STRING,
    STRINGS,
    Kind,
    bad,
)
from llmstack.gateway.front import Fields, Front, Look, Tell
from llmstack.gateway.fronts.turns import check_messages, parts
from llmstack.stream import EventStream


__all__ = ["CHAT", "EMBEDDINGS", "body", "error_of"]


def error_of(problem: Problem) -> dict[str, Any]:
    """Return *problem* as the object that all errors of the OpenAI API have in them."""
    return {
        "message": problem.message,
        "type": problem.type,
        "param": problem.param,
        "code": problem.code,
    }


def body(problem: Problem, _request_id: str) -> bytes:
    """Return the body of an error reply; the headers name the request."""
    return json.dumps({"error": error_of(problem)}).encode()


def _event(problem: Problem, request_id: str) -> bytes:
    error = json.dumps({"error": error_of(problem) | {"request_id": request_id}})
    return f"data: {error}\n\n".encode()


def _watch(_stream: EventStream) -> Tell:
    return _event


def _may_be_content(value: object) -> bool:
    return value is None or isinstance(value, (str, list))


_CONTENT: Final = Kind(_may_be_content, "a string or an array")


def _needs_messages(data: Fields) -> Problem | None:
    return check_messages(data, _CONTENT)


def _below(data: Fields) -> Iterator[tuple[str, Kind, Any]]:
    usage = (data.get("stream_options") or {}).get("include_usage")
    yield "stream_options.include_usage", BOOL, usage
    for n, message in enumerate(data["messages"]):
        if "tool_calls" in message:
            yield f"messages[{n}].tool_calls", OBJECTS, message["tool_calls"]
        content = message.get("content")
        if isinstance(content, list):
            yield from parts(f"messages[{n}].content", content)


def _needs_input(data: Fields) -> Problem | None:
    given = data.get("input")
    if isinstance(given, str) and given:
        return None
    # Of many texts only the first is looked at: it is one kind or the other for all.
    if isinstance(given, list) and given and _is_text(given[0]):
        return None
    return bad("input", "must be a text or an array of texts, as strings or as tokens")


def _is_text(value: object) -> bool:
    is_token = isinstance(value, int) and not isinstance(value, bool)
    return is_token or (isinstance(value, (str, list)) and bool(value))


def _nothing(_data: Fields) -> Look:
    return ()


_BOTH: Final[Mapping[str, Kind]] = MappingProxyType({"model": LOOKED_AT, "user": STRING})

CHAT: Final = Front(
    operation="chat",
    known=MappingProxyType(
        {
            **_BOTH,
            "audio": OBJECT,
            "frequency_penalty": NUMBER,
            "function_call": CHOICE,
            "functions": OBJECTS,
            "logit_bias": OBJECT,
            "logprobs": BOOL,
            "max_completion_tokens": COUNT,
            "max_tokens": COUNT,
            "messages": LOOKED_AT,
            "metadata": OBJECT,
            "modalities": STRINGS,
            "moderation": OBJECT,
            "n": COUNT,
            "parallel_tool_calls": BOOL,
            "prediction": OBJECT,
            "presence_penalty": NUMBER,
            "prompt_cache_key": STRING,
            "prompt_cache_options": OBJECT,
            "prompt_cache_retention": STRING,
            "reasoning_effort": STRING,
            "response_format": OBJECT,
            "safety_identifier": STRING,
            "seed": INTEGER,
            "service_tier": STRING,
            "stop": STOP,
            "store": BOOL,
            "stream": BOOL,
            "stream_options": OBJECT,
            "temperature": NUMBER,
            "tool_choice": CHOICE,
            "tools": OBJECTS,
            "top_logprobs": INTEGER,
            "top_p": NUMBER,
            "verbosity": STRING,
            "web_search_options": OBJECT,
        }
    ),
    needs=_needs_messages,
    below=_below,
    body=body,
    watch=_watch,
)

EMBEDDINGS: Final = Front(
    operation="embeddings",
    known=MappingProxyType(
        {**_BOTH, "dimensions": COUNT, "encoding_format": STRING, "input": LOOKED_AT}
    ),
    needs=_needs_input,
    below=_nothing,
    body=body,
    watch=_watch,
    streams=False,
)
