"""Properties: a check for all that can be drawn; here alone hypothesis is imported.

Errors: `ImportError` with what to install where hypothesis is missing; it is no dependency
of the package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar


try:
    from hypothesis import Phase, given, note, settings
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError("check_router and check_layer need hypothesis: install it first") from error


__all__ = ["for_all", "hold", "note", "st"]

_T = TypeVar("_T")


def for_all(drawn: st.SearchStrategy[_T], check: Callable[[_T], None], examples: int) -> None:
    """Call *check* with so many *examples* of what is drawn; the smallest that fails is shown."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
    )
    @given(drawn)
    def holds(example: _T) -> None:
        check(example)

    holds()


def hold(kept: object, promise: str) -> None:
    """Raise `AssertionError` with the *promise* unless it is *kept*."""
    if not kept:
        raise AssertionError(promise)
