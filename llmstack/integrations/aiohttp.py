"""Layers for aiohttp: as middleware of a server (a handler is a service) and of a client.

Any layer that does not ask for an LLM request works here, or several of them put together
with a `ServiceBuilder`: limits, breakers, timeouts, retries. State is kept for as long as
the middleware lives; ``key=`` of a layer gets the aiohttp request.

What aiohttp raises or answers is translated on the way in, so that layers can judge it: a
reply with a status from 500 up is a failure, for a client also 408 and 429, and so is a
lost connection. On the way out it is translated back: the caller gets the reply or the
aiohttp error that came last, and of llmstack's own errors only what a layer raised itself.
A server answers those with 503 (refused; with ``Retry-After`` where the moment is known)
or 504 (out of time).

A call ends when the head of its reply is there: a limit does not hold its permit while a
client reads the body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from math import ceil
from typing import ClassVar, Final, Generic, TypeVar, final

import aiohttp
from aiohttp import ClientRequest, ClientResponse, hdrs, web
from attrs import define, field

from llmstack import clock
from llmstack.builder import ServiceBuilder, Stack
from llmstack.errors import (
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
from llmstack.service import Layer


__all__ = ["client_middleware", "server_middleware"]

Asked = TypeVar("Asked", web.Request, ClientRequest)
Answer = TypeVar("Answer", web.StreamResponse, ClientResponse)
Handles = Callable[[Asked], Awaitable[Answer]]

_SERVER_ERRORS: Final = 500
_BUSY: Final = frozenset({503, 529})


@final
@define(eq=False)
class _Exchange(Generic[Asked, Answer]):
    """One request on its way: who handles it, and what the last failure was made from."""

    handler: Handles[Asked, Answer]
    error: LLMStackError | None = None
    answer: Answer | Exception | None = None

    def failed(self, error: LLMStackError, answer: Answer | Exception) -> LLMStackError:
        """Remember *answer*, so that *error* can be translated back to it."""
        self.error, self.answer = error, answer
        return error


@final
@define(eq=False)
class _Middleware(Generic[Asked, Answer]):
    """A stack of layers as middleware, and the exchanges that are in it; see its `stack`."""

    builder: ServiceBuilder
    judge: Callable[[Answer | Exception], LLMStackError | None]
    say: Callable[[LLMStackError], Answer]
    stack: Stack[Asked, Answer] = field(init=False)
    _exchanges: dict[Asked, _Exchange[Asked, Answer]] = field(factory=dict, init=False)

    # aiohttp takes a server middleware without this mark for one of an older kind.
    __middleware_version__: ClassVar[int] = 1

    def __attrs_post_init__(self) -> None:
        self.stack = self.builder.service(self._floor)

    async def __call__(self, request: Asked, handler: Handles[Asked, Answer]) -> Answer:
        """Send *request* through the stack."""
        exchange = self._exchanges[request] = _Exchange(handler)
        try:
            return await self.stack(request)
        except LLMStackError as error:
            if exchange.answer is None or error is not exchange.error:
                return self.say(error)
            if isinstance(exchange.answer, Exception):
                raise exchange.answer from None
            return exchange.answer
        finally:
            del self._exchanges[request]

    async def _floor(self, request: Asked, /) -> Answer:
        """Call the handler of *request*; raise what its answer amounts to."""
        exchange = self._exchanges[request]
        if isinstance(exchange.answer, ClientResponse):
            exchange.answer.release()  # asked again, so nobody will read this one
        try:
            answer = await exchange.handler(request)
        except Exception as error:
            fault = self.judge(error)
            if fault is None:
                raise
            raise exchange.failed(fault, error) from error
        fault = self.judge(answer)
        if fault is not None:
            raise exchange.failed(fault, answer)
        return answer


def server_middleware(
    layers: Layer | ServiceBuilder,
) -> _Middleware[web.Request, web.StreamResponse]:
    """Put *layers* around the handlers of an aiohttp application.

    ``web.Application(middlewares=[server_middleware(ls.ConcurrencyLimit(100))])``
    """
    return _Middleware(_builder(layers), _judge_handled, _refusal)


def client_middleware(layers: Layer | ServiceBuilder) -> _Middleware[ClientRequest, ClientResponse]:
    """Put *layers* around the requests of an aiohttp client.

    ``ClientSession(middlewares=[client_middleware(ls.Retry())])``. A request whose body can
    be sent only once must not be retried: say so with ``Retry(idempotent=…)``.
    """
    return _Middleware(_builder(layers), _judge_sent, _raise)


def _builder(layers: Layer | ServiceBuilder) -> ServiceBuilder:
    return layers if isinstance(layers, ServiceBuilder) else ServiceBuilder().layer(layers)


def _judge_handled(answer: web.StreamResponse | Exception) -> LLMStackError | None:
    """What a handler returned or raised; an exception that is no reply is a bug, and passes."""
    if isinstance(answer, web.StreamResponse) and answer.status >= _SERVER_ERRORS:
        return _by_status(answer.status, answer.headers.get(hdrs.RETRY_AFTER))
    return None


def _judge_sent(answer: ClientResponse | Exception) -> LLMStackError | None:
    """What a client got, as `providers` would call it."""
    if isinstance(answer, ClientResponse):
        return _by_status(answer.status, answer.headers.get(hdrs.RETRY_AFTER))
    for kind, fault in (
        (aiohttp.ClientConnectorError, ConnectionFailed),
        (aiohttp.ConnectionTimeoutError, ConnectionFailed),
        (TimeoutError, UpstreamTimeout),
        (aiohttp.ClientResponseError, ProtocolError),
        (aiohttp.ClientError, ConnectionLost),
    ):
        if isinstance(answer, kind):
            return fault(type(answer).__name__)
    return None


def _by_status(status: int, named: str | None) -> UpstreamError | None:
    wait = float(named) if named is not None and named.isascii() and named.isdigit() else None
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimited(status=status, retry_after=wait)
    if status == HTTPStatus.REQUEST_TIMEOUT:
        return UpstreamTimeout(status=status, retry_after=wait)
    if status in _BUSY:
        return Overloaded(status=status, retry_after=wait)
    return ServerError(status=status, retry_after=wait) if status >= _SERVER_ERRORS else None


def _raise(error: LLMStackError) -> ClientResponse:
    raise error


def _refusal(error: LLMStackError) -> web.StreamResponse:
    """Answer for a layer that refused or ran out of time; other errors are the caller's."""
    if isinstance(error, (DeadlineExceeded, UpstreamTimeout)):
        return web.json_response({"error": error.message}, status=HTTPStatus.GATEWAY_TIMEOUT)
    if not isinstance(error, Refused):
        raise error
    busy = isinstance(error, RateLimitedHere)
    status = HTTPStatus.TOO_MANY_REQUESTS if busy else HTTPStatus.SERVICE_UNAVAILABLE
    wait = error.retry_after
    if wait is None and error.ready_at is not None:
        wait = error.ready_at - clock.now()
    headers = {} if wait is None else {hdrs.RETRY_AFTER: str(max(0, ceil(wait)))}
    return web.json_response({"error": error.message}, status=status, headers=headers)
