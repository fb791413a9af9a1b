"""The shared transport: its session, its connections, and how they are given back."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import ssl
import warnings
from collections.abc import Callable
from contextlib import ExitStack
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
    LLMStackError,
    ProtocolError,
    StreamBroken,
    UpstreamError,
    UpstreamTimeout,
)
from llmstack.messages import EventStream
from llmstack.providers.incoming import LINGER, BadFraming, fault_of
from llmstack.providers.openai import OpenAI
from llmstack.providers.transport import Transport, timeout
from llmstack.testing.upstream import (
    ScriptedUpstream,
    Step,
    expect_disconnect,
    expect_request,
    rst,
    send,
    sleep,
    stall,
)
from llmstack.testing.virtual import run_virtual
from tests.providers.openai import scripts as s
from tests.providers.openai.scripts import ask, chunked, request, serve, sized, text


GOOD: Final = sized(b'{"choices":[{"message":{"content":"hi"}}]}')
LEFT: Final = expect_disconnect(within=5)


def test_the_session_does_nothing_behind_our_back() -> None:
    """Each option that aiohttp has another default for."""

    async def main() -> aiohttp.ClientSession:
        async with Transport() as transport:
            return transport.session

    session = asyncio.run(main())
    expected = aiohttp.ClientTimeout(total=None, connect=2, sock_connect=2, sock_read=None)

    assert isinstance(session.cookie_jar, aiohttp.DummyCookieJar)
    assert (False, False, None) == (
        *(session.trust_env, session.auto_decompress, session.timeout.total),
    )
    assert expected == timeout(2)


def test_leaves_share_a_transport_until_the_last_one_is_out() -> None:
    """Blocks nest and overlap; afterwards a new session is made when it is needed."""

    async def main() -> None:
        transport = Transport()
        one, two = (OpenAI("http://127.0.0.1:1", transport=transport) for _ in range(2))
        async with one:
            first = transport.session
            async with two, transport:
                assert first is transport.session
            assert not first.closed
        async with one:
            second = transport.session
            await transport.aclose()
            third = transport.session
        await transport.aclose()

        assert 3 == len({first, second, third})
        assert all(session.closed for session in (first, second, third))

    asyncio.run(main())


def test_each_loop_has_a_session_of_its_own() -> None:
    """And the one of a loop that is over is dropped when another loop comes."""
    transport = Transport()

    async def main() -> aiohttp.ClientSession:
        return transport.session

    first = asyncio.run(main())
    with asyncio.Runner() as runner:
        second = runner.run(main())
        assert first is not second
        assert second is runner.run(main())
        assert [runner.get_loop()] == list(transport._lanes)
        runner.run(transport.aclose())
        runner.run(first.close())  # or it would say that nobody has

    assert second.closed


def test_certificates_are_one_s_own_business() -> None:
    """An SSL context goes to the connector; without one the usual checks are made."""
    context = ssl.create_default_context()

    async def main() -> list[object]:
        found: list[object] = []
        for transport in (Transport(ssl=context), Transport()):
            async with transport:
                assert isinstance(transport.session.connector, aiohttp.TCPConnector)
                found.append(transport.session.connector._ssl)
        return found

    assert [context, True] == asyncio.run(main())


def failure(base_url: str, connect: float = 3.0) -> tuple[LLMStackError, float]:
    async def main() -> LLMStackError:
        async with OpenAI(base_url, api_key=s.KEY, connect=connect) as leaf:
            with pytest.raises(LLMStackError) as caught:
                await leaf(request())
            return caught.value

    return run_virtual(main())


def test_a_refused_connection_was_not_made() -> None:
    """So nothing was sent, and nothing can have been billed."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        error, _ = failure(f"http://127.0.0.1:{bound.getsockname()[1]}/v1")

    assert isinstance(error, ConnectionFailed)
    assert "could not connect (ECONNREFUSED)" == error.message
    assert isinstance(error.__cause__, aiohttp.ClientConnectorError)


def test_a_connection_that_hangs_is_given_up() -> None:
    """After *connect* seconds, whatever layers there are."""
    with socket.socket() as full, ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # more than fit: the kernel lets the rest wait
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        error, elapsed = failure(f"http://127.0.0.1:{full.getsockname()[1]}/v1", connect=2.5)

    assert isinstance(error, UpstreamTimeout)
    assert ("connect", True, True) == (error.phase, error.again, error.elsewhere)
    assert pytest.approx(2.5) == elapsed


def test_no_handshake_is_no_connection() -> None:
    """Where TLS was agreed on, nothing is sent without it."""

    async def main() -> LLMStackError | None:
        async with ScriptedUpstream(
            [[send(b"HTTP/1.1 400 No TLS here\r\n\r\n"), stall]]
        ) as upstream:
            leaf = OpenAI(upstream.base_url.replace("http:", "https:"), api_key=s.KEY)
            async with leaf:
                played = await ask(leaf, request(), upstream)
        assert [] == upstream.requests
        return played.error

    assert isinstance(asyncio.run(main()), ConnectionFailed)


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
def test_a_stream_may_be_closed_when_its_loop_is_gone(*, tidy: bool) -> None:
    """By its finaliser: it ends once, nothing is raised, and no socket stays open."""
    with warnings.catch_warnings():
        # Of a transport that was left open asyncio says so, when it closes the socket.
        warnings.simplefilter("error" if tidy else "ignore", ResourceWarning)
        stream, session = asyncio.run(left_open(text("x"), tidy=tidy))
        stream.close()
        assert stream.ended is not None
        assert "abandoned" == stream.ended.how
        asyncio.run(session.close())  # or it would say that nobody has
        del stream, session
        gc.collect()


def test_a_whole_stream_may_be_closed_when_its_loop_is_gone() -> None:
    """As above; its connection is not waited for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        stream, session = asyncio.run(left_open(s.WHOLE, tidy=False))
        assert stream.source.complete
        stream.close()
        asyncio.run(session.close())
        del stream, session
        gc.collect()


async def left_open(events: bytes, *, tidy: bool) -> tuple[EventStream, aiohttp.ClientSession]:
    transport = Transport()
    async with ScriptedUpstream(
        [[expect_request, send(s.SSE + chunked(events)), stall]]
    ) as upstream:
        stream = await OpenAI(upstream.base_url, transport=transport)(request())
        assert isinstance(stream, EventStream)
        session = transport.session
        if tidy:
            await transport.aclose()
        return stream, session
