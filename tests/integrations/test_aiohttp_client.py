"""Layers as middleware of a real aiohttp client, over real servers that misbehave."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientRequest, ClientResponse, web
from aiohttp.http_exceptions import BadHttpMessage
from yarl import URL

import llmstack as ls
from llmstack.estimators.trip import ConsecutiveFailures
from llmstack.integrations.aiohttp import client_middleware
from llmstack.integrations.aiohttp_answers import Client
from llmstack.layers.circuit_breaker import CircuitBreakerService
from llmstack.testing.upstream import ScriptedUpstream, expect_request, fin, rst, send
from tests.integrations.served import (
    Scripted,
    Wraps,
    client,
    nobody,
    outcome,
    played,
    serving,
    slow,
)


QUICK = ls.Retry(base=0.001)
DROPPED = [expect_request, rst]
ANSWERED = [expect_request, send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529, 599])
def test_a_failure_is_asked_again_and_the_last_reply_can_be_read(status: int) -> None:
    """All attempts on one connection: the earlier replies have let go of it.

    A server that says that it failed is asked once more, and any other one twice.
    """
    asks = 2 if status in {500, 502, 504, 599} else 3
    handler = Scripted([status] * (asks + 1))

    async def main() -> None:
        async with serving(handler) as url, client(client_middleware(QUICK), limit=1) as session:
            async with session.get(url) as last:
                assert (status, f"{status}") == (last.status, await last.text())
            assert asks == len(handler.bodies)
            async with session.get(url) as next_one:
                assert 200 == next_one.status

    played(main())
    assert asks + 2 == len(handler.bodies)


@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 404, 499])
def test_a_reply_that_is_no_failure_is_asked_for_once(status: int) -> None:
    """Whatever it says."""
    handler = Scripted([status])

    async def main() -> int:
        async with (
            serving(handler) as url,
            client(client_middleware(QUICK)) as session,
            session.get(url, allow_redirects=False) as reply,
        ):
            return reply.status

    assert status == played(main())
    assert 1 == len(handler.bodies)


def facts(error: object) -> tuple[object, ...]:
    """What tells an exception from others: its class, its text, what it came from."""
    assert isinstance(error, Exception)
    causes = type(error.__cause__), type(error.__context__), error.__suppress_context__
    return type(error), str(error), *causes


def test_a_refused_connection_is_tried_again_and_raised_as_aiohttp_does() -> None:
    """The exception is the one that a bare session raises, with its cause."""
    url = nobody()
    recorder = ls.MemoryRecorder()
    layers = ls.ServiceBuilder().layer(QUICK).layer(ls.Metrics(recorder))

    async def main() -> tuple[object, object]:
        return await outcome(url), await outcome(url, client_middleware(layers))

    bare, stacked = played(main())
    assert isinstance(bare, aiohttp.ClientConnectorError)
    assert facts(bare) == facts(stacked)
    labels = {"endpoint": "", "how": "failed", "error": "ConnectionFailed"}
    assert 3 == recorder.value("llmstack_calls_total", labels)


def test_a_connection_that_is_cut_is_made_again() -> None:
    """And if it is cut each time, aiohttp's own word for it is the last."""

    async def main() -> tuple[object, object, object]:
        async with (
            ScriptedUpstream([DROPPED, [expect_request, fin], ANSWERED]) as once,
            ScriptedUpstream([DROPPED]) as always,
        ):
            retry = client_middleware(QUICK)
            good = await outcome(once.base_url, retry, data=b"x")
            bare = await outcome(always.base_url, data=b"x")
            last = await outcome(always.base_url, retry, data=b"x")
            assert [b"x"] * 3 == [request.body for request in once.requests]
            assert 1 + 3 == len(always.requests)
            return good, bare, last

    good, bare, last = played(main())
    assert "ok" == good
    assert facts(bare) == facts(last)


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"Retry-After": "7"}, 7.0),
        (
            {
                "Retry-After": "Sun, 06 Nov 1994 08:49:42 GMT",
                "Date": "Sun, 06 Nov 1994 08:49:37 GMT",
            },
            5.0,
        ),
        ({"Retry-After": "-1"}, 0.0),
    ],
    ids=["seconds", "date", "nonsense"],
)
def test_the_server_says_how_long_to_wait(headers: dict[str, str], waits: float) -> None:
    """``Retry-After`` is a floor, in seconds or as a date, and up to a tenth is added."""
    handler = Scripted([web.Response(status=429, headers=headers)])

    async def main() -> float:
        async with serving(handler) as url:
            assert "200" == await outcome(url, client_middleware(QUICK))
        return asyncio.get_running_loop().time()

    assert waits <= played(main()) <= waits + min(waits / 10, 1) + 0.01


def test_a_breaker_counts_by_host_and_raises_before_anything_is_sent() -> None:
    """An open circuit is `CircuitOpen` for the caller; another host is still asked."""
    bad, good = Scripted([500] * 9), Scripted()
    breaker = ls.CircuitBreaker(
        ConsecutiveFailures(2), key=lambda request: request.url.port, ramp=0
    )
    middleware = client_middleware(breaker)

    async def main() -> None:
        async with serving(bad) as one, serving(good) as other:
            seen = [await outcome(one, middleware) for _ in range(3)]
            assert ["500", "500"] == seen[:2]
            assert isinstance(seen[2], ls.CircuitOpen)
            assert "200" == await outcome(other, middleware)
            middleware.stack.find(CircuitBreakerService).close(URL(one).port)
            assert "500" == await outcome(one, middleware)

    played(main())
    assert (3, 1) == (len(bad.bodies), len(good.bodies))


def test_a_timeout_is_one_for_the_caller_too() -> None:
    """`UpstreamTimeout` is a `TimeoutError`; the retry above it asks again."""
    calls: list[int] = []

    async def handler(_request: web.Request) -> web.StreamResponse:
        calls.append(1)
        await asyncio.sleep(3 if len(calls) < 3 else 0)
        return web.Response(text="at last")

    async def main() -> list[object]:
        timeout = ls.Timeout(total=1)
        async with serving(handler, cancels=True) as url:
            return [
                await outcome(url, client_middleware(timeout)),
                await outcome(url, client_middleware(ls.ServiceBuilder((QUICK, timeout)))),
            ]

    first, second = played(main())
    assert isinstance(first, TimeoutError)
    assert "no end of the reply within 1 s" == str(first)
    assert "at last" == second


def test_a_limit_counts_by_a_header_and_until_the_head_of_the_reply() -> None:
    """Two of one tenant do not fit; while a body is read the permit is back."""
    limit = client_middleware(ls.ConcurrencyLimit(1, key=lambda request: request.headers["Who"]))

    async def main() -> None:
        async with serving(slow) as url, client(limit) as session:
            mine = asyncio.ensure_future(session.get(url, headers={"Who": "me"}))  # noqa: TID251
            await asyncio.sleep(0.5)
            with pytest.raises(ls.ConcurrencyFull):
                await session.get(url, headers={"Who": "me"})
            async with (
                session.get(url, headers={"Who": "you"}) as yours,
                await mine as reply,
                session.get(url, headers={"Who": "me"}) as third,
            ):
                assert ["slow"] * 3 == [await each.text() for each in (yours, reply, third)]

    played(main())


def test_layers_in_one_builder_and_middlewares_in_a_row_are_the_same() -> None:
    """What an inner middleware refuses, an outer one understands: the retry waits for it."""
    breaker = ls.CircuitBreaker(ConsecutiveFailures(1), base=2, cap=2, ramp=0)
    retry = ls.Retry(base=0.001)

    async def main(*middlewares: Wraps) -> tuple[object, list[bytes], float]:
        handler = Scripted([500])
        async with serving(handler) as url:
            said = await outcome(url, *middlewares, data=b"x")
        return said, handler.bodies, round(asyncio.get_running_loop().time())

    one = client_middleware(ls.ServiceBuilder(seed=1).layer(retry).layer(breaker))
    two = [client_middleware(ls.ServiceBuilder(seed=1).layer(each)) for each in (retry, breaker)]

    expected = played(main(one))
    assert ("200", [b"x", b"x"]) == expected[:2]
    assert expected[:2] == played(main(*two))[:2]


def test_two_middlewares_have_separate_states() -> None:
    """Even of one layer object."""
    layer = ls.ConcurrencyLimit(1)

    async def main() -> None:
        async with serving(slow) as url:
            said = await asyncio.gather(*(outcome(url, client_middleware(layer)) for _ in range(2)))
        assert ["slow", "slow"] == said

    played(main())


def test_many_requests_at_once_get_each_their_own_reply() -> None:
    """A hundred on one middleware and ten connections, each failing twice in between."""
    calls: dict[str, int] = {}

    async def handler(request: web.Request) -> web.StreamResponse:
        path = request.path
        calls[path] = calls.get(path, 0) + 1
        await asyncio.sleep(0.1)
        return web.Response(text=path, status=200 if calls[path] == 3 else 503)

    async def main() -> list[str]:
        retry = client_middleware(QUICK)
        async with serving(handler) as url, client(retry, limit=10) as session:

            async def one(n: int) -> str:
                async with session.get(f"{url}/{n}") as reply:
                    return await reply.text()

            return await asyncio.gather(*(one(n) for n in range(100)))

    assert [f"/{n}" for n in range(100)] == played(main())


def from_parser() -> aiohttp.ClientResponseError:
    """What aiohttp raises where the head of a reply cannot be read."""
    error = failed(400)
    error.__cause__ = BadHttpMessage("bad")
    return error


def failed(status: int, retry_after: str = "") -> aiohttp.ClientResponseError:
    """What a middleware below may raise for a status."""
    info: Any = aiohttp.RequestInfo(URL("http://a/"), "GET", {}, URL("http://a/"))  # type: ignore[arg-type]
    headers: Any = {"Retry-After": retry_after} if retry_after else None
    return aiohttp.ClientResponseError(info, (), status=status, headers=headers)


KEY: Any = None
REFUSED = ConnectionRefusedError(111, "refused")
#: An exception of aiohttp, what it means, and some facts of that.
MEANINGS: list[tuple[Exception, type[ls.LLMStackError] | None, dict[str, object]]] = [
    (aiohttp.ClientConnectorError(KEY, REFUSED), ls.ConnectionFailed, {"unsent": True}),
    (aiohttp.ClientConnectorDNSError(KEY, REFUSED), ls.ConnectionFailed, {"unsent": True}),
    (aiohttp.ConnectionTimeoutError(), ls.UpstreamTimeout, {"phase": "connect", "unsent": True}),
    (aiohttp.SocketTimeoutError(), ls.UpstreamTimeout, {"unsent": False, "again": True}),
    (TimeoutError(), ls.UpstreamTimeout, {"again": True}),
    (aiohttp.ServerDisconnectedError(), ls.ConnectionLost, {"unsent": False, "again": True}),
    (aiohttp.ClientOSError(104, "reset"), ls.ConnectionLost, {"again": True}),
    (aiohttp.ClientPayloadError(), ls.ConnectionLost, {}),
    (ConnectionResetError(), ls.ConnectionLost, {}),
    (from_parser(), ls.ProtocolError, {"again": False, "blames": "endpoint"}),
    (failed(503, "5"), ls.Overloaded, {"retry_after": 5.0, "status": 503}),
    (failed(429), ls.RateLimited, {"blames": "key"}),
    (failed(404), None, {}),
    (ls.CircuitOpen(), ls.CircuitOpen, {}),
    (aiohttp.InvalidURL("?"), None, {}),
    (aiohttp.TooManyRedirects(KEY, ()), None, {}),
    (ZeroDivisionError(), None, {}),
]


@pytest.mark.parametrize(
    ("error", "meaning", "expected"), MEANINGS, ids=[repr(error) for error, _, _ in MEANINGS]
)
def test_what_exceptions_mean(
    error: Exception, meaning: type[ls.LLMStackError] | None, expected: dict[str, object]
) -> None:
    """And none of them is changed by being judged: its reader gets it as it was."""
    before = error.__cause__, error.__context__, error.__traceback__

    async def main() -> ls.LLMStackError | None:
        return Client().judge(error)

    fault = played(main())

    assert meaning == (None if fault is None else type(fault))
    assert expected == {name: getattr(fault, name) for name in expected}
    assert before == (error.__cause__, error.__context__, error.__traceback__)


def test_a_bug_below_passes_once_and_is_nobodys_fault() -> None:
    """A middleware of the user's own that divides by zero."""
    calls: list[int] = []

    async def broken(_request: ClientRequest, _handler: object) -> ClientResponse:
        calls.append(1)
        raise ZeroDivisionError

    breaker = ls.CircuitBreaker(ConsecutiveFailures(1))
    middleware = client_middleware(ls.ServiceBuilder().layer(QUICK).layer(breaker))

    async def main() -> object:
        return await outcome(nobody(), middleware, broken)

    assert isinstance(played(main()), ZeroDivisionError)
    assert [1] == calls
    assert "closed" == middleware.stack.statistics()["circuit_breaker"][None].state
