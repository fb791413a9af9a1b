"""Clients of a fake provider, for its tests."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import openai
from openai.types.chat import ChatCompletionChunk

from llmstack.testing.provider import FakeProvider
from llmstack.testing.virtual import run_virtual


HELLO: Any = [{"role": "user", "content": "hello there"}]
BODY = {"model": "m", "messages": HELLO}


@asynccontextmanager
async def sdk(provider: FakeProvider, key: str = "x") -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key=key, max_retries=0) as client:
        yield client


async def streamed(client: openai.AsyncOpenAI) -> list[ChatCompletionChunk]:
    stream = await client.chat.completions.create(
        model="m", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    return [chunk async for chunk in stream]


async def post(
    url: str, body: bytes | None = None, *, path: str = "/chat/completions", **more: str
) -> tuple[int, bytes]:
    """Status and body, as a plain client of aiohttp gets them."""
    data = json.dumps({**BODY, **more}).encode() if body is None else body
    async with aiohttp.ClientSession() as session, session.post(url + path, data=data) as reply:
        return reply.status, await reply.read()


T = TypeVar("T")


def run(main: Callable[[FakeProvider], Awaitable[T]], provider: FakeProvider) -> T:
    async def inside() -> T:
        async with provider:
            return await main(provider)

    return run_virtual(inside())[0]


def run_apart(main: Callable[[FakeProvider], Awaitable[T]], provider: FakeProvider) -> T:
    """Run in a thread: when anyio connects, 3.11 loses count of frames, and coverage with it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run, main, provider).result()
