"""Single values of a configuration file: numbers, strings, and secrets, which are elsewhere.

Types are strict: a string is no number, a whole number is no truth. Errors: `Wrong`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isnan
from types import MappingProxyType
from typing import Any, Final, TypeGuard

from llmstack.providers.credential import Credential, credential


__all__ = ["PLAIN", "Wrong", "kind_of", "text"]


class Wrong(ValueError):
    """A mistake with words of ours: shown as it is."""


def kind_of(value: object) -> str:
    """Return what a value is, in words; a number or a date is shown."""
    if type(value) is int and not _whole(value):
        return "one of more than 64 bits"
    names = {bool: "true or false", dict: "a table", list: "an array", str: "a string"}
    return names.get(type(value)) or str(value)


def _number(value: object) -> float:
    if _whole(value) or (isinstance(value, float) and not isnan(value)):
        return value
    raise Wrong(f"must be a number, not {kind_of(value)}")


def _integer(value: object) -> int:
    if _whole(value):
        return value
    raise Wrong(f"must be a whole number, not {kind_of(value)}")


def _whole(value: object) -> TypeGuard[int]:
    """Whether it is one of the integers that TOML has; `tomllib` reads longer ones as well."""
    return type(value) is int and -(2**63) <= value < 2**63


def text(value: object) -> str:
    """Read a string."""
    if not isinstance(value, str):
        raise Wrong(f"must be a string, not {kind_of(value)}")
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"must be true or false, not {kind_of(value)}")
    return value


def _credential(value: object) -> Credential:
    """Read a secret from where it is; what stands here in its place is never repeated."""
    return credential(value if isinstance(value, str) else "")


#: How to read values of a type that needs nothing else.
PLAIN: Final[Mapping[Any, Callable[[object], object]]] = MappingProxyType(
    {float: _number, int: _integer, str: text, bool: _truth, Credential: _credential}
)
