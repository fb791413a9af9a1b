import asyncio
from itertools import pairwise
from math import inf, isfinite
from random import Random
from typing import Any, Final

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from llmstack.builder import ServiceBuilder
from llmstack.call import Call
from llmstack.errors import (
    AuthFailed,
    BadRequest,
    CircuitOpen,
    ConcurrencyFull,
    ConfigError,
    LLMStackError,
    NoEndpoint,
    Overloaded,
    RateLimited,
    Refused,
    ServerError,
)
from llmstack.layers.deadline import Deadline
from llmstack.layers.retry import Retry
from llmstack.messages import Request
from llmstack.order import Bound, StackWarning
from llmstack.testing.scripted import ScriptedService, echo
from llmstack.testing.virtual import run_virtual


kinds = st.sampled_from([Overloaded, AuthFailed, BadRequest, ConcurrencyFull])
seconds = st.none() | st.integers(0, 90)
failures = st.builds(
    lambda kind, **facts: kind(**facts), kinds, retry_after=seconds, untried=st.integers(0, 1)
)
refusals = st.builds(NoEndpoint, ready_at=seconds)
Script = list[LLMStackError]


def model(retry: Retry, rng: Random, deadline: float, script: Script) -> tuple[object, list[float]]:
    """The documentation as a loop: the end with its cause, and the waits before it."""
    waits: list[float] = []
    sent: Script = []
    for n, error in enumerate(script):
        named, jitter = error.retry_after or 0.0, rng.random() * min(retry.cap, retry.base * 2**n)
        if error.elsewhere and error.untried:
            wait = 0.0
        elif error.ready_at is not None:
            wait = max(0.0, error.ready_at - sum(waits))
        else:
            wait = max(named, jitter) if error.again else inf
        fits = wait <= retry.patience and sum(waits) + wait < deadline
        refused = isinstance(error, Refused)
        if n + 1 == retry.attempts or not fits:
            return ((sent[-1], error) if refused and sent else (error, None)), waits
        waits.append(wait)
        sent += [] if refused else [error]
    return ("ok", None), waits


PLAIN: Final[dict[str, Any]] = {"retry": Retry(attempts=4), "seed": 0}


@given(
    retry=st.builds(
        Retry,
        attempts=st.integers(1, 6),
        cap=st.floats(0.1, 30),
        patience=st.sampled_from([0, 5, 60, inf]),
    ),
    seed=st.integers(0, 99),
    deadline=st.just(inf) | st.integers(1, 200),
    script=st.lists(failures | refusals, max_size=6),
)
@example(**PLAIN, deadline=inf, script=[Overloaded(retry_after=60)])
@example(**PLAIN, deadline=inf, script=[Overloaded(retry_after=61), ServerError()])
@example(**PLAIN, deadline=9, script=[Overloaded(retry_after=9, untried=1), BadRequest(untried=1)])
@example(**PLAIN, deadline=9, script=[Overloaded(retry_after=4), Overloaded(retry_after=5)])
@example(**PLAIN, deadline=inf, script=[NoEndpoint(ready_at=at) for at in (2, 5, 0)])
@example(**PLAIN, deadline=inf, script=[Overloaded(), ConcurrencyFull()])
@example(**PLAIN, deadline=inf, script=[Overloaded(), ServerError(), ConcurrencyFull()])
@example(**PLAIN, deadline=inf, script=[ConcurrencyFull(untried=1), ConcurrencyFull()])
@example(**PLAIN, deadline=inf, script=[AuthFailed(), ServerError()])
@example(**PLAIN, deadline=inf, script=[AuthFailed(untried=1)])
@example(**PLAIN, deadline=inf, script=[ServerError()] * 4)
@example(retry=Retry(patience=0), seed=0, deadline=inf, script=[AuthFailed(untried=1)])
def test_follows_the_model(retry: Retry, seed: int, deadline: float, script: Script) -> None:
    """Any script ends as the model says, after the model's waits, with an event for each."""
    inner: ScriptedService[Request, Any] = ScriptedService([*script, "ok"])
    service = attrs.evolve(retry, rng=Random(seed))(inner)

    async def main() -> object:
        try:
            return await service(Request(call=Call(deadline=deadline))), None
        except LLMStackError as error:
            return error, error.__cause__

    with capture_logs() as logs:
        outcome, elapsed = run_virtual(main())

    expected, waits = model(retry, Random(seed), deadline, script)
    times = [at for at, _ in inner.calls]
    assert expected == outcome
    assert pytest.approx(waits) == [after - before for before, after in pairwise(times)]
    assert pytest.approx(sum(waits)) == elapsed
    assert [
        ("retry.scheduled", "warning", n, None, type(error).__name__, round(wait, 3))
        for n, (wait, error) in enumerate(zip(waits, script, strict=False), 1)
    ] == [
        (e["event"], e["log_level"], e["attempt"], e["endpoint"], e["error"], e["wait"])
        for e in logs
    ]


FULL: Final[dict[str, Any]] = {"chance": 1.0, "now": 0.0, "deadline": inf}


@pytest.mark.parametrize(
    ("retry", "ceilings"),
    [
        (Retry(attempts=9, base=0.1), [0.1, 0.2, 0.4, 0.8]),
        (Retry(attempts=9, base=10, cap=30), [10, 20, 30, 30]),
        (Retry(attempts=9), [0.5, 1, 2, 4, 8, 8]),
    ],
)
def test_the_ceiling_doubles_up_to_the_cap(retry: Retry, ceilings: list[float]) -> None:
    """And the wait is the drawn part of it, from nothing to all."""
    error = ServerError()
    drawn = {
        chance: [
            retry.wait_after(n, error, chance=chance, now=0.0, deadline=inf)
            for n in range(1, len(ceilings) + 1)
        ]
        for chance in (0.0, 0.25, 1.0)
    }

    assert {
        chance: pytest.approx([chance * ceiling for ceiling in ceilings]) for chance in drawn
    } == drawn


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (Overloaded(status=529), 0.5),
        (RateLimited(status=429, retry_after=17), 17),
        (ServerError(status=500, retry_after=7), 7),
        (RateLimited(status=429, retry_after=0), 0.5),
        (RateLimited(status=429, retry_after=999), None),
        (RateLimited(status=429, retry_after=999, untried=1), 0.0),
    ],
)
def test_what_a_provider_asks_for_is_a_floor(error: LLMStackError, wait: float | None) -> None:
    """On any status. What is too long is never cut short: elsewhere at once, or given up."""
    assert wait == Retry().wait_after(1, error, **FULL)


@given(
    retry=st.builds(
        Retry,
        attempts=st.just(10**9),
        base=st.floats(1e-9, 1e9),
        cap=st.floats(1e-9, 1e9),
        patience=st.just(inf),
    ),
    attempt=st.integers(1, 10**9 - 1),
)
@example(retry=Retry(attempts=10**9, patience=inf), attempt=1025)
@example(retry=Retry(attempts=10**9, base=1e-9, cap=1e9, patience=inf), attempt=64)
def test_no_exponent_overflows(retry: Retry, attempt: int) -> None:
    """After any number of attempts the wait is a number, and at full chance it only grows."""
    before, wait = (
        retry.wait_after(n, ServerError(), **FULL) for n in (max(1, attempt - 1), attempt)
    )

    assert before is not None
    assert wait is not None
    assert isfinite(wait)
    assert min(2 * before, retry.cap) == pytest.approx(wait) or 1 == attempt


def test_dice_are_its_own_or_those_it_was_given() -> None:
    """Two uses wait differently, unless they got the same seed."""

    def waits(retry: Retry) -> list[float]:
        inner: ScriptedService[str, Any] = ScriptedService([ServerError()] * 5 + ["ok"])
        with capture_logs() as logs:
            run_virtual(retry(inner)("request"))
        return [entry["wait"] for entry in logs]

    plain = Retry(attempts=6)
    assert waits(plain) != waits(plain)
    one, other = (waits(Retry(attempts=6, rng=Random(7))) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    ("retry", "inner", "bound"),
    [
        (Retry(), Bound(), Bound(3, inf)),
        (Retry(), Bound(2, 10), Bound(6, 150)),
        (Retry(attempts=1), Bound(2, 10), Bound(2, 10)),
        (Retry(attempts=1, patience=inf), Bound(1, 10), Bound(1, 10)),
        (Retry(attempts=2, patience=inf), Bound(1, 10), Bound(2, inf)),
    ],
)
def test_the_bound_is_of_all_attempts_and_waits(retry: Retry, inner: Bound, bound: Bound) -> None:
    """So many times what is below, and the longest wait in between."""
    assert bound == retry.bound(inner)


def test_the_bound_is_reached_and_never_passed() -> None:
    """Calls of ten seconds, waits as long as the patience: three and two of them."""
    failures = [Overloaded(retry_after=60)] * 3
    inner: ScriptedService[str, Any] = ScriptedService(failures, delay=10)
    times: list[float] = []

    async def main() -> None:
        with pytest.raises(Overloaded):
            await Retry()(inner)("request")
        times.append(asyncio.get_running_loop().time())

    with capture_logs():
        run_virtual(main())

    assert [Retry().bound(Bound(1, 10)).seconds] == times
    assert Retry().bound(Bound(1, 10)).calls == len(inner.calls)


def test_the_order_is_checked() -> None:
    """Two of them warn, and one above the deadline or below a breaker does not build."""
    with pytest.warns(StackWarning, match="two layers are retry: two of them multiply"):
        ServiceBuilder().layer(Retry()).layer(Retry()).service(echo)
    with pytest.raises(ConfigError, match="retry must be below deadline: waiting must not"):
        ServiceBuilder().layer(Retry()).layer(Deadline(30)).service(echo)
    assert {"circuit_breaker": "a breaker must see each attempt, not only the last"} == Retry.above


def test_a_gate_that_opens_at_a_moment_is_asked_then() -> None:
    """An open breaker right below is waited for, where there is time."""
    inner: ScriptedService[str, Any] = ScriptedService([CircuitOpen(ready_at=30), "ok"])

    with capture_logs():
        assert ("ok", 30.0) == run_virtual(Retry()(inner)("request"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attempts", 0),
        ("attempts", 1.5),
        ("attempts", inf),
        ("base", 0),
        ("base", float("nan")),
        ("cap", 0),
        ("patience", -0.1),
    ],
)
def test_a_bad_setting_names_its_field(name: str, value: float) -> None:
    """So that whoever wrote it finds it."""
    with pytest.raises((ValueError, TypeError), match=f"'{name}'"):
        Retry(**{name: value})  # type: ignore[arg-type]
