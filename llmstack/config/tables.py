"""What the tables of a configuration file hold, before anything is built from them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, final

from attrs import Attribute, field, fields, frozen, validators

from llmstack.endpoint import Capabilities, Endpoint, Price
from llmstack.errors import ConfigError
from llmstack.providers.anthropic.complete import OPERATIONS
from llmstack.providers.constant import Constant
from llmstack.providers.credential import Credential
from llmstack.providers.key import Key
from llmstack.providers.loopback import check_reach
from llmstack.providers.openai import OpenAI
from llmstack.providers.openai.operations import operations
from llmstack.routers.keys import Keys


__all__ = [
    "AdminTable",
    "ConstantTable",
    "EndpointTable",
    "KeyTable",
    "RouteTable",
    "ServerTable",
    "address",
]


#: The highest port that there is, and how many digits one has at most.
LAST: Final = 65535
DIGITS: Final = 5

#: The operations of each format.
SPOKEN: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {"anthropic": frozenset(OPERATIONS), "openai": frozenset(operations())}
)


def _as_in(kind: type[Any], name: str) -> Any:  # noqa: ANN401 -- as attrs has it
    """Return the validator of another class's field, which will get the value."""
    return getattr(fields(kind), name).validator


def address(listen: str) -> tuple[str, int]:
    """Split ``HOST:PORT``; `ConfigError` if it is something else."""
    host, _, port = listen.rpartition(":")
    digits = port.isascii() and port.isdigit() and not (len(port) > DIGITS and port[0] == "0")
    if not (host and _is_host(host) and digits):
        raise ConfigError(f"must be HOST:PORT, not {listen!r}")
    if len(port) > DIGITS or int(port) > LAST:
        raise ConfigError(f"must have a port from 0 to {LAST}, not {listen!r}")
    return host.strip("[]"), int(port)


def _is_host(name: str) -> bool:
    """Whether a name can be looked up: its parts have from 1 to 63 characters."""
    try:
        return bool(name.encode("idna"))
    except UnicodeError:
        return False


def _address(_table: object, _attribute: Attribute[str], value: str) -> None:
    address(value)


def _spoken(_table: object, attribute: Attribute[Any], value: frozenset[str] | None) -> None:
    known = frozenset[str]().union(*SPOKEN.values())
    if value is not None and not (value and value <= known):
        raise ConfigError(f"{attribute.name} can name {', '.join(sorted(known))}")


@final
@frozen(kw_only=True)
class ServerTable:
    """``[server]``: where the gateway listens, and how long it waits, in seconds."""

    listen: str = field(default="127.0.0.1:8080", validator=_address)
    max_body: int = field(default=10 * 2**20, validator=validators.ge(1))
    body_timeout: float = field(default=30.0, validator=validators.gt(0))
    write_timeout: float = field(default=30.0, validator=validators.gt(0))
    shutdown_timeout: float = field(default=30.0, validator=validators.ge(0))
    ping_after: float = field(default=15.0, validator=validators.ge(0))


@final
@frozen(kw_only=True)
class AdminTable:
    """``[admin]``: where the admin API listens, and the token that it asks for."""

    listen: str = field(default="127.0.0.1:8081", validator=_address)
    token: Credential | None = field(default=None, validator=_as_in(OpenAI, "api_key"))

    def __attrs_post_init__(self) -> None:
        check_reach(address(self.listen)[0], has_token=self.token is not None)


@final
@frozen(kw_only=True)
class KeyTable:
    """One of the ``keys`` of an endpoint."""

    name: str = field(validator=_as_in(Key, "name"))
    api_key: Credential = field(validator=_as_in(OpenAI, "api_key"))
    models: frozenset[str] | None = field(default=None, validator=_as_in(Key, "models"))
    weight: float = field(default=1.0, validator=_as_in(Key, "weight"))
    account: str | None = field(default=None, validator=validators.optional(validators.min_len(1)))


def _keys(_table: object, attribute: Attribute[Any], value: tuple[KeyTable, ...] | None) -> None:
    if value is None:
        return
    if not value:
        raise ConfigError(f"{attribute.name} must not be empty")
    names = [key.name for key in value]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{attribute.name}: two are named {name!r}")


@final
@frozen(kw_only=True)
class ConstantTable:
    """``[endpoints.NAME]`` with ``provider = "constant"``: the same answer for everybody."""

    provider: Literal["constant"]
    text: str = field(validator=_as_in(Constant, "text"))
    tags: frozenset[str] = frozenset()


@final
@frozen(kw_only=True)
class EndpointTable:
    """``[endpoints.NAME]``: a model at a provider under a key."""

    provider: Literal["anthropic", "constant", "openai"]
    base_url: str = field(validator=_as_in(OpenAI, "base_url"))
    api_key: Credential | None = field(default=None, validator=_as_in(OpenAI, "api_key"))
    keys: tuple[KeyTable, ...] | None = field(default=None, validator=_keys)
    rotations: int | None = field(
        default=None, validator=validators.optional(_as_in(Keys, "rotations"))
    )
    account: str | None = field(default=None, validator=validators.optional(validators.min_len(1)))
    model: str | None = field(default=None, validator=validators.optional(validators.min_len(1)))
    models: Mapping[str, str] | None = field(
        default=None, validator=validators.optional(validators.min_len(1))
    )
    price: Price | None = None
    weight: float = field(default=1.0, validator=_as_in(Endpoint, "weight"))
    capabilities: Capabilities | None = None
    tags: frozenset[str] = frozenset()
    speaks: frozenset[str] | None = field(default=None, validator=_spoken)
    connect: float = field(default=3.0, validator=_as_in(OpenAI, "connect"))
    asks_usage: bool = True
    done_is_terminal: bool = False

    def __attrs_post_init__(self) -> None:
        if self.keys is not None and self.api_key is not None:
            raise ConfigError("keys and api_key exclude each other: several, or one")
        if self.keys is None and self.rotations is not None:
            raise ConfigError("rotations is for keys only")
        if self.model is not None and self.models is not None:
            raise ConfigError("models and model exclude each other: a map, or one name for all")
        known = SPOKEN[self.provider]
        if self.speaks is not None and not self.speaks <= known:
            told = ", ".join(sorted(known))
            raise ConfigError(f"speaks: {self.provider} has {told}")
        if self.provider != "openai" and (self.done_is_terminal or not self.asks_usage):
            raise ConfigError("asks_usage and done_is_terminal are for openai only")


@final
@frozen(kw_only=True)
class RouteTable:
    """``[routes.NAME]``: a stack, outermost layer first."""

    layers: tuple[Any, ...] = field(validator=validators.min_len(1))
