"""The operation ``responses``: what a whole one is, and an error in it."""

from __future__ import annotations

import json
from typing import Any, Final, get_args

import pytest
from openai.types.responses.response_error import ResponseError

from llmstack.call import Usage
from llmstack.errors import (
    BadRequest,
    ContentFiltered,
    EmptyResponse,
    PermissionDenied,
    ProtocolError,
    RateLimited,
    ServerError,
    UpstreamError,
)
from llmstack.messages import Request
from llmstack.providers.openai.operations import operations
from tests.providers.openai import scripts as s
from tests.providers.openai.scripts import play, sized


USAGE: Final = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 2,
    "output_tokens_details": {"reasoning_tokens": 1},
    "total_tokens": 11,
}
TEXT: Final = {"type": "output_text", "text": "hi", "annotations": []}
MESSAGE: Final = {"type": "message", "content": [TEXT]}
CALL: Final = {"type": "function_call", "name": "f", "arguments": ""}
BLANK: Final = {"type": "message", "content": [{**TEXT, "text": ""}]}


def body(*output: object, **fields: object) -> bytes:
    return json.dumps(
        {"id": "r", "object": "response", "status": "completed", "error": None, "output": output}
        | fields
    ).encode()


def judged(reply: bytes) -> Usage | type[UpstreamError] | None:
    try:
        return operations()["responses"].usage(200, dict, reply)
    except UpstreamError as error:
        return type(error)


def test_a_response_is_handed_on_as_it_came() -> None:
    """It is asked for under its own path, with the endpoint's name for the model alone."""
    reply = body(MESSAGE, usage=USAGE)
    asked = Request("m", b'{ "model":"a", "input": "x" }', operation="responses")

    played = play(sized(reply), asked=asked)

    (seen,) = played.upstream.requests
    assert ("POST", "/v1/responses") == (seen.method, seen.path)
    assert b'{ "model":"m", "input": "x" }' == seen.body
    assert (reply, Usage(5, 2, 4)) == (played.response.body, played.response.usage)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (body(MESSAGE), None),
        (body(CALL, usage=USAGE), Usage(5, 2, 4)),
        (body(BLANK, CALL), None),
        (body({"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}), None),
        (body({"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}]}), None),
        (body({"type": "reasoning", "summary": [], "encrypted_content": "a"}), None),
        (body({"type": "web_search_call", "status": "failed"}), None),
        (body(MESSAGE, status=None), None),
        (body(status="incomplete", usage=USAGE), Usage(5, 2, 4)),
        (body(status="queued"), None),
        (body(status="in_progress"), None),
        (body(status="cancelled"), None),
        (body(), EmptyResponse),
        (body(BLANK), EmptyResponse),
        (body({}), EmptyResponse),
        (body("text"), EmptyResponse),
        (body({**MESSAGE, "type": ["message"]}, {**CALL, "type": {}}), EmptyResponse),
        (body({**CALL, "type": 1}), EmptyResponse),
        (body({"type": "reasoning", "summary": []}), EmptyResponse),
        (b'{"output": "text"}', EmptyResponse),
        (b"[]", ProtocolError),
        (body(status="failed"), ServerError),
        (body(MESSAGE, status="failed", error={}), ServerError),
        (body(error={"code": "rate_limit_exceeded", "message": "x"}), RateLimited),
    ],
)
def test_what_a_response_says(reply: bytes, expected: object) -> None:
    """One that is not over is as it should be, and one that says nothing is empty."""
    assert expected == judged(reply)


def test_a_long_response_that_failed_is_seen() -> None:
    """It repeats its instructions, so it may be longer than what is looked at otherwise."""
    long = {"instructions": "a" * (64 << 10)}
    error = {"code": "rate_limit_exceeded", "message": "x"}

    assert RateLimited is judged(body(status="failed", error=error, **long))
    assert Usage(5, 2, 4) == judged(body(**long, usage=USAGE))
    # One of its items may have failed, and one may tell of it.
    item = {"type": "mcp_call", "status": "failed"}
    assert Usage(5, 2, 4) == judged(body(item, MESSAGE, usage=USAGE, **long))
    assert EmptyResponse is judged(body(BLANK, metadata={"a": "failed"}, status="completed"))
    # Nor does every host tell the status.
    assert RateLimited is judged(body(MESSAGE, error=error, **long))


OTHERS: Final[dict[str, type[UpstreamError]]] = {
    "server_error": ServerError,
    "rate_limit_exceeded": RateLimited,
    "invalid_prompt": ContentFiltered,
    "data_residency_mismatch": PermissionDenied,
    "bio_policy": ContentFiltered,
    "misalignment_policy_violation": ContentFiltered,
    "vector_store_timeout": ServerError,
    "image_content_policy_violation": ContentFiltered,
}


@pytest.mark.parametrize("code", get_args(ResponseError.model_fields["code"].annotation))
def test_each_code_of_a_failed_response_has_a_meaning(code: str) -> None:
    """An image that cannot be used is the caller's; the code is kept, the words are not."""
    error = {"code": code, "message": s.PROMPT}
    failed: Any = body(status="failed", error=error)

    fault = play(sized(failed), asked=s.request(stream=False, operation="responses")).error

    assert OTHERS.get(code, BadRequest) is type(fault)
    assert fault is not None
    assert (200, code) == (getattr(fault, "status", None), getattr(fault, "code", None))
    assert s.PROMPT not in str(fault)
