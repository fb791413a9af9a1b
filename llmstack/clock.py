"""The one clock: the running event loop's.

Nothing else in the package reads time, so on a virtual-time loop the real layers run a
simulated hour in milliseconds. Machines never call this; they are given ``now``.
"""

from __future__ import annotations

import time
from asyncio import get_running_loop


__all__ = ["now", "runs", "wall"]


def now() -> float:
    """Return the loop's time in seconds; it only grows, and has no date."""
    return get_running_loop().time()


def runs() -> bool:
    """Whether there is a time: a loop runs in this thread."""
    try:
        get_running_loop()
    except RuntimeError:
        return False
    return True


def wall() -> float:
    """Return the time of day in seconds since 1970, UTC, for dates and daily budgets.

    A loop that brings its own ``wall()``, as a virtual one does, is asked first.
    """
    own = getattr(get_running_loop(), "wall", None)
    return float(own()) if own is not None else time.time()
