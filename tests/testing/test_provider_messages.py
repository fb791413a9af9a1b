import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anthropic
import pytest
from anthropic.types import Message, RawMessageStreamEvent

from llmstack import clock
from llmstack.testing.provider import Cut, FakeProvider, Hang, Reply
from tests.testing.clients import HELLO, run, run_apart


TOOLS: Any = [{"name": "look", "input_schema": {"type": "object"}}]
BODY = {"model": "m", "max_tokens": 20, "messages": HELLO}


@asynccontextmanager
async def sdk(
    provider: FakeProvider, key: str | None = "x", token: str | None = None
) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """The client of the SDK, which writes the version into its paths itself."""
    origin = provider.base_url.removesuffix("/v1")
    async with anthropic.AsyncAnthropic(
        base_url=origin, api_key=key, auth_token=token, max_retries=0
    ) as client:
        yield client


async def post(
    provider: FakeProvider, body: object = None, path: str = "/messages"
) -> tuple[int, bytes]:
    """Status and body, as a plain client of aiohttp gets them."""
    data = body if isinstance(body, bytes) else json.dumps(body or BODY).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.post(provider.base_url + path, data=data) as reply,
    ):
        return reply.status, await reply.read()


@pytest.mark.parametrize("tool", [False, True], ids=["text", "tool"])
def test_the_sdk_gets_the_same_message_complete_and_streamed(*, tool: bool) -> None:
    """Two providers of one seed: one is asked for a stream, the other is not."""
    more: Any = {"tools": TOOLS, "tool_choice": {"type": "any"}} if tool else {}

    async def whole(provider: FakeProvider) -> Message:
        async with sdk(provider) as client:
            message: Message = await client.messages.create(
                model="m", max_tokens=20, messages=HELLO, **more
            )
            return message

    async def stream(provider: FakeProvider) -> Message:
        async with (
            sdk(provider) as client,
            client.messages.stream(model="m", max_tokens=20, messages=HELLO, **more) as events,
        ):
            return await events.get_final_message()

    message = run_apart(whole, FakeProvider(tokens=5, seed=3))
    assembled = run_apart(stream, FakeProvider(tokens=5, seed=3))
    other = run_apart(whole, FakeProvider(tokens=5, seed=4))

    assert (["tool_use"] if tool else ["text"]) == [block.type for block in message.content]
    assert message.to_dict() == {
        name: value for name, value in assembled.to_dict().items() if name != "parsed_output"
    }
    assert message.content != other.content
    assert (2, 5) == (message.usage.input_tokens, message.usage.output_tokens)


def test_the_sdk_reads_a_raw_stream_to_its_end() -> None:
    """Every event in its order; those between the words come with a name and are dropped."""

    async def main(provider: FakeProvider) -> list[tuple[str, float]]:
        async with sdk(provider) as client:
            stream: anthropic.AsyncStream[RawMessageStreamEvent] = await client.messages.create(
                model="m", max_tokens=20, messages=HELLO, stream=True
            )
            return [(event.type, clock.now()) async for event in stream]

    events = run_apart(main, FakeProvider(latency=3.0, pace=0.5, tokens=2))

    assert [
        *(("message_start", 3.0), ("content_block_start", 3.0)),
        *(("content_block_delta", 3.5), ("content_block_delta", 4.0)),
        *(("content_block_stop", 4.0), ("message_delta", 4.0), ("message_stop", 4.0)),
    ] == events


def test_the_sdk_counts_tokens() -> None:
    """The words of the prompt."""

    async def main(provider: FakeProvider) -> int:
        async with sdk(provider) as client:
            count = await client.messages.count_tokens(model="m", messages=HELLO, system="be kind")
        return count.input_tokens

    assert 4 == run_apart(main, FakeProvider())


@pytest.mark.parametrize(
    ("key", "token", "model", "expected"),
    [
        ("right", None, "m", None),
        (None, "right", "m", None),
        ("wrong", None, "m", "AuthenticationError"),
        (None, "wrong", "m", "AuthenticationError"),
        ("right", None, "n", "NotFoundError"),
    ],
)
def test_key_and_model_are_checked_if_there_are_any(
    key: str | None, token: str | None, model: str, expected: str | None
) -> None:
    """The key in its own header or as a bearer."""

    async def main(provider: FakeProvider) -> str | None:
        async with sdk(provider, key, token) as client:
            try:
                await client.messages.create(model=model, max_tokens=1, messages=HELLO)
            except anthropic.APIStatusError as raised:
                return type(raised).__name__
        return None

    assert expected == run_apart(main, FakeProvider(api_key="right", models=("m",)))


def test_the_key_of_one_format_is_none_in_the_other() -> None:
    """A chat is not opened with ``x-api-key``."""

    async def main(provider: FakeProvider) -> list[int]:
        headers = [{"x-api-key": "k"}, {"Authorization": "Bearer k"}, {"Authorization": "k"}]
        seen = []
        async with aiohttp.ClientSession() as session:
            for path in ("/chat/completions", "/messages"):
                for each in headers:
                    async with session.post(
                        provider.base_url + path, json=BODY, headers=each
                    ) as reply:
                        seen.append(reply.status)
        return seen

    assert [401, 200, 401, 200, 200, 401] == run(main, FakeProvider(api_key="k"))


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "said"),
    [
        ("/messages", b"{", 400, "invalid_request_error", "not JSON"),
        ("/messages", {"model": "m", "messages": HELLO}, 400, "invalid_request_error", "max_tok"),
        ("/messages", {"model": "m", "max_tokens": 1}, 400, "invalid_request_error", "messages"),
        ("/messages/count_tokens", {"model": "m"}, 400, "invalid_request_error", "messages"),
        ("/messages/batches", {}, 404, "not_found_error", "POST /v1/messages/batches"),
        ("/messages", {**BODY, "model": "n"}, 404, "not_found_error", "model"),
    ],
)
def test_bad_requests_are_answered_in_the_shape_of_the_format(
    path: str, body: object, status: int, kind: str, said: str
) -> None:
    """With a message that says what is wrong, and no code."""

    async def main(provider: FakeProvider) -> tuple[int, bytes]:
        return await post(provider, body, path)

    seen, reply = run(main, FakeProvider(models=("m",)))

    error = json.loads(reply)["error"]
    assert (status, kind) == (seen, error.pop("type"))
    assert said in error.pop("message")
    assert {} == error


def test_the_errors_that_are_told_have_the_shape_of_the_request() -> None:
    """Of whichever format it is; the code stands where the format has it."""

    async def main(provider: FakeProvider) -> list[Any]:
        provider.fail(429, code="enforced_spend_limit_reached", retry_after=2)
        seen = [await post(provider), await post(provider, path="/chat/completions")]
        provider.script(Reply(529))
        return [json.loads(body) for _, body in [*seen, await post(provider)]]

    ours, theirs, overloaded = run(main, FakeProvider())

    assert ("rate_limit_error", {"error_code": "enforced_spend_limit_reached"}) == (
        ours["error"]["type"],
        ours["error"]["details"],
    )
    assert "enforced_spend_limit_reached" == theirs["error"]["code"]
    assert "overloaded_error" == overloaded["error"]["type"]


@pytest.mark.parametrize(
    ("behaviour", "last", "error"),
    [
        (Cut(4), "content_block_delta", "ClientPayloadError"),
        (Cut(4, "end"), "content_block_delta", None),
        (Cut(4, terminal=True), "message_stop", "ClientPayloadError"),
        (Cut(2), "content_block_start", "ClientPayloadError"),
        (Hang(5), "content_block_delta", "TimeoutError"),
    ],
)
def test_a_stream_is_cut_where_and_how_it_is_told(
    behaviour: Cut | Hang, last: str, error: str | None
) -> None:
    """The events before the cut arrive; with *terminal* those too that end a message."""

    async def main(provider: FakeProvider) -> tuple[list[str], str | None]:
        provider.script(behaviour)
        names: list[str] = []
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session,
                session.post(
                    f"{provider.base_url}/messages", json={**BODY, "stream": True}
                ) as reply,
            ):
                async for line in reply.content:
                    names += [line.decode().strip()[7:]] if line.startswith(b"event: ") else []
        except (aiohttp.ClientError, TimeoutError) as raised:
            return names, type(raised).__name__
        return names, None

    names, raised = run(main, FakeProvider(tokens=3, pace=1))

    assert (last, error) == (names[-1], raised)


def test_what_the_sdk_makes_of_a_message_that_breaks_off() -> None:
    """A clean end without the terminal is no error to it; what we say about that is ours."""

    async def main(provider: FakeProvider) -> list[str]:
        provider.script(Cut(4, "end"))
        async with sdk(provider) as client:
            stream = await client.messages.create(
                model="m", max_tokens=20, messages=HELLO, stream=True
            )
            return [event.type async for event in stream]

    assert "content_block_delta" == run_apart(main, FakeProvider())[-1]
