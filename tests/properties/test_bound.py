"""What `describe` promises of one request: no script of faults takes more calls, time or money."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import pytest
from attrs import evolve, frozen
from hypothesis import example, given
from hypothesis import strategies as st

import llmstack as ls
from llmstack.testing.virtual import run_virtual


#: How an endpoint answers: after so many seconds, with this error or well.
Line = tuple[float, type[ls.LLMStackError] | None]

WINDOW: Final = ls.Capabilities(context=1000, max_output=100)
ERRORS: Final = (
    *(None, ls.Overloaded, ls.ServerError, ls.RateLimited, ls.AuthFailed, ls.ConnectionFailed),
    *(ls.EmptyResponse, ls.UpstreamTimeout, ls.BadRequest, ls.QuotaExhausted),
)
#: Rounding of sums of floats.
SOON: Final = 1e-6

lines = st.tuples(st.sampled_from([0.0, 0.5, 2.0, 30.0]), st.sampled_from(ERRORS))
scripts = st.lists(st.lists(lines, min_size=1, max_size=4), min_size=1, max_size=3)


@frozen
class Ways:
    """What stands in a stack, outermost first; None is left out."""

    deadline: float | None
    retry: int | None
    hedge: bool
    router: str
    below: int | None
    total: float


ways = st.builds(
    Ways,
    st.sampled_from([None, 1.0, 9.0]),
    st.sampled_from([None, 2, 3]),
    st.booleans(),
    st.sampled_from(
        [
            "round_robin",
            "weighted_random",
            "fallback",
            "primary",
            "short",
            "group",
            "keys",
            "locked",
        ]
    ),
    st.sampled_from([None, 2]),
    st.sampled_from([1.0, 4.0]),
)


class Bill:
    """What was really asked, and what it cost, each call at its dearest."""

    def __init__(self, scripts: Sequence[Sequence[Line]]) -> None:
        self.scripts, self.calls, self.cost, self.turns = scripts, 0, 0.0, 0
        self.endpoints = [self.endpoint(n) for n in range(len(scripts))]

    def endpoint(self, n: int) -> ls.Endpoint:
        async def answer(request: ls.Request) -> ls.Response:
            assert request.endpoint is not None
            self.calls += 1
            self.cost += request.endpoint.dearest
            wait, kind = self.scripts[n][self.calls % len(self.scripts[n])]
            await asyncio.sleep(wait)
            if kind is not None:
                raise kind("as told", retry_after=wait or None)
            return ls.Response(b"{}")

        return ls.Endpoint(str(n), answer, price=ls.Price(n + 1, 2 * n + 1), capabilities=WINDOW)


def stack_of(ways: Ways, endpoints: Sequence[ls.Endpoint], seed: int) -> ls.Stack[Any, Any]:
    layers: list[ls.Layer | None] = [
        None if ways.deadline is None else ls.Deadline(ways.deadline),
        None if ways.retry is None else ls.Retry(attempts=ways.retry, base=0.5, patience=3.0),
        # So eager that nearly each call is sent twice.
        ls.Hedge(hedgeable=lambda _: True, share=0.9, samples=1, spread=1) if ways.hedge else None,
        ROUTERS[ways.router](endpoints),
        # Two retries and a hedge do not stand in one stack.
        None
        if ways.below is None or ways.hedge
        else ls.Retry(attempts=ways.below, base=0.1, patience=1.0),
        ls.Timeout(total=ways.total),
    ]
    there = tuple(layer for layer in layers if layer is not None)
    return ls.ServiceBuilder(there, seed=seed).service(ls.dispatch)


def grouped(endpoints: Sequence[ls.Endpoint]) -> ls.Layer:
    """A group of all behind the first name, and the last one as it is."""
    inside = ls.ServiceBuilder().layer(ls.Fallback(endpoints)).service(ls.dispatch)
    return ls.Fallback([ls.Endpoint("group", inside), endpoints[-1]])


def locked(endpoints: Sequence[ls.Endpoint]) -> ls.Layer:
    """One endpoint that has the others as keys, before the last one as it is."""
    keys = [ls.Key(endpoint.name, ls.Secret(endpoint.name)) for endpoint in endpoints]
    group = ls.with_keys(
        endpoints[0],
        keys,
        under=lambda key: endpoints[int(key.current().reveal())].service,
        rotations=1,
        seed=1,
    )
    return ls.Fallback([group, evolve(endpoints[-1], name="last")])


ROUTERS: Final[dict[str, Callable[[Sequence[ls.Endpoint]], ls.Layer]]] = {
    "round_robin": ls.RoundRobin,
    "weighted_random": ls.WeightedRandom,
    "fallback": ls.Fallback,
    "primary": lambda endpoints: ls.Fallback(endpoints, retry_primary=2),
    "short": lambda endpoints: ls.Fallback(endpoints, max_attempts=1),
    "group": grouped,
    "keys": ls.Keys,
    "locked": locked,
}


@pytest.mark.filterwarnings("ignore::llmstack.order.StackWarning")
@given(ways, scripts, st.integers(0, 9))
@example(Ways(None, 3, True, "primary", 2, 4.0), [[(2.0, ls.Overloaded)]] * 3, 0)
@example(Ways(9.0, 3, True, "group", 2, 1.0), [[(30.0, None)]] * 3, 0)
def test_no_script_exceeds_the_bound(ways: Ways, scripts: list[list[Line]], seed: int) -> None:
    """U-9: several requests, one after another, for layers to learn; each keeps to the bound."""
    bill = Bill(scripts)

    async def main() -> None:
        stack = stack_of(ways, bill.endpoints, seed)
        most = stack.bound
        for _ in range(4):
            bill.calls, bill.cost, began = 0, 0.0, asyncio.get_running_loop().time()
            with suppress(ls.LLMStackError):
                await stack(ls.Request("m", {}))
            assert bill.calls <= most.calls
            assert bill.cost <= most.cost + SOON
            assert asyncio.get_running_loop().time() - began <= most.seconds + SOON

    run_virtual(main())


@pytest.mark.parametrize(
    ("ways", "asked"),
    [
        (Ways(None, 3, False, "fallback", None, 4.0), [0, 1, 2] * 3),
        (Ways(None, 2, False, "short", 2, 4.0), [1, 2] * 2 * 2),
        (Ways(None, 2, False, "primary", None, 4.0), [0, 1, 2, 2, 2] * 2),
        (Ways(None, None, True, "round_robin", None, 4.0), [2] * 2),
        (Ways(None, 2, True, "group", None, 4.0), [0, 1, 2, 2] * 2 * 2),
    ],
)
@pytest.mark.filterwarnings("ignore::llmstack.order.StackWarning")
def test_the_bound_counts_what_may_be_asked(ways: Ways, asked: list[int]) -> None:
    """Each layer multiplies what is below it, and each endpoint is paid for as often as asked.

    Those that a router may choose between are the dearest, and so is what is asked again.
    """
    bill = Bill([[(0.0, None)]] * 3)
    bound = stack_of(ways, bill.endpoints, 0).bound

    assert len(asked) == bound.calls
    assert sum(bill.endpoints[n].dearest for n in asked) == pytest.approx(bound.cost)
