"""Active health in a file: which probe, and whom: the endpoints of the route's router.

Router and layer get one set of them, so that what is added or disabled at run time is so for
both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, cast, final

from attrs import evolve, field, fields, frozen

from llmstack.config.reading import Reader
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import ConfigError
from llmstack.layers.health import Checks, Health, Probe
from llmstack.messages import dispatch
from llmstack.order import role_of
from llmstack.providers.probes import HttpGet, OneToken, TcpConnect
from llmstack.service import Layer


__all__ = ["PROBES", "probing", "read_health", "unfit"]

PROBES: Final[Mapping[str, type[Any]]] = MappingProxyType(
    {"http_get": HttpGet, "one_token": OneToken, "tcp_connect": TcpConnect}
)


#: The settings of the layer, which those of its table are like.
_OWN: Final = fields(Health)


@final
@frozen(kw_only=True)
class _HealthTable:
    """``{ use = "health" }``: a layer that does not know its endpoints yet."""

    probe: Probe
    interval: float = field(default=_OWN.interval.default, validator=_OWN.interval.validator)
    timeout: float = field(default=_OWN.timeout.default, validator=_OWN.timeout.validator)
    down: int = field(default=_OWN.down.default, validator=_OWN.down.validator)
    up: int = field(default=_OWN.up.default, validator=_OWN.up.validator)


def read_health(reader: Reader) -> None:
    """Have *reader* read tables of the layer, as it is before it gets its endpoints."""

    def read(settings: object) -> Health:
        table = reader.converter.structure(settings, _HealthTable)
        return Health(
            EndpointSet(),
            table.probe,
            interval=table.interval,
            timeout=table.timeout,
            down=table.down,
            up=table.up,
        )

    reader.chosen(Probe, PROBES, "probe")
    reader.by(Health, read)


def probing(layers: Sequence[Layer]) -> list[Layer]:
    """Return *layers* with the endpoints of the router in those that probe them."""
    if not any(isinstance(layer, Health) for layer in layers):
        return [*layers]
    shared = EndpointSet(_routed(layers))
    return [
        evolve(cast("Any", layer), endpoints=shared)
        if isinstance(layer, Health) or role_of(layer) == "router"
        else layer
        for layer in layers
    ]


def unfit(layers: Sequence[Layer]) -> Iterator[tuple[int, str | None]]:
    """Yield the place of each layer with an endpoint that it cannot probe, and why.

    None: the endpoint stands in for one with mistakes, which have been told.
    """
    there = [(n, layer) for n, layer in enumerate(layers) if isinstance(layer, Health)]
    for n, health in there:
        for endpoint in _routed(layers):
            says = _why_not(health, endpoint) if endpoint.asks else ""
            if says:
                yield n, None if endpoint.service is dispatch else says


def _why_not(health: Health, endpoint: Endpoint) -> str:
    """Return why *endpoint* cannot be probed; "" if it can be."""
    try:
        cast("Checks", health.probe).check(endpoint)  # as all of those above do
    except ConfigError as error:
        return error.message
    return ""


def _routed(layers: Sequence[Layer]) -> tuple[Endpoint, ...]:
    (router,) = (layer for layer in layers if role_of(layer) == "router")
    return tuple(cast("Any", router).endpoints)
