"""The edge: what a connection may take its time with, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from llmstack.gateway.server import HEAD, KEEP_ALIVE
from llmstack.testing.scripted import echo
from tests.gateway.stage import connected, get, over, run, serving


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
