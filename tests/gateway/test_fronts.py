"""Errors in each dialect: bodies and last events, against the published types."""

from __future__ import annotations

import json
from typing import Any, Final, get_args

import pytest
from anthropic.types import MessageCountTokensParams, message_create_params
from anthropic.types.shared import ErrorResponse
from anthropic.types.shared.error_type import ErrorType
from hypothesis import given
from hypothesis import strategies as st
from openai.types import EmbeddingCreateParams
from openai.types.chat import completion_create_params
from openai.types.responses import (
    ResponseErrorEvent,
    ResponseFailedEvent,
    response_create_params,
)

from llmstack.gateway.errors import Problem
from llmstack.gateway.front import Front, Tell
from llmstack.gateway.fronts import CHAT, COUNT_TOKENS, EMBEDDINGS, FRONTS, MESSAGES, RESPONSES
from llmstack.providers.sse import SSEEvent, SSEParser
from llmstack.stream import EventStream
from llmstack.testing.scripted import ScriptedEvent, ScriptedSource
from llmstack.testing.virtual import run_virtual
from tests.openapi import fields_of, wrong


problems = st.builds(
    Problem,
    status=st.sampled_from([400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 429])
    | st.integers(500, 599),
    message=st.text(max_size=9),
    type=st.sampled_from(["invalid_request_error", "server_error"]),
    param=st.none() | st.text(max_size=9),
    code=st.text(max_size=9),
)
BROKEN: Final = Problem(502, "the stream broke off", "server_error", None, "stream_broken")

#: The documentation of the Anthropic API: statuses and types; others are told by what they are.
TYPES: Final = """
    400 invalid_request_error
    401 authentication_error
    402 billing_error
    403 permission_error
    404 not_found_error
    405 invalid_request_error
    408 invalid_request_error
    409 invalid_request_error
    413 request_too_large
    415 invalid_request_error
    429 rate_limit_error
    500 api_error
    502 api_error
    503 overloaded_error
    504 timeout_error
    529 overloaded_error
    599 api_error
"""
STATUSES: Final = [(int(row.split()[0]), row.split()[1]) for row in TYPES.strip().splitlines()]


async def _watched(front: Front, passed: list[Any]) -> Tell:
    """What tells the end of a stream of which the events in *passed* have been read."""
    events = [
        ScriptedEvent(each if isinstance(each, bytes) else json.dumps(each).encode())
        for each in passed
    ]
    async with EventStream(ScriptedSource(events)) as stream:
        tell = front.watch(stream)
        assert len(events) == len([event async for event in stream])
        return tell


def last(front: Front, problem: Problem, passed: list[Any] | None = None) -> SSEEvent:
    """The one event that ends a stream in which *passed* has been."""
    tell = run_virtual(_watched(front, passed or []))[0]
    parser = SSEParser()
    (event,) = parser.feed(tell(problem, "req_1"))
    assert not parser.close()
    return event


@pytest.mark.parametrize("front", [CHAT, EMBEDDINGS, RESPONSES], ids=lambda each: each.operation)
@given(problems)
def test_an_error_of_openai_has_four_keys(front: Front, problem: Problem) -> None:
    """And is valid by the published schema."""
    body = json.loads(front.body(problem, "req_1"))

    assert {
        "error": {
            "message": problem.message,
            "type": problem.type,
            "param": problem.param,
            "code": problem.code,
        }
    } == body
    assert [] == wrong("ErrorResponse", body)
    assert ("", ()) == (front.id_header, front.passes)


@given(problems)
def test_in_a_chat_the_error_names_the_request(problem: Problem) -> None:
    """There are no headers then; for the rest it is the same."""
    event = last(CHAT, problem)
    error = json.loads(event.data)["error"]

    assert "req_1" == error.pop("request_id")
    assert {"error": error} == json.loads(CHAT.body(problem, ""))
    assert "" == event.event


@pytest.mark.parametrize(("status", "type_"), STATUSES)
@pytest.mark.parametrize("front", [MESSAGES, COUNT_TOKENS], ids=lambda each: each.operation)
def test_the_status_says_the_type_of_an_error_of_anthropic(
    front: Front, status: int, type_: str
) -> None:
    """As documented; the SDK's own types know all but one."""
    body = json.loads(front.body(Problem(status, "no"), "req_1"))

    assert {
        "type": "error",
        "error": {"type": type_, "message": "no"},
        "request_id": "req_1",
    } == body
    if type_ != "request_too_large":
        assert type_ in get_args(ErrorType)
        ErrorResponse.model_validate(body, strict=True)


@given(problems)
def test_in_a_stream_of_messages_the_error_is_an_event_of_that_name(problem: Problem) -> None:
    """With the same body as a reply."""
    event = last(MESSAGES, problem)

    assert ("error", MESSAGES.body(problem, "req_1")) == (event.event, event.data)


RESPONSE: Final[dict[str, Any]] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 7,
    "status": "in_progress",
    "error": None,
    "incomplete_details": None,
    "instructions": "be kind",
    "metadata": {},
    "model": "gpt",
    "output": [],
    "parallel_tool_calls": False,
    "temperature": 0.5,
    "tool_choice": "none",
    "tools": [],
    "top_p": 1.0,
}
CREATED: Final = {"type": "response.created", "response": RESPONSE, "sequence_number": 3}


def delta(number: object) -> dict[str, Any]:
    """Text that quotes the type of the first event."""
    text = 'of type "response.created"'
    return {"type": "response.output_text.delta", "delta": text, "sequence_number": number}


@pytest.mark.parametrize(
    ("passed", "number"),
    [
        ([CREATED], 4),
        ([CREATED, delta(4), delta(5)], 6),
        ([{"type": "keepalive", "sequence_number": 1}, CREATED, delta(9)], 10),
        ([delta(1), CREATED, delta(4)], 5),
        ([CREATED, {**delta(4), "delta": "response.created"}], 5),
        ([CREATED, delta(8), {"type": "keepalive"}], 0),
        ([CREATED, delta(True)], 0),
        ([CREATED, b"nonsense"], 0),
    ],
)
@given(problem=problems)
def test_a_response_that_breaks_has_failed(
    passed: list[Any], number: int, problem: Problem
) -> None:
    """With all that its beginning said, under the next number, and with a code of the schema."""
    event = last(RESPONSES, problem, passed)
    data = json.loads(event.data)
    codes = {400: "invalid_prompt", 413: "invalid_prompt", 429: "rate_limit_exceeded"}
    error = {"code": codes.get(problem.status, "server_error"), "message": problem.message}

    assert "response.failed" == event.event
    assert {
        "type": "response.failed",
        "response": {**RESPONSE, "status": "failed", "error": error},
        "sequence_number": number,
    } == data
    assert [] == wrong("ResponseFailedEvent", data)
    ResponseFailedEvent.model_validate(data, strict=True)


def test_what_the_beginning_leaves_out_is_filled_in() -> None:
    """Some servers say little of the response, and the schema wants more."""
    short = {"id": "resp_2", "model": "m", "status": "queued"}
    data = json.loads(last(RESPONSES, BROKEN, [{**CREATED, "response": short}]).data)

    assert ["resp_2", "m", "failed"] == [
        data["response"][name] for name in ("id", "model", "status")
    ]
    assert [] == wrong("ResponseFailedEvent", data)
    ResponseFailedEvent.model_validate(data, strict=True)


@pytest.mark.parametrize(
    ("passed", "number"),
    [
        ([], 0),
        ([delta(4)], 5),
        ([{**CREATED, "response": None}], 4),
        ([{**CREATED, "response": {**RESPONSE, "id": 1}}], 4),
        ([{**CREATED, "response": {"model": "m"}}], 4),
        ([b'"response.created"'], 0),
        ([b'{"type": "response.created"'], 0),
        ([b"[" * 100_000 + b'"response.created"'], 0),
        ([b'{"type": "response.created", "sequence_number": 2}', delta(2)], 3),
    ],
)
@given(problem=problems)
def test_a_stream_that_says_of_no_response_ends_with_an_error(
    passed: list[Any], number: int, problem: Problem
) -> None:
    """In the event that is made for it."""
    event = last(RESPONSES, problem, passed)
    data = json.loads(event.data)

    assert "error" == event.event
    assert {
        "type": "error",
        "code": problem.code,
        "message": problem.message,
        "param": problem.param,
        "sequence_number": number,
    } == data
    assert [] == wrong("ResponseErrorEvent", data)
    ResponseErrorEvent.model_validate(data, strict=True)


def test_only_where_it_is_needed_a_stream_is_watched() -> None:
    """An observer costs something for each event."""

    async def observed(front: Front) -> int:
        async with EventStream(ScriptedSource([])) as stream:
            front.watch(stream)
            return len(stream._observers)

    watched = {front.operation for front in FRONTS if run_virtual(observed(front))[0]}
    assert {"responses"} == watched


#: In no published type now, but older clients and other servers have them.
ALSO: Final = {
    "messages": {
        *("context_management", "mcp_servers", "output_format"),
        *("stream", "temperature", "top_k", "top_p"),
    },
    "count_tokens": {"context_management", "mcp_servers", "output_format"},
    "responses": {"stream"},
    "chat": {"stream"},
    "embeddings": set(),
}
#: Parameters of the SDK that are headers.
HEADERS: Final = {"user_profile_id", "workspace_id"}


@pytest.mark.parametrize(
    ("front", "params"),
    [
        (CHAT, completion_create_params.CompletionCreateParamsBase),
        (EMBEDDINGS, EmbeddingCreateParams),
        (MESSAGES, message_create_params.MessageCreateParamsBase),
        (COUNT_TOKENS, MessageCountTokensParams),
        (RESPONSES, response_create_params.ResponseCreateParamsBase),
    ],
    ids=lambda each: getattr(each, "operation", ""),
)
def test_the_known_fields_are_those_of_the_published_types(front: Front, params: type) -> None:
    """All of them, and of others only a few."""
    named = set(params.__annotations__) - HEADERS

    assert named | ALSO[front.operation] == set(front.known)


@pytest.mark.parametrize(
    ("front", "schema", "later"),
    [
        (CHAT, "CreateChatCompletionRequest", set()),
        (RESPONSES, "CreateResponse", {"access_programs", "background_options", "image"}),
    ],
    ids=lambda each: getattr(each, "operation", ""),
)
def test_the_known_fields_are_those_of_the_published_schema(
    front: Front, schema: str, later: set[str]
) -> None:
    """But for what the SDK, which is younger, has more."""
    assert fields_of(schema) | later == set(front.known)


@pytest.mark.parametrize(
    ("front", "ping"),
    [
        (CHAT, b": ping\n\n"),
        (RESPONSES, b": ping\n\n"),
        (MESSAGES, b'event: ping\ndata: {"type": "ping"}\n\n'),
    ],
    ids=lambda each: getattr(each, "operation", ""),
)
def test_a_ping_is_no_event_for_those_who_read_it(front: Front, ping: bytes) -> None:
    """A comment, or the event that the dialect has for it."""
    events = SSEParser().feed(front.ping)

    assert ping == front.ping
    assert ["ping"] * (front is MESSAGES) == [event.event for event in events]
