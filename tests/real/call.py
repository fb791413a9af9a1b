"""One call of a caller who speaks one of three dialects, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

from anthropic import APIError as AnthropicError
from anthropic import AsyncAnthropic
from openai import APIError, AsyncOpenAI


__all__ = ["DIALECTS", "LONG", "SHORT", "Call", "Clients"]

#: Tokens of a stream, enough for it to be under way at the kill; and of a complete reply.
LONG, SHORT = 64, 12
#: What a caller speaks, and the route that it asks: of its own dialect, or of another one.
DIALECTS: Final = (
    *(("chat", "chat"), ("messages", "messages"), ("responses", "chat")),
    *(("chat", "messages"), ("messages", "translated"), ("responses", "translated")),
)
WORDS: Final = "the sea, a bridge, an old clock, rain in spring, a long train, bread, the north"


class Clients:
    """Both SDKs, pointed at one gateway."""

    def __init__(self, url: str, within: float) -> None:
        self.openai = AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=within)
        self.anthropic = AsyncAnthropic(
            base_url=url.removesuffix("/v1"), api_key="none", max_retries=0, timeout=within
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.openai.close()
        await self.anthropic.close()


class Call:
    """One call, as its caller sees it."""

    def __init__(self, clients: Clients, number: int, tokens: int = LONG) -> None:
        self.clients = clients
        self.speaks, self.route = DIALECTS[number % len(DIALECTS)]
        self.streamed = number % 5 != 4
        word = WORDS.split(", ")[number % 7]
        self.asked: Any = [
            {"role": "user", "content": f"Write about {word}, in {number + 3} sentences."}
        ]
        self.tokens = tokens if self.streamed else SHORT
        # A word of this server; what is translated says what is published.
        self.words: Any = {} if self.route == "translated" else {"ignore_eos": True}
        self.chunks = 0
        self.finished = False
        self.counted = 0
        self.error: Exception | None = None
        self.endpoint = ""
        self.attempts = 0

    @property
    def server(self) -> str:
        """The name of the server that answers; an endpoint has it in front."""
        return self.endpoint.partition("_")[0]

    async def run(self) -> None:
        ways = {"chat": self.chat, "messages": self.messages, "responses": self.responses}
        try:
            await ways[self.speaks]()
        except Exception as error:  # noqa: BLE001 -- what a caller sees is what is looked at
            self.error = error

    async def chat(self) -> None:
        more: dict[str, Any] = {"stream_options": {"include_usage": True}} if self.streamed else {}
        raw = await self.clients.openai.chat.completions.with_raw_response.create(
            model=self.route,
            messages=self.asked,
            max_tokens=self.tokens,
            stream=self.streamed,
            extra_body=self.words,
            **more,
        )
        self.note(raw.headers)
        parsed: Any = raw.parse()
        if not self.streamed:
            self.finished = bool(parsed.choices[0].finish_reason)
            self.counted = parsed.usage.completion_tokens
            return
        async with parsed:
            async for chunk in parsed:
                choice = chunk.choices[0] if chunk.choices else None
                self.chunks += bool(choice and choice.delta.content)
                self.finished |= bool(choice and choice.finish_reason)
                self.counted = chunk.usage.completion_tokens if chunk.usage else self.counted

    async def messages(self) -> None:
        raw = await self.clients.anthropic.messages.with_raw_response.create(
            model=self.route,
            messages=self.asked,
            max_tokens=self.tokens,
            stream=self.streamed,
            extra_body=self.words,
        )
        self.note(raw.headers)
        parsed: Any = await _awaited(raw.parse())
        if not self.streamed:
            self.finished = bool(parsed.stop_reason)
            self.counted = parsed.usage.output_tokens
            return
        async with parsed:
            async for event in parsed:
                self.chunks += event.type == "content_block_delta"
                self.finished |= event.type == "message_stop"
                if event.type == "message_delta":
                    self.counted = event.usage.output_tokens

    async def responses(self) -> None:
        raw = await self.clients.openai.responses.with_raw_response.create(
            model=self.route,
            input=self.asked,
            max_output_tokens=self.tokens,
            stream=self.streamed,
            extra_body=self.words,
        )
        self.note(raw.headers)
        parsed: Any = raw.parse()
        if not self.streamed:
            self.finished = parsed.status in {"completed", "incomplete"}
            self.counted = parsed.usage.output_tokens
            return
        async with parsed:
            async for event in parsed:
                self.chunks += event.type == "response.output_text.delta"
                if event.type in {"response.completed", "response.incomplete"}:
                    self.finished = True
                    self.counted = event.response.usage.output_tokens
                if event.type == "response.failed":
                    raise FailedResponse(event.response.error.message)

    def note(self, headers: Mapping[str, str]) -> None:
        self.endpoint = headers.get("x-llmstack-endpoint", "")
        self.attempts = int(headers.get("x-llmstack-attempts", "0").partition(";")[0])

    @property
    def verdict(self) -> str:
        if self.error is None and self.finished:
            return "answered"
        if not self.chunks:
            return f"failed before any content, with {self.error!r}"
        if self.error is None:
            return "cut in silence"
        told = (APIError, AnthropicError, FailedResponse)
        return "cut with an error" if isinstance(self.error, told) else repr(self.error)


class FailedResponse(Exception):
    """A stream of the Responses API said that it failed; the SDK hands that on as an event."""


async def _awaited(value: Any) -> Any:  # noqa: ANN401 -- one SDK parses in a coroutine, one does not
    return await value if hasattr(value, "__await__") else value
