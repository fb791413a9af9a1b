"""Streams through the gateway, on real sockets, up to every kind of end."""

from __future__ import annotations

import asyncio
import gc
import json
from itertools import pairwise
from typing import Any

import openai
import pytest
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.gateway.whole import WRITE_TIMEOUT
from llmstack.messages import Request
from llmstack.testing.provider import Cut, FakeProvider, Hang
from llmstack.testing.scripted import Line, ScriptedEvent, ScriptedSource
from tests.gateway.stage import (
    HELLO,
    chat,
    connected,
    over,
    post,
    run,
    sdk,
    served,
    serving,
    streamed,
)


def text(chunks: list[Any]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


async def collect(stream: Any, chunks: list[Any]) -> None:  # noqa: ANN401 -- of the SDK
    """Read *stream* into *chunks*, which keep what came before an error."""
    async for chunk in stream:
        chunks.append(chunk)  # noqa: PERF401 -- as said


async def raw(url: str, sent: bytes) -> tuple[dict[str, str], bytes]:
    """The headers and all bytes behind them, up to the end of the connection."""
    reader, writer = await connected(url)
    writer.write(sent)
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.read()
    writer.close()
    await writer.wait_closed()
    pairs = (line.split(": ", 1) for line in head.decode().split("\r\n")[1:-2])
    return {name.lower(): value for name, value in pairs}, body


def unchunked(body: bytes) -> tuple[list[bytes], bool]:
    """The chunks of *body*, and whether the terminating one is there."""
    chunks = []
    while body and not body.startswith(b"0\r\n"):
        size, _, body = body.partition(b"\r\n")
        chunks.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    return chunks, body == b"0\r\n\r\n"


def test_the_sdk_gets_the_same_stream_through_the_gateway() -> None:
    """Chunk by chunk as from a provider with the same dice."""

    async def main() -> tuple[list[Any], list[Any]]:
        async with FakeProvider(seed=3) as here, FakeProvider(seed=3) as there:
            async with serving(served(here)) as url, sdk(url) as client:
                through = await streamed(client)
            async with sdk(there.base_url) as client:
                return through, await streamed(client)

    through, direct = run(main())

    assert [c.choices for c in direct] == [c.choices for c in through]
    assert 10 == len(through)


def test_the_stream_comes_as_it_is_made() -> None:
    """Each event when the provider sends it, not at the end."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        async with (
            FakeProvider(tokens=4, pace=1.0) as provider,
            serving(served(provider)) as url,
            sdk(url) as client,
        ):
            stream = await client.chat.completions.create(model="chat", messages=HELLO, stream=True)
            times = [loop.time() async for c in stream if c.choices[0].delta.content]
        return [round(after - before, 1) for before, after in pairwise(times)]

    assert [1.0, 1.0, 1.0] == run(main())


def test_the_bytes_of_a_stream_pass_as_they_are() -> None:
    """With their headers; the connection is good for another request behind it."""

    async def main() -> tuple[dict[str, str], bytes, bytes]:
        async with FakeProvider(seed=1) as here, FakeProvider(seed=1) as there:
            sent = post(chat(stream=True), "Connection: close")
            async with serving(served(here)) as url:
                headers, through = await raw(url, sent)
            _, direct = await raw(there.base_url, sent)
            return headers, through, direct

    headers, through, direct = run(main())
    chunks, ended = unchunked(through)

    assert b"".join(unchunked(direct)[0]) == b"".join(chunks)
    assert ended
    assert "text/event-stream" == headers["content-type"]
    assert ("no-cache", "a", "1") == (
        headers["cache-control"],
        headers["x-llmstack-endpoint"],
        headers["x-llmstack-attempts"],
    )


def test_what_is_there_goes_out_in_one_write() -> None:
    """Events that came together leave together, the last ones with the end."""
    events = [ScriptedEvent(raw=b"data: %d\n\n" % n) for n in range(4)]

    async def stream(_request: Request) -> ls.EventStream:
        return ls.EventStream(ScriptedSource([1.0, events[3]]), held=events[:3])

    async def main() -> bytes:
        async with serving(over(stream)) as url:
            return (await raw(url, post(chat(stream=True), "Connection: close")))[1]

    chunks = [b"data: 0\n\ndata: 1\n\ndata: 2\n\n", b"data: 3\n\n"]
    assert (chunks, True) == unchunked(run(main()))


def test_a_client_of_version_1_0_gets_a_stream_that_ends_with_the_connection() -> None:
    """It knows no chunks."""

    async def stream(_request: Request) -> ls.EventStream:
        lines: list[Line] = [1.0, events[1], 1.0, events[2], 1.0, events[3]]
        return ls.EventStream(ScriptedSource(lines), held=events[:1])

    events = [ScriptedEvent(raw=b"data: %d\n\n" % n) for n in range(4)]

    async def main() -> bytes:
        async with serving(over(stream)) as url:
            return (await raw(url, post(chat(stream=True)).replace(b"HTTP/1.1", b"HTTP/1.0")))[1]

    assert b"".join(event.raw for event in events) == run(main())


def test_an_event_of_no_bytes_is_not_the_end() -> None:
    """As a chunk it would be; those around it are chunks of their own."""
    events = [ScriptedEvent(raw=bytes(size)) for size in (3, 30, 0, 300, 16, 1)]

    async def stream(_request: Request) -> ls.EventStream:
        lines = [line for event in events for line in (1.0, event)]
        return ls.EventStream(ScriptedSource(lines))

    async def main() -> bytes:
        async with serving(over(stream)) as url:
            return (await raw(url, post(chat(stream=True), "Connection: close")))[1]

    assert ([event.raw for event in events if event.raw], True) == unchunked(run(main()))


@pytest.mark.parametrize("how", ["fin", "rst", "end"])
def test_a_failover_before_content_is_invisible(how: Any) -> None:  # noqa: ANN401 -- a literal
    """No byte of the first answer is in the second, and the SDK sees one stream."""

    async def main() -> tuple[list[Any], int]:
        async with FakeProvider(tokens=5) as a, FakeProvider(tokens=5) as b:
            a.script(Cut(after=1, how=how))  # the role is said, but nothing else
            async with serving(served(a, b)) as url, sdk(url) as client:
                return await streamed(client), len(a.requests)

    chunks, asked_first = run(main())

    assert (5, 1, 1) == (len(text(chunks).split()), len({c.id for c in chunks}), asked_first)


@pytest.mark.parametrize(
    ("how", "code"),
    [("fin", "stream_broken"), ("rst", "stream_broken"), ("end", "stream_incomplete")],
)
def test_a_cut_after_content_is_an_error_of_the_sdk(
    how: Any,  # noqa: ANN401 -- a literal
    code: str,
) -> None:
    """Not silence, and not a second answer."""

    async def main() -> tuple[list[Any], openai.APIError, int]:
        chunks: list[Any] = []
        async with FakeProvider(tokens=5) as a, FakeProvider(tokens=5) as b:
            a.script(Cut(after=3, how=how))
            async with serving(served(a, b)) as url, sdk(url, retries=2) as client:
                stream = await client.chat.completions.create(
                    model="chat", messages=HELLO, stream=True
                )
                with pytest.raises(openai.APIError) as caught:
                    await collect(stream, chunks)
                return chunks, caught.value, len(b.requests)

    chunks, error, others = run(main())

    assert (3, 2, 0) == (len(chunks), len(text(chunks).split()), others)
    assert code == error.code
    assert isinstance(error.body, dict)
    assert error.body["request_id"].startswith("req_")


def test_a_broken_stream_has_an_error_event_and_no_end() -> None:
    """No [DONE], and no terminating chunk: two signs, for clients that look for one."""

    async def main() -> tuple[dict[str, str], bytes]:
        async with FakeProvider(tokens=5) as a, serving(served(a)) as url:
            a.script(Cut(after=3))
            return await raw(url, post(chat(stream=True)))

    headers, body = run(main())
    chunks, ended = unchunked(body)
    events = b"".join(chunks).split(b"\n\n")
    error = json.loads(events[-2].removeprefix(b"data: "))["error"]

    assert not ended
    assert b"[DONE]" not in body
    assert (5, b"") == (len(events), events[-1])
    assert headers["x-request-id"] == error.pop("request_id")
    assert {
        "message": "the stream broke off: ConnectionLost",
        "type": "server_error",
        "param": None,
        "code": "stream_broken",
    } == error


@pytest.mark.parametrize(
    ("layer", "code"),
    [(ls.Deadline(3), "deadline_exceeded"), (ls.Timeout(idle=3), "upstream_timeout")],
    ids=["deadline", "idle"],
)
def test_a_stream_that_takes_too_long_is_ended(layer: Any, code: str) -> None:  # noqa: ANN401
    """By the layer that says so; the provider's connection is closed."""

    async def main() -> tuple[bytes, str]:
        async with FakeProvider() as provider:
            stack = ls.ServiceBuilder().layer(layer).service(served(provider))
            async with serving(stack) as url:
                provider.script(Hang(after=3))
                _, body = await raw(url, post(chat(stream=True)))
                await asyncio.sleep(0.1)
                return body, provider.requests[0].ended

    body, ended = run(main())

    assert code in body.decode()
    assert (b"[DONE]" not in body, "left") == (True, ended)


def test_a_bug_in_a_stream_is_told_without_words() -> None:
    """And logged with its place."""

    async def stream(_request: Request) -> ls.EventStream:
        bug = ZeroDivisionError("tell me a secret")
        return ls.EventStream(ScriptedSource([0.1, bug]), held=[ScriptedEvent(raw=b"data: 0\n\n")])

    async def main() -> bytes:
        async with serving(over(stream)) as url:
            return (await raw(url, post(chat(stream=True))))[1]

    with capture_logs() as logs:
        body = run(main())

    assert b'"code": "internal_error"' in body
    assert ["gateway.failed"] == [line["event"] for line in logs]
    assert "secret" not in f"{logs}{body!r}"


def test_a_client_that_leaves_in_a_stream_frees_the_provider() -> None:
    """Within a quarter of a second, and nobody calls it an error."""

    async def main() -> str:
        async with FakeProvider(tokens=1000, pace=0.1) as provider:
            stack = served(provider)
            async with serving(stack) as url, sdk(url) as client:
                stream = await client.chat.completions.create(
                    model="chat", messages=HELLO, stream=True
                )
                await anext(stream)
                await stream.close()
                await asyncio.sleep(0.25)
                return provider.requests[0].ended

    with capture_logs() as logs:
        assert "left" == run(main())
    assert [] == logs


async def flood(_request: Request) -> ls.EventStream:
    """A stream that is far longer than what kernels keep."""
    events = [ScriptedEvent(raw=b"data: " + b"x" * 100_000 + b"\n\n")] * 400
    return ls.EventStream(ScriptedSource(events), held=events[:1])


def test_a_client_that_takes_nothing_is_dropped() -> None:
    """After a while, and the stream is closed; one that is slow is waited for."""
    ends: list[tuple[str, float]] = []

    async def stream(request: Request) -> ls.EventStream:
        reply = await flood(request)
        reply.on_end(lambda outcome: ends.append((outcome.how, outcome.ended)))
        return reply

    async def main() -> bytes:
        async with serving(over(stream)) as url:
            reader, writer = await connected(url)
            writer.write(post(chat(stream=True)))
            await asyncio.sleep(WRITE_TIMEOUT - 1)
            before = list(ends)
            await asyncio.sleep(2)
            assert [] == before
            assert not (await reader.read()).endswith(b"0\r\n\r\n")
            writer.close()
            slow, writer = await connected(url)
            writer.write(post(chat(stream=True), "Connection: close"))
            await asyncio.sleep(WRITE_TIMEOUT - 1)
            end = (await slow.read())[-5:]
            writer.close()
            return end

    assert b"0\r\n\r\n" == run(main(), grace=0.1)
    assert ["abandoned", "ok"] == [how for how, _ in ends]
    assert WRITE_TIMEOUT == pytest.approx(ends[0][1], abs=0.5)


@pytest.mark.parametrize("where", ["before the head", "before the event"])
def test_a_client_that_leaves_at_the_first_content_closes_the_stream(where: str) -> None:
    """In the very moment between two steps of the loop."""
    ends: list[str] = []

    def leave(_event: object = None) -> None:
        for transport in accepted():
            transport.abort()

    async def stream(request: Request) -> ls.EventStream:
        reply = await flood(request)
        reply.on_end(lambda outcome: ends.append(outcome.how))
        if where == "before the head":
            leave()
        else:
            reply.on_event(leave)
        return reply

    async def main() -> None:
        async with serving(over(stream)) as url:
            _, writer = await connected(url)
            writer.write(post(chat(stream=True)))
            await asyncio.sleep(1)
            writer.close()

    run(main())

    assert ["abandoned"] == ends


def accepted() -> list[asyncio.Transport]:
    """The transports of the connections that a gateway has accepted."""
    found = [each for each in gc.get_objects() if isinstance(each, asyncio.Transport)]
    return [each for each in found if "gateway" in type(each.get_protocol()).__module__]
