import asyncio
import gc
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from weakref import ref

import aiohttp
import pytest

from llmstack import clock
from llmstack.testing.upstream import (
    Peer,
    Received,
    ScriptedUpstream,
    Unexpected,
    expect_disconnect,
    expect_request,
    fin,
    reset,
    rst,
    send,
    sleep,
    stall,
)
from llmstack.testing.virtual import run_virtual
from tests.gateway.faults.certificates import HOST, knowing, presenting


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
OPEN = b"HTTP/1.1 200 OK\r\n\r\nhalf"

Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]


async def dialled(upstream: ScriptedUpstream, client: Client) -> object:
    """What a client on a raw socket makes of the upstream; it hangs up at its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    try:
        return await client(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def read_all(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> bytes:
    return await reader.read()


def test_an_http_client_is_answered_and_its_requests_are_kept() -> None:
    """Two requests on one connection, with body and without; headers in lower case."""

    async def main() -> tuple[list[tuple[int, bytes]], list[Received], int]:
        answers = []
        async with (
            ScriptedUpstream([[expect_request, send(OK)] * 2]) as upstream,
            aiohttp.ClientSession() as session,
        ):
            for method, body in (("POST", b"{}"), ("GET", None)):
                url = f"{upstream.base_url}/x?y=1"
                async with session.request(method, url, data=body, headers={"X-Me": "  a:b "}) as r:
                    answers.append((r.status, await r.read()))
        return answers, upstream.requests, upstream.connections

    answers, requests, connections = asyncio.run(main())

    assert [(200, b"ok")] * 2 == answers
    assert [("POST", "/v1/x?y=1", b"{}"), ("GET", "/v1/x?y=1", b"")] == [
        (request.method, request.path, request.body) for request in requests
    ]
    assert ["a:b", "a:b"] == [request.headers["x-me"] for request in requests]
    assert 1 == connections


def test_each_connection_has_a_script_and_the_last_one_stays() -> None:
    """The third connection is played the second script again."""

    async def main() -> list[object]:
        async with ScriptedUpstream([[send(b"one")], [send(b"two")]]) as upstream:
            return [await dialled(upstream, read_all) for _ in range(3)]

    assert [b"one", b"two", b"two"] == asyncio.run(main())


def test_fin_ends_in_good_order_and_rst_does_not() -> None:
    """What was sent before arrives in both cases; after a fin the script goes on reading."""
    seen: list[bytes] = []

    async def hear(peer: Peer) -> None:
        seen.append(await peer.reader.readexactly(5))

    async def speak_last(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        heard = await reader.read()
        writer.write(b"later")
        return heard

    async def main() -> None:
        scripts = [[send(b"bye"), fin, hear], [send(b"by"), sleep(1), rst]]
        async with ScriptedUpstream(scripts) as upstream:
            assert b"bye" == await dialled(upstream, speak_last)
            with pytest.raises(ConnectionResetError):
                await dialled(upstream, read_all)

    run_virtual(main())

    assert [b"later"] == seen


def test_a_reset_drops_what_was_not_sent() -> None:
    """It comes at once, though the peer has not read; only what the kernel had arrives."""
    much = 50_000_000

    async def write(peer: Peer) -> None:
        peer.writer.write(bytes(much))

    async def count(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> int:
        arrived = 0
        with suppress(ConnectionResetError):  # a fin would be an incomplete read
            while True:
                arrived += len(await reader.readexactly(1000))
        return arrived

    async def main() -> object:
        async with ScriptedUpstream([[write, rst]]) as upstream:
            return await dialled(upstream, count)

    assert range(much // 2).__contains__(run_virtual(main())[0])


def test_what_is_sent_has_left_us() -> None:
    """When the next step begins, the kernel has it all, however late the peer reads."""
    left: set[int] = set()

    async def look(peer: Peer) -> None:
        left.add(peer.writer.transport.get_write_buffer_size())

    async def read_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        await asyncio.sleep(1)
        return len(await read_all(reader, writer))

    async def main() -> object:
        async with ScriptedUpstream([[send(bytes(30_000)), look] * 400]) as upstream:
            return await dialled(upstream, read_late)

    assert (400 * 30_000, 1.0) == run_virtual(main())
    assert {0} == left


def test_sleep_and_stall_wait_on_the_clock_of_the_loop() -> None:
    """The answer comes after the sleep; a stall says nothing until the client leaves."""

    async def impatient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
        writer.write(b"ignored")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7):
                await reader.read()
        return clock.now()

    async def main() -> tuple[object, object]:
        async with ScriptedUpstream([[sleep(3), send(b"late")], [stall]]) as upstream:
            return await dialled(upstream, read_all), await dialled(upstream, impatient)

    assert ((b"late", 10.0), 10.0) == run_virtual(main())


@pytest.mark.parametrize("within", [1.9, 2.1])
def test_the_client_must_leave_in_time(within: float) -> None:
    """Two seconds are too long for the one and not for the other."""

    async def slow(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2)

    async def main() -> None:
        async with ScriptedUpstream([[expect_disconnect(within)]]) as upstream:
            await dialled(upstream, slow)
            await asyncio.sleep(1)

    if within > 2:
        run_virtual(main())
    else:
        with pytest.raises(Unexpected, match=r"the peer is still there after 1\.9 s"):
            run_virtual(main())


@pytest.mark.parametrize(
    "sent", [b"", b"POST /v1 HT", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n"]
)
def test_half_a_request_is_not_what_was_expected(sent: bytes) -> None:
    """Neither half a head nor half a body, and the rest of the script is not played."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(sent)
        writer.write_eof()
        return await reader.read()

    async def main() -> None:
        async with ScriptedUpstream([[expect_request, send(OK)]]) as upstream:
            assert b"" == await dialled(upstream, client)
            assert [] == upstream.requests

    with pytest.raises(Unexpected, match="left before its request was complete"):
        asyncio.run(main())


def test_an_error_in_the_block_is_not_hidden_by_a_surprise() -> None:
    """The first thing that went wrong is what is raised."""

    async def main() -> None:
        async with ScriptedUpstream([[expect_request]]) as upstream:
            await dialled(upstream, lambda _reader, _writer: asyncio.sleep(0))
            await asyncio.sleep(0.1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_virtual(main())


def test_a_client_that_leaves_while_it_is_written_to_is_no_surprise() -> None:
    """Nobody has promised to listen."""

    async def main() -> None:
        async with ScriptedUpstream([[sleep(1), send(bytes(9_000_000)), sleep(1)]]) as upstream:
            await dialled(upstream, lambda _reader, _writer: asyncio.sleep(0))
            await asyncio.sleep(5)

    run_virtual(main())


def test_a_connection_that_was_reset_leaves_no_cycle() -> None:
    """Else asyncio complains, some time later, of an exception that nobody has looked at."""
    connections: list[ref[object]] = []

    async def keep(peer: Peer) -> None:
        connections.append(ref(peer.reader))

    async def client(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1)
        reset(writer.transport)

    async def main() -> list[object]:
        async with ScriptedUpstream([[keep, stall]]) as upstream:
            await dialled(upstream, client)
            await asyncio.sleep(1)
        return [each() for each in connections]

    gc.disable()
    try:
        # In a thread, or coverage loses lines: on 3.11 it does where a coroutine goes on behind
        # an exception.
        with ThreadPoolExecutor(1) as thread:
            assert [None] == thread.submit(run_virtual, main()).result()[0]
    finally:
        gc.enable()


def test_it_speaks_tls_too() -> None:
    """Each step as without it; a client that does not trust the certificate is not counted."""
    much = bytes(100_000)

    async def main() -> tuple[bytes, int, str]:
        script = [expect_request, send(OK), send(b""), send(much), send(OK)]
        async with ScriptedUpstream([script], ssl=presenting()) as upstream:
            strangers = ssl.create_default_context()
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection("127.0.0.1", upstream.port, ssl=strangers)
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", upstream.port, ssl=knowing(), server_hostname=HOST
            )
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            heard = await reader.read()
            writer.close()
            await writer.wait_closed()
            return heard, upstream.connections, upstream.base_url

    heard, connections, url = run_virtual(main())[0]

    assert OK + much + OK == heard
    assert (1, "https://127.0.0.1:") == (connections, url[:18])


def test_leaving_the_block_ends_what_still_plays() -> None:
    """The client sees the end, and no task is left."""

    async def main() -> bytes:
        async with ScriptedUpstream([[send(OPEN), sleep(1e9)]]) as upstream:
            reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
            await reader.readexactly(len(OPEN))
        assert 1 == len(asyncio.all_tasks())
        rest = await reader.read()
        writer.close()
        await writer.wait_closed()
        return rest

    assert (b"", 0.0) == run_virtual(main())
