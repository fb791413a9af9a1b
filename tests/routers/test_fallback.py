"""Fallback against a loop over the script, and the cases of failover it was made for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from math import inf
from random import Random
from typing import Any, Final

import pytest
from attrs import frozen
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from llmstack.builder import ServiceBuilder
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import (
    AuthFailed,
    BadRequest,
    CircuitOpen,
    ConcurrencyFull,
    ConfigError,
    ConnectionFailed,
    ContextLengthExceeded,
    EmptyResponse,
    LLMStackError,
    NotReady,
    Overloaded,
    RateLimited,
    ServerError,
    UpstreamError,
    UpstreamTimeout,
)
from llmstack.estimators.retry_budget import RetryBudget
from llmstack.messages import Request, dispatch
from llmstack.order import Bound
from llmstack.routers.fallback import Fallback
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from llmstack.testing.scripted import ScriptedService, echo
from llmstack.testing.virtual import run_virtual
from tests.routers.stage import Account, Actors, listed, outcome_of


#: So that no attempt at the primary is refused.
PLENTY: Final = partial(RetryBudget, min_per_sec=99.0, least=99)

Say = str | LLMStackError
Scripts = list[list[Say]]


def scripted(scripts: Sequence[Sequence[Say]]) -> tuple[list[Endpoint], list[Any]]:
    """An endpoint for each script; and the services, which hold their calls."""
    services = [ScriptedService[Request, Say](script) for script in scripts]
    named = zip("abcdefgh", services, strict=False)
    return [Endpoint(name, service, n) for n, (name, service) in enumerate(named, 1)], services


def run(layer: Fallback, request: Request | None = None) -> tuple[object, float]:
    return run_virtual(outcome_of(layer(dispatch), request or Request()))


@frozen
class Rules:
    """The settings, and what they mean for one error."""

    triggers: tuple[type[LLMStackError], ...] | None = None
    max_attempts: int | None = None
    retry_primary: int = 0

    def layer(self, endpoints: Sequence[Endpoint], seed: int) -> Fallback:
        return Fallback(
            endpoints,
            triggers=self.triggers,
            max_attempts=self.max_attempts,
            retry_primary=self.retry_primary,
            budget=PLENTY(),
            rng=Random(seed),
        )

    def goes_on(self, error: LLMStackError) -> bool:
        if self.triggers is None:
            return error.elsewhere
        named = [kind for kind in type(error).__mro__ if kind in self.triggers]
        # Of windows nothing is known here, so that has to be meant.
        return ContextLengthExceeded in named or (
            bool(named) and not isinstance(error, ContextLengthExceeded)
        )


def primary(rules: Rules, script: Sequence[Say], rng: Random) -> tuple[Say, list[float]]:
    """What the first endpoint says in the end, and the waits before it was asked again."""
    waits: list[float] = []
    failed: Say | None = None
    while True:
        n = len(waits)
        said = script[n]
        if isinstance(said, str):
            return said, waits
        if isinstance(said, NotReady):
            return failed or said, waits
        failed = said
        if n == rules.retry_primary or not (rules.goes_on(said) and said.again):
            return said, waits
        chance, named = rng.random(), said.retry_after or 0.0
        if named > 8.0:
            return said, waits
        later = chance * min(1.0, named / 10)
        waits.append(max(named + later, chance * min(8.0, 0.5 * 2**n)))


def model(rules: Rules, scripts: Scripts, seed: int) -> tuple[object, list[int], float]:
    """The documentation as a loop: the outcome, how often each was asked, the time it took."""
    said, waits = primary(rules, scripts[0], Random(seed))
    sayings = [said, *(script[0] for script in scripts[1:])]
    asked = [0] * len(scripts)
    asked[0] = 1 + len(waits)
    failures: list[LLMStackError] = []
    for n, each in enumerate(sayings):
        asked[n] = asked[n] or 1
        if isinstance(each, str):
            return each, asked, sum(waits)
        if isinstance(each, NotReady):
            continue
        failures.append(each)
        most = inf if rules.max_attempts is None else rules.max_attempts
        if not rules.goes_on(each) or len(failures) > most:
            break
    return (failures[-1] if failures else None), asked, sum(waits)


kinds: Final = (Overloaded, ServerError, AuthFailed, BadRequest, ContextLengthExceeded)
errors = st.one_of(
    st.builds(
        lambda kind, after: kind("said", retry_after=after),
        st.sampled_from(kinds),
        st.sampled_from([None, 0.2, 8.0, 8.5]),
    ),
    st.builds(ConcurrencyFull),
    st.builds(CircuitOpen, ready_at=st.just(1.0)),
)
rules = st.builds(
    Rules,
    st.none()
    | st.lists(st.sampled_from([*kinds, UpstreamError]), min_size=1, max_size=3).map(tuple),
    st.none() | st.integers(1, 3),
    st.integers(0, 3),
)
scripts = st.lists(st.lists(st.just("ok") | errors, min_size=4, max_size=4), min_size=1, max_size=4)


@given(rules=rules, scripts=scripts, seed=st.integers(0, 99))
@example(
    rules=Rules(retry_primary=1),
    scripts=[[ServerError(), CircuitOpen(ready_at=1.0)], ["ok"]],
    seed=0,
)
@example(rules=Rules((BadRequest,), None, 1), scripts=[[ServerError(), "ok"]], seed=0)
@example(rules=Rules((BadRequest,)), scripts=[[BadRequest()], [ServerError()], ["ok"]], seed=0)
@example(rules=Rules(), scripts=[[ConcurrencyFull()], [CircuitOpen(ready_at=1.0)]], seed=0)
@example(rules=Rules(max_attempts=1), scripts=[[ServerError()] for _ in range(3)], seed=0)
@example(rules=Rules(retry_primary=2), scripts=[[CircuitOpen(ready_at=1.0)], ["ok"]], seed=0)
@example(rules=Rules(retry_primary=1), scripts=[[Overloaded(retry_after=8.5)], ["ok"]], seed=0)
def test_a_walk_follows_the_model(rules: Rules, scripts: Scripts, seed: int) -> None:
    """Whom it asks and how often, after which waits, and what is raised in the end."""
    endpoints, services = scripted(scripts)
    request = Request()
    outcome, elapsed = run(rules.layer(endpoints, seed), request)

    expected, asked, took = model(rules, scripts, seed)
    calls = [len(service.calls) for service in services]
    assert asked == calls
    assert pytest.approx(took) == elapsed
    if expected is None:
        assert isinstance(outcome, NotReady)
        assert [] == request.call.attempts
        return
    assert expected is outcome
    tried = [
        name
        for name, script, n in zip("abcd", scripts, calls, strict=False)
        if n and not isinstance(script[0], NotReady)
    ]
    assert tried == [attempt.endpoint for attempt in request.call.attempts]
    if isinstance(outcome, LLMStackError):
        assert tried == [attempt.endpoint for attempt in outcome.attempts]
        assert tried[-1] == outcome.endpoint


@pytest.mark.parametrize(
    ("trigger", "error", "goes_on"),
    [
        (RateLimited, RateLimited(), True),  # FO-1
        (RateLimited, ServerError(status=503), False),
        (ServerError, ServerError(status=503), True),  # FO-2
        (ServerError, RateLimited(), False),
        (UpstreamTimeout, UpstreamTimeout(), True),  # FO-3
        (AuthFailed, AuthFailed(), True),
        (UpstreamError, RateLimited(), True),  # FO-4
        (UpstreamError, AuthFailed(), True),
        (ServerError, BadRequest(status=499), False),  # FO-7
        (ServerError, ServerError(status=500), True),
        (ContextLengthExceeded, ContextLengthExceeded(), True),
        (BadRequest, ContextLengthExceeded(), False),  # nobody knows who holds more
        (ContextLengthExceeded, BadRequest(), False),
        (None, RateLimited(), True),
        (None, ServerError(), True),
        (None, UpstreamTimeout(), True),
        (None, UpstreamTimeout(phase="idle"), False),
        (None, ConnectionFailed(), True),
        (None, AuthFailed(), True),  # LR-12, where the key is ours
        (None, BadRequest(), False),  # LR-12, where the caller is at fault
        (None, ContextLengthExceeded(), False),
    ],
)
def test_triggers(
    trigger: type[LLMStackError] | None, error: LLMStackError, *, goes_on: bool
) -> None:
    """Those named and no others; by default all that may not happen elsewhere (LR-11, FO-8)."""
    endpoints, services = scripted([[error], ["ok"]])
    layer = Fallback(endpoints, triggers=None if trigger is None else [trigger])
    outcome, _ = run(layer)

    assert ("ok" if goes_on else error) == outcome
    assert [1, int(goes_on)] == [len(service.calls) for service in services]


def test_settings_are_kept() -> None:
    """FO-6: a trigger named twice is one; and they are shown by name."""
    layer = Fallback(
        listed([1, 1, 1]),
        triggers=[RateLimited, ServerError, RateLimited, UpstreamTimeout],
        max_attempts=1,
        retry_primary=2,
    )

    assert (RateLimited, ServerError, UpstreamTimeout) == layer.triggers
    assert (1, 2) == (layer.max_attempts, layer.retry_primary)
    assert (
        "Fallback(endpoints=[a, b, c], triggers=[RateLimited, ServerError, UpstreamTimeout], "
        "after={}, max_attempts=1, retry_primary=2)" == repr(layer)
    )
    assert "triggers=None" in repr(Fallback(listed([1])))


@pytest.mark.parametrize("kind", [asyncio.CancelledError, ValueError, "RateLimited"])
def test_only_errors_of_ours_are_triggers(kind: Any) -> None:  # noqa: ANN401
    """FO-4: a caller who leaves is never a reason to go on, nor is a bug."""
    with pytest.raises(ConfigError, match=r"triggers: .* is no class of llmstack's errors"):
        Fallback(listed([1]), triggers=[kind])


def test_bad_settings_are_named() -> None:
    """No fallback at all is no Fallback: None stands for all of them."""
    with pytest.raises(ValueError, match="max_attempts"):
        Fallback(listed([1]), max_attempts=0)
    with pytest.raises(ValueError, match="retry_primary"):
        Fallback(listed([1]), retry_primary=-1)


@pytest.mark.parametrize("kind", [ServerError, EmptyResponse, Overloaded])
def test_the_primary_is_asked_again_with_backoff(kind: type[LLMStackError]) -> None:
    """FO-9: three times, with waits that grow, each an event; then the fallback, once."""
    endpoints, services = scripted([[kind(), kind(), kind()], ["ok"]])
    request = Request()
    with capture_logs() as logs:
        outcome, elapsed = run(Fallback(endpoints, retry_primary=2, rng=Random(3)), request)

    dice = Random(3)
    first, second = dice.random() * 0.5, dice.random() * 1.0
    times = [at for service in services for at, _ in service.calls]
    assert "ok" == outcome
    assert pytest.approx([0, first, first + second, first + second]) == times
    assert ["retry.scheduled"] * 2 == [entry["event"] for entry in logs]
    assert [("a", 3), ("b", 1)] == [(a.endpoint, a.sends) for a in request.call.attempts]
    assert times[-1] == elapsed


def test_at_most_so_many_fallbacks() -> None:
    """FO-10: the second is never asked; the error of the first leaves, with all attempts."""
    failures = [ServerError("a"), Overloaded("b")]
    endpoints, services = scripted([[failures[0]], [failures[1]], ["ok"]])
    outcome, _ = run(Fallback(endpoints, max_attempts=1))

    assert failures[1] is outcome
    assert [1, 1, 0] == [len(service.calls) for service in services]
    tried = [(t.endpoint, t.how, t.error, t.reason) for t in failures[1].attempts]
    assert [
        ("a", "failed", "ServerError", "fallback"),
        ("b", "failed", "Overloaded", "fallback"),
    ] == tried
    assert 1 == failures[1].untried


def test_each_error_is_judged() -> None:
    """FO-11, reversed: a fallback that finds fault with the request ends the walk."""
    fault = BadRequest()
    endpoints, services = scripted([[ServerError()], [fault], ["ok"]])

    assert fault is run(Fallback(endpoints))[0]
    assert [1, 1, 0] == [len(service.calls) for service in services]


def test_everything_to_the_first_while_it_works() -> None:
    """EG-2, EG-8: weights play no part; when the first is down, the next has it all."""
    inner = Actors()
    router = Fallback(listed([1, 9, 9]))(inner)

    async def main() -> list[object]:
        up = [await router(Request()) for _ in range(5)]
        inner.acts = {"a": "fail"}
        return up + [await router(Request()) for _ in range(5)]

    assert ["a"] * 5 + ["b"] * 5 == asyncio.run(main())


def test_an_open_breaker_is_walked_past() -> None:
    """EA-6: at once and without a wait, also where the primary would be asked again."""
    endpoints, services = scripted([[CircuitOpen(ready_at=1.0)], ["ok"]])

    assert ("ok", 0.0) == run(Fallback(endpoints, retry_primary=3))
    assert [1, 1] == [len(service.calls) for service in services]


def test_the_primary_is_the_first_that_is_switched_on() -> None:
    """It alone is asked again; which one it is may change at run time."""
    inner = Actors({"a": "fail", "b": "fail", "c": "fail"})
    endpoints = EndpointSet(listed([1, 1, 1]))
    router = Fallback(endpoints, retry_primary=1, rng=Random(0))(inner)

    async def main() -> None:
        await outcome_of(router, Request())
        endpoints.disable("a")
        await outcome_of(router, Request())
        endpoints.disable("b")
        endpoints.disable("c")
        await outcome_of(router, Request())

    run_virtual(main())

    assert "aabc" + "bbc" == "".join(name for name, _ in inner.asked)


@pytest.mark.parametrize("settings", [{}, {"after": {"b": ["server"], "c": ["any"]}}])
def test_a_caller_who_leaves_ends_the_walk(settings: dict[str, Any]) -> None:
    """At any step, in a retry of the primary too; nobody else is asked afterwards."""
    walks: list[tuple[Actors, Account]] = []

    async def scenario() -> object:
        inner = Actors({"a": "fail", "b": "fail"}, delay=1.0)
        router = Fallback(listed([1, 1, 1]), retry_primary=1, rng=Random(0), **settings)(inner)
        walks.append((inner, Account.of(router)))
        return await outcome_of(router, Request())

    def check(run: CancelledRun[object]) -> None:
        while walks:
            inner, account = walks.pop()
            assert [] == account.pending
            assert ("cancelled" in {how for _, how in account.settled}) <= bool(run.cancels)
            assert "aabc".startswith("".join(name for name, _ in inner.asked))

    runs = cancelled_everywhere(scenario, check)

    assert "c" == runs[0].result
    assert {"cancelled"} == {run.ended for run in runs[1:]}


def test_the_bound_counts_all_that_may_be_asked() -> None:
    """Endpoints, or as many as allowed, and the primary more often, with the waits in between."""
    there, below = listed([1, 1, 1]), Bound(2, 10.0)
    assert Bound(6, 30.0) == Fallback(there).bound(below)
    assert Bound(4, 20.0) == Fallback(there, max_attempts=1).bound(below)
    assert Bound(6, 30.0) == Fallback(there, max_attempts=5).bound(below)
    assert Bound(10, 50 + 2 * 8.8 + 3 * 8) == Fallback(there, retry_primary=2).bound(below)
    assert Bound(2, 10.0) == Fallback(EndpointSet()).bound(below)
    assert (
        "at most 3 upstream calls"
        in ServiceBuilder().layer(Fallback(there)).service(echo).describe()
    )


def test_a_plan_is_the_list() -> None:
    """By place among those that may be asked; weights are not in it."""
    router = Fallback(listed([1, 0, 9]))(echo)

    async def main() -> str:
        return str(router.plan(Request()))

    second = "number 2 in the order declared, after what may not happen elsewhere"
    assert [
        "a: asked first; score 1 (place 1); number 1 in the order declared",
        f"c: asked if 1 refuse; score 2 (place 2); {second}",
        "b: left out; has weight 0",
    ] == asyncio.run(main()).splitlines()
    assert {} == router.statistics()
