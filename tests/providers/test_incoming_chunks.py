"""What comes in is handed out whole, in order, and before the news that nothing more will."""

from __future__ import annotations

import asyncio

import pytest
from yarl import URL

from llmstack.errors import ConnectionLost, UpstreamError
from llmstack.providers.incoming import FEW, Incoming
from llmstack.providers.transport import Outgoing, Transport, timeout
from llmstack.testing.upstream import ScriptedUpstream, Step, fin, rst, send, sleep, stall
from llmstack.testing.virtual import run_virtual
from tests.providers.openai.scripts import END, SSE, chunked


async def all_of(incoming: Incoming) -> tuple[list[bytes], str]:
    """Every read, and how it ended."""
    got = []
    try:
        while chunk := await incoming.chunk():
            got.append(chunk)
    except UpstreamError as error:
        return got, type(error).__name__
    return got, ""


def read(*steps: bytes | Step, after: float = 0.0) -> tuple[list[bytes], str]:
    """What is read of a reply, from so many seconds behind its head on."""
    script = [send(step) if isinstance(step, bytes) else step for step in (SSE, *steps)]

    async def main() -> tuple[list[bytes], str]:
        async with ScriptedUpstream([[*script, stall]]) as upstream, Transport() as transport:
            url = URL(f"http://127.0.0.1:{upstream.port}/")
            incoming = await transport.send(
                Outgoing(url, timeout(3.0), b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            )
            await asyncio.sleep(after)
            try:
                return await all_of(incoming)
            finally:
                incoming.close()

    return run_virtual(main())[0]


@pytest.mark.parametrize("count", [1, FEW, FEW + 1, 3000])
def test_chunks_that_came_together_are_handed_out_together(count: int) -> None:
    """However many they are; and the body ends where it ends."""
    chunks = [b"<%d>" % n for n in range(count)]
    got, end = read(b"".join(map(chunked, chunks)), sleep(1), chunked(b"last") + END, after=0.5)

    assert ("", b"".join(chunks) + b"last") == (end, b"".join(got))
    assert b"last" == got[-1]


@pytest.mark.parametrize("end", [fin, rst])
@pytest.mark.parametrize("count", [1, FEW + 9])
def test_what_came_before_the_loss_is_handed_out_before_it_is_told(count: int, end: Step) -> None:
    """Although nobody had read it when the connection was lost."""
    chunks = [b"<%d>" % n for n in range(count)]
    got, error = read(b"".join(map(chunked, chunks)), sleep(1), end, after=5)

    assert (b"".join(chunks), ConnectionLost.__name__) == (b"".join(got), error)


def test_a_long_body_keeps_flowing() -> None:
    """What is taken makes room for more, many times over what is held at most."""
    block = chunked(b"x" * 99) * 5000
    got, end = read(*[block] * 8, END)

    assert ("", 8 * 5000 * 99) == (end, len(b"".join(got)))
