"""What can go wrong, and what may be done about it.

The first cut is by whose decision it was. `Refused`: a layer of ours said no and nothing
was sent. `UpstreamError`: an endpoint was asked. Behaviour is class attributes, so no layer
keeps a list of types::

    LLMStackError
    ├── ConfigError                 wrong settings or order; names field, path, line
    ├── DeadlineExceeded            the call's time is over, before or in an attempt
    ├── Refused                     decided here; nothing was sent
    │   ├── NotReady                ask another endpoint
    │   │   ├── CircuitOpen         the breaker holds traffic back
    │   │   ├── CoolingDown         put aside for a while
    │   │   ├── Unhealthy           its probes fail
    │   │   ├── ConcurrencyFull     every permit is out
    │   │   ├── QuotaFull           the provider's quota is used up for now
    │   │   ├── Disabled            switched off by hand
    │   │   ├── Untranslatable      its wire format cannot say what is asked
    │   │   └── NoEndpoint          no endpoint could take the request
    │   ├── RateLimitedHere         more requests than this key may send
    │   ├── BudgetExceeded          no money left
    │   ├── QueueFull               nobody else may wait
    │   ├── Shed                    dropped to protect the rest
    │   ├── Blocked                 a guard said no
    │   └── Draining                shutting down
    └── UpstreamError               the endpoint was asked
        ├── CallerFault             the request itself is wrong
        │   ├── BadRequest          malformed or impossible
        │   │   └── ContextLengthExceeded   longer than the model can read
        │   ├── ContentFiltered     refused by a content policy
        │   └── PayloadTooLarge     more bytes than the endpoint takes
        ├── AccountFault            our standing at the provider is wrong
        │   ├── AuthFailed          the key is bad
        │   ├── PermissionDenied    the key may not do this
        │   ├── ModelNotFound       no such model under this key
        │   └── QuotaExhausted      money, plan or daily cap used up
        ├── Busy                    healthy, but not now
        │   ├── RateLimited         too many requests or tokens
        │   └── Overloaded          the provider is at its limit
        ├── Broken                  something is wrong at the endpoint
        │   ├── ServerError         it said so
        │   ├── ConnectionFailed    never reached, so surely unsent
        │   ├── ConnectionLost      cut after the request was written
        │   ├── ProtocolError       what came is not what was agreed
        │   └── EmptyResponse       a reply without content
        ├── UpstreamTimeout         phase = connect, first_token, idle or total
        ├── StreamBroken            cut after content was handed up
        └── StreamIncomplete        a clean end without the terminal

A named wait is a floor. No message and no repr carries a prompt or a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, Literal, final

from attrs import frozen


__all__ = [
    "AccountFault",
    "AuthFailed",
    "BadRequest",
    "Blame",
    "Blocked",
    "Broken",
    "BudgetExceeded",
    "Busy",
    "CallerFault",
    "CircuitOpen",
    "ConcurrencyFull",
    "ConfigError",
    "ConnectionFailed",
    "ConnectionLost",
    "ContentFiltered",
    "ContextLengthExceeded",
    "Cool",
    "CoolingDown",
    "DeadlineExceeded",
    "Disabled",
    "Draining",
    "EmptyResponse",
    "LLMStackError",
    "ModelNotFound",
    "NoEndpoint",
    "NotReady",
    "Overloaded",
    "PayloadTooLarge",
    "PermissionDenied",
    "Phase",
    "ProtocolError",
    "QueueFull",
    "QuotaExhausted",
    "QuotaFull",
    "RateLimited",
    "RateLimitedHere",
    "Refused",
    "Scope",
    "ServerError",
    "Shed",
    "StreamBroken",
    "StreamIncomplete",
    "Tried",
    "Unhealthy",
    "Untranslatable",
    "UpstreamError",
    "UpstreamTimeout",
    "classify",
]

Blame = Literal["endpoint", "key", "account", "caller", "nobody"]
Phase = Literal["connect", "first_token", "idle", "total"]
#: What a failure puts aside, from the narrowest: one endpoint, one key for one model at its
#: provider, the key for all models, the account with all its keys.
Scope = Literal["endpoint", "key_model", "key", "account"]


@final
@frozen
class Tried:
    """One attempt, as an error shows it: who was asked, when, and how it ended.

    Times are loop time in seconds; *error* is the name of a class, *reason* why the
    endpoint was chosen.
    """

    endpoint: str
    started: float
    ended: float | None = None
    how: str | None = None
    error: str | None = None
    status: int | None = None
    reason: str = ""


@final
@frozen
class Cool:
    """What a failure puts aside, and for how many *seconds* if no wait was named."""

    scope: Scope
    seconds: float


class LLMStackError(Exception):
    """The root of all errors that llmstack raises on purpose.

    Behaviour: the same endpoint may be asked *again*, another one *elsewhere*; *unsent*
    is certainty that no provider has seen the request; whom it *blames*; and what is put
    aside because of it, *cools*: None puts nothing aside.
    Facts, where known: *endpoint* by name, the HTTP *status* and *code* of the reply,
    *request_id* of the provider, *retry_after* in seconds, *ready_at* in loop time,
    *untried* endpoints that the router has left, and *attempts*, the call's ledger.
    """

    again: bool = False
    elsewhere: bool = False
    unsent: bool = False
    blames: Blame = "nobody"
    cools: Cool | None = None

    def __init__(  # noqa: PLR0913 -- the facts of one error; all but the message by keyword
        self,
        message: str = "",
        *,
        endpoint: str | None = None,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        ready_at: float | None = None,
        untried: int = 0,
    ) -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.ready_at = ready_at
        self.untried = untried
        self.attempts: Sequence[Tried] = ()

    @property
    def message(self) -> str:
        """What went wrong, in words; without one, the sentence of the class."""
        said = self.args[0] if self.args else ""
        doc = type(self).__doc__
        if said or not doc:
            return said or type(self).__name__
        sentence: str = doc.partition("\n")[0].rstrip(".")
        return sentence[0].lower() + sentence[1:]

    def __str__(self) -> str:
        """Say what went wrong, where, and with which status."""
        facts = [
            f"{name} {value}"
            for name, value in (
                ("endpoint", self.endpoint),
                ("status", self.status),
                ("code", self.code),
                ("request", self.request_id),
            )
            if value is not None
        ]
        return f"{self.message} ({', '.join(facts)})" if facts else self.message


class ConfigError(LLMStackError, ValueError):
    """The settings or the order of layers are wrong."""


class DeadlineExceeded(LLMStackError, TimeoutError):
    """The time of the call is over."""


class Refused(LLMStackError):
    """Decided here; nothing was sent."""

    unsent = True


class NotReady(Refused):
    """This endpoint takes no request now; another one may.

    A *soft* refusal means "rather not": a request that insists is let through. A *lasting*
    one is about the request itself: at this endpoint it will never be another answer.
    """

    elsewhere = True
    lasting = False

    def __init__(
        self,
        message: str = "",
        *,
        soft: bool = False,
        endpoint: str | None = None,
        retry_after: float | None = None,
        ready_at: float | None = None,
        untried: int = 0,
    ) -> None:
        super().__init__(
            message,
            endpoint=endpoint,
            retry_after=retry_after,
            ready_at=ready_at,
            untried=untried,
        )
        self.soft = soft


class CircuitOpen(NotReady):
    """The circuit breaker holds traffic back."""


class CoolingDown(NotReady):
    """Put aside for a while after a failure."""


class Unhealthy(NotReady):
    """Its probes fail."""


class ConcurrencyFull(NotReady):
    """Every permit is out."""


class QuotaFull(NotReady):
    """The quota of the provider is used up for now."""


class Disabled(NotReady):
    """Switched off by hand."""


class Untranslatable(NotReady):
    """The wire format of the endpoint cannot say what the request asks."""

    lasting = True


class NoEndpoint(NotReady):
    """No endpoint could take the request."""


class RateLimitedHere(Refused):
    """More requests than this key may send."""


class BudgetExceeded(Refused):
    """No money is left for this request."""


class QueueFull(Refused):
    """Nobody else may wait."""


class Shed(Refused):
    """Dropped to protect the rest."""


class Blocked(Refused):
    """A guard said no."""


class Draining(Refused):
    """Shutting down; no new requests are taken."""


class UpstreamError(LLMStackError):
    """The endpoint was asked, and it failed."""


class CallerFault(UpstreamError):
    """The request itself is wrong, so every endpoint would refuse it."""

    blames = "caller"


class BadRequest(CallerFault):
    """The endpoint called the request malformed or impossible."""


class ContextLengthExceeded(BadRequest):
    """The prompt is longer than the model can read."""


class ContentFiltered(CallerFault):
    """Refused by a content policy."""


class PayloadTooLarge(CallerFault):
    """More bytes than the endpoint takes."""


class AccountFault(UpstreamError):
    """Our standing at the provider is wrong; another key or account may do."""

    elsewhere = True
    blames: Blame = "key"


class AuthFailed(AccountFault):
    """The provider does not accept our key."""

    cools = Cool("key", 600.0)


class PermissionDenied(AccountFault):
    """The key may not do this."""

    cools = Cool("key_model", 600.0)


class ModelNotFound(AccountFault):
    """The provider has no such model under this key."""

    cools = Cool("key_model", 600.0)


class QuotaExhausted(AccountFault):
    """Money, plan or daily cap is used up; waiting will not help."""

    blames = "account"
    cools = Cool("account", 3600.0)


class Busy(UpstreamError):
    """The endpoint is healthy, but takes no more now."""

    again = True
    elsewhere = True


class RateLimited(Busy):
    """Too many requests or tokens for the key."""

    blames = "key"
    cools = Cool("key_model", 1.0)


class Overloaded(Busy):
    """The provider is at its limit."""

    blames = "endpoint"
    cools = Cool("endpoint", 2.0)


class Broken(UpstreamError):
    """Something is wrong at the endpoint or on the way to it."""

    again = True
    elsewhere = True
    blames = "endpoint"


class ServerError(Broken):
    """The endpoint said that it failed."""


class ConnectionFailed(Broken):
    """The endpoint was never reached, so nothing was processed."""

    unsent = True


class ConnectionLost(Broken):
    """The connection was cut after the request was written."""


class ProtocolError(Broken):
    """What came is not what was agreed."""

    again = False


class EmptyResponse(Broken):
    """The reply has no content."""


#: After the first content nothing is asked again.
_BEFORE_CONTENT: Final = ("connect", "first_token")


class UpstreamTimeout(UpstreamError, TimeoutError):
    """The endpoint took too long."""

    again = True
    elsewhere = True
    blames = "endpoint"
    phases: ClassVar[tuple[Phase, ...]] = ("connect", "first_token", "idle", "total")

    def __init__(  # noqa: PLR0913 -- as above
        self,
        message: str = "",
        *,
        phase: Phase = "first_token",
        endpoint: str | None = None,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        untried: int = 0,
    ) -> None:
        super().__init__(
            message,
            endpoint=endpoint,
            status=status,
            code=code,
            request_id=request_id,
            retry_after=retry_after,
            untried=untried,
        )
        self.phase = phase
        self.again = self.elsewhere = phase in _BEFORE_CONTENT
        self.unsent = phase == "connect"


class StreamBroken(UpstreamError):
    """The stream was cut after content had been handed up; it blames whom its cause blames."""

    @property
    def blames(self) -> Blame:  # type: ignore[override]
        """Whom the error blames: its cause's, if that is one of these classes."""
        cause = self.__cause__
        return cause.blames if isinstance(cause, LLMStackError) else "endpoint"


class StreamIncomplete(UpstreamError):
    """The stream ended cleanly, but without its terminal."""

    blames = "endpoint"


def classify(error: BaseException, /) -> LLMStackError | None:
    """Return what *error* says about itself; None for what is not ours to judge."""
    return error if isinstance(error, LLMStackError) else None
