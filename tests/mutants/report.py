"""What became of the mutants: a table by module, and whether that is good enough.

Good enough is: of all mutants at least `ENOUGH` are killed, those that live are in the list,
and nothing else is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, final

from attrs import define, field

from tests.mutants.survivors import Place, as_entries


__all__ = ["ENOUGH", "Report", "Verdict"]

Verdict = Literal["killed", "survived", "not covered"]

ENOUGH: Final = 0.95
_COLUMNS: Final = ("module", "mutants", "killed", "survived", "not covered", "share")


@final
@define(eq=False)
class Report:
    """Counts verdicts; *listed* are the mutants that may live."""

    listed: Mapping[Place, int]
    counts: dict[str, Counter[Verdict]] = field(factory=dict, init=False)
    alive: Counter[Place] = field(factory=Counter, init=False)

    def add(self, place: Place, verdict: Verdict) -> None:
        """Count one mutant."""
        self.counts.setdefault(place.module, Counter())[verdict] += 1
        if verdict != "killed":
            self.alive[place] += 1

    @property
    def unlisted(self) -> list[Place]:
        """Those that live, and have no reason to."""
        return sorted((self.alive - Counter(self.listed)).elements())

    @property
    def stale(self) -> list[Place]:
        """Those that are listed in a module that was looked at, and are dead or gone."""
        ours = Counter({each: n for each, n in self.listed.items() if each.module in self.counts})
        return sorted((ours - self.alive).elements())

    @property
    def share(self) -> float:
        """What share of all is killed; of nothing, all."""
        whole: Counter[Verdict] = sum(self.counts.values(), Counter())
        return whole["killed"] / whole.total() if whole else 1.0

    @property
    def good(self) -> bool:
        """Whether it is good enough."""
        return self.share >= ENOUGH and not self.unlisted and not self.stale

    def lines(self) -> Iterator[str]:
        """Yield the table, and what is to be done, line by line."""
        whole: Counter[Verdict] = sum(self.counts.values(), Counter())
        yield _line(_COLUMNS)
        for module, count in self.counts.items():
            yield _row(module, count)
        yield _row("all", whole)
        if self.unlisted:
            yield "\nThese live, and are not in the list. A test is missing, or code is too many:\n"
            yield as_entries(self.unlisted)
        if self.stale:
            yield "\nThese are in the list, and do not live (any more):\n"
            yield as_entries(self.stale)
        if self.share < ENOUGH:
            yield f"{self.share:.1%} are killed, and it should be {ENOUGH:.0%}"


def _row(name: str, count: Mapping[Verdict, int]) -> str:
    whole = sum(count.values())
    killed = count.get("killed", 0)
    share = f"{killed / whole:.1%}" if whole else "-"
    return _line(
        (name, whole, killed, count.get("survived", 0), count.get("not covered", 0), share)
    )


def _line(cells: Iterable[object]) -> str:
    name, *rest = cells
    return f"{name:<28}" + "".join(f"{cell:>12}" for cell in rest)
