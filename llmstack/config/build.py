"""From the tables to stacks: names become endpoints, routes become groups of each other."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final, final

from attrs import define, field

from llmstack import errors
from llmstack.builder import ServiceBuilder, Stack
from llmstack.config.lines import Path
from llmstack.config.mistakes import did_you_mean, shown
from llmstack.config.reading import Reader, Wrong
from llmstack.config.tables import EndpointTable, RouteTable
from llmstack.endpoint import Endpoint, Price
from llmstack.errors import ConfigError
from llmstack.estimators.trip import ConsecutiveFailures, FailureRatio, TripPolicy
from llmstack.layers.circuit_breaker import CircuitBreaker
from llmstack.layers.concurrency_limit import ConcurrencyLimit
from llmstack.layers.deadline import Deadline
from llmstack.layers.log import Log
from llmstack.layers.metrics import Metrics
from llmstack.layers.retry import Retry
from llmstack.layers.timeout import Timeout
from llmstack.messages import Request, dispatch
from llmstack.order import StackWarning, role_of
from llmstack.providers.openai import OpenAI
from llmstack.providers.transport import Transport
from llmstack.recorder import Recorder
from llmstack.routers.cost_based import CostBased, Unknown
from llmstack.routers.fallback import Fallback
from llmstack.routers.latency_based import LatencyBased
from llmstack.routers.round_robin import RoundRobin
from llmstack.routers.router import Endpoints
from llmstack.routers.weighted_random import WeightedRandom
from llmstack.service import Layer, by_endpoint, by_model, by_tenant


__all__ = ["Routes", "endpoint_of"]

LAYERS: Final[Mapping[str, type[Any]]] = {
    "circuit_breaker": CircuitBreaker,
    "concurrency_limit": ConcurrencyLimit,
    "cost_based": CostBased,
    "deadline": Deadline,
    "fallback": Fallback,
    "latency_based": LatencyBased,
    "log": Log,
    "metrics": Metrics,
    "retry": Retry,
    "round_robin": RoundRobin,
    "timeout": Timeout,
    "weighted_random": WeightedRandom,
}

KEYS: Final[Mapping[str, Callable[[Any], Hashable]]] = {
    "endpoint": by_endpoint,
    "model": by_model,
    "tenant": by_tenant,
}
POLICIES: Final[Mapping[str, type[Any]]] = {
    "consecutive_failures": ConsecutiveFailures,
    "failure_ratio": FailureRatio,
}


def endpoint_of(name: str, table: EndpointTable, transport: Transport) -> Endpoint:
    """Build the endpoint that *table* describes."""
    return Endpoint(
        name,
        OpenAI(table.base_url, api_key=table.api_key, transport=transport, connect=table.connect),
        table.weight,
        models=table.model if table.models is None else table.models,
        price=table.price,
        capabilities=table.capabilities,
        tags=table.tags,
    )


@final
@define(eq=False)
class Routes:
    """Builds the stack of each route; a route that others name becomes a group in them."""

    tables: Mapping[str, RouteTable]
    endpoints: Mapping[str, Endpoint]
    recorder: Recorder
    reader: Reader
    built: dict[str, Stack[Request, Any]] = field(factory=dict, init=False)
    warnings: list[str] = field(factory=list, init=False)
    _way: list[str] = field(factory=list, init=False)  # of routes that are being built

    def __attrs_post_init__(self) -> None:
        error_classes = {
            name: kind
            for name in errors.__all__
            if isinstance(kind := getattr(errors, name), type)
            and issubclass(kind, errors.LLMStackError)
        }
        self.reader.names(type[errors.LLMStackError], error_classes, "class of errors")
        self.reader.names(Callable[[Any], Hashable], KEYS, "key")
        self.reader.chosen(TripPolicy, POLICIES, "policy")
        self.reader.by(Unknown, self._unknown)
        self.reader.by(Metrics, self._metrics)
        self.reader.by(Endpoints, self._endpoints)

    def build(self) -> dict[str, Stack[Request, Any]]:
        """Build all routes; those with mistakes are left out, and the mistakes noted."""
        for name in self.tables:
            self._stack(name)
        return self.built

    def _stack(self, name: str) -> Stack[Request, Any] | None:
        if name in self._way:
            way = " > ".join([*self._way[self._way.index(name) :], name])
            raise Wrong(f"the route leads back to itself: {way}")
        if name not in self.built:
            self._way.append(name)
            self._build(name, ("routes", name, "layers"))
            self._way.pop()
        return self.built.get(name)

    def _build(self, name: str, path: Path) -> None:
        layers = [
            self._layer(table, (*path, n)) for n, table in enumerate(self.tables[name].layers)
        ]
        right = [layer for layer in layers if layer is not None]
        if len(right) < len(layers):
            return
        routers = [n for n, layer in enumerate(right) if role_of(layer) == "router"]
        if len(routers) != 1:
            many = "no router" if not routers else f"{len(routers)} routers"
            self.reader.mistakes.add(path, f"a route has one router, and this has {many}")
            return
        if not any(isinstance(layer, Metrics) for layer in right):
            # What callers see, and what each endpoint does.
            metrics = Metrics(self.recorder)
            below = routers[0] + 1
            right = [metrics, *right[:below], metrics, *right[below:]]
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", StackWarning)
                self.built[name] = ServiceBuilder(tuple(right)).service(dispatch)
        except ConfigError as error:
            self.reader.mistakes.add(path, error.message)
            return
        self.warnings += [f"{shown(path)}: {each.message}" for each in caught]

    def _layer(self, table: object, path: Path) -> Layer | None:
        try:
            kind, settings = self.reader.use(table, LAYERS, "layer")
        except Wrong as error:
            self.reader.mistakes.add((*path, "use"), str(error))
            return None
        layer: Layer | None = self.reader.read(settings, kind, path)
        return layer

    def _endpoints(self, value: object) -> tuple[Endpoint, ...]:
        """Read a list of names: of endpoints, or of other routes, which become groups."""
        if not isinstance(value, list) or not value:
            raise Wrong("must be an array with at least one name of an endpoint or a route")
        return tuple(self._endpoint(name) for name in value)

    def _endpoint(self, name: object) -> Endpoint:
        if isinstance(name, str) and name in self.endpoints:
            return self.endpoints[name]
        if not isinstance(name, str) or name not in self.tables:
            hint = did_you_mean(str(name), [*self.endpoints, *self.tables])
            raise Wrong(f"unknown endpoint {name!r}; {hint}")
        return Endpoint(name, self._stack(name) or dispatch)

    def _metrics(self, value: object) -> Metrics:
        if value:
            raise Wrong("metrics has no settings")
        return Metrics(self.recorder)

    def _unknown(self, value: object) -> object:
        if value == "last":
            return value
        if not isinstance(value, Mapping):
            raise Wrong('must be "last" or a price to reckon with')
        return self.reader.converter.structure(value, Price)
