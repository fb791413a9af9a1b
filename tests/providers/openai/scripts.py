"""What the upstreams of these tests send, and one way to run a leaf against them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from attrs import define, field

from llmstack.errors import LLMStackError
from llmstack.messages import EventStream, Reply, Request, Response
from llmstack.providers.openai import OpenAI
from llmstack.testing.upstream import ScriptedUpstream, Step, expect_request, send


KEY: Final = "sk-canary-0815-planted"
PROMPT: Final = "planted prompt of the caller"

OK: Final = b"HTTP/1.1 200 OK\r\n"
SSE: Final = (
    OK + b"Content-Type: text/event-stream; charset=utf-8\r\nX-Request-Id: req-1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
JSON: Final = OK + b"Content-Type: application/json\r\nX-Request-Id: req-1\r\n"
END: Final = b"0\r\n\r\n"
#: A reader that hangs is a failure, not a reason to wait.
PATIENCE: Final = 20.0


def chunked(*events: bytes) -> bytes:
    """The events as one chunk of the transfer coding."""
    data = b"".join(events)
    return b"%x\r\n%b\r\n" % (len(data), data)


def sized(body: bytes, head: bytes = JSON) -> bytes:
    """A reply whose length is told."""
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def event(data: object) -> bytes:
    """One event; data that is no string is encoded."""
    text = data if isinstance(data, str) else json.dumps(data)
    return f"data: {text}\n\n".encode()


def chunk(delta: dict[str, Any], finish: object = None, index: object = 0, **more: object) -> bytes:
    """One chunk of a completion, as an event."""
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return event({"id": "c", "choices": [choice], **more})


ROLE: Final = chunk({"role": "assistant", "content": ""})
USAGE: Final = event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
STOP: Final = chunk({}, "stop")
DONE: Final = event("[DONE]")
ERROR: Final = event({"error": {"message": "x", "type": "server_error"}})


def text(words: str) -> bytes:
    """A chunk with content."""
    return chunk({"content": words})


WHOLE: Final = ROLE + text("Hel") + text("lo") + STOP + USAGE + DONE


@define
class Played:
    """What came of one request: events or a body, how it ended, and what the upstream saw."""

    error: LLMStackError | None
    events: list[bytes]
    reply: Reply | None
    upstream: ScriptedUpstream
    raw: list[bytes] = field(factory=list)

    @property
    def stream(self) -> EventStream:
        assert isinstance(self.reply, EventStream)
        return self.reply

    @property
    def response(self) -> Response:
        assert isinstance(self.reply, Response)
        return self.reply


def request(*, stream: bool = True, operation: str = "chat", counts: bool = True) -> Request:
    """A request; a stream *counts* if it is asked to tell its tokens."""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": PROMPT}], "input": PROMPT}
    if stream and counts:
        body["stream_options"] = {"include_usage": True}
    return Request(model="m", body=body, stream=stream, operation=operation)


async def ask(leaf: OpenAI, asked: Request, upstream: ScriptedUpstream) -> Played:
    """Send one request and read what comes to its end."""
    played = Played(None, [], None, upstream)
    try:
        async with asyncio.timeout(PATIENCE):
            played.reply = await leaf(asked)
            if isinstance(played.reply, EventStream):
                async with played.reply:
                    async for each in played.reply:
                        played.events.append(each.data)
                        played.raw.append(each.raw)
    except LLMStackError as error:
        played.error = error
        # On 3.11 a coroutine that an exception was thrown into, and that then returns, leaves
        # coverage out of step with its callers. One more step of the loop puts that right.
        await asyncio.sleep(0)
    return played


def play(
    *steps: bytes | Step,
    asked: Request | None = None,
    leaf: Callable[[str], OpenAI] | None = None,
) -> Played:
    """Run one request against an upstream that reads it and then does *steps*."""

    async def main() -> Played:
        script = [expect_request, *(send(s) if isinstance(s, bytes) else s for s in steps)]
        async with (
            ScriptedUpstream([script]) as upstream,
            (leaf or (lambda url: OpenAI(url, api_key=KEY)))(upstream.base_url) as openai,
        ):
            return await ask(openai, asked or request(), upstream)

    return asyncio.run(main())


async def serve(
    scripts: Sequence[Sequence[bytes | Step]],
    main: Callable[[OpenAI, ScriptedUpstream], Awaitable[None]],
) -> None:
    """Run *main* with a leaf, against connections that play *scripts*."""
    steps = [[send(s) if isinstance(s, bytes) else s for s in script] for script in scripts]
    async with ScriptedUpstream(steps) as upstream, OpenAI(upstream.base_url) as leaf:
        async with asyncio.timeout(PATIENCE):
            await main(leaf, upstream)
