"""The leaf of any wire format: one request on the wire, one reply handed up.

What the formats differ in is a `Format`: where to ask, how the key is shown, what a reply
and an event mean. The caller's bytes go upstream with the endpoint's name for the model; the
provider's bytes come back as they are. A streamed reply is handed up at its first content,
and until then whatever goes wrong is an ordinary exception.

It keeps the time of one thing only: *connect*. Put a `Timeout` above for the rest.
Errors: those under `UpstreamError`; `ConfigError` for settings, and for an operation that
the format does not have. Events: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Final, final

from aiohttp import ClientTimeout
from attrs import define, field
from yarl import URL

from llmstack import clock
from llmstack.errors import (
    ConfigError,
    LLMStackError,
    ProtocolError,
    UpstreamError,
)
from llmstack.estimators.tokens import prompt_tokens
from llmstack.messages import Reply, Request, Response
from llmstack.providers.credential import Credential
from llmstack.providers.format import Format, Operation
from llmstack.providers.incoming import Incoming
from llmstack.providers.redact import conceal, request_id, without_key
from llmstack.providers.reshape import as_stream, as_whole, dialect_of
from llmstack.providers.secret import Secret
from llmstack.providers.source import EventSource
from llmstack.providers.transport import Outgoing, Transport, timeout
from llmstack.service import by_endpoint


__all__ = ["Leaf"]

#: Bytes of an error body that are read.
ERROR_MAX: Final = 64 << 10

_COMMON: Final = "Accept: application/json\r\nAccept-Encoding: identity\r\nUser-Agent: llmstack\r\n"
EVENTS: Final = "text/event-stream"
JSON: Final = "application/json"
_PAGES: Final = frozenset({"text/html", "application/xhtml+xml", EVENTS})


@final
@define(eq=False)
class Leaf:
    """Speaks *format* to *base_url*; what leaves for users are made of.

    *connect* is in seconds, *limit* the most bytes of a whole reply, *lines* more of the head
    of each request.
    """

    format: Format
    base_url: str
    api_key: Credential | None = field(repr=False)
    transport: Transport = field(repr=False)
    connect: float = 3.0
    limit: int = 64 << 20
    lines: str = ""
    _heads: Mapping[str, tuple[URL, str]] = field(init=False, repr=False)
    _timeout: ClientTimeout = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._heads = {name: self._head(each) for name, each in self.format.operations.items()}
        self._timeout = timeout(self.connect)

    async def __call__(self, request: Request, /) -> Reply:
        """Send *request* and return the reply, or its stream at the first content."""
        operation = self.format.operations.get(request.operation)
        if operation is None:
            known = ", ".join(self.format.operations)
            raise ConfigError(f"no operation {request.operation!r}; the format has: {known}")
        try:
            # Once: whatever it is by the time of the reply, this one was sent.
            key = None if self.api_key is None else self.api_key.current()
            incoming = await self.transport.send(self._outgoing(operation, request, key))
            return await self._replied(operation, request, incoming, key)
        except LLMStackError as error:
            error.endpoint = by_endpoint(request)
            raise

    def _head(self, operation: Operation) -> tuple[URL, str]:
        """Return where to ask for *operation*, and the head of a request without the key."""
        url = URL(self.base_url + operation.path)
        line = (
            f"{operation.method} {url.raw_path} HTTP/1.1\r\nHost: {url.host_port_subcomponent}\r\n"
        )
        kind = f"Content-Type: {JSON}\r\n" if operation.method == "POST" else ""
        return url, line + _COMMON + self.lines + kind

    def _outgoing(self, operation: Operation, request: Request, key: Secret | None) -> Outgoing:
        url, head = self._heads[request.operation]
        for name, usual in self.format.passes.items():
            said = request.headers.get(name, "")
            value = said if said.isascii() and said.isprintable() and said else usual
            if value is not None:
                head = f"{head}{name}: {value}\r\n"
        if key is not None:
            # Added for each request, so that the key is kept in its secret alone.
            head = f"{head}{self.format.key(key.reveal())}\r\n"
        if operation.method == "GET":
            return Outgoing(url, self._timeout, f"{head}\r\n".encode())
        body = operation.write(request, stream=request.stream and operation.progress is not None)
        head = f"{head}Content-Length: {len(body)}\r\n\r\n"
        return Outgoing(url, self._timeout, head.encode(), body)

    async def _replied(
        self, operation: Operation, request: Request, incoming: Incoming, key: Secret | None
    ) -> Reply:
        reply: Reply | None = None
        try:
            if not 200 <= incoming.status <= 299:
                raise await self._refusal(incoming)
            reply = await self._understood(operation, request, incoming, key)
        except UpstreamError as error:
            error.status = incoming.status
            error.request_id = request_id(incoming.headers())
            conceal(error, key)
            raise
        finally:
            # Whatever the reason, a cancellation too: what is not handed up is closed.
            if reply is None:
                incoming.close()
        return reply

    async def _understood(
        self, operation: Operation, request: Request, incoming: Incoming, key: Secret | None
    ) -> Reply:
        """Return the reply in the shape that was asked for, whichever it came in."""
        streamed = incoming.content_type == EVENTS
        make = operation.progress
        if make is None or not (streamed or request.stream):
            return await self._whole(operation, incoming, key)
        progress = make(request, incoming.headers)
        prompt = partial(prompt_tokens, request.body.data)
        if not streamed:
            reply = await self._whole(operation, incoming, key)
            return as_stream(dialect_of(request.operation), reply, progress, prompt)
        if incoming.encoded:
            raise ProtocolError("the stream is compressed, which was not asked for")
        source = EventSource(incoming, progress, prompt, by_endpoint(request), key)
        if request.stream:
            return await source.opened()
        body = as_whole(dialect_of(request.operation), await source.gathered(self.limit))
        headers = {**without_key(incoming.kept(), key), "content-type": JSON}
        return Response(body, incoming.status, headers, source.usage)

    async def _whole(
        self, operation: Operation, incoming: Incoming, key: Secret | None
    ) -> Response:
        if incoming.content_type in _PAGES:
            raise ProtocolError("the reply is a page, not JSON")
        body = await incoming.body(self.limit)
        usage = operation.usage(incoming.status, incoming.headers, body)
        return Response(body, incoming.status, without_key(incoming.kept(), key), usage)

    async def _refusal(self, incoming: Incoming) -> UpstreamError:
        """Return what a status other than 2xx means; its body helps if it can be read."""
        body = b""
        if incoming.status >= 400:
            with suppress(UpstreamError):
                body = await incoming.body(ERROR_MAX)
        return self.format.classify(incoming.status, incoming.headers(), body, wall=clock.wall())
