"""The leaf: one provider, or server, that speaks the OpenAI format, as a service.

It ends a stack, or is the service of an endpoint. The caller's bytes go upstream with the
endpoint's name for the model; the provider's bytes come back as they are. A streamed reply
is handed up at its first content, and until then whatever goes wrong is an ordinary
exception.

It keeps the time of one thing only: *connect*. Put a `Timeout` above for the rest.
Errors: those under `UpstreamError`; `ConfigError` for settings, and for an operation that
the format does not have. Events: none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self, final

from aiohttp import ClientTimeout
from attrs import Attribute, define, field, validators
from yarl import URL

from llmstack import clock
from llmstack.errors import (
    ConfigError,
    LLMStackError,
    ProtocolError,
    UpstreamError,
)
from llmstack.messages import Reply, Request, Response
from llmstack.providers.incoming import Incoming
from llmstack.providers.openai.chat import opened
from llmstack.providers.openai.classify import classify, conceal, request_id
from llmstack.providers.openai.complete import OPERATIONS, Operation, usage_after
from llmstack.providers.secret import Secret, as_secret
from llmstack.providers.transport import Outgoing, Transport, timeout


__all__ = ["OpenAI"]

#: Bytes of an error body that are read.
ERROR_MAX: Final = 64 << 10

_COMMON: Final = "Accept: application/json\r\nAccept-Encoding: identity\r\nUser-Agent: llmstack\r\n"
EVENTS: Final = "text/event-stream"
JSON: Final = "application/json"
_PAGES: Final = frozenset({"text/html", "application/xhtml+xml", EVENTS})


def _url(value: str) -> str:
    return value.rstrip("/")


def _usable(_instance: object, attribute: Attribute[Any], value: str) -> None:
    """An http or https URL without anything but a host and a path."""
    try:
        url = URL(value)
        (url.host or "").encode("idna")
    except ValueError:  # whose text has parts of it, perhaps the password
        raise ConfigError(f"{attribute.name} is not a URL") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigError(f"{attribute.name} must begin with http:// or https:// and a host")
    if url.user is not None or url.password is not None or url.query_string or url.fragment:
        raise ConfigError(f"{attribute.name} must have no credentials, query or fragment")


def _sendable(_instance: object, attribute: Attribute[Any], value: Secret | str | None) -> None:
    """Something that a header can carry."""
    text = value.reveal() if isinstance(value, Secret) else value
    if text is not None and not (text and text.isascii() and text.isprintable()):
        raise ConfigError(f"{attribute.name} is empty or has signs that a header cannot carry")


@final
@define(eq=False)
class OpenAI:
    """A provider at *base_url*, which ends in ``/v1`` for most; ``await leaf(request)``.

    *connect* bounds name, address and handshake, in seconds. A complete reply has at most
    *limit* bytes. *done_is_terminal* is for hosts that leave out the finish of a stream.
    Leaves that are given one *transport* share its connections.

    >>> OpenAI("http://127.0.0.1:9001/v1/", api_key="sk-123")
    OpenAI(base_url='http://127.0.0.1:9001/v1', api_key=***, connect=3.0)
    """

    base_url: str = field(converter=_url, validator=_usable)
    api_key: Secret | None = field(
        default=None, converter=as_secret, validator=_sendable, kw_only=True
    )
    connect: float = field(default=3.0, validator=validators.gt(0), kw_only=True)
    transport: Transport = field(factory=Transport, kw_only=True, repr=False)
    organization: str | None = field(default=None, validator=_sendable, kw_only=True, repr=False)
    limit: int = field(default=64 << 20, validator=validators.ge(1), kw_only=True, repr=False)
    done_is_terminal: bool = field(default=False, kw_only=True, repr=False)
    _heads: Mapping[str, tuple[URL, str]] = field(init=False, repr=False)
    _timeout: ClientTimeout = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._heads = {name: self._head(each) for name, each in OPERATIONS.items()}
        self._timeout = timeout(self.connect)

    async def __call__(self, request: Request, /) -> Reply:
        """Send *request* and return the reply, or its stream at the first content."""
        operation = OPERATIONS.get(request.operation)
        if operation is None:
            known = ", ".join(OPERATIONS)
            raise ConfigError(f"no operation {request.operation!r}; the format has: {known}")
        name = None if request.endpoint is None else request.endpoint.name
        try:
            incoming = await self.transport.send(self._outgoing(operation, request))
            return await self._replied(operation, request, incoming, name)
        except LLMStackError as error:
            error.endpoint = name
            raise

    async def __aenter__(self) -> Self:
        """Enter the transport."""
        await self.transport.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the transport, which closes its connections if nobody else is inside."""
        await self.transport.__aexit__(kind, error, trace)

    def _head(self, operation: Operation) -> tuple[URL, str]:
        """Return where to ask for *operation*, and the head of a request without the key."""
        url = URL(self.base_url + operation.path)
        line = (
            f"{operation.method} {url.raw_path} HTTP/1.1\r\nHost: {url.host_port_subcomponent}\r\n"
        )
        of = f"OpenAI-Organization: {self.organization}\r\n" if self.organization else ""
        kind = f"Content-Type: {JSON}\r\n" if operation.method == "POST" else ""
        return url, line + _COMMON + of + kind

    def _outgoing(self, operation: Operation, request: Request) -> Outgoing:
        url, head = self._heads[request.operation]
        if self.api_key is not None:
            # Added for each request, so that the key is kept in its secret alone.
            head = f"{head}Authorization: Bearer {self.api_key.reveal()}\r\n"
        if operation.method == "GET":
            return Outgoing(url, self._timeout, f"{head}\r\n".encode())
        body = _body(request, stream=request.stream and operation.streams)
        head = f"{head}Content-Length: {len(body)}\r\n\r\n"
        return Outgoing(url, self._timeout, head.encode(), body)

    async def _replied(
        self, operation: Operation, request: Request, incoming: Incoming, name: str | None
    ) -> Reply:
        reply: Reply | None = None
        try:
            if not 200 <= incoming.status <= 299:
                raise await _refusal(incoming)
            if request.stream and operation.streams and incoming.content_type == EVENTS:
                if incoming.encoded:
                    raise ProtocolError("the stream is compressed, which was not asked for")
                reply = await opened(
                    incoming,
                    endpoint=name,
                    done_is_terminal=self.done_is_terminal,
                    key=self.api_key,
                )
            else:
                reply = await self._whole(operation, request, incoming)
        except UpstreamError as error:
            error.status = incoming.status
            error.request_id = request_id(incoming.headers())
            conceal(error, self.api_key)
            raise
        finally:
            # Whatever the reason, a cancellation too: what is not handed up is closed.
            if reply is None:
                incoming.close()
        return reply

    async def _whole(self, operation: Operation, request: Request, incoming: Incoming) -> Response:
        if incoming.content_type in _PAGES:
            raise ProtocolError("the reply is a page, not JSON")
        body = await incoming.body(self.limit)
        usage = usage_after(operation, incoming.status, incoming.headers, body)
        if request.stream and operation.streams:
            raise ProtocolError("a stream was asked for, and a whole reply came")
        return Response(body, incoming.status, incoming.kept(), usage)


def _body(request: Request, *, stream: bool) -> bytes:
    """Return the caller's bytes with the model, and saying *stream* where they do not."""
    data = request.body.data
    if (data.get("stream") or False) is stream:
        return request.body.named(request.model)
    if "stream" in data:
        data = {**data, "model": request.model, "stream": stream}
        return json.dumps(data, separators=(",", ":")).encode()
    body = request.body.named(request.model)
    start = body.index(b"{") + 1  # and it is not empty: the model is in it
    return body[:start] + b'"stream":true,' + body[start:]


async def _refusal(incoming: Incoming) -> UpstreamError:
    """Return what a status other than 2xx means; its body helps if it can be read."""
    body = b""
    if incoming.status >= 400:
        with suppress(UpstreamError):
            body = await incoming.body(ERROR_MAX)
    return classify(incoming.status, incoming.headers(), body, wall=clock.wall())
