"""Responses, in the dialect of the OpenAI API: their errors are those of the other paths.

A stream that breaks ends with ``response.failed``, which has the response in it as far as it
is known from the beginning of the stream. It allows few codes, so ours become one of two. If
the stream has not said what the response is, it ends with ``error``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, final

from attrs import define, field

from llmstack.gateway.errors import Problem
from llmstack.gateway.fields import (
    BOOL,
    CHOICE,
    CONTENT,
    COUNT,
    INTEGER,
    LOOKED_AT,
    NUMBER,
    OBJECT,
    OBJECTS,
    STRING,
    STRINGS,
    Kind,
    bad,
    must_be,
)
from llmstack.gateway.front import Fields, Front, Tell
from llmstack.gateway.fronts.openai import body
from llmstack.gateway.fronts.turns import parts
from llmstack.stream import Event, EventStream


__all__ = ["RESPONSES"]

#: As JSON writes it where it is the type; in a text its quotation marks are escaped.
CREATED: Final = b'"response.created"'

#: What a response must have, where the beginning of the stream leaves it out.
_REQUIRED: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "object": "response",
        "created_at": 0,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "",
        "output": [],
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
    }
)

#: By status; all others are the server's.
_CODES: Final[Mapping[int, str]] = MappingProxyType(
    {400: "invalid_prompt", 413: "invalid_prompt", 429: "rate_limit_exceeded"}
)


@final
@define(eq=False)
class _Beginning:
    """Keeps of a stream what its last event would need; decodes nothing unless it breaks."""

    created: bytes | None = field(default=None, init=False)
    last: bytes = field(default=b"", init=False)

    def take(self, event: Event) -> None:
        """Look at one event that goes to the client."""
        self.last = event.data
        if self.created is None and CREATED in event.data:
            self.created = event.data

    def tell(self, problem: Problem, _request_id: str) -> bytes:
        """Return the event that ends the stream with *problem*."""
        number = _object(self.last).get("sequence_number")
        after = {"sequence_number": number + 1 if type(number) is int else 0}
        created = _object(self.created).get("response")
        if isinstance(created, dict) and isinstance(created.get("id"), str):
            failed = {"response": _failed(created, problem), **after}
            return _event("response.failed", failed)
        error = {"code": problem.code, "message": problem.message, "param": problem.param}
        return _event("error", {**error, **after})


def _watch(stream: EventStream) -> Tell:
    beginning = _Beginning()
    stream.on_event(beginning.take)
    return beginning.tell


def _object(data: bytes | None) -> Mapping[str, Any]:
    """Return what *data* says; nothing if it is no object."""
    try:
        value = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _failed(created: Mapping[str, Any], problem: Problem) -> dict[str, Any]:
    """Return the response that was *created*, failed with *problem*."""
    error = {"code": _CODES.get(problem.status, "server_error"), "message": problem.message}
    return {**_REQUIRED, **created, "status": "failed", "error": error}


def _event(name: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


def _needs_input(data: Fields) -> Problem | None:
    given = data.get("input")
    if given is None and any(data.get(name) is not None for name in _INSTEAD):
        return None
    if not isinstance(given, (str, list)) or not given:
        return bad("input", "must be a text or an array of items, and not empty")
    for n, item in enumerate(given if isinstance(given, list) else ()):
        if not isinstance(item, dict):
            return bad(f"input[{n}]", must_be("an object", item))
    return None


#: Where one of these is, the input may be in it.
_INSTEAD: Final = ("conversation", "previous_response_id", "prompt")


def _below(data: Fields) -> Iterator[tuple[str, Kind, Any]]:
    items = data.get("input")
    for n, item in enumerate(items if isinstance(items, list) else ()):
        path, content = f"input[{n}].content", item.get("content")
        yield path, CONTENT, content
        yield from parts(path, content)


RESPONSES: Final = Front(
    operation="responses",
    known=MappingProxyType(
        {
            "access_programs": OBJECT,
            "background": BOOL,
            "background_options": OBJECT,
            "context_management": OBJECTS,
            "conversation": CHOICE,
            "image": OBJECT,
            "include": STRINGS,
            "input": LOOKED_AT,
            "instructions": STRING,
            "max_output_tokens": COUNT,
            "max_tool_calls": INTEGER,
            "metadata": OBJECT,
            "model": LOOKED_AT,
            "moderation": OBJECT,
            "parallel_tool_calls": BOOL,
            "previous_response_id": STRING,
            "prompt": OBJECT,
            "prompt_cache_key": STRING,
            "prompt_cache_options": OBJECT,
            "prompt_cache_retention": STRING,
            "reasoning": OBJECT,
            "safety_identifier": STRING,
            "service_tier": STRING,
            "store": BOOL,
            "stream": BOOL,
            "stream_options": OBJECT,
            "temperature": NUMBER,
            "text": OBJECT,
            "tool_choice": CHOICE,
            "tools": OBJECTS,
            "top_logprobs": INTEGER,
            "top_p": NUMBER,
            "truncation": STRING,
            "user": STRING,
        }
    ),
    needs=_needs_input,
    below=_below,
    body=body,
    watch=_watch,
)
