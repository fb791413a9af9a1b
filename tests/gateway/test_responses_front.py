"""Responses through the gateway: the released client of OpenAI, and how a broken stream ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import openai
import pytest
from openai.types.responses import ResponseFailedEvent

import llmstack as ls
from llmstack.gateway.app import running
from llmstack.messages import Request
from llmstack.stream import Event
from llmstack.testing.scripted import Line, ScriptedEvent, ScriptedService, ScriptedSource, echo
from tests.gateway.stage import (
    HELLO,
    Answer,
    gateway,
    get,
    over,
    post,
    run,
    sdk,
    serving,
    talk,
)
from tests.openapi import wrong


def response(status: str, text: str = "") -> dict[str, Any]:
    """A response that has said *text*."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    said = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 7,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "gpt",
        "output": [{**said, "content": [part]}] if text else [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
    }


def event(number: int, name: str, **data: object) -> Event:
    """One event as a provider writes it."""
    said = json.dumps({"type": name, "sequence_number": number, **data}).encode()
    return ScriptedEvent(said, name, f"event: {name}\ndata: ".encode() + said + b"\n\n")


def delta(number: int, text: str) -> Event:
    """Some text of the one message."""
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    return event(number, "response.output_text.delta", delta=text, **where)


CREATED: Final = event(0, "response.created", response=response("in_progress"))
HELD: Final = (CREATED, delta(1, "hello "))
WHOLE: Final = (
    delta(2, "there"),
    event(3, "response.completed", response=response("completed", "hello there")),
)


def streams(*lines: Line, held: tuple[Event, ...] = HELD) -> Any:  # noqa: ANN401 -- a service
    """A leaf whose streams have *held* at the commit, and play *lines* then."""

    async def stream(_request: Request) -> ls.EventStream:
        return ls.EventStream(ScriptedSource(lines), held=held)

    return stream


async def collect(stream: Any, found: list[Any]) -> None:  # noqa: ANN401 -- of the SDK
    """Read *stream* into *found*, which keeps what came before an error."""
    async for each in stream:
        found.append(each)  # noqa: PERF401 -- as said


def test_the_sdk_gets_a_response() -> None:
    """As the provider wrote it; the stack is asked for the operation, with what was sent."""
    asked: list[Request] = []

    async def leaf(request: Request) -> ls.Response:
        asked.append(request)
        return ls.Response(json.dumps(response("completed", "hello there")).encode())

    async def main() -> tuple[str, str | None]:
        async with serving(over(leaf)) as url, sdk(url) as client:
            reply = await client.responses.create(model="chat", input="hello", instructions="x")
            return reply.output_text, reply._request_id

    text, request_id = run(main())

    assert ("hello there", "req_") == (text, (request_id or "")[:4])
    assert ("responses", False, "x") == (
        asked[0].operation,
        asked[0].stream,
        asked[0].body.data["instructions"],
    )


def test_the_sdk_gets_the_events_as_they_are() -> None:
    """Up to the terminal of the provider, and no word of ours."""

    async def main() -> list[Any]:
        async with serving(over(streams(*WHOLE))) as url, sdk(url) as client:
            stream = await client.responses.create(model="chat", input=HELLO, stream=True)
            return [each async for each in stream]

    found = run(main())

    assert [json.loads(each.data) for each in (*HELD, *WHOLE)] == [
        each.model_dump(mode="json", exclude_unset=True) for each in found
    ]


def test_the_sdk_without_async_works_as_well() -> None:
    """With its helper for streams."""

    def ask(url: str) -> str:
        with openai.OpenAI(base_url=url, api_key="sk-client", max_retries=0) as client:
            stream = client.responses.create(model="chat", input="hello", stream=True)
            return "".join(e.delta for e in stream if e.type == "response.output_text.delta")

    async def main() -> str:
        async with serving(over(streams(*WHOLE))) as url:
            return await asyncio.to_thread(ask, url)

    assert "hello there" == asyncio.run(main())


@pytest.mark.parametrize(
    "error",
    [ls.StreamBroken("cut"), ls.StreamIncomplete(), ls.UpstreamTimeout(phase="idle"), OSError()],
    ids=lambda each: type(each).__name__,
)
def test_a_response_that_breaks_fails_before_the_client(error: Exception) -> None:
    """The SDK gets the event, which ends the response, and then raises for the cut body."""

    async def main() -> list[Any]:
        found: list[Any] = []
        async with serving(over(streams(1.0, error))) as url, sdk(url, retries=2) as client:
            stream = await client.responses.create(model="chat", input="hello", stream=True)
            with pytest.raises(openai.APIConnectionError):
                await collect(stream, found)
        return found

    *before, failed = run(main())

    assert ["response.created", "response.output_text.delta"] == [each.type for each in before]
    assert isinstance(failed, ResponseFailedEvent)
    assert ("resp_1", "failed", 2) == (
        failed.response.id,
        failed.response.status,
        failed.sequence_number,
    )
    assert failed.response.error is not None
    assert "server_error" == failed.response.error.code
    assert [] == wrong("ResponseFailedEvent", failed.model_dump(mode="json", exclude_unset=True))


def test_a_stream_that_never_said_what_it_is_ends_with_an_error() -> None:
    """The SDK gets that event, and then raises for the cut body."""

    async def main() -> list[Any]:
        found: list[Any] = []
        leaf = streams(ls.StreamBroken("cut"), held=HELD[1:])
        async with serving(over(leaf)) as url, sdk(url) as client:
            stream = await client.responses.create(model="chat", input="hello", stream=True)
            with pytest.raises(openai.APIConnectionError):
                await collect(stream, found)
        return found

    _, error = run(main())

    assert ("error", "stream_broken", 2) == (error.type, error.code, error.sequence_number)


def test_what_is_under_way_fails_when_the_gateway_stops() -> None:
    """After the patience of the shutdown."""

    async def main() -> bytes:
        settings = gateway(over(streams(1000.0)), shutdown_timeout=1)
        sent = post(b'{"model":"chat","input":"a","stream":true}', path="/v1/responses")
        async with asyncio.TaskGroup() as group, running(settings) as url:
            task = group.create_task(talk(url, sent))
            await asyncio.sleep(1)
        return task.result().body

    body = run(main())

    assert b"event: response.failed" in body
    assert b"the server is shutting down" in body
    assert not body.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("sent", "status", "code", "param"),
    [
        (post(b"{}", path="/v1/responses"), 400, "invalid_value", "model"),
        (post(b'{"model":"chat"}', path="/v1/responses"), 400, "invalid_value", "input"),
        (
            post(b'{"model":"chat","input":"a","background":1}', path="/v1/responses"),
            400,
            "invalid_value",
            "background",
        ),
        (
            post(b'{"model":"chat","input":"a","api_key":1}', path="/v1/responses"),
            400,
            "forbidden_field",
            "api_key",
        ),
        (
            post(b'{"model":"gpt","input":"a"}', path="/v1/responses"),
            404,
            "model_not_found",
            "model",
        ),
        (get("/v1/responses"), 405, "method_not_allowed", None),
        (get("/v1/responses/resp_1"), 404, "unknown_url", None),
    ],
)
def test_bad_input_is_told_as_in_a_chat(
    sent: bytes, status: int, code: str, param: str | None
) -> None:
    """In the same shape, with the place."""

    async def main() -> Answer:
        async with serving(over(echo)) as url:
            return await talk(url, sent)

    answer = run(main())

    assert (status, code, param) == (answer.status, answer.error["code"], answer.error["param"])
    assert "request-id" not in answer.headers


def test_what_no_endpoint_can_say_is_named() -> None:
    """And the SDK does not begin anew."""
    error = ls.Untranslatable("previous_response_id cannot be said to this endpoint")

    async def main() -> tuple[openai.BadRequestError, int]:
        service: ScriptedService[Request, Any] = ScriptedService([error])
        async with serving(over(service)) as url, sdk(url, retries=2) as client:
            with pytest.raises(openai.BadRequestError, match="previous_response_id") as caught:
                await client.responses.create(model="chat", previous_response_id="resp_0")
            return caught.value, len(service.calls)

    raised, calls = run(main())

    assert ("unsupported_by_endpoint", "invalid_request_error", 1) == (
        raised.code,
        raised.type,
        calls,
    )
    assert "false" == raised.response.headers["x-should-retry"]
