"""Exploration: now and then a call goes where nobody has looked for long.

A router that always asks the best never learns that another one has become better. So a
small share of the calls goes to the stalest endpoint that could win. It is drawn before
the ranking, and costs nothing when the draw says no. A caller who has no room for it (a
short deadline, the last attempt) does not ask.

Errors: `ValueError` from wrong settings. Events: none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, inf
from typing import final

from attrs import field, frozen, validators


__all__ = ["Candidate", "Exploration"]


@final
@frozen
class Candidate:
    """An endpoint as exploration sees it."""

    name: str
    # When an attempt last ended here, in whatever way. Were it the last success, one that
    # only fails would be the stalest for ever and take every draw from the others.
    seen: float | None
    score: float  # in proportion to its latency, less is better; from a prior if unmeasured
    pending: int = 0  # attempts in flight


@final
@frozen(kw_only=True)
class Exploration:
    """Which calls explore, and where they go.

    >>> pool = [Candidate("eu", 99.0, 0.5), Candidate("us", 10.0, 1.5), Candidate("far", 9.0, 4.0)]
    >>> Exploration().explore(lambda: pool, chance=0.01, now=100.0)
    'us'
    """

    share: float = field(default=0.02, validator=[validators.ge(0), validators.le(1)])
    stale_after: float = field(default=30.0, validator=validators.gt(0))
    reach: float = field(default=4.0, validator=validators.ge(1))  # how much better it may be
    probe_share: float = field(default=0.05, validator=[validators.ge(0), validators.le(1)])

    def explore(
        self, candidates: Callable[[], Sequence[Candidate]], *, chance: float, now: float
    ) -> str | None:
        """Return the endpoint that this call explores; None, nearly always, if it does not."""
        return self.stalest(candidates(), now) if chance < self.share else None

    def stalest(self, candidates: Sequence[Candidate], now: float) -> str | None:
        """Return who was not seen for longest among those worth a look, None if nobody is.

        That is whoever was never seen, or is stale and could win if it were *reach* times
        better; and has no more attempts in flight than first probes may be. A tie goes to
        the first.
        """
        best = min((candidate.score for candidate in candidates), default=inf)
        room = self.probes(sum(candidate.pending for candidate in candidates))
        longest, name = self.stale_after, None
        for candidate in candidates:
            age, plausible = inf, True
            if candidate.seen is not None:
                age = now - candidate.seen
                plausible = candidate.score <= best * self.reach
            if age > longest and plausible and candidate.pending < room:
                longest, name = age, candidate.name
        return name

    def probes(self, in_flight: float) -> int:
        """Return how many first probes may be out at once, of *in_flight* attempts in all.

        By Little's law those in flight are the rate times the latency.
        """
        return max(1, ceil(self.probe_share * in_flight))
