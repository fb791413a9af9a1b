"""The world of a case: two endpoints, a gateway before them, and a client of bytes.

All of it is on real sockets and on one loop whose clock jumps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final, final

from attrs import define, field, frozen
from structlog.testing import capture_logs

import llmstack as ls
from llmstack import clock
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
from tests.gateway.faults.case import Act, Case, Place, User
from tests.gateway.faults.dialects import Dialect
from tests.gateway.faults.spoken import HEAD, LAST, WHOLE, Said, chunk
from tests.gateway.stage import connected, post, run, serving


__all__ = ["Client", "Ends", "Heard", "Seen", "play", "said", "scripted"]

PRICE: Final = ls.Price(1.0, 2.0)

#: Bytes up to which it costs nothing to look whether a reply has come to its end.
SHORT: Final = 1 << 16

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
    """One connection to the gateway; *raw* is what has come."""

    url: str
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
        while not (heard.closed or heard.ended):
            await self._more()
            if len(self.raw) < SHORT or self.closed or self.raw.endswith(LAST):
                heard = self._heard()
        heard.at = clock.now()
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
        heard = Heard(closed=self.closed)
        head, found, heard.body = bytes(self.raw).partition(b"\r\n\r\n")
        if found:
            first, *lines = head.decode().split("\r\n")
            heard.status = int(first.split(" ")[1])
            heard.headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
            length = heard.headers.get("content-length")
            if length is not None:
                heard.ended = len(heard.body) == int(length)
            elif heard.body.endswith(LAST) or self.closed:
                heard.body, heard.ended = _without_chunks(heard.body)
        return heard


def _without_chunks(body: bytes) -> tuple[bytes, bool]:
    """The bytes in the chunks of *body*, and whether the last chunk is there."""
    found = []
    while body and body != LAST:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        assert body[length : length + 2] in (b"\r\n", b"")
        found.append(body[:length])
        body = body[length + 2 :]
    return b"".join(found), body == LAST


def said(parts: Sequence[Said], dialect: Dialect) -> bytes:
    """The bytes of *parts* without any framing."""
    return b"".join(part.of(dialect) for part in parts)


@asynccontextmanager
async def scripted(script: Sequence[Step]) -> AsyncIterator[Place]:
    """The usual place: a scripted upstream."""
    async with ScriptedUpstream([script]) as upstream:
        yield Place(upstream.base_url)


@final
@define(eq=False)
class Seen:
    """Everything that a case is judged by; *left* is when the peers of an upstream had gone.

    *again* is what came of the same request behind the first.
    """

    case: Case
    dialect: Dialect
    heard: Heard = field(factory=Heard, init=False)
    again: Heard | None = field(default=None, init=False)
    began: float = field(default=0.0, init=False)
    calls: Ends = field(factory=Ends, init=False)
    attempts: Ends = field(factory=Ends, init=False)
    left: dict[str, list[float]] = field(factory=lambda: {"a": [], "b": []}, init=False)
    connections: dict[str, int] = field(factory=lambda: {"a": 0, "b": 0}, init=False)
    requests: list[Received] = field(factory=list, init=False)
    in_flight: dict[str, int] = field(factory=dict, init=False)
    logs: list[Any] = field(factory=list, init=False)

    def script(self, name: str, parts: Sequence[bytes | Step]) -> list[Step]:
        """One step that plays *parts*, and from the last request on looks when the peer leaves."""
        steps = [send(part) if isinstance(part, bytes) else part for part in parts]
        last = max((n for n, step in enumerate(steps, 1) if step is expect_request), default=0)

        async def behind(peer: Peer) -> None:
            with suppress(ConnectionError):
                for step in steps[last:]:
                    await step(peer)

        async def playing(peer: Peer) -> None:
            self.connections[name] += 1
            for step in steps[:last]:
                await step(peer)
            self.requests += peer.requests
            async with asyncio.TaskGroup() as group:
                acting = group.create_task(behind(peer))
                await stall(peer)
                self.left[name].append(clock.now())
                # Who writes has to hear of a reset by itself, or asyncio complains of an
                # exception that nobody has looked at.
                await asyncio.sleep(0)
                acting.cancel()

        return [playing]

    def stack(self, places: dict[str, Place]) -> ls.Stack[ls.Request, Any]:
        """A route over *places*, in that order."""
        setup = self.case.setup
        endpoints = [
            ls.Endpoint(name, self.dialect.leaf(place.url, place.transport), price=PRICE)
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


def play(case: Case, dialect: Dialect) -> Seen:
    """Play *case* from its request to its last sign of life."""
    seen = Seen(case, dialect)
    with capture_logs() as seen.logs:
        run(_play(seen))
    return seen


async def _play(seen: Seen) -> None:
    case, dialect = seen.case, seen.dialect
    async with AsyncExitStack() as opened:
        place = case.setup.place or scripted
        script = seen.script("a", case.steps(dialect))
        places = {"a": await opened.enter_async_context(place(script))}
        if case.variant != "alone":
            healthy = chunk(said(WHOLE, dialect.by("b")))
            script = seen.script("b", [expect_request, HEAD, healthy, LAST])
            places["b"] = await opened.enter_async_context(scripted(script))
        stack = seen.stack(places)
        await _served(seen, stack)
        permits = stack["concurrency_limit"].statistics()
        seen.in_flight = {name: each.in_flight for name, each in permits.items()}


async def _served(seen: Seen, stack: ls.Stack[ls.Request, Any]) -> None:
    """Serve the request, and some time behind it."""
    setup = seen.case.setup
    if setup.user is not None:
        await _used(seen, stack, setup.user)
        return
    async with asyncio.TaskGroup() as group, serving(stack, **setup.gateway) as url:
        if setup.warm:
            await _asked(seen, url)
            seen.calls.log.clear()
            seen.attempts.log.clear()
        seen.began = clock.now()
        asking = group.create_task(_asked(seen, url, setup.acts))
        await _behind(seen, url, asking)
    seen.heard = asking.result()


async def _behind(seen: Seen, url: str, asking: asyncio.Task[Heard]) -> None:
    """Wait until the gateway may stop."""
    setup = seen.case.setup
    if setup.stop is not None:
        await asyncio.sleep(setup.stop)
        return
    await asyncio.wait([asking])
    await asyncio.sleep(AFTER)
    if setup.twice:
        seen.again = await _asked(seen, url)


async def _used(seen: Seen, stack: ls.Stack[ls.Request, Any], user: User) -> None:
    """Let *user* do without a gateway."""
    dialect = seen.dialect
    asked = ls.Request("chat", dialect.asked(stream=True), dialect.operation, stream=True)
    async with stack:
        await user(stack, asked)
        await asyncio.sleep(AFTER)


async def _asked(seen: Seen, url: str, acts: Sequence[Act] = ()) -> Heard:
    """What one client hears that asks, and then does *acts*."""
    client = Client(url, *await connected(url))
    dialect = seen.dialect
    try:
        client.writer.write(post(dialect.asked(stream=seen.case.setup.stream), path=dialect.path))
        for act in acts:
            await act(client)
        return await client.to_the_end()
    finally:
        client.writer.close()
        with suppress(ConnectionError):
            await client.writer.wait_closed()
