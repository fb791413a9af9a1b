"""What the tests of aiohttp middlewares share: a real server, a real client, and scripts."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from aiohttp import (
    ClientHandlerType,
    ClientRequest,
    ClientResponse,
    ClientSession,
    TCPConnector,
    web,
)
from aiohttp.typedefs import Middleware
from attrs import define, field, frozen
from structlog.testing import capture_logs

from llmstack.testing.virtual import run_virtual


__all__ = [
    "Answered",
    "Handler",
    "Scripted",
    "ask",
    "client",
    "hang",
    "nobody",
    "outcome",
    "played",
    "served",
    "serving",
    "slow",
]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


T = TypeVar("T")

#: Layers as middleware of a client.
Wraps = Callable[[ClientRequest, ClientHandlerType], Awaitable[ClientResponse]]


def _queue(lines: Iterable[object]) -> deque[Any]:
    return deque(lines)


@frozen
class Answered:
    """A reply as its reader sees it, without what differs from run to run."""

    status: int
    body: str
    headers: dict[str, str]


@define(eq=False)
class Scripted:
    """A handler that plays its lines, then answers 200; keeps the bodies that it has read.

    A line is a status, a response, an exception, a function that is called for one of them,
    or a handler.
    """

    lines: deque[Any] = field(factory=deque, converter=_queue)
    bodies: list[bytes] = field(factory=list)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.read())
        line = self.lines.popleft() if self.lines else 200
        if iscoroutinefunction(line):
            return await line(request)  # type: ignore[no-any-return]
        line = line() if callable(line) else line
        if isinstance(line, Exception):
            raise line
        return web.Response(status=line, text=f"{line}") if isinstance(line, int) else line


def played(main: Coroutine[Any, Any, T]) -> T:
    """Run on virtual time, with the log kept quiet."""
    with capture_logs():
        return run_virtual(main)[0]


async def slow(_request: web.Request) -> web.StreamResponse:
    """Answer after a second."""
    await asyncio.sleep(1)
    return web.Response(text="slow")


async def hang(_request: web.Request) -> web.StreamResponse:
    """Never answer."""
    never: asyncio.Future[web.StreamResponse] = asyncio.get_running_loop().create_future()
    return await never


def nobody() -> str:
    """An address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@asynccontextmanager
async def serving(
    handler: Handler,
    middlewares: Iterable[Middleware] = (),
    *,
    cancels: bool = False,
    port: int = 0,
) -> AsyncIterator[str]:
    """Serve *handler* under every path; gives the address."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)  # aiohttp wants a function

    application = web.Application(middlewares=middlewares)
    application.router.add_route("*", "/{path:.*}", handle)
    async with served(application, cancels=cancels, port=port) as url:
        yield url


@asynccontextmanager
async def served(
    application: web.Application, *, cancels: bool = False, port: int = 0
) -> AsyncIterator[str]:
    """Serve *application*; with *cancels*, a handler is cancelled when its client leaves."""
    runner = web.AppRunner(
        application, access_log=None, handler_cancellation=cancels, shutdown_timeout=1.0
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client(*middlewares: Wraps, limit: int = 100) -> AsyncIterator[ClientSession]:
    """Give a session of so many connections that calls through *middlewares*."""
    connector = TCPConnector(limit=limit)
    async with ClientSession(connector=connector, middlewares=middlewares) as session:
        yield session


async def ask(
    url: str, path: str = "/", *, data: object = None, headers: Sequence[tuple[str, str]] = ()
) -> Answered:
    """Ask once, on a connection of its own, and read the reply."""
    method = "GET" if data is None else "POST"
    async with (
        client() as session,
        session.request(
            method, f"{url}{path}", data=data, headers=dict(headers), allow_redirects=False
        ) as reply,
    ):
        kept = {name: value for name, value in reply.headers.items() if name != "Date"}
        return Answered(reply.status, await reply.text(), kept)


async def outcome(url: str, *middlewares: Wraps, data: object = b"") -> object:
    """The text of the reply, or what was raised."""
    async with client(*middlewares) as session:
        try:
            async with session.post(url, data=data) as reply:
                return await reply.text()
        except Exception as error:  # noqa: BLE001 -- it is what the test is about
            # CPython 3.11 does not trace who awaits a coroutine that returns from a throw.
            await asyncio.sleep(0)
            return error
