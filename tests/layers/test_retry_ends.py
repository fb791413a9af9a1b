import asyncio
import gc
import socket
from contextlib import suppress
from typing import Any
from weakref import ref

import pytest
from structlog.testing import capture_logs

from llmstack.errors import (
    BadRequest,
    ConcurrencyFull,
    ConnectionFailed,
    ConnectionLost,
    LLMStackError,
    NoEndpoint,
    Overloaded,
    RateLimited,
    ServerError,
    UpstreamTimeout,
)
from llmstack.layers.retry import Retry
from llmstack.messages import Request
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from llmstack.testing.scripted import ScriptedService
from llmstack.testing.virtual import run_virtual


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (ServerError(), 1),
        (UpstreamTimeout(phase="first_token"), 1),
        (ConnectionLost(), 1),
        (RateLimited(untried=1), 1),
        (ConnectionFailed(), 2),
        (UpstreamTimeout(phase="connect"), 2),
        (NoEndpoint(ready_at=1), 2),
        (BadRequest(), 1),
    ],
    ids=repr,
)
def test_what_is_not_idempotent_is_never_sent_twice(error: LLMStackError, calls: int) -> None:
    """Unless the failure proves that nothing was sent; the predicate sees the request."""
    inner: ScriptedService[str, Any] = ScriptedService([error, "ok"])
    service = Retry(idempotent=str.islower)(inner)

    async def main() -> object:
        try:
            return await service("POST")
        except LLMStackError as last:
            return last

    with capture_logs():
        end, _ = run_virtual(main())

    assert (error if calls == 1 else "ok", calls) == (end, len(inner.calls))


def test_what_is_idempotent_is_sent_again() -> None:
    """The other side of the predicate."""
    inner: ScriptedService[str, Any] = ScriptedService([ServerError(), "ok"])

    with capture_logs() as logs:
        assert "ok" == run_virtual(Retry(idempotent=str.islower)(inner)("get"))[0]

    assert [None] == [entry["endpoint"] for entry in logs]


class Ours(Exception):
    """An error that llmstack does not know."""


def test_errors_of_others_are_judged_by_the_classifier() -> None:
    """They are retried as what it says they are, and leave as what they are."""
    script = [Ours("first"), Ours("second"), ConcurrencyFull()]
    inner: ScriptedService[str, Any] = ScriptedService(script)

    def judge(error: Exception) -> LLMStackError | None:
        return Overloaded(endpoint="eu", retry_after=3) if isinstance(error, Ours) else None

    with capture_logs() as logs, pytest.raises(ConcurrencyFull):
        run_virtual(Retry(classify=judge)(inner)("request"))
    assert [(1, "eu", "Ours"), (2, "eu", "Ours")] == [
        (e["attempt"], e["endpoint"], e["error"]) for e in logs
    ]
    assert [0, 3, 6] == [int(at) for at, _ in inner.calls]


def test_a_refusal_in_other_words_is_not_the_last_word() -> None:
    """An error that the classifier calls a refusal gives way to the failure before it."""
    inner: ScriptedService[str, Any] = ScriptedService([ServerError("sent"), Ours()])

    def judge(error: Exception) -> LLMStackError | None:
        return ConcurrencyFull() if isinstance(error, Ours) else error  # type: ignore[return-value]

    with capture_logs(), pytest.raises(ServerError, match=r"^sent$") as raised:
        run_virtual(Retry(classify=judge)(inner)("request"))

    assert isinstance(raised.value.__cause__, Ours)


@pytest.mark.parametrize("before", [[], [Overloaded()]], ids=["first", "second"])
def test_a_bug_leaves_at_once(before: list[LLMStackError]) -> None:
    """As it was, once, and not hidden behind a failure that came before it."""
    bug = ZeroDivisionError("bug")
    inner: ScriptedService[str, Any] = ScriptedService([*before, bug, "ok"])

    with capture_logs(), pytest.raises(ZeroDivisionError) as raised:
        run_virtual(Retry()(inner)("request"))

    assert (bug, None, len(before) + 1) == (raised.value, raised.value.__cause__, len(inner.calls))


def test_a_cancellation_passes_a_classifier_that_claims_everything() -> None:
    """It is never seen by the classifier, not even in a wait."""
    inner: ScriptedService[str, Any] = ScriptedService([asyncio.CancelledError(), "ok"])

    with pytest.raises(asyncio.CancelledError):
        run_virtual(Retry(classify=lambda _: Overloaded())(inner)("request"))

    assert 1 == len(inner.calls)


def test_a_cancel_at_any_step_ends_the_call() -> None:
    """Cancelled in an attempt or in a wait, it is over, and asks nobody any more."""
    calls: list[int] = []

    async def inner(_request: str, /) -> str:
        calls[-1] += 1
        await asyncio.sleep(1)
        raise Overloaded(retry_after=2)

    async def scenario() -> str:
        calls.append(0)
        return await Retry()(inner)("request")

    async def check(run: CancelledRun[str]) -> None:
        before = calls[-1]
        await asyncio.sleep(9)
        assert (before, ()) == (calls[-1], run.left)

    with capture_logs():
        runs = cancelled_everywhere(scenario, check)

    assert (3, "raised", 7) == (calls[0], runs[0].ended, int(runs[0].elapsed))
    assert {"cancelled"} == {run.ended for run in runs[1:]}


@pytest.mark.parametrize(
    "script",
    [
        [Overloaded, Overloaded, ServerError],
        [Overloaded, Overloaded, None],
        [ServerError, ConcurrencyFull],
        [ServerError, BadRequest],
    ],
    ids=["failed", "answered", "refused after a failure", "given up"],
)
def test_a_retried_failure_is_freed(script: list[type[LLMStackError] | None]) -> None:
    """Behind the call neither error, frame nor request waits for the collector."""
    held: list[ref[object]] = []

    async def inner(_request: Request, /) -> str:
        kind = script[len(held) - 1]
        if kind is None:
            return "ok"
        error = kind()
        held.append(ref(error))
        try:
            raise error
        finally:
            del error

    async def main() -> None:
        request = Request()
        held.append(ref(request))
        with suppress(LLMStackError):
            await Retry()(inner)(request)

    gc.collect()
    gc.disable()
    try:
        with capture_logs():
            run_virtual(main())
        alive = [each() for each in held]
    finally:
        gc.enable()

    assert [None] * len(held) == alive
    assert 1 + len([kind for kind in script if kind]) == len(held)


@pytest.mark.parametrize(("attempts", "calls"), [(3, 3), (1, 1)])
def test_a_closed_port_is_tried_as_often_as_set(attempts: int, calls: int) -> None:
    """Three attempts are three connections, one is one; all of them are refused."""
    tried = []

    async def connect(port: int, /) -> object:
        tried.append(port)
        return await asyncio.open_connection("127.0.0.1", port)

    def judge(error: Exception) -> LLMStackError | None:
        return ConnectionFailed() if isinstance(error, ConnectionRefusedError) else None

    with socket.socket() as closed, capture_logs():
        closed.bind(("127.0.0.1", 0))
        service = Retry(attempts=attempts, classify=judge)(connect)
        with pytest.raises(ConnectionRefusedError):
            run_virtual(service(closed.getsockname()[1]))

    assert calls == len(tried)
