"""What a router chooses: endpoints, their price and abilities, and the set of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf, isfinite
from typing import Any, Final, final

from attrs import Attribute, define, evolve, field, frozen, validators

from llmstack.call import Usage
from llmstack.errors import ConfigError
from llmstack.service import Service


__all__ = ["Capabilities", "Endpoint", "EndpointSet", "Price"]

PER_MILLION: Final = 1_000_000


def _amount(_instance: object, attribute: Attribute[Any], value: object) -> None:
    """Check that it is a finite number from zero up."""
    if not (isinstance(value, (int, float)) and isfinite(value) and value >= 0):
        raise ConfigError(f"{attribute.name} must be a finite number >= 0, not {value}")


@final
@frozen
class Price:
    """What an endpoint charges, in USD per million tokens.

    *cached* is the price of prompt tokens read from the provider's cache; without one
    they cost as much as others.
    """

    input: float = field(validator=_amount)
    output: float = field(validator=_amount)
    cached: float | None = field(default=None, validator=validators.optional(_amount))

    def cost(self, usage: Usage) -> float:
        """Return what *usage* costs, in USD."""
        cached = self.input if self.cached is None else self.cached
        return (
            usage.input * self.input + usage.cached * cached + usage.output * self.output
        ) / PER_MILLION


@final
@frozen(kw_only=True)
class Capabilities:
    """What an endpoint can do; a request that needs more is not sent to it.

    Limits are in tokens, None where there is no known limit.
    """

    context: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    max_output: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    tools: bool = True
    vision: bool = True
    json_mode: bool = True


def _tags(tags: Iterable[str]) -> frozenset[str]:
    return frozenset(tags)


def _models(value: str | Mapping[str, str] | None) -> str | dict[str, str] | None:
    return value if value is None or isinstance(value, str) else dict(value)


@final
@frozen(eq=False)
class Endpoint:
    """A model at a provider under a key in a region; or a group, if *service* is a stack.

    *models* says what the provider calls the model: one name for every request, or a map
    from the name asked for, where ``"*"`` stands for all others and maps to ``"*"`` to
    pass them on. A name that the map lacks is not served here. Without *models* the name
    passes as asked. An unknown *price* is None, which is not zero. A weight of 0 takes no
    traffic. *tags* are promises (a region, a data policy) that requests may ask for. *key*
    and *account* name the credential and who pays, never the secret itself: endpoints with
    the same one share its limits and its troubles; "" is shared with nobody. *edition* tells
    how often the key has been exchanged, where that may happen. *url* is where it is reached,
    for probes; no secret is in it.
    """

    name: str = field(validator=validators.min_len(1))
    service: Service[Any, Any] = field(repr=False, validator=validators.is_callable())
    weight: float = field(default=1.0, validator=_amount)
    models: str | dict[str, str] | None = field(default=None, converter=_models, kw_only=True)
    price: Price | None = field(default=None, kw_only=True)
    capabilities: Capabilities | None = field(default=None, kw_only=True)
    tags: frozenset[str] = field(default=frozenset(), converter=_tags, kw_only=True)
    key: str = field(default="", kw_only=True)
    account: str = field(default="", kw_only=True)
    edition: Callable[[], int] | None = field(default=None, kw_only=True, repr=False)
    url: str = field(default="", kw_only=True)

    @property
    def asks(self) -> bool:
        """Whether anybody is asked who may be down: not so of a constant."""
        bound = getattr(self.service, "bound", None)
        return bound is None or bound.calls > 0

    @property
    def dearest(self) -> float:
        """What one call can cost at most, in USD; infinity where that is not known.

        The context window is full, and as much is written as may be.
        """
        price, able = self.price, self.capabilities
        if price is None or able is None or able.context is None:
            return inf
        written = able.context if able.max_output is None else able.max_output
        read = able.context * max(price.input, price.cached or 0.0)
        return (read + written * price.output) / PER_MILLION

    def model_for(self, asked: str) -> str | None:
        """Return the provider's name for the model *asked* for; None if it is not served."""
        models = self.models
        if models is None:
            return asked
        if isinstance(models, str):
            return models
        name = models.get(asked, models.get("*"))
        return asked if name == "*" else name


def _by_name(endpoints: Iterable[Endpoint]) -> dict[str, Endpoint]:
    named: dict[str, Endpoint] = {}
    for endpoint in endpoints:
        if endpoint.name in named:
            raise ConfigError(f"two endpoints are named {endpoint.name!r}")
        named[endpoint.name] = endpoint
    return named


@final
@define(eq=False)
class EndpointSet:
    """Endpoints that can change while traffic runs; pass one to several routers to share it.

    A change is seen by the next choice. Requests in flight are not touched: they hold the
    endpoint that they were given.
    """

    _endpoints: dict[str, Endpoint] = field(default=(), converter=_by_name)
    _disabled: set[str] = field(init=False, factory=set)
    _enabled: tuple[Endpoint, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._changed()

    @property
    def enabled(self) -> tuple[Endpoint, ...]:
        """Those that take traffic, in the order they were added."""
        return self._enabled

    def add(self, endpoint: Endpoint) -> None:
        """Add *endpoint* at the end; `ConfigError` if the name is taken."""
        if endpoint.name in self._endpoints:
            raise ConfigError(f"there is an endpoint named {endpoint.name!r} already")
        self._endpoints[endpoint.name] = endpoint
        self._changed()

    def remove(self, name: str) -> Endpoint:
        """Take the endpoint out and return it."""
        endpoint = self[name]
        del self._endpoints[name]
        self._disabled.discard(name)
        self._changed()
        return endpoint

    def enable(self, name: str) -> None:
        """Let traffic go to the endpoint again."""
        self._disabled.discard(self[name].name)
        self._changed()

    def disable(self, name: str) -> None:
        """Send no new request to the endpoint; it keeps its place and statistics."""
        self._disabled.add(self[name].name)
        self._changed()

    def reweight(self, name: str, weight: float) -> None:
        """Give the endpoint another weight."""
        self._endpoints[name] = evolve(self[name], weight=weight)
        self._changed()

    def is_enabled(self, name: str) -> bool:
        """Whether the endpoint takes traffic."""
        return self[name].name not in self._disabled

    def __getitem__(self, name: str) -> Endpoint:
        """Return the endpoint of that name; `ConfigError` if there is none."""
        try:
            return self._endpoints[name]
        except KeyError:
            known = ", ".join(self._endpoints) or "none"
            raise ConfigError(f"no endpoint is named {name!r}; there are: {known}") from None

    def __iter__(self) -> Iterator[Endpoint]:
        """Go through all endpoints, the disabled ones too."""
        return iter(tuple(self._endpoints.values()))

    def __len__(self) -> int:
        """Return how many there are, the disabled ones too."""
        return len(self._endpoints)

    def __contains__(self, name: object) -> bool:
        """Whether there is an endpoint of that name."""
        return name in self._endpoints

    def _changed(self) -> None:
        self._enabled = tuple(e for e in self._endpoints.values() if e.name not in self._disabled)
