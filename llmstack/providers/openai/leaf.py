"""A provider, or server, that speaks the OpenAI format, as a service.

It ends a stack, or is the service of an endpoint. What it does is written in `leaf`, a floor
of all formats; here are its settings.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self, final

from attrs import define, evolve, field, validators

from llmstack.messages import Reply, Request
from llmstack.providers.address import sendable, url, usable
from llmstack.providers.credential import Credential, as_credential
from llmstack.providers.format import Format
from llmstack.providers.leaf import Leaf
from llmstack.providers.openai.classify import classify
from llmstack.providers.openai.operations import operations
from llmstack.providers.transport import Transport


__all__ = ["OpenAI"]


@final
@define(eq=False)
class OpenAI:
    """A provider at *base_url*, which ends in ``/v1`` for most; ``await leaf(request)``.

    *connect* bounds name, address and handshake, in seconds. A complete reply has at most
    *limit* bytes. *done_is_terminal* is for hosts that leave out the finish of a stream;
    *asks_usage* is False for those that refuse to be asked for its tokens. Leaves that are
    given one *transport* share its connections.

    >>> OpenAI("http://127.0.0.1:9001/v1/", api_key="sk-123")
    OpenAI(base_url='http://127.0.0.1:9001/v1', api_key=***, connect=3.0)
    """

    base_url: str = field(converter=url, validator=usable)
    api_key: Credential | None = field(
        default=None, converter=as_credential, validator=sendable, kw_only=True
    )
    connect: float = field(default=3.0, validator=validators.gt(0), kw_only=True)
    transport: Transport = field(factory=Transport, kw_only=True, repr=False)
    organization: str | None = field(default=None, validator=sendable, kw_only=True, repr=False)
    limit: int = field(default=64 << 20, validator=validators.ge(1), kw_only=True, repr=False)
    done_is_terminal: bool = field(default=False, kw_only=True, repr=False)
    asks_usage: bool = field(default=True, kw_only=True, repr=False)
    _leaf: Leaf = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        of = f"OpenAI-Organization: {self.organization}\r\n" if self.organization else ""
        can = operations(done_is_terminal=self.done_is_terminal, asks_usage=self.asks_usage)
        self._leaf = Leaf(
            Format(can, classify, _bearer),
            self.base_url,
            self.api_key,
            self.transport,
            connect=self.connect,
            limit=self.limit,
            lines=of,
        )

    @property
    def speaks(self) -> frozenset[str]:
        """The operations that it can be asked for."""
        return frozenset(self._leaf.format.operations)

    def under(self, credential: Credential) -> Self:
        """Return the same under another key; they share the transport."""
        return evolve(self, api_key=credential)

    async def __call__(self, request: Request, /) -> Reply:
        """Send *request* and return the reply, or its stream at the first content."""
        return await self._leaf(request)

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


def _bearer(key: str) -> str:
    return f"Authorization: Bearer {key}"
