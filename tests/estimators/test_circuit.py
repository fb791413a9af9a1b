from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from attrs import define, frozen
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from llmstack.call import Outcome
from llmstack.errors import CircuitOpen, Overloaded, RateLimited
from llmstack.estimators.circuit import Circuit
from llmstack.estimators.open_time import OpenTimes
from llmstack.estimators.phase import Permit, Probes
from llmstack.estimators.ramp import Ramp
from llmstack.estimators.trip import Calm, ConsecutiveFailures, Detector, Sample, Trip
from llmstack.testing.scripted import dispatched
from tests.estimators.circuit_model import BASE, CAP, Entry, Past


#: Binary fractions, so that sums of times are exact.
seconds = st.sampled_from([0.25, 1.0, 2.5, 3.0, 5.0, 7.5, 15.0, 30.0, 90.0])
draws = st.sampled_from([0.0, 0.0625, 0.125, 0.5, 0.75, 0.96875])
waits = st.sampled_from([0.0, 0.0, 20.0, 400.0])
verdicts = st.sampled_from(
    ["ok", "bad", "bad", "bad", "neutral", "slow", "slow", "calmed", "relearned"]
)
mostly = st.sampled_from([True, True, True, False])

REQUESTS: Final = {
    "foreign": object(),
    "routed": dispatched("eu"),
    "insists": dispatched("eu", insists=True),
}
GOOD: Final = ("ok", "slow", "calmed", "relearned")
VERDICTS: Final[dict[str, Callable[[float, float], Outcome]]] = {
    **dict.fromkeys(GOOD, lambda at, _named: Outcome(at)),
    "bad": lambda at, named: Outcome.of(Overloaded(retry_after=named), at),
    "neutral": lambda at, named: Outcome.of(RateLimited(retry_after=named), at),
}


#: How long calls took, and what the detector below makes of that.
SECONDS: Final = {"slow": 9.0, "calmed": 1.0, "relearned": 2.0, "bad": 9.0, "neutral": 9.0}
SAYS: Final[dict[float | None, Trip | Calm]] = {
    9.0: Trip("slow", slow_only=True),
    1.0: Calm("quick"),
    2.0: Calm("usual", relearned=True),
}
#: What the circuit did, by the words of the model.
DONE: Final = {
    "opened": "opened",
    "closed": "closed",
    "slowed": "degraded",
    "calmed": "closed",
    "relearned": "rebaselined",
}


#: P-CB-1: where a circuit comes to from where by itself, without an operator.
LEGAL: Final = {
    "closed": {"closed", "degraded", "open"},
    "degraded": {"degraded", "closed", "open"},
    "open": {"open", "half_open"},
    "half_open": {"half_open", "closed", "open"},
    "disabled": {"disabled"},
}


@final
@frozen
class Told:
    """So many failures in a row, and besides, the seconds tell what to say."""

    row: int

    def detector(self) -> Detector:
        return _Told(ConsecutiveFailures(self.row).detector())


@final
@define(eq=False)
class _Told:
    row: Detector

    def add(self, now: float, sample: Sample, /) -> Trip | Calm | None:
        return self.row.add(now, sample) or SAYS.get(sample.seconds)

    def reset(self) -> None:
        self.row.reset()


class CircuitAgainstPast(RuleBasedStateMachine):
    """P-CB-1, P-CB-2: each rule does the same to the circuit and to a list of what has happened."""

    @initialize(
        row=st.integers(1, 6),
        ramp=st.sampled_from([0.0, 4.0, 30.0]),
        at_once=st.integers(1, 3),
        successes=st.integers(1, 3),
        failures=st.integers(1, 3),
    )
    def start(self, row: int, ramp: float, at_once: int, successes: int, failures: int) -> None:
        probes = Probes(
            at_once=at_once, successes=successes, failures=failures, allow=lambda _: self.allowed
        )
        self.now, self.draw, self.allowed, self.refused = 1000.0, 0.0, True, 0
        times = OpenTimes(BASE, CAP)
        self.circuit = Circuit(Told(row), times, probes, Ramp(ramp), lambda: self.draw)
        self.past = Past(ramp, probes, row)
        self.out: dict[int, Permit] = {}

    @rule(seconds=seconds)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.past.state == "open")
    @rule()
    def the_open_time_passes(self) -> None:
        self.now = max(self.now, self.past.until)

    @rule(asks=st.sampled_from(sorted(REQUESTS)), draw=draws, allowed=mostly)
    def ask(self, asks: str, draw: float, *, allowed: bool) -> None:
        self.draw, self.allowed = draw, allowed
        expected = self.past.answer(self.now, draw, asks=asks, allowed=allowed)
        before, call = self.past.state, len(self.past.log)
        turn = None
        try:
            permit = self.circuit.admit(self.now, REQUESTS[asks])
        except CircuitOpen as refusal:
            self.refused += 1
            ready = None if refusal.ready_at is None else refusal.ready_at - self.now
            answer: tuple[object, ...] = "refused", refusal.soft, ready
        else:
            answer = ("probe",) if permit.probe else ("pass",)
            self.out[call], turn = permit, permit.turn
            self.past.log.append(Entry("sent", self.now, call, probe=permit.probe))

        assert expected == answer
        assert self.circuit.state in LEGAL[before]
        assert (["half_opened"] if before == "open" and expected == ("probe",) else []) == (
            [turn.did] if turn else []
        )

    def ends(self, call: int, verdict: str, draw: float, named: float) -> None:
        permit, known, seconds = self.out.pop(call), len(self.past.log), SECONDS.get(verdict)
        self.draw, before = draw, self.past.state
        turn = self.circuit.settle(permit, VERDICTS[verdict](self.now, named), self.now, seconds)
        self.past.learn(call, self.now, verdict, draw, named)

        assert self.done(known) == ([turn.did] if turn else [])
        assert self.circuit.state in LEGAL[before]
        self.past.log.append(Entry("over", self.now))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), verdict=verdicts, draw=draws, named=waits)
    def end(self, data: st.DataObject, verdict: str, draw: float, named: float) -> None:
        self.ends(data.draw(st.sampled_from(sorted(self.out))), verdict, draw, named)

    @rule(
        asks=st.sampled_from(["foreign", "insists", "routed"]),
        script=st.lists(verdicts, min_size=1, max_size=8),
        draw=draws,
    )
    def calls(self, asks: str, script: list[str], draw: float) -> None:
        for verdict in script:
            call = len(self.past.log)
            self.ask(asks, draw, allowed=True)
            if call in self.out:
                self.ends(call, verdict, draw, 0.0)

    @precondition(lambda self: any(permit.probe for permit in self.out.values()))
    @rule(data=st.data())
    def answered(self, data: st.DataObject) -> None:
        probes = [call for call, permit in self.out.items() if permit.probe]
        call, known = data.draw(st.sampled_from(probes)), len(self.past.log)
        turn = self.circuit.learn(self.out[call], Outcome(self.now), self.now)
        self.past.learn(call, self.now, "ok", 0.0, 0.0)

        assert self.done(known) == ([turn.did] if turn else [])

    @rule(what=st.sampled_from(["open", "half_open", "close", "reset", "disable"]), draw=draws)
    def by_hand(self, what: str, draw: float) -> None:
        self.draw = draw
        if what == "disable":
            self.circuit.disable("by hand")
            self.past.log.append(Entry("disabled", self.now))
        elif what == "open":
            self.circuit.open(self.now, "by hand", hard=True)
            self.past.open(self.now, draw)
        elif what == "half_open":
            self.circuit.half_open(self.now, "by hand")
            if not self.past.shut:
                self.past.open(self.now, draw)
            self.past.log.append(Entry("halved", self.now, hard=self.past.hard))
        elif what == "reset" or self.past.state != "closed":
            getattr(self.circuit, what)(self.now, "by hand")
            self.past.log.append(Entry({"close": "closed"}.get(what, what), self.now))

    def done(self, known: int) -> list[str]:
        """What the model says that came about since it knew so much."""
        return [DONE[entry.what] for entry in self.past.log[known:] if entry.what in DONE]

    @invariant()
    def agrees(self) -> None:
        past, seen = self.past, self.circuit.statistics()
        bads = past.bads(past.log)[-20:]
        shut = past.shut

        assert past.state == seen.state == self.circuit.state
        assert (past.in_flight, self.refused) == (seen.in_flight, seen.refused)
        assert (len(bads), sum(bads)) == (seen.recent, seen.bad)
        assert (past.out if shut else 0, shut and past.hard) == (seen.probing, seen.hard)
        assert (past.until if shut else None) == seen.ready_at
        assert sum(entry.what == "opened" for entry in past.log) == seen.opened
        assert seen.probing <= self.past.probes.at_once


TestCircuit = CircuitAgainstPast.TestCase


def test_slow_and_quick_again_follow_the_past() -> None:
    """Both ends of slowness, as the rules above would have them, whatever chance draws."""
    for calm in ("calmed", "relearned"):
        machine = CircuitAgainstPast()
        machine.start(row=2, ramp=4.0, at_once=1, successes=1, failures=1)
        machine.calls("foreign", ["slow", "slow", "ok", calm, calm, "slow", "bad", "bad"], 0.5)
        machine.agrees()

        turns = [entry.what for entry in machine.past.log if entry.what in DONE]
        assert ["slowed", calm, "slowed", "opened"] == turns
