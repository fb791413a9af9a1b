"""What the tests of `LatencyBased` share: pickers that have seen this or that."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from attrs import frozen
from hypothesis import strategies as st

from llmstack.call import Outcome
from llmstack.endpoint import Endpoint
from llmstack.errors import ServerError
from llmstack.estimators.explore import Exploration
from llmstack.estimators.rotation import Rotation
from llmstack.messages import Request
from llmstack.routers.latency_based import Fastest, LatencyBased
from llmstack.testing.scripted import echo


__all__ = [
    "NEVER",
    "Facts",
    "facts",
    "fastest",
    "picker_of",
    "pool",
    "ranked",
    "take",
    "walk",
]

NEVER: Final = Exploration(share=0.0)


def fastest(layer: LatencyBased) -> Fastest:
    """The picker that a use of *layer* gets."""
    picker = layer(echo).picker
    assert isinstance(picker, Fastest)
    return picker


def take(picker: Fastest, endpoint: Endpoint, now: float = 0.0) -> None:
    """Book a call of *endpoint* that goes out."""
    assert endpoint is next(picker.order(Request(), [endpoint], now))


@frozen
class Facts:
    """What there is to know of an endpoint, as things that have happened to it at second 0.

    It was measured, or not; then so many calls have failed; and so many are in flight.
    """

    latency: float | None = None
    failures: int = 0
    pending: int = 0
    weight: float = 1.0

    def happen(self, picker: Fastest, endpoint: Endpoint, at: float = 0.0) -> None:
        for _ in range(0 if self.latency is None else 1):
            take(picker, endpoint, at)
            picker.settle(endpoint, at - (self.latency or 0.0), Outcome(at, first=at))
        for _ in range(self.failures):
            take(picker, endpoint, at)
            picker.settle(endpoint, at, Outcome.of(ServerError(), at))
        for _ in range(self.pending):
            take(picker, endpoint, at)


#: Latencies on a grid on which all arithmetic of a factor of two is exact.
facts = st.builds(
    Facts,
    latency=st.none() | st.integers(1, 64).map(lambda n: n / 8),
    failures=st.integers(0, 6),
    pending=st.integers(0, 4),
    weight=st.sampled_from([0.5, 1.0, 3.0]),
)


def pool(world: Sequence[Facts]) -> list[Endpoint]:
    """The endpoints a, b, c ... of *world*."""
    return [Endpoint(chr(ord("a") + n), echo, each.weight) for n, each in enumerate(world)]


def picker_of(world: Sequence[Facts], prior: float = 1.0, tau: float = 10.0) -> Fastest:
    """A picker to which *world* has happened, and that has no memory of turns."""
    endpoints = pool(world)
    layer = LatencyBased(endpoints, prior=prior, tau=tau, explore=NEVER, rng=Random(1))
    picker = fastest(layer)
    for each, endpoint in zip(world, endpoints, strict=True):
        each.happen(picker, endpoint)
    picker.turns = Rotation()
    return picker


def ranked(world: Sequence[Facts], now: float = 0.0, prior: float = 1.0) -> list[int]:
    """The places of *world* in the order in which they would be asked."""
    picker, endpoints = picker_of(world, prior), pool(world)
    return [endpoints.index(e) for e in walk(picker, endpoints, now)]


def walk(
    picker: Fastest, endpoints: Sequence[Endpoint], now: float, request: Request | None = None
) -> list[Endpoint]:
    """The whole order, as if all refused, so that nothing is booked."""
    order = []
    for endpoint in picker.order(request or Request(), endpoints, now):
        order.append(endpoint)
        picker.settle(endpoint, now, Outcome(now, "refused"))
    return order
