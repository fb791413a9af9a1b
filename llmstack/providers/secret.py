"""A credential that nothing shows: not its repr, not a format string, not a pickle.

Whoever needs the value says so: `Secret.reveal`. It is no attrs class, so that
``attrs.asdict`` keeps it closed as well.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import Final, Self, final


__all__ = ["Secret"]

MASK: Final = "***"


@final
class Secret:
    """A string that is only seen where it is asked for.

    >>> Secret("sk-123")
    ***
    >>> f"{Secret('sk-123'):>5}"
    '***'
    >>> Secret("sk-123").reveal()
    'sk-123'
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself; keep it in no variable that outlives the line."""
        return self._value

    def current(self) -> Self:
        """Return itself: this one never changes."""
        return self

    def __repr__(self) -> str:
        return MASK

    def __format__(self, _spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        # A copy that leaves the process leaves without the value.
        return Secret, (MASK,)

    def __getstate__(self) -> str:
        return MASK
