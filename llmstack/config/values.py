"""Single values of a configuration file: numbers, strings, and secrets, which are elsewhere.

Types are strict: a string is no number, a whole number is no truth. Errors: `Wrong`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from math import isnan
from pathlib import Path as File
from types import MappingProxyType
from typing import Final, TypeGuard

from llmstack.providers.secret import Secret


__all__ = ["PLAIN", "Wrong", "kind_of", "text"]

#: Names of variables that a message may repeat; other words might be the secret itself.
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*")


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


def _secret(value: object) -> Secret:
    """Read a secret from where it is; what stands here in its place is never repeated."""
    where, _, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    if where == "env" and name:
        if name in os.environ:
            return Secret(os.environ[name])
        raise Wrong(f"the environment variable {_named(name)} is not set")
    if where == "file" and name:
        try:
            return Secret(File(name).read_text().strip())
        except OSError as error:
            why = (error.strerror or "").lower()
        except ValueError:
            why = "it is not text"
        raise Wrong(f"the file cannot be read: {why}")
    raise Wrong('must be "env:NAME" or "file:PATH", so that no key stands in this file')


def _named(name: str) -> str:
    return name if _VARIABLE.fullmatch(name) else "of that name"


#: How to read values of a type that needs nothing else.
PLAIN: Final[Mapping[type, Callable[[object], object]]] = MappingProxyType(
    {float: _number, int: _integer, str: text, bool: _truth, Secret: _secret}
)
