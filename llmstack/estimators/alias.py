"""Choice by chance: each item as often as its weight says.

`AliasTable` costs one look a choice, however many items there are, and has to be built
anew when a weight changes. `choose` adds up the weights as it goes: right for few items,
or weights that move. Both take one number of chance from [0, 1), and never return an item
of weight zero.

Errors: `ValueError` if no weight is positive. Events: none.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from math import fsum
from typing import Generic, TypeVar, final

from attrs import frozen


__all__ = ["AliasTable", "choose"]

Item = TypeVar("Item", bound=Hashable)


def choose(weights: Mapping[Item, float], chance: float) -> Item:
    """Return the item in whose part of the added-up weights *chance* falls.

    >>> choose({"a": 1, "none": 0, "b": 3}, 0.25)
    'b'
    """
    last: Item | None = None
    mark = chance * sum(weights.values())
    for item, weight in weights.items():
        if weight > 0:
            if mark < weight:
                return item
            mark -= weight
            last = item
    if last is None:
        raise ValueError("no weight is positive")
    return last  # the sum was rounded up, or the subtractions were


@final
@frozen
class AliasTable(Generic[Item]):
    """The table of Vose: a column for each item, and in each at most one other item.

    >>> table = AliasTable.of({"a": 1, "b": 3})
    >>> table.pick(0.1), table.pick(0.3), table.pick(0.6)
    ('a', 'b', 'b')
    """

    items: tuple[Item, ...]  # who owns the column
    odds: tuple[float, ...]  # which part of it the owner has
    other: tuple[Item, ...]  # who has the rest

    @classmethod
    def of(cls, weights: Mapping[Item, float]) -> AliasTable[Item]:
        """Build the table for *weights*; those of zero get no column."""
        positive = {item: weight for item, weight in weights.items() if weight > 0}
        if not positive:
            raise ValueError("no weight is positive")
        items = tuple(positive)
        top = max(positive.values())  # divided by it, no sum can overflow
        heights = [weight / top for weight in positive.values()]
        mean = fsum(heights) / len(heights)
        odds = [height / mean for height in heights]
        other = list(items)
        low = [column for column, height in enumerate(odds) if height < 1.0]
        high = [column for column, height in enumerate(odds) if height >= 1.0]
        while low and high:
            short, tall = low.pop(), high[-1]
            other[short] = items[tall]
            odds[tall] -= 1.0 - odds[short]
            if odds[tall] < 1.0:
                low.append(high.pop())
        for column in low + high:
            odds[column] = 1.0  # it is, but for rounding
        return cls(items, tuple(odds), tuple(other))

    def pick(self, chance: float) -> Item:
        """Return the item at *chance*: its whole part is the column, the rest the height."""
        place = chance * len(self.items)
        column = int(place)
        return self.items[column] if place - column < self.odds[column] else self.other[column]
