"""A reply as it comes in: what breaks it, and how its connection is given back."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import ssl
import warnings
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import BadStatusLine
from aiohttp.http_parser import RawResponseMessage
from multidict import CIMultiDict, CIMultiDictProxy

from llmstack.errors import (
    ConnectionFailed,
    ConnectionLost,
    ProtocolError,
    StreamBroken,
    UpstreamError,
    UpstreamTimeout,
)
from llmstack.messages import EventStream
from llmstack.providers.faults import BadFraming, fault_of
from llmstack.providers.incoming import LINGER, Incoming
from llmstack.providers.openai import OpenAI
from llmstack.providers.transport import Transport
from llmstack.testing.upstream import (
    ScriptedUpstream,
    Step,
    expect_disconnect,
    expect_request,
    rst,
    sleep,
    stall,
)
from llmstack.testing.virtual import run_virtual
from tests.providers.openai import scripts as s
from tests.providers.openai.scripts import ask, chunked, request, serve, sized, text


GOOD: Final = sized(b'{"choices":[{"message":{"content":"hi"}}]}')
LEFT: Final = expect_disconnect(within=5)


KEYED: Final = ConnectionKey(s.KEY, 1, False, True, None, None, None)
HEADERS: Final = CIMultiDictProxy(CIMultiDict({"X-Canary": s.KEY}))
RAW: Final = RawResponseMessage(
    *(aiohttp.HttpVersion11, 200, s.KEY, HEADERS, (), True, None, False, False),
)


def connector(kind: Callable[[ConnectionKey, Any], Exception], cause: OSError) -> Exception:
    """The error as aiohttp raises it."""
    error = kind(KEYED, cause)
    error.__cause__ = cause
    return error


MEANINGS: Final[dict[str, tuple[Exception, type[UpstreamError], str]]] = {
    "name": (
        aiohttp.ClientConnectorDNSError(KEYED, OSError(-2, "not known")),
        ConnectionFailed,
        "the name of the host is not known",
    ),
    "refused": (
        connector(aiohttp.ClientConnectorError, OSError(errno.EHOSTUNREACH, s.KEY)),
        ConnectionFailed,
        "could not connect (EHOSTUNREACH)",
    ),
    "refused for another reason": (
        connector(aiohttp.ClientConnectorError, OSError(s.KEY)),
        ConnectionFailed,
        "could not connect (OSError)",
    ),
    "certificate": (
        connector(aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError(s.KEY)),
        ConnectionFailed,
        "could not connect (SSLCertVerificationError)",
    ),
    "late": (
        aiohttp.ConnectionTimeoutError(s.KEY),
        UpstreamTimeout,
        "the connection was not made in time",
    ),
    "gone": (
        aiohttp.ServerDisconnectedError(),
        ConnectionLost,
        "the connection was closed before a reply",
    ),
    "gone inside the head": (
        aiohttp.ServerDisconnectedError(RAW),
        ProtocolError,
        "the connection was closed inside the head of the reply",
    ),
    "no HTTP": (
        aiohttp.ClientResponseError(None, (), status=400, message=s.KEY),  # type: ignore[arg-type]
        ProtocolError,
        "the reply is not HTTP",
    ),
    "cut": (
        aiohttp.ClientPayloadError("x"),
        ConnectionLost,
        "the connection was cut inside the reply",
    ),
    "bad framing": (BadFraming("x"), ProtocolError, "the reply is not HTTP"),
    "nobody said why": (RuntimeError("closed"), ProtocolError, "the reply is not HTTP"),
    "reset": (
        aiohttp.ClientOSError(errno.ECONNRESET, "reset"),
        ConnectionLost,
        "the connection was lost (ECONNRESET)",
    ),
    "something else": (
        aiohttp.ClientConnectionError(s.KEY),
        ConnectionLost,
        "the connection was lost (ClientConnectionError)",
    ),
}


@pytest.mark.parametrize(("error", "kind", "words"), MEANINGS.values(), ids=MEANINGS)
def test_each_complaint_of_aiohttp_has_a_meaning(
    error: Exception, kind: type[UpstreamError], words: str
) -> None:
    """In doubt the request had been sent. Ours has no word of the other side."""
    error.__cause__ = error.__cause__ or BadStatusLine(s.KEY)
    fault = fault_of(error)

    assert kind is type(fault)
    assert words == fault.message
    assert fault.__cause__ in (None, error)
    assert fault.__cause__ is None or error.__cause__ is None


def connections(*scripts: list[bytes | Step], wait: float = 0.0) -> tuple[int, list[str]]:
    """Ask twice; return how many connections that took, and how the two ended."""
    ended: list[str] = []

    async def main(leaf: OpenAI, upstream: ScriptedUpstream) -> None:
        for n in range(2):
            played = await ask(leaf, request(stream=n == 0), upstream)
            ended.append(type(played.error).__name__)
            await asyncio.sleep(wait)
        ended.append(str(upstream.connections))

    run_virtual(serve(list(scripts), main))
    return int(ended.pop()), ended


STREAM: Final = s.SSE + chunked(s.WHOLE)
TWICE: Final[list[bytes | Step]] = [expect_request, GOOD]


@pytest.mark.parametrize(
    "first",
    [
        [STREAM + s.END],
        [STREAM, sleep(0.1), s.END],
        [s.SSE + chunked(s.ROLE, text("x"), s.STOP), sleep(0.1), s.END],
    ],
    ids=["at once", "a little later", "without done"],
)
def test_a_stream_that_is_over_leaves_its_connection_to_the_next(
    first: list[bytes | Step],
) -> None:
    """Also if the end of the body comes a moment after the end of the stream."""
    script = [expect_request, *first, *TWICE]

    assert (1, ["NoneType"] * 2) == connections(script, wait=0.2)


def test_a_connection_is_reused_after_an_error() -> None:
    """An answer is an answer."""
    refusal = sized(b"{}", b"HTTP/1.1 429 No\r\n")

    assert (1, ["RateLimited", "NoneType"]) == connections([expect_request, refusal, *TWICE])


@pytest.mark.parametrize(
    ("first", "error"),
    [
        ([STREAM], "NoneType"),
        ([s.SSE + chunked(s.ROLE, s.ERROR)], "ServerError"),
        ([s.SSE + chunked(text("x"), s.ERROR)], "StreamBroken"),
        ([s.SSE + chunked(text("x"), s.DONE)], "StreamIncomplete"),
        ([sized(b"x" * 99, b"HTTP/1.1 500 No\r\nContent-Encoding: x\r\n")[:-9]], "ServerError"),
        ([GOOD.replace(b"/json", b"/pdf") + b"HTTP/1.1 200 OK\r\n\r\nmore"], "ProtocolError"),
    ],
    ids=["no end", "error", "error later", "incomplete", "unread", "more than the reply"],
)
def test_any_other_connection_is_closed(first: list[bytes | Step], error: str) -> None:
    """A body that does not end in time would be taken for the next reply."""
    took = connections([expect_request, *first, LEFT], TWICE, wait=2 * LINGER)

    assert (2, [error, "NoneType"]) == took


def test_a_transport_that_closes_waits_for_no_body() -> None:
    """Nor does a connection that is reset meanwhile make any noise."""

    async def main(leaf: OpenAI, upstream: ScriptedUpstream) -> None:
        for _ in range(2):
            assert (await ask(leaf, request(), upstream)).error is None
        await asyncio.sleep(0.1)

    asyncio.run(
        serve([[expect_request, STREAM, stall], [expect_request, STREAM, sleep(0.01), rst]], main)
    )


@pytest.mark.parametrize(
    ("replies", "stream"),
    [([GOOD[:-5], sleep(0.01), GOOD[-5:]], False), ([STREAM, sleep(0.01), s.END], True)],
    ids=["whole", "stream"],
)
def test_a_connection_keeps_nothing_of_its_replies(
    replies: list[bytes | Step], *, stream: bool
) -> None:
    """However many it carries; and nobody complains when it is reset while it is idle."""

    async def main(leaf: OpenAI, upstream: ScriptedUpstream) -> None:
        closed: asyncio.Future[None] | None = None
        reply: object = None
        for _ in range(5):
            reply = await leaf(request(stream=stream))
            if isinstance(reply, EventStream):
                connection = reply.source.incoming.response.connection  # type: ignore[attr-defined]
                closed = connection.protocol.closed
                assert 9 == len([event async for event in reply]) + 3
                await asyncio.sleep(0.05)
        reply = None
        assert 1 == upstream.connections
        assert closed is None or 1 == len(closed._callbacks)
        assert [] == [each for each in gc.get_objects() if type(each) is Incoming]
        await asyncio.sleep(0.2)

    run_virtual(serve([[*(expect_request, *replies) * 5, sleep(0.1), rst]], main))
    gc.collect()


@pytest.mark.parametrize("cancel", [False, True], ids=["closed", "closing cancelled"])
def test_a_transport_that_closes_breaks_what_is_under_way(*, cancel: bool) -> None:
    """Nobody waits for ever for a connection that is gone."""

    async def main(leaf: OpenAI, _upstream: ScriptedUpstream) -> None:
        stream = await leaf(request())
        assert isinstance(stream, EventStream)
        if cancel:  # what becomes of aiohttp's own waiting, where TLS takes its time
            closed = stream.source.incoming.response.connection.protocol.closed  # type: ignore[attr-defined]
            closed.cancel()
        await leaf.transport.aclose()
        with pytest.raises(StreamBroken):
            [event async for event in stream]

    asyncio.run(serve([[expect_request, s.SSE + chunked(text("x")), LEFT]], main))


@pytest.mark.parametrize(
    "leave",
    [
        lambda stream: stream.close(),
        lambda stream: stream.abort(ProtocolError()),
        lambda stream: stream.__del__(),
    ],
    ids=["closed", "aborted", "dropped"],
)
def test_a_stream_that_is_left_closes_its_connection(
    leave: Callable[[EventStream], None],
) -> None:
    """At once, so that the provider stops writing what nobody reads."""

    async def main(leaf: OpenAI, _upstream: ScriptedUpstream) -> None:
        stream = await leaf(request())
        assert isinstance(stream, EventStream)
        leave(stream)
        stream.close()
        await asyncio.sleep(0.1)

    asyncio.run(serve([[expect_request, s.SSE + chunked(text("x")), LEFT]], main))


def test_a_stream_that_is_dropped_closes_its_connection() -> None:
    """Without a collector: nothing keeps it alive."""

    async def main(leaf: OpenAI, _upstream: ScriptedUpstream) -> None:
        gc.disable()
        try:
            await leaf(request())
            await asyncio.sleep(0.1)
        finally:
            gc.enable()

    asyncio.run(serve([[expect_request, s.SSE + chunked(text("x")), LEFT]], main))


@pytest.mark.parametrize("steps", [0, *range(1, 40, 2)])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_caller_who_leaves_closes_the_connection(steps: int, *, stream: bool) -> None:
    """At whatever step, before the head, inside a body, between events."""
    head = s.SSE if stream else s.JSON + b"Transfer-Encoding: chunked\r\n\r\n"
    pieces = [step for n in range(9) for step in (chunked(text(str(n))), sleep(0))]
    script: list[bytes | Step] = [head, sleep(0), *pieces, LEFT]

    async def main(leaf: OpenAI, upstream: ScriptedUpstream) -> None:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(ask(leaf, request(stream=stream), upstream))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
        assert task.cancelled()
        await asyncio.sleep(0.01)

    asyncio.run(serve([script], main))


@pytest.mark.parametrize("tidy", [True, False], ids=["transport closed", "transport open"])
@pytest.mark.parametrize("events", [text("x"), s.WHOLE], ids=["begun", "whole"])
def test_a_stream_may_be_closed_when_its_loop_is_gone(events: bytes, *, tidy: bool) -> None:
    """By its finaliser: it ends once, nothing is raised, and no socket stays open."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        warnings.catch_warnings(record=True) as said,
    ):
        warnings.simplefilter("always")
        stream, session, peer = asyncio.run(left_open(listener, events, tidy=tidy))
        stream.close()
        assert stream.ended is not None
        assert "abandoned" == stream.ended.how
        asyncio.run(session.close())  # or it would say that nobody has
        del stream, session
        gc.collect()
        with peer:
            peer.settimeout(s.PATIENCE)
            assert b"" == peer.recv(1)

    # Of a transport that was left open asyncio says so, when it closes the socket.
    assert tidy is not any("unclosed transport" in str(each.message) for each in said)
    assert not any("Unclosed connection" in str(each.message) for each in said)


async def left_open(
    listener: socket.socket, events: bytes, *, tidy: bool
) -> tuple[EventStream, aiohttp.ClientSession, socket.socket]:
    """Return a stream at its first content, and the socket that it comes from."""
    host, port = listener.getsockname()
    transport, loop = Transport(), asyncio.get_running_loop()
    listener.setblocking(False)
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(ask_at(f"http://{host}:{port}", transport))
        peer, _ = await loop.sock_accept(listener)
        await loop.sock_recv(peer, 1 << 16)
        await loop.sock_sendall(peer, s.SSE + chunked(events))
    session = transport.session
    if tidy:
        await transport.aclose()
    return asked.result(), session, peer


async def ask_at(url: str, transport: Transport) -> EventStream:
    stream = await OpenAI(url, transport=transport)(request())
    assert isinstance(stream, EventStream)
    return stream
