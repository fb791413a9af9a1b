"""Whether layers stand in an order that works, and how much a stack can cost at most.

Each layer says what it must be above or below, with the reason; here the sayings are
compared. A wrong order is an error, a doubtful one a warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from math import inf
from typing import Any, Final, Protocol, final, runtime_checkable

from attrs import frozen

from llmstack.errors import ConfigError
from llmstack.service import Layer, Req, Resp, Service


__all__ = [
    "Bound",
    "Bounded",
    "StackWarning",
    "absent",
    "bound_of",
    "check_order",
    "parts_of",
    "reasons",
    "role_of",
]

_NO_REASONS: Final[Mapping[str, str]] = {}


class StackWarning(UserWarning):
    """A stack that works, but hardly as it was meant."""


@final
@frozen
class Bound:
    """The most that one request can take: calls to upstream, seconds, and USD.

    What has no bound is infinity, and so is a cost that is not known: of an endpoint
    without a price, or without a context window.
    """

    calls: int = 1
    seconds: float = inf
    cost: float = inf

    def __str__(self) -> str:
        """Say it in words."""
        calls = f"at most {self.calls} upstream call{'s' if self.calls > 1 else ''}"
        seconds = "" if self.seconds == inf else f", {self.seconds:g} s"
        return calls + seconds + ("" if self.cost == inf else f", {self.cost:.4g} USD")

    def times(self, calls: int, *, waits: float = 0.0) -> Bound:
        """Return the bound of so many *calls* of this, with *waits* in seconds between them all."""
        return Bound(calls * self.calls, calls * self.seconds + waits, calls * self.cost)

    def within(self, seconds: float) -> Bound:
        """Return the same, over after so many *seconds* at most."""
        return Bound(self.calls, min(self.seconds, seconds), self.cost)


@runtime_checkable
class Bounded(Protocol):
    """A layer that changes the bound of what is below it."""

    def bound(self, inner: Bound, /) -> Bound:
        """Return the bound with this layer on top of *inner*."""
        ...


def absent(inner: Service[Req, Resp], /) -> Service[Req, Resp]:
    """Be a layer that is not there: a builder leaves it out."""
    return inner


def parts_of(layer: object) -> Iterator[Any]:
    """Yield *layer* and, where it is a choice of several, those as well."""
    yield layer
    for branch in getattr(layer, "branches", ()):
        yield from parts_of(getattr(layer, branch))


def role_of(layer: object) -> str:
    """Return the role that *layer* declares; for a plain function, its name."""
    named = getattr(layer, "__name__", type(layer).__name__)
    return str(getattr(layer, "role", named))


def bound_of(layers: Sequence[object]) -> Bound:
    """Return the bound of the whole stack, built up from the floor."""
    bound = Bound()
    for layer in reversed(layers):
        bound = _bound_with(layer, bound)
    return bound


def _bound_with(layer: object, inner: Bound) -> Bound:
    """Return the bound with *layer* on top: of a choice, the worse of its branches."""
    branches = [
        _bound_with(getattr(layer, branch), inner) for branch in getattr(layer, "branches", ())
    ]
    if branches:
        return Bound(
            max(b.calls for b in branches),
            max(b.seconds for b in branches),
            max(b.cost for b in branches),
        )
    return layer.bound(inner) if isinstance(layer, Bounded) else inner


def _sayings(layer: object, side: str) -> Mapping[str, str]:
    sayings: Mapping[str, str] = getattr(layer, side, _NO_REASONS)
    return sayings


def reasons(layers: Sequence[Layer], layer: Layer) -> Iterator[str]:
    """Yield why *layer* stands where it does, for the roles that are in the stack."""
    there = {role_of(part) for other in layers if other is not layer for part in parts_of(other)}
    for side in ("above", "below"):
        for role, reason in _sayings(layer, side).items():
            if role in there:
                yield f"{side} {role}: {reason}"


def check_order(layers: Sequence[Layer]) -> None:
    """Raise `ConfigError` that lists every wrong pair with its reason; warn of doubtful ones."""
    wrong = []
    for outer, inner in _pairs(layers):
        one, other = role_of(outer), role_of(inner)
        if other in _sayings(outer, "below"):
            wrong.append(f"{one} must be below {other}: {_sayings(outer, 'below')[other]}")
        if one in _sayings(inner, "above"):
            wrong.append(f"{other} must be above {one}: {_sayings(inner, 'above')[one]}")
        if one == other and hasattr(outer, "alone"):
            wrong.append(f"a stack has one {one}: {outer.alone}")
        _warn(outer, inner)
    if wrong:
        raise ConfigError("wrong order of layers: " + "; ".join(dict.fromkeys(wrong)))


def _pairs(layers: Sequence[Layer]) -> Iterator[tuple[Any, Any]]:
    for outer, inner in combinations(layers, 2):
        yield from product(parts_of(outer), parts_of(inner))


def _warn(outer: Any, inner: Any) -> None:  # noqa: ANN401 -- a layer is any callable
    role = role_of(outer)
    twice = getattr(outer, "twice", "")
    if twice and role == role_of(inner):
        warnings.warn(f"two layers are {role}: {twice}", StackWarning, stacklevel=4)
    if twice and role in getattr(inner, "also", ()):
        text = f"{role} stands above {role_of(inner)}, which does the same: {twice}"
        warnings.warn(text, StackWarning, stacklevel=4)
    groups = [getattr(e.service, "layers", ()) for e in getattr(inner, "endpoints", ())]
    if twice and any(role_of(layer) == role for layers in groups for layer in layers):
        text = f"{role} stands above a group that has one itself: {twice}"
        warnings.warn(text, StackWarning, stacklevel=4)
    within, takes = getattr(outer, "limits", None), getattr(inner, "limits", None)
    if within is not None and takes is not None and takes > within:
        text = f"{role_of(inner)} allows {takes:g} s, but {role} above it only {within:g} s"
        warnings.warn(text, StackWarning, stacklevel=4)
