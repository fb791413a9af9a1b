"""Floods: what comes in masses holds up nobody else, and does not pile up."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Final

import pytest
from attrs import define, field

import llmstack as ls
from llmstack.providers.openai import OpenAI
from llmstack.testing.upstream import ScriptedUpstream, expect_request, send, stall
from tests.gateway.stage import chat, connected, get, over, post, run, serving, talk


HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
FIRST: Final = b'data: {"choices":[{"index":0,"delta":{"content":"%d"},"finish_reason":null}]}\n\n'
LAST: Final = (
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
#: Loop turns that a question for the health of the gateway may take; alone it takes 9.
TURNS: Final = 60
#: Events that one turn may hand on: those of the rest of what had come, and of a portion.
EVENTS: Final = 2048


@define(eq=False)
class Seen:
    """How many turns each question took, and how many events each turn."""

    took: list[int] = field(factory=list)
    each: list[int] = field(factory=list)
    events: int = 0
    turns: int = 0
    over: bool = False

    def event(self, _event: object) -> None:
        self.events += 1

    def turn(self) -> None:
        self.turns += 1
        self.each.append(self.events)
        self.events = 0
        if not self.over:
            asyncio.get_running_loop().call_soon(self.turn)


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def block(count: int) -> bytes:
    """So many events, each with an HTTP chunk of its own."""
    return b"".join(framed(FIRST % n) for n in range(count))


@pytest.mark.parametrize(
    ("events", "each"),
    [
        (block(2000), 2000),
        (framed(b"".join(FIRST % n for n in range(4000))), 4000),
        (framed(FIRST % 1 + b"data: {}\n\n" * 9999) * 2, 20_000),
    ],
    ids=["chunks", "run", "tiny"],
)
def test_a_flood_of_events_starves_nobody(events: bytes, each: int) -> None:
    """Of 200,000 events that come as fast as they can, no turn of the loop takes too many."""
    times = 200_000 // each
    script = [expect_request, send(HEAD), *[send(events)] * times]
    script += [send(framed(LAST) + b"0\r\n\r\n"), stall]

    async def main() -> Seen:
        seen = Seen()
        async with ScriptedUpstream([script]) as upstream:
            leaf = OpenAI(upstream.base_url)

            async def watched(request: ls.Request) -> object:
                reply = await leaf(request)
                assert isinstance(reply, ls.EventStream)
                reply.on_event(seen.event)
                return reply

            async with leaf, serving(over(watched)) as url, asyncio.TaskGroup() as group:
                asked = group.create_task(taken(url))
                seen.turn()
                while not asked.done():
                    begun = seen.turns
                    answer = await talk(url, get("/livez"))
                    assert 200 == answer.status
                    seen.took.append(seen.turns - begun)
                seen.over = True
        assert await asked > times * len(events) // 2
        return seen

    seen = run(main())

    assert len(seen.took) > 20
    assert max(seen.took) <= TURNS
    assert max(seen.each) <= EVENTS


async def taken(url: str) -> int:
    """How many bytes the answer to a chat has."""
    reader, writer = await connected(url)
    writer.write(post(chat(stream=True)))
    size, more = 0, b""
    while not more.endswith(b"0\r\n\r\n"):
        more = await reader.read(1 << 16)
        size += len(more)
    writer.close()
    return size


async def drained(stream: ls.EventStream) -> None:
    """Read all that comes."""
    while await stream.block() is not None:
        pass


@pytest.mark.parametrize("line", [b"x" * 65_536, b"data: " + b"x" * 65_530 + b"\n"])
def test_an_event_of_fifty_megabytes_is_not_kept(line: bytes) -> None:
    """What is held is one event at its limit, whatever still comes."""
    script = [expect_request, send(HEAD + framed(FIRST % 1) + b"3200000\r\ndata: ")]
    script += [send(line)] * 800

    async def main() -> int:
        async with ScriptedUpstream([script]) as upstream, OpenAI(upstream.base_url) as leaf:
            stream = await leaf(ls.Request("m", {"messages": []}, stream=True))
            assert isinstance(stream, ls.EventStream)
            tracemalloc.start()
            with pytest.raises(ls.StreamBroken, match="ProtocolError"):
                await drained(stream)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return peak

    assert run(main()) < (8 << 20) + (4 << 20)
