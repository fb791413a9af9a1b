import asyncio
from itertools import accumulate
from math import inf
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack import clock
from llmstack.builder import ServiceBuilder
from llmstack.call import Attempt, Call, Outcome
from llmstack.combine import layer_fn
from llmstack.errors import ConfigError, DeadlineExceeded, UpstreamTimeout
from llmstack.layers.deadline import Deadline
from llmstack.layers.timeout import Timeout
from llmstack.messages import Request
from llmstack.order import Bound, StackWarning
from llmstack.service import Service, observe
from llmstack.testing.scripted import (
    echo,
)
from llmstack.testing.virtual import run_virtual
from tests.layers.timed import leaf, timers, use


@given(
    nested=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    existing=st.just(inf) | st.integers(-2, 9),
    delay=st.integers(0, 9),
    waits=st.none() | st.lists(st.integers(0, 3), max_size=4),
)
@example(nested=[5, 5, 5, 5], existing=5, delay=5, waits=None)
@example(nested=[5], existing=inf, delay=4, waits=None)
@example(nested=[9, 5], existing=inf, delay=4, waits=[1])
@example(nested=[5, 9], existing=inf, delay=4, waits=[1])
@example(nested=[5], existing=0, delay=0, waits=None)
@example(nested=[9], existing=5, delay=4, waits=[0, 0, 1])
@example(nested=[9], existing=5, delay=4, waits=[0, 0, 0])
def test_the_earliest_deadline_ends_the_call(
    nested: list[int], existing: float, delay: int, waits: list[int] | None
) -> None:
    """Waiting or reading, at that moment and not before; what is in time is as it was."""
    seen: list[float] = []

    async def inner(request: Request, /) -> object:
        seen.append(request.call.deadline)
        return await leaf(delay, waits)(request)

    service: Service[Request, object] = inner
    for seconds in reversed(nested):
        service = Deadline(seconds)(service)

    async def main() -> tuple[tuple[str, int], float, int]:
        request = Request(call=Call(deadline=existing))
        return await use(service, request), request.call.deadline, timers()

    limit = min(existing, *nested)
    there = [end for end in accumulate(waits or [], initial=delay) if end < limit]
    late = len(there) < 1 + len(waits or [])
    over = f"the call was not over after {limit} s" if late else "ok"
    if limit <= 0:
        over = f"the time was over {-limit} s before the call; nothing was sent"
        there, limit = [], 0
    end = over, 0 if waits is None else len(there)
    assert ((end, existing, 0), limit if late else there[-1]) == run_virtual(main())
    assert ([] if existing <= 0 else [limit]) == seen


@pytest.mark.parametrize("waits", [None, [9]], ids=["waiting", "reading"])
@pytest.mark.parametrize(
    ("deadline", "timeout", "error", "neutral"),
    [
        (5, 9, DeadlineExceeded, True),
        (9, 5, UpstreamTimeout, False),
        (5, 5, DeadlineExceeded, True),
    ],
    ids=["deadline", "timeout", "both at once"],
)
def test_whose_time_it_was(
    deadline: float, timeout: float, error: type, waits: list[int] | None, *, neutral: bool
) -> None:
    """A gate learns from the endpoint's timeout, and nothing from the caller's deadline."""
    seen: list[Outcome] = []

    @layer_fn
    async def gate(inner: Service[Any, Any], request: object) -> object:
        return await observe(inner, request, seen.append)

    if waits is None:
        attempt = Timeout(first_token=timeout)(leaf(10, None))
    else:
        # A hair later, for of two timers of one moment either may be the first.
        attempt = Timeout(idle=timeout + 0.001)(leaf(0, waits))
    service: Service[str, Any] = Deadline(deadline)(gate(attempt))

    async def main() -> None:
        with pytest.raises(error):
            [event async for event in await service("request")]

    run_virtual(main())

    assert [neutral] == [outcome.neutral for outcome in seen]
    assert [("cancelled" if waits is None and neutral else "failed")] == [o.how for o in seen]


def test_below_it_holds_and_beside_it_does_not() -> None:
    """The deadline of one part of a call does not cut the next part short."""
    seen: list[float] = []

    async def inner(request: Request, /) -> str:
        seen.append(request.call.deadline)
        return await asyncio.sleep(4, "ok")

    async def main() -> None:
        request, part = Request(), Deadline(5)(inner)
        whole = Deadline(30)(part)
        await whole(request)
        await part(request)
        await whole(request)

    run_virtual(main())

    assert [5.0, 9.0, 13.0] == seen


def test_of_two_at_once_none_is_lengthened() -> None:
    """Parts of one call that run side by side end in any order; none leaves a later deadline."""
    seen: list[float] = []

    async def inner(request: Request, /) -> None:
        await asyncio.sleep(2)
        seen.append(request.call.deadline)

    async def main() -> float:
        request = Request(call=Call(deadline=30))
        async with asyncio.TaskGroup() as group:
            group.create_task(Deadline(9)(inner)(request))
            await asyncio.sleep(1)
            group.create_task(Deadline(3)(inner)(request))
        return request.call.deadline

    ends, _ = run_virtual(main())

    assert [4.0, 4.0] == seen
    assert ends <= 30


@pytest.mark.parametrize("existing", [inf, -1.0], ids=["late", "too late to send"])
def test_the_error_carries_the_ledger(existing: float) -> None:
    """Who had been asked by then; and it is a `TimeoutError` that nobody is blamed for."""

    async def inner(request: Request, /) -> None:
        request.call.begin(Attempt("us", clock.now()))
        await asyncio.sleep(9)

    async def main() -> DeadlineExceeded:
        call = Call(deadline=existing, attempts=[Attempt("eu", 0.0)])
        with pytest.raises(TimeoutError) as raised:
            await Deadline(5)(inner)(Request(call=call))
        assert isinstance(raised.value, DeadlineExceeded)
        return raised.value

    error, _ = run_virtual(main())

    assert ["eu", "us"][: 2 if existing == inf else 1] == [a.endpoint for a in error.attempts]
    assert (False, False, "nobody") == (error.again, error.elsewhere, error.blames)


def test_the_order_is_checked() -> None:
    """What allows more time below warns; a queue above takes time that nobody counts."""
    with pytest.warns(StackWarning, match="timeout allows 30 s, but deadline above it only 10"):
        ServiceBuilder().layer(Deadline(10)).layer(Timeout(idle=30)).service(echo)

    def queue(inner: Service[Any, Any], /) -> Service[Any, Any]:
        return inner

    ServiceBuilder().layer(Deadline(10)).layer(queue).layer(Timeout(idle=10)).service(echo)
    with pytest.raises(ConfigError, match="deadline must be above queue: time spent in line"):
        ServiceBuilder().layer(queue).layer(Deadline(10)).service(echo)


@pytest.mark.parametrize(
    ("inner", "bound"),
    [(Bound(3), Bound(3, 5)), (Bound(2, 4), Bound(2, 4)), (Bound(), Bound(1, 5))],
)
def test_the_bound_ends_at_the_deadline(inner: Bound, bound: Bound) -> None:
    """As many calls, in no more time."""
    assert bound == Deadline(5).bound(inner)


@pytest.mark.parametrize("seconds", [0, -1, inf, float("nan"), "5"])
def test_a_bad_setting_names_its_field(seconds: float) -> None:
    """A deadline is some seconds away, and it comes."""
    with pytest.raises((ValueError, TypeError)) as raised:
        Deadline(seconds)

    assert "'seconds'" in str(raised.value) or isinstance(raised.value, TypeError)
