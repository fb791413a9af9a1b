"""Functions of a user that a layer calls in passing, and the one that it has where there is none.

They must answer at once.

Errors: `ConfigError`. Events: none.
"""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import Any

from attrs import Attribute

from llmstack.errors import ConfigError


__all__ = ["always", "answers_at_once"]


def always(_request: object, /) -> bool:
    """Say yes: to generate once more changes nothing but the bill."""
    return True


def answers_at_once(_instance: object, attribute: Attribute[Any], value: object) -> None:
    """Check that *value* can be called and is no ``async def``, whose answer would be "yes"."""
    name = attribute.name
    if not callable(value):
        # Only its type: what stands in the wrong place may be a key.
        raise ConfigError(f"{name} must be a function, not {type(value).__name__}")
    # An object with an async __call__ as well.
    if iscoroutinefunction(value) or iscoroutinefunction(type(value).__call__):
        raise ConfigError(f"{name} must be a plain function, not an async one: it is not awaited")
