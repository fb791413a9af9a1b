"""How a stack is put together: the layers in reading order, then the floor."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from random import Random
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, final

import attrs
from attrs import define, field, frozen

from llmstack import clock
from llmstack.errors import ConfigError
from llmstack.messages import Request
from llmstack.order import Bound, absent, bound_of, check_order, parts_of, reasons, role_of
from llmstack.service import Layer, Req, Resp, Service
from llmstack.standing import Standing, standing_of, together, worst_of


__all__ = ["ServiceBuilder", "Stack"]

S = TypeVar("S")


def _present(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """Leave out layers that are not there."""
    return tuple(layer for layer in layers if layer is not absent)


@final
@frozen
class ServiceBuilder:
    """Layers in the order in which a request meets them: the first added is outermost.

    Immutable: every method returns a new builder. With a *seed* all chance in the stack
    (jitter, draws) is repeatable; each layer has dice of its own. Layers that may have a
    budget for what is sent again, and were given none, have one together.
    """

    layers: tuple[Layer, ...] = field(default=(), converter=_present)
    seed: int | None = field(default=None, kw_only=True)

    def layer(self, layer: Layer) -> ServiceBuilder:
        """Add *layer* below all that are there."""
        return attrs.evolve(self, layers=(*self.layers, layer))

    def replace(self, role: str, layer: Layer) -> ServiceBuilder:
        """Put *layer* in the place of the one with that role; `ConfigError` if not just one."""
        places = [n for n, there in enumerate(self.layers) if role_of(there) == role]
        if len(places) != 1:
            raise ConfigError(f"{len(places)} layers are {role}, so none was replaced")
        layers = list(self.layers)
        layers[places[0]] = layer
        return attrs.evolve(self, layers=tuple(layers))

    def service(self, leaf: Service[Req, Resp]) -> Stack[Req, Resp]:
        """Check the order and build the stack on *leaf*; `ConfigError` if the order is wrong."""
        check_order(self.layers)
        seed = self.seed
        layers = _sharing(self.layers)
        if seed is not None:
            layers = tuple(_seeded(f"{seed}/{n}", layer) for n, layer in enumerate(layers))
        services: list[Service[Any, Any]] = [leaf]
        for layer in reversed(layers):
            services.insert(0, layer(services[0]))
        for made, what in zip(services, [*map(role_of, layers), "the floor"], strict=True):
            if not callable(made):
                raise ConfigError(f"{what} is no service but {made!r}: it cannot be called")
        return Stack(layers, tuple(services))


def _sharing(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Return *layers* with one object each for what several would make, each for itself.

    A layer names such things in ``shares``, each with what makes it; who was given one keeps it.
    """
    parts = [part for layer in layers for part in parts_of(layer)]
    makes = {name: make for part in parts for name, make in getattr(part, "shares", {}).items()}
    for name, make in makes.items():
        without = [part for part in parts if getattr(part, name, part) is None]
        if len(without) > 1:
            made = make()
            layers = tuple(_given(name, made, layer) for layer in layers)
    return layers


def _given(name: str, made: object, layer: Any) -> Any:  # noqa: ANN401 -- a layer is any callable
    """Return *layer* with what was *made* where it has none; so with each of its branches."""
    changes: dict[str, object] = {
        branch: _given(name, made, getattr(layer, branch))
        for branch in getattr(layer, "branches", ())
    }
    if name in getattr(layer, "shares", ()) and getattr(layer, name) is None:
        changes[name] = made
    return attrs.evolve(layer, **changes) if changes else layer


def _seeded(seed: str, layer: Any) -> Any:  # noqa: ANN401 -- a layer is any callable
    """Return *layer* with dice of its own, unless it has some; so with each of its branches."""
    if not attrs.has(type(layer)):
        return layer
    changes: dict[str, object] = {
        branch: _seeded(f"{seed}/{branch}", getattr(layer, branch))
        for branch in getattr(layer, "branches", ())
    }
    if getattr(layer, "rng", layer) is None:
        # A string seeds alike in every process, whatever the hash seed.
        changes["rng"] = Random(f"{seed}/{role_of(layer)}")
    return attrs.evolve(layer, **changes) if changes else layer


@final
@define(eq=False, repr=False)
class Stack(Generic[Req, Resp]):
    """A built chain, itself a service; so it can be an endpoint of another stack.

    ``async with stack:`` starts what runs in the background and stops it at the end.
    """

    layers: tuple[Layer, ...]
    services: tuple[Service[Any, Any], ...]
    _running: AsyncExitStack | None = field(default=None, init=False)
    _entered: int = field(default=0, init=False)
    _change: asyncio.Event | None = field(default=None, init=False)  # it starts or stops now

    def __call__(self, request: Req, /) -> Coroutine[Any, Any, Resp]:
        """Answer *request* through all layers."""
        return self.services[0](request)

    def __getitem__(self, role: str) -> Any:  # noqa: ANN401 -- whatever service has that role
        """Return the outermost service of that role; `ConfigError` if there is none."""
        for layer, service in zip(self.layers, self.services, strict=False):
            if role_of(layer) == role:
                return service
        known = ", ".join(map(role_of, self.layers)) or "none"
        raise ConfigError(f"no layer is {role}; there are: {known}")

    def find(self, kind: type[S]) -> S:
        """Return the outermost service of type *kind*; `ConfigError` if there is none."""
        for service in self.services:
            if isinstance(service, kind):
                return service
        raise ConfigError(f"the stack has no {kind.__name__}")

    @property
    def bound(self) -> Bound:
        """The most that one request can take."""
        return bound_of(self.layers)

    def describe(self) -> str:
        """Return the chain in the way of the data, with reasons for the order and the bound."""
        lines: list[str] = []
        told: set[str] = set()
        for layer in self.layers:
            lines.append(_shown(layer))
            lines += [f"    {reason}" for reason in reasons(self.layers, layer)]
            lines += [f"    {line}" for line in _groups(layer, told)]
        return "\n".join([*lines, role_of(self.services[-1]), str(self.bound)])

    def standings(self, request: object = None) -> dict[str, Standing]:
        """Return how each endpoint of the outermost router stands, by name: a read.

        That is the worst that breaker, cooldown, health and limits say, towards *request* if
        one is given. Without a router there is none.
        """
        for service in self.services:
            read = getattr(service, "standings", None)
            if read is not None:
                standings: dict[str, Standing] = read(Request() if request is None else request)
                return standings
        return {}

    def standing(self, request: object = None) -> Standing:
        """Return how the stack stands as a whole: as its best endpoint, or worse, if a layer is.

        That is what an endpoint of another stack is, of which this is the service.
        """
        asked = Request() if request is None else request
        return worst_of([standing_of(self.services[0], asked), together(self.standings(asked))])

    def statistics(self) -> dict[str, Any]:
        """Return the state of every layer that keeps one, by role; a second one is "role 2".

        While a loop runs, *endpoints* says how each of them stands now.
        """
        found: dict[str, Any] = {}
        if clock.runs():
            standings = self.standings()
            found |= {"endpoints": standings} if standings else {}
        for n, (layer, service) in enumerate(zip(self.layers, self.services, strict=False)):
            read = getattr(service, "statistics", None)
            # A layer may decide to add nothing, and return the service below it.
            if read is not None and service is not self.services[n + 1]:
                role = role_of(layer)
                same = sum(name.split(" ")[0] == role for name in found)
                found[f"{role} {same + 1}" if same else role] = read()
        return found

    def __repr__(self) -> str:
        """Name the layers, outermost first."""
        return f"<Stack {' > '.join([*map(role_of, self.layers), role_of(self.services[-1])])}>"

    async def __aenter__(self) -> Self:
        """Start what runs in the background: layers, floor, and the services of endpoints.

        A stack may stand in several others; the first to enter starts it.
        """
        while self._change is not None:  # somebody else is at it
            await self._change.wait()
        if self._running is None:
            with self._changing():
                self._running = await self._start()
        self._entered += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it, the last started first, when the last has left."""
        self._entered -= 1
        running = self._running
        if running is not None and not self._entered:
            self._running = None
            with self._changing():
                await running.aclose()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Have those who enter meanwhile wait."""
        change = self._change = asyncio.Event()
        try:
            yield
        finally:
            self._change = None
            change.set()

    async def _start(self) -> AsyncExitStack:
        """Start all parts, or none."""
        async with AsyncExitStack() as starting:
            for part in self._parts():
                if isinstance(part, AbstractAsyncContextManager):
                    await starting.enter_async_context(part)
            return starting.pop_all()

    def _parts(self) -> list[object]:
        """Return what may need a start, each once: one client may stand behind many endpoints."""
        # Endpoints first, so that they end last: what runs in a layer may be asking one.
        layers = [part for layer in self.layers for part in parts_of(layer)]
        parts = [e.service for layer in layers for e in getattr(layer, "endpoints", ())]
        parts += reversed(self.services)
        return list({id(part): part for part in parts}.values())


def _shown(layer: object) -> str:
    """Return the settings of *layer*; its role, if its repr tells only where it lies."""
    plain = type(layer).__repr__ is object.__repr__ or not hasattr(layer, "role")
    return role_of(layer) if plain else repr(layer)


def _groups(layer: object, told: set[str]) -> Iterator[str]:
    """Describe the stacks that stand behind the endpoints of *layer* and were not *told* yet."""
    for endpoint in getattr(layer, "endpoints", ()):
        if isinstance(endpoint.service, Stack) and endpoint.name not in told:
            told.add(endpoint.name)
            yield f"{endpoint.name}:"
            yield from (f"    {line}" for line in endpoint.service.describe().splitlines())
