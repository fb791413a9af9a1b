"""How fast data comes while somebody waits for it, against a least rate.

The average is taken over waiting alone: a slow reader is not a slow source. So that it
cannot be met by a fast start, it begins anew each time that *within* seconds of waiting
have been enough.

Errors: none. Events: none.
"""

from __future__ import annotations

from typing import Final, final

from attrs import define, field, setters


__all__ = ["Pace"]

#: The most looks in one window, when the waiting comes in small pieces.
LOOKS: Final = 8
#: A timer may come too early by the resolution of its clock; that is no reason for another.
NEAR: Final = 1 - 1e-6


@final
@define(eq=False, on_setattr=setters.NO_OP)
class Pace:
    """Whether at least *rate* bytes came for each second of waiting.

    >>> pace = Pace(rate=10.0, within=30.0)
    >>> pace.add(300, waited=20.0)
    >>> pace.look(5.0), pace.look(10.0)
    (5.0, 30.0)
    >>> pace.add(299, waited=39.0)
    >>> pace.look(1.0) is None
    True
    """

    rate: float
    within: float
    _size: int = field(default=0, init=False)
    _waited: float = field(default=0.0, init=False)

    def add(self, size: int, waited: float = 0.0) -> None:
        """Count *size* bytes that came after *waited* seconds of waiting."""
        self._size += size
        self._waited += waited

    def look(self, waiting: float | None) -> float | None:
        """Return in how many seconds to look again, or None: it is too slow.

        *waiting* is how long the present wait has lasted, None without one. Then nothing
        is decided, for what has come may not have been counted yet.
        """
        waited = self._waited + (waiting or 0.0)
        if waiting is not None and waited >= self.within * NEAR:
            if self._size < self.rate * waited:
                return None
            # The present wait is counted when it ends; what is over of it is taken off now.
            self._size, self._waited, waited = 0, -waiting, 0.0
        return max(self.within - waited, self.within / LOOKS)
