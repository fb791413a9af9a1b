"""How calls through server middlewares end: as handlers end them, with everything given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from aiohttp import web

import llmstack as ls
from llmstack.integrations.aiohttp import server_middleware
from llmstack.testing.virtual import VirtualLoop
from tests.integrations.served import Handler, ask, hang, played, serving, slow


def streamed(*, status: int) -> Handler:
    """A handler that writes its answer itself."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"X-Mine": "yes"})
        await response.prepare(request)
        await response.write(b"in pieces")
        await response.write_eof()
        return response

    return handler


def returning(response: Callable[[], object]) -> Handler:
    """A handler that makes an answer anew each time, or raises what it made."""

    async def handler(_request: web.Request) -> web.StreamResponse:
        made: Any = response()
        if isinstance(made, Exception):
            raise made
        return made  # type: ignore[no-any-return]

    return handler


#: What a handler may do, and how often a breaker counts it: successes, failures.
KINDS: dict[str, tuple[Handler, tuple[int, int]]] = {
    "ok": (returning(lambda: web.json_response({"a": 1})), (1, 0)),
    "404": (returning(lambda: web.Response(status=404, text="no")), (1, 0)),
    "502": (returning(lambda: web.Response(status=502, headers={"X-Mine": "yes"})), (0, 1)),
    "stream": (streamed(status=200), (1, 0)),
    "stream of a failure": (streamed(status=503), (0, 1)),
    "raised redirect": (returning(lambda: web.HTTPFound("/elsewhere")), (1, 0)),
    "raised 404": (returning(web.HTTPNotFound), (1, 0)),
    "raised 503": (returning(lambda: web.HTTPServiceUnavailable(text="later")), (0, 1)),
    "timeout": (returning(TimeoutError), (0, 1)),
    "bug": (returning(lambda: ZeroDivisionError("bug")), (0, 0)),
    "no answer": (returning(lambda: None), (1, 0)),
    "failure of our own": (returning(lambda: ls.ServerError("mine")), (0, 1)),
    "refusal of our own": (returning(lambda: ls.ConcurrencyFull("mine")), (0, 0)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_handler_does_comes_out_as_it_was(kind: str) -> None:
    """The answer is that of the bare application to the letter, however many layers judge it."""
    handler, counted = KINDS[kind]
    breaker = ls.CircuitBreaker()
    stack = ls.ServiceBuilder().layer(ls.Retry(attempts=2)).layer(breaker)
    middleware = server_middleware(stack.layer(ls.ConcurrencyLimit(1)).layer(ls.Timeout(total=9)))
    once = server_middleware(breaker)

    async def main() -> None:
        async with (
            serving(handler) as bare,
            serving(handler, [middleware]) as stacked,
            serving(handler, [once]) as counting,
        ):
            expected = await ask(bare)

            assert expected == await ask(stacked)
            assert expected == await ask(counting)
        circuit = once.stack.statistics()["circuit_breaker"][None]
        assert counted == (circuit.recent - circuit.bad, circuit.bad)
        permits = middleware.stack.statistics()["concurrency_limit"][None]
        assert 0 == permits.in_flight

    played(main())


@pytest.mark.parametrize("kind", ["ok", "404", "raised redirect", "bug", "stream of a failure"])
def test_what_must_not_be_repeated_is_done_once(kind: str) -> None:
    """Replies below 500, bugs, and answers that are on the wire already."""
    done: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        done.append(kind)
        return await KINDS[kind][0](request)

    async def main() -> None:
        async with serving(handler, [server_middleware(ls.Retry())]) as url:
            await ask(url)

    played(main())
    assert [kind] == done


def test_an_answer_that_has_begun_is_cut_off_and_never_begun_again() -> None:
    """Out of time in the middle of a body: no second head in it, and no second handler."""
    calls: list[int] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        calls.append(1)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first half")
        return await hang(request)

    layers = ls.ServiceBuilder().layer(ls.Retry()).layer(ls.Timeout(total=2))

    async def main() -> bytes:
        async with serving(handler, [server_middleware(layers)]) as url:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            whole = await reader.read()
            writer.close()
            return whole

    assert played(main()).endswith(b"\r\n\r\na\r\nfirst half\r\n")
    assert [1] == calls


@pytest.mark.parametrize("body", [b"", b"body"], ids=["none", "some"])
def test_a_body_that_was_read_away_is_not_missed_in_silence(body: bytes) -> None:
    """A handler that streams the body is not called again; without a body it is."""
    seen: list[bytes] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(b"".join([part async for part in request.content.iter_any()]))
        return web.Response(status=503 if len(seen) == 1 else 200)

    async def main() -> tuple[int, float]:
        async with serving(handler, [server_middleware(ls.Retry())]) as url:
            status = (await ask(url, data=body)).status
        return status, asyncio.get_running_loop().time()

    (status, took) = played(main())
    assert ([b"body"] if body else [b"", b""]) == seen
    assert (503 if body else 200) == status
    assert bool(body) == (took == 0.0)


def test_a_body_that_nobody_has_read_is_left_alone() -> None:
    """It is too big to be kept, and the handler does not want it: it is called again."""
    calls: list[int] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        calls.append(1)
        if len(calls) == 1:
            return web.Response(status=503)
        await request.release()
        return web.Response()

    async def main() -> int:
        async with serving(handler, [server_middleware(ls.Retry())]) as url:
            return (await ask(url, data=BytesIO(bytes(3_000_000)))).status

    assert 200 == played(main())
    assert [1, 1] == calls


def test_a_time_out_after_the_body_was_read_away_is_the_last_word() -> None:
    """The retry comes too late to know, and is told so before the handler is called."""
    calls: list[bytes] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        calls.append(b"".join([part async for part in request.content.iter_any()]))
        return await hang(request)

    layers = ls.ServiceBuilder().layer(ls.Retry()).layer(ls.Timeout(total=2))

    async def main() -> int:
        async with serving(handler, [server_middleware(layers)]) as url:
            return (await ask(url, data=b"body")).status

    assert 504 == played(main())
    assert [b"body"] == calls


@pytest.mark.parametrize("cancels", [True, False], ids=["cancels", "goes on"])
def test_a_client_that_leaves_gives_its_permit_back(*, cancels: bool) -> None:
    """At once where handlers are cancelled with their client, else when the handler is done."""
    limit = server_middleware(ls.ConcurrencyLimit(1))

    def out() -> int:
        statistics = limit.stack.statistics()["concurrency_limit"]
        return int(statistics[None].in_flight)

    async def main() -> list[int]:
        async with serving(slow, [limit], cancels=cancels) as url:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.25):
                    await ask(url)
            seen = [out()]
            await asyncio.sleep(0.25)
            seen.append(out())
            await asyncio.sleep(0.75)
            return [*seen, out()]

    assert ([1, 0, 0] if cancels else [1, 1, 0]) == played(main())


def test_nobody_is_asked_again_for_a_client_that_has_left() -> None:
    """The handler fails after its client is gone: that was the last attempt."""
    calls: list[int] = []

    async def handler(_request: web.Request) -> web.StreamResponse:
        calls.append(1)
        await asyncio.sleep(1)
        return web.Response(status=503)

    async def main() -> None:
        async with serving(handler, [server_middleware(ls.Retry())]) as url:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await ask(url, data=b"x")
            await asyncio.sleep(60)

    played(main())
    assert [1] == calls


def test_a_request_that_is_never_finished_goes_without_a_word() -> None:
    """Its loop is closed and its coroutine collected, elsewhere than where it began."""
    middleware = server_middleware(ls.ConcurrencyLimit(1))
    never: Any = None

    async def handler(_request: web.Request) -> web.StreamResponse:
        return await never  # type: ignore[no-any-return]

    loop = VirtualLoop()
    request: Any = object()
    never = loop.create_future()
    coroutine: Any = middleware(request, handler)

    async def begin() -> None:
        coroutine.send(None)

    loop.run_until_complete(begin())
    loop.close()
    coroutine.close()

    assert 0 == middleware.stack.statistics()["concurrency_limit"][None].in_flight
