"""One request and its reply on a connection of aiohttp's pool, without a session between.

aiohttp makes and pools the connections, and reads the replies. What its session adds to
that (cookies, redirects, a body that may be anything, a task that writes it) takes 75
microseconds of the 175 of a bare call, and a leaf needs none of it.

Errors: those of aiohttp, for `faults.fault_of` to translate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, final

from aiohttp import (
    BaseConnector,
    ClientConnectionResetError,
    ClientRequest,
    ClientTimeout,
    ConnectionTimeoutError,
    StreamReader,
)
from aiohttp.connector import Connection
from attrs import define, field


__all__ = ["PIECE", "Exchange", "ask"]

#: Of a longer body so many bytes are given to the connection at a time, and in between
#: others have their turn: with TLS to encrypt a mebibyte takes a millisecond.
PIECE: Final = 1 << 20

#: Connections that are given up for what came on them unasked; then the request is.
LOOKS: Final = 100

#: To join a short body to its head costs less than a second write.
TOGETHER: Final = 1 << 16


class _Left(ConnectionError):
    """The one who asked does not wait for the rest."""


@final
@define(eq=False)
class Exchange:
    """The head of a reply, its body as it comes, and the connection until that is over."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: StreamReader = field(repr=False)
    connection: Connection = field(repr=False)

    def over(self) -> None:
        """Give the connection back, if it can carry another request."""
        transport = self.connection.transport
        # A reply may come before all of the request is written: then they do not end together.
        unsent = transport is not None and transport.get_write_buffer_size()
        # And many servers close behind an error without a word: the next one would run into it.
        if unsent or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.connection.close()
        else:
            self.connection.release()

    def close(self) -> None:
        """Close the connection, unless it was given back; who waits for the body is told."""
        self.connection.close()
        if self.content.exception() is None:
            self.content.set_exception(_Left("the connection was closed"))


async def ask(
    connector: BaseConnector, where: ClientRequest, within: ClientTimeout, head: bytes, body: bytes
) -> Exchange:
    """Write *head* and *body* to a connection as *where* needs it; wait for the reply's head."""
    connection = await _clean(connector, where, within)
    exchange: Exchange | None = None
    try:
        exchange = await _asked(connection, head, body)
    finally:
        if exchange is None:
            connection.close()
    exchange.content.on_eof(exchange.over)
    return exchange


async def _clean(
    connector: BaseConnector, where: ClientRequest, within: ClientTimeout
) -> Connection:
    """Return a connection on which nothing has come that nobody asked for.

    aiohttp 3.14.5 gives out again one that has got bytes while it was idle, and takes them for
    the reply to the next request.
    """
    for _ in range(LOOKS):
        try:
            connection = await connector.connect(where, [], within)
        except TimeoutError as error:
            raise ConnectionTimeoutError("the connection was not made in time") from error
        protocol = connection.protocol
        if protocol is None or not protocol.should_close:
            return connection
        connection.close()
    raise ClientConnectionResetError("each connection speaks before it is asked")


async def _asked(connection: Connection, head: bytes, body: bytes) -> Exchange:
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None:
        raise ClientConnectionResetError("the connection is gone")
    protocol.set_response_params(read_until_eof=True, auto_decompress=False)
    if len(body) <= TOGETHER:
        transport.write(head + body)
    else:
        transport.write(head)
        await _in_pieces(transport, memoryview(body))
    while True:
        message, content = await protocol.read()
        if message.code >= 200 or message.code == 101:
            return Exchange(message.code, message.headers, content, connection)


async def _in_pieces(transport: asyncio.Transport, body: memoryview) -> None:
    """Write it all; what the other side has not taken waits in the transport."""
    for start in range(0, len(body), PIECE):
        if start:
            await asyncio.sleep(0)
        if transport.is_closing():
            return  # the reader hears of it
        transport.write(body[start : start + PIECE])
