"""Fallback: endpoints strictly in the order declared, and the next one after a failure too.

The one router that walks on by itself: it needs no `Retry` above it, and with one above,
the whole walk is an attempt, so that the two multiply. Weights play no part, but for 0.
Below it a `CircuitBreaker` spares each call the wait for a primary that is known to be down.

It goes on after a failure that another endpoint may not have (`elsewhere`), or after those
named as *triggers*, for all or for one entry; and after an answer that is not accepted.
Never after a cancellation or a bug. What a stream does after its first content is no
business of a router any more.

Errors: the last failure as it came, with all *attempts*; `NoEndpoint` if nobody could be
asked; `ConfigError` for triggers that are none. Events: `retry.scheduled`, where the primary
is asked again, and `fallback.unaccepted`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from math import inf
from random import Random
from typing import Any, ClassVar, Final, final

from attrs import define, field, frozen, validators

from llmstack.call import Outcome
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import (
    ConfigError,
    ContextLengthExceeded,
    EmptyResponse,
    LLMStackError,
    Refused,
    ServerError,
)
from llmstack.estimators.retry_budget import RetryBudget
from llmstack.estimators.retry_rule import RetryRule
from llmstack.hooks import answers_at_once
from llmstack.layers.retry import Retry
from llmstack.messages import Request, Response
from llmstack.order import Bound
from llmstack.routers.plan import Terms
from llmstack.routers.router import (
    ONE_ROUTER,
    Endpoints,
    RouterService,
    as_endpoints,
    bound_of_endpoints,
    named,
    the_set,
)
from llmstack.routers.triggers import Rule, Trigger, Triggers, as_triggers, shown
from llmstack.routers.watch import Watch
from llmstack.service import Service


__all__ = ["After", "Declared", "Fallback"]

#: The triggers of single entries, by the name of the endpoint.
After = Mapping[str, tuple[Trigger, ...]]

#: What is wrong with an empty list of triggers.
NONE: Final = "there is none, so no failure would lead on; name some, or leave them out"
#: Longer than the longest backoff nobody waits for the primary while there are fallbacks.
PATIENCE: Final = 8.0


@final
@define(eq=False)
class Declared:
    """The picker: the order in which the endpoints were declared, and nothing else.

    It can say after what each is asked: by the *rule* of the list, or by its *own*.
    """

    rule: Rule = field(factory=Rule)
    own: Mapping[str, Rule] = field(factory=dict)

    def order(
        self, _request: Request, endpoints: Sequence[Endpoint], _now: float, /
    ) -> Iterator[Endpoint]:
        """Yield them as they come."""
        yield from endpoints

    def settle(self, _endpoint: Endpoint, _started: float, _outcome: Outcome, /) -> None:
        """Learn nothing: the order is the user's."""

    def explain(
        self, _request: Request, endpoints: Sequence[Endpoint], _now: float, /
    ) -> dict[str, Terms]:
        """Return the place of each among those that may be asked, and after what it is."""
        return {
            e.name: Terms(reason=self._reason(n, e.name), score=n, terms={"place": n})
            for n, e in enumerate(endpoints, 1)
        }

    def _reason(self, place: int, name: str) -> str:
        said = f"number {place} in the order declared"
        if place == 1 and name not in self.own:
            return said
        return f"{said}, {self.own.get(name, self.rule).says}"

    def keep(self, _names: Collection[str], /) -> None:
        """Forget nothing: nothing is known."""

    def statistics(self) -> dict[str, Any]:
        """Return nothing: the order is in the settings."""
        return {}


def _triggers(value: Iterable[Trigger] | None) -> Triggers:
    return None if value is None else as_triggers(value)


def _after(value: Mapping[str, Iterable[Trigger]]) -> After:
    after = {name: as_triggers(triggers) for name, triggers in value.items()}
    for name, triggers in after.items():
        if not triggers:
            raise ConfigError(f"after: {name!r} has no triggers, so it would never be asked")
    return after


def _shown_after(value: After) -> str:
    return f"{{{', '.join(f'{name}: {shown(each)}' for name, each in value.items())}}}"


@final
@frozen
class Fallback:
    """Ask the first endpoint; after a refusal, or a failure that is a trigger, the next.

    *triggers* are what to go on after, by name or as classes of errors, in place of all that
    have `elsewhere` set; *after* are those of single entries, by the name of the endpoint.
    An answer that *accepts* says no to is passed over for a better one, if there is one.
    *max_attempts* is the most fallbacks that are asked after the first, None for all; who
    refuses was not asked. The first endpoint is given *retry_primary* more attempts, with
    the waits of `Retry` and as far as the *budget* goes, before it is left.
    """

    endpoints: Endpoints = field(converter=as_endpoints, repr=named)
    triggers: Triggers = field(default=None, kw_only=True, converter=_triggers, repr=shown)
    after: After = field(
        factory=dict, kw_only=True, converter=_after, repr=_shown_after, hash=False
    )
    accepts: Callable[[Response], bool] | None = field(
        default=None, kw_only=True, repr=False, validator=validators.optional(answers_at_once)
    )
    max_attempts: int | None = field(
        default=None, kw_only=True, validator=validators.optional(validators.ge(1))
    )
    retry_primary: int = field(default=0, kw_only=True, validator=validators.ge(0))
    budget: RetryBudget | None = field(default=None, kw_only=True, repr=False)
    rng: Random | None = field(default=None, kw_only=True, repr=False, eq=False)

    role: ClassVar[str] = "router"
    shares: ClassVar[Mapping[str, Callable[[], object]]] = {"budget": RetryBudget}
    alone: ClassVar[str] = ONE_ROUTER

    def __attrs_post_init__(self) -> None:
        if self.triggers == () and not (self.after or self.accepts):
            raise ConfigError(f"triggers: {NONE}")
        if isinstance(self.endpoints, EndpointSet):
            return  # its members come and go
        first, *others = (endpoint.name for endpoint in self.endpoints)
        for name in self.after:
            if name == first:
                raise ConfigError(f"after: {name!r} is the first, so it is asked after nobody")
            if name not in others:
                raise ConfigError(f"after: no endpoint is named {name!r}")

    @property
    def also(self) -> tuple[str, ...]:
        """The roles of other layers that this one plays too."""
        return ("retry",) if self.retry_primary else ()

    def __call__(self, inner: Service[Request, Any], /) -> RouterService:
        """Put the router above *inner*, which calls ``request.endpoint``."""
        endpoints = the_set(self.endpoints)
        if self.retry_primary:
            inner = _PrimaryAgain(endpoints, inner, self._retry(inner))
        rule, own = Rule(self.triggers), self._own()
        picker = Declared(rule, own)
        sizes = rule.matches(ContextLengthExceeded, elsewhere=False)
        if not (own or sizes or self.accepts):
            return RouterService(endpoints, picker, inner, "fallback", self.goes_on)
        most = inf if self.max_attempts is None else self.max_attempts
        watch = Watch(endpoints, rule, own, self.accepts, most)
        return RouterService(
            endpoints,
            picker,
            inner,
            "fallback",
            self.goes_on,
            accepts=watch.accepts,
            learns=watch.learns,
            bars=watch.bars,
        )

    def goes_on(self, error: LLMStackError, asked: int, /) -> bool:
        """Whether to ask the next one after *error*, with which *asked* have failed."""
        if self.max_attempts is not None and asked > self.max_attempts:
            return False
        return self._is_trigger(error)

    def bound(self, inner: Bound, /) -> Bound:
        """Every endpoint there is now is asked, or as many as allowed; the first more often."""
        there = max(1, len(self.endpoints))
        asked = there if self.max_attempts is None else min(there, 1 + self.max_attempts)
        most = bound_of_endpoints(self.endpoints, inner, asked)
        if not self.retry_primary:
            return most
        waits = Retry(attempts=1 + self.retry_primary, patience=PATIENCE).bound(Bound(1, 0.0))
        again = bound_of_endpoints(self.endpoints, inner).times(self.retry_primary)
        seconds = most.seconds + again.seconds + waits.seconds
        return Bound(most.calls + again.calls, seconds, most.cost + again.cost)

    def _is_trigger(self, error: LLMStackError) -> bool:
        rules = [Rule(self.triggers), *self._own().values()]
        return any(rule.matches(type(error), elsewhere=error.elsewhere) for rule in rules)

    def _own(self) -> dict[str, Rule]:
        return {name: Rule(triggers, own=True) for name, triggers in self.after.items()}

    def _retry(self, inner: Service[Request, Any]) -> Service[Request, Any]:
        retry = Retry(
            attempts=1 + self.retry_primary,
            patience=PATIENCE,
            rules=dict.fromkeys((ServerError, EmptyResponse), RetryRule()),  # as often as told
            budget=self.budget,
            classify=self._judge,
            rng=self.rng,
        )
        return retry(inner)

    def _judge(self, error: Exception) -> LLMStackError | None:
        """Return what the retry of the primary may know of *error*."""
        if isinstance(error, Refused):
            return Refused()  # without the time to wait for: a fallback is ready now
        return error if isinstance(error, LLMStackError) and self._is_trigger(error) else None


@final
@define(eq=False)
class _PrimaryAgain:
    """Below the router: the first endpoint under a retry, the others as they are."""

    endpoints: EndpointSet
    inner: Service[Request, Any]
    retried: Service[Request, Any]

    def __call__(self, request: Request, /) -> Coroutine[Any, Any, Any]:
        """Ask the endpoint that the router has chosen."""
        chosen = request.endpoint
        first = chosen is not None and chosen.name in {e.name for e in self.endpoints.enabled[:1]}
        return (self.retried if first else self.inner)(request)
