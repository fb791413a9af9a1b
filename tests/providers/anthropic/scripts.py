"""What the upstreams of these tests send, and one way to run a leaf against them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from attrs import define

from llmstack.errors import LLMStackError
from llmstack.messages import EventStream, Reply, Request, Response
from llmstack.providers.anthropic import Anthropic
from llmstack.testing.upstream import ScriptedUpstream, Step, expect_request, send


KEY: Final = "sk-ant-canary-0815-planted"
PROMPT: Final = "planted prompt of the caller"

OK: Final = b"HTTP/1.1 200 OK\r\n"
SSE: Final = (
    OK + b"Content-Type: text/event-stream; charset=utf-8\r\nRequest-Id: req_1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
JSON: Final = OK + b"Content-Type: application/json\r\nRequest-Id: req_1\r\n"
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


def event(kind: str, **more: object) -> bytes:
    """One event, with its name before the data."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()


def text(words: str, index: object = 0) -> bytes:
    """A delta with text."""
    return event("content_block_delta", index=index, delta={"type": "text_delta", "text": words})


def ended(reason: object, tokens: int) -> bytes:
    """What is said of a message when it is over, but for the terminal."""
    delta = {"stop_reason": reason, "stop_sequence": None}
    return event("message_delta", delta=delta, usage={"output_tokens": tokens})


def error(kind: str, **more: object) -> bytes:
    """An error in a stream."""
    return event("error", error={"type": kind, "message": "canary", **more})


USAGE: Final = {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 1}
START: Final = event("message_start", message={"id": "msg_1", "content": [], "usage": USAGE})
BLOCK: Final = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
PING: Final = event("ping")
CLOSE: Final = event("content_block_stop", index=0)
STOP: Final = event("message_stop")
ROLE: Final = START + BLOCK + PING
TAIL: Final = CLOSE + ended("end_turn", 2) + STOP
WHOLE: Final = ROLE + text("Hel") + text("lo") + TAIL


@define
class Played:
    """What came of one request: events or a body, how it ended, and what the upstream saw."""

    error: LLMStackError | None
    events: list[bytes]
    reply: Reply | None
    upstream: ScriptedUpstream

    @property
    def stream(self) -> EventStream:
        assert isinstance(self.reply, EventStream)
        return self.reply

    @property
    def response(self) -> Response:
        assert isinstance(self.reply, Response)
        return self.reply


def request(
    *,
    stream: bool = True,
    operation: str = "messages",
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Request:
    body = {"max_tokens": 9, "messages": [{"role": "user", "content": PROMPT}]}
    return Request(model="m", body=body, stream=stream, operation=operation, headers=headers)


async def ask(leaf: Anthropic, asked: Request, upstream: ScriptedUpstream) -> Played:
    """Send one request and read what comes to its end."""
    played = Played(None, [], None, upstream)
    try:
        async with asyncio.timeout(PATIENCE):
            played.reply = await leaf(asked)
            if isinstance(played.reply, EventStream):
                async with played.reply:
                    async for each in played.reply:
                        played.events.append(each.raw)
    except LLMStackError as error:
        played.error = error
        # On 3.11 a coroutine that an exception was thrown into, and that then returns, leaves
        # coverage out of step with its callers. One more step of the loop puts that right.
        await asyncio.sleep(0)
    return played


def play(
    *steps: bytes | Step,
    asked: Request | None = None,
    leaf: Callable[[str], Anthropic] | None = None,
) -> Played:
    """Run one request against an upstream that reads it and then does *steps*."""

    async def main() -> Played:
        script = [expect_request, *(send(s) if isinstance(s, bytes) else s for s in steps)]
        async with (
            ScriptedUpstream([script]) as upstream,
            (leaf or (lambda url: Anthropic(url, api_key=KEY)))(upstream.base_url) as anthropic,
        ):
            return await ask(anthropic, asked or request(), upstream)

    return asyncio.run(main())
