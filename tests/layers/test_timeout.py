import asyncio
from math import inf
from typing import Any, Final

import pytest
from attrs import frozen
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.builder import ServiceBuilder
from llmstack.call import Outcome
from llmstack.errors import ConfigError, UpstreamTimeout
from llmstack.layers.retry import Retry
from llmstack.layers.timeout import Timeout
from llmstack.messages import Request
from llmstack.order import Bound
from llmstack.service import Service, observe
from llmstack.stream import EventStream
from llmstack.testing.scripted import echo
from llmstack.testing.virtual import run_virtual
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
        blamed = outcome.error is error and outcome.blames == "endpoint" and not outcome.neutral
        phase = error.phase if blamed and error.again is error.elsewhere else "confused"
        return phase, outcome.ended, n, error.again
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
@example(first=5, idle=None, total=5, streams=True, plan=Plan(9))
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
        (Timeout(idle=1800), Plan(0, [1801]), "nothing more within 1800 s"),
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

    assert "ok" == reply
    assert pytest.approx(9) == elapsed


@pytest.mark.parametrize(
    ("timeout", "inner", "bound"),
    [
        (Timeout(total=5), Bound(3), Bound(3, 5)),
        (Timeout(total=5), Bound(2, 4), Bound(2, 4)),
        (Timeout(first_token=5, idle=5), Bound(), Bound()),
    ],
)
def test_only_total_bounds_an_attempt(timeout: Timeout, inner: Bound, bound: Bound) -> None:
    """However fast the first token comes, the last one may not."""
    assert bound == timeout.bound(inner)


def test_the_order_is_checked() -> None:
    """Whatever learns from an attempt stands above; and the longest time is compared."""

    def circuit_breaker(inner: Service[Any, Any], /) -> Service[Any, Any]:
        return inner

    timeout = Timeout(first_token=10, idle=30, total=20)
    ServiceBuilder().layer(Retry()).layer(circuit_breaker).layer(timeout).service(echo)
    with pytest.raises(ConfigError, match="timeout must be below circuit_breaker: the breaker"):
        ServiceBuilder().layer(timeout).layer(circuit_breaker).service(echo)
    with pytest.raises(ConfigError, match="timeout must be below retry: it bounds one attempt"):
        ServiceBuilder().layer(timeout).layer(Retry()).service(echo)
    assert {"retry", "router", "circuit_breaker", "cooldown"} == set(Timeout.below)
    assert 30 == timeout.limits
    assert (30.0, 5) == (Timeout(rate=100, total=2).limits, Timeout(rate=100, within=5).limits)


@pytest.mark.parametrize("name", ["first_token", "idle", "total", "rate", "within"])
@pytest.mark.parametrize("seconds", [0, -1, inf, float("nan")])
def test_a_bad_setting_names_its_field(name: str, seconds: float) -> None:
    """A time is longer than nothing and shorter than for ever, and so is a rate."""
    with pytest.raises(ValueError, match=f"'{name}'"):
        Timeout(**{"total": 1, name: seconds})


def test_one_time_is_needed() -> None:
    """A timeout that bounds nothing is a mistake."""
    with pytest.raises(ConfigError, match="needs first_token, idle, total or rate"):
        Timeout(within=5)
    expected = "Timeout(first_token=10, idle=30, total=None, rate=None, within=30.0)"
    assert expected == repr(Timeout(first_token=10, idle=30))
