"""Layers for aiohttp: as middleware of a server (a handler is a service) and of a client.

Any layer that does not ask for an LLM request works here, or several of them put together
with a `ServiceBuilder`: limits, breakers, timeouts, retries. State is kept for as long as
the middleware lives; ``key=`` of a layer gets the aiohttp request.

What aiohttp raises or answers is translated on the way in, so that layers can judge it: a
reply with a status from 500 up is a failure, for a client also 408 and 429, and so is a
lost connection. On the way out it is translated back: the caller gets the reply or the
exception that came last, as it was. An exception that is no reply is a bug and passes
unjudged. What a layer itself raises leaves a client as it is; a server answers it with 503
(refused; with ``Retry-After`` where the moment is known) or 504 (out of time).

A client's call ends when the head of the reply is there, a server's when the handler is
done: a limit does not hold its permit while somebody reads the body. What cannot be done
twice is not tried twice: a request whose body is used up is not sent again, and a handler
that has begun to answer, or has read the body away, is not called again.

Errors: those of the layers. Events: theirs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from http import HTTPStatus
from math import ceil
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar, final

import aiohttp
from aiohttp import ClientRequest, ClientResponse, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from attrs import define, field

from llmstack import clock
from llmstack.builder import ServiceBuilder, Stack
from llmstack.errors import (
    Blocked,
    ConnectionFailed,
    ConnectionLost,
    DeadlineExceeded,
    LLMStackError,
    Overloaded,
    ProtocolError,
    RateLimited,
    RateLimitedHere,
    Refused,
    ServerError,
    UpstreamError,
    UpstreamTimeout,
)
from llmstack.providers.retry_after import retry_after
from llmstack.service import Layer


__all__ = ["Middleware", "client_middleware", "server_middleware"]

Asked = TypeVar("Asked", web.Request, ClientRequest)
Answer = TypeVar("Answer", web.StreamResponse, ClientResponse)
Handles = Callable[[Asked], Awaitable[Answer]]

_BUSY: Final = frozenset({503, 529})


class _Side(Protocol[Asked, Answer]):
    """What is different for a server and for a client."""

    def judge(self, answer: Answer | Exception, /) -> LLMStackError | None:
        """Return the failure that *answer* amounts to; None for a reply, and for a bug."""
        ...

    def say(self, request: Asked, error: LLMStackError, /) -> Answer | Exception:
        """Return what the caller gets where a layer raised *error*."""
        ...

    async def spent(self, request: Asked, /) -> bool:
        """Whether *request*, once handled, cannot be handled again."""
        ...

    async def drop(self, request: Asked, answers: list[Answer | Exception], /) -> None:
        """Let go of *answers* that nobody will read, before *request* is handled again."""
        ...


@final
@define(eq=False)
class _Exchange(Generic[Asked, Answer]):
    """One request on its way: who handles it, and what each failure was made from."""

    handler: Handles[Asked, Answer]
    asked: bool = False
    failures: list[tuple[LLMStackError, Answer | Exception]] = field(factory=list)

    def made_from(self, error: LLMStackError) -> Answer | Exception | None:
        """Return the answer that *error* stands for; None if a layer raised it."""
        return next((answer for fault, answer in self.failures if fault is error), None)


#: The exchange that the running code belongs to, in tasks that layers start as well.
_EXCHANGE: Final[ContextVar[_Exchange[Any, Any]]] = ContextVar("llmstack.integrations.aiohttp")


@final
@define(eq=False, repr=False)
class Middleware(Generic[Asked, Answer]):
    """A stack of layers as middleware; *stack* has its statistics and its services by role."""

    builder: ServiceBuilder
    _side: _Side[Asked, Answer]
    stack: Stack[Asked, Answer] = field(init=False)

    # aiohttp takes a server middleware without this mark for one of an older kind.
    __middleware_version__: ClassVar[int] = 1

    def __attrs_post_init__(self) -> None:
        self.stack = self.builder.service(self._handle)

    async def __call__(self, request: Asked, handler: Handles[Asked, Answer], /) -> Answer:
        """Send *request* through the stack."""
        exchange = _Exchange(handler)
        token = _EXCHANGE.set(exchange)
        last: Answer | Exception | None = None
        try:
            last = await self.stack(request)
        except LLMStackError as error:
            last = exchange.made_from(error) or self._side.say(request, error)
        finally:
            with suppress(ValueError):  # a call that is collected unfinished has no context
                _EXCHANGE.reset(token)
            for _, answer in exchange.failures:
                if answer is not last:
                    self._side.drop(answer)
            exchange.failures.clear()  # else the frame in a traceback would hold itself
        # Out here, so that an exception keeps the context that it came with.
        if isinstance(last, Exception):
            raise last
        return last

    async def _handle(self, request: Asked, /) -> Answer:
        """Be the floor: call the handler of *request*, and raise what its answer amounts to."""
