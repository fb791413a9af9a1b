"""Fallback: endpoints strictly in the order declared, and the next one after a failure too.

The one router that walks on by itself: it needs no `Retry` above it, and with one above,
the whole walk is an attempt, so that the two multiply. Weights play no part, but for 0.
Below it a `CircuitBreaker` spares each call the wait for a primary that is known to be down.

It goes on after a failure that another endpoint may not have (`elsewhere`), or after those
named as *triggers*; never after a cancellation or a bug. What a stream does after its first
content is no business of a router any more.

Errors: the last failure as it came, with all *attempts*; `NoEndpoint` if nobody could be
asked; `ConfigError` for triggers that are no errors of ours. Events: `retry.scheduled`,
where the primary is asked again.
"""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Iterable, Iterator, Sequence
from random import Random
from typing import Any, ClassVar, Final, final

from attrs import define, field, frozen, validators

from llmstack.call import Outcome
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import ConfigError, LLMStackError, Refused
from llmstack.layers.retry import Retry
from llmstack.messages import Request
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
from llmstack.service import Service


__all__ = ["Declared", "Fallback", "Triggers"]

#: The classes of errors after which to go on; None for all that may not happen elsewhere.
Triggers = tuple[type[LLMStackError], ...] | None

#: Longer than the longest backoff nobody waits for the primary while there are fallbacks.
PATIENCE: Final = 8.0


@final
@define(eq=False)
class Declared:
    """The picker: the order in which the endpoints were declared, and nothing else."""

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
        """Return the place of each among those that may be asked."""
        return {
            e.name: Terms(reason=f"number {n} in the order declared", score=n, terms={"place": n})
            for n, e in enumerate(endpoints, 1)
        }

    def keep(self, _names: Collection[str], /) -> None:
        """Forget nothing: nothing is known."""

    def statistics(self) -> dict[str, Any]:
        """Return nothing: the order is in the settings."""
        return {}


def _classes(value: Iterable[type[LLMStackError]] | None) -> Triggers:
    """Take each class once; `ConfigError` for what no router may catch."""
    if value is None:
        return None
    kinds = tuple(dict.fromkeys(value))
    for kind in kinds:
        if LLMStackError not in getattr(kind, "__mro__", ()):
            raise ConfigError(f"triggers: {kind!r} is no class of llmstack's errors")
    return kinds


def _shown(triggers: Triggers) -> str:
    return "None" if triggers is None else f"[{', '.join(kind.__name__ for kind in triggers)}]"


@final
@frozen
class Fallback:
    """Ask the first endpoint; after a refusal, or a failure that is a trigger, the next.

    *triggers* are the classes of errors to go on after, in place of all that have
    `elsewhere` set. *max_attempts* is the most fallbacks that are asked after the first
    failure, None for all; who refuses was not asked. The first endpoint is given
    *retry_primary* more attempts, with the waits of `Retry`, before it is left.
    """

    endpoints: Endpoints = field(converter=as_endpoints, repr=named)
    triggers: Triggers = field(default=None, kw_only=True, converter=_classes, repr=_shown)
    max_attempts: int | None = field(
        default=None, kw_only=True, validator=validators.optional(validators.ge(1))
    )
    retry_primary: int = field(default=0, kw_only=True, validator=validators.ge(0))
    rng: Random | None = field(default=None, kw_only=True, repr=False, eq=False)

    role: ClassVar[str] = "router"
    alone: ClassVar[str] = ONE_ROUTER

    def __call__(self, inner: Service[Request, Any], /) -> RouterService:
        """Put the router above *inner*, which calls ``request.endpoint``."""
        endpoints = the_set(self.endpoints)
        if self.retry_primary:
            inner = _PrimaryAgain(endpoints, inner, self._retry(inner))
        return RouterService(endpoints, Declared(), inner, "fallback", self.goes_on)

    def goes_on(self, error: LLMStackError, asked: int, /) -> bool:
        """Whether to ask the next one after *error*, with which *asked* have failed."""
        if self.max_attempts is not None and asked > self.max_attempts:
            return False
        return self._is_trigger(error)

    def bound(self, inner: Bound, /) -> Bound:
        """Every endpoint there is now is asked, or as many as allowed; the first more often."""
        there = max(1, len(self.endpoints))
        asked = there if self.max_attempts is None else min(there, 1 + self.max_attempts)
        most = bound_of_endpoints(self.endpoints, inner, asked + self.retry_primary)
        return most.times(1, waits=self.retry_primary * PATIENCE)

    def _is_trigger(self, error: LLMStackError) -> bool:
        return error.elsewhere if self.triggers is None else isinstance(error, self.triggers)

    def _retry(self, inner: Service[Request, Any]) -> Service[Request, Any]:
        attempts = 1 + self.retry_primary
        retry = Retry(attempts=attempts, patience=PATIENCE, classify=self._judge, rng=self.rng)
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
