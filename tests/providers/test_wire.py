"""One request on one connection: what is written, and when the connection is used again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any, cast

import aiohttp
import pytest
from yarl import URL

from llmstack.errors import ConnectionLost, PayloadTooLarge, UpstreamError
from llmstack.messages import Request, Response
from llmstack.providers.openai import OpenAI
from llmstack.providers.transport import timeout
from llmstack.providers.wire import LOOKS, PIECE, TOGETHER, ask
from llmstack.testing.virtual import run_virtual
from tests.providers.openai import scripts as s


REPLY = b'{"choices":[{"message":{"content":"hi"}}]}'
GOOD = s.JSON + b"Content-Length: %d\r\n\r\n" % len(REPLY) + REPLY
REFUSED = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
EARLY = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def served(serve: Serve, asks: Callable[[OpenAI], Awaitable[None]]) -> int:
    """Run *asks* against *serve*; return how many connections there were."""
    writers: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await serve(reader, writer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        async with OpenAI(f"http://{host}:{port}/v1", api_key=s.KEY) as leaf:
            await asks(leaf)
        for writer in writers:
            writer.transport.abort()
    return len(writers)


async def whole(reader: asyncio.StreamReader) -> bytes:
    """Read one request and return its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return await reader.readexactly(int(length))


def long(size: int) -> Request:
    """A request with a body of so many bytes."""
    frame = b'{"model":"m","messages":[{"role":"user","content":"%s"}]}'
    return Request("m", frame % (b"x" * (size - len(frame) + 2)))


@pytest.mark.parametrize("size", [TOGETHER, TOGETHER + 1, PIECE, PIECE + 1, 3 * PIECE], ids=str)
def test_a_body_of_any_length_arrives_as_it_is(size: int) -> None:
    """And its connection carries the next one."""
    request = long(size)
    came: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            came.append(await whole(reader))
            writer.write(GOOD)

    async def asks(leaf: OpenAI) -> None:
        for _ in range(2):
            reply = await leaf(request)
            assert isinstance(reply, Response)
            assert REPLY == reply.body

    assert size == len(request.body.raw)
    assert 1 == asyncio.run(served(serve, asks))
    assert [request.body.raw] * 2 == came


def test_a_long_body_lets_others_have_their_turn() -> None:
    """Between two pieces the loop goes round."""
    sizes: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole(reader)
        writer.write(GOOD)

    async def asks(leaf: OpenAI) -> None:
        request = long(32 * PIECE)
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(leaf(request))
            while not asked.done():
                await asyncio.sleep(0)
                held = leaf.transport.session.connector._acquired  # type: ignore[union-attr]
                open_ = [each.transport for each in held if each.transport is not None]
                sizes.extend(each.get_write_buffer_size() for each in open_)

    asyncio.run(served(serve, asks))

    assert max(after - before for before, after in pairwise([0, *sizes])) <= PIECE


def test_what_comes_before_the_reply_is_passed_over() -> None:
    """A provider may say that it goes on, or hint at what is to come."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await whole(reader)
            writer.write(EARLY + GOOD)

    async def asks(leaf: OpenAI) -> None:
        for _ in range(2):
            assert 200 == (await leaf(long(100))).status

    assert 1 == asyncio.run(served(serve, asks))


def test_a_connection_that_took_half_a_request_carries_no_other() -> None:
    """A refusal may come before the body is read; what is left of that is no next request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(REFUSED)

    async def asks(leaf: OpenAI) -> None:
        for _ in range(2):
            with pytest.raises(PayloadTooLarge):
                await leaf(long(16 * PIECE))

    assert 2 == asyncio.run(served(serve, asks))


@pytest.mark.parametrize(("status", "connections"), [(500, 2), (529, 2), (429, 1), (400, 1)])
def test_a_connection_that_carried_a_failure_of_the_server_carries_no_other(
    status: int, connections: int
) -> None:
    """Many servers close it without a word, and the next request would be lost in it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                await whole(reader)
                writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\n{}" % status)

    async def asks(leaf: OpenAI) -> None:
        for _ in range(2):
            with pytest.raises(UpstreamError):
                await leaf(long(100))

    assert connections == run_virtual(served(serve, asks))[0]


def test_what_comes_unasked_is_no_reply() -> None:
    """A connection on which a provider went on behind its reply carries no other request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole(reader)
        writer.write(GOOD)
        await asyncio.sleep(0.01)
        writer.write(s.sized(b'{"choices":[{"message":{"content":"of another"}}]}'))

    async def asks(leaf: OpenAI) -> None:
        for _ in range(3):
            reply = await leaf(long(100))
            await asyncio.sleep(0.02)
            assert isinstance(reply, Response)
            assert REPLY == reply.body

    assert 3 == run_virtual(served(serve, asks))[0]


def test_a_connection_that_is_reset_takes_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """The rest of the body is not written, and the caller hears of it, but not the log."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async def asks(leaf: OpenAI) -> None:
        with pytest.raises(ConnectionLost):
            await leaf(long(64 * PIECE))

    assert 1 == asyncio.run(served(serve, asks))
    assert [] == caplog.messages


def test_who_waits_for_a_body_is_told_that_it_is_closed() -> None:
    """A reader that is under way does not wait for ever."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(s.JSON + b"Content-Length: 9\r\n\r\n")

    async def asks(leaf: OpenAI) -> None:
        url = URL(leaf.base_url)
        where = aiohttp.ClientRequest("GET", url, loop=asyncio.get_running_loop())
        connector = leaf.transport.session.connector
        assert connector is not None
        head = f"GET / HTTP/1.1\r\nHost: {url.host}\r\n\r\n".encode()
        exchange = await ask(connector, where, timeout(3), head, b"")
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(raised(exchange.content.readany()))
            await asyncio.sleep(0)
            exchange.close()

        assert "the connection was closed" == str(waiting.result())

    asyncio.run(served(serve, asks))


async def raised(reads: Awaitable[bytes]) -> ConnectionError:
    """Return what ended the waiting."""
    with pytest.raises(ConnectionError) as caught:
        await reads
    return caught.value


class Gone:
    """A connector whose connection is lost before it is used, or *speaks* first."""

    transport = None
    closed = 0

    def __init__(self, *, speaks: bool) -> None:
        self.protocol = self if speaks else None
        self.should_close = speaks

    async def connect(self, *_given: object) -> Gone:
        return self

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(("speaks", "closed"), [(False, 1), (True, LOOKS)])
def test_a_connection_may_be_of_no_use_when_it_comes(speaks: bool, closed: int) -> None:  # noqa: FBT001
    """Then nothing is written to it, and the search for another one has an end."""
    gone = Gone(speaks=speaks)

    async def main() -> None:
        await ask(cast("Any", gone), cast("Any", None), aiohttp.ClientTimeout(), b"", b"")

    with pytest.raises(aiohttp.ClientConnectionResetError):
        asyncio.run(main())

    assert closed == gone.closed
