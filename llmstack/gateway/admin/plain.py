"""What layers and routers say about themselves, as JSON: text, numbers, lists and objects.

Points in loop time mean nothing to a reader, so they become seconds from now. What is of a
class that nobody knows here is shown by the name of the class alone: it might hold a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from types import MappingProxyType
from typing import Any, Final

import attrs


__all__ = ["plain"]

#: Fields that are points in time, and what they are called as seconds from now, or until now.
_TIMES: Final[Mapping[str, str]] = MappingProxyType(
    {"ready_at": "ready_in", "until": "ends_in", "at": "ago"}
)


def plain(value: object, now: float) -> Any:  # noqa: ANN401 -- JSON
    """Return *value* as JSON can have it, at the time *now*."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {_key(key): plain(inner, now) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        inside = [plain(inner, now) for inner in value]
        return inside if isinstance(value, (list, tuple)) else sorted(inside, key=str)
    return _object(value, now) if attrs.has(type(value)) else type(value).__name__


def _object(value: Any, now: float) -> dict[str, Any]:  # noqa: ANN401 -- of any attrs class
    """Return the public fields of an attrs class; what its repr leaves out stays out."""
    found = {}
    for field in attrs.fields(type(value)):
        if field.repr and not field.name.startswith("_"):
            inner = getattr(value, field.name)
            name = _TIMES.get(field.name, field.name)
            if name != field.name and inner is not None:
                inner = round(max(0.0, now - inner if name == "ago" else inner - now), 3)
            found[name] = plain(inner, now)
    return found


def _key(key: object) -> str:
    return "" if key is None else str(key)
