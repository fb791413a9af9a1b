"""The machines of active health: what probes have found out, and when the next one is due.

A `Pulse` counts the probes of one endpoint in a row. A probe ends in one of three ways:
*good*, *bad* with a reason, or neutral, which changes nothing: the endpoint has answered,
and what it said is about a key, an account or the probe itself. A call that was answered
since the last probe is as good as a probe, and saves the next one.

`Checkups` has a pulse for each endpoint that there is, and says whose turn it is. The first
probe comes between half and one interval after an endpoint is first seen, so there is none
at the start; each further one an interval, give or take a tenth, after the last one ended.

There is no clock and no chance in here, both are given. Errors: `ValueError` from wrong
settings. Events: none; the layer tells the turns.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from math import inf
from typing import Final, Literal, final

from attrs import define, field, frozen, validators

from llmstack.standing import Standing


__all__ = ["AT_ONCE", "Checked", "Checkups", "Pulse", "Turn", "Verdict"]

#: How many probes may be under way.
AT_ONCE: Final = 2
#: The part of an interval that goes by, at least, before the first probe, and between looks.
FIRST: Final = 0.5
#: By how much an interval is longer or shorter, by chance.
JITTER: Final = 0.1

Verdict = Literal["good", "bad", "neutral"]


@final
@frozen
class Turn:
    """That an endpoint went down or came up, and why."""

    to: Literal["down", "up"]
    reason: str


@final
@frozen
class Checked:
    """What is known of an endpoint: its state, and how many probes in a row say so.

    *sent* counts probes, *saved* those that traffic has made needless, *refused* calls.
    *reason* and *at* are of the last probe that ended, at in loop time; the reason of a good
    one is "". *cost* is what probes have cost in USD, None where nobody knows.
    """

    state: Literal["up", "down"] = "up"
    good: int = 0
    bad: int = 0
    sent: int = 0
    saved: int = 0
    refused: int = 0
    reason: str = ""
    at: float | None = None
    cost: float | None = None


@final
@define(eq=False)
class Pulse:
    """Down after so many bad probes in a row, and up again after so many good ones.

    *answered* is set by whoever sees that a call was answered.
    """

    falls: int
    rises: int
    down: bool = field(default=False, init=False)
    answered: bool = field(default=False, init=False)
    why: str = field(default="", init=False)
    sent: int = field(default=0, init=False)
    saved: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)
    cost: float | None = field(default=None, init=False)
    _row: int = field(default=0, init=False)  # good ones in a row; bad ones, if below 0
    _reasons: deque[str] = field(init=False)
    _last: tuple[str, float | None] = field(default=("", None), init=False)

    def __attrs_post_init__(self) -> None:
        self._reasons = deque(maxlen=self.falls)

    def begin(self) -> None:
        """Learn that a probe is sent; calls that are answered from now on count for the next."""
        self.answered = False
        self.sent += 1

    def save(self) -> Turn | None:
        """Take the calls that were answered for a good probe."""
        self.answered = False
        self.saved += 1
        return self._well()

    def settle(self, verdict: Verdict, reason: str, now: float) -> Turn | None:
        """Learn how a probe ended; return the turn that this is, if it is one."""
        self._last = (reason, now)
        match verdict:
            case "good":
                return self._well()
            case "bad":
                return self._badly(reason)
            case _:
                return None

    def spend(self, cost: float) -> None:
        """Add what a probe has cost, in USD."""
        self.cost = cost + (self.cost or 0.0)

    def rest(self) -> None:
        """Forget the verdict: nobody probes any more, so nobody would see the end of it."""
        self.down = self.answered = False
        self._row = 0

    def _well(self) -> Turn | None:
        self._row = max(self._row, 0) + 1
        if not self.down or self._row < self.rises:
            return None
        self.down = False
        return Turn("up", f"{_probes(self.rises)} went well")

    def _badly(self, reason: str) -> Turn | None:
        self._row = min(self._row, 0) - 1
        self._reasons.append(reason)
        if -self._row < self.falls:
            return None
        self.why = f"{_probes(self.falls)} failed: {_counted(self._reasons)}"
        if self.down:
            return None
        self.down = True
        return Turn("down", self.why)

    def standing(self) -> Standing | None:
        """Return what would become of a request; None if it would just pass."""
        return Standing("down", self.why, soft=True) if self.down else None

    def statistics(self) -> Checked:
        """Return what is known now."""
        reason, at = self._last
        return Checked(
            state="down" if self.down else "up",
            good=max(self._row, 0),
            bad=max(-self._row, 0),
            sent=self.sent,
            saved=self.saved,
            refused=self.refused,
            reason=reason,
            at=at,
            cost=self.cost,
        )


def _probes(n: int) -> str:
    return f"{n} probes in a row" if n > 1 else "a probe"


def _counted(reasons: Iterable[str]) -> str:
    """Say reasons with how often each was there, the most frequent first."""
    return ", ".join(
        f"{reason} \N{MULTIPLICATION SIGN}{n}" if n > 1 else reason
        for reason, n in Counter(reasons).most_common()
    )


@final
@define(eq=False)
class Checkups:
    """Whose turn it is: at most `AT_ONCE` probes at a time, the longest due first.

    *chance* is a function that gives a number from 0 to 1.
    """

    interval: float = field(validator=validators.gt(0))
    falls: int = field(validator=validators.ge(1))
    rises: int = field(validator=validators.ge(1))
    chance: Callable[[], float] = field(repr=False)
    pulses: dict[str, Pulse] = field(factory=dict, init=False)
    _due: dict[str, float] = field(factory=dict, init=False)
    _out: set[str] = field(factory=set, init=False)

    def keep(self, names: Iterable[str], now: float) -> None:
        """Forget all but *names*; those that are new get their first turn."""
        there = dict.fromkeys(names)
        for gone in [name for name in self.pulses if name not in there]:
            del self.pulses[gone]
        self._due = {name: due for name, due in self._due.items() if name in there}
        for name in there:
            if name not in self.pulses:
                self.pulses[name] = Pulse(self.falls, self.rises)
            if name not in self._due:
                share = FIRST + (1 - FIRST) * self.chance()
                self._due[name] = now + share * self.interval

    def next(self, now: float) -> str | None:
        """Return whom to probe now, None if nobody; `begin` or `save` must follow."""
        name = min(self._waiting(), key=self._due.__getitem__, default=None)
        return None if name is None or self._due[name] > now else name

    def begin(self, name: str) -> Pulse:
        """Learn that a probe of *name* is under way; `end` is given the pulse back."""
        self._out.add(name)
        pulse = self.pulses[name]
        pulse.begin()
        return pulse

    def save(self, name: str, now: float) -> Turn | None:
        """Let the calls that *name* has answered stand for the probe that is due."""
        self._again(name, now)
        return self.pulses[name].save()

    def end(
        self, name: str, pulse: Pulse, verdict: Verdict, reason: str, now: float
    ) -> Turn | None:
        """Learn how the probe of *name* ended; who has left meanwhile is none of its business."""
        self._out.discard(name)
        if self.pulses.get(name) is not pulse:
            return None
        self._again(name, now)
        return pulse.settle(verdict, reason, now)

    def look(self, now: float) -> float:
        """Return when to look again, for who is due or new; sooner if a probe ends."""
        due = min((self._due[name] for name in self._waiting()), default=inf)
        return min(due, now + FIRST * self.interval)

    def rest(self) -> None:
        """Stop: nothing is due, under way or down any more."""
        self._due.clear()
        self._out.clear()
        for pulse in self.pulses.values():
            pulse.rest()

    def _waiting(self) -> list[str]:
        """Return who could be probed, now or later, without one of those under way to end."""
        if len(self._out) >= AT_ONCE:
            return []
        return [name for name in self._due if name not in self._out]

    def _again(self, name: str, now: float) -> None:
        self._due[name] = now + self.interval * (1 - JITTER + 2 * JITTER * self.chance())
