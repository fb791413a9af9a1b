"""Hedge: when an answer is late, ask somebody else too, and take the first that comes.

Put it above the router, so that the second call goes to another endpoint (the ledger of the
call leaves out the first, which is still at work), and below `Retry`, which comes back when
both have failed. It waits until only the slowest few would still be waiting, so that few
calls are sent twice. What is raced is the time to the first content: whoever has it is the
answer, and the other call is cancelled and awaited before anything is handed up.

The first call runs in the caller's own task; there is a second task only while there is a
second call. Errors: none of its own. Events: `hedge.sent` and `hedge.won` (info).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Mapping
from functools import partial
from math import inf
from typing import Any, ClassVar, Final, Generic, final

from attrs import asdict, define, field, frozen, validators

from llmstack import clock
from llmstack.call import Call
from llmstack.errors import LLMStackError, classify
from llmstack.estimators.hedge_delay import HedgeDelay, Wait
from llmstack.estimators.retry_budget import Extra, RetryBudget
from llmstack.events import EventLog
from llmstack.hooks import always, answers_at_once
from llmstack.keyed import Keyed
from llmstack.messages import Request
from llmstack.order import Bound
from llmstack.race import Race, SecondCall
from llmstack.service import Req, Resp, Service, deadline_of


__all__ = ["Hedge", "HedgeCounts", "HedgeService", "always", "by_shape", "without_tools"]

log: Final = EventLog()

#: Kinds of requests that are told apart; callers may invent names of models.
KINDS: Final = 1000


def without_tools(request: Request, /) -> bool:
    """Say yes to what offers no tools: some run at the provider, and would run twice."""
    return not request.body.data.get("tools")


def by_shape(request: object, /) -> Hashable:
    """Key: operation, model, whether it streams, and the size of the body by factors of four."""
    if not isinstance(request, Request):
        return None
    try:
        size = len(request.body.raw)
    except (TypeError, ValueError):  # it is for the leaf to say that this is no JSON
        size = 0
    return request.operation, request.model, request.stream, size.bit_length() // 2


@final
@define(eq=False)
class HedgeCounts:
    """What became of second calls: those *sent* have *won*, *lost* or *failed*.

    *refused* had nobody else to go to, so nothing was sent; *withheld* were over the budget.
    """

    sent: int = 0
    won: int = 0
    lost: int = 0
    failed: int = 0
    refused: int = 0
    withheld: int = 0


@final
@frozen(kw_only=True)
class Hedge:
    """Which requests may be sent twice, and how many of them.

    *hedgeable* says of a request whether it may: that must be said, for tools may run and
    money is spent. The second call goes out when the first has taken longer than all but
    *share* of those like it (same *key*) in the last one to two windows of *window* seconds;
    and in a window, no more than that share of all calls and one more are sent twice. The
    retries of a stack may have a *budget* that this has to keep as well.

    Nothing is sent twice while fewer than *samples* of a kind are known, while the slowest
    in a hundred take less than *spread* times as long as the median, or where the deadline
    leaves no time for an ordinary answer. With a share of 0 the layer is not there.

    >>> Hedge(hedgeable=always)
    Hedge(share=0.05, samples=20, spread=4.0, window=60.0)
    """

    hedgeable: Callable[[Any], bool] = field(repr=False, validator=answers_at_once)
    share: float = field(default=0.05, validator=[validators.ge(0), validators.le(1)])
    samples: int = field(default=20, validator=[validators.instance_of(int), validators.ge(1)])
    spread: float = field(default=4.0, validator=validators.ge(1))
    window: float = field(default=60.0, validator=validators.gt(0))
    budget: RetryBudget | None = field(default=None, repr=False)
    classify: Callable[[Exception], LLMStackError | None] = field(default=classify, repr=False)
    key: Callable[[Any], Hashable] = field(default=by_shape, repr=False)

    role: ClassVar[str] = "hedge"
    shares: ClassVar[Mapping[str, Callable[[], object]]] = {"budget": RetryBudget}
    twice: ClassVar[str] = "two of them multiply"
    above: ClassVar[Mapping[str, str]] = {
        "router": "the second call must be able to go elsewhere",
        "circuit_breaker": "a breaker must see both calls, and which one failed",
    }
    below: ClassVar[Mapping[str, str]] = {
        "deadline": "waiting must not outlive the caller",
        "retry": "it comes back when both have failed, with all that were tried left out",
    }

    def __call__(self, inner: Service[Req, Resp], /) -> Service[Req, Resp]:
        """Wrap *inner*; the service made here has learnt nothing yet."""
        if not self.share:
            return inner
        own = RetryBudget(self.share, 1 / self.window, self.window, inf)
        budgets = (own,) if self.budget is None else (own, self.budget)
        make = partial(
            HedgeDelay, self.share, window=self.window, samples=self.samples, spread=self.spread
        )
        return HedgeService(self, inner, budgets, Keyed(make, KINDS))

    def bound(self, inner: Bound, /) -> Bound:
        """Return the bound of two calls, the second of which begins before the first is over."""
        return inner.times(2 if self.share else 1)


@final
@define(eq=False)
class HedgeService(Generic[Req, Resp]):
    """Asks, and where that may be, races a second call against a late first one."""

    settings: Hedge
    inner: Service[Req, Resp]
    budgets: tuple[RetryBudget, ...]
    times: Keyed[HedgeDelay]
    counts: HedgeCounts = field(factory=HedgeCounts, init=False)

    async def __call__(self, request: Req, /) -> Resp:
        """Return the first answer."""
        settings = self.settings
        now = clock.now()
        times = self.times(settings.key(request))
        entered = [budget for budget in self.budgets if budget.begin(request, now)]
        try:
            wait = times.read(now)
            if wait is None or not self._may_wait(request, now, wait):
                return await self._timed(request, times, now)
            second = _Second(self.budgets, self.counts, request, wait.delay)
            ask = partial(self._ask, request, times)
            return await Race(ask, second.may, second.end, settings.classify).run(wait.delay)
        finally:
            for budget in entered:
                budget.end(request)

    def _may_wait(self, request: Req, now: float, wait: Wait) -> bool:
        """Whether *request* may be sent again, and has the time for it."""
        in_time = now + wait.delay + wait.median < deadline_of(request)
        return in_time and self.settings.hedgeable(request)

    def _ask(self, request: Req, times: HedgeDelay) -> Coroutine[Any, Any, Resp]:
        return self._timed(request, times, clock.now())

    async def _timed(self, request: Req, times: HedgeDelay, started: float) -> Resp:
        """Call the inner service, and learn how long it took."""
        try:
            reply = await self.inner(request)
        except (asyncio.CancelledError, TimeoutError):
            now = clock.now()
            times.add_censored(now - started, now)
            raise
        now = clock.now()
        times.add(now - started, now)
        return reply

    def statistics(self) -> dict[str, Any]:
        """Return what became of second calls, and the *delay* of each kind where there is one."""
        delays = {key: times.wait.delay for key, times in self.times.items() if times.wait}
        return {**asdict(self.counts), "delay": delays}


@final
@define(eq=False)
class _Second:
    """What a second call takes out of the budgets, and what is told of it."""

    budgets: tuple[RetryBudget, ...]
    counts: HedgeCounts
    request: object
    delay: float
    _extras: list[tuple[RetryBudget, Extra]] = field(factory=list, init=False)

    def may(self) -> bool:
        """Take it out of all budgets, or of none."""
        now = clock.now()
        for budget in self.budgets:
            extra = budget.withdraw(now)
            if extra is None:
                self.counts.withheld += 1
                self._settle(sent=False)
                return False
            self._extras.append((budget, extra))
        for budget, extra in self._extras:
            budget.send(extra, now)
        return True

    def end(self, how: SecondCall) -> None:
        """Settle it, count it and tell it."""
        self._settle(sent=how != "unsent")
        if how == "unsent":
            self.counts.refused += 1
            return
        self.counts.sent += 1
        setattr(self.counts, how, getattr(self.counts, how) + 1)
        call = getattr(self.request, "call", None)
        facts = {
            "request_id": call.id if isinstance(call, Call) else "",
            "wait": round(self.delay, 3),
        }
        log.info("hedge.sent", **facts)
        if how == "won":
            log.info("hedge.won", **facts)

    def _settle(self, *, sent: bool) -> None:
        for budget, extra in self._extras:
            (budget.settle if sent else budget.give_back)(extra)
