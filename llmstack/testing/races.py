"""Races: one scenario in many orders, to find the one in which it goes wrong.

`explore` runs a scenario on a `VirtualLoop` again and again. Wherever several tasks could go
on, another one does, and any task but the scenario itself may be cancelled between any two
steps. First come all runs with one deviation from what asyncio would do, then all with two,
and so on, so that what is found is small; then runs that are drawn. Where one fails, its
deviations are left out as far as it still does. The error has a note: the steps, and the
word with which `replay` repeats them.

A step is one callback that the loop runs. Each task goes on by itself, and so does each timer
that has rung; other callbacks keep their order, as asyncio promises. So it is as if any wait
could have taken a little longer.

Runs are alike only if the scenario is: no sockets, no threads, seeded chance. Errors: what
the scenario and its checks raise; `Deadlock` and `Livelock`; `AssertionError` for tasks that
are left behind, and for what is told to nobody but the loop.
"""

from __future__ import annotations

from collections import deque
from math import inf
from random import Random
from types import MappingProxyType
from typing import Final, final

from attrs import define, field, frozen

from llmstack.testing.choices import Choices, Deviations, read, written
from llmstack.testing.interleaved import Run, Scenario


__all__ = ["Explored", "explore", "replay"]

_NONE: Final[Deviations] = MappingProxyType({})


@final
@frozen
class Explored:
    """What was tried: so many *runs*, and among them all that deviate *deviations* times.

    It is *complete* if there are no others; -1 deviations say that there are more choices.
    """

    runs: int
    deviations: int
    complete: bool


def explore(
    scenario: Scenario, *, runs: int = 1000, drawn: int = 1000, cancels: int = 1, seed: int = 0
) -> Explored:
    """Run ``scenario(explorer)`` in up to so many *runs*, the plainest first, then *drawn* ones.

    In each, so many *cancels* at most come from nowhere. Raises what goes wrong.

    >>> import asyncio
    >>> async def lost(explorer):
    ...     count = 0
    ...     async def add():
    ...         nonlocal count
    ...         seen = count
    ...         await asyncio.sleep(0)
    ...         count = seen + 1
    ...     await asyncio.gather(add(), add())
    ...     assert count == 2, count
    >>> explore(lost, cancels=0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    AssertionError: 1...
    """
    search = _Search(scenario, cancels)
    explored = search.in_order(runs)
    if explored.complete:
        return explored
    for n in range(drawn):
        search.run(Choices(rng=Random(f"{seed}/{n}"), leave=cancels / max(1, search.steps)))
    return Explored(search.runs, explored.deviations, complete=False)


def replay(scenario: Scenario, word: str, /) -> None:
    """Run *scenario* once more as it ran when *word* was told; raise what goes wrong."""
    error = _failed(scenario, read(word))
    if error is not None:
        raise error


@final
@define(eq=False)
class _Search:
    """Runs the scenario until it fails."""

    scenario: Scenario
    cancels: int
    runs: int = field(default=0, init=False)
    steps: int = field(default=0, init=False)  # of the run that does not deviate

    def run(self, choices: Choices) -> None:
        """Run it once; raise the error of the smallest run that fails in the same way."""
        self.runs += 1
        run = Run(self.scenario, choices, self.cancels).play()
        self.steps = self.steps or run.taken
        if run.error is None:
            return
        kept = self._smallest(choices.made, type(run.error))
        raise _failed(self.scenario, kept) or run.error

    def in_order(self, most: int) -> Explored:
        """Run it without deviations, then with one, and so on, *most* times at most."""
        level, levels = 0, [deque([iter([_NONE])])]
        while level < len(levels) and self.runs < most:
            if not levels[level]:
                level += 1
                continue
            branch = levels[level].popleft()
            given = next(branch, None)
            if given is None:
                continue
            choices = Choices(given)
            self.run(choices)
            levels[level] += (branch, choices.further(free=True))
            if level + 1 == len(levels):
                levels.append(deque())
            levels[level + 1].append(choices.further(free=False))
        return Explored(self.runs, level - 1, complete=level == len(levels))

    def _smallest(self, found: Deviations, kind: type[Exception]) -> Deviations:
        """Leave out of what was *found*, one by one, what is not needed for such an error."""
        kept = found
        for place in sorted(found, reverse=True):
            choices = Choices({p: choice for p, choice in kept.items() if p != place})
            error = Run(self.scenario, choices, self.cancels).play().error
            if type(error) is kind:
                kept = choices.made
        return kept


def _failed(scenario: Scenario, deviations: Deviations) -> Exception | None:
    """Run *scenario* with *deviations*; return its error with a note of how it came about."""
    run = Run(scenario, Choices(deviations), inf, tells=True).play()
    if run.error is not None:
        run.error.add_note("\n".join(["the steps:", *run.told]))
        run.error.add_note(f'once more: replay(scenario, "{written(deviations)}")')
    return run.error
