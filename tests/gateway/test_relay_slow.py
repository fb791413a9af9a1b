"""Clients that are slow, or take nothing: what waits for them, and for how long."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import pytest
from aiohttp import StreamReader
from aiohttp.http_writer import StreamWriter
from attrs import define, field
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.gateway.app import create_app, running
from llmstack.gateway.relay import LAST
from llmstack.messages import Request
from llmstack.providers.openai import OpenAI
from llmstack.stream import Event
from llmstack.testing.scripted import Line, ScriptedEvent, ScriptedSource
from llmstack.testing.upstream import Peer, ScriptedUpstream, expect_request, send
from tests.gateway.stage import Chat, chat, connected, gateway, over, post, run, serving
from tests.gateway.test_application import application
from tests.gateway.test_relay import accepted


SENT: Final = post(chat(stream=True), "Connection: close")
HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
#: What may lie in user space before one client, and with what aiohttp reads ahead upstream.
BOUND: Final = 256 << 10
READ_AHEAD: Final = 768 << 10


T = TypeVar("T")


def patient(main: Coroutine[Any, Any, T]) -> T:
    """The result of *main*: megabytes are on their way in the kernel while nothing else happens."""
    return run(main, grace=0.1)


def said(text: str, finish: str | None = None) -> bytes:
    """One chunk of a chat."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


@define(eq=False)
class Flood:
    """A step that writes for as long as it is read, and notes how much, and when it ended."""

    written: int = 0
    ended: float = field(default=0.0)

    async def __call__(self, peer: Peer) -> None:
        loop = asyncio.get_running_loop()
        block = said("word " * 40) * 20
        try:
            while True:
                peer.writer.write(block)
                await peer.writer.drain()
                self.written += len(block)
        except ConnectionError:
            self.ended = loop.time()


def through(upstream: ScriptedUpstream) -> Chat:
    """A stack that is one provider."""
    endpoint = ls.Endpoint("a", OpenAI(f"{upstream.base_url}/v1", api_key="sk-any"))
    return ls.ServiceBuilder().layer(ls.Fallback([endpoint])).service(ls.dispatch)


def waiting() -> tuple[int, int]:
    """The bytes that wait in user space: from the stream to the client's, and upstream."""
    (transport,) = accepted()
    found = gc.get_objects()
    read = sum(getattr(each, "_size", 0) for each in found if isinstance(each, StreamReader))
    streams = [each for each in found if isinstance(each, ls.EventStream)]
    held = sum(len(event.raw) for stream in streams for event in stream._held)
    return held + transport.get_write_buffer_size(), read


def test_of_a_client_that_does_not_read_the_provider_hears() -> None:
    """It is read no more, little waits, and with the client its connection is closed."""
    flood = Flood()

    async def main() -> tuple[list[int], tuple[int, int], float]:
        loop = asyncio.get_running_loop()
        async with (
            ScriptedUpstream([[expect_request, send(HEAD), flood]]) as upstream,
            serving(through(upstream), write_timeout=20) as url,
        ):
            _, writer = await connected(url)
            writer.write(SENT)
            started = loop.time()
            seen = []
            for _ in range(3):
                await asyncio.sleep(6)
                seen.append(flood.written)
            most = waiting()
            await asyncio.sleep(3)
            writer.close()
            return seen, most, flood.ended - started

    (first, *later), (written, read), ended = patient(main())

    assert [first] * 2 == later
    assert 0 < written <= BOUND
    assert read <= READ_AHEAD
    assert 20 <= ended <= 20.25


def events(*sizes: int) -> list[Event]:
    return [ScriptedEvent(raw=b"data: " + b"x" * size + b"\n\n") for size in sizes]


def streams(*lines: Line, log: Callable[[str], None] = lambda _how: None) -> Any:  # noqa: ANN401 -- a service
    """A leaf whose streams play *lines*; *log* hears how they end."""

    async def stream(_request: Request) -> ls.EventStream:
        reply = ls.EventStream(ScriptedSource(lines))
        reply.on_end(lambda outcome: log(outcome.how))
        return reply

    return stream


def unchunked(body: bytes) -> tuple[list[bytes], bool]:
    """The chunks of a long *body*, and whether the terminating one is there."""
    chunks, at = [], 0
    while at < len(body) and not body.startswith(b"0\r\n", at):
        start = body.index(b"\r\n", at) + 2
        at = start + int(body[at:start], 16) + 2
        chunks.append(body[start : at - 2])
    return chunks, body[at:] == b"0\r\n\r\n"


async def sip(reader: asyncio.StreamReader, *, seconds: float, most: int) -> bytes:
    """Read *most* bytes, at least, every so many *seconds*, up to the end."""
    found = bytearray()
    while not reader.at_eof():
        await asyncio.sleep(seconds)
        piece = bytearray()
        while len(piece) < most and (block := await reader.read(most)):
            piece += block
        found += piece
    return bytes(found)


@pytest.mark.parametrize("sizes", [(40_000_000,), (5, 20_000_000, 5, 20_000_000)], ids=str)
def test_a_client_that_takes_a_little_all_the_time_gets_all(sizes: tuple[int, ...]) -> None:
    """Its time runs anew with each piece, also in the middle of one event."""
    ends: list[str] = []

    async def main() -> bytes:
        service = streams(*events(*sizes), log=ends.append)
        async with serving(over(service), write_timeout=10) as url:
            reader, writer = await connected(url)
            writer.write(SENT)
            await reader.readuntil(b"\r\n\r\n")
            body = await sip(reader, seconds=9, most=8_000_000)
            writer.close()
            return body

    chunks, ended = unchunked(patient(main()))

    assert ["ok"] == ends
    assert ended
    assert b"".join(event.raw for event in events(*sizes)) == b"".join(chunks)


@pytest.mark.parametrize("after", [0, 3_000_000], ids=["nothing", "some"])
def test_one_that_takes_no_more_is_dropped_in_time(after: int) -> None:
    """So long after the last piece that it took, in the middle of an event as well."""
    ends: list[float] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> float:
        loops.append(asyncio.get_running_loop())
        service = streams(*events(20_000_000, 5), log=lambda _: ends.append(loops[0].time()))
        async with serving(over(service), write_timeout=10) as url:
            reader, writer = await connected(url)
            writer.write(SENT)
            await asyncio.sleep(9)
            if after:
                await reader.readexactly(after)
            started = loops[0].time() if after else 0.0
            await asyncio.sleep(15)
            writer.close()
            return started

    started = patient(main())

    assert 10 == pytest.approx(ends[0] - started, abs=0.3)


async def stopped(service: Any, *, patience: float) -> bytes:  # noqa: ANN401 -- a service
    """What a client gets that reads only when the gateway stops, after so long a *patience*."""
    settings = gateway(over(service), shutdown_timeout=patience)
    async with asyncio.TaskGroup() as group:
        async with running(settings) as url:
            reader, writer = await connected(url)
            writer.write(SENT)
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(1)
            reading = group.create_task(read_late(reader, patience + LAST / 2))
        answer = await reading
        writer.close()
        return answer


async def read_late(reader: asyncio.StreamReader, seconds: float) -> bytes:
    await asyncio.sleep(seconds)
    return await reader.read()


def test_behind_a_terminal_that_was_not_taken_yet_comes_nothing() -> None:
    """The answer is whole, and so it arrives, though the gateway stops meanwhile."""
    sizes = (5, 12_000_000)

    chunks, ended = unchunked(patient(stopped(streams(*events(*sizes)), patience=3)))

    assert ended
    assert b"".join(event.raw for event in events(*sizes)) == b"".join(chunks)


class Filling:
    """A source that says much until some of it waits in the gateway, and then the last word.

    A client has taken too little then for the end to pass by what waits for it.
    """

    usage = None

    def __init__(self, last: int) -> None:
        self.last = last
        self.said = b""
        self.complete = False
        self.found: tuple[asyncio.Transport, StreamWriter] | None = None

    async def read(self) -> list[Event]:
        await asyncio.sleep(0)
        transport, writer = self.found = self.found or (accepted()[0], self.writer())
        # aiohttp waits once in 64 KiB, and at the end: it shall be the end.
        if transport.get_write_buffer_size() and writer.buffer_size < 40_000:
            transport.set_write_buffer_limits(high=0)
            self.complete = True
        (event,) = events(self.last if self.complete else 10_000)
        self.said += event.raw
        return [event]

    def writer(self) -> StreamWriter:
        found = [each for each in gc.get_objects() if isinstance(each, StreamWriter)]
        return max(found, key=lambda each: each.output_size)

    def close(self) -> None:
        """There is nothing to close."""


@pytest.mark.parametrize("last", [5, 20_000])
def test_behind_an_end_that_was_not_taken_yet_comes_no_other(last: int) -> None:
    """It has been written, and is on its way."""
    source = Filling(last)

    async def stream(_request: Request) -> ls.EventStream:
        return ls.EventStream(source, held=events(5))

    chunks, ended = unchunked(patient(stopped(stream, patience=3)))

    assert ended
    assert events(5)[0].raw + source.said == b"".join(chunks)


def test_a_client_that_is_gone_is_told_nothing() -> None:
    """Of a stream that breaks when nobody reads it any more, where the server does not cancel."""
    ends: list[str] = []

    async def main() -> None:
        service = streams(*events(5), 9.0, ls.StreamBroken("cut"), log=ends.append)
        app = create_app(gateway(over(service)))
        async with application(app, handler_cancellation=False) as url:
            _, writer = await connected(url)
            writer.write(SENT)
            await asyncio.sleep(1)
            writer.close()
            await asyncio.sleep(9)

    with capture_logs() as logs:
        patient(main())

    assert (["failed"], []) == (ends, logs)


@pytest.mark.parametrize(("size", "left"), [(5, 1.0), (20_000_000, 60.0)], ids=["gone", "slow"])
def test_nor_is_one_that_leaves_before_the_first_event_was_taken(size: int, left: float) -> None:
    """Whether it is gone when the stream is there, or takes nothing of it; that is no error."""
    ends: list[str] = []

    async def stream(request: Request) -> ls.EventStream:
        await asyncio.sleep(5)
        reply: ls.EventStream = await streams(*events(size), 9.0, log=ends.append)(request)
        return reply

    async def main() -> None:
        app = create_app(gateway(over(stream), write_timeout=5))
        async with application(app, handler_cancellation=False) as url:
            _, writer = await connected(url)
            writer.write(SENT)
            await asyncio.sleep(left)
            writer.close()
            await asyncio.sleep(20)

    with capture_logs() as logs:
        patient(main())

    assert (["abandoned"], []) == (ends, logs)


def test_an_event_that_was_begun_is_ended_before_the_last_word() -> None:
    """No reader gets half of it."""
    lines: list[Line] = [*events(5, 12_000_000), 1000.0]

    chunks, ended = unchunked(patient(stopped(streams(*lines), patience=3)))
    *whole, last, rest = b"".join(chunks).split(b"\n\n")

    assert not ended
    assert [event.raw[:-2] for event in events(5, 12_000_000)] == whole
    assert b'"code": "server_shutting_down"' in last
    assert b"" == rest


def test_a_stream_that_an_observer_ends_is_not_whole() -> None:
    """The event that it saw arrives, and then the error, in a body without its end."""

    async def stream(_request: Request) -> ls.EventStream:
        reply = ls.EventStream(ScriptedSource(events(1, 2, 3)))
        left = iter("ab")

        def count(_event: Event) -> None:
            if next(left) == "b":
                reply.abort(ls.BudgetExceeded("no more"))

        reply.on_event(count)
        return reply

    async def main() -> bytes:
        async with serving(over(stream)) as url:
            reader, writer = await connected(url)
            writer.write(SENT)
            await reader.readuntil(b"\r\n\r\n")
            body = await reader.read()
            writer.close()
            return body

    chunks, ended = unchunked(patient(main()))

    assert not ended
    assert [event.raw for event in events(1, 2)] == chunks[:2]
    assert b'"code": "budget_exceeded"' in chunks[2]
    assert 3 == len(chunks)


def test_a_complete_reply_waits_for_as_long() -> None:
    """It is the same setting."""

    async def reply(_request: Request) -> ls.Response:
        return ls.Response(b"x" * 20_000_000)

    async def main() -> tuple[int, int]:
        async with serving(over(reply), write_timeout=5) as url:
            reader, writer = await connected(url)
            writer.write(post(chat()))
            await asyncio.sleep(4.5)
            before = len(accepted())
            await asyncio.sleep(1)
            writer.close()
            del reader
            return before, len(accepted())

    assert (1, 0) == patient(main())
