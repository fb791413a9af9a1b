"""The released SDKs as clients, whole and streamed, of every dialect: they get what was said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anthropic
import openai
import pytest
from attrs import define, field

import llmstack as ls
from llmstack.dialects import chat as dialect_chat
from llmstack.dialects.wire import DONE, encoded
from llmstack.testing.provider import FakeProvider
from llmstack.testing.upstream import (
    Peer,
    ScriptedUpstream,
    Step,
    expect_disconnect,
    expect_request,
    send,
    stall,
)
from tests.gateway.stage import sdk, serving
from tests.properties.spoken import line_of
from tests.sdks.hearing import CALC, DIALECTS, HELLO, WAYS, Heard, apart, ask, tools_of


STREAMED: Final = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
WAY: Final = pytest.mark.parametrize("way", WAYS)
DIALECT: Final = pytest.mark.parametrize("dialect", DIALECTS)
#: The finish of an ordinary answer, of one that calls a tool, and of one that was cut short.
FINISHES: Final = {
    "chat": ("stop", "tool_calls", "length"),
    "messages": ("end_turn", "tool_use", "max_tokens"),
    "responses": ("completed", "completed", "incomplete"),
}
CHUNKED: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@define(eq=False)
class Left:
    """A step of an upstream: the client is expected to leave, and that is noted."""

    noted: asyncio.Event = field(factory=asyncio.Event)

    async def __call__(self, peer: Peer) -> None:
        await expect_disconnect(10)(peer)
        self.noted.set()

    async def seen(self) -> bool:
        async with asyncio.timeout(10):
            return await self.noted.wait()


@asynccontextmanager
async def gateway(base_url: str, speaks: str, **settings: Any) -> AsyncIterator[str]:
    """A gateway in front of one endpoint that *speaks* one dialect; others are translated."""
    leaf: Any = ls.Anthropic if speaks == "messages" else ls.OpenAI
    builder = ls.ServiceBuilder().layer(ls.RoundRobin([ls.Endpoint("one", leaf(base_url))]))
    if settings:
        builder = builder.layer(ls.Timeout(**settings))
    stack = builder.layer(ls.Translate(speaks=[speaks, "embeddings"])).service(ls.dispatch)
    async with serving(stack) as url:
        yield url


@STREAMED
@WAY
@DIALECT
@pytest.mark.parametrize("speaks", ["chat", "messages"])
def test_an_answer_is_heard(dialect: str, way: str, stream: bool, speaks: str) -> None:
    """Its words, its finish and its tokens, whichever dialect the endpoint speaks."""

    async def main() -> tuple[Heard, Heard]:
        async with (
            FakeProvider(tokens=5) as provider,
            gateway(provider.base_url, speaks) as url,
        ):
            more: dict[str, Any] = {}
            if dialect == "chat" and stream:
                more["stream_options"] = {"include_usage": True}
            limit = {"responses": "max_output_tokens"}.get(dialect, "max_tokens")
            return (
                await ask(way, dialect, url, stream=stream, **more),
                await ask(way, dialect, url, stream=stream, **more, **{limit: 3}),
            )

    full, short = apart(main)

    assert (None, None) == (full.error, short.error)
    assert (5, FINISHES[dialect][0]) == (len(full.text.split()), full.finish)
    assert (3, FINISHES[dialect][2]) == (len(short.text.split()), short.finish)
    assert (5, 3) == (full.tokens, short.tokens)


def calling(stream: bool) -> ls.Reply:
    """A chat completion that calls a tool."""
    name, arguments = CALC
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}
    message = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}
    body = {
        "id": "r1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "message": message, "finish_reason": "tool_calls", "logprobs": None}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10},
    }
    raw = json.dumps(body).encode()
    if not stream:
        return ls.Response(raw)
    return ls.Response(encoded(dialect_chat.pieces(body), DONE))


@STREAMED
@WAY
@DIALECT
def test_a_call_of_a_tool_is_heard(dialect: str, way: str, stream: bool) -> None:
    """Its name and its arguments, and that it was the reason to stop."""
    reply = calling(stream)
    assert isinstance(reply, ls.Response)
    kind = b"text/event-stream" if stream else b"application/json"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    steps = [expect_request, send(head % (kind, len(reply.body)) + reply.body)]

    async def main() -> Heard:
        async with (
            ScriptedUpstream([steps]) as upstream,
            gateway(upstream.base_url, "chat") as url,
        ):
            return await ask(way, dialect, url, stream=stream, **tools_of(dialect))

    heard = apart(main)
    (call,) = heard.calls

    assert heard.error is None
    assert ("calc", {"a": 1}) == (call[0], json.loads(call[1].replace("'", '"')))
    assert FINISHES[dialect][1] == heard.finish


ENDINGS: Final[dict[str, tuple[list[str], list[Step], dict[str, float]]]] = {
    "error event": (["start", "text", "error"], [send(b"0\r\n\r\n")], {}),
    "clean end without terminal": (["start", "text"], [send(b"0\r\n\r\n")], {}),
    "cut": (["start", "text"], [], {}),
    "no JSON": (["start", "text", "bad"], [send(b"0\r\n\r\n")], {}),
    "silence": (["start", "text"], [stall], {"idle": 0.2}),
    "no end": (["start", "text"], [stall], {"total": 0.3}),
}


@pytest.mark.parametrize("ending", ENDINGS)
@WAY
@DIALECT
def test_a_stream_that_breaks_is_heard_to_break(dialect: str, way: str, ending: str) -> None:
    """However it ended: what had come is there, and then the SDK says that it is not whole.

    Of responses it hands the failure on as an event first, as it does with those of OpenAI.
    """
    lines, end, settings = ENDINGS[ending]
    data = b"".join(line_of(dialect, kind, "Hi there") for kind in lines)
    steps = [expect_request, send(CHUNKED + b"%x\r\n%b\r\n" % (len(data), data)), *end]

    async def main() -> Heard:
        async with (
            ScriptedUpstream([steps]) as upstream,
            gateway(upstream.base_url, dialect, **settings) as url,
        ):
            return await ask(way, dialect, url, stream=True)

    heard = apart(main)

    assert "Hi there" == heard.text
    kinds: dict[str, type[Exception]] = {
        "chat": openai.APIError,
        "messages": anthropic.APIStatusError,
        "responses": openai.APIConnectionError,
    }
    assert isinstance(heard.error, kinds[dialect])
    assert ("failed" if dialect == "responses" else None) == heard.finish


@WAY
@DIALECT
def test_a_stream_that_breaks_before_content_is_a_status(dialect: str, way: str) -> None:
    """There is no stream yet, so the SDK raises what it raises for the status."""
    data = line_of(dialect, "start", "") + line_of(dialect, "error", "")
    steps = [expect_request, send(CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))]

    async def main() -> Heard:
        async with (
            ScriptedUpstream([steps]) as upstream,
            gateway(upstream.base_url, dialect) as url,
        ):
            return await ask(way, dialect, url, stream=True)

    heard = apart(main)
    kind: Any = (
        anthropic.InternalServerError if dialect == "messages" else openai.InternalServerError
    )

    assert isinstance(heard.error, kind)
    assert (502, "") == (heard.error.status_code, heard.text)


@STREAMED
@WAY
@DIALECT
def test_a_caller_who_does_not_wait_leaves_nothing_running(
    dialect: str, way: str, stream: bool
) -> None:
    """The SDK's own timeout ends the call, and with it the one upstream."""

    async def main() -> Heard:
        left = Left()
        async with (
            ScriptedUpstream([[expect_request, left]]) as upstream,
            gateway(upstream.base_url, dialect) as url,
        ):
            heard = await ask(way, dialect, url, stream=stream, within=0.3)
            await left.seen()
            return heard

    heard = apart(main)

    assert isinstance(heard.error, openai.APITimeoutError | anthropic.APITimeoutError)


@DIALECT
def test_a_cancelled_caller_leaves_nothing_running(dialect: str) -> None:
    """In the middle of a stream: the connection upstream is closed."""
    data = line_of(dialect, "start", "") + line_of(dialect, "text", "Hi")

    async def main() -> bool:
        left = Left()
        sent = send(CHUNKED + b"%x\r\n%b\r\n" % (len(data), data))
        steps: list[Step] = [expect_request, sent, left]
        async with (
            ScriptedUpstream([steps]) as upstream,
            gateway(upstream.base_url, dialect) as url,
            asyncio.TaskGroup() as group,
        ):
            task = group.create_task(ask("async", dialect, url, stream=True))
            await asyncio.sleep(0.3)
            task.cancel()
            return await left.seen()

    assert apart(main)


@WAY
def test_tokens_are_counted(way: str) -> None:
    """By the endpoint, where it speaks Messages; where it does not, the caller is told."""

    async def counted(url: str) -> int:
        base = url.removesuffix("/v1")
        if way == "async":
            async with anthropic.AsyncAnthropic(base_url=base, api_key="sk") as client:
                said = await client.messages.count_tokens(model="chat", messages=HELLO)
            return said.input_tokens

        def ask_now() -> int:
            with anthropic.Anthropic(base_url=base, api_key="sk", max_retries=0) as client:
                return client.messages.count_tokens(model="chat", messages=HELLO).input_tokens

        return await asyncio.to_thread(ask_now)

    async def main() -> int:
        async with FakeProvider() as provider:
            leaf = ls.Anthropic(provider.base_url)
            stack = ls.ServiceBuilder().layer(ls.Translate()).service(leaf)
            async with gateway(provider.base_url, "chat") as url:
                with pytest.raises(anthropic.BadRequestError, match="has no count_tokens"):
                    await counted(url)
            async with serving(stack) as url:
                return await counted(url)

    assert apart(main) > 0


@WAY
def test_embeddings_and_models_are_heard(way: str) -> None:
    """As vectors and as names."""

    def ask_now(url: str) -> tuple[int, list[str]]:
        with openai.OpenAI(base_url=url, api_key="sk", max_retries=0) as client:
            made = client.embeddings.create(model="chat", input=["a", "b"])
            return len(made.data), [model.id for model in client.models.list()]

    async def asked(url: str) -> tuple[int, list[str]]:
        if way == "sync":
            return await asyncio.to_thread(ask_now, url)
        async with sdk(url) as client:
            made = await client.embeddings.create(model="chat", input=["a", "b"])
            return len(made.data), [model.id async for model in client.models.list()]

    async def main() -> tuple[int, list[str]]:
        async with FakeProvider() as provider, gateway(provider.base_url, "chat") as url:
            return await asked(url)

    assert (2, ["chat"]) == apart(main)
