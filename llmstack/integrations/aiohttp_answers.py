"""What aiohttp's replies and exceptions mean in our words, and ours in aiohttp's.

`Server` is for what handlers answer, `Client` for what servers answer. Nothing that comes
from aiohttp is changed here: whoever gets it in the end gets it as it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import ceil
from types import MappingProxyType
from typing import Final, Protocol, TypeVar, final

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

from llmstack import clock
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
from llmstack.providers.retry_after import retry_after


__all__ = ["Client", "Server", "Side"]

_Asked_contra = TypeVar("_Asked_contra", web.Request, ClientRequest, contravariant=True)
_Answer_contra = TypeVar("_Answer_contra", web.StreamResponse, ClientResponse, contravariant=True)

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


class Side(Protocol[_Asked_contra, _Answer_contra]):
    """What is different for a server and for a client."""

    def judge(self, answer: _Answer_contra | Exception, /) -> LLMStackError | None:
        """Return the failure that *answer* amounts to; None for a reply, and for a bug."""
        ...

    def say(self, request: _Asked_contra, error: LLMStackError, /) -> Exception:
        """Return what is raised where a layer raised *error*."""
        ...

    def leave(self, answer: _Answer_contra | Exception, /) -> None:
        """Let go of *answer*, which nobody will read."""
        ...

    async def spent(self, request: _Asked_contra, /) -> bool:
        """Whether *request*, which has been handled, cannot be handled again."""
        ...

    async def rewind(self, request: _Asked_contra, /) -> None:
        """Make *request* ready to be handled again."""
        ...


@final
class Server:
    """A handler's answers: statuses from 500 up are failures."""

    def judge(self, answer: web.StreamResponse | Exception, /) -> LLMStackError | None:
        """Return the failure; a handler's own `TimeoutError` is what aiohttp answers with 504."""
        if isinstance(answer, (web.StreamResponse, web.HTTPException)):
            failed = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            return _by_status(answer.status, answer.headers) if failed else None
        if isinstance(answer, LLMStackError):
            return answer
        return UpstreamTimeout("TimeoutError") if isinstance(answer, TimeoutError) else None

    def say(self, request: web.Request, error: LLMStackError, /) -> Exception:
        """Answer for a layer that refused or ran out of time; but one answer is enough."""
        late = isinstance(error, (DeadlineExceeded, UpstreamTimeout))
        if _has_begun(request) or not (late or isinstance(error, Refused)):
            return error
        kind: type[web.HTTPException] = web.HTTPServiceUnavailable
        if late:
            kind = web.HTTPGatewayTimeout
        elif isinstance(error, RateLimitedHere):
            kind = web.HTTPTooManyRequests
        wait = error.retry_after
        if wait is None and error.ready_at is not None:
            wait = error.ready_at - clock.now()
        headers = {} if wait is None else {hdrs.RETRY_AFTER: str(max(0, ceil(wait)))}
        text = json.dumps({"error": error.message})
        return kind(text=text, content_type="application/json", headers=headers)

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
class Client:
    """A server's answers, and what becomes of the connection to it."""

    def judge(self, answer: ClientResponse | Exception, /) -> LLMStackError | None:
        """Return the failure, as a provider's would be called."""
        if isinstance(answer, LLMStackError):
            return answer
        if isinstance(getattr(answer, "__cause__", None), HttpProcessingError):
            return ProtocolError(type(answer).__name__)
        if isinstance(answer, (ClientResponse, ClientResponseError)):
            return _by_status(answer.status, answer.headers or {})
        if isinstance(answer, ConnectionTimeoutError):
            return UpstreamTimeout(type(answer).__name__, phase="connect")
        for kinds, meaning in _MEANINGS:
            if isinstance(answer, kinds):
                return meaning(type(answer).__name__)
        return None

    def say(self, _request: ClientRequest, error: LLMStackError, /) -> Exception:
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
