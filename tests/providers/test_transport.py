"""The shared transport: its session, and how connections are made."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import ExitStack

import aiohttp
import pytest

from llmstack.errors import (
    ConnectionFailed,
    LLMStackError,
    UpstreamTimeout,
)
from llmstack.providers.openai import OpenAI
from llmstack.providers.transport import Transport, timeout
from llmstack.testing.upstream import (
    ScriptedUpstream,
    expect_request,
    rst,
    send,
    stall,
)
from llmstack.testing.virtual import run_virtual
from tests.gateway.faults.connecting import Names
from tests.providers.openai import scripts as s
from tests.providers.openai.scripts import ask, request


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


def test_a_name_is_asked_for_again_if_it_was_not_known() -> None:
    """At once; and one that was known is not, for a while."""
    names = Names("provider.test", lost=1)

    async def main() -> list[str]:
        async with ScriptedUpstream([[expect_request, send(s.sized(b"{}")), rst]]) as upstream:
            url = upstream.base_url.replace("127.0.0.1", "provider.test")
            async with OpenAI(url, transport=Transport(resolver=names)) as leaf:
                played = [await ask(leaf, request(stream=False), upstream) for _ in range(3)]
        return [type(each.error).__name__ for each in played]

    assert ["ConnectionFailed", "EmptyResponse", "EmptyResponse"] == run_virtual(main())[0]
    assert 2 == names.asked
