"""A provider, or server, that speaks the Anthropic format, as a service.

It ends a stack, or is the service of an endpoint. What it does is written in `leaf`, a floor
of all formats; here are its settings.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self, final

from attrs import define, evolve, field, validators

from llmstack.messages import Reply, Request
from llmstack.providers.address import sendable, url, usable
from llmstack.providers.anthropic.classify import classify
from llmstack.providers.anthropic.complete import OPERATIONS
from llmstack.providers.credential import Credential, as_credential
from llmstack.providers.format import Format
from llmstack.providers.leaf import Leaf
from llmstack.providers.transport import Transport


__all__ = ["Anthropic"]


@final
@define(eq=False)
class Anthropic:
    """A provider at *base_url*, which ends in ``/v1`` for most; ``await leaf(request)``.

    The *api_key* is sent as ``x-api-key``, or with *bearer* as ``Authorization: Bearer``.
    *version* is what ``anthropic-version`` says where the caller says nothing. *connect*
    bounds name, address and handshake, in seconds. A complete reply has at most *limit*
    bytes. Leaves that are given one *transport* share its connections.

    >>> Anthropic("http://127.0.0.1:9001/v1/", api_key="sk-ant-123")
    Anthropic(base_url='http://127.0.0.1:9001/v1', api_key=***, connect=3.0)
    """

    base_url: str = field(default="https://api.anthropic.com/v1", converter=url, validator=usable)
    api_key: Credential | None = field(
        default=None, converter=as_credential, validator=sendable, kw_only=True
    )
    bearer: bool = field(default=False, kw_only=True, repr=False)
    version: str = field(default="2023-06-01", validator=sendable, kw_only=True, repr=False)
    connect: float = field(default=3.0, validator=validators.gt(0), kw_only=True)
    transport: Transport = field(factory=Transport, kw_only=True, repr=False)
    limit: int = field(default=64 << 20, validator=validators.ge(1), kw_only=True, repr=False)
    _leaf: Leaf = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        passes = {"anthropic-version": self.version, "anthropic-beta": None}
        self._leaf = Leaf(
            Format(OPERATIONS, classify, _bearer if self.bearer else _header, passes),
            self.base_url,
            self.api_key,
            self.transport,
            connect=self.connect,
            limit=self.limit,
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


def _header(key: str) -> str:
    return f"x-api-key: {key}"


def _bearer(key: str) -> str:
    return f"Authorization: Bearer {key}"
