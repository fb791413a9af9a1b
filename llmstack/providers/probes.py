"""Probes for `Health`: a GET of a page, a connection, a call of one token.

`HttpGet` and `TcpConnect` go to the address of an endpoint, its *url*, and see whether the
host is there. `OneToken` asks the endpoint's own service, with its key and for a model, so it
sees what a caller would, and is paid for as a call is. None of them keeps a time: the layer
does.

Errors: those under `UpstreamError`; `ConfigError` for an endpoint that cannot be probed so.
Events: none.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self, final

from attrs import field, frozen, validators
from yarl import URL

from llmstack import clock
from llmstack.call import Attempt, Outcome
from llmstack.endpoint import Endpoint
from llmstack.errors import (
    ConfigError,
    ConnectionFailed,
    ProtocolError,
    RateLimited,
    ServerError,
    UpstreamError,
)
from llmstack.messages import EventStream, Request, dispatch
from llmstack.providers.transport import Outgoing, Transport, timeout
from llmstack.service import observe


__all__ = ["HttpGet", "OneToken", "TcpConnect"]

#: The path alone, at the host of the endpoint; a second slash would begin another host.
_PATH: Final = re.compile(r"/(?!/)[!-~]*")
#: The layer gives less; this is for who uses a probe by itself.
_WITHIN: Final = timeout(30.0)
_HEAD: Final = "Accept: */*\r\nAccept-Encoding: identity\r\nUser-Agent: llmstack\r\n\r\n"
_QUESTION: Final = MappingProxyType({"role": "user", "content": "."})
#: The smallest body that each operation takes; fewer than 16 tokens OpenAI refuses for responses.
SMALLEST: Final[Mapping[str, Mapping[str, object]]] = MappingProxyType(
    {
        "chat": {"messages": [dict(_QUESTION)], "max_tokens": 1},
        "count_tokens": {"messages": [dict(_QUESTION)]},
        "embeddings": {"input": "."},
        "messages": {"messages": [dict(_QUESTION)], "max_tokens": 1},
        "models": {},
        "responses": {"input": ".", "max_output_tokens": 16},
    }
)


def _origin(endpoint: Endpoint) -> URL:
    """Return scheme, host and port of *endpoint*; `ConfigError` if they are not known."""
    if not endpoint.url:
        raise ConfigError(f"endpoint {endpoint.name!r} has no url to probe")
    try:
        parsed = URL(endpoint.url)
    except ValueError:
        parsed = URL()
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ConfigError(f"endpoint {endpoint.name!r} has a url that is not http or https")
    return parsed.origin()


def _statuses(codes: Iterable[int] | None) -> frozenset[int] | None:
    return None if codes is None else frozenset(codes)


@final
@frozen
class HttpGet:
    """Good is what answers a GET of *path* with one of *status*; None is any 2xx.

    The path is that of the host, whatever the path of the endpoint's *url*. No key is sent, no
    redirect followed and no body read. A 429 says nothing: there is somebody to say it. With a
    *transport* it uses its certificates and connections.

    >>> HttpGet("/healthz")
    HttpGet(path='/healthz', status=None)
    """

    path: str = field(default="/health", validator=validators.matches_re(_PATH))
    status: frozenset[int] | None = field(
        default=None, converter=_statuses, validator=validators.optional(validators.min_len(1))
    )
    transport: Transport | None = field(default=None, kw_only=True, repr=False, eq=False)
    _sends: Transport = field(init=False, repr=False, eq=False)

    @_sends.default
    def _own(self) -> Transport:
        return self.transport or Transport()

    def check(self, endpoint: Endpoint, /) -> None:
        """Raise `ConfigError` if nobody knows where *endpoint* is."""
        _origin(endpoint)

    async def __call__(self, endpoint: Endpoint, /) -> None:
        """Ask for the page; raise what its status means."""
        url = _origin(endpoint).join(URL(self.path, encoded=True))
        line = f"GET {url.raw_path_qs} HTTP/1.1\r\nHost: {url.host_port_subcomponent}\r\n"
        incoming = await self._sends.send(Outgoing(url, _WITHIN, (line + _HEAD).encode()))
        incoming.release()
        if not self._is_good(incoming.status):
            raise _fault(incoming.status)

    def _is_good(self, status: int) -> bool:
        return 200 <= status <= 299 if self.status is None else status in self.status

    async def __aenter__(self) -> Self:
        """Enter the transport."""
        await self._sends.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the transport, which closes its connections if nobody else is inside."""
        await self._sends.__aexit__(kind, error, trace)


def _fault(status: int) -> UpstreamError:
    """Return what a status means that nobody wants."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimited(status=status)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServerError(status=status)
    return ProtocolError("the status is not one that was expected", status=status)


@final
@frozen
class TcpConnect:
    """Good is where somebody listens; no byte is sent, and there is no handshake of TLS.

    >>> TcpConnect()
    TcpConnect()
    """

    def check(self, endpoint: Endpoint, /) -> None:
        """Raise `ConfigError` if nobody knows where *endpoint* is."""
        _origin(endpoint)

    async def __call__(self, endpoint: Endpoint, /) -> None:
        """Connect, and close again."""
        origin = _origin(endpoint)
        try:
            _, writer = await asyncio.open_connection(origin.host, origin.port)
        except OSError as error:
            raise ConnectionFailed("there was no connection") from error
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@final
@frozen
class OneToken:
    """Good is what answers the smallest request for *model*, with the endpoint's own key.

    The request goes to the endpoint's service, with one token to be written. *operation* is
    that of the request; "count_tokens" and "models" are free where there are such. *body* is
    sent instead of the smallest one, for models that will not have it.

    >>> OneToken("gpt-4o-mini")
    OneToken(model='gpt-4o-mini', operation='chat')
    """

    model: str
    operation: str = "chat"
    body: Mapping[str, Any] | None = field(default=None, kw_only=True, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.body is None and self.operation not in SMALLEST:
            known = ", ".join(SMALLEST)
            raise ConfigError(f"operation {self.operation!r} needs a body; without: {known}")

    def check(self, endpoint: Endpoint, /) -> None:
        """Raise `ConfigError` if *endpoint* does not serve the model."""
        if endpoint.model_for(self.model) is None:
            raise ConfigError(f"endpoint {endpoint.name!r} does not serve {self.model!r}")

    async def __call__(self, endpoint: Endpoint, /) -> float | None:
        """Ask, and return what it cost in USD, None if that is not known."""
        self.check(endpoint)
        body = SMALLEST[self.operation] if self.body is None else self.body
        request = Request(self.model, body, self.operation)
        ends: list[Outcome] = []
        attempt = Attempt(endpoint.name, clock.now(), "probe")
        reply = await observe(dispatch, request.to(endpoint, attempt), ends.append)
        if isinstance(reply, EventStream):
            await reply.aclose()
        return ends[0].cost
