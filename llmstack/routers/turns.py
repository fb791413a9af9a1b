"""Turns by weight: the picker of those who are alike, endpoints or keys.

Errors: none of its own. Events: none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, final

from attrs import define, field

from llmstack.call import Outcome
from llmstack.endpoint import Endpoint
from llmstack.estimators.smooth_wrr import SmoothWrr
from llmstack.messages import Request
from llmstack.routers.plan import Terms


__all__ = ["Turns"]


@final
@define(eq=False)
class Turns:
    """The picker: smooth weighted round robin; who refuses was never there.

    Turns that are insisted on are counted apart, for those who refuse give back theirs: all
    of them soft, the same one would always be the first to be insisted on.
    """

    turns: SmoothWrr = field(factory=SmoothWrr)
    insisted: SmoothWrr = field(factory=SmoothWrr)

    def order(
        self, request: Request, endpoints: Sequence[Endpoint], _now: float, /
    ) -> Iterator[Endpoint]:
        """Yield whose turn it is; a turn is paid when it is taken, not when it ends."""
        turns = self.insisted if request.insists else self.turns
        left = {endpoint.name: endpoint for endpoint in endpoints}
        weights = {endpoint.name: endpoint.weight for endpoint in endpoints}
        while left:
            name = turns.take(weights)
            purse = turns.empty(name)
            yield left.pop(name)
            turns.untake(name, weights)
            turns.give_back(name, purse)
            turns.give_back(name, turns.empty(name))  # what it has earned while it was asked
            del weights[name]

    def settle(self, _endpoint: Endpoint, _started: float, _outcome: Outcome, /) -> None:
        """Learn nothing: a turn that was taken is a turn, however it ended."""

    def explain(
        self, request: Request, endpoints: Sequence[Endpoint], _now: float, /
    ) -> dict[str, Terms]:
        """Return what each has earned: the richest after earning its weight is next."""
        credit = (self.insisted if request.insists else self.turns).credit
        return {
            e.name: Terms(
                reason=f"weight {e.weight:g}",
                score=-(credit.get(e.name, 0.0) + e.weight),
                terms={"credit": credit.get(e.name, 0.0), "weight": e.weight},
            )
            for e in endpoints
        }

    def keep(self, names: Collection[str], /) -> None:
        """Forget endpoints other than *names*."""
        for turns in (self.turns, self.insisted):
            for name in turns.credit.keys() - set(names):
                turns.forget(name)

    def statistics(self) -> dict[str, Any]:
        """Return the credit of each endpoint, in turns' worth of weight."""
        return dict(self.turns.credit)
