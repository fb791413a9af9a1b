"""What a router goes by: a picker ranks the endpoints, and learns how each attempt ended."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Protocol

from llmstack.call import Outcome
from llmstack.endpoint import Endpoint
from llmstack.messages import Request
from llmstack.routers.plan import Terms


__all__ = ["Picker"]


class Picker(Protocol):
    """Ranks the endpoints for one call and learns how each attempt ended.

    State is kept by endpoint *name*, so that a picker can be copied: `plan` runs the same
    methods on a deep copy.
    """

    def order(
        self, request: Request, endpoints: Sequence[Endpoint], now: float, /
    ) -> Iterator[Endpoint]:
        """Yield each of *endpoints* once, best first; whatever is yielded is asked at once.

        What a choice costs (a turn, a draw, a place in flight) is booked before the yield.
        To be asked for another one is the news that the last one refused.
        """
        ...

    def settle(self, endpoint: Endpoint, started: float, outcome: Outcome, /) -> None:
        """Learn how the attempt at *endpoint* ended: once for each yield, refusals too."""
        ...

    def explain(
        self, request: Request, endpoints: Sequence[Endpoint], now: float, /
    ) -> dict[str, Terms]:
        """Return what `order` goes by, for each endpoint by name. A read: changes nothing."""
        ...

    def keep(self, names: Collection[str], /) -> None:
        """Forget endpoints other than *names*."""
        ...

    def statistics(self) -> dict[str, Any]:
        """Return a snapshot of what is known, by endpoint name."""
        ...
