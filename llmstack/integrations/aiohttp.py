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

from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, ClassVar, Final, Generic, TypeVar, final

from aiohttp import ClientRequest, ClientResponse, web
from attrs import define, field

from llmstack.builder import ServiceBuilder, Stack
from llmstack.errors import Blocked, LLMStackError
from llmstack.integrations.aiohttp_answers import Client, Server, Side
from llmstack.service import Layer


__all__ = ["Middleware", "client_middleware", "server_middleware"]

Asked = TypeVar("Asked", web.Request, ClientRequest)
Answer = TypeVar("Answer", web.StreamResponse, ClientResponse)
Handles = Callable[[Asked], Awaitable[Answer]]


@final
@define(eq=False)
class _Exchange(Generic[Asked, Answer]):
    """One request on its way: who handles it, and what each failure was made from."""

    handler: Handles[Asked, Answer]
    side: Side[Asked, Answer]
    asked: bool = False
    failures: list[tuple[LLMStackError, Answer | Exception]] = field(factory=list)

    async def begin(self, request: Asked) -> None:
        """Get ready to call the handler; `Blocked` if that cannot be done once more."""
        if self.asked:
            if await self.side.spent(request):
                raise Blocked("the request cannot be handled twice")
            for _, answer in self.failures:
                self.side.leave(answer)
            await self.side.rewind(request)
        self.asked = True

    def made_from(self, error: LLMStackError) -> Answer | Exception | None:
        """Return the answer that *error* stands for; None if a layer raised it."""
        return next((answer for fault, answer in self.failures if fault is error), None)

    def close(self, last: object) -> None:
        """Let go of all answers but the *last*, and of what would wait for the collector."""
        for _, answer in self.failures:
            if answer is not last:
                self.side.leave(answer)
        self.failures.clear()


#: The exchange that the running code belongs to; tasks that a layer starts inherit it.
_EXCHANGE: Final[ContextVar[_Exchange[Any, Any]]] = ContextVar("llmstack.integrations.aiohttp")


@final
@define(eq=False, repr=False)
class Middleware(Generic[Asked, Answer]):
    """Layers as middleware; *stack* has their statistics, and the service of each by role."""

    builder: ServiceBuilder
    _side: Side[Asked, Answer]
    stack: Stack[Asked, Answer] = field(init=False)

    # aiohttp takes a server middleware without this mark for one of an older kind.
    __middleware_version__: ClassVar[int] = 1

    def __attrs_post_init__(self) -> None:
        self.stack = self.builder.service(self.handle)

    def __repr__(self) -> str:
        """Name the layers, outermost first."""
        return f"<Middleware {self.stack!r}>"

    async def __call__(self, request: Asked, handler: Handles[Asked, Answer]) -> Answer:
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
            del last  # as below

    async def handle(self, request: Asked, /) -> Answer:
        """Be the floor of the stack: call the handler, and raise what its answer amounts to."""
        exchange = _EXCHANGE.get()
        await exchange.begin(request)
        answer: Any = None
        try:
            answer = await exchange.handler(request)
        except web.HTTPException as error:
            answer = error  # a reply here, and an exception again on the way out
        except Exception as error:
            if self._side.judge(error) is None:
                raise
            answer = error
        fault = self._side.judge(answer)
        if fault is None:
            return answer  # type: ignore[no-any-return]
        if await self._side.spent(request):
            fault.again = fault.elsewhere = False  # so nobody waits in vain
        exchange.failures.append((fault, answer))
        del fault, answer  # else this frame, in the traceback, would hold its own error
        raise exchange.failures[-1][0]


def server_middleware(
    layers: Layer | ServiceBuilder, /
) -> Middleware[web.Request, web.StreamResponse]:
    """Put *layers* around the handlers of an aiohttp application.

    ``web.Application(middlewares=[server_middleware(ls.ConcurrencyLimit(100))])``
    """
    return Middleware(_builder(layers), Server())


def client_middleware(
    layers: Layer | ServiceBuilder, /
) -> Middleware[ClientRequest, ClientResponse]:
    """Put *layers* around the requests of an aiohttp client.

    ``ClientSession(middlewares=[client_middleware(ls.Retry())])``. A ``POST`` may not be
    repeated without harm everywhere: say what may with ``Retry(idempotent=...)``.
    """
    return Middleware(_builder(layers), Client())


def _builder(layers: Layer | ServiceBuilder) -> ServiceBuilder:
    return layers if isinstance(layers, ServiceBuilder) else ServiceBuilder().layer(layers)
