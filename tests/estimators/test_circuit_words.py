"""What a circuit says, and cases that only a state machine would meet by chance."""

from __future__ import annotations

import pytest
from attrs import define, field

from llmstack.call import Outcome
from llmstack.errors import CircuitOpen, Overloaded
from llmstack.estimators.circuit import Circuit
from llmstack.estimators.open_time import OpenTimes
from llmstack.estimators.phase import Probes, Turn
from llmstack.estimators.ramp import Ramp
from llmstack.estimators.trip import Detector, FailureRatio, Sample
from tests.estimators.test_circuit_cases import (
    INSISTS,
    ROUTED,
    bad,
    circuit,
    is_refused,
    play,
    total,
)


SLOW = FailureRatio(1.0, volume=2, slow_after=1.0)


def words(machine: Circuit, now: float) -> str:
    """How a request is refused."""
    with pytest.raises(CircuitOpen) as refusal:
        machine.admit(now, ROUTED)
    return refusal.value.message


def timed(machine: Circuit, *times: float, now: float = 0.0) -> list[Turn | None]:
    """Good calls that took so long; what each brings about."""
    return [machine.settle(machine.admit(now), Outcome(now), now, seconds) for seconds in times]


def test_each_refusal_says_why() -> None:
    """While it is degraded, ramps up, is open and is half-open."""
    machine = circuit(5, policy=SLOW, ramp=10.0, chance=lambda: 0.9)
    degraded = timed(machine, 4.0, 4.0)[-1]
    said = [words(machine, 0.0)]
    rebased = timed(machine, 0.5, 0.5, 0.5)[-1]
    said.append(words(machine, 0.0))
    machine.open(1.0, "by hand", hard=True)
    said.append(words(machine, 1.0))
    machine.half_open(2.0, "by hand too")
    machine.admit(2.0, ROUTED)
    said.append(words(machine, 2.0))

    slow = "2 of 2 good calls took longer than 1 s"
    assert Turn("degraded", slow) == degraded
    assert Turn("closed", "2 of 5 good calls took longer than 1 s") == rebased
    assert [
        f"degraded: {slow}",
        "closed just now, and ramping up",
        "open: by hand",
        "half-open: by hand too",
    ] == said


def test_each_turn_says_why() -> None:
    """A probe tells of its round, and what it brings about."""
    machine = circuit(2, probes=Probes(successes=2))
    play(machine, "F")
    opened = machine.settle(machine.admit(0.0), bad(0.0), 0.0)
    first = machine.admit(2.5)
    failed = machine.settle(first, bad(2.5), 2.5)
    second = machine.admit(7.5)
    good = machine.settle(second, Outcome(7.5), 7.5)
    third = machine.admit(7.5)
    closed = machine.settle(third, Outcome(7.5), 7.5)

    why = "2 of the last 2 calls failed: Overloaded \N{MULTIPLICATION SIGN}2"
    probe = f"a probe failed: {Overloaded.__name__}"
    assert Turn("opened", why, 2.5) == opened
    assert [Turn("half_opened", why), Turn("half_opened", probe)] == [first.turn, second.turn]
    assert Turn("opened", probe, 5.0) == failed
    assert [None, None, Turn("closed", "probes succeeded")] == [third.turn, good, closed]


def test_each_turn_by_hand_is_told() -> None:
    """With its reason, and how long it lasts if that is known."""
    machine = circuit()

    assert Turn("opened", "a", 2.5, hard=True) == machine.open(0.0, "a", hard=True)
    assert Turn("half_opened", "b") == machine.half_open(0.0, "b")
    assert ("half_open", "b") == (machine.state, machine.statistics().reason)
    assert Turn("closed", "c") == machine.close(0.0, "c")
    assert Turn("disabled", "d") == machine.disable("d")
    assert ("disabled", "d") == (machine.state, machine.statistics().reason)
    assert Turn("closed", "e") == machine.reset(0.0, "e")
    assert ("closed", "") == (machine.state, machine.statistics().reason)


def test_so_many_probes_at_once() -> None:
    """Two and no more, until one of them is over."""
    machine = total(circuit(probes=Probes(at_once=2, successes=3)))
    probes = [machine.admit(2.5), machine.admit(2.5)]
    refused = is_refused(machine, 2.5)
    machine.settle(probes[0], Outcome(2.5), 2.5)

    assert [True, True] == [each.probe for each in probes]
    assert ("hard", 1) == (refused, machine.statistics().probing)
    assert machine.admit(2.5).probe
    assert "hard" == is_refused(machine, 2.5)


def test_where_nothing_was_ever_sent_a_hard_opening_wakes_as_well() -> None:
    """An operator opens what is new: after 5 s one that insists is the probe."""
    machine = circuit(chance=lambda: 0.0)
    for _ in range(3):
        machine.open(0.0, "by hand", hard=True)

    assert ["hard", "soft"] == [is_refused(machine, now) for now in (4.9375, 5.0)]
    assert machine.admit(5.0, INSISTS).probe


@pytest.mark.parametrize(
    ("named", "waits"), [(None, [0.25, 0.5]), (20.0, [20.0, 20.0]), (0.3, [0.3, 0.5])], ids=str
)
def test_a_wait_that_is_named_is_kept(named: float | None, waits: list[float]) -> None:
    """By what opens it, and by what fails as a probe; never shorter than its own open time."""
    machine = Circuit(FailureRatio(1.0, volume=1), OpenTimes(0.5, 30.0), Probes(), Ramp(0.0), float)
    error = Overloaded(retry_after=named)
    opened = machine.settle(machine.admit(0.0), Outcome.of(error, 0.0), 0.0)
    failed = machine.settle(machine.admit(50.0), Outcome.of(error, 50.0), 50.0)

    assert waits == [turn.wait for turn in (opened, failed) if turn]


@define(eq=False)
class Heard:
    """A policy whose detector keeps what it is told."""

    samples: list[tuple[bool, float | None, str]] = field(factory=list)

    def detector(self) -> Detector:
        """Return itself: there is one."""
        return self

    def add(self, _now: float, sample: Sample, /) -> None:
        """Keep *sample*."""
        self.samples.append((sample.bad, sample.seconds, sample.what))

    def reset(self) -> None:
        """Keep all the same."""


def test_a_detector_is_told_of_each_call() -> None:
    """How long a good one took, and the name of a failure, which takes no time."""
    heard = Heard()
    machine = circuit(policy=heard)
    for outcome in (Outcome(0.0), bad(0.0)):
        machine.settle(machine.admit(0.0), outcome, 0.0, 1.5)
    machine.close(0.0, "by hand")

    assert [(False, 1.5, ""), (True, None, "Overloaded")] == heard.samples


def test_a_new_round_by_hand_begins_at_nothing() -> None:
    """Neither the good nor the bad probes of the last one count."""
    good = total(circuit(probes=Probes(successes=2, failures=2)))
    for machine, outcome in ((good, Outcome(9.0)), (total(circuit(probes=good.probes)), bad(9.0))):
        machine.half_open(9.0, "by hand")
        told = [machine.settle(machine.admit(9.0), outcome, 9.0)]
        machine.half_open(9.0, "by hand")
        told.append(machine.settle(machine.admit(9.0), outcome, 9.0))

        assert [None, None] == told
        assert "half_open" == machine.state


def test_no_generation_comes_back() -> None:
    """What was sent before an opening by hand changes nothing, in whatever is made of that."""
    halved, closed = circuit(1), circuit(1)
    late = [machine.admit(0.0) for machine in (halved, closed)]
    for machine in (halved, closed):
        machine.open(0.0, "by hand", hard=True)
    halved.half_open(0.0, "by hand")
    closed.close(0.0, "by hand")
    for machine, permit in zip((halved, closed), late, strict=True):
        machine.settle(permit, bad(0.0), 0.0)

    assert [0, 0] == [machine.statistics().recent for machine in (halved, closed)]
    assert ["half_open", "closed"] == [machine.state for machine in (halved, closed)]


def test_a_failure_is_no_request() -> None:
    """Where all were sent long before they failed, a hard opening is awake at once."""
    machine = circuit()
    permits = [machine.admit(0.0) for _ in range(5)]
    for permit in permits:
        machine.settle(permit, bad(10.0), 10.0)

    assert "soft" == is_refused(machine, 10.0)
    assert machine.statistics().hard
