"""What a caller of the gateway is told when something goes wrong: one table, no I/O.

Every error of the tree has a status, and a type and a code after the OpenAI API; the nearest
class in its ancestry decides. What is not in the tree is a bug, and says only that. How it is
written is the business of the front.
A failure after which the gateway has asked several times tells the client's SDK not to
begin anew: ``x-should-retry: false``, unless the table knows better.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import Final, final

from attrs import frozen

from llmstack.errors import (
    AccountFault,
    AuthFailed,
    BadRequest,
    Blocked,
    BudgetExceeded,
    Busy,
    CallerFault,
    CircuitOpen,
    ConcurrencyFull,
    ConnectionFailed,
    ConnectionLost,
    ContentFiltered,
    ContextLengthExceeded,
    CoolingDown,
    DeadlineExceeded,
    Disabled,
    Draining,
    EmptyResponse,
    LLMStackError,
    ModelNotFound,
    NoEndpoint,
    NotReady,
    Overloaded,
    PayloadTooLarge,
    PermissionDenied,
    ProtocolError,
    QueueFull,
    QuotaExhausted,
    QuotaFull,
    RateLimited,
    RateLimitedHere,
    Refused,
    Shed,
    StreamBroken,
    StreamIncomplete,
    Unhealthy,
    Untranslatable,
    UpstreamError,
    UpstreamTimeout,
)
from llmstack.providers.redact import clean


__all__ = ["TABLE", "Problem", "Row", "bug", "problem_of"]

INVALID: Final = "invalid_request_error"
SERVER: Final = "server_error"
LIMIT: Final = "rate_limit_error"
QUOTA: Final = "insufficient_quota"

#: Seconds; nobody is told to come back later than in a week.
LONGEST_WAIT: Final = 7 * 86_400


@final
@frozen
class Row:
    """What the caller sees of one class of errors.

    *retry* is what the client's SDK is told, None to leave it to itself unless the gateway
    has asked more than once. *waits* is the fewest seconds of a ``Retry-After``: 0 where
    one is given only if the moment is known, None for no such header at all.
    """

    status: int
    type: str
    code: str
    retry: bool | None = None
    waits: int | None = None


def _not_ready(code: str) -> Row:
    return Row(503, SERVER, code, retry=True, waits=0)


TABLE: Final[Mapping[type[LLMStackError], Row]] = {
    CallerFault: Row(400, INVALID, "bad_request", retry=False),
    BadRequest: Row(400, INVALID, "bad_request", retry=False),
    ContextLengthExceeded: Row(400, INVALID, "context_length_exceeded", retry=False),
    ContentFiltered: Row(400, INVALID, "content_filter", retry=False),
    PayloadTooLarge: Row(413, INVALID, "payload_too_large", retry=False),
    AccountFault: Row(502, SERVER, "upstream_account", retry=False),
    AuthFailed: Row(502, SERVER, "upstream_auth", retry=False),
    PermissionDenied: Row(502, SERVER, "upstream_permission", retry=False),
    ModelNotFound: Row(502, SERVER, "upstream_model_not_found", retry=False),
    QuotaExhausted: Row(429, QUOTA, "insufficient_quota", retry=False),
    Busy: Row(503, SERVER, "overloaded", waits=0),
    RateLimited: Row(429, LIMIT, "rate_limit_exceeded", waits=0),
    Overloaded: Row(503, SERVER, "overloaded", waits=0),
    UpstreamError: Row(502, SERVER, "upstream_error"),
    ConnectionFailed: Row(502, SERVER, "upstream_unreachable"),
    ConnectionLost: Row(502, SERVER, "upstream_connection_lost"),
    ProtocolError: Row(502, SERVER, "upstream_protocol"),
    EmptyResponse: Row(502, SERVER, "empty_response"),
    UpstreamTimeout: Row(504, SERVER, "upstream_timeout"),
    StreamBroken: Row(502, SERVER, "stream_broken"),
    StreamIncomplete: Row(502, SERVER, "stream_incomplete"),
    NotReady: _not_ready("not_ready"),
    CircuitOpen: _not_ready("circuit_open"),
    CoolingDown: _not_ready("cooling_down"),
    Unhealthy: _not_ready("unhealthy"),
    ConcurrencyFull: _not_ready("concurrency_full"),
    QuotaFull: _not_ready("quota_full"),
    Disabled: _not_ready("disabled"),
    Untranslatable: Row(400, INVALID, "unsupported_by_endpoint", retry=False),
    NoEndpoint: _not_ready("no_endpoint"),
    Refused: Row(503, SERVER, "refused", retry=True, waits=1),
    RateLimitedHere: Row(429, LIMIT, "rate_limit_exceeded", retry=True, waits=1),
    BudgetExceeded: Row(402, QUOTA, "budget_exceeded", retry=False),
    QueueFull: Row(503, SERVER, "queue_full", retry=True, waits=1),
    Shed: Row(503, SERVER, "shed", retry=True, waits=1),
    Blocked: Row(400, INVALID, "blocked", retry=False),
    Draining: Row(503, SERVER, "server_shutting_down", retry=True, waits=1),
    DeadlineExceeded: Row(504, SERVER, "deadline_exceeded", retry=False),
}


@final
@frozen
class Problem:
    """What one error says. With *close* the connection ends with its reply.

    *allow* lists the methods that the path knows, *retry* and *wait* become
    ``x-should-retry`` and ``Retry-After``.
    """

    status: int
    message: str
    type: str = INVALID
    param: str | None = None
    code: str | None = None
    retry: bool | None = None
    wait: int | None = None
    allow: str = ""
    close: bool = False

    def headers(self) -> dict[str, str]:
        """Return the headers that belong to this error."""
        headers = {"Content-Type": "application/json"}
        if self.retry is not None:
            headers["x-should-retry"] = "true" if self.retry else "false"
        if self.wait is not None:
            headers["Retry-After"] = str(self.wait)
        if self.allow:
            headers["Allow"] = self.allow
        return headers


def problem_of(error: LLMStackError, *, now: float, sent: int) -> Problem | None:
    """Return what the caller sees of *error*, after *sent* calls upstream; None for a bug."""
    row = next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), None)
    if row is None:
        return None
    status, retry = row.status, row.retry
    if isinstance(error, BadRequest) and error.status == HTTPStatus.CONFLICT:
        status, retry = HTTPStatus.CONFLICT.value, None
    if retry is None and sent > 1:
        retry = False
    return Problem(
        status=status,
        message=clean(error.message) or "the upstream gave no reason that can be shown",
        type=row.type,
        code=row.code,
        retry=retry,
        wait=None if row.waits is None else _wait(error, now, row.waits),
        close=isinstance(error, Draining),
    )


def bug(request_id: str) -> Problem:
    """Return what the caller sees of an exception that nobody foresaw."""
    return Problem(
        status=500,
        message=f"the gateway failed; its log says more under request {request_id}",
        type=SERVER,
        code="internal_error",
        retry=False,
    )


def _wait(error: LLMStackError, now: float, least: int) -> int | None:
    """Return the whole seconds after which it makes sense to come back."""
    wait = error.retry_after
    if wait is None and error.ready_at is not None:
        wait = error.ready_at - now
    if wait is None:
        return least or None
    # In this order a NaN comes out as the least.
    return max(least, ceil(min(max(0.0, wait), LONGEST_WAIT)))
