"""The edge: what a connection may take its time with, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

import llmstack as ls
from llmstack.gateway.server import HEAD, KEEP_ALIVE
from llmstack.testing.scripted import ScriptedEvent, echo, stream_of
from tests.gateway.stage import Answer, chat, connected, get, over, post, run, serving, talk


LIVEZ = get("/livez")


async def lived(blocks: Sequence[bytes | float]) -> tuple[float, bytes]:
    """How long a connection lives on which *blocks* come, with waits, and what is answered."""
    loop = asyncio.get_running_loop()
    async with serving(over(echo)) as url:
        reader, writer = await connected(url)
        began = loop.time()

        async def write() -> None:
            for block in blocks:
                if isinstance(block, bytes):
                    writer.write(block)
                else:
                    await asyncio.sleep(block)

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            said = await reader.read()
            ended = loop.time() - began
        writer.close()
        await writer.wait_closed()
        return ended, said


@pytest.mark.parametrize(
    ("blocks", "seconds", "answers"),
    [
        ((), KEEP_ALIVE, 0),
        ((LIVEZ[:5],), HEAD, 0),
        ((LIVEZ[:5], 6.0, LIVEZ[5:8], 3.0, LIVEZ[8:12]), HEAD, 0),
        ((LIVEZ[:5], HEAD - 1, LIVEZ[5:]), HEAD - 1 + KEEP_ALIVE, 1),
        ((LIVEZ,), KEEP_ALIVE, 1),
        ((LIVEZ, 20.0, LIVEZ), 20 + KEEP_ALIVE, 2),
        ((LIVEZ, 20.0, LIVEZ[:5]), 20 + HEAD, 1),
        ((LIVEZ + LIVEZ[:5], 5.0, LIVEZ[5:]), 5 + KEEP_ALIVE, 2),
        ((LIVEZ[:5], 5.0, LIVEZ[5:], 6.0, LIVEZ[:5], 9.0, LIVEZ[5:]), 20 + KEEP_ALIVE, 2),
    ],
    ids=[
        *("silent", "stopped", "dripping", "slow", "one", "two", "second stops"),
        *("pipelined in pieces", "slow twice"),
    ],
)
def test_a_connection_may_be_idle_and_a_head_must_be_quick(
    blocks: Sequence[bytes | float], seconds: float, answers: int
) -> None:
    """A head has its time from its first byte, however slowly it drips; then it is dropped."""
    elapsed, said = run(lived(blocks))

    assert answers == said.count(b"HTTP/1.1 200")
    assert seconds == pytest.approx(elapsed, abs=1.5)


async def streaming(_request: ls.Request) -> ls.EventStream:
    return stream_of([ScriptedEvent(raw=b"data: b\n\n")], ScriptedEvent(raw=b"data: a\n\n"))


def test_an_old_client_is_told_the_end_by_the_end_of_its_connection() -> None:
    """It knows no chunks, so what it would send next is not answered behind the stream."""
    old = post(chat(stream=True), "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0")

    async def main() -> bytes:
        async with serving(over(streaming)) as url:
            reader, writer = await connected(url)
            writer.write(old + LIVEZ)
            said = await reader.read()
            writer.close()
            await writer.wait_closed()
            return said

    head, _, body = run(main()).partition(b"\r\n\r\n")

    assert b"data: a\n\ndata: b\n\n" == body
    assert b"chunked" not in head.lower()


def test_an_old_client_is_not_invited() -> None:
    """The interim reply is not known to it; its body is taken as it comes."""
    sent = post(chat(), "Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0")
    head, body = sent.split(b"\r\n\r\n")

    async def upstream(_request: ls.Request) -> ls.Response:
        return ls.Response(b"{}")

    async def main() -> Answer:
        async with serving(over(upstream)) as url:
            return await talk(url, head + b"\r\n\r\n", 1.0, body)

    assert 200 == run(main()).status


def test_a_client_that_leaves_in_its_head_leaves_no_clock() -> None:
    """What is scheduled for the connection is taken back with it."""

    async def main() -> None:
        async with serving(over(echo)) as url:
            _, writer = await connected(url)
            writer.write(LIVEZ[:5])
            await asyncio.sleep(1)
            writer.close()
            await writer.wait_closed()
            await asyncio.sleep(2 * HEAD)

    run(main())
