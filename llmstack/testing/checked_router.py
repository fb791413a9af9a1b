"""What every router promises, as properties over drawn endpoints and traffic.

`check_router` builds the router many times, puts endpoints below it that answer, refuse and
fail as drawn, and compares whom it asked with whom it might ask. Time is virtual; chance
comes from hypothesis and from the builder's seed.

Errors: `AssertionError` that says which promise was not kept, with the smallest traffic that
breaks it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import permutations
from typing import Final, final

from attrs import frozen
from hypothesis import given, note, settings
from hypothesis import strategies as st

from llmstack.endpoint import Endpoint, Price
from llmstack.errors import NoEndpoint, Refused
from llmstack.messages import Request
from llmstack.service import Layer
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from llmstack.testing.stage import ACTS, MODEL, Place, Seen, Stage, Turn, still_out
from llmstack.testing.virtual import run_virtual


__all__ = ["check_router"]

Makes = Callable[[list[Endpoint]], Layer]

#: Two sets of names, one in the order of the alphabet and one against it.
NAMES: Final = ("a", "b", "c", "d", "e")
OTHERS: Final = ("z", "y", "x", "w", "v")

_prices = st.none() | st.builds(Price, st.integers(0, 3), st.integers(0, 3))
_places = st.builds(Place, st.sampled_from([0, 1, 1, 2, 5]), _prices, st.sampled_from([True] * 4 + [False]))
#: At least one weight is positive: a router may want that.
_casts = st.lists(_places, min_size=1, max_size=5).filter(lambda cast: any(p.weight for p in cast))
_acts = st.tuples(*[st.sampled_from(["ok", "ok", "soft", "hard", *ACTS])] * len(NAMES))
_turns = st.lists(
    st.builds(Turn, _acts, st.sampled_from([0.0, 0.5, 60.0])), min_size=1, max_size=8
)
_seeds = st.integers(0, 999)


def check_router(
    make: Makes, *, order_free: bool = False, by_name: bool = False, examples: int = 50
) -> None:
    """Check that the router of ``make(endpoints)`` keeps what every router promises.

    With *order_free*, the order of the endpoints in the list must make no difference to a
    new router, as long as weights and prices differ; leave it off where the order is the
    point, or dice are cast. With *by_name*, decisions may depend on what endpoints are
    called. Each property is tried with so many *examples*.

    Chance must come from the layer's ``rng`` field or from ``make``, seeded.
    """
    checks = _Checks(make, examples)
    checks.asks_whom_it_may()
    checks.goes_elsewhere_first()
    checks.is_repeatable()
    checks.gives_back()
    if not by_name:
        checks.knows_no_names()
    if order_free:
        checks.knows_no_order()


def _hold(kept: object, promise: str) -> None:
    if not kept:
        raise AssertionError(promise)


@final
@frozen
class _Checks:
    """The promises, each a property; *make* is the router that must keep them."""

    make: Makes
    examples: int

    def stage(self, cast: list[Place], seed: int, names: tuple[str, ...] = NAMES) -> Stage:
        return Stage(self.make, cast, names, seed)
