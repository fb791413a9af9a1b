"""Whose turn it is among equals: the one that was chosen longest ago."""

from __future__ import annotations

from typing import final

from attrs import define, field


__all__ = ["Rotation"]


@final
@define(eq=False)
class Rotation:
    """Numbers the choices, by name; a choice that came to nothing can be undone.

    Sorting by `last` puts those first that were never chosen, in the order given.

    >>> turns = Rotation()
    >>> turns.take("a")
    0
    >>> sorted("abc", key=turns.last)
    ['b', 'c', 'a']
    """

    turn: int = field(default=0, init=False)
    chosen: dict[str, int] = field(factory=dict, init=False)

    def last(self, name: str) -> int:
        """Return the number of the last choice of *name*, 0 if there was none."""
        return self.chosen.get(name, 0)

    def take(self, name: str) -> int:
        """Book a choice of *name*; return what was there before, for `untake`."""
        before = self.chosen.get(name, 0)
        self.turn += 1
        self.chosen[name] = self.turn
        return before

    def untake(self, name: str, before: int) -> None:
        """Undo a choice; *before* is what `take` returned."""
        self.chosen[name] = before

    def keep(self, names: set[str]) -> None:
        """Forget all but *names*."""
        self.chosen = {name: n for name, n in self.chosen.items() if name in names}
