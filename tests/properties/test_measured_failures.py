"""What was measured of another gateway in trouble, row by row: the same trouble for llmstack.

The rows are what a widely used router for models did over a fake provider on loopback. Each
is played again with the layers that a user would take, over a fake provider of ours or a
scripted server, on virtual time. Three kinds of rows are no tests. The cost of an import, of
a call and of many calls at once are figures of ``make bench``: ``import``, ``library`` and
``ratios``, ``gateway``. A budget of tokens a minute belongs to a layer that there is not yet.
And the counter of a router that asks whoever is least busy stands for all that count what is
in flight: the pending calls of `LatencyBased`, the permits of limit and breaker, the budget.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from random import Random
from typing import Any, Final, Literal

import pytest
from structlog.testing import capture_logs

import llmstack as ls
from llmstack import clock
from llmstack.providers.openai import OpenAI
from llmstack.testing.provider import Cut, FakeProvider, Hang
from llmstack.testing.upstream import ScriptedUpstream, Step, expect_request, send, sleep, stall
from llmstack.testing.virtual import run_virtual
from tests.gateway.stage import HELLO, timed


Chat = ls.Stack[ls.Request, Any]
#: Makes a router over endpoints.
Layered = Callable[[list[ls.Endpoint]], ls.Layer]

ROLE: Final = (
    b'data: {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}\n\n'
)
ERROR: Final = b'data: {"error": {"message": "went wrong", "type": "server_error"}}\n\n'
PING: Final = b": ping\n\n"
HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
PINGS: Final = (send(PING), sleep(0.5)) * 100

FEW_SECONDS: Final = ls.Timeout(first_token=2, idle=2)


def request(*, stream: bool = False) -> ls.Request:
    return ls.Request("m", {"messages": HELLO}, stream=stream)


@asynccontextmanager
async def asking(
    *urls: str, retry: int = 3, below: tuple[ls.Layer, ...] = (), key: str = ""
) -> AsyncIterator[Chat]:
    """A stack that asks the servers in turn, and others on failures; they may share a key."""
    async with AsyncExitStack() as leaves:
        endpoints = [
            ls.Endpoint(name, await leaves.enter_async_context(OpenAI(url)), key=key)
            for name, url in zip("abc", urls, strict=False)
        ]
        above = (ls.Deadline(300), ls.Retry(attempts=retry), ls.RoundRobin(endpoints))
        yield ls.ServiceBuilder((*above, *below), seed=1).service(ls.dispatch)


async def heard(stack: Chat, into: list[bytes]) -> str:
    """Read a stream to its end; return the error in it, if there is one."""
    try:
        async with await stack(request(stream=True)) as stream:
            async for event in stream:
                into.append(event.data)  # noqa: PERF401 -- those before an error are kept
    except ls.LLMStackError as error:
        await asyncio.sleep(0)  # coverage on 3.11 is out of step until the loop has turned
        return type(error).__name__
    return ""


async def refused(stack: Chat) -> ls.LLMStackError:
    """The error of a call that fails."""
    with pytest.raises(ls.LLMStackError) as caught:
        await stack(request())
    return caught.value


@asynccontextmanager
async def providers(n: int, **settings: Any) -> AsyncIterator[list[FakeProvider]]:  # noqa: ANN401
    """So many fake providers."""
    async with AsyncExitStack() as stage:
        yield [await stage.enter_async_context(FakeProvider(**settings)) for _ in range(n)]


def asked_of(layer: Layered, calls: int, callers: int, *prices: ls.Price | None) -> list[int]:
    """How often each endpoint is asked, by so many callers, one call of each at a time."""
    asked: Counter[str] = Counter()
    dice = Random(1)

    async def answer(request: ls.Request) -> ls.Response:
        assert request.endpoint is not None
        asked[request.endpoint.name] += 1
        await asyncio.sleep(dice.uniform(0.04, 0.06))
        return ls.Response(b"{}")

    endpoints = [
        ls.Endpoint(name, answer, price=price) for name, price in zip("abc", prices, strict=False)
    ]
    stack = ls.ServiceBuilder((layer(endpoints),), seed=1).service(ls.dispatch)

    async def caller() -> None:
        for _ in range(calls // callers):
            await stack(request())

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(caller())

    run_virtual(main())
    return [asked[endpoint.name] for endpoint in endpoints]


def test_equal_endpoints_are_shared_evenly_by_latency() -> None:
    """Three alike, 1,000 calls, 50 at once: measured were 638, 290 and 72."""
    shares = asked_of(ls.LatencyBased, 1000, 50, None, None, None)

    assert 1000 == sum(shares)
    assert max(shares) - min(shares) <= 50, shares


def test_equal_endpoints_are_shared_evenly_by_cost() -> None:
    """Three that cost the same: measured were 1,000, none and none."""
    shares = asked_of(ls.CostBased, 1000, 50, *[ls.Price(1, 2)] * 3)

    assert [334, 333, 333] == shares


def test_a_free_endpoint_is_preferred_to_a_paid_one() -> None:
    """Fifty calls: measured were all fifty at the paid one."""
    assert [0, 50] == asked_of(ls.CostBased, 50, 5, ls.Price(1, 2), ls.Price(0, 0))


def test_an_endpoint_that_fails_fast_does_not_look_fast() -> None:
    """500s at once beside answers in 50 ms: measured were five calls of the failing one."""
    asked: Counter[str] = Counter()

    async def failing(_request: ls.Request) -> ls.Response:
        asked["a"] += 1
        raise ls.ServerError("at once")

    async def healthy(_request: ls.Request) -> ls.Response:
        asked["b"] += 1
        await asyncio.sleep(0.05)
        return ls.Response(b"{}")

    endpoints = [ls.Endpoint("a", failing), ls.Endpoint("b", healthy)]
    layers = (ls.Retry(), ls.LatencyBased(endpoints))
    stack = ls.ServiceBuilder(layers, seed=1).service(ls.dispatch)

    async def main() -> None:
        for _ in range(50):
            await stack(request())

    with capture_logs():
        run_virtual(main())

    assert 50 == asked["b"]
    assert 1 <= asked["a"] <= 2, asked


@pytest.mark.parametrize("preamble", [b"", ROLE], ids=["first", "behind the role"])
def test_an_error_event_before_content_fails_over(preamble: bytes) -> None:
    """As the other gateway does too."""

    async def main() -> tuple[str, int, int]:
        script = [expect_request, send(HEAD + preamble + ERROR), stall]
        async with (
            ScriptedUpstream([script]) as upstream,
            providers(1) as (other,),
            asking(upstream.base_url, other.base_url) as stack,
        ):
            error = await heard(stack, [])
        return error, len(upstream.requests), len(other.requests)

    with capture_logs():
        assert ("", 1, 1) == timed(main())[0]


@pytest.mark.parametrize("how", ["fin", "rst", "end"])
def test_a_stream_cut_before_content_fails_over(how: Literal["fin", "rst", "end"]) -> None:
    """After the role alone, in each way to be cut."""

    async def main() -> tuple[str, int, int]:
        async with providers(2) as (first, other):
            first.script(Cut(after=1, how=how))
            async with asking(first.base_url, other.base_url) as stack:
                error = await heard(stack, [])
        return error, len(first.requests), len(other.requests)

    with capture_logs():
        assert ("", 1, 1) == timed(main())[0]


@pytest.mark.parametrize(
    ("how", "error"),
    [("fin", "StreamBroken"), ("rst", "StreamBroken"), ("end", "StreamIncomplete")],
)
def test_a_stream_cut_behind_content_ends_with_an_error(
    how: Literal["fin", "rst", "end"], error: str
) -> None:
    """After five words; what a caller has read is not said again by somebody else."""
    events: list[bytes] = []

    async def main() -> tuple[str, int, int]:
        async with providers(2) as (first, other):
            first.script(Cut(after=6, how=how))
            async with asking(first.base_url, other.base_url) as stack:
                told = await heard(stack, events)
        return told, len(first.requests), len(other.requests)

    assert (error, 1, 0) == timed(main())[0]
    assert 6 == len(events)


def test_silence_before_content_is_a_matter_of_two_seconds() -> None:
    """A stream that says nothing: somebody else answers after the time to the first content."""

    async def main() -> tuple[str, float]:
        async with providers(2) as (first, other):
            first.script(Hang())
            async with asking(first.base_url, other.base_url, below=(FEW_SECONDS,)) as stack:
                began = clock.now()
                return await heard(stack, []), clock.now() - began

    with capture_logs():
        assert ["", pytest.approx(2.0)] == [*timed(main())[0]]


def test_pings_do_not_defeat_the_time_to_the_first_content() -> None:
    """Comments without an end: measured was a call that hangs."""

    async def main() -> tuple[str, float]:
        pings: list[Step] = [expect_request, send(HEAD), *PINGS]
        async with (
            ScriptedUpstream([pings]) as upstream,
            providers(1) as (other,),
            asking(upstream.base_url, other.base_url, below=(FEW_SECONDS,)) as stack,
        ):
            began = clock.now()
            return await heard(stack, []), clock.now() - began

    with capture_logs():
        error, took = timed(main())[0]

    assert "" == error
    assert pytest.approx(2.0) == took


def test_silence_behind_content_ends_the_stream() -> None:
    """After two seconds without a byte, with an error; nobody else is asked."""

    async def main() -> tuple[str, float, int]:
        async with providers(2) as (first, other):
            first.script(Hang(after=3))
            async with asking(first.base_url, other.base_url, below=(FEW_SECONDS,)) as stack:
                began = clock.now()
                return await heard(stack, []), clock.now() - began, len(other.requests)

    error, took, others = timed(main())[0]

    assert ("UpstreamTimeout", 0) == (error, others)
    assert pytest.approx(2.0) == took


def limited(attempts: int, seconds: float) -> tuple[ls.LLMStackError, list[float], float]:
    """The error of a call to one endpoint that is limited, when it was asked, how long it took."""

    async def main() -> tuple[ls.LLMStackError, list[float], float]:
        async with providers(1) as (only,):
            only.fail(429, retry_after=seconds)
            async with asking(only.base_url, retry=attempts) as stack:
                began = clock.now()
                error = await refused(stack)
                times = [seen.at - began for seen in only.requests]
                return error, times, clock.now() - began

    with capture_logs():
        return timed(main())[0]


def test_a_long_wait_is_not_shortened_but_told() -> None:
    """Two minutes and nobody else: one attempt, at once; measured were four in 8.5 s."""
    error, asked, took = limited(4, 120)

    assert (ls.RateLimited, 120) == (type(error), error.retry_after)
    assert 1 == len(asked)
    assert 0.1 > took


@pytest.mark.parametrize("attempts", [2, 3])
def test_a_short_wait_is_kept_before_each_attempt_and_not_after_the_last(attempts: int) -> None:
    """Two seconds, and up to a tenth more; measured was a wait more than there were attempts."""
    error, asked, took = limited(attempts, 2)

    assert ls.RateLimited is type(error)
    assert attempts == len(asked)
    assert all(2.0 <= later - at <= 2.2 for at, later in pairwise(asked))
    assert pytest.approx(asked[-1], abs=0.05) == took


def test_endpoints_that_share_a_limit_are_not_asked_in_turn() -> None:
    """Three with one key: measured were three attempts in 0.07 s."""

    async def main() -> tuple[type[Exception], int]:
        async with providers(3) as three:
            for each in three:
                each.fail(429, retry_after=120)
            urls = (each.base_url for each in three)
            async with asking(*urls, below=(ls.Cooldown(),), key="shared") as stack:
                error = await refused(stack)
            return type(error), sum(len(each.requests) for each in three)

    with capture_logs():
        assert (ls.RateLimited, 1) == timed(main())[0]


def test_attempts_are_bounded_and_the_bound_can_be_read() -> None:
    """500s of all, three retries, two fallbacks: measured were twelve calls upstream."""

    async def main() -> tuple[str, int]:
        async with providers(3) as three:
            for each in three:
                each.fail(500)
            async with asking(*(each.base_url for each in three), retry=4) as stack:
                error = await refused(stack)
                assert isinstance(error, ls.ServerError)
                return stack.describe().splitlines()[-1], sum(len(p.requests) for p in three)

    with capture_logs():
        bound, calls = timed(main())[0]

    assert bound.startswith("at most 4 upstream calls")
    assert 4 == calls


def test_nothing_is_in_flight_after_streams_that_were_cancelled() -> None:
    """Six, with content and without: measured was a counter that stays at six."""
    layers = (ls.CircuitBreaker(), ls.ConcurrencyLimit(6))

    async def main() -> tuple[list[int], list[str]]:
        async with providers(1) as (only,), OpenAI(only.base_url) as leaf:
            only.script(*[Hang()] * 3, *[Hang(after=3)] * 3)
            top = (ls.Retry(), ls.LatencyBased([ls.Endpoint("a", leaf)]))
            stack = ls.ServiceBuilder((*top, *layers), seed=1).service(ls.dispatch)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(heard(stack, [])) for _ in range(6)]
                await asyncio.sleep(1)
                before = in_flight(stack)
                for task in tasks:
                    task.cancel()
            await asyncio.sleep(0.1)
            return [*before, *in_flight(stack)], [seen.ended for seen in only.requests]

    counts, ended = timed(main())[0]

    assert [6, 6, 6, 3, 0, 0, 0, 0] == counts
    assert ["left"] * 6 == ended


def in_flight(stack: Chat) -> list[int]:
    """What is counted: by the router, the breaker, the limit, and the budget, until the answer."""
    known = stack.statistics()
    by_endpoint = [known["circuit_breaker"], known["concurrency_limit"]]
    return [
        known["router"].get("a", {"pending": 0})["pending"],
        *(each["a"].in_flight for each in by_endpoint),
        known["retry"]["budget"].in_flight,
    ]


def test_when_all_are_put_aside_it_is_told_for_how_long() -> None:
    """Nobody is asked, and the error has the moment; as the other gateway does too."""

    async def main() -> tuple[str, float, int]:
        async with providers(2) as two:
            for each in two:
                each.fail(429, retry_after=100)
            async with asking(*(p.base_url for p in two), below=(ls.Cooldown(),)) as stack:
                await refused(stack)
                error = await refused(stack)
            assert isinstance(error, ls.NoEndpoint)
            ready_in = (error.ready_at or 0.0) - clock.now()
            return str(error), ready_in, sum(len(each.requests) for each in two)

    with capture_logs():
        told, ready_in, calls = timed(main())[0]

    assert {"(a:", "b:"} <= {*told.split()}
    assert 99 <= ready_in <= 101.1
    assert 2 == calls
