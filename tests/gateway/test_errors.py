"""The table of errors, against the one of the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, inf, nan
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack import errors
from llmstack.errors import LLMStackError
from llmstack.gateway.errors import TABLE, Problem, bug, problem_of


#: Status, code, type, x-should-retry ("" leaves it to the client), and the Retry-After if
#: no moment is known ("-" for none at all, even if one is).
DOCUMENTED: Final = """
    BadRequest              400 bad_request              invalid_request_error false -
    ContextLengthExceeded   400 context_length_exceeded  invalid_request_error false -
    ContentFiltered         400 content_filter           invalid_request_error false -
    PayloadTooLarge         413 payload_too_large        invalid_request_error false -
    CallerFault             400 bad_request              invalid_request_error false -
    AuthFailed              502 upstream_auth            server_error          false -
    PermissionDenied        502 upstream_permission      server_error          false -
    ModelNotFound           502 upstream_model_not_found server_error          false -
    QuotaExhausted          429 insufficient_quota       insufficient_quota    false -
    AccountFault            502 upstream_account         server_error          false -
    RateLimited             429 rate_limit_exceeded      rate_limit_error      once  none
    Overloaded              503 overloaded               server_error          once  none
    Busy                    503 overloaded               server_error          once  none
    ServerError             502 upstream_error           server_error          once  -
    ConnectionFailed        502 upstream_unreachable     server_error          once  -
    ConnectionLost          502 upstream_connection_lost server_error          once  -
    ProtocolError           502 upstream_protocol        server_error          once  -
    EmptyResponse           502 empty_response           server_error          once  -
    Broken                  502 upstream_error           server_error          once  -
    UpstreamTimeout         504 upstream_timeout         server_error          once  -
    StreamBroken            502 stream_broken            server_error          once  -
    StreamIncomplete        502 stream_incomplete        server_error          once  -
    UpstreamError           502 upstream_error           server_error          once  -
    CircuitOpen             503 circuit_open             server_error          true  none
    CoolingDown             503 cooling_down             server_error          true  none
    Unhealthy               503 unhealthy                server_error          true  none
    ConcurrencyFull         503 concurrency_full         server_error          true  none
    QuotaFull               503 quota_full               server_error          true  none
    Disabled                503 disabled                 server_error          true  none
    Untranslatable          400 unsupported_by_endpoint  invalid_request_error false -
    NoEndpoint              503 no_endpoint              server_error          true  none
    NotReady                503 not_ready                server_error          true  none
    RateLimitedHere         429 rate_limit_exceeded      rate_limit_error      true  1
    BudgetExceeded          402 budget_exceeded          insufficient_quota    false -
    QueueFull               503 queue_full               server_error          true  1
    Shed                    503 shed                     server_error          true  1
    Blocked                 400 blocked                  invalid_request_error false -
    Draining                503 server_shutting_down     server_error          true  1
    Refused                 503 refused                  server_error          true  1
    DeadlineExceeded        504 deadline_exceeded        server_error          false -
"""
ROWS: Final = [line.split() for line in DOCUMENTED.strip().splitlines()]
#: Nothing that a caller should see: what a stack raises at work is none of these.
BUGS: Final = {"ConfigError", "LLMStackError"}


def kinds(kind: type[LLMStackError] = LLMStackError) -> Iterator[type[LLMStackError]]:
    yield kind
    for below in [each for each in kind.__subclasses__() if each.__module__ == errors.__name__]:
        yield from kinds(below)


def test_the_documentation_has_every_class() -> None:
    """A new error gets a row, here and in the table where it is not like its parent."""
    assert {row[0] for row in ROWS} | BUGS == {kind.__name__ for kind in kinds()}
    assert set() == {kind.__name__ for kind in TABLE} - {row[0] for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
@pytest.mark.parametrize("sent", [0, 1, 2])
def test_each_class_is_told_as_documented(row: list[str], sent: int) -> None:
    """Status, type, code, advice; one that was asked again already says not to begin anew."""
    name, status, code, type_, retry, wait = row
    error: LLMStackError = getattr(errors, name)("what happened", endpoint="eu")

    problem = problem_of(error, now=0.0, sent=sent)

    assert problem is not None
    assert (int(status), code, type_) == (problem.status, problem.code, problem.type)
    advice = {"once": None if sent < 2 else False, "true": True, "false": False}[retry]
    assert advice is problem.retry
    assert (int(wait) if wait.isdigit() else None) == problem.wait
    assert "what happened" == problem.message
    assert (name == "Draining") == problem.close


seconds = st.none() | st.floats(allow_nan=True) | st.floats(0, 1000) | st.integers(-5, 1000)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
@given(after=seconds, at=seconds, now=st.integers(0, 500))
@example(after=0.2, at=None, now=0)
@example(after=None, at=3.5, now=1)
@example(after=None, at=1.0, now=5)
@example(after=inf, at=None, now=0)
@example(after=nan, at=None, now=0)
@example(after=-1.0, at=7.0, now=0)
def test_a_wait_is_told_in_whole_seconds(
    row: list[str], after: float | None, at: float | None, now: int
) -> None:
    """Never shorter than the wait, never negative, at most a week; a named one goes first."""
    error: LLMStackError = getattr(errors, row[0])()
    error.retry_after, error.ready_at = after, at

    problem = problem_of(error, now=now, sent=1)

    wait = after if after is not None else None if at is None else at - now
    if row[-1] == "-":
        expected = None
    elif wait is None:
        expected = 1 if row[-1] == "1" else None
    elif wait != wait or wait < 0:  # noqa: PLR0124 -- not a number
        expected = 1 if row[-1] == "1" else 0
    else:
        expected = max(1 if row[-1] == "1" else 0, ceil(min(wait, 604_800)))
    assert problem is not None
    assert expected == problem.wait


def test_a_class_of_ones_own_is_told_as_its_parent() -> None:
    """The nearest one in its ancestry."""

    class Slow(errors.Overloaded):
        """It is slow today."""

    problem = problem_of(Slow(), now=0, sent=1)

    assert problem is not None
    assert (503, "overloaded", "it is slow today") == (
        problem.status,
        problem.code,
        problem.message,
    )


@pytest.mark.parametrize("kind", [errors.ConfigError, LLMStackError])
def test_what_no_caller_can_help_is_a_bug(kind: type[LLMStackError]) -> None:
    """Settings are not the caller's, and the root says nothing."""
    assert None is problem_of(kind("no router"), now=0, sent=1)


def test_a_conflict_stays_one() -> None:
    """A provider's 409, without advice: its client knows what it means."""
    problem = problem_of(errors.BadRequest(status=409), now=0, sent=1)
    other = problem_of(errors.ContentFiltered(status=409), now=0, sent=1)

    assert problem is not None
    assert other is not None
    assert (409, None, 400) == (problem.status, problem.retry, other.status)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("too long by 3", "too long by 3"),
        ("a\x1b[31m\r\nb", "a [31m b"),
        ("<!DOCTYPE html><p>nginx", "the upstream gave no reason that can be shown"),
        ("key sk-abcdefghijkl is bad", "key *** is bad"),
        ("bad value 'tell me a joke'", "bad value '…'"),
        ("x " * 500, "x " * 149 + "x…"),
    ],
)
def test_words_from_outside_are_cleaned(said: str, shown: str) -> None:
    """One line, short, without keys, quotations and pages."""
    problem = problem_of(errors.BadRequest(said), now=0, sent=1)

    assert problem is not None
    assert shown == problem.message


def test_a_bug_names_the_request_and_nothing_else() -> None:
    """The log has the rest."""
    problem = bug("req_7")

    assert (500, "server_error", "internal_error", False) == (
        problem.status,
        problem.type,
        problem.code,
        problem.retry,
    )
    assert "req_7" in problem.message


problems = st.builds(
    Problem,
    status=st.integers(400, 599),
    message=st.text(max_size=9),
    param=st.none() | st.text(max_size=9),
    code=st.none() | st.text(max_size=9),
    retry=st.none() | st.booleans(),
    wait=st.none() | st.integers(0, 9),
    allow=st.sampled_from(["", "GET"]),
)


@given(problems)
def test_the_headers_say_what_is_known(problem: Problem) -> None:
    """And only that."""
    expected = {"Content-Type": "application/json"}
    expected |= {} if problem.retry is None else {"x-should-retry": str(problem.retry).lower()}
    expected |= {} if problem.wait is None else {"Retry-After": f"{problem.wait}"}
    expected |= {"Allow": problem.allow} if problem.allow else {}

    assert expected == problem.headers()
