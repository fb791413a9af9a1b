"""Retry: ask again when the failure says that asking again may help.

Put it above the router, so that the next attempt can go to another endpoint, and below
the deadline, so that no wait outlives the caller. Two in one stack multiply. A stream
that was handed up has left this layer and is never asked for again.

Events: `retry.scheduled` (warning). Errors: none of its own. The last failure leaves as it
came, so ``except Overloaded`` works outside. A refusal that comes after a failure is not
the last word, for it would say that nothing was sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, ClassVar, Final, Generic, final

import structlog
from attrs import define, field, frozen, validators

from llmstack import clock
from llmstack.errors import LLMStackError, Refused, classify
from llmstack.order import Bound
from llmstack.service import Req, Resp, Service, deadline_of


__all__ = ["Retry", "RetryService", "always"]

log: Final = structlog.get_logger("llmstack")


def always(_request: object, /) -> bool:
    """Say yes: generation changes nothing but the bill."""
    return True


@final
@frozen(kw_only=True)
class Retry:
    """How often to ask, and how long to wait before asking again.

    While the router has another endpoint left, that one is asked at once. The same one is
    given time: ``base * 2 ** n`` at most, never above *cap*, with full jitter, and never
    less than the provider asks for (``Retry-After``). A gate that names the moment at
    which it opens is asked then. What would take longer than *patience*, or reach the
    deadline, is not waited for: the failure leaves at once.

    A request that *idempotent* says no to is sent again only if the failure proves that
    it was not sent before. *classify* turns errors that are not ours into ours, or says
    None: not to be retried.

    >>> Retry()
    Retry(attempts=3, base=0.5, cap=8.0, patience=60.0)
    """

    attempts: int = field(default=3, validator=[validators.instance_of(int), validators.ge(1)])
    base: float = field(default=0.5, validator=validators.gt(0))
    cap: float = field(default=8.0, validator=validators.gt(0))
    patience: float = field(default=60.0, validator=validators.ge(0))
    idempotent: Callable[[Any], bool] = field(default=always, repr=False)
    classify: Callable[[Exception], LLMStackError | None] = field(default=classify, repr=False)
    rng: Random | None = field(default=None, repr=False, eq=False)

    role: ClassVar[str] = "retry"
    twice: ClassVar[str] = "two of them multiply"
    above: ClassVar[Mapping[str, str]] = {
        "circuit_breaker": "a breaker must see each attempt, not only the last"
    }
    below: ClassVar[Mapping[str, str]] = {"deadline": "waiting must not outlive the caller"}

    def __call__(self, inner: Service[Req, Resp], /) -> RetryService[Req, Resp]:
        """Wrap *inner*; the service made here has dice of its own, unless *rng* is given."""
        return RetryService(self, inner, self.rng or Random())

    def bound(self, inner: Bound, /) -> Bound:
        """Return the bound of all attempts, each of them *inner*, and of the waits between."""
        waits = (self.attempts - 1) * self.patience if self.attempts > 1 else 0.0
        return Bound(self.attempts * inner.calls, self.attempts * inner.seconds + waits)

    def wait_after(
        self, attempt: int, error: LLMStackError, *, chance: float, now: float, deadline: float
    ) -> float | None:
        """Return the seconds to wait after *attempt* failed with *error*; None to give up."""
        if attempt >= self.attempts:
            return None
        if error.elsewhere and error.untried:
            wait = 0.0
        elif error.ready_at is not None:
            wait = max(0.0, error.ready_at - now)
        elif error.again:
            # The float overflows after 2 ** 1023; 2 ** 63 is above any cap already.
            ceiling = min(self.cap, self.base * 2.0 ** min(attempt - 1, 63))
            wait = max(error.retry_after or 0.0, chance * ceiling)
        else:
            return None
        return wait if wait <= self.patience and now + wait < deadline else None


@final
@define(eq=False)
class RetryService(Generic[Req, Resp]):
    """The loop around `Retry.wait_after`; nothing but the dice is kept between calls."""

    settings: Retry
    inner: Service[Req, Resp]
    rng: Random

    async def __call__(self, request: Req, /) -> Resp:
        """Call the inner service until it answers or the settings say stop."""
        attempt = 1
        failure: list[Exception] = []
        while True:
            try:
                return await self.inner(request)
            except Exception as error:
                wait, refused = self._judge(error, attempt, request)
                if wait is None and refused and failure:
                    # Something was sent. Popped, else the frame in its traceback would hold it.
                    raise failure.pop() from error
                if wait is None:
                    raise
                if not refused:
                    failure[:] = [error.with_traceback(None)]
            await asyncio.sleep(wait)
            attempt += 1

    def _judge(self, error: Exception, attempt: int, request: Req) -> tuple[float | None, bool]:
        """Return the wait, None to give up, and whether *error* is a refusal."""
        settings = self.settings
        fault = settings.classify(error)
        if fault is None:
            return None, False
        wait = None
        if fault.unsent or settings.idempotent(request):
            now, deadline = clock.now(), deadline_of(request)
            wait = settings.wait_after(
                attempt, fault, chance=self.rng.random(), now=now, deadline=deadline
            )
        if wait is not None:
            log.warning(
                "retry.scheduled",
                attempt=attempt,
                endpoint=fault.endpoint,
                error=type(error).__name__,
                wait=round(wait, 3),
            )
        return wait, isinstance(fault, Refused)
