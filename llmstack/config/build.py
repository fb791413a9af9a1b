"""From the tables to stacks: names become endpoints, routes become groups of each other."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import combinations
from typing import Any, Final, cast, final

from attrs import define, evolve, field

from llmstack import errors
from llmstack.builder import ServiceBuilder, Stack
from llmstack.config.lines import Path
from llmstack.config.mistakes import Mistakes, did_you_mean
from llmstack.config.probing import probing, read_health, unfit
from llmstack.config.reading import Reader, each
from llmstack.config.tables import RouteTable
from llmstack.config.values import Wrong, kind_of
from llmstack.endpoint import Endpoint, Price
from llmstack.errors import ConfigError
from llmstack.estimators.cooling import CoolingBoard
from llmstack.estimators.cusum import Cusum
from llmstack.estimators.trip import ConsecutiveFailures, FailureRatio, TripPolicy
from llmstack.estimators.z_score import LatencyZScore
from llmstack.layers.circuit_breaker import CircuitBreaker
from llmstack.layers.concurrency_limit import ConcurrencyLimit
from llmstack.layers.cooldown import Cooldown
from llmstack.layers.deadline import Deadline
from llmstack.layers.health import Health
from llmstack.layers.hedge import Hedge, always, by_shape, without_tools
from llmstack.layers.log import Log
from llmstack.layers.metrics import Metrics
from llmstack.layers.retry import Retry
from llmstack.layers.timeout import Timeout
from llmstack.layers.translate import Translate
from llmstack.messages import Request, dispatch
from llmstack.order import StackWarning, check_order, role_of
from llmstack.recorder import Recorder
from llmstack.routers.cost_based import CostBased, Unknown
from llmstack.routers.fallback import Fallback
from llmstack.routers.keys import Keys
from llmstack.routers.latency_based import LatencyBased
from llmstack.routers.round_robin import RoundRobin
from llmstack.routers.router import Endpoints
from llmstack.routers.triggers import TRIGGERS, Trigger
from llmstack.routers.weighted_random import WeightedRandom
from llmstack.service import Layer, by_endpoint, by_model, by_tenant


__all__ = ["Routes"]

#: How many routes may be groups of one another; each call passes through all of them.
DEPTH: Final = 32

LAYERS: Final[Mapping[str, type[Any]]] = {
    "circuit_breaker": CircuitBreaker,
    "concurrency_limit": ConcurrencyLimit,
    "cooldown": Cooldown,
    "cost_based": CostBased,
    "deadline": Deadline,
    "fallback": Fallback,
    "health": Health,
    "hedge": Hedge,
    "keys": Keys,
    "latency_based": LatencyBased,
    "log": Log,
    "metrics": Metrics,
    "retry": Retry,
    "round_robin": RoundRobin,
    "timeout": Timeout,
    "translate": Translate,
    "weighted_random": WeightedRandom,
}

KEYS: Final[Mapping[str, Callable[[Any], Hashable]]] = {
    "endpoint": by_endpoint,
    "model": by_model,
    "shape": by_shape,
    "tenant": by_tenant,
}
#: Which requests may be sent twice.
HEDGEABLE: Final[Mapping[str, Callable[[Any], bool]]] = {
    "always": always,
    "without_tools": without_tools,
}
POLICIES: Final[Mapping[str, type[Any]]] = {
    "consecutive_failures": ConsecutiveFailures,
    "cusum": Cusum,
    "failure_ratio": FailureRatio,
    "latency_z_score": LatencyZScore,
}


@final
@define(eq=False)
class Routes:
    """Builds the stack of each route; a route that others name becomes a group in them."""

    tables: Mapping[str, RouteTable | None]  # None: with mistakes
    endpoints: Mapping[str, Endpoint]
    recorder: Recorder
    reader: Reader
    board: CoolingBoard
    built: dict[str, Stack[Request, Any] | None] = field(factory=dict, init=False)
    doubts: Mistakes = field(init=False)
    _way: list[str] = field(factory=list, init=False)  # of routes that are being built

    def __attrs_post_init__(self) -> None:
        self.doubts = Mistakes(self.reader.mistakes.lines)
        error_classes = {
            name: kind
            for name in errors.__all__
            if isinstance(kind := getattr(errors, name), type)
            and issubclass(kind, errors.LLMStackError)
        }
        self.reader.names(type[errors.LLMStackError], error_classes, "class of errors")
        triggers = {**error_classes, **{name: name for name in TRIGGERS}}
        self.reader.names(Trigger, triggers, "trigger")
        self.reader.names(Callable[[Any], Hashable], KEYS, "key")
        self.reader.names(Callable[[Any], bool], HEDGEABLE, "rule")
        self.reader.chosen(TripPolicy, POLICIES, "policy")
        self.reader.chosen(Layer, LAYERS, "layer")
        self.reader.by(Unknown, self._unknown)
        self.reader.by(Metrics, self._metrics)
        self.reader.by(Endpoints, self._endpoints)
        read_health(self.reader)

    def build(self) -> dict[str, Stack[Request, Any]]:
        """Build all routes; those with mistakes are left out, and the mistakes noted."""
        stacks = {name: self._stack(name) for name in self.tables}
        return {name: stack for name, stack in stacks.items() if stack is not None}

    def _stack(self, name: str) -> Stack[Request, Any] | None:
        """Return the stack of the route *name*, None if it has mistakes; build it once."""
        if name in self._way:
            way = " > ".join([*self._way[self._way.index(name) :], name])
            raise Wrong(f"the route leads back to itself: {way}")
        if len(self._way) > DEPTH:
            raise Wrong(f"more than {DEPTH} routes name one another in a row")
        if name not in self.built:
            self._way.append(name)
            table, path = self.tables[name], ("routes", name, "layers")
            self.built[name] = None if table is None else self._build(table.layers, path)
            self._way.pop()
        return self.built[name]

    def _build(self, tables: Sequence[object], path: Path) -> Stack[Request, Any] | None:
        read = [self.reader.read(table, Layer, (*path, n)) for n, table in enumerate(tables)]
        layers = [self._sharing(layer) for layer in read if layer is not None]
        there = [layer or _named(table) for layer, table in zip(read, tables, strict=True)]
        if not self._in_order(there, path) or len(layers) < len(tables):
            return None
        if self._unfit(layers, path):
            return None
        layers = probing(layers)
        routers = [n for n, layer in enumerate(layers) if role_of(layer) == "router"]
        if not any(isinstance(layer, Metrics) for layer in layers):
            # What callers see, and what each endpoint does.
            metrics = Metrics(self.recorder)
            layers.insert(routers[0] + 1, metrics)
            layers.insert(0, metrics)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StackWarning)  # told already
            return ServiceBuilder(tuple(layers)).service(dispatch)

    def _sharing(self, layer: Layer) -> Layer:
        """Return *layer* as it is in all routes: what one learns of a key, the others know."""
        return evolve(layer, board=self.board) if isinstance(layer, Cooldown) else layer

    def _unfit(self, layers: Sequence[Layer], path: Path) -> bool:
        """Note the endpoints that cannot be probed as the route says; whether there are any."""
        wrong = [*unfit(layers)]
        for n, says in wrong:
            if says is not None:
                self.reader.mistakes.add((*path, n, "probe"), says)
        return bool(wrong)

    def _in_order(self, layers: Sequence[Layer | None], path: Path) -> bool:
        """Note the place of each layer that is wrong, or doubtful, below one above it."""
        right = None in layers or any(role_of(layer) == "router" for layer in layers)
        if not right:
            self.reader.mistakes.add(path, "a route has one router, and this has no router")
        there = [(n, layer) for n, layer in enumerate(layers) if layer is not None]
        for (_, outer), (n, inner) in combinations(there, 2):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", StackWarning)
                try:
                    check_order((outer, inner))
                except ConfigError as error:
                    self.reader.mistakes.add((*path, n), error.message)
                    right = False
            for doubt in caught:
                self.doubts.add((*path, n), str(doubt.message))
        return right

    def _endpoints(self, value: object) -> tuple[object, ...]:
        """Read a list of names: of endpoints, or of other routes, which become groups."""
        if not isinstance(value, list):
            raise Wrong(f"must be an array of names, not {kind_of(value)}")
        listed: set[object] = set()

        def read(name: object) -> Endpoint:
            endpoint = self._endpoint(name)
            if name in listed:
                raise Wrong(f"{name!r} is listed already")
            listed.add(name)
            return endpoint

        return tuple(each(enumerate(value), read))

    def _endpoint(self, name: object) -> Endpoint:
        if not isinstance(name, str):
            raise Wrong(f"must be the name of an endpoint or a route, not {kind_of(name)}")
        if name in self.endpoints:
            return self.endpoints[name]
        if name in self.tables:
            # A stand-in for one with mistakes, so that whoever names it is not wrong as well.
            return Endpoint(name, self._stack(name) or dispatch)
        hint = did_you_mean(name, [*self.endpoints, *self.tables])
        raise Wrong(f"unknown endpoint {name!r}; {hint}")

    def _metrics(self, settings: Any) -> Metrics:  # noqa: ANN401 -- a table without its use
        each(settings.items(), _no_setting)
        return Metrics(self.recorder)

    def _unknown(self, value: object) -> object:
        if value == "last" or isinstance(value, dict):
            return value if value == "last" else self.reader.converter.structure(value, Price)
        raise Wrong(f'must be "last" or a price, not {kind_of(value)}')


def _named(table: object) -> Layer | None:
    """Return a stand-in for a layer with mistakes: it has the place of its class, no settings."""
    use = table.get("use") if isinstance(table, dict) else None
    kind = LAYERS.get(use) if isinstance(use, str) else None
    return None if kind is None else cast("Layer", object.__new__(kind))


def _no_setting(_value: object) -> object:
    raise Wrong("is no setting here; metrics has none")
