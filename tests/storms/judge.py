"""What was promised of a storm, and whether it was kept; all figures are of the outside."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from math import inf
from typing import Final

from tests.storms.catalogue import FLOOR
from tests.storms.storm import NAMES, Played, Storm


__all__ = ["allowed", "broken", "crowd", "first_good", "too_early"]

#: Times what callers send: attempts of a whole storm, and of any second after an outage.
MORE: Final = 1.2
#: Rounding of sums of floats.
DUST: Final = 1e-6

Promise = Callable[[Storm, Played], Iterator[str]]


def broken(storm: Storm, played: Played) -> list[str]:
    """Each promise that was not kept, in words."""
    return [words for promise in PROMISES for words in promise(storm, played)]


def allowed(storm: Storm, played: Played) -> float:
    """The most attempts: a fifth more than calls, and where none is healthy, the floor.

    That is what a retry budget grants in any case: one a second, ten in a window.
    """
    floor = 0.0 if storm.promises.healthy else storm.seconds + FLOOR
    return MORE * len(played.calls) + floor


def crowd(played: Played, since: float) -> int:
    """The most requests that arrived upstream within one second, from *since* on."""
    times = sorted(at for at in chain(*played.asked) if at >= since)
    return max((bisect_left(times, at + 1.0 - DUST) - n for n, at in enumerate(times)), default=0)


def first_good(storm: Storm, played: Played, back: float) -> float:
    """Seconds from *back* until the first request came that was answered; infinite without any.

    What it takes to answer is not what a stack decides.
    """
    ended = [c.ended for c in played.calls if not c.failed and c.ended >= back + storm.latency]
    return min(ended, default=inf) - storm.latency - back


def too_early(storm: Storm, asked: Sequence[float], name: str) -> int:
    """How many requests came to *name* while it had asked to be left alone.

    It has when its answer is there, *latency* after a request, as long as it is limited.
    """
    named = storm.promises.named or 0.0
    since, until = (fault.at for fault in storm.faults if name in fault.whom)
    told = [at + storm.latency for at in asked if since <= at < until - storm.latency]
    return sum(any(t + DUST < at < t + named - DUST for t in told) for at in asked)


def _callers(storm: Storm, played: Played) -> Iterator[str]:
    failures, calls = played.failures, len(played.calls)
    if storm.promises.healthy and failures:
        yield f"{len(failures)} calls failed, the first: {failures[0].failed}"
    if calls - len(failures) < storm.promises.answered * calls:
        yield f"{len(failures)} of {calls} calls failed"


def _asks(storm: Storm, played: Played) -> Iterator[str]:
    unasked = sum(not call.attempts for call in played.failures)
    if storm.promises.asks and unasked:
        yield f"{unasked} calls failed for which nobody was asked"


def _attempts(storm: Storm, played: Played) -> Iterator[str]:
    most = allowed(storm, played)
    if played.attempts > most:
        yield f"{played.attempts} attempts, and {most:g} are allowed"
    since, until = storm.faults[0].at, storm.faults[-1].at
    calls = sum(since <= call.at < until for call in played.calls)
    attempts = sum(since <= at < until for at in chain(*played.asked))
    most = MORE * calls + until - since + FLOOR
    if attempts > most:
        yield f"{attempts} attempts in trouble, and {most:g} are allowed"


def _waits(storm: Storm, played: Played) -> Iterator[str]:
    if storm.promises.named is None:
        return
    last = max(fault.at for fault in storm.faults)
    limited = sorted({fault.whom for fault in storm.faults})
    asked = {name: played.asked[NAMES.index(name)] for name in limited}
    for name, times in asked.items():
        early = too_early(storm, times, name)
        if early:
            yield f"{name} was asked {early} times before its time"
    if max(chain(*asked.values())) <= last:
        yield "nobody who was limited was ever asked again"


def _return(storm: Storm, played: Played) -> Iterator[str]:
    promises = storm.promises
    if promises.back is None:
        return
    first, most = first_good(storm, played, promises.back), crowd(played, promises.back)
    if first > promises.within + 1 / storm.rate:  # somebody has to call
        yield f"the first request that was answered came {first:.2f} s after the return"
    if most > MORE * storm.rate + promises.spare + DUST:
        yield f"{most} requests in a second after the return, at {storm.rate:g} calls a second"


def _given_back(_storm: Storm, played: Played) -> Iterator[str]:
    yield from (f"not given back: {words}" for words in played.left)


PROMISES: Final[tuple[Promise, ...]] = (
    *(_callers, _asks, _attempts, _waits, _return, _given_back),
)
