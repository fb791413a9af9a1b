"""What the sources of the breaker promised, case by case, through the layer as users have it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from llmstack import clock
from llmstack.builder import ServiceBuilder, Stack
from llmstack.endpoint import Endpoint
from llmstack.errors import CircuitOpen, NoEndpoint, ServerError
from llmstack.estimators.cusum import Cusum
from llmstack.estimators.trip import ConsecutiveFailures, FailureRatio, TripPolicy
from llmstack.estimators.z_score import LatencyZScore
from llmstack.layers.circuit_breaker import CircuitBreaker
from llmstack.layers.metrics import Metrics
from llmstack.layers.retry import Retry
from llmstack.messages import Request, dispatch
from llmstack.recorder import MemoryRecorder
from llmstack.routers.round_robin import RoundRobin
from llmstack.testing.virtual import run_virtual


#: What a call does below: so many seconds, and whether it succeeds.
Line = tuple[float, bool]

POLICIES: Final = (Cusum(), ConsecutiveFailures(5), FailureRatio(), LatencyZScore())


class Below:
    """Plays a line for each call; after the last one it answers at once."""

    def __init__(self, lines: Sequence[Line] = ()) -> None:
        self.lines = list(lines)
        self.asked: list[float] = []

    async def __call__(self, _request: object, /) -> str:
        self.asked.append(clock.now())
        seconds, good = self.lines.pop(0) if self.lines else (0.0, True)
        await asyncio.sleep(seconds)
        if not good:
            raise ServerError
        return "ok"


async def said(service: Any) -> str:  # noqa: ANN401 -- any service
    """How a call ends, as one word."""
    try:
        await service(Request())
    except CircuitOpen:
        return "refused"
    except ServerError:
        return "failed"
    return "ok"


def breaker(below: Below, policy: TripPolicy | None = None) -> Any:  # noqa: ANN401 -- a service
    policy = ConsecutiveFailures(3) if policy is None else policy
    return CircuitBreaker(policy, ramp=0.0, rng=Random(1))(below)


def state(service: Any) -> str:  # noqa: ANN401 -- as above
    (circuit,) = service.statistics().values()
    return str(circuit.state)


def test_what_was_under_way_does_not_close_an_open_circuit() -> None:
    """EA-4 reversed, W-EA-4, CB-10: ten failures, then five slow good calls: open, refused."""
    below = Below([(0.1, False)] * 10 + [(0.5, True)] * 5)
    service = breaker(below)

    async def main() -> list[str]:
        ends = await asyncio.gather(*(said(service) for _ in range(15)))
        return [*ends, state(service), await said(service)]

    ended = run_virtual(main())[0]

    assert ["failed"] * 10 + ["ok"] * 5 + ["open", "refused"] == ended
    assert 15 == len(below.asked)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
@pytest.mark.parametrize(
    "lines",
    [
        [(0.05, True), (0.055, True)],
        [(0.05, False)],
        [(0.05 + n / 1000, True) for n in range(10)] + [(0.5, True)],
    ],
    ids=["CB-1", "CB-2 reversed", "CB-2 mended"],
)
def test_no_policy_opens_at_this(policy: TripPolicy, lines: list[Line]) -> None:
    """CB-1, CB-2: two good calls; one failure; a good baseline and one call ten times as long."""
    service = breaker(Below(lines), policy)

    async def main() -> list[str]:
        return [*[await said(service) for _ in lines], state(service), await said(service)]

    expected = ["ok" if good else "failed" for _, good in lines]
    assert [*expected, "closed", "ok"] == run_virtual(main())[0]


@pytest.mark.parametrize(
    ("seconds", "failed", "mean"),
    [([0.05, 0.06, 0.055], 0, 0.055), ([0.05, 0.06, 0.055], 1, 0.0525)],
    ids=["CB-6", "CB-7"],
)
def test_a_stack_counts_calls_times_and_failures(
    seconds: list[float], failed: int, mean: float
) -> None:
    """CB-6, CB-7: three calls, their mean time, and how many failed, which have no such time."""
    lines = [(each, not (failed and n == 1)) for n, each in enumerate(seconds)]
    recorder = MemoryRecorder()
    builder = ServiceBuilder().layer(CircuitBreaker(key=lambda _: "eu")).layer(Metrics(recorder))
    stack: Stack[Any, Any] = builder.service(Below(lines))

    async def main() -> None:
        for _ in seconds:
            await said(stack)

    run_virtual(main())

    circuit = stack.statistics()["circuit_breaker"]["eu"]
    (times,) = [
        each for (name, _), each in recorder.histograms.items() if name == "llmstack_call_seconds"
    ]
    assert (3, failed) == (circuit.recent, circuit.bad)
    assert 3 - failed == times.count
    assert pytest.approx(mean) == times.total / times.count


def test_five_failures_open_and_one_success_closes_after_the_time() -> None:
    """EG-5, EG-6: not before the fifth, and not before the time is over."""
    below = Below([(0.0, False)] * 5)
    service = breaker(below, ConsecutiveFailures(5))

    async def main() -> list[str]:
        seen = []
        for _ in range(5):
            seen += [await said(service), state(service)]
        ready_at = service.statistics()[None].ready_at
        seen += [await said(service)]
        await asyncio.sleep(ready_at - clock.now() - 0.001)
        seen += [await said(service)]
        await asyncio.sleep(0.002)
        return [*seen, await said(service), state(service)]

    seen = run_virtual(main())[0]

    assert ["failed", "closed"] * 4 + ["failed", "open"] == seen[:10]
    assert ["refused", "refused", "ok", "closed"] == seen[10:]
    assert 6 == len(below.asked)


def test_an_unhealthy_endpoint_gets_nothing_and_no_caller_notices() -> None:
    """EG-7, EG-8: it is asked until its circuit opens; with `Retry` above the other answers."""
    came: Counter[str] = Counter()

    async def service(request: Request) -> str:
        assert request.endpoint
        came[request.endpoint.name] += 1
        if request.endpoint.name == "down":
            raise ServerError
        return "ok"

    builder = (
        ServiceBuilder(seed=1)
        .layer(Retry())
        .layer(RoundRobin([Endpoint("down", dispatch), Endpoint("up", dispatch)]))
        .layer(CircuitBreaker(ConsecutiveFailures(5)))
    )
    stack: Stack[Any, Any] = builder.service(service)

    async def main() -> list[object]:
        return [await stack(Request()) for _ in range(20)]

    with capture_logs() as logs:
        assert ["ok"] * 20 == run_virtual(main())[0]

    assert {"down": 5, "up": 20} == came
    assert 1 == [entry["event"] for entry in logs].count("circuit_breaker.opened")


def test_every_wait_is_the_one_that_is_told() -> None:
    """W-LL-21: the first is not twice the base; each is over when the log says, and not before."""
    below = Below([(0.0, False)] * 9)
    service = breaker(below, ConsecutiveFailures(1))

    async def main() -> list[str]:
        seen = [await said(service)]
        for _ in range(4):
            ready_at = service.statistics()[None].ready_at
            await asyncio.sleep(ready_at - clock.now() - 0.001)
            seen.append(await said(service))
            await asyncio.sleep(0.002)
            seen.append(await said(service))
        return seen

    with capture_logs() as logs:
        seen = run_virtual(main())[0]

    waits = [entry["wait"] for entry in logs if entry["event"] == "circuit_breaker.opened"]
    gaps = [after - before for before, after in pairwise(below.asked)]
    assert ["failed"] + ["refused", "failed"] * 4 == seen
    assert pytest.approx(waits[:4], abs=0.003) == gaps
    for nominal, wait in zip((5, 10, 20, 30, 30), waits, strict=True):
        assert nominal / 2 <= wait <= nominal


def test_a_probe_that_fails_is_not_undone_by_who_comes_meanwhile() -> None:
    """W-LL-25: fifty that come in the moment in which it opens again do not half-open it."""
    below = Below([(0.0, False)] * 3 + [(1.0, False)])
    service = breaker(below)

    async def main() -> list[str]:
        for _ in range(3):
            await said(service)
        await asyncio.sleep(service.statistics()[None].ready_at - clock.now())

        async def late() -> str:
            await asyncio.sleep(1.0)
            return await said(service)

        return await asyncio.gather(said(service), *(late() for _ in range(50)))

    assert ["failed"] + ["refused"] * 50 == run_virtual(main())[0]
    assert ("open", 4) == (state(service), len(below.asked))


def test_a_refusal_is_counted_by_nobody_outside() -> None:
    """W-LL-28: it says when to come back, it blames no endpoint, and nothing was sent."""
    below = Below([(0.0, False)] * 3)
    inner = breaker(below)
    outer = CircuitBreaker(ConsecutiveFailures(4), key=lambda _: "all")(inner)

    async def main() -> list[CircuitOpen]:
        refusals = []
        for n in range(9):
            if n < 3:
                await said(outer)
                continue
            with pytest.raises(CircuitOpen) as refusal:
                await outer(Request())
            refusals.append(refusal.value)
        return refusals

    refusals = run_virtual(main())[0]
    ready_at = inner.statistics()[None].ready_at

    assert [ready_at] * 6 == [refusal.ready_at for refusal in refusals]
    assert (3, 3) == (len(below.asked), outer.statistics()["all"].bad)
    assert ("closed", "open") == (state(outer), state(inner))


def test_all_open_says_from_when_on_one_may_come() -> None:
    """U-8: nobody is left, and the earliest time of all of them is in the refusal."""
    two = [Endpoint(name, Below()) for name in ("eu", "us")]
    builder = ServiceBuilder(seed=1).layer(RoundRobin(two)).layer(CircuitBreaker())
    stack: Stack[Any, Any] = builder.service(dispatch)
    circuits = stack["circuit_breaker"]

    async def main() -> NoEndpoint:
        for endpoint in two:
            await stack(Request())
            circuits.open(endpoint.name)
        with pytest.raises(NoEndpoint) as refusal:
            await stack(Request())
        return refusal.value

    refusal = run_virtual(main())[0]
    times = [each.ready_at for each in circuits.statistics().values()]

    assert min(times) == refusal.ready_at < max(times)
