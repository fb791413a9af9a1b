import asyncio
import gc
from math import inf
from typing import Any, Final

import pytest
from attrs import frozen
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.call import Outcome
from llmstack.errors import ServerError, UpstreamTimeout
from llmstack.layers.retry import Retry
from llmstack.layers.timeout import Timeout
from llmstack.messages import Request
from llmstack.service import Service, observe
from llmstack.stream import EventStream
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from llmstack.testing.scripted import (
    ENDINGS,
    ScriptedEvent,
    ScriptedSource,
    dispatched,
    stream_of,
    under_way,
)
from llmstack.testing.virtual import VirtualLoop, run_virtual
from tests.layers.timed import leaf, timers


@frozen
class Plan:
    """What endpoint and reader do.

    The endpoint takes *delay* for the reply. *waits* are how long the reader has to wait for
    each further event, None for a reply in one piece; before each he rests.
    """

    delay: int
    waits: list[int] | None = None
    rests: tuple[int, ...] = (0,) * 4


#: How a call ends ("ok" or the phase), when, after how many events, and whether it may go on.
End = tuple[str, float, int, bool]


def model(timeout: Timeout, plan: Plan, *, streams: bool) -> End:
    """The documentation as one pass: of the times that are set, which is over first."""
    total = (timeout.total or inf, "total")
    over, phase = min((timeout.first_token or inf, "first_token"), total) if streams else total
    if plan.delay >= over:
        return phase, over, 0, True
    now = plan.delay
    for n, (rest, wait) in enumerate(zip(plan.rests, plan.waits or [], strict=False), 1):
        now += rest
        over, phase = min((now + (timeout.idle or inf), "idle"), total)
        if now + wait >= over:
            return phase, over, n, False
        now += wait
    return "ok", now, 0 if plan.waits is None else len(plan.waits) + 1, False


async def follow(service: Service[Any, Any], request: object, plan: Plan) -> End:
    """Call and read as planned; a gate on top says how it ended."""
    outcomes: list[Outcome] = []
    n = 0
    try:
        reply = await observe(service, request, outcomes.append)
        if isinstance(reply, EventStream):
            async for _ in reply:
                await asyncio.sleep((*plan.rests, 0)[n])
                n += 1
    except UpstreamTimeout as error:
        (outcome,) = outcomes
        assert (error, "endpoint", False) == (outcome.error, outcome.blames, outcome.neutral)
        assert error.again is error.elsewhere
        return error.phase, outcome.ended, n, error.again
    return "ok", outcomes[0].ended, n, False


# Half a second off the others, so that of two times one is over first.
halves: Final = st.none() | st.integers(1, 12).map(lambda n: n + 0.5)
wholes: Final = st.none() | st.integers(1, 9)
rests: Final = st.lists(st.integers(0, 5), min_size=4, max_size=4).map(tuple)
ALL: Final[dict[str, Any]] = {"first": 5, "idle": 3, "total": 12.5, "streams": True}
ONE: Final[dict[str, Any]] = {"first": 5, "idle": None, "total": None, "streams": False}


@given(
    first=wholes,
    idle=wholes,
    total=halves,
    streams=st.booleans(),
    plan=st.builds(
        Plan, st.integers(0, 9), st.none() | st.lists(st.integers(0, 5), max_size=4), rests
    ),
)
@example(**ALL, plan=Plan(4, [2, 2, 2]))
@example(**ALL, plan=Plan(5, [2]))
@example(**ALL, plan=Plan(4, [2, 3]))
@example(**ALL, plan=Plan(4, [2, 2], (5, 0, 0, 0)))
@example(**ALL, plan=Plan(4, [2, 4], (2, 2, 0, 0)))
@example(**ALL, plan=Plan(4, [2, 2], (5, 5, 0, 0)))
@example(**ALL, plan=Plan(4))
@example(first=5, idle=None, total=4.5, streams=True, plan=Plan(9))
@example(first=5, idle=3, total=None, streams=False, plan=Plan(9, [2, 3]))
@example(first=5, idle=None, total=7.5, streams=False, plan=Plan(9))
@example(**ONE, plan=Plan(9))
@example(first=None, idle=3, total=None, streams=True, plan=Plan(9, [0, 2, 3], (4, 4, 4, 0)))
def test_each_time_bounds_what_it_says(
    first: int | None, idle: int | None, total: float | None, plan: Plan, *, streams: bool
) -> None:
    """To the moment; the phase is the time that was over, and only before content it may go on."""
    if first is idle is total is None:
        first = 7
    timeout = Timeout(first_token=first, idle=idle, total=total)

    async def main() -> tuple[End, int]:
        service = timeout(leaf(plan.delay, plan.waits))
        return await follow(service, Request(stream=streams), plan), timers()

    expected = model(timeout, plan, streams=streams)
    assert (expected, 0) == run_virtual(main())[0]


@frozen
class Other:
    """A request of a web framework, where *stream* may be anything."""

    stream: object = None


@pytest.mark.parametrize(
    ("request_", "bounded"),
    [
        ("any", True),
        (Other(), True),
        (Other(b"body"), True),
        (Other(stream=True), True),
        (Other(stream=False), False),
        (Request(), False),
        (Request(stream=True), True),
    ],
    ids=repr,
)
def test_only_a_request_that_says_so_has_no_first_token(request_: object, *, bounded: bool) -> None:
    """Whatever else a request is, its reply has to begin in time."""

    async def main() -> End:
        return await follow(Timeout(first_token=5)(leaf(9, None)), request_, Plan(9))

    expected = ("first_token", 5.0, 0, True) if bounded else ("ok", 9.0, 0, False)
    assert expected == run_virtual(main())[0]


@pytest.mark.parametrize(
    ("timeout", "plan", "says"),
    [
        (Timeout(first_token=1.5), Plan(9), "no content within 1.5 s"),
        (Timeout(total=2), Plan(9), "no end of the reply within 2 s"),
        (Timeout(total=2), Plan(0, [9]), "no end of the reply within 2 s"),
        (Timeout(idle=1800), Plan(0, [1801]), "no further event within 1800 s"),
    ],
)
def test_the_error_says_what_was_missing(timeout: Timeout, plan: Plan, says: str) -> None:
    """And it is a `TimeoutError` to those who know no other."""

    async def main() -> None:
        reply = await timeout(leaf(plan.delay, plan.waits))("request")
        async for _ in reply:
            pass

    with pytest.raises(TimeoutError) as raised:
        run_virtual(main())

    assert says == str(raised.value)


@pytest.mark.parametrize("timeout", [Timeout(first_token=5), Timeout(total=5)], ids=repr)
def test_before_content_it_is_retried(timeout: Timeout) -> None:
    """Nothing has been handed up, whichever time it was: a second attempt gets all of it again."""
    times = iter([9, 4])

    async def inner(_request: str, /) -> str:
        return await asyncio.sleep(next(times), "ok")

    reply, elapsed = run_virtual(Retry(base=1e-6)(timeout(inner))("request"))

    assert ("ok", pytest.approx(9)) == (reply, elapsed)


@pytest.mark.parametrize("ending", ENDINGS)
def test_however_it_ends_no_timer_is_left(ending: str) -> None:
    """Two timers for a stream, one for a reply that is awaited, and then none."""

    async def main() -> int:
        async with under_way(Timeout(idle=30, total=60), dispatched("eu"), ending):
            assert (1 if ending in {"reply", "error", "cancel"} else 2) == timers()
        return timers()

    assert (0, 0.0) == run_virtual(main())


@pytest.mark.parametrize("timeout", [Timeout(idle=5), Timeout(total=5)], ids=repr)
def test_a_dropped_stream_is_not_kept(timeout: Timeout) -> None:
    """The timers hold no stream: it is closed when the last one lets go of it."""
    source = ScriptedSource([ScriptedEvent()])

    async def inner(_request: object, /) -> EventStream:
        return EventStream(source, held=[ScriptedEvent()])

    async def main() -> tuple[int, int]:
        gc.disable()
        try:
            await timeout(inner)("request")
            return source.closed, timers()
        finally:
            gc.enable()

    assert ((1, 0), 0.0) == run_virtual(main())


def test_a_stream_that_is_kept_and_never_read_is_not_idle() -> None:
    """Nobody waits for it; and a stream that says nothing at its end is let go at the next look."""

    class Careless:
        waiting_since = None

        def on_end(self, _end: object) -> None:
            """Forget it."""

    async def inner(_request: object, /) -> object:
        return Careless()

    async def main() -> list[int]:
        stream = await Timeout(idle=5)(inner)("request")
        await asyncio.sleep(99)
        seen = [timers()]
        del stream
        await asyncio.sleep(5)
        return [*seen, timers()]

    assert ([1, 0], 104.0) == run_virtual(main())


def test_many_events_cost_few_timers() -> None:
    """One look in a period, not one timer an event."""
    made: list[float] = []

    async def main() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        events = [part for _ in range(1000) for part in (0.01, ScriptedEvent())]
        stream = stream_of(events)

        async def inner(_request: object, /) -> EventStream:
            return stream

        reply = await Timeout(idle=1)(inner)("request")
        async for _ in reply:
            looks = {t.when() for t in loop._scheduled if "_look" in repr(t)}
            made.extend(looks - set(made))
        return len(made)

    looks, elapsed = run_virtual(main())

    assert pytest.approx(10) == elapsed
    assert 10 <= looks <= 11


def test_a_cancel_at_any_step_is_never_lost() -> None:
    """Not in the tick of an expiry either; afterwards no timer is left."""

    async def scenario(delay: int, waits: list[int]) -> int:
        reply = await Timeout(first_token=2, idle=2, total=9)(leaf(delay, waits))("request")
        return len([event async for event in reply])

    async def check(run: CancelledRun[int]) -> None:
        assert ((), 0) == (run.left, timers())

    ended = []
    for delay, waits in [(1, [1]), (2, [1]), (1, [2])]:
        alone, *others = cancelled_everywhere(lambda: scenario(delay, waits), check)  # noqa: B023
        ended.append(alone.ended)
        assert {"cancelled"} == {run.ended for run in others}
    assert ["returned", "raised", "raised"] == ended


@pytest.mark.parametrize("error", [TimeoutError("a library's"), ServerError(), ZeroDivisionError()])
def test_what_is_not_its_own_passes(error: Exception) -> None:
    """A timeout of somebody else is not taken for this one."""

    async def inner(_request: object, /) -> None:
        raise error

    async def main() -> tuple[Exception, int]:
        with pytest.raises(type(error)) as raised:
            await Timeout(first_token=5)(inner)("request")
        return raised.value, timers()

    assert ((error, 0), 0.0) == run_virtual(main())
