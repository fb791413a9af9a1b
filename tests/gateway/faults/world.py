"""The world of a case: two endpoints, a gateway before them, and a client of bytes.

All of it is on real sockets and on one loop whose clock jumps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final, final

from attrs import define, field, frozen

import llmstack as ls
from llmstack.call import Outcome
from llmstack.service import Service, by_endpoint, observe
from llmstack.testing.upstream import (
    Peer,
    Received,
    ScriptedUpstream,
    Step,
    expect_request,
    reset,
    send,
    stall,
)
from tests.gateway.faults.case import HEAD, LAST, WHOLE, Case, Place, Said, chunk
from tests.gateway.faults.dialects import Dialect
from tests.gateway.stage import connected, post, serving


__all__ = ["Client", "Ends", "Heard", "Seen", "play", "said", "scripted"]

PRICE: Final = ls.Price(1.0, 2.0)

#: Seconds behind the end in which whoever was left would be seen to be still there.
AFTER: Final = 1.0


@final
@frozen
class Ends:
    """A layer that notes each end of each call."""

    log: list[tuple[str | None, Outcome]] = field(factory=list)

    def __call__(self, inner: Service[Any, Any], /) -> Service[Any, Any]:
        async def service(request: ls.Request, /) -> Any:  # noqa: ANN401 -- passed on
            return await observe(
                inner, request, lambda end: self.log.append((by_endpoint(request), end))
            )

        return service


@final
@define(eq=False)
class Heard:
    """What a client got: status, headers, the body without its chunks, and its end."""

    status: int = 0
    headers: dict[str, str] = field(factory=dict)
    body: bytes = b""
    ended: bool = False
    closed: bool = False
    at: float = 0.0


@final
@define(eq=False)
class Client:
    """One connection to the gateway; *heard* is what has come."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    raw: bytearray = field(factory=bytearray, init=False)
    closed: bool = field(default=False, init=False)

    async def until(self, mark: bytes) -> None:
        """Read until *mark* has come."""
        while mark not in self.raw:
            await self._more()
            assert not self.closed

    async def to_the_end(self) -> Heard:
        """Read until the reply is over, or the connection."""
        heard = self._heard()
        while not (self.closed or heard.ended):
            await self._more()
            heard = self._heard()
        heard.closed, heard.at = self.closed, asyncio.get_running_loop().time()
        return heard

    async def half_close(self) -> None:
        """Say that nothing more is sent; what comes is still read."""
        self.writer.write_eof()

    async def reset(self) -> None:
        """Break the connection."""
        reset(self.writer.transport)

    async def _more(self) -> None:
        data = b""
        with suppress(ConnectionError):
            data = await self.reader.read(1 << 16)
        self.raw += data
        self.closed = not data

    def _heard(self) -> Heard:
        head, _, rest = bytes(self.raw).partition(b"\r\n\r\n")
        if not _:
            return Heard()
        first, *lines = head.decode().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        heard = Heard(int(first.split(" ")[1]), headers, rest)
        if "content-length" in headers:
            heard.ended = len(rest) == int(headers["content-length"])
        elif rest.endswith(LAST) or self.closed:
            heard.body, heard.ended = _without_chunks(rest)
        return heard


def _without_chunks(body: bytes) -> tuple[bytes, bool]:
    """The bytes in the chunks of *body*, and whether the last chunk is there."""
    found = []
    while body and body != LAST:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        assert b"\r\n" == body[length : length + 2]
        found.append(body[:length])
        body = body[length + 2 :]
    return b"".join(found), body == LAST


@final
@define(eq=False)
class Seen:
    """Everything that a case is judged by; *left* is when the peers of an upstream had gone."""

    heard: Heard
    calls: list[Outcome]
    attempts: list[tuple[str | None, Outcome]]
    left: dict[str, list[float]]
    connections: dict[str, int]
    asked: list[Received]
    in_flight: dict[str, int]
    began: float


def said(parts: Sequence[Said], dialect: Dialect) -> bytes:
    """The bytes of *parts* without any framing."""
    return b"".join(part.of(dialect) for part in parts)


@asynccontextmanager
async def scripted(script: Sequence[Step]) -> AsyncIterator[Place]:
    """The usual place: a scripted upstream."""
    async with ScriptedUpstream([script]) as upstream:
        yield Place(upstream.base_url)


async def _nothing(_peer: Peer) -> None:
    """The first step of a script that does not wait for the request."""


@final
@define(eq=False)
class _World:
    """What the parts of a played case share."""

    case: Case
    dialect: Dialect
    left: dict[str, list[float]] = field(factory=lambda: {"a": [], "b": []}, init=False)
    connections: dict[str, int] = field(factory=lambda: {"a": 0, "b": 0}, init=False)
    asked: list[Received] = field(factory=list, init=False)
    calls: Ends = field(factory=Ends, init=False)
    attempts: Ends = field(factory=Ends, init=False)

    def script(self, name: str, parts: Sequence[bytes | Step]) -> list[Step]:
        """One step that reads a request, plays *parts*, and notes when the peer has left."""
        steps = [send(part) if isinstance(part, bytes) else part for part in parts]
        first, *rest = steps if steps[:1] == [expect_request] else [_nothing, *steps]

        async def act(peer: Peer) -> None:
            with suppress(ConnectionError):
                for step in rest:
                    await step(peer)

        async def playing(peer: Peer) -> None:
            self.connections[name] += 1
            await first(peer)
            self.asked += peer.requests
            async with asyncio.TaskGroup() as group:
                acting = group.create_task(act(peer))
                await stall(peer)
                self.left[name].append(asyncio.get_running_loop().time())
                acting.cancel()

        return [playing]

    def stack(self, places: dict[str, Place]) -> ls.Stack[ls.Request, Any]:
        """A route over *places*, in that order."""
        setup = self.case.setup
        endpoints = [
            ls.Endpoint(
                name, self.dialect.leaf(place.url, place.transport, dict(setup.leaf)), price=PRICE
            )
            for name, place in places.items()
        ]
        builder = ls.ServiceBuilder().layer(self.calls)
        if setup.deadline is not None:
            builder = builder.layer(ls.Deadline(setup.deadline))
        return (
            builder.layer(ls.Fallback(endpoints))
            .layer(self.attempts)
            .layer(ls.ConcurrencyLimit(1))
            .layer(ls.Timeout(**setup.timeout))
            .service(ls.dispatch)
        )


async def play(case: Case, dialect: Dialect) -> Seen:
    """Play *case* from its request to its last sign of life."""
    world = _World(case, dialect)
    loop = asyncio.get_running_loop()
    healthy = said(WHOLE, dialect.by("b"))
    async with AsyncExitStack() as opened:
        place = case.setup.place or scripted
        steps = case.steps(dialect)
        places = {"a": await opened.enter_async_context(place(world.script("a", steps)))}
        if case.variant != "alone":
            script = world.script("b", [expect_request, HEAD, chunk(healthy) + LAST])
            places["b"] = await opened.enter_async_context(scripted(script))
        stack = world.stack(places)
        began = loop.time()
        heard = await _served(world, stack)
        permits = stack["concurrency_limit"].statistics()
        in_flight = {name: each.in_flight for name, each in permits.items()}
    calls = [end for _, end in world.calls.log]
    return Seen(
        heard,
        calls,
        world.attempts.log,
        world.left,
        world.connections,
        world.asked,
        in_flight,
        began,
    )


async def _served(world: _World, stack: ls.Stack[ls.Request, Any]) -> Heard:
    """Serve one request, and some time behind it."""
    setup = world.case.setup
    async with asyncio.TaskGroup() as group:
        async with serving(stack, shutdown_timeout=1.0) as url:
            asking = group.create_task(_client(world, url))
            if setup.stop is None:
                await asyncio.wait([asking])
                await asyncio.sleep(AFTER)
            else:
                await asyncio.sleep(setup.stop)
    return asking.result()


async def _client(world: _World, url: str) -> Heard:
    setup, dialect = world.case.setup, world.dialect
    client = Client(*await connected(url))
    try:
        client.writer.write(post(dialect.asked(stream=setup.stream), path=dialect.path))
        for act in setup.acts:
            await act(client)
        return await client.to_the_end()
    finally:
        client.writer.close()
        with suppress(ConnectionError):
            await client.writer.wait_closed()
