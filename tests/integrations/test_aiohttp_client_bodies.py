"""Bodies and connections of a client that asks twice, and cancels: nothing is lost or held."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from io import BytesIO
from random import Random
from typing import Any
from weakref import ref

import aiohttp
import pytest
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession, web
from structlog.testing import capture_logs
from yarl import URL

import llmstack as ls
from llmstack.integrations.aiohttp import client_middleware
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from llmstack.testing.upstream import ScriptedUpstream, expect_request, send
from tests.integrations.served import Scripted, client, hang, nobody, outcome, played, serving


QUICK = ls.Retry(base=0.001)


def unfinished(status: int) -> Scripted:
    """Answers with a head and half a body, and leaves it at that; but only the first time."""

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"Retry-After": "2"})
        response.content_length = 8
        await response.prepare(request)
        await response.write(b"half")
        return await hang(request)

    return Scripted([half])


async def once(*parts: bytes) -> AsyncIterator[bytes]:
    """A body that is there only once."""
    for part in parts:
        yield part


def test_a_body_that_is_gone_is_not_sent_again() -> None:
    """The reply that came stands, at once; a second request would have had no body."""
    handler = Scripted([503])

    async def main() -> tuple[object, float]:
        async with serving(handler) as url:
            said = await outcome(url, client_middleware(ls.Retry()), data=once(b"a", b"b"))
        return said, asyncio.get_running_loop().time()

    assert ("503", 0.0) == played(main())
    assert [b"ab"] == handler.bodies


def test_a_body_that_can_be_had_again_is_sent_whole_again() -> None:
    """Bytes, and a file that is wound back."""
    handler = Scripted([503, 503])
    big = bytes(300_000)

    async def main() -> list[object]:
        retry = client_middleware(QUICK)
        async with serving(handler) as url:
            file = BytesIO(b"head" + big)
            file.seek(4)
            return [
                await outcome(url, retry, data=file),
                await outcome(url, retry, data=b"bytes"),
            ]

    assert ["200", "200"] == played(main())
    assert [big] * 3 + [b"bytes"] == handler.bodies


def test_a_body_that_was_never_sent_may_be_sent_once() -> None:
    """The connection was refused, so a body that is there once is still there."""
    handler = Scripted()

    async def main() -> object:
        url = URL(nobody())
        retry = client_middleware(ls.Retry(base=8, rng=Random(1)))
        async with asyncio.TaskGroup() as group:
            said = group.create_task(outcome(str(url), retry, data=once(b"a")))
            await asyncio.sleep(0.1)
            async with serving(handler, port=url.port or 0):
                await asyncio.wait([said])
        return said.result()

    assert "200" == played(main())
    assert [b"a"] == handler.bodies


def test_an_attempt_that_timed_out_has_used_the_body_up_too() -> None:
    """The retry learns it before anything is sent, and the time-out is the last word."""
    calls: list[bytes] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        calls.append(await request.read())
        return await hang(request)

    layers = ls.ServiceBuilder().layer(QUICK).layer(ls.Timeout(total=2))

    async def main() -> object:
        async with serving(handler, cancels=True) as url:
            return await outcome(url, client_middleware(layers), data=once(b"a"))

    said = played(main())
    assert isinstance(said, ls.UpstreamTimeout)
    assert [b"a"] == calls


def test_a_reply_that_comes_before_the_body_is_sent_ends_the_sending() -> None:
    """The next attempt begins with the body from its start, on another connection."""
    early = [send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")]
    then = [expect_request, send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")]
    big = bytes(8_000_000)

    async def main() -> object:
        async with ScriptedUpstream([early, then]) as upstream:
            said = await outcome(upstream.base_url, client_middleware(QUICK), data=BytesIO(big))
            assert [len(big)] == [len(request.body) for request in upstream.requests]
            return said

    assert "ok" == played(main())


@pytest.mark.parametrize("seconds", [1, 5], ids=["in the wait", "in the next attempt"])
def test_a_reply_that_nobody_will_read_gives_its_connection_back(seconds: float) -> None:
    """It has a body to come, and there is one connection: each further request finds it free."""
    handler = unfinished(503)
    middleware = client_middleware(ls.ServiceBuilder().layer(ls.Deadline(seconds)).layer(QUICK))

    async def main() -> None:
        async with (
            serving(handler, cancels=True) as url,
            client(middleware, limit=1) as session,
        ):
            if seconds < 2:
                with pytest.raises(ls.DeadlineExceeded):
                    await session.get(url)
            async with session.get(url) as reply:
                assert (200, "200") == (reply.status, await reply.text())

    played(main())
    assert 2 == len(handler.bodies)


def test_what_still_sends_the_body_is_waited_for() -> None:
    """Two attempts must not read from one file: the sending of the first has ended."""
    events: list[str] = []

    class Noted(ClientRequest):
        async def close(self) -> None:
            events.append("closed")
            await super().close()

    async def sends(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        events.append("sent")
        return await handler(request)

    async def main() -> None:
        async with (
            serving(Scripted([503, 503])) as url,
            ClientSession(
                request_class=Noted, middlewares=[client_middleware(QUICK), sends]
            ) as session,
            session.get(url) as reply,
        ):
            assert 200 == reply.status

    played(main())
    assert ["sent", "closed", "sent", "closed", "sent"] == events


def test_a_caller_who_leaves_gives_connection_and_permit_back() -> None:
    """In the middle of an attempt, and in the wait between two."""
    layers = ls.ServiceBuilder().layer(ls.ConcurrencyLimit(1)).layer(QUICK)
    handler = unfinished(503)

    async def main() -> None:
        middleware = client_middleware(layers)
        async with (
            serving(handler, cancels=True) as busy,
            serving(hang, cancels=True) as dead,
            client(middleware, limit=1) as session,
        ):
            for url in (busy, dead):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1):
                        await session.get(url)
                assert 0 == middleware.stack.statistics()["concurrency_limit"][None].in_flight
            async with session.get(busy) as reply:
                assert 200 == reply.status

    played(main())


def test_a_cancel_at_any_step_ends_the_call_once() -> None:
    """Through a retry, a breaker and a limit: cancelled once or twice, everything is given back."""
    layers = (
        ls.ServiceBuilder(seed=1)
        .layer(ls.Retry(base=0.1))
        .layer(ls.CircuitBreaker())
        .layer(ls.ConcurrencyLimit(1))
        .layer(ls.Timeout(total=9))
    )
    built: list[Any] = []
    reply: Any = "reply"

    async def scenario() -> object:
        built[:] = [client_middleware(layers)]
        failures = [aiohttp.ServerDisconnectedError(), aiohttp.ClientOSError()]
        request = ClientRequest("GET", URL("http://a/"), loop=asyncio.get_running_loop())

        async def handler(_request: ClientRequest) -> ClientResponse:
            await asyncio.sleep(1)
            if failures:
                raise failures.pop()
            return reply  # type: ignore[no-any-return]

        return await built[0](request, handler)

    def check(run: CancelledRun[object]) -> None:
        assert (("cancelled" if run.cancels else "returned"), ()) == (run.ended, run.left)
        statistics = built[0].stack.statistics()
        states = [
            *statistics["circuit_breaker"].values(),
            *statistics["concurrency_limit"].values(),
        ]
        assert {0} >= {state.in_flight for state in states}

    with capture_logs():
        runs = cancelled_everywhere(scenario, check)
    assert len(runs) > 10


@pytest.mark.parametrize("error", [aiohttp.ServerDisconnectedError, ls.ServerError, ls.Shed])
def test_a_failure_is_freed_without_the_collector(error: type[Exception]) -> None:
    """No request waits in memory for a failure that has left."""

    class Asked:
        body = b""

        async def close(self) -> None:
            pass

    async def handler(_request: object) -> ClientResponse:
        raise error

    async def fail() -> ref[Asked]:
        request: Any = Asked()
        with pytest.raises(error):
            await client_middleware(QUICK)(request, handler)
        return ref(request)

    gc.disable()
    try:
        assert played(fail())() is None
    finally:
        gc.enable()
