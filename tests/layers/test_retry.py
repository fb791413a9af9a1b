from contextlib import suppress
from functools import partial
from itertools import pairwise
from math import inf
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
    Busy,
    CircuitOpen,
    ConcurrencyFull,
    ConfigError,
    ConnectionLost,
    EmptyResponse,
    LLMStackError,
    NoEndpoint,
    Overloaded,
    RateLimited,
    Refused,
    ServerError,
)
from llmstack.estimators.retry_budget import RetryBudget
from llmstack.estimators.retry_rule import RetryRule
from llmstack.layers.deadline import Deadline
from llmstack.layers.retry import Retry
from llmstack.messages import Request
from llmstack.order import Bound, StackWarning
from llmstack.testing.scripted import ScriptedService, echo
from llmstack.testing.virtual import run_virtual


kinds = st.sampled_from([Overloaded, ServerError, AuthFailed, BadRequest, ConcurrencyFull])
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
    n, gates = 0, 0.0
    for error in script:
        room = deadline - sum(waits) - retry.min_attempt
        if retry.attempts > 1 and isinstance(error, Refused) and error.ready_at is not None:
            gate = error.ready_at - sum(waits)
            if retry.min_attempt <= gate <= min(room, retry.patience - gates):
                waits.append(gate)
                gates += gate
                continue
        named, chance = error.retry_after or 0.0, rng.random()
        wait, most = inf, inf
        if error.elsewhere and error.untried:
            wait = most = 0.0
        elif error.ready_at is not None:
            wait = most = max(0.0, error.ready_at - sum(waits))
        elif error.again and not (isinstance(error, ServerError) and had(sent, ServerError)):
            wait = max(named, chance * min(retry.cap, retry.base * 2**n))
            most = named + chance * min(named / 10, 1)
        refused = isinstance(error, Refused)
        if n + 1 == retry.attempts or wait == inf or wait > min(retry.patience, room):
            return ((sent[-1], error) if refused and sent else (error, None)), waits
        waits.append(max(wait, min(most, room)))
        n += 1
        sent += [] if refused else [error]
        gates = gates if refused else 0.0
    return ("ok", None), waits


def had(sent: Script, kind: type[LLMStackError]) -> bool:
    return any(isinstance(error, kind) for error in sent)


PLAIN: Final[dict[str, Any]] = {"retry": Retry(attempts=4), "seed": 0}
TWICE: Final[Script] = [ServerError(), Overloaded(), ServerError()]


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
@example(**PLAIN, deadline=9, script=[Overloaded(retry_after=8), Overloaded(retry_after=8)])
@example(**PLAIN, deadline=8.2, script=[Overloaded(retry_after=8)])
@example(**PLAIN, deadline=2, script=[NoEndpoint(ready_at=1), RateLimited(retry_after=0.8)])
@example(**PLAIN, deadline=inf, script=[NoEndpoint(ready_at=at) for at in (2, 5, 0)])
@example(**PLAIN, deadline=inf, script=[Overloaded(), ConcurrencyFull()])
@example(**PLAIN, deadline=inf, script=[Overloaded(), ServerError(), ConcurrencyFull()])
@example(**PLAIN, deadline=inf, script=[ConcurrencyFull(untried=1), ConcurrencyFull()])
@example(**PLAIN, deadline=inf, script=[AuthFailed(), ServerError()])
@example(**PLAIN, deadline=inf, script=[AuthFailed(untried=1)])
@example(**PLAIN, deadline=inf, script=[Overloaded()] * 4)
@example(**PLAIN, deadline=inf, script=TWICE)
@example(retry=Retry(patience=0), seed=0, deadline=inf, script=[AuthFailed(untried=1)])
def test_follows_the_model(retry: Retry, seed: int, deadline: float, script: Script) -> None:
    """Any script ends as the model says, after the model's waits, with an event for each.

    P-RT-2: no attempt starts that the deadline cannot hold. P-RT-3: the last error leaves.
    """
    inner: ScriptedService[Request, Any] = ScriptedService([*script, "ok"])
    service = attrs.evolve(retry, rng=Random(seed), budget=RetryBudget.unlimited())(inner)

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
    assert sum(not isinstance(error, Refused) for error in script[: len(times)]) <= retry.attempts
    assert all(at <= deadline - retry.min_attempt + 1e-9 for at in times[1:])
    assert pytest.approx(waits) == [after - before for before, after in pairwise(times)]
    assert pytest.approx(sum(waits)) == elapsed
    assert [
        ("retry.scheduled", "warning", None, type(error).__name__, round(wait, 3))
        for wait, error in zip(waits, script, strict=False)
    ] == [(e["event"], e["log_level"], e["endpoint"], e["error"], e["wait"]) for e in logs]
    assert all(e["attempt"] <= retry.attempts for e in logs)


FULL: Final[dict[str, Any]] = {"chance": 1.0, "now": 0.0, "deadline": inf}


@pytest.mark.parametrize(
    ("retry", "waits"),
    [
        (Retry(attempts=9), [0.25, 0.5, 1, 2, 4, 4]),
        (Retry(attempts=9, base=0.1), [0.05, 0.1, 0.2, 0.4]),
        (Retry(attempts=9, base=10, cap=30), [5, 10, 15, 15]),
        (Retry(attempts=9, jitter="equal"), [0.375, 0.75, 1.5, 3, 6, 6]),
        (Retry(attempts=9, jitter="decorrelated"), [1.0, 1.75, 2.875, 4.5625]),
    ],
)
def test_p_rt_4_waits_are_drawn_as_set(retry: Retry, waits: list[float]) -> None:
    """P-RT-4: at half a chance, each after the one before."""
    drawn = [0.0]
    for attempt in range(1, len(waits) + 1):
        wait = retry.wait_after(
            attempt, Overloaded(), chance=0.5, now=0.0, deadline=inf, last=drawn[-1]
        )
        assert wait is not None
        drawn.append(wait)

    assert pytest.approx(waits) == drawn[1:]


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (Overloaded(status=529), 0.5),
        (RateLimited(status=429, retry_after=17), 18),
        (RateLimited(status=429, retry_after=60), 61),
        (ServerError(status=500, retry_after=7), 7.7),
        (RateLimited(status=429, retry_after=0), 0.5),
        (RateLimited(status=429, retry_after=999), None),
        (RateLimited(status=429, retry_after=999, untried=1), 0.0),
    ],
)
def test_what_a_provider_asks_for_is_a_floor(error: LLMStackError, wait: float | None) -> None:
    """P-RT-4, U-6: on any status, and a bit more, so that not all come back in step.

    What is too long is never cut short: elsewhere at once, or given up.
    """
    assert wait == Retry().wait_after(1, error, **FULL)


@pytest.mark.parametrize(
    ("deadline", "wait"), [(20.0, 9.9), (10.5, 9.9), (10.2, 9.7), (9.5, 9.0), (9.4, None)]
)
def test_what_is_added_to_a_named_wait_gives_way(deadline: float, wait: float | None) -> None:
    """To the deadline: what fits without it is waited for; what does not, is not."""
    error = RateLimited(retry_after=9)
    drawn = Retry(min_attempt=0.5).wait_after(1, error, chance=1, now=0, deadline=deadline)

    assert pytest.approx(wait) == drawn


ONCE: Final = {ServerError: RetryRule(again=2), Busy: RetryRule(base=4.0, cap=5.0)}
STRICT: Final = {RateLimited: RetryRule(attempts=1), Overloaded: RetryRule(again=0, attempts=2)}


@pytest.mark.parametrize(
    ("rules", "error", "waits"),
    [
        ({}, ServerError(), [0.5, None, None]),
        ({}, EmptyResponse(), [0.5, None, None]),
        ({}, ConnectionLost(), [0.5, 1.0, 2.0, None]),
        ({}, ServerError(untried=1), [0.0, 0.0, 0.0, None]),
        (ONCE, ServerError(), [0.5, 1.0, None]),
        (ONCE, EmptyResponse(), [0.5, None]),
        (ONCE, Overloaded(), [4.0, 5.0, 5.0, None]),
        (ONCE, RateLimited(retry_after=6), [6.6, 6.6, 6.6, None]),
        ({ServerError: RetryRule()}, ServerError(), [0.5, 1.0, 2.0, None]),
        ({LLMStackError: RetryRule(cap=1.0)}, ConnectionLost(), [0.5, 1.0, 1.0, None]),
        (STRICT, RateLimited(untried=1), [None]),
        (STRICT, Overloaded(untried=1), [0.0, None]),
        (STRICT, Overloaded(), [None]),
        ({ServerError: RetryRule(attempts=9, again=9)}, ServerError(), [0.5, 1.0, 2.0, None]),
    ],
)
def test_classes_of_errors_have_rules(
    rules: dict[type[LLMStackError], RetryRule], error: LLMStackError, waits: list[float | None]
) -> None:
    """What is given stands in for the default; what a rule leaves open is as in the layer."""
    retry = Retry(attempts=4, rules=rules)

    assert [wait if wait is None else pytest.approx(wait) for wait in waits] == [
        retry.wait_after(n, error, **FULL, failed=n) for n in range(1, len(waits) + 1)
    ]


A, B = (partial(ServerError, endpoint=name) for name in ("a", "b"))


@pytest.mark.parametrize(
    ("script", "calls"),
    [
        ([A(), A(), "ok"], 2),
        ([A(), B(), "ok"], 3),
        ([A(), B(), A(), "ok"], 3),
        ([A(untried=1), A(), "ok"], 2),
        ([A(), EmptyResponse(endpoint="a"), EmptyResponse(endpoint="a"), "ok"], 3),
        ([A(), ConnectionLost(endpoint="a"), A(), "ok"], 3),
        ([Overloaded(endpoint="a"), Overloaded(endpoint="a"), Overloaded(endpoint="a"), "ok"], 4),
    ],
)
def test_once_more_is_counted_for_each_endpoint(script: list[Any], calls: int) -> None:
    """And for each class that has a rule: what fails in two ways may have been bad luck."""
    inner: ScriptedService[str, Any] = ScriptedService(script)
    service = Retry(attempts=9, budget=RetryBudget.unlimited())(inner)

    with capture_logs(), suppress(LLMStackError):
        run_virtual(service("request"))

    assert calls == len(inner.calls)


@pytest.mark.parametrize(
    ("retry", "shown"),
    [
        (Retry.none(), "attempts=1, base=0.5, cap=8.0, patience=60.0"),
        (Retry.conservative(), "attempts=2, base=1.0, cap=8.0, patience=10.0"),
        (Retry.production(), "attempts=3, base=0.5, cap=8.0, patience=60.0"),
    ],
)
def test_presets_show_their_numbers(retry: Retry, shown: str) -> None:
    """The one for production is the default."""
    assert f"Retry({shown}, jitter='full', min_attempt=0.1)" == repr(retry)
    assert (retry == Retry()) == (retry == Retry.production())
    assert hash(retry) == hash(attrs.evolve(retry))


def test_dice_are_its_own_or_those_it_was_given() -> None:
    """Two uses wait differently, unless they got the same seed."""

    def waits(retry: Retry) -> list[float]:
        inner: ScriptedService[str, Any] = ScriptedService([Overloaded()] * 2 + ["ok"])
        with capture_logs() as logs:
            run_virtual(retry(inner)("request"))
        return [entry["wait"] for entry in logs]

    plain = Retry(cap=1e9, base=1e6, patience=inf)
    assert waits(plain) != waits(plain)
    one, other = (waits(Retry(rng=Random(7))) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    ("retry", "inner", "bound"),
    [
        (Retry(), Bound(), Bound(3, inf)),
        (Retry(), Bound(2, 10, 0.5), Bound(6, 332, 1.5)),
        (Retry(patience=5), Bound(1, 10), Bound(3, 56)),
        (Retry(attempts=1), Bound(2, 10), Bound(2, 10)),
        (Retry(attempts=1, patience=inf), Bound(1, 10), Bound(1, 10)),
        (Retry(attempts=2, patience=inf), Bound(1, 10), Bound(2, inf)),
    ],
)
def test_the_bound_is_of_all_attempts_and_waits(retry: Retry, inner: Bound, bound: Bound) -> None:
    """So many times what is below, the longest wait in between, and one for a gate before each."""
    assert bound == retry.bound(inner)


class Highest(Random):
    """Dice that fall on the highest always."""

    def random(self) -> float:
        return 1.0


def test_p_rt_4_a_wait_may_follow_from_the_one_before() -> None:
    """P-RT-4: three times as long at most, up to the cap; at once is as short as the base."""
    script = [Overloaded(), Overloaded(), Overloaded(), Overloaded(untried=1), Overloaded(), "ok"]
    inner: ScriptedService[str, Any] = ScriptedService(script)
    retry = Retry(attempts=9, jitter="decorrelated", rng=Highest(), budget=RetryBudget.unlimited())

    with capture_logs() as logs:
        run_virtual(retry(inner)("request"))

    assert [1.5, 4.5, 8.0, 0.0, 1.5] == [entry["wait"] for entry in logs]


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
        ("base", inf),
        ("cap", 0),
        ("patience", -0.1),
        ("min_attempt", 0),
        ("jitter", "some"),
    ],
)
def test_a_bad_setting_names_its_field(name: str, value: object) -> None:
    """So that whoever wrote it finds it."""
    with pytest.raises((ValueError, TypeError), match=f"'{name}'"):
        Retry(**{name: value})  # type: ignore[arg-type]
