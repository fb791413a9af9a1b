"""What comes in is handed out whole, in order, and before the news that nothing more will."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from yarl import URL

from llmstack.errors import ConnectionLost, ProtocolError, UpstreamError
from llmstack.providers import incoming
from llmstack.providers.incoming import Incoming
from llmstack.providers.transport import Outgoing, Transport, timeout
from llmstack.providers.wire import Exchange
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


@pytest.mark.parametrize("count", [1, 2, 5, 3000])
def test_chunks_that_came_together_are_handed_out_together(count: int) -> None:
    """However many they are; and the body ends where it ends."""
    chunks = [b"<%d>" % n for n in range(count)]
    got, end = read(b"".join(map(chunked, chunks)), sleep(1), chunked(b"last") + END, after=0.5)

    assert ("", b"".join(chunks) + b"last") == (end, b"".join(got))
    assert b"last" == got[-1]


@pytest.mark.parametrize("end", [fin, rst])
@pytest.mark.parametrize("count", [1, 13])
def test_what_came_before_the_loss_is_handed_out_before_it_is_told(count: int, end: Step) -> None:
    """Although nobody had read it when the connection was lost."""
    chunks = [b"<%d>" % n for n in range(count)]
    got, error = read(b"".join(map(chunked, chunks)), sleep(1), end, after=5)

    assert (b"".join(chunks), ConnectionLost.__name__) == (b"".join(got), error)


@pytest.mark.parametrize("size", [9, 99])
@pytest.mark.parametrize("after", [0.0, 1.0], ids=["at once", "late"])
def test_a_long_body_keeps_flowing(size: int, after: float) -> None:
    """What is taken makes room for more, many times over what is held at most."""
    block = chunked(b"x" * size) * 10_000
    got, end = read(*[block] * 8, END, after=after)

    assert ("", 8 * 10_000 * size) == (end, len(b"".join(got)))


def test_of_what_was_handed_out_nothing_stays() -> None:
    """aiohttp keeps where each chunk ends, and stops reading when those are many."""
    held: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        content = StreamReader(BaseProtocol(loop), 1 << 16, loop=loop)
        connection: Any = SimpleNamespace(protocol=None)
        incoming = Incoming(Exchange(200, {}, content, connection))
        for _ in range(9):
            content.begin_http_chunk_receiving()
            content.feed_data(b"data")
            content.end_http_chunk_receiving()
            assert b"data" == await incoming.chunk()
            held.append(len(content._http_chunk_splits or ()) + content._size)

    run_virtual(main())

    assert [0] * 9 == held


def test_a_connection_that_is_gone_is_not_waited_for() -> None:
    """Although nobody said that it was lost."""

    async def main() -> bytes:
        protocol = BaseProtocol(asyncio.get_running_loop())
        content = StreamReader(protocol, 1 << 16, loop=asyncio.get_running_loop())
        connection: Any = SimpleNamespace(protocol=None)
        async with asyncio.timeout(1):
            return await Incoming(Exchange(200, {}, content, connection)).chunk()

    with pytest.raises(ProtocolError, match="the reply is not HTTP"):
        run_virtual(main())


@pytest.mark.parametrize("known", [True, False], ids=["known", "another"])
@pytest.mark.parametrize(
    ("steps", "got", "error"),
    [
        ((chunked(b"a"), chunked(b"b"), sleep(1), chunked(b"c"), END), b"abc", ""),
        ((END,), b"", ""),
        ((chunked(b"a"), sleep(1), rst), b"a", ConnectionLost.__name__),
    ],
)
def test_another_aiohttp_is_read_in_its_own_way(
    monkeypatch: pytest.MonkeyPatch,
    known: bool,  # noqa: FBT001
    steps: tuple[bytes | Step, ...],
    got: bytes,
    error: str,
) -> None:
    """One that keeps its bytes elsewhere than it does now; the one that is installed is known."""
    assert incoming.KNOWN
    monkeypatch.setattr(incoming, "KNOWN", known)

    chunks, ended = read(*steps)

    assert (got, error) == (b"".join(chunks), ended)
