"""Checks for routers and layers of your own: the promises that the shipped ones keep.

`check_router` is for whoever chooses endpoints, `check_layer` for whoever works on requests
of any type. Both need hypothesis, and are called from a plain test::

    def test_my_router_keeps_its_promises() -> None:
        check_router(MyRouter)

Errors: `AssertionError` that says which promise was not kept; `ImportError` without
hypothesis.
"""

from __future__ import annotations

from llmstack.testing.checked_layer import check_layer
from llmstack.testing.checked_router import check_router


__all__ = ["check_layer", "check_router"]
