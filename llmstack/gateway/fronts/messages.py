"""Messages and the counting of their tokens, in the dialect of the Anthropic API.

Statuses are the same as in the other dialects, and say the type of an error, which is all
that this one tells beside the words. In a stream an error is an event with that name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from llmstack.gateway.errors import Problem
from llmstack.gateway.fields import (
    BOOL,
    CHOICE,
    CONTENT,
    INTEGER,
    LOOKED_AT,
    NUMBER,
    OBJECT,
    OBJECTS,
    STRING,
    STRINGS,
    TEXTS,
    WHOLE,
    Kind,
    bad,
    must_be,
)
from llmstack.gateway.front import Fields, Front, Tell
from llmstack.gateway.fronts.turns import check_messages, parts
from llmstack.stream import EventStream


__all__ = ["COUNT_TOKENS", "MESSAGES"]

INVALID: Final = "invalid_request_error"

_TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        503: "overloaded_error",
        504: "timeout_error",
        529: "overloaded_error",
    }
)


def _body(problem: Problem, request_id: str) -> bytes:
    is_ours = problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    kind = _TYPES.get(problem.status) or ("api_error" if is_ours else INVALID)
    error = {"type": kind, "message": problem.message}
    return json.dumps({"type": "error", "error": error, "request_id": request_id}).encode()


def _event(problem: Problem, request_id: str) -> bytes:
    return b"event: error\ndata: " + _body(problem, request_id) + b"\n\n"


def _watch(_stream: EventStream) -> Tell:
    return _event


def _needs_messages(data: Fields) -> Problem | None:
    return check_messages(data, CONTENT)


def _needs_limit_too(data: Fields) -> Problem | None:
    limit = data.get("max_tokens")
    if not WHOLE.fits(limit):
        return bad("max_tokens", must_be(WHOLE.says, limit))
    return _needs_messages(data)


def _below(data: Fields) -> Iterator[tuple[str, Kind, Any]]:
    yield from parts("system", data.get("system"))
    for n, message in enumerate(data["messages"]):
        yield from parts(f"messages[{n}].content", message["content"])


#: What may be there to count tokens, too.
_COUNTED: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "cache_control": OBJECT,
        "context_management": OBJECT,
        "mcp_servers": OBJECTS,
        "messages": LOOKED_AT,
        "model": LOOKED_AT,
        "output_config": OBJECT,
        "output_format": OBJECT,
        "speed": STRING,
        "system": TEXTS,
        "thinking": OBJECT,
        "tool_choice": OBJECT,
        "tools": OBJECTS,
    }
)
_PASSES: Final = ("anthropic-version", "anthropic-beta")
_PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'

MESSAGES: Final = Front(
    operation="messages",
    known=MappingProxyType(
        {
            **_COUNTED,
            "container": CHOICE,
            "diagnostics": OBJECT,
            "inference_geo": STRING,
            "max_tokens": LOOKED_AT,
            "metadata": OBJECT,
            "service_tier": STRING,
            "stop_sequences": STRINGS,
            "stream": BOOL,
            "temperature": NUMBER,
            "top_k": INTEGER,
            "top_p": NUMBER,
        }
    ),
    needs=_needs_limit_too,
    below=_below,
    body=_body,
    watch=_watch,
    ping=_PING,
    passes=_PASSES,
    id_header="request-id",
)

COUNT_TOKENS: Final = Front(
    operation="count_tokens",
    known=_COUNTED,
    needs=_needs_messages,
    below=_below,
    body=_body,
    watch=_watch,
    streams=False,
    passes=_PASSES,
    id_header="request-id",
)
