"""What the tests of the gateway stand on: a gateway on a socket, and a client of bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import openai
from attrs import define, field, frozen
from openai.types.chat import ChatCompletion, ChatCompletionChunk

import llmstack as ls
from llmstack.gateway.app import running
from llmstack.gateway.routes import Gateway
from llmstack.messages import Request
from llmstack.providers.openai import OpenAI
from llmstack.testing.provider import FakeProvider
from llmstack.testing.scripted import ScriptedService
from llmstack.testing.virtual import run_virtual


__all__ = [
    "HELLO",
    "Answer",
    "Part",
    "asked",
    "chat",
    "chunked",
    "connected",
    "gateway",
    "get",
    "over",
    "post",
    "run",
    "sdk",
    "served",
    "serving",
    "streamed",
    "talk",
    "timed",
]

HELLO: Final[Any] = [{"role": "user", "content": "hello there"}]
T = TypeVar("T")
Chat = ls.Stack[ls.Request, Any]


def run(main: Coroutine[Any, Any, T], *, grace: float = 0.005) -> T:
    """The result of *main*, on a loop whose clock jumps; *grace* is for the kernel, before it."""
    return timed(main, grace=grace)[0]


def timed(main: Coroutine[Any, Any, T], *, grace: float = 0.005) -> tuple[T, float]:
    """The same, and the seconds that it took."""
    # In a thread: where a coroutine goes on behind an exception that was thrown into it, as
    # the gateway does, Python 3.11 tells a tracer of returns without calls, and coverage
    # loses what comes next in the frames below.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run_virtual, main, grace=grace).result()


def over(
    service: Callable[[ls.Request], Coroutine[Any, Any, Any]] | ScriptedService[Any, Any],
) -> Chat:
    """A stack that is one service."""
    return ls.ServiceBuilder().service(service)


def served(*providers: FakeProvider, attempts: int = 3) -> Chat:
    """Retry over a router over *providers*, which are named a, b, and so on."""
    endpoints = [
        ls.Endpoint(name, OpenAI(provider.base_url, api_key=provider.api_key or "sk-any"))
        for name, provider in zip("abc", providers, strict=False)
    ]
    builder = ls.ServiceBuilder().layer(ls.Retry(attempts=attempts)).layer(ls.Fallback(endpoints))
    return builder.service(ls.dispatch)


def gateway(
    stack: Chat | Mapping[str, Chat],
    **settings: Any,  # noqa: ANN401 -- those of Gateway
) -> Gateway:
    """A gateway of one stack, which serves the model "chat", or of several."""
    routes = {"chat": stack} if isinstance(stack, ls.Stack) else stack
    return Gateway(routes=routes, listen=("127.0.0.1", 0), **settings)


@asynccontextmanager
async def serving(stack: Chat | Mapping[str, Chat], **settings: object) -> AsyncIterator[str]:
    """The base URL of a gateway that runs in the block."""
    async with running(gateway(stack, **settings)) as url:
        yield url


@asynccontextmanager
async def sdk(
    url: str, retries: int = 0, key: str = "sk-client"
) -> AsyncIterator[openai.AsyncOpenAI]:
    """The released client of OpenAI."""
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=retries) as client:
        yield client


async def asked(client: openai.AsyncOpenAI, model: str = "chat") -> ChatCompletion:
    """One complete reply."""
    return await client.chat.completions.create(model=model, messages=HELLO)


async def streamed(client: openai.AsyncOpenAI, model: str = "chat") -> list[ChatCompletionChunk]:
    """All chunks of one reply."""
    stream = await client.chat.completions.create(model=model, messages=HELLO, stream=True)
    return [chunk async for chunk in stream]


@define(eq=False)
class Part:
    """A leaf that has to be started."""

    log: list[str] = field(factory=list)

    async def __call__(self, _request: Request) -> ls.Response:
        self.log.append("asked")
        return ls.Response(b"{}")

    async def __aenter__(self) -> None:
        self.log.append("started")

    async def __aexit__(self, *_exc: object) -> None:
        self.log.append("stopped")


@frozen
class Answer:
    """One reply, as bytes on a socket say it; names of headers are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    closed: bool

    @property
    def error(self) -> dict[str, Any]:
        """The error in the shape of the OpenAI API, and nothing beside it."""
        data = json.loads(self.body)
        assert {"error"} == data.keys()
        assert {"message", "type", "param", "code"} == data["error"].keys()
        return dict(data["error"])


def get(path: str, method: str = "GET") -> bytes:
    """A request without a body."""
    return f"{method} {path} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode()


def chat(**fields: object) -> bytes:
    """The body of a good request, with *fields* of its own."""
    return json.dumps({"model": "chat", "messages": HELLO, **fields}).encode()


def post(
    body: bytes, *headers: str, path: str = "/v1/chat/completions", kind: str = "application/json"
) -> bytes:
    """A request as bytes; without a *kind* it says nothing of its body but the length."""
    lines = [f"POST {path} HTTP/1.1", "Host: gateway", f"Content-Length: {len(body)}", *headers]
    if kind:
        lines.append(f"Content-Type: {kind}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(*chunks: bytes) -> bytes:
    """A request whose body comes in *chunks*, and ends."""
    head = post(b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
    return head + b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in (*chunks, b""))


async def connected(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to where *url* points."""
    return await asyncio.open_connection("127.0.0.1", urlsplit(url).port)


async def talk(url: str, *blocks: bytes | float) -> Answer:
    """Send *blocks*, with waits in between, and read one reply."""
    reader, writer = await connected(url)
    try:
        for block in blocks:
            if isinstance(block, bytes):
                writer.write(block)
                await writer.drain()
            else:
                await asyncio.sleep(block)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")[:-2]
        pairs = (line.split(": ", 1) for line in lines)
        headers = {name.lower(): value for name, value in pairs}
        length = headers.get("content-length")
        body = await (reader.read() if length is None else reader.readexactly(int(length)))
        closed = "close" in headers.get("connection", "") or first.startswith("HTTP/1.0")
        if closed:
            assert b"" == await reader.read()
        return Answer(int(first.split(" ")[1]), headers, body, closed)
    finally:
        writer.close()
        await writer.wait_closed()
