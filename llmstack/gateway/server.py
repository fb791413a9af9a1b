"""The listener: from a connection to the operation that answers, by the path as it came.

There is no router and no middleware between a request and its operation, only one look-up.
What is not even HTTP, or asks for no path, gets an answer in the shape of the OpenAI API.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, cast, final

from aiohttp import HttpVersion11, http_exceptions, http_parser, web
from attrs import define, frozen

from llmstack.errors import ConfigError
from llmstack.gateway.desk import Desk
from llmstack.gateway.errors import Problem
from llmstack.gateway.front import Front
from llmstack.gateway.fronts import CHAT, COUNT_TOKENS, EMBEDDINGS, MESSAGES, RESPONSES
from llmstack.gateway.handler import ask
from llmstack.gateway.parse import check_headers
from llmstack.gateway.status import livez, metrics, models, readyz


__all__ = ["PATHS", "Edge", "Listener", "Place", "check_line", "check_parser"]

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Operation = Callable[[Desk, web.BaseRequest, str], Awaitable[web.StreamResponse]]

#: Seconds for which a connection may be idle.
KEEP_ALIVE: Final = 75.0
#: Seconds for the head of a request, from its first byte to its last.
HEAD: Final = 10.0
#: Seconds for which a body is thrown away that nobody reads, so that the reply arrives.
LINGER: Final = 2.0

_READ: Final = ("GET", "HEAD")
_SEND: Final = ("POST",)


@final
@frozen
class Place:
    """What is behind a path: its methods, what answers, and how errors are told there."""

    methods: tuple[str, ...]
    operation: Operation
    front: Front = CHAT


def _asked(front: Front) -> Place:
    return Place(_SEND, partial(ask, front), front)


#: The whole surface.
PATHS: Final[Mapping[str, Place]] = MappingProxyType(
    {
        "/v1/chat/completions": _asked(CHAT),
        "/v1/embeddings": _asked(EMBEDDINGS),
        "/v1/messages": _asked(MESSAGES),
        "/v1/messages/count_tokens": _asked(COUNT_TOKENS),
        "/v1/responses": _asked(RESPONSES),
        "/v1/models": Place(_READ, models),
        "/livez": Place(_READ, livez),
        "/readyz": Place(_READ, readyz),
        "/metrics": Place(_READ, metrics),
    }
)


@final
@define(eq=False)
class Edge:
    """Answers any request: a handler of aiohttp."""

    desk: Desk

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Find the operation and let it answer."""
        desk = self.desk
        request_id = desk.new_id()
        # The target as it was sent: a path that is spelled in another way is another path.
        target = request.raw_path
        found = PATHS.get(target) or PATHS.get(target.partition("?")[0])
        if found is None:
            nowhere = Problem(404, "there is no such path", code="unknown_url")
            return desk.refused(nowhere, request_id)
        problem = check_line(request, found.methods) or check_headers(request.raw_headers)
        if problem is not None:
            return desk.refused(problem, request_id, front=found.front)
        return await found.operation(desk, request, request_id)


def check_line(request: web.BaseRequest, methods: tuple[str, ...]) -> Problem | None:
    """Return what is wrong with the first line of *request*, where a path has *methods*."""
    if request.version > HttpVersion11:
        message = "the version of HTTP must be 1.0 or 1.1"
        return Problem(400, message, code="bad_version", close=True)
    if request.method not in methods:
        allow = ", ".join(methods)
        message = f"the method must be {' or '.join(methods)}"
        return Problem(405, message, code="method_not_allowed", allow=allow, close=True)
    return None


#: What is wrong with bytes that are no request, where aiohttp's own words repeat them.
_NOT_HTTP: Final[tuple[tuple[type[Exception], str], ...]] = (
    (http_exceptions.LineTooLong, "a line of the head is too long"),
    (http_exceptions.BadHttpMethod, "the method is not one of HTTP"),
    (http_exceptions.InvalidHeader, "a header is not valid"),
    (http_exceptions.InvalidURLError, "the target is not valid"),
    (http_exceptions.BadStatusLine, "the first line is not valid"),
)


def check_parser(parser: type = http_parser.HttpRequestParser) -> None:
    """Refuse to go on without aiohttp's C parser: the other one is slow, and more lenient."""
    if parser is http_parser.HttpRequestParserPy:
        raise ConfigError(
            "aiohttp runs without its C extensions; install a wheel that has them, "
            "and do not set AIOHTTP_NO_EXTENSIONS"
        )


@final
class Listener(web.Server):
    """Makes a protocol for each connection; `web.Server` keeps account of them.

    *edge* answers, that of the gateway if there is no other. Of more than *most* connections
    at once the last is dropped.
    """

    def __init__(self, desk: Desk, edge: Handler | None = None, most: int | None = None) -> None:
        super().__init__(edge or Edge(desk), handler_cancellation=True)
        self.desk = desk
        self.most = most

    @property
    def is_full(self) -> bool:
        """Whether there are more connections than there may be."""
        return self.most is not None and len(self.connections) > self.most

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of one more connection."""
        return _Connection(self, loop=self._loop)

    def abort(self) -> None:
        """Drop all connections."""
        for transport in [each.transport for each in self.connections if each.transport]:
            transport.abort()


@final
class _Connection(web.RequestHandler):
    """aiohttp's protocol, but for its answer to what is no request, and a clock for heads."""

    __slots__ = ("_head", "desk", "listener")

    def __init__(self, listener: Listener, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            listener,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]
            auto_decompress=False,
            keepalive_timeout=KEEP_ALIVE,
            lingering_time=LINGER,
        )
        self.desk = listener.desk
        self.listener = listener
        self._head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; one too many ends at once."""
        super().connection_made(transport)
        if self.listener.is_full:
            cast("asyncio.Transport", transport).abort()

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that is not complete then has a while to become so."""
        super().data_received(data)
        # Who waits for a request has one now, unless it is in pieces.
        waiting = self._waiter is not None and not self._waiter.done()
        if waiting and self._head is None:
            self._head = asyncio.get_running_loop().call_later(HEAD, self.force_close)
        elif not waiting and self._head is not None:
            self._stop_clock()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def _stop_clock(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Say what is wrong in our words; aiohttp's would repeat the bytes, and log them."""
        del request, message
        desk = self.desk
        request_id = desk.new_id()
        if isinstance(exc, Exception) and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return desk.refused(desk.problem_of(exc, request_id), request_id)
        said = f"the request is not valid HTTP: {_why(exc)}"
        return desk.refused(Problem(400, said, code="bad_http"), request_id)


def _why(error: BaseException | None) -> str:
    for kind, says in _NOT_HTTP:
        if isinstance(error, kind):
            return says
    # All others are told in fixed words of the parser, with the bytes behind a colon.
    words = getattr(error, "message", "").partition(":")[0].rstrip(".")
    return words[:1].lower() + words[1:]
