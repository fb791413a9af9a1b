"""Cooldown: put aside what a failure names, and just that, until it may be asked again.

A rate limit is about a key, an empty balance about an account, an overload about an endpoint:
each error says so in `cools`. All endpoints that share a key or an account see at once what
befell it. Put the layer below the router, which goes on to the next endpoint; below the
breaker, whose business are endpoints that are broken; and above limits and timeout, so that
what is refused takes nothing.

Errors: `CoolingDown`. Events: `cooldown.began` (warning), `cooldown.alert` (error: somebody has
to act) and `cooldown.ended` (info); refusals are a number in the statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from math import inf, nextafter
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar, Final, Generic, final, get_args

from attrs import define, field, frozen, validators

from llmstack import clock
from llmstack.call import Attempt, Outcome
from llmstack.endpoint import Endpoint
from llmstack.errors import ConfigError, LLMStackError, Scope, StreamBroken, classify
from llmstack.estimators.cooling import Aside, CoolingBoard, Fact, Permit, named_wait
from llmstack.estimators.scope import Place, Where
from llmstack.events import EventLog
from llmstack.service import Req, Resp, Service, by_endpoint, insists, observe
from llmstack.standing import Standing


__all__ = ["Cooldown", "CooldownService"]

log: Final = EventLog()

#: What somebody has to do, by the scope that the error names.
ADVICE: Final[Mapping[Scope, str]] = MappingProxyType(
    {
        "endpoint": "look whether the provider still has the model, under this name",
        "key_model": "look whether the provider has the model, and whether the key may use it",
        "key": "look whether the key is valid, and put in another one",
        "account": "look at the balance and the caps of the account",
    }
)


@final
@frozen(kw_only=True)
class Cooldown:
    """How long things are put aside, and who knows of it.

    For as long as the provider asks (``Retry-After``), but at most *cap* seconds; where it asks
    for nothing, for as long as the class of the error says; and up to a tenth more, or a second,
    by chance. Whoever is given the same *board* knows the same. *classify* turns errors that are
    not ours into ours, or says None: nothing is put aside.

    >>> Cooldown()
    Cooldown(cap=21600.0)
    """

    cap: float = field(default=21600.0, validator=validators.gt(0))
    board: CoolingBoard | None = field(
        default=None,
        repr=False,
        validator=validators.optional(validators.instance_of(CoolingBoard)),
    )
    classify: Callable[[Exception], LLMStackError | None] = field(default=classify, repr=False)
    key: Callable[[Any], Hashable] = field(default=by_endpoint, repr=False)
    rng: Random | None = field(default=None, repr=False, eq=False)

    role: ClassVar[str] = "cooldown"
    above: ClassVar[Mapping[str, str]] = {
        "concurrency_limit": "what is put aside should hold no permit",
        "timeout": "what is put aside needs no timer",
    }
    below: ClassVar[Mapping[str, str]] = {
        "circuit_breaker": "the one probe of what is put aside should not meet an open circuit",
        "retry": "a cooldown must see each attempt, not only the last",
        "router": "above it, the trouble of one endpoint would put all of them aside",
    }

    def __call__(self, inner: Service[Req, Resp], /) -> CooldownService[Req, Resp]:
        """Wrap *inner*; the service made here has a board of its own, unless it was given one."""
        board = CoolingBoard() if self.board is None else self.board
        return CooldownService(self, inner, board, self.rng or Random())

    def wait_after(self, error: LLMStackError, *, chance: float) -> float:
        """Return for how many seconds to put aside what *error* names; 0 if it names nothing."""
        if error.cools is None:
            return 0.0
        wait = min(named_wait(error) or error.cools.seconds, self.cap)
        return wait + chance * min(wait / 10, 1.0)


@final
@define(eq=False)
class CooldownService(Generic[Req, Resp]):
    """The shell: ask the board, and tell it how the call ended.

    `put_aside` and `clear` are for operators; the first needs a running loop.
    """

    settings: Cooldown
    inner: Service[Req, Resp]
    board: CoolingBoard
    rng: Random

    async def __call__(self, request: Req, /) -> Resp:
        """Call the inner service, unless that is put aside."""
        permit: Permit = ()
        edition = _edition(request)
        if self.board.facts:
            # Nobody but a router can come back and insist.
            pressing = insists(request) or getattr(request, "attempt", None) is None
            place = self._place(request, edition)
            permit = self.board.admit(place, clock.now(), insists=pressing)

        def end(outcome: Outcome) -> None:
            if permit:
                self.board.settle(permit)
            if outcome.how == "failed":
                self._learn(request, outcome, edition)

        reply = await observe(self.inner, request, end)
        if permit:
            _tell_ended(self.board.answered(permit), "a request was answered")
        return reply

    def _place(self, request: Req, edition: int) -> Place:
        """Return where *request* goes, under which edition of the key."""
        name, model = self.settings.key(request), getattr(request, "model", "")
        endpoint: Endpoint | None = getattr(request, "endpoint", None)
        if endpoint is None:
            return Place(name, model)
        return Place(name, model, endpoint.key, endpoint.account, edition)

    def _learn(self, request: Req, outcome: Outcome, edition: int) -> None:
        """Put aside what the failure names; a named wait grows to the time that it is aside."""
        error = _told(outcome.judged(self.settings.classify))
        attempt: Attempt | None = getattr(request, "attempt", None)
        # What befell a member of a group is the group's own business.
        if error is None or error.cools is None or (attempt is not None and attempt.group):
            return
        wait = self.settings.wait_after(error, chance=self.rng.random())
        fact, began = self.board.learn(
            self._place(request, edition), error, error.cools, outcome.ended, wait
        )
        if error.again and not fact.soft:
            # Else a retry would come to find it aside still. The next float, so as not to be early.
            error.retry_after = nextafter(fact.until - outcome.ended, inf)
        if began:
            _tell_began(fact, wait)
        if began and fact.probing and fact.times == 1:
            advice = ADVICE[error.cools.scope]
            log.error("cooldown.alert", scope=str(fact.where), reason=fact.reason, advice=advice)

    def put_aside(self, scope: Scope, name: Hashable, seconds: float, model: str = "") -> None:
        """Put an endpoint, a key (for a *model*) or an account aside, hard, for *seconds*.

        Not for longer than the cap: what is to be out for good is better disabled.
        `ConfigError` for what nothing can be put aside by.
        """
        _check_scope(scope, model)
        if not seconds >= 0:
            raise ConfigError(f"seconds must be a number from 0 up, not {seconds}")
        now, wait = clock.now(), min(seconds, self.settings.cap)
        put = self.board.put_aside(Where(scope, name, model), now + wait, now)
        if put.began:
            _tell_began(put.fact, wait)

    def clear(self, scope: Scope | None = None, name: Hashable = None, model: str = "") -> None:
        """Forget what is known of one scope, or, without arguments, all that is known."""
        if scope is not None:
            _check_scope(scope, model)
        wheres = None if scope is None else [Where(scope, name, model)]
        _tell_ended(self.board.clear(wheres), "by hand")

    def standing(self, request: Req, /) -> Standing | None:
        """Return what would become of *request* now; None if it would just pass."""
        return self.board.standing(self._place(request, _edition(request)), clock.now())

    def statistics(self) -> dict[Where, Aside]:
        """Return what is put aside, by scope."""
        return self.board.statistics()


def _check_scope(scope: Scope, model: str) -> None:
    """Raise `ConfigError` if nothing can be put aside so: it would have no effect."""
    scopes = get_args(Scope)
    if scope not in scopes:
        raise ConfigError(f"scope must be one of {', '.join(scopes)}, not {scope!r}")
    if model and scope == "account":
        raise ConfigError("model: an account is put aside for all models")
    if model and scope == "key":
        raise ConfigError("model: the scope of a key for one model is key_model")
    if scope == "key_model" and not model:
        raise ConfigError("model is missing; the scope of a key for all models is key")


def _edition(request: object) -> int:
    """Return how often the key of the endpoint has been exchanged, as far as that can be known."""
    endpoint: Endpoint | None = getattr(request, "endpoint", None)
    return 0 if endpoint is None or endpoint.edition is None else endpoint.edition()


def _told(outcome: Outcome) -> LLMStackError | None:
    """Return the failure that there is something to learn from; of a broken stream, its cause."""
    error = outcome.error
    if outcome.neutral or not isinstance(error, LLMStackError):
        return None
    if isinstance(error, StreamBroken) and isinstance(error.__cause__, LLMStackError):
        return error.__cause__
    return error


def _tell_began(fact: Fact, wait: float) -> None:
    log.warning("cooldown.began", scope=str(fact.where), reason=fact.reason, wait=round(wait, 3))


def _tell_ended(facts: Iterable[Fact], reason: str) -> None:
    for fact in facts:
        log.info("cooldown.ended", scope=str(fact.where), reason=reason)
