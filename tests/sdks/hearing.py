"""What users of the released SDKs do, in both of their ways, and what they get."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import anthropic
import openai
from attrs import define, field


__all__ = ["CALC", "DIALECTS", "HELLO", "WAYS", "Heard", "apart", "ask", "tools_of"]

T = TypeVar("T")

DIALECTS: Final = ("chat", "messages", "responses")
WAYS: Final = ("sync", "async")
HELLO: Final[Any] = [{"role": "user", "content": "hello there"}]
SCHEMA: Final = {"type": "object", "properties": {"a": {"type": "integer"}}}
CALC: Final = ("calc", '{"a": 1}')


@define
class Heard:
    """What a caller got of one reply: text, finish, calls of tools, tokens, and the error."""

    text: str = ""
    finish: str | None = None
    calls: list[tuple[str, str]] = field(factory=list)
    tokens: int = 0
    error: Exception | None = None


def apart(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run *main* on a real loop in a thread of its own: the clients keep time by the wall."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(main())).result()


def tools_of(dialect: str) -> dict[str, Any]:
    """One tool, as the dialect says it."""
    function = {"name": "calc", "parameters": SCHEMA}
    said: dict[str, dict[str, Any]] = {
        "chat": {"tools": [{"type": "function", "function": function}]},
        "messages": {"tools": [{"name": "calc", "input_schema": SCHEMA}]},
        "responses": {"tools": [{"type": "function", "strict": False, **function}]},
    }
    return said[dialect]


async def ask(
    way: str, dialect: str, url: str, *, stream: bool = False, within: float = 20, **more: Any
) -> Heard:
    """Ask once, in a *dialect*, with the SDK that has no loop or the one that has."""
    heard = Heard()
    try:
        if way == "sync":
            await asyncio.to_thread(_sync, dialect, url, heard, stream, within, more)
        else:
            await _async(dialect, url, heard, stream, within, more)
    except (openai.OpenAIError, anthropic.AnthropicError) as error:
        heard.error = error
    return heard


def _sync(
    dialect: str, url: str, heard: Heard, stream: bool, within: float, more: dict[str, Any]
) -> None:
    kind: Any = anthropic.Anthropic if dialect == "messages" else openai.OpenAI
    with kind(base_url=_base(dialect, url), api_key="sk", max_retries=0, timeout=within) as client:
        reply = _create(dialect, client)(**_asked(dialect, more), stream=stream)
        if not stream:
            WHOLE[dialect](heard, reply)
            return
        with reply as events:
            for event in events:
                EVENT[dialect](heard, event)


async def _async(
    dialect: str, url: str, heard: Heard, stream: bool, within: float, more: dict[str, Any]
) -> None:
    kind: Any = anthropic.AsyncAnthropic if dialect == "messages" else openai.AsyncOpenAI
    async with kind(
        base_url=_base(dialect, url), api_key="sk", max_retries=0, timeout=within
    ) as client:
        reply = await _create(dialect, client)(**_asked(dialect, more), stream=stream)
        if not stream:
            WHOLE[dialect](heard, reply)
            return
        async with reply as events:
            async for event in events:
                EVENT[dialect](heard, event)


def _base(dialect: str, url: str) -> str:
    return url.removesuffix("/v1") if dialect == "messages" else url


def _create(dialect: str, client: Any) -> Any:
    return {
        "chat": lambda: client.chat.completions.create,
        "messages": lambda: client.messages.create,
        "responses": lambda: client.responses.create,
    }[dialect]()


def _asked(dialect: str, more: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, dict[str, Any]] = {
        "chat": {"messages": HELLO},
        "messages": {"messages": HELLO, "max_tokens": 64},
        "responses": {"input": HELLO},
    }
    return {"model": "chat", **said[dialect], **more}


def _chat(heard: Heard, reply: Any) -> None:
    choice = reply.choices[0]
    heard.text, heard.finish = choice.message.content or "", choice.finish_reason
    for call in choice.message.tool_calls or ():
        heard.calls.append((call.function.name, call.function.arguments))
    heard.tokens = reply.usage.completion_tokens


def _chat_event(heard: Heard, chunk: Any) -> None:
    heard.tokens = chunk.usage.completion_tokens if chunk.usage else heard.tokens
    for choice in chunk.choices:
        heard.text += choice.delta.content or ""
        heard.finish = choice.finish_reason or heard.finish
        for call in choice.delta.tool_calls or ():
            heard.calls += [(call.function.name, "")] * (call.index == len(heard.calls))
            name, said = heard.calls[call.index]
            heard.calls[call.index] = name, said + (call.function.arguments or "")


def _messages(heard: Heard, reply: Any) -> None:
    for block in reply.content:
        if block.type == "text":
            heard.text += block.text
        else:
            heard.calls.append((block.name, str(block.input)))
    heard.finish, heard.tokens = reply.stop_reason, reply.usage.output_tokens


def _messages_event(heard: Heard, event: Any) -> None:
    if event.type == "content_block_start" and event.content_block.type == "tool_use":
        heard.calls.append((event.content_block.name, ""))
    elif event.type == "content_block_delta" and event.delta.type == "text_delta":
        heard.text += event.delta.text
    elif event.type == "content_block_delta":
        name, said = heard.calls[-1]
        heard.calls[-1] = name, said + event.delta.partial_json
    elif event.type == "message_delta":
        heard.finish, heard.tokens = event.delta.stop_reason, event.usage.output_tokens


def _responses(heard: Heard, reply: Any) -> None:
    heard.text, heard.finish = reply.output_text, reply.status
    for item in reply.output:
        if item.type == "function_call":
            heard.calls.append((item.name, item.arguments))
    heard.tokens = reply.usage.output_tokens if reply.usage else 0


def _responses_event(heard: Heard, event: Any) -> None:
    if event.type == "response.output_text.delta":
        heard.text += event.delta
    elif event.type in {"response.completed", "response.incomplete", "response.failed"}:
        told = Heard()
        _responses(told, event.response)
        heard.finish, heard.calls, heard.tokens = told.finish, told.calls, told.tokens


WHOLE: Final = {"chat": _chat, "messages": _messages, "responses": _responses}
EVENT: Final = {
    "chat": _chat_event,
    "messages": _messages_event,
    "responses": _responses_event,
}
