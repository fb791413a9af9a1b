"""What a gateway serves and where: the settings that are not those of a stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, final

from attrs import field, frozen, validators

from llmstack.builder import Stack
from llmstack.endpoint import EndpointSet
from llmstack.errors import ConfigError
from llmstack.gateway.admin.settings import Admin
from llmstack.gateway.whole import WRITE_TIMEOUT
from llmstack.messages import Request


__all__ = ["Gateway", "takes_traffic"]

#: Seconds; proxies close a connection that is silent for longer than 30 or 60.
PING_AFTER: Final[float | None] = 15.0

_or_none: Final = validators.optional(validators.ge(0.0))


def _routes(
    routes: Mapping[str, Stack[Request, Any]],
) -> Mapping[str, Stack[Request, Any]]:
    return MappingProxyType(dict(routes))


@final
@frozen(kw_only=True)
class Gateway:
    """Routes by the name of the model that callers ask for; ``"*"`` takes every other name.

    *max_body* is in bytes, times are in seconds: *body_timeout* for the body of a request to
    arrive, *write_timeout* for a client to take some of what is written to it,
    *shutdown_timeout* for requests to end when the gateway stops. A stream that says nothing
    for *ping_after* seconds gets a word from the gateway; 0 or None is never. *metrics*
    renders what ``GET /metrics`` answers; without it there is no such path. *admin* is where the
    admin API listens; without it there is none.
    """

    routes: Mapping[str, Stack[Request, Any]] = field(
        converter=_routes, validator=validators.min_len(1)
    )
    listen: tuple[str, int] = ("127.0.0.1", 8080)
    max_body: int = field(default=10 * 2**20, validator=validators.ge(1))
    body_timeout: float = field(default=30.0, validator=validators.gt(0))
    write_timeout: float = field(default=WRITE_TIMEOUT, validator=validators.gt(0))
    shutdown_timeout: float = field(default=30.0, validator=validators.ge(0))
    ping_after: float | None = field(default=PING_AFTER, validator=_or_none)
    metrics: Callable[[], bytes] | None = field(default=None, repr=False)
    admin: Admin | None = None

    def __attrs_post_init__(self) -> None:
        if self.admin is not None and self.listen[1] and self.admin.listen == self.listen:
            raise ConfigError("admin: it listens where the gateway does; give it another port")

    def route(self, model: str) -> Stack[Request, Any] | None:
        """Return the stack for the name *model*; None if nothing takes it."""
        return self.routes.get(model) or self.routes.get("*")


def takes_traffic(service: object) -> bool:
    """Whether every router in *service* has an enabled endpoint that takes traffic itself."""
    if not isinstance(service, Stack):
        return True
    sets = [getattr(part, "endpoints", None) for part in service.services]
    return all(
        any(takes_traffic(endpoint.service) for endpoint in each.enabled)
        for each in sets
        if isinstance(each, EndpointSet)
    )
