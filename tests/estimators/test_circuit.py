from __future__ import annotations

from collections.abc import Callable
from typing import Final

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
from llmstack.estimators.circuit import Circuit, Permit, Probes
from llmstack.estimators.open_time import OpenTimes
from llmstack.estimators.trip import ConsecutiveFailures
from llmstack.testing.scripted import dispatched
from tests.estimators.circuit_model import BASE, CAP, Entry, Past


#: Binary fractions, so that sums of times are exact.
seconds = st.sampled_from([0.25, 1.0, 2.5, 3.0, 5.0, 7.5, 15.0, 30.0, 90.0])
draws = st.sampled_from([0.0, 0.0625, 0.125, 0.5, 0.75, 0.96875])
waits = st.sampled_from([0.0, 0.0, 20.0, 400.0])
verdicts = st.sampled_from(["ok", "bad", "bad", "bad", "neutral"])
mostly = st.sampled_from([True, True, True, False])

REQUESTS: Final = {
    "foreign": object(),
    "routed": dispatched("eu"),
    "insists": dispatched("eu", insists=True),
}
VERDICTS: Final[dict[str, Callable[[float, float], Outcome]]] = {
    "ok": lambda at, _named: Outcome(at),
    "bad": lambda at, named: Outcome.of(Overloaded(retry_after=named), at),
    "neutral": lambda at, named: Outcome.of(RateLimited(retry_after=named), at),
}


class CircuitAgainstPast(RuleBasedStateMachine):
    """Each rule does the same to the circuit and to a list of what has happened."""

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
        detector = ConsecutiveFailures(row).detector()
        self.circuit = Circuit(detector, times, probes, ramp, lambda: self.draw)
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
        call = len(self.past.log)
        try:
            permit = self.circuit.admit(self.now, REQUESTS[asks])
        except CircuitOpen as refusal:
            self.refused += 1
            ready = None if refusal.ready_at is None else refusal.ready_at - self.now
            answer: tuple[object, ...] = "refused", refusal.soft, ready
        else:
            answer = ("probe",) if permit.probe else ("pass",)
            self.out[call] = permit
            self.past.log.append(Entry("sent", self.now, call, probe=permit.probe))

        assert expected == answer

    def ends(self, call: int, verdict: str, draw: float, named: float) -> None:
        permit, turns = self.out.pop(call), self.turns()
        self.draw = draw
        turned = self.circuit.settle(permit, VERDICTS[verdict](self.now, named), self.now)
        self.past.learn(call, self.now, verdict, draw, named)
        self.past.log.append(Entry("over", self.now))

        assert (self.turns() > turns) == turned

    @precondition(lambda self: self.out)
    @rule(data=st.data(), verdict=verdicts, draw=draws, named=waits)
    def end(self, data: st.DataObject, verdict: str, draw: float, named: float) -> None:
        self.ends(data.draw(st.sampled_from(sorted(self.out))), verdict, draw, named)

    @rule(
        asks=st.sampled_from(["foreign", "insists"]),
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
        call, turns = data.draw(st.sampled_from(probes)), self.turns()
        turned = self.circuit.answered(self.out[call], self.now)
        self.past.learn(call, self.now, "ok", 0.0, 0.0)

        assert (self.turns() > turns) == turned

    @rule(what=st.sampled_from(["open", "half_open", "close", "reset"]), draw=draws)
    def by_hand(self, what: str, draw: float) -> None:
        self.draw = draw
        if what == "open":
            self.circuit.open(self.now, "by hand", hard=True)
            self.past.open(self.now, draw)
        elif what == "half_open":
            self.circuit.half_open(self.now, "by hand")
            if self.past.state == "closed":
                self.past.open(self.now, draw)
            self.past.log.append(Entry("halved", self.now, hard=self.past.hard))
        elif what == "reset" or self.past.state != "closed":
            getattr(self.circuit, what)(self.now)
            self.past.log.append(Entry({"close": "closed"}.get(what, what), self.now))

    def turns(self) -> int:
        return sum(entry.what in {"opened", "closed"} for entry in self.past.log)

    @invariant()
    def agrees(self) -> None:
        past, seen = self.past, self.circuit.statistics()
        bads = past.bads(past.log)[-20:]
        shut = past.state != "closed"

        assert past.state == seen.state == self.circuit.state
        assert (past.in_flight, self.refused) == (seen.in_flight, seen.refused)
        assert (len(bads), sum(bads)) == (seen.recent, seen.bad)
        assert (past.out if shut else 0, shut and past.hard) == (seen.probing, seen.hard)
        assert (past.until if shut else None) == seen.ready_at
        assert sum(entry.what == "opened" for entry in past.log) == seen.opened
        assert seen.probing <= self.past.probes.at_once


TestCircuit = CircuitAgainstPast.TestCase
