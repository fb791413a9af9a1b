"""Layers as middleware of a real aiohttp server: one layer at a time, then several."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.estimators.trip import ConsecutiveFailures
from llmstack.integrations.aiohttp import server_middleware
from llmstack.layers.circuit_breaker import CircuitBreakerService
from llmstack.testing.virtual import run_virtual
from tests.integrations.served import Answered, Scripted, ask, hang, played, served, serving, slow


QUICK = ConsecutiveFailures(2)


@asynccontextmanager
async def asked(
    url: str, path: str = "/", *, headers: Sequence[tuple[str, str]] = ()
) -> AsyncIterator[asyncio.Task[Answered]]:
    """Have one request under way in the block, and its answer after it."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(ask(url, path, headers=headers))
        await asyncio.sleep(0.5)
        yield task


def test_a_limit_refuses_at_once_and_counts_by_path() -> None:
    """One in flight for each path; the second gets a 503 that says why, another path passes."""
    limit = server_middleware(ls.ConcurrencyLimit(1, key=lambda request: request.path))

    async def main() -> None:
        async with serving(slow, [limit]) as url:
            async with asked(url, "/a") as first:
                refused, other = await asyncio.gather(ask(url, "/a"), ask(url, "/b"))
            after = await ask(url, "/a")

        assert (503, '{"error": "all 1 permits are out"}') == (refused.status, refused.body)
        assert "Retry-After" not in refused.headers
        assert ["slow"] * 3 == [first.result().body, other.body, after.body]
        statistics = limit.stack.statistics()["concurrency_limit"]
        assert {"/a": (0, 1), "/b": (0, 0)} == {
            path: (permits.in_flight, permits.refused) for path, permits in statistics.items()
        }

    played(main())


def test_a_limit_counts_by_a_header_of_the_client() -> None:
    """Two clients do not share a permit, two requests of one do."""
    limit = server_middleware(ls.ConcurrencyLimit(1, key=lambda request: request.headers["Who"]))

    async def main() -> None:
        async with serving(slow, [limit]) as url, asked(url, headers=[("Who", "me")]):
            mine = await ask(url, headers=[("Who", "me")])
            yours = await ask(url, headers=[("Who", "you")])

        assert (503, 200) == (mine.status, yours.status)

    played(main())


def test_a_breaker_opens_says_when_to_come_back_and_closes_again() -> None:
    """After two failures nobody is asked until the open time is over; then a probe decides."""
    handler = Scripted([500, 502])
    breaker = server_middleware(ls.CircuitBreaker(QUICK, base=4, ramp=0))

    async def main() -> None:
        async with serving(handler, [breaker]) as url:
            seen = [await ask(url) for _ in range(3)]
            wait = int(seen[-1].headers["Retry-After"])
            await asyncio.sleep(wait - 1.01)
            early = await ask(url)
            await asyncio.sleep(1.01)
            seen.append(await ask(url))

        assert [500, 502, 503, 200] == [answer.status for answer in seen]
        assert 2 <= wait <= 4
        assert (503, "1") == (early.status, early.headers["Retry-After"])
        assert 3 == len(handler.bodies)
        assert "closed" == breaker.stack.statistics()["circuit_breaker"][None].state

    played(main())


def test_a_breaker_can_be_opened_and_closed_by_hand() -> None:
    """The stack of a middleware gives its services, for an operator's page or a test."""
    breaker = server_middleware(ls.CircuitBreaker(key=lambda request: request.path))

    async def main() -> list[int]:
        controls = breaker.stack.find(CircuitBreakerService)
        async with serving(Scripted(), [breaker]) as url:
            controls.open("/a")
            seen = [(await ask(url, path)).status for path in ("/a", "/b")]
            controls.reset("/a")
            return [*seen, (await ask(url, "/a")).status]

    assert [503, 200, 200] == played(main())


def test_a_timeout_answers_504_and_ends_the_handler() -> None:
    """The handler is cancelled where it waits; a breaker above counts it as a failure."""
    ends: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            return await hang(request)
        finally:
            ends.append(f"{asyncio.get_running_loop().time():.0f}")

    layers = ls.ServiceBuilder().layer(ls.CircuitBreaker()).layer(ls.Timeout(total=3))
    middleware = server_middleware(layers)

    async def main() -> None:
        async with serving(handler, [middleware]) as url:
            answer = await ask(url)

        assert (504, '{"error": "no end of the reply within 3 s"}') == (answer.status, answer.body)
        assert ["3"] == ends
        assert 1 == middleware.stack.statistics()["circuit_breaker"][None].bad

    played(main())


def test_a_deadline_is_for_all_attempts_together() -> None:
    """It rings in the middle of a wait of the retry below it."""
    handler = Scripted([lambda: web.Response(status=503, headers={"Retry-After": "2"})] * 9)
    layers = ls.ServiceBuilder().layer(ls.Deadline(3)).layer(ls.Retry(attempts=9, base=0.001))

    async def main() -> tuple[int, str]:
        async with serving(handler, [server_middleware(layers)]) as url:
            answer = await ask(url)
            return answer.status, answer.body

    expected = 504, '{"error": "the call was not over after 3 s"}'
    assert expected == played(main())
    assert 2 == len(handler.bodies)


def test_a_retry_asks_the_handler_again() -> None:
    """A handler that comes round is all that the caller sees; a 4xx is not asked again."""
    again = Scripted([503, web.HTTPBadGateway, 200])
    final = Scripted([404, 200])

    async def main() -> list[int]:
        retry = server_middleware(ls.Retry())
        async with serving(again, [retry]) as one, serving(final, [retry]) as other:
            return [(await ask(url, data=b"body")).status for url in (one, other)]

    assert [200, 404] == played(main())
    assert [b"body"] * 3 == again.bodies
    assert [b"body"] == final.bodies


SUNDAY = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:42 GMT", "Date": SUNDAY}, 5.0),
        ({"Retry-After": "Thu, 01 Jan 2026 00:00:09 GMT"}, 9.0),  # the virtual loop's wall clock
        ({"Retry-After": "soon"}, 0.0),
    ],
    ids=["seconds", "date", "date by our clock", "nonsense"],
)
def test_a_retry_waits_as_long_as_the_handler_asks(headers: dict[str, str], waits: float) -> None:
    """``Retry-After`` is a floor, in seconds or as a date, and up to a tenth is added.

    What cannot be read is not there.
    """
    handler = Scripted([web.Response(status=503, headers=headers)])

    async def main() -> float:
        layer = ls.Retry(base=0.001)
        async with serving(handler, [server_middleware(layer)]) as url:
            assert 200 == (await ask(url)).status
        return asyncio.get_running_loop().time()

    assert waits <= played(main()) <= waits + min(waits / 10, 1) + 0.01


def test_two_middlewares_have_separate_states() -> None:
    """Even of one layer object: each use counts for itself."""
    layer = ls.ConcurrencyLimit(1)

    async def main() -> list[int]:
        async with (
            serving(slow, [server_middleware(layer)]) as one,
            serving(slow, [server_middleware(layer)]) as other,
            asked(one),
        ):
            return [(await ask(url)).status for url in (one, other)]

    assert [503, 200] == played(main())


def test_one_middleware_in_an_application_and_its_part_is_passed_twice() -> None:
    """The inner passage is over before the outer one goes on: a retry in it finds its handler."""
    handler = Scripted([503, 503, 503, 503, 503, 503])
    retry = server_middleware(ls.Retry(attempts=2))

    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    async def main() -> int:
        part = web.Application(middlewares=[retry])
        part.router.add_get("/", handle)
        whole = web.Application(middlewares=[retry])
        whole.add_subapp("/part", part)
        async with served(whole) as url:
            return (await ask(url, "/part/")).status

    assert 503 == played(main())
    assert 4 == len(handler.bodies)


def test_a_layer_may_pass_on_another_request() -> None:
    """What the handler gets is what the lowest layer passed on."""

    def renamed(request: web.Request) -> web.Request:
        return request.clone(rel_url=f"{request.path}/renamed")

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text=str(request.rel_url))

    async def main() -> str:
        async with serving(handler, [server_middleware(ls.map_request(renamed))]) as url:
            return (await ask(url, "/a")).body

    assert "/a/renamed" == played(main())


@pytest.mark.parametrize(
    ("error", "status", "wait"),
    [
        (ls.Shed(), 503, None),
        (ls.Shed(retry_after=1.2), 503, "2"),
        (ls.CircuitOpen(ready_at=4.5), 503, "5"),
        (ls.CircuitOpen(ready_at=-1.0), 503, "0"),
        (ls.RateLimitedHere(retry_after=3), 429, "3"),
        (ls.DeadlineExceeded(), 504, None),
        (ls.UpstreamTimeout(), 504, None),
        (ls.ServerError(), 500, None),
        (web.HTTPForbidden(), 403, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_a_layer_raises_becomes_an_answer(
    error: Exception, status: int, wait: str | None
) -> None:
    """Refusals 503, too many requests of this client 429, out of time 504; others are bugs."""

    def broken(_inner: ls.Service[Any, Any]) -> ls.Service[Any, Any]:
        async def service(_request: object, /) -> object:
            raise error

        return service

    async def main() -> tuple[int, str | None]:
        async with serving(Scripted(), [server_middleware(broken)]) as url:
            answer = await ask(url)
            return answer.status, answer.headers.get("Retry-After")

    assert (status, wait) == played(main())


def test_several_layers_stand_in_the_order_of_the_builder() -> None:
    """The outermost first: the log sees one call, the breaker every attempt."""
    handler = Scripted([503, 503])
    layers = (
        ls.ServiceBuilder()
        .layer(ls.Log())
        .layer(ls.Deadline(30))
        .layer(ls.Retry())
        .layer(ls.CircuitBreaker())
        .layer(ls.ConcurrencyLimit(9))
        .layer(ls.Timeout(total=5))
    )
    middleware = server_middleware(layers)

    async def main() -> int:
        async with serving(handler, [middleware]) as url:
            return (await ask(url)).status

    with capture_logs() as logs:
        assert 200 == run_virtual(main())[0]
    events = [entry["event"] for entry in logs]
    assert ["retry.scheduled", "retry.scheduled", "call.ended"] == events
    circuit = middleware.stack.statistics()["circuit_breaker"][None]
    assert (3, 2) == (circuit.recent, circuit.bad)
    assert (
        "<Middleware <Stack log > deadline > retry > circuit_breaker > concurrency_limit > "
        "timeout > handle>>" == repr(middleware)
    )


def test_a_wrong_order_fails_where_it_is_written() -> None:
    """Not with the first request."""
    wrong = ls.ServiceBuilder().layer(ls.ConcurrencyLimit(1)).layer(ls.CircuitBreaker())

    with pytest.raises(ls.ConfigError, match="circuit_breaker must be above concurrency_limit"):
        server_middleware(wrong)


def test_many_requests_at_once_get_each_their_own_answer() -> None:
    """A hundred on one middleware, each failing twice in between the others."""
    calls: dict[str, int] = {}

    async def handler(request: web.Request) -> web.StreamResponse:
        path = request.path
        calls[path] = calls.get(path, 0) + 1
        await asyncio.sleep(0.1)
        if calls[path] < 3:
            raise web.HTTPServiceUnavailable(text=path)
        return web.Response(text=path)

    async def main() -> None:
        retry = ls.Retry(budget=ls.RetryBudget.unlimited())
        layers = ls.ServiceBuilder(seed=1).layer(retry).layer(ls.ConcurrencyLimit(100))
        async with serving(handler, [server_middleware(layers)]) as url:
            answers = await asyncio.gather(*(ask(url, f"/{n}") for n in range(100)))

        assert [(200, f"/{n}") for n in range(100)] == [(a.status, a.body) for a in answers]
        assert {3} == set(calls.values())

    played(main())
