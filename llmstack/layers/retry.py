"""Retry: ask again when the failure says that asking again may help.

Put it above the router, so that the next attempt can go to another endpoint, and below the
deadline, so that no wait outlives the caller. Two in one stack multiply. A stream that was
handed up has left this layer. Attempts bound what one call can cost; what an outage can, a
budget for all that is sent again.

Events: `retry.scheduled`, `retry.over_budget` (warnings). Errors: none of its own: the last
failure leaves as it came. A refusal behind it is not the last word, or nothing was sent.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from math import inf
from random import Random
from typing import Any, ClassVar, Final, Generic, final, get_args

from attrs import define, field, frozen, validators

from llmstack import clock
from llmstack.errors import LLMStackError, Refused, classify
from llmstack.estimators.backoff import Backoff, Jitter, after_named, until_ready
from llmstack.estimators.retry_budget import Extra, RetryBudget, RetryBudgetStatistics
from llmstack.estimators.retry_rule import RetryRule, rule_of, rules_with
from llmstack.events import EventLog
from llmstack.hooks import always, answers_at_once
from llmstack.order import Bound
from llmstack.service import Req, Resp, Service, deadline_of


__all__ = ["Retry", "RetryService"]

log: Final = EventLog()

#: The clock is read for every so manieth call that begins: it costs as much as all the rest.
EVERY: Final = 8


@final
@frozen(kw_only=True)
class Retry:
    """How often to ask, and how long to wait before asking again.

    While the router has another endpoint left, that one is asked at once. The same one is
    given time: ``base * 2 ** n`` at most, never above *cap*, drawn with *jitter*, and never
    less than the provider asks for (``Retry-After``), but up to a tenth more. A gate that
    names the moment at which it opens is asked then; nothing was sent, so that is no attempt.
    What would take longer than *patience*, for gates all together, or leave less than
    *min_attempt* before the deadline, is not waited for: the failure leaves at once. *rules*
    say otherwise for classes of errors; by default, an endpoint that said `ServerError` or
    gave an `EmptyResponse` is asked once more.

    What the *budget* refuses is not asked again; None is one of the stack's, or of each use.
    A request that *idempotent* says no to is sent again only if it was surely not sent. What
    *classify* turns errors that are not ours into is retried as that; None is not.

    >>> Retry()
    Retry(attempts=3, base=0.5, cap=8.0, patience=60.0, jitter='full', min_attempt=0.1)
    """

    attempts: int = field(default=3, validator=[validators.instance_of(int), validators.ge(1)])
    base: float = field(default=0.5, validator=[validators.gt(0), validators.lt(inf)])
    cap: float = field(default=8.0, validator=validators.gt(0))
    patience: float = field(default=60.0, validator=validators.ge(0))
    jitter: Jitter = field(default="full", validator=validators.in_(get_args(Jitter)))
    min_attempt: float = field(default=0.1, validator=validators.gt(0))
    rules: Mapping[type[LLMStackError], RetryRule] = field(
        factory=dict, converter=rules_with, repr=False, hash=False
    )
    budget: RetryBudget | None = field(default=None, repr=False)
    idempotent: Callable[[Any], bool] = field(default=always, repr=False, validator=answers_at_once)
    classify: Callable[[Exception], LLMStackError | None] = field(default=classify, repr=False)
    rng: Random | None = field(default=None, repr=False, eq=False)

    role: ClassVar[str] = "retry"
    shares: ClassVar[Mapping[str, Callable[[], object]]] = {"budget": RetryBudget}
    twice: ClassVar[str] = "two of them multiply"
    above: ClassVar[Mapping[str, str]] = {
        "circuit_breaker": "a breaker must see each attempt, not only the last"
    }
    below: ClassVar[Mapping[str, str]] = {"deadline": "waiting must not outlive the caller"}

    @classmethod
    def none(cls) -> Retry:
        """Return the layer that asks once."""
        return cls(attempts=1)

    @classmethod
    def conservative(cls) -> Retry:
        """Return the layer that asks once more, and waits ten seconds for that at most."""
        return cls(attempts=2, base=1.0, patience=10.0)

    @classmethod
    def production(cls) -> Retry:
        """Return the layer with all defaults."""
        return cls()

    def __call__(self, inner: Service[Req, Resp], /) -> RetryService[Req, Resp]:
        """Wrap *inner*; what is made here has dice and a budget of its own, unless given."""
        budget = RetryBudget() if self.budget is None else self.budget
        return RetryService(self, inner, budget, self.rng or Random())

    def bound(self, inner: Bound, /) -> Bound:
        """Return the bound of all attempts, each of them *inner*, and of the waits between."""
        if self.attempts == 1:
            return inner
        between = (self.attempts - 1) * after_named(self.patience, chance=1.0)
        return inner.times(self.attempts, waits=between + self.attempts * self.patience)

    def wait_after(  # noqa: PLR0913 -- what a rule may know of a call; all but two by keyword
        self,
        attempt: int,
        error: LLMStackError,
        *,
        chance: float,
        now: float,
        deadline: float,
        last: float = 0.0,
        failed: int = 1,
    ) -> float | None:
        """Return the seconds to wait after *attempt* failed with *error*; None to give up.

        *last* is the wait before it. The endpoint has *failed* so often in this call and way.
        """
        _, rule = rule_of(self.rules, error)
        if attempt >= min(self.attempts, rule.attempts or self.attempts):
            return None
        named = 0.0
        if error.elsewhere and error.untried:
            wait = 0.0
        elif error.ready_at is not None:
            wait = max(0.0, error.ready_at - now)
        elif error.again and (rule.again is None or failed <= rule.again):
            named = error.retry_after or 0.0
            backoff = Backoff(rule.base or self.base, rule.cap or self.cap, self.jitter)
            wait = max(named, backoff.after(attempt, chance=chance, last=last))
        else:
            return None
        room = deadline - now - self.min_attempt
        if wait > min(self.patience, room):
            return None
        return max(wait, min(room, after_named(named, chance=chance)))


@final
@define(eq=False)
class _Course:
    """What a call has been through since it first failed."""

    settings: Retry
    budget: RetryBudget
    rng: Random
    original: bool  # it was this layer that entered the call
    attempt: int = 0
    wait: float = 0.0
    waited: float = 0.0  # for gates, since something was sent
    turn: float | None = None  # the one that it waits for
    failed: Counter[object] = field(factory=Counter)  # by endpoint and class with a rule
    failure: list[Exception] = field(factory=list)  # the last one that was sent, or none
    extra: Extra | None = None  # what the next attempt is paid with

    def goes_on(self, error: Exception, request: object) -> bool:
        """Whether to ask again after *wait*; else a *failure* that is still there leaves."""
        fault = self.settings.classify(error)
        refused = isinstance(fault, Refused)
        self.settle(sent=not refused)
        if not refused:
            self.failure.clear()
            self.waited = 0.0
        if fault is None or not self._may(fault, request, refused=refused):
            return False
        told = log.bind(attempt=self.attempt, endpoint=fault.endpoint, error=type(error).__name__)
        if self.failure or not refused:  # so that what is sent now is sent again
            away = fault.elsewhere and fault.untried > 0
            self.extra = self.budget.withdraw(clock.now(), elsewhere=away)
            if self.extra is None:
                told.warning("retry.over_budget")
                return False
        if not refused:
            # Without its traceback, or the frame in that would hold it.
            self.failure.append(error.with_traceback(None))
        told.warning("retry.scheduled", wait=round(self.wait, 3))
        return True

    def _may(self, fault: LLMStackError, request: object, *, refused: bool) -> bool:
        """Whether the settings let it be asked again, and after which wait."""
        settings = self.settings
        now, deadline = clock.now(), deadline_of(request)
        if refused and settings.attempts > 1:
            least = settings.min_attempt
            room = min(settings.patience - self.waited, deadline - now - least)
            if (gate := until_ready(fault, now, least, room)) is not None:
                return self._in_turn(now + gate, now, room)
        self.attempt += 1
        if not (fault.unsent or settings.idempotent(request)):
            return False
        place = fault.endpoint, rule_of(settings.rules, fault)[0]
        self.failed[place] += 1
        wait = settings.wait_after(
            self.attempt,
            fault,
            chance=self.rng.random(),
            now=now,
            deadline=deadline,
            last=self.wait,
            failed=self.failed[place],
        )
        self.wait = wait or 0.0
        return wait is not None

    def _in_turn(self, opens: float, now: float, room: float) -> bool:
        """Whether *room* holds the turn of this call, of all that wait for a gate that *opens*."""
        turn = self.budget.turn(opens)
        if turn - now > room:
            return False
        self.budget.take(turn, now)
        self.turn, self.wait = turn, turn - now
        self.waited += self.wait
        return True

    def _leave(self, *, used: bool) -> None:
        if self.turn is not None:
            self.budget.leave(self.turn, used=used)
            self.turn = None

    def sends(self) -> None:
        """Note that the next attempt goes out."""
        self._leave(used=True)
        if self.extra is not None:
            self.budget.send(self.extra, clock.now())

    def settle(self, *, sent: bool) -> None:
        """Note that it is over, or that nothing was sent."""
        if self.extra is not None:
            (self.budget.settle if sent else self.budget.give_back)(self.extra)
            self.extra = None

    def end(self, request: object) -> None:
        """Note that the call is over."""
        self._leave(used=False)
        self.settle(sent=True)
        if self.original:
            self.budget.end(request)


@final
@define(eq=False)
class RetryService(Generic[Req, Resp]):
    """The loop around `Retry.wait_after`; the dice and the budget are kept between calls."""

    settings: Retry
    inner: Service[Req, Resp]
    budget: RetryBudget
    rng: Random
    _begun: int = field(default=0, init=False)
    _now: float = field(default=0.0, init=False)

    async def __call__(self, request: Req, /) -> Resp:
        """Call the inner service until it answers or the settings say stop."""
        budget = self.budget
        if not self._begun % EVERY:
            self._now = clock.now()
        self._begun += 1
        original = budget.begin(request, self._now)
        try:
            return await self.inner(request)
        except Exception as error:
            course = _Course(self.settings, budget, self.rng, original)
            if not course.goes_on(error, request):
                raise
            original = False  # the course ends it
        finally:
            if original:
                budget.end(request)
        try:
            return await self._again(request, course)
        finally:
            course.end(request)

    async def _again(self, request: Req, course: _Course) -> Resp:
        """Call it once more, and once more, while the course goes on."""
        while True:
            await asyncio.sleep(course.wait)
            course.sends()
            try:
                return await self.inner(request)
            except Exception as error:
                if course.goes_on(error, request):
                    continue
                if not course.failure:
                    raise
                # Popped, else the frame in its traceback would hold it.
                raise course.failure.pop() from error

    def statistics(self) -> dict[str, RetryBudgetStatistics]:
        """Return how the *budget* stands."""
        return {"budget": self.budget.statistics()}
