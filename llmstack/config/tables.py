"""What the tables of a configuration file hold, before anything is built from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, final
from urllib.parse import urlsplit

from attrs import Attribute, field, frozen, validators

from llmstack.endpoint import Capabilities, Price
from llmstack.errors import ConfigError
from llmstack.providers.secret import Secret


__all__ = ["EndpointTable", "FileTable", "RouteTable", "ServerTable", "address"]


def _url(_table: object, attribute: Attribute[str], value: str) -> None:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"{attribute.name} must be a URL with http:// or https:// and a host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(f"{attribute.name} must have no user, query or fragment")


def address(listen: str) -> tuple[str, int]:
    """Split ``host:port``; ValueError if it is something else."""
    host, _, port = listen.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ConfigError(f"listen must be host:port, not {listen!r}")
    return host.strip("[]"), int(port)


def _address(_table: object, _attribute: Attribute[str], value: str) -> None:
    address(value)


@final
@frozen(kw_only=True)
class ServerTable:
    """``[server]``: where the gateway listens, and how long it waits, in seconds."""

    listen: str = field(default="127.0.0.1:8080", validator=_address)
    max_body: int = field(default=10 * 2**20, validator=validators.ge(1))
    body_timeout: float = field(default=30.0, validator=validators.gt(0))
    shutdown_timeout: float = field(default=30.0, validator=validators.ge(0))


@final
@frozen(kw_only=True)
class EndpointTable:
    """``[endpoints.NAME]``: a model at a provider under a key."""

    provider: Literal["openai"]
    base_url: str = field(validator=_url)
    api_key: Secret | None = None
    model: str | None = field(default=None, validator=validators.optional(validators.min_len(1)))
    models: Mapping[str, str] | None = None
    price: Price | None = None
    weight: float = field(default=1.0, validator=validators.ge(0))
    capabilities: Capabilities | None = None
    tags: frozenset[str] = frozenset()
    connect: float = field(default=3.0, validator=validators.gt(0))

    def __attrs_post_init__(self) -> None:
        if self.model is not None and self.models is not None:
            raise ConfigError("models and model exclude each other: a map, or one name for all")


@final
@frozen(kw_only=True)
class RouteTable:
    """``[routes.NAME]``: a stack, outermost layer first."""

    layers: tuple[Mapping[str, Any], ...] = field(validator=validators.min_len(1))


@final
@frozen(kw_only=True)
class FileTable:
    """The whole file."""

    server: ServerTable = ServerTable()
    endpoints: Mapping[str, EndpointTable] = field(validator=validators.min_len(1))
    routes: Mapping[str, RouteTable] = field(validator=validators.min_len(1))
