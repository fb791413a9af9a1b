"""The documentation of the circuit, as questions to a list of what has happened."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Final, NamedTuple, final

from attrs import define, field

from llmstack.estimators.phase import Probes


BASE: Final = 5.0
CAP: Final = 30.0
#: What begins a generation.
TURNS: Final = ("opened", "halved", "closed", "reset", "disabled")
#: What makes it quick again.
CALMS: Final = ("calmed", "relearned")


class Entry(NamedTuple):
    """*call* is the place in the list where the call was sent."""

    what: str
    at: float
    call: int = -1
    probe: bool = False
    bad: bool = False
    wait: float = 0.0
    hard: bool = False


def is_total(bads: list[bool]) -> bool:
    """Whether 95 % of the last 20 failed, or of all, if they are five."""
    return len(bads) >= 5 and bads[-20:].count(False) <= len(bads[-20:]) / 20


def nominal(level: int) -> float:
    return min(CAP, BASE * 2.0 ** (level - 1))


@final
@define
class Past:
    """All that has happened, and what follows from it."""

    ramp: float
    probes: Probes
    row: int
    log: list[Entry] = field(factory=list)

    def after(self, *kinds: str) -> list[Entry]:
        """What came after the last of *kinds*."""
        last = max((n for n, entry in enumerate(self.log) if entry.what in kinds), default=-1)
        return self.log[last + 1 :]

    def last(self, *kinds: str) -> Entry | None:
        return next((entry for entry in reversed(self.log) if entry.what in kinds), None)

    @property
    def state(self) -> str:
        turn = self.last(*TURNS)
        if turn is None or turn.what in {"closed", "reset"}:
            pace = self.last("slowed", *CALMS, *TURNS)
            return "degraded" if pace is not None and pace.what == "slowed" else "closed"
        if turn.what == "disabled":
            return "disabled"
        probed = any(entry.probe for entry in self.after(*TURNS))
        return "half_open" if turn.what == "halved" or probed else "open"

    @property
    def shut(self) -> bool:
        return self.state in {"open", "half_open"}

    @property
    def hard(self) -> bool:
        """Said when it opened, or found out since by what was let through all the same."""
        bads = self.bads(self.log)
        since = [e for e in self.after(*TURNS) if e.what == "learned"]
        known = len(bads) - len(since)
        found = [is_total(bads[: known + n]) for n, entry in enumerate(since, 1) if not entry.probe]
        opened = self.last("opened", "halved")
        return opened is not None and (opened.hard or any(found))

    @property
    def until(self) -> float:
        opened = self.last("opened")
        return 0.0 if opened is None else opened.at + opened.wait

    def bads(self, log: list[Entry]) -> list[bool]:
        """All outcomes since it last closed."""
        closings = [n for n, entry in enumerate(log) if entry.what in {"closed", "reset"}]
        since = log[closings[-1] :] if closings else log
        return [entry.bad for entry in since if entry.what == "learned"]

    @property
    def out(self) -> int:
        """Probes of this round that have not come back."""
        mine = [entry for entry in self.after(*TURNS) if entry.probe]
        return sum(1 if entry.what == "sent" else -1 for entry in mine)

    @property
    def in_flight(self) -> int:
        return sum({"sent": 1, "over": -1}.get(entry.what, 0) for entry in self.log)

    def share(self, now: float) -> float:
        """Which part of the routed requests a closed or degraded circuit lets through."""
        most = 0.25 if self.state == "degraded" else 1.0
        start = self.last("closed", "reset", *CALMS)
        if start is None or start.what == "reset" or self.ramp == 0:
            return most
        grown = (0.25 if start.what in CALMS else 0.0) + (now - start.at) / self.ramp
        return min(most, max(0.1, grown))

    def level(self, now: float) -> int:
        """How many openings health has not made up for."""
        level, healthy = 0, now
        for entry in [*self.log, Entry("opened", now)]:
            if entry.what == "opened":
                level = left(level, entry.at - healthy)
                level, healthy = level + (level == 0 or nominal(level) < CAP), float("inf")
            elif entry.what == "closed":
                healthy = entry.at + self.ramp
            elif entry.what == "reset":
                level = 0
        return level

    def is_silent(self, now: float) -> bool:
        """Nobody has sent anything for a while, nor has an operator opened it."""
        kinds = {("sent", True), ("sent", False), ("opened", True)}
        noise = (e for e in reversed(self.log) if (e.what, e.call < 0) in kinds)
        last = next(noise, None)
        return last is None or now - last.at >= 5

    def answer(self, now: float, draw: float, *, asks: str, allowed: bool) -> tuple[object, ...]:
        """What a request gets: "probe" or "pass", or a refusal, its softness and its end."""
        insists, state = asks == "insists", self.state
        if state == "disabled":
            return ("pass",)
        if state in {"closed", "degraded"}:
            late = asks == "routed" and draw >= self.share(now)
            return ("refused", True, None) if late else ("pass",)
        wakes = state == "open" and self.hard and self.is_silent(now)
        is_time = state == "half_open" or self.until <= now or (wakes and insists)
        if allowed and is_time and self.out < self.probes.at_once:
            return ("probe",)
        if insists and not self.hard:
            return ("pass",)
        left = 0.0 if state == "half_open" else max(self.until, now) - now
        return "refused", not self.hard or (wakes and allowed), left or None

    def is_stale(self, call: int) -> bool:
        """Whether nobody listens: it was disabled, has turned since, or *call* has had its say."""
        before = next((e for e in reversed(self.log[:call]) if e.what in TURNS), None)
        since = self.log[call + 1 :]
        said = [entry for entry in since if entry.call == call and entry.probe]
        unwatched = before is not None and before.what == "disabled"
        return unwatched or bool(said) or any(entry.what in TURNS for entry in since)

    def learn(self, call: int, now: float, verdict: str, draw: float, named: float) -> None:
        """Note how *call* ended; a neutral end only gives the place of a probe back."""
        probe = self.log[call].probe
        if self.is_stale(call):
            return
        if verdict == "neutral":
            if probe:
                self.log.append(Entry("back", now, call, probe=True))
            return
        self.log.append(Entry("learned", now, call, probe, verdict == "bad"))
        turn = "".join(self.turn())
        if turn == "opened":
            self.open(now, draw, named, hard=is_total(self.bads(self.log)), call=call)
        elif turn:
            self.log.append(Entry(turn, now))
        elif self.state == "closed" and verdict == "slow":
            self.log.append(Entry("slowed", now))
        elif self.state == "degraded" and verdict in CALMS:
            self.log.append(Entry(verdict, now))

    def turn(self) -> Iterator[str]:
        """What follows from the outcomes of this generation, the last of which is new."""
        mine = [e for e in self.after(*TURNS) if e.what == "learned"]
        if not self.shut:
            row = list(accumulate((e.bad for e in mine), lambda n, bad: (n + 1) * bad, initial=0))
            if row[-1] >= self.row:
                yield "opened"
        elif sum(e.probe and not e.bad for e in mine) >= self.probes.successes:
            yield "closed"
        elif sum(e.probe and e.bad for e in mine) >= self.probes.failures:
            yield "opened"

    def open(
        self, now: float, draw: float, named: float = 0.0, *, hard: bool = True, call: int = -1
    ) -> None:
        wait = max(nominal(self.level(now)) * (0.5 + draw / 2), min(named, 300))
        self.log.append(Entry("opened", now, call, wait=wait, hard=hard))


def left(level: int, health: float) -> int:
    """The level that is left after so many seconds of health."""
    needed = [sum(map(nominal, range(n + 1, level + 1))) for n in range(level + 1)]
    return next(n for n, seconds in enumerate(needed) if seconds <= health or n == level)
