"""What users of other routers asked for about cooldowns, breakers and hosts that hang.

Each on a stack as one builds it. The docstrings name the thread that asked.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

import llmstack as ls
from llmstack import clock
from tests.properties.asked import NEVER, Chat, Host, built, end_of, endpoints, run, told


#: Below a router that learns nothing, a breaker has to; one that learns needs none.
LEARNING: Final[list[tuple[Callable[..., ls.Layer], ls.Layer]]] = [
    (ls.RoundRobin, ls.CircuitBreaker()),
    (ls.LatencyBased, ls.Cooldown()),
]
learning: Final = pytest.mark.parametrize(("router", "gate"), LEARNING)


async def traffic(stack: Chat, calls: int) -> tuple[list[str], float]:
    """One call a second after the other; how each ended, and the longest time that one took."""
    ends, longest = [], 0.0
    for _ in range(calls):
        began = clock.now()
        ends.append(name_of(await end_of(stack, ls.Request("m", stream=True))))
        longest = max(longest, clock.now() - began)
        await asyncio.sleep(1)
    return ends, longest


def name_of(end: object) -> str:
    return end if isinstance(end, str) else type(end).__name__


def benched(stack: Chat, name: str) -> str:
    """Why the endpoint is asked no more: the reason of its breaker, or its share of successes."""
    statistics = stack.statistics()
    if "circuit_breaker" in statistics:
        return str(statistics["circuit_breaker"][name].reason)
    success = statistics["router"][name]["success"]
    return f"success {success}" if success < 0.5 else ""


@learning
def test_who_eats_the_time_is_benched(router: Callable[..., ls.Layer], gate: ls.Layer) -> None:
    """tashfeenahmed/freellmapi#1183: a route that took all the time was asked again and again.

    It loses its traffic, and whom it handed the request on to keeps it.
    """
    slow, good = Host(takes=NEVER), Host(takes=0.1)
    over = router(endpoints(slow, good))
    stack = built(ls.Deadline(30), ls.Retry(), over, gate, ls.Timeout(first_token=5))
    with capture_logs():
        ends, longest = run(traffic(stack, 100))

    assert ["ok"] * 100 == ends
    assert longest < 6
    assert (100, True) == (len(good.asked), len(slow.asked) <= 15)
    assert (True, False) == (bool(benched(stack, "a")), bool(benched(stack, "b")))


@learning
def test_a_caller_in_a_hurry_benches_nobody(
    router: Callable[..., ls.Layer], gate: ls.Layer
) -> None:
    """The other side of tashfeenahmed/freellmapi#1183: the time that was over was the caller's."""
    host = Host(takes=3)
    stack = built(ls.Deadline(30), ls.Retry(), router(endpoints(host)), gate, ls.Timeout(total=5))

    async def main() -> list[str]:
        requests = [ls.Request("m", call=ls.Call(deadline=2.0 * n + 2)) for n in range(30)]
        ends = [name_of(await end_of(stack, request)) for request in requests]
        return [*ends, name_of(await end_of(stack))]

    ends = run(main())

    assert [*["DeadlineExceeded"] * 30, "ok"] == ends
    assert "" == benched(stack, "a")


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        (ls.ServerError, [1, 1, 1, 5]),
        (ls.UpstreamTimeout, [1, 1, 1, 5]),
        (ls.AuthFailed, [1, 1, 1, 5]),
        (ls.QuotaExhausted, [1, 1, 1, 5]),
        (ls.RateLimited, [5, 5, 5, 5]),
    ],
)
def test_a_timer_that_ran_out_is_no_evidence(
    kind: type[ls.UpstreamError], asked: list[int]
) -> None:
    """omdsh-dev/dsh-llm-fallbacks#85: what was put aside came back because time had passed.

    Of ten who come then one is sent, as long as that fails; after a success, half of them are.
    Only what heals by waiting needs no probe.
    """
    sick = [True]
    hosts = Host(lambda _: kind() if sick else None, takes=0.5), Host(takes=0.5)
    gates = ls.CircuitBreaker(ramp=0), ls.Cooldown()
    stack = built(ls.Deadline(30), ls.Retry(), ls.RoundRobin(endpoints(*hosts)), *gates)
    ends: list[object] = []

    async def come(calls: int) -> int:
        before = len(hosts[0].asked)
        await asyncio.sleep(2 * 3600)
        ends.extend(await asyncio.gather(*(end_of(stack) for _ in range(calls))))
        return len(hosts[0].asked) - before

    async def main() -> list[int]:
        await traffic(stack, 30)
        seen = [await come(10), await come(10)]
        sick.clear()
        return [*seen, await come(10), await come(10)]

    with capture_logs():
        seen = run(main())

    assert asked == seen
    assert ["ok"] * 40 == ends


@pytest.mark.parametrize("router", [ls.RoundRobin, ls.LatencyBased])
@pytest.mark.parametrize(("deadline", "end", "took"), [(30, "ok", 8), (5, "NoEndpoint", 0)])
def test_the_first_to_come_back_is_waited_for(
    router: Callable[..., ls.Layer], deadline: float, end: str, took: float
) -> None:
    """BerriAI/litellm#3646: with all put aside it failed, though one was to be back soon.

    It is waited for, at the cost of no retry; but not if the time of the caller is over before.
    """
    hosts = [Host(told(ls.RateLimited(retry_after=seconds))) for seconds in (20, 8)]
    gates = ls.CircuitBreaker(), ls.Cooldown()
    none = ls.Retry(budget=ls.RetryBudget(0, 0, least=0))
    stack = built(ls.Deadline(deadline), none, router(endpoints(*hosts)), *gates)

    async def main() -> tuple[list[object], float]:
        ends = [await end_of(stack), await end_of(stack)]
        began = clock.now()
        return [*ends, await end_of(stack)], clock.now() - began

    with capture_logs():
        ends, seconds = run(main())

    assert ["RateLimited", "RateLimited", end] == [name_of(each) for each in ends]
    assert took <= seconds <= 1.2 * took
    assert [1, 2 if end == "ok" else 1] == [len(host.asked) for host in hosts]
    if isinstance(ends[2], ls.NoEndpoint):
        assert ends[2].ready_at is not None
        assert 8 <= ends[2].ready_at < 9


@pytest.mark.parametrize("n", [1, 2, 5])
def test_so_many_probes_are_out_and_none_is_lost(n: int) -> None:
    """Mirrowel/LLM-API-Key-Proxy#115: the first probe was not counted; llm4s/llm4s#460: all were.

    Of fifty just so many are, and as many again when those are cancelled.
    """
    hosts = Host(lambda k: ls.ServerError() if k <= 3 else None, takes=1), Host(takes=1)
    probes = ls.Probes(at_once=n, successes=n)
    breaker = ls.CircuitBreaker(ls.ConsecutiveFailures(3), ramp=0, probes=probes)
    stack = built(ls.RoundRobin(endpoints(*hosts)), breaker)

    async def fifty(*, leave: bool) -> tuple[int, Counter[str]]:
        before, hosts[0].most = len(hosts[0].asked), 0
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(end_of(stack)) for _ in range(50)]
            await asyncio.sleep(0.5)
            for call in calls if leave else ():
                call.cancel()
        ends = ["cancelled" if call.cancelled() else name_of(call.result()) for call in calls]
        assert hosts[0].most == len(hosts[0].asked) - before
        return hosts[0].most, Counter(ends)

    async def main() -> list[Any]:
        await traffic(stack, 6)
        await asyncio.sleep(60)
        return [await fifty(leave=leave) for leave in (True, True, False, False)]

    with capture_logs():
        seen = run(main())

    left, all_ok = Counter(cancelled=50), Counter(ok=50)
    assert [(n, left), (n, left), (n, all_ok), (25, all_ok)] == seen


@learning
def test_dead_hosts_hold_nobody_up(router: Callable[..., ls.Layer], gate: ls.Layer) -> None:
    """vllm-project/production-stack#749, #420, #382: a dead host hung the calls, and was kept.

    Calls go on to who is there, and hosts that hang or are gone are hardly asked any more.
    """
    dead = Host(takes=NEVER), Host(lambda _: ls.ConnectionFailed())
    good = Host(takes=0.1)
    over = router(endpoints(*dead, good))
    stack = built(ls.Deadline(10), ls.Retry(), over, gate, ls.Timeout(first_token=2))
    with capture_logs():
        ends, longest = run(traffic(stack, 100))

    assert ["ok"] * 100 == ends
    assert longest < 3
    assert {True} == {1 <= len(host.asked) <= 15 for host in dead}
    assert [True, True, False] == [bool(benched(stack, name)) for name in "abc"]


@learning
def test_no_call_waits_for_ever(router: Callable[..., ls.Layer], gate: ls.Layer) -> None:
    """vllm-project/production-stack#749, with nobody left: it ends with an error, in time."""
    dead = Host(takes=NEVER), Host(lambda _: ls.ConnectionFailed())
    over = router(endpoints(*dead))
    stack = built(ls.Deadline(10), ls.Retry(), over, gate, ls.Timeout(first_token=9))
    with capture_logs():
        ends, longest = run(traffic(stack, 30))

    assert "ok" not in ends
    assert longest <= stack.bound.seconds == 10
