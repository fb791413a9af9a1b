"""The choices of one run of an exploration: given, drawn, or as asyncio would have them.

Each decision has a number, and so has each of its options; the first option is what asyncio
would do. A run is told by its deviations, from which `written` makes a word and `read` makes
them again. `llmstack.testing.races` is what asks. Errors: `ValueError` for a word that is
none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Final, final

from attrs import define, field


__all__ = ["Choices", "Deviations", "read", "written"]

#: The options that were chosen though they were not the first, by the numbers of the decisions.
Deviations = Mapping[int, int]

#: How likely a drawn run goes on with anyone; with 0, it holds somebody back for a while.
BOLD: Final = (0.0, 0.0, 0.1, 0.5, 1.0)
#: How likely that is then somebody else, or nobody.
CHANGE: Final = 0.1


@final
@define(eq=False)
class Choices:
    """What is chosen in one run: what is *given*; else what *rng* draws, or the first option.

    A drawn run cancels at a step with the chance *leave*.
    """

    given: Deviations = field(factory=dict)
    rng: Random | None = None
    leave: float = 0.0
    made: dict[int, int] = field(factory=dict, init=False)
    _sizes: list[int] = field(factory=list, init=False)
    _free: list[bool] = field(factory=list, init=False)
    _bold: float = field(default=0.0, init=False)
    _held: object = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        if self.rng is not None:
            self._bold = self.rng.choice(BOLD)

    def freely(self, size: int) -> int:
        """Choose one of *size* options that are all alike: none of them is a deviation."""
        drawn = 0 if self.rng is None else self.rng.randrange(size)
        return self._note(size, drawn, free=True)

    def next_of(self, ready: Sequence[object], others: int) -> int:
        """Choose who of those *ready* goes on; or behind them, whom of the *others* to cancel."""
        drawn = 0 if self.rng is None else self._drawn(self.rng, ready, others)
        return self._note(len(ready) + others, drawn, free=False)

    def further(self, *, free: bool) -> Iterator[Deviations]:
        """Yield the runs that deviate once more and later than this; or that choose otherwise."""
        for place in range(max(self.given, default=-1) + 1, len(self._sizes)):
            if self._free[place] == free:
                for choice in range(1, self._sizes[place]):
                    yield {**self.given, place: choice}

    def _note(self, size: int, drawn: int, *, free: bool) -> int:
        place = len(self._sizes)
        self._sizes.append(size)
        self._free.append(free)
        choice = self.given.get(place, drawn)
        # With a deviation left out, there may be less to choose from than there was.
        if not 0 < choice < size:
            return 0
        self.made[place] = choice
        return choice

    def _drawn(self, rng: Random, ready: Sequence[object], others: int) -> int:
        if others and rng.random() < self.leave:
            return len(ready) + rng.randrange(others)
        if not self._bold:
            if rng.random() < CHANGE:
                self._held = rng.choice([None, *ready])
            return next((n for n, each in enumerate(ready) if each is not self._held), 0)
        return rng.randrange(len(ready)) if rng.random() < self._bold else 0


def written(deviations: Deviations, /) -> str:
    """Return the word for *deviations*.

    >>> written({3: 1, 17: 2}), read("3.1-17.2")
    ('3.1-17.2', {3: 1, 17: 2})
    """
    return "-".join(f"{place}.{choice}" for place, choice in sorted(deviations.items()))


def read(word: str, /) -> Deviations:
    """Return the deviations that *word* stands for."""
    pairs = (pair.partition(".") for pair in word.split("-") if pair)
    return {int(place): int(choice) for place, _, choice in pairs}
