from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import pytest
from attrs import define, field

from llmstack import clock
from llmstack.builder import ServiceBuilder, Stack
from llmstack.endpoint import Endpoint
from llmstack.errors import (
    AuthFailed,
    LLMStackError,
    NoEndpoint,
    Overloaded,
    QuotaExhausted,
    RateLimited,
)
from llmstack.estimators.cooling import CoolingBoard
from llmstack.layers.cooldown import Cooldown
from llmstack.layers.deadline import Deadline
from llmstack.layers.retry import Retry
from llmstack.messages import Request, dispatch
from llmstack.routers.fallback import Fallback
from llmstack.routers.latency_based import LatencyBased
from llmstack.routers.round_robin import RoundRobin
from llmstack.service import Layer
from llmstack.testing.virtual import run_virtual


Fails = Callable[[float], LLMStackError | None]


@define(eq=False)
class Provider:
    """Fails as told by the time; keeps when each endpoint was sent something."""

    fails: dict[str, Fails]
    sent: list[tuple[float, str]] = field(factory=list)
    delay: float = 0.0

    async def __call__(self, request: Request, /) -> str:
        assert request.endpoint is not None
        name = request.endpoint.name
        self.sent.append((clock.now(), name))
        await asyncio.sleep(self.delay)
        error = self.fails.get(name, never)(clock.now())
        if error is not None:
            raise error
        return name

    def counts(self) -> dict[str, int]:
        return dict(Counter(name for _, name in self.sent))


def never(_now: float) -> None:
    """Be healthy."""


def until(end: float, error: Callable[[], LLMStackError]) -> Fails:
    return lambda now: error() if now < end else None


#: Whose keys the three endpoints are under, and who pays.
LABELS: Final = {"a": ("k", "x"), "b": ("k", "x"), "c": ("l", "y")}
ROUTERS: Final = {"round_robin": RoundRobin, "latency_based": LatencyBased, "fallback": Fallback}


def stack_of(
    provider: Provider, router: str = "round_robin", names: str = "abc", *above: Layer
) -> Stack[Request, Any]:
    endpoints = [Endpoint(n, provider, key=LABELS[n][0], account=LABELS[n][1]) for n in names]
    builder = ServiceBuilder(seed=1)
    for layer in (*above, ROUTERS[router](endpoints), Cooldown()):
        builder = builder.layer(layer)
    return builder.service(dispatch)


async def traffic(stack: Stack[Request, Any], seconds: float, gap: float = 0.5) -> list[str]:
    """One request after the other; how each ended: who answered, or the name of the error."""
    ends = []
    while clock.now() < seconds:
        try:
            ends.append(str(await stack(Request("m"))))
        except LLMStackError as error:
            ends.append(type(error).__name__)
        await asyncio.sleep(gap)
    return ends


@pytest.mark.parametrize("router", ["round_robin", "latency_based"])
def test_one_that_shares_the_key_is_not_asked_either(router: str) -> None:
    """The first 429 puts both aside: one failure, and all else goes to the third at once."""
    limited = until(60, lambda: RateLimited(retry_after=60.0 - clock.now()))
    provider = Provider({"a": limited, "b": limited}, delay=0.1)
    ends, _ = run_virtual(traffic(stack_of(provider, router), 59))

    assert 1 == ends.count("RateLimited")
    assert {"c", "RateLimited"} == set(ends)
    assert 1 == provider.counts().get("a", 0) + provider.counts().get("b", 0)


def test_nothing_is_sent_before_the_named_moment_whoever_insists() -> None:
    """I11: and all know when that is; then traffic is shared as before."""
    limited = until(30, lambda: RateLimited(retry_after=30.0 - clock.now()))
    provider = Provider(dict.fromkeys("abc", limited))
    stack = stack_of(provider)
    ends, _ = run_virtual(traffic(stack, 60))
    times = [at for at, _ in provider.sent]
    back = [name for at, name in provider.sent if at > 32]

    assert ["RateLimited"] * 2 == ends[:2]
    assert [] == [at for at in times[2:] if at < 30]
    assert {"NoEndpoint", *"abc"} == set(ends[2:])
    assert max(Counter(back).values()) - min(Counter(back).values()) <= 1


def test_what_nobody_timed_is_only_put_last() -> None:
    """An overload of all is no outage of ours: what is refused softly is asked when all refuse."""
    provider = Provider(dict.fromkeys("abc", lambda now: Overloaded() if now % 2 < 1 else None))
    endpoints = [Endpoint(name, provider) for name in "abc"]
    builder = ServiceBuilder(seed=1).layer(RoundRobin(endpoints)).layer(Cooldown())
    ends, _ = run_virtual(traffic(builder.service(dispatch), 60, gap=0.25))

    assert len(ends) == len(provider.sent)
    assert {"Overloaded", "a", "b", "c"} == set(ends)
    assert abs(ends.count("Overloaded") - len(ends) / 2) <= 2


def test_an_overloaded_endpoint_is_left_alone_for_its_seconds() -> None:
    """While another takes its share."""
    provider = Provider({"a": until(20, Overloaded)})
    ends, _ = run_virtual(traffic(stack_of(provider, names="ac"), 40, gap=0.1))
    tries = [at for at, name in provider.sent if name == "a" and at < 20]

    assert 8 <= len(tries) <= 11
    assert ends.count("Overloaded") == len(tries)
    assert 90 <= provider.counts()["a"] - len(tries) <= 101


@pytest.mark.parametrize(
    ("error", "seconds"),
    [(AuthFailed, 600), (QuotaExhausted, 3600)],
    ids=["bad key", "no money"],
)
def test_a_bad_key_costs_one_call_and_one_probe_in_ten_minutes(
    error: Callable[[], LLMStackError], seconds: float
) -> None:
    """However many endpoints are under it; an empty account one in an hour."""
    provider = Provider(dict.fromkeys("ab", until(3.5 * seconds, error)))
    stack = stack_of(provider, "round_robin", "abc", Retry())
    ends, _ = run_virtual(traffic(stack, 5 * seconds, gap=10))
    tries = [at for at, name in provider.sent if name != "c" and at < 3.5 * seconds]

    assert {"a", "b", "c"} == set(ends)
    assert 4 == len(tries)
    assert all(seconds <= after - before < seconds + 40 for before, after in pairwise(tries))


@pytest.mark.parametrize("names", ["a", "ab"], ids=["alone", "under one key"])
@pytest.mark.parametrize("router", ROUTERS)
def test_a_named_wait_that_fits_the_deadline_is_waited_for(router: str, names: str) -> None:
    """U-8: one call more, at the time that was named and no earlier; no failure is seen.

    BerriAI/litellm#34399: also where one that shares the key is left to ask.
    """
    limited = until(1, lambda: RateLimited(retry_after=5.0))
    provider = Provider(dict.fromkeys("ab", limited))
    stack = stack_of(provider, router, names, Deadline(30), Retry())
    reply, seconds = run_virtual(stack(Request("m")))

    assert reply in names
    assert 2 == len(provider.sent)
    assert 5 <= provider.sent[1][0] == seconds < 7


def test_one_that_does_not_fit_is_not() -> None:
    """The failure leaves at once, and says how long it will be."""
    provider = Provider({"a": until(99, lambda: RateLimited(retry_after=50.0))})
    stack = stack_of(provider, "round_robin", "a", Deadline(30), Retry())

    async def main() -> float:
        with pytest.raises(RateLimited) as failed:
            await stack(Request("m"))
        with pytest.raises(NoEndpoint, match="a: its key for m is put aside for 50"):
            await stack(Request("m"))
        assert failed.value.retry_after is not None
        return failed.value.retry_after

    wait, seconds = run_virtual(main())
    assert 50 <= wait < 51
    assert 0 == seconds
    assert 1 == len(provider.sent)


def test_three_deployments_under_one_quota_are_asked_once() -> None:
    """Peers: three attempts in 0.07 s. A wait of two minutes is named, so nobody is asked again.

    BerriAI/litellm#34399: Retry-After was ignored where several deployments share an upstream.
    """
    provider = Provider(dict.fromkeys("abc", until(1e9, lambda: RateLimited(retry_after=120.0))))
    endpoints = [Endpoint(name, provider, key="one") for name in "abc"]
    builder = ServiceBuilder(seed=1).layer(Retry(attempts=4)).layer(RoundRobin(endpoints))
    stack = builder.layer(Cooldown()).service(dispatch)
    ends, _ = run_virtual(traffic(stack, 50))

    assert {"RateLimited": 1, "NoEndpoint": 99} == Counter(ends)
    assert 1 == len(provider.sent)


def test_one_deployment_that_says_two_minutes_is_not_hammered() -> None:
    """Peers: 4 attempts in 8.5 s, then a message that says 30 seconds.

    Here the moment is known, and who comes less than a minute before it waits for it.
    """
    provider = Provider({"a": until(120, lambda: RateLimited(retry_after=120.0 - clock.now()))})
    stack = stack_of(provider, "round_robin", "a", Retry(attempts=4))

    async def main() -> None:
        with pytest.raises(RateLimited):
            await stack(Request("m"))
        await asyncio.sleep(50)
        with pytest.raises(NoEndpoint) as nobody:
            await stack(Request("m"))
        assert nobody.value.ready_at is not None
        assert 120 <= nobody.value.ready_at < 121
        await asyncio.sleep(50)
        await stack(Request("m"))

    run_virtual(main())
    assert 2 == len(provider.sent)
    assert 120 <= provider.sent[1][0] < 121


def test_an_endpoint_that_fails_fast_does_not_keep_its_place() -> None:
    """Peers: 5 hits before it is put aside, since it seems the fastest. Here it is one."""
    provider = Provider({"a": until(1e9, RateLimited)})
    stack = stack_of(provider, "latency_based", "ac")
    ends, _ = run_virtual(traffic(stack, 0.9, gap=0.01))

    assert {"a": 1, "c": len(ends) - 1} == provider.counts()


def test_a_429_without_a_word_is_enough() -> None:
    """Peers: one without headers causes no failover. Here the next request goes elsewhere."""
    provider = Provider({"a": until(0.9, RateLimited)})
    ends, _ = run_virtual(traffic(stack_of(provider, "fallback", "ac"), 3, gap=0.25))

    assert ["c"] * 5 == ends[:5]
    assert {"a"} == set(ends[5:])
    assert [0.0] == [at for at, name in provider.sent if name == "a" and at < 0.9]


def test_two_stacks_over_one_account_know_the_same() -> None:
    """U-8: if they are given the same board."""
    board = CoolingBoard()
    provider = Provider({"a": until(1e9, QuotaExhausted)})
    endpoint = Endpoint("a", provider, account="x")
    other = Endpoint("b", provider, account="x")
    one, two = (
        ServiceBuilder().layer(RoundRobin([each])).layer(Cooldown(board=board)).service(dispatch)
        for each in (endpoint, other)
    )

    async def main() -> None:
        with pytest.raises(QuotaExhausted):
            await one(Request("m"))
        with pytest.raises(NoEndpoint, match="its account is put aside for 3600"):
            await two(Request("m"))

    run_virtual(main())
    assert {"a": 1} == provider.counts()


def test_a_group_is_not_put_aside_for_one_of_its_members() -> None:
    """The other member goes on serving, through the same group."""
    provider = Provider({"a": until(1e9, lambda: RateLimited(retry_after=900.0))})
    inner = stack_of(provider, "round_robin", "ac")
    group = Endpoint("group", inner)
    outer = ServiceBuilder().layer(RoundRobin([group])).layer(Cooldown()).service(dispatch)
    ends, _ = run_virtual(traffic(outer, 10))

    assert ["RateLimited", *["c"] * (len(ends) - 1)] == ends
    assert {} == outer.statistics()["cooldown"]


def trace(seed: int) -> list[tuple[float, str]]:
    limited: Fails = lambda now: RateLimited(retry_after=3.0) if now % 7 < 2 else None  # noqa: E731
    provider = Provider({"a": limited, "c": limited})
    endpoints = [Endpoint(name, provider) for name in "ac"]
    builder = ServiceBuilder(seed=seed).layer(Retry()).layer(LatencyBased(endpoints))
    run_virtual(traffic(builder.layer(Cooldown()).service(dispatch), 60))
    return provider.sent


def test_the_same_seed_gives_the_same_trace() -> None:
    """And another one another."""
    assert trace(1) == trace(1)
    assert trace(1) != trace(2)
