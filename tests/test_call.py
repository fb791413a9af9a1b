"""What a call leaves in the records: outcomes, the ledger, usage."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import Counter
from math import inf

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.call import Attempt, Call, How, Outcome, Usage
from llmstack.errors import (
    AuthFailed,
    BadRequest,
    Blame,
    Blocked,
    ConcurrencyFull,
    ConfigError,
    DeadlineExceeded,
    LLMStackError,
    NoEndpoint,
    Overloaded,
    RateLimited,
    ServerError,
    Tried,
    UpstreamTimeout,
)


ENDED = [
    (ServerError("x"), "failed", "endpoint", False),
    (RateLimited("x"), "failed", "key", False),
    (UpstreamTimeout(phase="idle"), "failed", "endpoint", False),
    (BadRequest("x"), "failed", "caller", True),
    (DeadlineExceeded(), "failed", "nobody", True),
    (ConfigError(), "failed", "nobody", True),
    (ConcurrencyFull(), "refused", "nobody", True),
    (NoEndpoint(), "refused", "nobody", True),
    (Blocked(), "refused", "nobody", True),
    (ZeroDivisionError(), "failed", "nobody", True),
    (TimeoutError(), "failed", "nobody", True),
    (asyncio.CancelledError(), "cancelled", "nobody", True),
    (KeyboardInterrupt(), "cancelled", "nobody", True),
    (GeneratorExit(), "cancelled", "nobody", True),
]


@pytest.mark.parametrize(("error", "how", "blames", "neutral"), ENDED, ids=repr)
def test_how_a_call_ended_follows_from_its_error(
    error: BaseException, how: How, blames: Blame, *, neutral: bool
) -> None:
    """Refusals, cancellations, bugs and the caller's own faults are neutral; the rest is not."""
    outcome = Outcome.of(error, 7.0, 3.0)

    assert (7.0, how, error, blames, 3.0, None, None) == (
        outcome.ended,
        outcome.how,
        outcome.error,
        outcome.blames,
        outcome.first,
        outcome.usage,
        outcome.cost,
    )
    assert neutral == outcome.neutral
    assert None is Outcome.of(error, 7.0).first


@pytest.mark.parametrize(
    ("how", "blames", "neutral"),
    [
        ("ok", "nobody", False),
        ("failed", "endpoint", False),
        ("failed", "key", False),
        ("failed", "account", False),
        ("failed", "caller", True),
        ("failed", "nobody", True),
        ("refused", "nobody", True),
        ("refused", "endpoint", True),
        ("cancelled", "nobody", True),
        ("cancelled", "endpoint", True),
        ("abandoned", "nobody", True),
        ("abandoned", "endpoint", True),
    ],
)
def test_only_success_and_a_fault_of_others_may_be_learned_from(
    how: How, blames: Blame, *, neutral: bool
) -> None:
    """A gate that learned from a refusal or a cancel would punish who did nothing."""
    assert neutral == Outcome(1.0, how, None, blames).neutral


def test_a_good_end_is_the_default() -> None:
    """An outcome is made of its time alone."""
    outcome = Outcome(4.0)

    assert (4.0, "ok", None, "nobody", None, None, None) == (
        outcome.ended,
        outcome.how,
        outcome.error,
        outcome.blames,
        outcome.first,
        outcome.usage,
        outcome.cost,
    )
    assert not outcome.neutral


class Theirs(Exception):
    pass


@pytest.mark.parametrize(
    "verdict",
    [ServerError(), RateLimited(), BadRequest(), DeadlineExceeded(), ConcurrencyFull()],
    ids=repr,
)
def test_an_error_that_is_not_ours_counts_as_the_classifier_says(verdict: LLMStackError) -> None:
    """The same outcome as for the error it stands for, which is in it; the rest stays."""
    seen = Outcome(2.0, "failed", Theirs(), "nobody", 1.0, Usage(1, 2), 0.5)
    judged = seen.judged(lambda error: verdict if isinstance(error, Theirs) else None)
    like = Outcome.of(verdict, 2.0)

    assert (like.how, like.blames, like.neutral) == (judged.how, judged.blames, judged.neutral)
    assert (seen.ended, verdict, seen.first, seen.usage, seen.cost) == (
        judged.ended,
        judged.error,
        judged.first,
        judged.usage,
        judged.cost,
    )
    assert ("failed", "nobody") == (seen.how, seen.blames)


@pytest.mark.parametrize(
    "error",
    [None, ZeroDivisionError(), ServerError(), ConcurrencyFull(), asyncio.CancelledError()],
    ids=repr,
)
def test_what_the_classifier_does_not_know_or_is_not_asked_stays(
    error: BaseException | None,
) -> None:
    """Ours speak for themselves, a cancellation is nobody's, and a bug stays a bug."""
    seen = Outcome(2.0) if error is None else Outcome.of(error, 2.0)
    judged = seen.judged(
        lambda error: None if isinstance(error, ZeroDivisionError) else Overloaded()
    )

    assert seen is judged


@given(counts=st.tuples(*[st.integers(0, 3)] * 3), estimated=st.booleans())
@example(counts=(0, 0, 0), estimated=False)
@example(counts=(0, 0, 0), estimated=True)
@example(counts=(0, 0, 1), estimated=False)
def test_usage_is_three_disjoint_counts(counts: tuple[int, int, int], *, estimated: bool) -> None:
    """It compares by value, and nothing is counted unless said."""
    usage = Usage(*counts, estimated=estimated)

    assert counts == (usage.input, usage.output, usage.cached)
    assert estimated is usage.estimated
    assert (Usage() == usage) == (not any(counts) and not estimated)


@pytest.mark.parametrize("name", ["input", "output", "cached"])
def test_no_count_is_negative(name: str) -> None:
    """The message names the field."""
    with pytest.raises(ValueError, match=name):
        evolve(Usage(), **{name: -1})  # type: ignore[arg-type]


def test_an_attempt_under_way_has_not_ended() -> None:
    """It knows who, when and why; the rest comes with its end."""
    attempt = Attempt("eu", 3.0, "its turn")

    assert (None, None, None, None, None) == (
        attempt.ended,
        attempt.how,
        attempt.error,
        attempt.status,
        attempt.cost,
    )
    assert (False, 0.0, False, 0) == (
        attempt.again,
        attempt.ready_at,
        attempt.group,
        attempt.sends,
    )


def test_a_good_attempt_keeps_when_and_what_it_cost() -> None:
    """There is no error, and nothing speaks of asking again."""
    attempt = Attempt("eu", 3.0)
    attempt.settle(Outcome(5.0, cost=0.25))

    assert (5.0, "ok", 0.25) == (attempt.ended, attempt.how, attempt.cost)
    assert (None, None, False) == (attempt.error, attempt.status, attempt.again)


@pytest.mark.parametrize(
    ("error", "again", "ready_at"),
    [
        (ServerError(status=500), True, 5.0),
        (Overloaded(status=529, retry_after=2.5), True, 7.5),
        (BadRequest(status=400), False, 5.0),
        (UpstreamTimeout(phase="connect"), True, 5.0),
        (UpstreamTimeout(phase="total"), False, 5.0),
        (BadRequest(untried=2), False, 5.0),
        (LLMStackError(untried=2), False, 5.0),
    ],
    ids=lambda value: f"{value!r}-{vars(value)}" if isinstance(value, Exception) else str(value),
)
def test_a_failed_attempt_says_whether_and_when_the_same_may_be_asked(
    error: LLMStackError, ready_at: float, *, again: bool
) -> None:
    """A named wait holds from the end of the attempt."""
    attempt = Attempt("eu", 3.0)
    attempt.settle(Outcome.of(error, 5.0))

    assert (5.0, "failed", type(error).__name__, error.status) == (
        attempt.ended,
        attempt.how,
        attempt.error,
        attempt.status,
    )
    assert (again, ready_at) == (attempt.again, attempt.ready_at)


@pytest.mark.parametrize(("untried", "again"), [(0, False), (1, True), (3, True)])
def test_a_group_with_endpoints_left_may_be_asked_again(untried: int, *, again: bool) -> None:
    """A bad key behind one endpoint of a group is not the end of the group."""
    attempt = Attempt("group", 3.0)
    error = AuthFailed(untried=untried)
    attempt.settle(Outcome.of(error, 5.0))

    assert again is attempt.again


def test_a_bug_is_named_and_not_asked_again() -> None:
    """Of an error that is not ours only the name is known."""
    attempt = Attempt("eu", 3.0)
    attempt.settle(Outcome.of(ZeroDivisionError("secret"), 5.0))

    assert ("ZeroDivisionError", None, False) == (attempt.error, attempt.status, attempt.again)
    assert "secret" not in repr(attempt)


def test_the_ledger_keeps_no_error_alive() -> None:
    """Nor its frames: a record of a failure must not hold the request."""
    attempt, error = Attempt("eu", 3.0), ServerError()
    seen = weakref.ref(error)
    attempt.settle(Outcome.of(error, 5.0))
    del error
    gc.collect()

    assert None is seen()


def test_what_an_error_shows_of_an_attempt_is_as_it_was_then() -> None:
    """A record of its own: what comes later does not change it."""
    attempt = Attempt("eu", 3.0, "its turn")
    before = attempt.seen()
    attempt.settle(Outcome.of(ServerError(status=502), 5.0))

    assert Tried("eu", 3.0, reason="its turn") == before
    assert Tried("eu", 3.0, 5.0, "failed", "ServerError", 502, "its turn") == attempt.seen()


def test_a_new_call_has_no_end_and_no_attempts() -> None:
    """And its own ledger."""
    call, other = Call(), Call()
    call.begin(Attempt("eu", 0.0))

    assert ("", inf, [], 0) == (other.id, other.deadline, other.attempts, other.sent)


attempts = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["router", "other"]), st.booleans()),
    max_size=8,
)


@given(attempts)
def test_a_router_finds_its_own_last_attempt_at_each_endpoint(
    entries: list[tuple[str, str, bool]],
) -> None:
    """Refused ones are struck out as if they had never been, equal ones kept apart."""
    call = Call()
    routers = {"router": object(), "other": object()}
    left: list[tuple[str, str, Attempt]] = []
    for name, router, refused in entries:
        attempt = Attempt(name, 0.0, router=routers[router])
        call.begin(attempt)
        if refused:
            call.take_back(attempt)
        else:
            left.append((name, router, attempt))

    assert [attempt for _, _, attempt in left] == call.attempts
    for router, key in routers.items():
        assert {n: a for n, r, a in left if r == router} == call.tried(key)


def test_a_router_that_is_equal_is_not_the_same() -> None:
    """Two routers with the same settings have tried nothing of each other's."""
    call, router = Call(), [1]
    call.begin(Attempt("eu", 0.0, router=router))

    assert ["eu"] == list(call.tried(router))
    assert {} == call.tried([1])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=6))
def test_what_was_sent_counts_the_calls_to_real_endpoints(
    entries: list[tuple[bool, int]],
) -> None:
    """A group's own entry is not a call: its endpoints have entries of their own."""
    call = Call()
    counts: Counter[str] = Counter()
    for group, sends in entries:
        attempt = Attempt("group" if group else "eu", 0.0, sends=sends)
        call.begin(attempt)
        if group:
            inner = Attempt("inner", 0.0, sends=1)
            call.begin(inner, within=attempt)
        counts[attempt.endpoint] += sends
        counts["inner"] += group

    assert counts["eu"] + counts["inner"] == call.sent
    assert {"group"} >= {attempt.endpoint for attempt in call.attempts if attempt.group}
