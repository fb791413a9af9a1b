"""Smooth weighted round robin: turns by weight, spread as evenly as can be.

The arithmetic is that of nginx: for each turn everyone earns its weight, and the richest
pays what all have earned. So weights 5, 1, 1 give a a b a c a a and never five in a row.
A turn that came to nothing (the one chosen refused) can be undone, at any time later. Who
refuses also gives back what it has earned since its last turn, each part to the one who
paid it: so the others share the turns as if it had never been there.

Errors: `ValueError` if no weight is positive. Events: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import final

from attrs import define, field


__all__ = ["SmoothWrr"]


@final
@define(eq=False)
class SmoothWrr:
    """Who has earned how much, by name; the credits sum to zero.

    Each turn is between the names it is given: one that is missing (refused, not capable,
    disabled) neither earns nor pays and keeps its credit, until it is forgotten.

    >>> turns = SmoothWrr()
    >>> "".join(turns.take({"a": 5, "b": 1, "c": 1}) for _ in range(7))
    'aabacaa'
    """

    credit: dict[str, float] = field(factory=dict, init=False)
    earned: dict[str, dict[str, float]] = field(factory=dict, init=False)  # by earner and payer

    def take(self, weights: Mapping[str, float]) -> str:
        """Book a turn between *weights* and return whose it is; a tie goes to the first."""
        credit = self.credit
        best, most, total = "", -inf, 0.0
        for name, weight in weights.items():
            if weight > 0:
                total += weight
                earned = credit[name] = credit.get(name, 0.0) + weight
                if earned > most:
                    best, most = name, earned
        if not total:
            raise ValueError("no weight is positive")
        credit[best] = most - total
        for name, weight in weights.items():
            if weight > 0 and name != best:
                purse = self.earned.setdefault(name, {})
                purse[best] = purse.get(best, 0.0) + weight
        return best

    def untake(self, name: str, weights: Mapping[str, float]) -> None:
        """Undo a turn of *name*; *weights* are those with which it was taken."""
        credit = self.credit
        total = 0.0
        for other, weight in weights.items():
            if weight > 0:
                total += weight
                credit[other] = credit.get(other, 0.0) - weight
                purse = self.earned.get(other, {})
                if name in purse:  # else it is spent, or given back
                    purse[name] = max(0.0, purse[name] - weight)
        credit[name] += total

    def empty(self, name: str) -> dict[str, float]:
        """Take out and return what *name* has earned since the last time, by who paid it."""
        return self.earned.pop(name, {})

    def give_back(self, name: str, purse: Mapping[str, float]) -> None:
        """Return what is in *purse* from *name* to those who paid it and are still there."""
        for payer, amount in purse.items():
            if payer in self.credit:
                self.credit[payer] += amount
                self.credit[name] -= amount

    def forget(self, name: str) -> None:
        """Drop *name*; what it was owed is shared out evenly, so the order of the rest stays."""
        self.earned.pop(name, None)
        owed = self.credit.pop(name, 0.0)
        for other in self.credit:
            self.credit[other] += owed / len(self.credit)
