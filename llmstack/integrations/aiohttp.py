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

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from http import HTTPStatus
from math import ceil
from types import MappingProxyType
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar, final

from aiohttp import (
    ClientConnectionError,
    ClientConnectorError,
    ClientPayloadError,
    ClientRequest,
    ClientResponse,
    ClientResponseError,
    ConnectionTimeoutError,
    Payload,
    hdrs,
    web,
)
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

#: What aiohttp's exceptions mean; the first row that fits counts.
_MEANINGS: Final[Sequence[tuple[tuple[type[Exception], ...], type[UpstreamError]]]] = (
    ((ClientConnectorError,), ConnectionFailed),
    ((TimeoutError,), UpstreamTimeout),
    ((ClientConnectionError, ClientPayloadError, OSError), ConnectionLost),
)
#: What statuses mean that are not simply a failure of the server, as all others from 500 up.
_STATUSES: Final[Mapping[int, type[UpstreamError]]] = MappingProxyType(
    {408: UpstreamTimeout, 429: RateLimited, 503: Overloaded, 529: Overloaded}
)


class _Side(Protocol[Asked, Answer]):
    """What is different for a server and for a client."""

    def judge(self, answer: Answer | Exception, /) -> LLMStackError | None:
        """Return the failure that *answer* amounts to; None for a reply, and for a bug."""
        ...

    def say(self, request: Asked, error: LLMStackError, /) -> Answer | Exception:
        """Return what the caller gets where a layer raised *error*."""
        ...

    def leave(self, answer: Answer | Exception, /) -> None:
        """Let go of *answer*, which nobody will read."""
        ...

    async def spent(self, request: Asked, /) -> bool:
        """Whether *request*, which has been handled, cannot be handled again."""
        ...

    async def rewind(self, request: Asked, /) -> None:
        """Make *request* ready to be handled again."""
        ...


@final
@define(eq=False)
class _Exchange(Generic[Asked, Answer]):
    """One request on its way: who handles it, and what each failure was made from."""

    handler: Handles[Asked, Answer]
    side: _Side[Asked, Answer]
    asked: bool = False
    failures: list[tuple[LLMStackError, Answer | Exception]] = field(factory=list)

    async def ask(self, request: Asked) -> Answer | Exception:
        """Return what the handler answers, or raises if that is an answer too; bugs pass."""
        if self.asked:
            if await self.side.spent(request):
                raise Blocked("the request cannot be handled twice")
            for _, answer in self.failures:
                self.side.leave(answer)
            await self.side.rewind(request)
        self.asked = True
        try:
            return await self.handler(request)
        except Exception as error:
            if not isinstance(error, web.HTTPException) and self.side.judge(error) is None:
                raise
            return error

    def made_from(self, error: LLMStackError) -> Answer | Exception | None:
        """Return the answer that *error* stands for; None if a layer raised it."""
        return next((answer for fault, answer in self.failures if fault is error), None)

    def close(self, last: object) -> None:
        """Let go of all answers but the *last*, and of what would wait for the collector."""
        for fault, answer in self.failures:
            if answer is not last:
                self.side.leave(answer)
            if fault is not last:
                fault.with_traceback(None)
        self.failures.clear()


#: The exchange that the running code belongs to; tasks that a layer starts inherit it.
_EXCHANGE: Final[ContextVar[_Exchange[Any, Any]]] = ContextVar("llmstack.integrations.aiohttp")


@final
@define(eq=False, repr=False)
class Middleware(Generic[Asked, Answer]):
    """Layers as middleware; *stack* has their statistics, and the service of each by role."""

    builder: ServiceBuilder
    _side: _Side[Asked, Answer]
    stack: Stack[Asked, Answer] = field(init=False)

    # aiohttp takes a server middleware without this mark for one of an older kind.
    __middleware_version__: ClassVar[int] = 1

    def __attrs_post_init__(self) -> None:
        self.stack = self.builder.service(self._handle)

    def __repr__(self) -> str:
        """Name the layers, outermost first."""
        return f"<Middleware {self.stack!r}>"

    async def __call__(self, request: Asked, handler: Handles[Asked, Answer], /) -> Answer:
        """Send *request* through the layers to *handler*."""
        exchange = _Exchange(handler, self._side)
        token = _EXCHANGE.set(exchange)
        last: Answer | Exception | None = None
        try:
            last = await self.stack(request)
        except LLMStackError as error:
            last = exchange.made_from(error)
            if last is None:
                last = self._side.say(request, error)
        finally:
            with suppress(ValueError):  # collected unfinished, so in no context of its own
                _EXCHANGE.reset(token)
            exchange.close(last)
        if not isinstance(last, Exception):
            return last
        try:
            # Out here an exception keeps the cause and the context that it came with.
            raise last
        finally:
            del last  # else the frame in its traceback would hold it

    async def _handle(self, request: Asked, /) -> Answer:
        """Be the floor: call the handler of *request*, and raise what its answer amounts to."""
        exchange = _EXCHANGE.get()
        answer: Answer | Exception = await exchange.ask(request)
        fault = self._side.judge(answer)
        if fault is None:
            return answer  # type: ignore[return-value] -- an HTTPException is raised on the way out
        exchange.failures.append((fault, answer))
        if fault is not answer and await self._side.spent(request):
            fault.again = fault.elsewhere = False  # so nobody waits in vain
        raise fault


@final
class _Server:
    """A handler's answers: statuses from 500 up are failures."""

    def judge(self, answer: web.StreamResponse | Exception, /) -> LLMStackError | None:
        """Return the failure; a handler's own `TimeoutError` is what aiohttp answers with 504."""
        if isinstance(answer, (web.StreamResponse, web.HTTPException)):
            failed = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            return _by_status(answer.status, answer.headers) if failed else None
        if isinstance(answer, LLMStackError):
            return answer
        return UpstreamTimeout("TimeoutError") if isinstance(answer, TimeoutError) else None

    def say(self, request: web.Request, error: LLMStackError, /) -> web.StreamResponse | Exception:
        """Answer for a layer that refused or ran out of time; but one answer is enough."""
        late = isinstance(error, (DeadlineExceeded, UpstreamTimeout))
        if _has_begun(request) or not (late or isinstance(error, Refused)):
            return error
        status = HTTPStatus.GATEWAY_TIMEOUT if late else HTTPStatus.SERVICE_UNAVAILABLE
        if isinstance(error, RateLimitedHere):
            status = HTTPStatus.TOO_MANY_REQUESTS
        wait = error.retry_after
        if wait is None and error.ready_at is not None:
            wait = error.ready_at - clock.now()
        headers = {} if wait is None else {hdrs.RETRY_AFTER: str(max(0, ceil(wait)))}
        return web.json_response({"error": error.message}, status=status, headers=headers)

    def leave(self, _answer: web.StreamResponse | Exception, /) -> None:
        """Let go: it holds nothing."""

    async def spent(self, request: web.Request, /) -> bool:
        """Whether its answer has begun, its client has left, or its body was read as a stream."""
        if _has_begun(request) or request.content.exception() is not None:
            return True
        return request.body_exists and request.content.at_eof() and not await request.read()

    async def rewind(self, _request: web.Request, /) -> None:
        """Do nothing: a body that has been read is kept."""


def _has_begun(request: web.Request) -> bool:
    return request.writer.output_size > 0


@final
class _Client:
    """A server's answers, and what becomes of the connection to it."""

    def judge(self, answer: ClientResponse | Exception, /) -> LLMStackError | None:
        """Return the failure, as `providers` would call it."""
        if isinstance(answer, ClientResponse):
            return _by_status(answer.status, answer.headers)
        if isinstance(answer, LLMStackError):
            return answer
        if isinstance(answer, ClientResponseError):
            if isinstance(answer.__cause__, HttpProcessingError):
                return ProtocolError(type(answer).__name__)
            return _by_status(answer.status, answer.headers or {})
        if isinstance(answer, ConnectionTimeoutError):
            return UpstreamTimeout(type(answer).__name__, phase="connect")
        for kinds, meaning in _MEANINGS:
            if isinstance(answer, kinds):
                return meaning(type(answer).__name__)
        return None

    def say(self, _request: ClientRequest, error: LLMStackError, /) -> ClientResponse | Exception:
        """Let the caller have it."""
        return error

    def leave(self, answer: ClientResponse | Exception, /) -> None:
        """Give the connection back."""
        if isinstance(answer, ClientResponse):
            answer.release()

    async def spent(self, request: ClientRequest, /) -> bool:
        """Whether its body could be sent only once, and has been."""
        return isinstance(request.body, Payload) and request.body.consumed

    async def rewind(self, request: ClientRequest, /) -> None:
        """Wait for the end of what was still sending the body."""
        await request.close()


def _by_status(status: int, headers: Mapping[str, str]) -> UpstreamError | None:
    kind = _STATUSES.get(status, ServerError)
    if kind is ServerError and status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return None
    named = {name.lower(): value for name, value in headers.items()}
    return kind(status=status, retry_after=retry_after(named, wall=clock.wall()))


def server_middleware(
    layers: Layer | ServiceBuilder, /
) -> Middleware[web.Request, web.StreamResponse]:
    """Put *layers* around the handlers of an aiohttp application.

    ``web.Application(middlewares=[server_middleware(ls.ConcurrencyLimit(100))])``
    """
    return Middleware(_builder(layers), _Server())


def client_middleware(
    layers: Layer | ServiceBuilder, /
) -> Middleware[ClientRequest, ClientResponse]:
    """Put *layers* around the requests of an aiohttp client.

    ``ClientSession(middlewares=[client_middleware(ls.Retry())])``. A ``POST`` may not be
    repeated without harm everywhere: say what may with ``Retry(idempotent=...)``.
    """
    return Middleware(_builder(layers), _Client())


def _builder(layers: Layer | ServiceBuilder) -> ServiceBuilder:
    return layers if isinstance(layers, ServiceBuilder) else ServiceBuilder().layer(layers)
