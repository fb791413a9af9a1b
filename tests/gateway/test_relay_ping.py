"""Pings in a stream that says nothing: when they come, and when they must not."""

from __future__ import annotations

import asyncio
import gc
from itertools import accumulate
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.gateway.app import create_app
from llmstack.gateway.relay import _Ping
from llmstack.messages import Request
from llmstack.stream import Event
from llmstack.testing.scripted import Line, ScriptedEvent, ScriptedSource
from tests.gateway.stage import HELLO, chat, connected, gateway, over, post, run, sdk, serving
from tests.gateway.test_application import application
from tests.gateway.test_relay import accepted


COMMENT: Final = b": ping\n\n"
FIRST: Final = ScriptedEvent(raw=b"data: first\n\n")


def streams(*lines: Line, held: tuple[Event, ...] = (FIRST,)) -> Any:  # noqa: ANN401 -- a service
    """A leaf whose streams have *held* at the commit, and play *lines* then."""

    async def stream(_request: Request) -> ls.EventStream:
        return ls.EventStream(ScriptedSource(lines), held=held)

    return stream


def event(n: int) -> ScriptedEvent:
    return ScriptedEvent(raw=b"data: %d\n\n" % n)


async def pings(url: str, sent: bytes, ping: bytes = COMMENT) -> list[float]:
    """When *ping* comes, in seconds after the head of the reply; nothing else is a ping."""
    loop = asyncio.get_running_loop()
    reader, writer = await connected(url)
    writer.write(sent)
    head = await reader.readuntil(b"\r\n\r\n")
    started, found = loop.time(), []
    assert b"200 OK" in head
    while block := await reader.read(1 << 16):
        found += [round(loop.time() - started, 1)] * block.count(ping)
        assert block.count(b"ping") == block.count(ping) * ping.count(b"ping")
    writer.close()
    return found


SENT: Final = post(chat(stream=True), "Connection: close")
BODIES: Final = {
    "/v1/chat/completions": chat(stream=True),
    "/v1/messages": chat(stream=True, max_tokens=9),
    "/v1/responses": b'{"model": "chat", "input": "hi", "stream": true}',
}


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ([14], []),
        ([16], [15]),
        ([40], [15, 30]),
        ([10, 10, 10, 10], []),
        ([10, 16], [25]),
        ([14, 14, 31, 1, 50], [43, 58, 75, 90, 105]),
        ([1] * 20 + [31], [35, 50]),
    ],
    ids=str,
)
def test_a_ping_comes_when_nothing_was_written_for_a_while(
    gaps: list[float], expected: list[float]
) -> None:
    """After each 15 seconds of silence, counted from the last event or ping."""
    lines = [line for n, gap in enumerate(gaps) for line in (gap, event(n))]

    async def main() -> list[float]:
        async with serving(over(streams(*lines))) as url:
            return await pings(url, SENT)

    assert expected == run(main())
    assert all(at not in set(accumulate(gaps)) for at in expected)


@pytest.mark.parametrize(
    ("path", "ping"),
    [
        ("/v1/chat/completions", COMMENT),
        ("/v1/responses", COMMENT),
        ("/v1/messages", b'event: ping\ndata: {"type": "ping"}\n\n'),
    ],
)
def test_each_dialect_has_its_own(path: str, ping: bytes) -> None:
    """As its clients know it."""

    async def main() -> list[float]:
        async with serving(over(streams(20.0, event(1))), ping_after=6) as url:
            return await pings(url, post(BODIES[path], "Connection: close", path=path), ping)

    assert [6, 12, 18] == run(main())


@pytest.mark.parametrize("after", [None, 0])
def test_it_can_be_switched_off(after: float | None) -> None:
    """Then a silent stream is silent."""

    async def main() -> list[float]:
        async with serving(over(streams(90.0, event(1))), ping_after=after) as url:
            return await pings(url, SENT)

    assert [] == run(main())


def test_the_sdk_does_not_see_it() -> None:
    """Not as a chunk, and its reader goes on."""
    said = b'{"choices": [{"index": 0, "delta": {"content": "hi"}}]}'
    chunk = ScriptedEvent(said, raw=b"data: " + said + b"\n\n")

    async def main() -> list[str | None]:
        service = streams(40.0, chunk, held=(chunk,))
        async with serving(over(service)) as url, sdk(url) as client:
            stream = await client.chat.completions.create(model="chat", messages=HELLO, stream=True)
            return [each.choices[0].delta.content async for each in stream]

    assert ["hi", "hi"] == run(main())


def test_the_head_goes_before_a_ping() -> None:
    """Also where a leaf has handed up a stream without its first event."""

    async def main() -> bytes:
        async with serving(over(streams(20.0, event(1), held=()))) as url:
            reader, writer = await connected(url)
            writer.write(SENT)
            answer = await reader.read()
            writer.close()
            return answer

    head, _, body = run(main()).partition(b"\r\n\r\n")

    assert b"HTTP/1.1 200 OK" == head.split(b"\r\n")[0]
    assert b"8\r\n: ping\n\n\r\n9\r\ndata: 1\n\n\r\n0\r\n\r\n" == body


def test_a_client_that_has_not_taken_the_rest_gets_no_ping() -> None:
    """It has something to read already."""
    size = 10_000

    async def stream(_request: Request) -> ls.EventStream:
        return ls.EventStream(Filling(size), held=[FIRST])

    async def main() -> bytes:
        async with serving(over(stream)) as url:
            reader, writer = await connected(url)
            writer.write(SENT)
            await asyncio.sleep(90)
            answer = await reader.read()
            writer.close()
            return answer

    answer = run(main())

    assert answer.endswith(b"0\r\n\r\n")
    assert 10 * size < len(answer)
    assert b"ping" not in answer


class Filling:
    """A source that says much until some of it waits in the gateway, and then nothing."""

    usage = None

    def __init__(self, size: int) -> None:
        self.block = ScriptedEvent(raw=b"data: " + b"x" * size + b"\n\n")
        self.complete = False
        self.transport: asyncio.Transport | None = None

    async def read(self) -> list[Event]:
        await asyncio.sleep(0)
        transport = self.transport = self.transport or accepted()[0]
        if not transport.get_write_buffer_size():
            return [self.block]
        await asyncio.sleep(100)
        self.complete = True
        return [FIRST]

    def close(self) -> None:
        """There is nothing to close."""


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("error", [None, ls.StreamBroken("cut")], ids=["whole", "broken"])
def test_nothing_comes_behind_the_end(path: str, error: ls.StreamBroken | None) -> None:
    """However it ended; the next reply on the connection is as it should be."""
    lines: list[Line] = [event(1)] if error is None else [error]

    async def main() -> bytes:
        async with serving(over(streams(1.0, *lines))) as url:
            reader, writer = await connected(url)
            writer.write(post(BODIES[path], path=path))
            await asyncio.sleep(50)
            assert [] == [each for each in gc.get_objects() if isinstance(each, _Ping)]
            writer.write(b"GET /livez HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return answer

    answer = run(main())

    assert b"ping" not in answer
    assert (error is None) == answer.endswith(b'{"status": "ok"}')


def test_a_client_that_is_gone_gets_none() -> None:
    """Where the server does not cancel, the stream is closed at the next event."""
    ends: list[tuple[str, float]] = []

    async def stream(request: Request) -> ls.EventStream:
        reply: ls.EventStream = await streams(40.0, event(1), 40.0, event(2))(request)
        reply.on_end(lambda outcome: ends.append((outcome.how, round(outcome.ended - reply.first))))
        return reply

    async def main() -> None:
        app = create_app(gateway(over(stream)))
        async with application(app, handler_cancellation=False) as url:
            _, writer = await connected(url)
            writer.write(SENT)
            await asyncio.sleep(1)
            writer.close()
            await asyncio.sleep(60)

    with capture_logs() as logs:
        run(main())

    assert [("abandoned", 40)] == ends
    assert [] == logs


def test_a_client_that_leaves_in_the_same_moment_is_no_error() -> None:
    """Its connection is closing, and nobody knows yet."""
    trouble: list[object] = []

    def leave() -> None:
        for transport in accepted():
            transport.abort()

    async def stream(request: Request) -> ls.EventStream:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: trouble.append(context))
        loop.call_later(15, leave)
        reply: ls.EventStream = await streams(40.0, event(1))(request)
        return reply

    async def main() -> list[float]:
        async with serving(over(stream)) as url:
            return await pings(url, SENT)

    assert [] == run(main())
    assert [] == trouble
