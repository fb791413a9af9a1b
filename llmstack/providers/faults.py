"""What aiohttp's complaints mean in our words.

This is the border: no aiohttp exception passes it. Ours say nothing that the other side
has said, and of aiohttp's only those are kept as a cause that hold neither request
headers, which have the key, nor bytes of the provider.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ClientOSError,
    ClientPayloadError,
    ClientResponseError,
    ConnectionTimeoutError,
    ServerDisconnectedError,
)
from aiohttp.http_exceptions import HttpProcessingError

from llmstack.errors import (
    ConnectionFailed,
    ConnectionLost,
    Cool,
    ProtocolError,
    UpstreamError,
    UpstreamTimeout,
)


__all__ = ["BadFraming", "fault_of"]


class BadFraming(ClientPayloadError):
    """The body of a reply cannot be told from what is around it."""


#: Their texts have addresses and numbers only.
_HARMLESS: Final = (ClientConnectorError, ConnectionTimeoutError, ClientOSError, ClientPayloadError)

#: The first row that fits counts.
_MEANINGS: Final[Sequence[tuple[tuple[type[Exception], ...], type[UpstreamError], str]]] = (
    ((ClientConnectorDNSError,), ConnectionFailed, "the name of the host is not known"),
    ((ServerDisconnectedError,), ConnectionLost, "the connection was closed before a reply"),
    (
        (HttpProcessingError, ClientResponseError, BadFraming, RuntimeError),
        *(ProtocolError, "the reply is not HTTP"),
    ),
    ((ClientPayloadError,), ConnectionLost, "the connection was cut inside the reply"),
)


#: What is wrong with TLS is wrong for the next request too: a certificate for longer.
_COOLS: Final = (
    (ClientConnectorCertificateError, Cool("endpoint", 600.0)),
    (ClientConnectorSSLError, Cool("endpoint", 60.0)),
)


def fault_of(error: Exception) -> UpstreamError:
    """Say in our words what *error* of aiohttp means; never raises."""
    fault = _translated(error)
    if isinstance(error, _HARMLESS):
        fault.__cause__ = _without_frames(error)
    return fault


def _translated(error: Exception) -> UpstreamError:
    if isinstance(error, ConnectionTimeoutError):
        return UpstreamTimeout("the connection was not made in time", phase="connect")
    # With no words of its own it carries the head that was cut, as far as it came.
    if isinstance(error, ServerDisconnectedError) and not isinstance(error.message, str):
        return ProtocolError("the connection was closed inside the head of the reply")
    for kinds, meaning, words in _MEANINGS:
        if isinstance(error, kinds):
            return meaning(words)
    if isinstance(error, ClientConnectorError):
        fault = ConnectionFailed(f"could not connect{_reason(error.__cause__ or error)}")
        fault.cools = next((cool for kind, cool in _COOLS if isinstance(error, kind)), None)
        return fault
    return ConnectionLost(f"the connection was lost{_reason(error)}")


def _reason(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    name = errno.errorcode.get(number) if isinstance(number, int) else None
    return f" ({name or type(error).__name__})"


def _without_frames(error: BaseException) -> BaseException:
    """Return *error* without its traceback and causes: their locals hold the request."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
