"""The HTTP transport that leaves share: one aiohttp session for each event loop.

Nothing is added to a request and nothing is done behind a leaf's back: no cookies, no
redirects, no proxies or passwords from the environment, no decompression, no total
timeout (a long stream is not an error). Certificates are always checked; *ssl* brings
authorities of one's own. The pool has no limit: how many calls may be in flight is the
business of a layer.

Errors: `ConnectionFailed`, `UpstreamTimeout` (connect), `ConnectionLost`, `ProtocolError`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from io import BytesIO
from types import TracebackType
from typing import Final, Self, final

from aiohttp import (
    ClientError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from attrs import define, field
from yarl import URL

from llmstack.errors import UpstreamError
from llmstack.providers.incoming import Incoming, fault_of


__all__ = ["Outgoing", "Transport", "timeout"]

#: A longer body is written in pieces, so that the loop can breathe; aiohttp warns of others.
IN_PIECES: Final = 1 << 20


def timeout(connect: float) -> ClientTimeout:
    """Return the timeouts of a leaf: name, address and handshake within *connect* seconds.

    All other times are kept by layers.
    """
    return ClientTimeout(total=None, connect=connect, sock_connect=connect, sock_read=None)


@final
@define(eq=False)
class Outgoing:
    """One request as it is written; its headers have the key in them, so they are not shown."""

    method: str
    url: URL
    timeout: ClientTimeout
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)


@final
@define(eq=False)
class _Lane:
    """What belongs to one loop: its session, and how many blocks are inside."""

    session: ClientSession
    users: int = 0


@final
@define(eq=False)
class Transport:
    """Sends requests; pass one object to several leaves and they share its connections.

    ``async with transport:`` closes them at the end, as `aclose` does. Blocks may nest, and
    leaves enter their transport too: the last one out closes. A session is made when it is
    first needed, so a transport can be used again after that.
    """

    ssl: ssl.SSLContext | None = field(default=None, kw_only=True, repr=False)
    _lanes: dict[asyncio.AbstractEventLoop, _Lane] = field(factory=dict, init=False, repr=False)

    @property
    def session(self) -> ClientSession:
        """The session of the running loop."""
        return self._lane().session

    async def send(self, outgoing: Outgoing) -> Incoming:
        """Write the request and wait for the head of the reply."""
        body = outgoing.body
        try:
            response = await self.session.request(
                outgoing.method,
                outgoing.url,
                data=BytesIO(body) if body is not None and len(body) > IN_PIECES else body,
                headers=outgoing.headers,
                timeout=outgoing.timeout,
                allow_redirects=False,
            )
        except (ClientError, OSError) as error:
            fault: UpstreamError = fault_of(error)
        else:
            return Incoming(response)
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
            lane = self._lanes[loop] = _Lane(_session(self.ssl))
        return lane


def _session(context: ssl.SSLContext | None) -> ClientSession:
    return ClientSession(
        connector=TCPConnector(limit=0, ssl=True if context is None else context),
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=None),
        trust_env=False,
        auto_decompress=False,
    )
