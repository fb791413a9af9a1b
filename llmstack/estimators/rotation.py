"""Whose turn it is among equals: the one that was chosen longest ago."""

from __future__ import annotations

from collections.abc import Collection
from typing import final

from attrs import define, field


__all__ = ["Rotation"]

#: The number of a choice, and that of the choice before it; 0 where there was none.
Turn = tuple[int, int]


@final
@define(eq=False)
class Rotation:
    """Numbers the choices, by name; a choice that came to nothing can be undone.

    Sorting by `last` puts those first that were never chosen, in the order given.

    >>> turns = Rotation()
    >>> turn = turns.take("a")
    >>> sorted("abc", key=turns.last)
    ['b', 'c', 'a']
    >>> turns.untake("a", turn)
    >>> sorted("abc", key=turns.last)
    ['a', 'b', 'c']
    """

    turn: int = field(default=0, init=False)
    chosen: dict[str, int] = field(factory=dict, init=False)

    def last(self, name: str) -> int:
        """Return the number of the last choice of *name*, 0 if there was none."""
        return self.chosen.get(name, 0)

    def take(self, name: str) -> Turn:
        """Book a choice of *name*; return what `untake` needs to undo it."""
        before = self.chosen.get(name, 0)
        self.turn += 1
        self.chosen[name] = self.turn
        return self.turn, before

    def untake(self, name: str, turn: Turn) -> None:
        """Undo the choice that `take` returned, unless a later one of *name* stands."""
        number, before = turn
        if self.chosen.get(name) == number:
            self.chosen[name] = before

    def keep(self, names: Collection[str]) -> None:
        """Forget all but *names*."""
        self.chosen = {name: n for name, n in self.chosen.items() if name in names}
