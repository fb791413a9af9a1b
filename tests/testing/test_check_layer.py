"""`check_layer`: the shipped layers keep the promises, and wrong ones are found out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.estimators.trip import ConsecutiveFailures
from llmstack.testing.check import check_layer
from tests.testing import wrong_layers as wrong


@pytest.fixture(autouse=True)
def no_log() -> Iterator[None]:
    """What layers log is of no interest here."""
    with capture_logs():
        yield


LAYERS: dict[str, Callable[[], ls.Layer]] = {
    "retry": ls.Retry,
    "no retry": lambda: ls.Retry(attempts=1),
    "circuit breaker": ls.CircuitBreaker,
    "touchy circuit breaker": lambda: ls.CircuitBreaker(ConsecutiveFailures(1)),
    "concurrency limit": lambda: ls.ConcurrencyLimit(64),
    "tight concurrency limit": lambda: ls.ConcurrencyLimit(1),
    "timeout": lambda: ls.Timeout(first_token=9, idle=9, total=9),
    "short timeout": lambda: ls.Timeout(total=1.0),
    "deadline": lambda: ls.Deadline(30),
    "short deadline": lambda: ls.Deadline(1.0),
    "log": ls.Log,
    "metrics": lambda: ls.Metrics(ls.MemoryRecorder()),
    "function": lambda: ls.layer_fn(lambda inner, request: inner(request)),
    "right": lambda: wrong.Wrapped(wrong.right),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_shipped_layers_keep_their_promises(name: str) -> None:
    """All that take requests of any type."""
    check_layer(LAYERS[name])


def test_requests_may_be_of_another_type() -> None:
    """The caller says what they are."""
    seen: set[str] = set()

    def key(request: str) -> str:
        seen.add(request)
        return request

    check_layer(lambda: ls.ConcurrencyLimit(1, key=key), request=lambda: "eu", examples=5)
    assert {"eu"} == seen


@pytest.mark.parametrize(
    ("does", "promise"),
    [
        (wrong.counts_by_finally, "nothing is in flight, so own must not say 1"),
        (wrong.forgets_cancels, "nothing is in flight, so own must not say 1"),
        (wrong.refuses_for_ever, "a call is served as before, and not CircuitOpen"),
        (wrong.retries_bugs, "a bug passes as it is"),
        (wrong.looks_at_bugs_twice, "a bug is not tried again"),
        (wrong.mutes_streams, "1 calls had 0 ends"),
        (wrong.leaves_a_watch, "no task is left behind"),
        (wrong.wraps_bugs, "a bug passes as it is, and not as ServerError"),
        (wrong.blames_bugs, "a bug passes as it is, and not as CircuitOpen"),
        (wrong.holds_streams, "each stream is closed once"),
        (wrong.reads_streams, "a reply passes as it is"),
        (wrong.swallows_cancels, "a cancellation is never swallowed"),
        (wrong.leaves_tasks, "no task is left behind|each stream is closed once"),
    ],
)
def test_a_wrong_layer_is_found_out(does: wrong.Does, promise: str) -> None:
    """And the promise that it breaks is named."""
    with pytest.raises(AssertionError, match=promise):
        check_layer(partial(wrong.Wrapped, does))


def test_two_uses_that_share_a_state_are_found_out() -> None:
    """A layer object may be used many times, and each use counts for itself."""
    with pytest.raises(AssertionError, match="a second use of a layer gives"):
        check_layer(wrong.Shared)
