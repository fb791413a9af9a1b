from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.call import Outcome
from llmstack.errors import CircuitOpen
from llmstack.estimators.circuit import Circuit
from llmstack.estimators.phase import Probes
from llmstack.estimators.trip import FailureRatio, TripPolicy
from tests.estimators.test_circuit_cases import (
    INSISTS,
    ROUTED,
    bad,
    circuit,
    is_refused,
    play,
    total,
)


def opened(script: str, policy: TripPolicy) -> Circuit:
    """A circuit that the last call of *script* opens."""
    machine = circuit(policy=policy)
    assert "c" * (len(script) - 1) + "o" == play(machine, script)
    return machine


@pytest.mark.parametrize(
    ("script", "refusal"),
    [
        ("FFFF", "soft"),
        ("FFFFF", "hard"),
        ("S" + "F" * 18, "soft"),
        ("S" + "F" * 19, "hard"),
        ("SS" + "F" * 18, "soft"),
        ("SS" + "F" * 19, "hard"),
        ("S" * 20 + "F" * 20, "hard"),
    ],
    ids=["too few", "five", "18 of 19", "19 of 20", "18 of 20", "19 of the last 20", "20 last"],
)
def test_only_a_total_failure_is_hard(script: str, refusal: str) -> None:
    """95 % of the last 20, or of all since closing if they are five; else it is soft."""
    ratio = script.count("F") / len(script)
    machine = opened(script, FailureRatio(ratio, volume=len(script)))

    assert refusal == is_refused(machine, 0.0)
    assert (refusal == "hard") == machine.statistics().hard


def test_outcomes_before_the_last_closing_do_not_make_it_hard() -> None:
    """W-LK-21: two failures of two since closing are too few, whatever there was before."""
    machine = total(circuit(5))
    machine.settle(machine.admit(2.5), bad(2.5), 2.5)
    machine.close(3.0, "by hand")
    machine.half_open(3.0, "by hand")

    assert 0 == machine.statistics().recent
    machine.settle(machine.admit(3.0), bad(3.0), 3.0)
    assert "soft" == is_refused(machine, 3.0)


PARTIAL = FailureRatio(0.5, volume=4)


def test_a_soft_opening_lets_pass_what_insists() -> None:
    """P-CB-2: at any time, silent or not, as a plain call; nothing is black-holed."""
    machine = opened("SFSF", PARTIAL)

    assert ["soft"] * 2 == [is_refused(machine, now) for now in (0.0, 2.4375)]
    permits = [machine.admit(now, INSISTS) for now in (0.0, 2.25)]
    assert [False] * 2 == [permit.probe for permit in permits]
    assert "open" == machine.state


def test_silence_makes_no_probe_of_a_soft_opening() -> None:
    """It needs no waking up: what insists passes, and its time decides on the probe."""
    machine = opened("SFSF", PARTIAL)
    machine.times.level = 4
    machine.open(0.0, "partial failure", hard=False)

    assert not machine.admit(14.0, INSISTS).probe
    assert "open" == machine.state


def test_what_insists_passes_beside_the_probe() -> None:
    """A probe may take a minute; a partly failing endpoint goes on serving meanwhile."""
    machine = opened("SFSF", PARTIAL)
    probe, beside = machine.admit(2.5), machine.admit(2.5, INSISTS)

    assert (True, False) == (probe.probe, beside.probe)
    assert "soft" == is_refused(machine, 2.5)
    assert not machine.settle(beside, bad(3.0), 3.0)
    assert "half_open" == machine.state


def test_a_soft_opening_turns_hard_when_the_failure_becomes_total() -> None:
    """What was let through tells: then nothing but probes passes, and it does not turn back."""
    machine = opened("FFFF", FailureRatio(1.0, volume=4))
    two = [machine.admit(0.0, INSISTS) for _ in range(2)]
    machine.settle(two[0], bad(0.0), 0.0)

    assert "hard" == is_refused(machine, 0.0, INSISTS)
    machine.settle(two[1], bad(0.0), 0.0)
    assert "hard" == is_refused(machine, 0.0, INSISTS)


def test_a_good_call_beside_does_not_make_a_hard_opening_soft() -> None:
    """Probes decide, not those that were under way when it turned hard."""
    machine = opened("FFFF", FailureRatio(1.0, volume=4))
    two = [machine.admit(0.0, INSISTS) for _ in range(2)]
    machine.settle(two[0], bad(0.0), 0.0)
    machine.settle(two[1], Outcome(0.0), 0.0)

    assert "hard" == is_refused(machine, 0.0, INSISTS)


def test_silence_wakes_a_hard_opening() -> None:
    """P-PA: 5 s after the last request was sent it is soft, for one probe that insists."""
    machine = total(circuit(chance=lambda: 0.0))
    machine.open(0.0, "again", hard=True)
    machine.open(0.0, "and again", hard=True)

    assert ["hard", "hard"] == [is_refused(machine, 4.9375, asks) for asks in (ROUTED, INSISTS)]
    assert ["soft", "soft"] == [is_refused(machine, now) for now in (5.0, 9.0)]
    assert machine.admit(9.0, INSISTS).probe
    assert ["hard", "hard"] == [is_refused(machine, 9.0, asks) for asks in (ROUTED, INSISTS)]


def test_what_was_opened_just_now_is_not_silent() -> None:
    """By hand, though nobody has asked it for long: an operator is not overruled at once."""
    machine = circuit(chance=lambda: 0.0)
    machine.settle(machine.admit(0.0), Outcome(0.0), 0.0)
    for _ in range(3):
        machine.open(60.0, "by hand", hard=True)

    assert ["hard", "hard"] == [is_refused(machine, 64.9375, asks) for asks in (ROUTED, INSISTS)]
    assert "soft" == is_refused(machine, 65.0)


def test_silence_means_nothing_while_a_probe_is_out() -> None:
    """P-PA-2: what insists never exceeds the probes, however long they take."""
    machine = total(circuit())
    assert machine.admit(2.5).probe

    assert ["hard"] * 2 == [is_refused(machine, 60.0, asks) for asks in (ROUTED, INSISTS)]


def test_the_refusal_says_when_to_come_back() -> None:
    """P-PA-3: *ready_at* is the end of the open time, also of a soft refusal."""
    machine = opened("SFSF", PARTIAL)
    with pytest.raises(
        CircuitOpen, match="open: 2 of the last 4 calls failed: Overloaded"
    ) as refusal:
        machine.admit(1.0)

    assert 2.5 == refusal.value.ready_at
    assert "open" == machine.state


def ramping(draws: list[float], ramp: float = 32.0) -> Circuit:
    """One that closes at 2.5, with that chance from then on."""
    machine = circuit(ramp=ramp, chance=lambda: draws.pop() if draws else 0.0)
    total(machine)
    machine.settle(machine.admit(2.5), Outcome(2.5), 2.5)
    return machine


@pytest.mark.parametrize(
    ("after", "draw", "refusal"),
    [
        (0.0, 0.09, ""),
        (0.0, 0.1, "soft"),
        (3.0, 0.0999, ""),
        (8.0, 0.2499, ""),
        (8.0, 0.25, "soft"),
        (16.0, 0.25, ""),
        (16.0, 0.5, "soft"),
        (31.0, 0.9999, "soft"),
        (32.0, 0.9999, ""),
    ],
    ids=str,
)
def test_a_ramp_admits_a_growing_share(after: float, draw: float, refusal: str) -> None:
    """P-SS-1: from a tenth to all; the rest is refused softly and without a time."""
    draws: list[float] = []
    machine = ramping(draws)
    draws.append(draw)

    assert refusal == is_refused(machine, 2.5 + after)


@given(draw=st.floats(0, 1, exclude_max=True), moments=st.lists(st.integers(0, 40), max_size=9))
def test_a_ramp_never_falls(draw: float, moments: list[int]) -> None:
    """P-SS-1: who is admitted at one moment would be at every later one."""
    draws: list[float] = []
    machine = ramping(draws)
    answers = []
    for moment in sorted(moments):
        draws[:] = [draw]
        answers.append(is_refused(machine, 2.5 + moment))

    assert sorted(answers, reverse=True) == answers


@pytest.mark.parametrize("request_", [INSISTS, object(), None], ids=["insists", "foreign", "none"])
def test_a_ramp_refuses_only_who_can_insist(request_: object) -> None:
    """P-SS-3: with nowhere else to go, or no router to come back, a ramp has no effect."""
    machine = ramping([])
    machine.chance = lambda: 0.9999

    assert "" == is_refused(machine, 2.5, request_)
    assert "soft" == is_refused(machine, 2.5, ROUTED)


@pytest.mark.parametrize("now", [0.0, 2.5])
def test_without_a_ramp_all_pass_at_once(now: float) -> None:
    """Even if the next loop's clock begins anew."""
    machine = ramping([], ramp=0.0)
    machine.chance = lambda: 0.9999

    assert "" == is_refused(machine, now)


@pytest.mark.parametrize(("after", "level"), [(31.0, 2), (36.9375, 2), (37.0, 1)], ids=str)
def test_a_trip_in_the_ramp_is_one_opening_more(after: float, level: int) -> None:
    """Health begins when the ramp is over, and takes 5 s to make up for the first opening."""
    machine = ramping([])
    play(machine, "FFFFF", 2.5 + after)

    assert level == machine.statistics().level


def test_idle_is_as_good_as_new() -> None:
    """Not with a permit out, not while open, not with a failure or an opening in mind."""
    machine = circuit()
    idle = [machine.idle]
    permit = machine.admit(0.0)
    idle.append(machine.idle)
    machine.settle(permit, Outcome(0.0), 0.0)
    idle.append(machine.idle)
    for script, now in (("F", 0), ("S" * 20, 0), ("FFFFF", 0), ("S", 2.5), ("S", 7.25), ("S", 7.5)):
        play(machine, script, now)
        idle.append(machine.idle)

    assert [True, False, True, False, True, False, False, False, True] == idle


def test_an_opening_by_hand_is_not_idle() -> None:
    """An operator's word must not be forgotten to save memory."""
    machine = circuit()
    machine.open(0.0, "by hand", hard=True)
    machine.times.level = 0

    assert not machine.idle


def test_a_new_round_by_hand_disowns_the_last() -> None:
    """A probe that hangs is no reason to wait."""
    machine = total(circuit())
    hangs = machine.admit(2.5)
    machine.half_open(3.0, "by hand")
    probe = machine.admit(3.0)
    machine.settle(hangs, bad(4.0), 4.0)

    assert ("half_open", 1) == (machine.state, machine.statistics().probing)
    assert machine.settle(probe, Outcome(5.0), 5.0)
    assert (0, "closed") == (machine.in_flight, machine.state)


def test_a_probe_counts_once() -> None:
    """Being answered and then ending are one success, whichever is learned first."""
    machine = total(circuit(probes=Probes(successes=2)))
    streamed = machine.admit(2.5)
    assert not machine.learn(streamed, Outcome(3.0), 3.0)
    assert (0, 6) == (machine.statistics().probing, machine.statistics().recent)
    assert not machine.settle(streamed, bad(4.0), 4.0)
    whole = machine.admit(4.0)

    assert machine.settle(whole, Outcome(5.0), 5.0)
    assert not machine.learn(whole, Outcome(5.0), 5.0)
    assert ("closed", 0) == (machine.state, machine.in_flight)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Probes(at_once=0), "at_once"),
        (lambda: Probes(successes=0), "successes"),
        (lambda: Probes(failures=0), "failures"),
    ],
    ids=["at_once", "successes", "failures"],
)
def test_bad_settings_name_the_field(make: Callable[[], Probes], name: str) -> None:
    """Each at the place where it is written."""
    with pytest.raises(ValueError, match=name):
        make()
