"""The HTTP transport that leaves share: one aiohttp session for each event loop.

Nothing is added to a request and nothing is done behind a leaf's back: no cookies, no
redirects, no proxies or passwords from the environment, no decompression, no total
timeout (a long stream is not an error). Certificates are always checked; *ssl* brings
authorities of one's own, *resolver* names. An address is kept for ten seconds, and that a
name is not known is not kept at all. The pool has no limit: how many calls may be in flight is the
business of a layer.

Errors: `ConnectionFailed`, `UpstreamTimeout` (connect), `ConnectionLost`, `ProtocolError`.
"""

from __future__ import annotations

import asyncio
import ssl
from types import TracebackType
from typing import Self, final

from aiohttp import (
    ClientError,
    ClientRequest,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from aiohttp.abc import AbstractResolver
from aiohttp.http_exceptions import HttpProcessingError
from attrs import define, field
from yarl import URL

from llmstack.errors import UpstreamError
from llmstack.providers.faults import fault_of
from llmstack.providers.incoming import Incoming
from llmstack.providers.wire import ask


__all__ = ["Outgoing", "Transport", "timeout"]


def timeout(connect: float) -> ClientTimeout:
    """Return the timeouts of a leaf: name, address and handshake within *connect* seconds.

    All other times are kept by layers.
    """
    return ClientTimeout(total=None, connect=connect, sock_connect=connect, sock_read=None)


@final
@define(eq=False)
class Outgoing:
    """One request as it is written; its *head* has the key in it, so it is not shown."""

    url: URL
    timeout: ClientTimeout
    head: bytes = field(repr=False)
    body: bytes = field(default=b"", repr=False)


@final
@define(eq=False)
class _Lane:
    """What belongs to one loop: its session, how many blocks are inside, and where to ask."""

    session: ClientSession
    connector: TCPConnector
    users: int = 0
    asked: dict[URL, ClientRequest] = field(factory=dict)


@final
@define(eq=False)
class Transport:
    """Sends requests; pass one object to several leaves and they share its connections.

    ``async with transport:`` closes them at the end, as `aclose` does. Blocks may nest, and
    leaves enter their transport too: the last one out closes. A session is made when it is
    first needed, so a transport can be used again after that.
    """

    ssl: ssl.SSLContext | None = field(default=None, kw_only=True, repr=False)
    resolver: AbstractResolver | None = field(default=None, kw_only=True, repr=False)
    _lanes: dict[asyncio.AbstractEventLoop, _Lane] = field(factory=dict, init=False, repr=False)

    @property
    def session(self) -> ClientSession:
        """The session of the running loop."""
        return self._lane().session

    async def send(self, outgoing: Outgoing) -> Incoming:
        """Write the request and wait for the head of the reply."""
        lane, url = self._lane(), outgoing.url
        where = lane.asked.get(url)
        if where is None:
            # Of it only the address is used; there is one for each path of a leaf.
            where = lane.asked[url] = ClientRequest("GET", url, loop=asyncio.get_running_loop())
        try:
            return Incoming(
                await ask(lane.connector, where, outgoing.timeout, outgoing.head, outgoing.body)
            )
        except (ClientError, HttpProcessingError, OSError) as error:
            fault: UpstreamError = fault_of(error)
        # Outside of the handler, so that what aiohttp says of the request is not chained.
        raise fault

    async def aclose(self) -> None:
        """Close the connections of the running loop, whoever uses them."""
        lane = self._lanes.pop(asyncio.get_running_loop(), None)
        if lane is not None:
            await lane.session.close()

    async def __aenter__(self) -> Self:
        """Count one more user on this loop."""
        self._lane().users += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Count one less; the last one closes."""
        lane = self._lane()
        lane.users -= 1
        if lane.users <= 0:
            await self.aclose()

    def _lane(self) -> _Lane:
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(loop)
        if lane is None:
            # A loop that is over keeps its session from being collected no longer.
            for old in [old for old in self._lanes if old.is_closed()]:
                del self._lanes[old]
            checked = True if self.ssl is None else self.ssl
            connector = TCPConnector(limit=0, ssl=checked, resolver=self.resolver)
            lane = self._lanes[loop] = _Lane(_session(connector), connector)
        return lane


def _session(connector: TCPConnector) -> ClientSession:
    return ClientSession(
        connector=connector,
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=None),
        trust_env=False,
        auto_decompress=False,
    )
