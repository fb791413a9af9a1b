from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.call import Outcome
from llmstack.errors import (
    AuthFailed,
    BadRequest,
    CircuitOpen,
    ConcurrencyFull,
    DeadlineExceeded,
    Overloaded,
    QuotaExhausted,
    RateLimited,
)
from llmstack.estimators.circuit import Circuit
from llmstack.estimators.open_time import OpenTimes
from llmstack.estimators.phase import Probes
from llmstack.estimators.ramp import Ramp
from llmstack.estimators.trip import ConsecutiveFailures, FailureRatio, TripPolicy
from llmstack.testing.scripted import dispatched


ROUTED, INSISTS = dispatched("eu"), dispatched("eu", insists=True)


def circuit(
    row: int = 5,
    *,
    policy: TripPolicy | None = None,
    probes: Probes | None = None,
    ramp: float = 0.0,
    chance: Callable[[], float] = lambda: 0.0,
) -> Circuit:
    """One that opens for 2.5, 5, 10, 15, 15 … seconds."""
    policy = policy or ConsecutiveFailures(row)
    return Circuit(policy, OpenTimes(5.0, 30.0), probes or Probes(), Ramp(ramp), chance)


def bad(now: float) -> Outcome:
    return Outcome.of(Overloaded(), now)


def play(machine: Circuit, script: str, now: float = 0.0, request: object = None) -> str:
    """One call after the other, F or S; the state after each by its first letter."""
    states = ""
    for letter in script:
        permit = machine.admit(now, request)
        machine.settle(permit, bad(now) if letter == "F" else Outcome(now), now)
        states += machine.state[0]
    return states


def is_refused(machine: Circuit, now: float, request: object = ROUTED) -> str:
    """How *request* is refused: "hard", "soft", or "" if it is let through."""
    try:
        machine.admit(now, request)
    except CircuitOpen as refusal:
        return "soft" if refusal.soft else "hard"
    return ""


def total(machine: Circuit, now: float = 0.0) -> Circuit:
    play(machine, "F" * 5, now)
    return machine


@pytest.mark.parametrize(
    ("row", "script", "states"),
    [
        (3, "", ""),  # EA-1
        (3, "FF", "cc"),  # EA-2
        (3, "FFF", "cco"),  # EA-3, LC-1
        (3, "FSFSF", "ccccc"),  # EA-8, W-EA-3: as the words say and not the code
        (3, "FFSFF", "ccccc"),  # LC-6
        (5, "S" * 105, "c" * 105),  # CB-1
        (5, "F" + "S" * 9, "c" * 10),  # CB-2, reversed: one failure does not open
        (5, "FFFFF", "cccco"),
    ],
    ids=["EA-1", "EA-2", "EA-3 LC-1", "EA-8", "LC-6", "CB-1", "CB-2", "five in a row"],
)
def test_closed(row: int, script: str, states: str) -> None:
    """What opens a closed circuit, and what does not."""
    machine = circuit(row)

    assert states == play(machine, script)
    assert ("c" + states)[-1] == machine.state[0]


def test_every_other_failure_opens_by_ratio() -> None:
    """W-LL-26: half of all calls fail, and never two in a row; the ratio sees it."""
    machine = circuit(policy=FailureRatio(0.5, volume=10))

    assert "ccccccccco" == play(machine, "SFSFSFSFSF")


@pytest.mark.parametrize("late", ["S", "F"])
def test_late_results_change_nothing(late: str) -> None:
    """EA-4 reversed, CB-10, LC-5, W-LL-23: an older generation only gives its permits back."""
    machine = circuit()
    old = [machine.admit(0.0) for _ in range(20)]
    total(machine)
    probe = machine.admit(2.5)
    before = machine.statistics()
    for permit in old:
        machine.settle(permit, Outcome(3.0) if late == "S" else bad(3.0), 3.0)
    after = machine.statistics()

    assert (21, 1) == (before.in_flight, after.in_flight)
    assert ("half_open", 1, before.bad) == (after.state, after.probing, after.bad)
    assert machine.settle(probe, Outcome(4.0), 4.0)
    assert "closed" == machine.state


def test_ten_failures_at_once_open_it_once() -> None:
    """LC-8: the others of the same burst are late results."""
    machine = circuit(2)
    permits = [machine.admit(0.0) for _ in range(10)]
    turned = [machine.settle(permit, bad(0.0), 0.0) for permit in permits]

    assert [1] == [n for n, turn in enumerate(turned) if turn]
    assert 1 == machine.statistics().opened


def test_half_opens_by_time_and_a_good_probe_closes() -> None:
    """LC-2, LC-3, LC-4, CB-12 reversed, W-LK-15: at *ready_at*, and not a moment before."""
    machine = total(circuit())

    assert ("hard", "hard") == (is_refused(machine, 0.0), is_refused(machine, 2.4375))
    assert "open" == machine.state
    probe = machine.admit(2.5, ROUTED)
    seen = machine.statistics()
    assert probe.probe
    assert ("half_open", 1) == (seen.state, seen.probing)
    assert machine.settle(probe, Outcome(2.5), 2.5)
    assert "closed" == machine.statistics().state


def test_a_failing_probe_opens_again_for_longer() -> None:
    """LC-12: the place is free, the open time doubles."""
    machine = total(circuit())
    probe = machine.admit(2.5)
    machine.settle(probe, bad(3.0), 3.0)
    seen = machine.statistics()

    assert ("open", 0, 8.0, 2) == (seen.state, seen.probing, seen.ready_at, seen.level)
    assert "a probe failed: Overloaded" == seen.reason


def test_fifty_at_once_and_one_is_the_probe() -> None:
    """LC-10, W-LL-24, W-EA-5: while the probe is out all are refused, and nobody knows how long."""
    machine = total(circuit())
    answers = [is_refused(machine, 2.5) for _ in range(50)]

    assert [""] + ["hard"] * 49 == answers
    assert (1, 49) == (machine.in_flight, machine.refused)
    with pytest.raises(
        CircuitOpen, match="half-open: 5 of the last 5 calls failed: Overloaded"
    ) as refusal:
        machine.admit(2.5)
    assert refusal.value.ready_at is None


@pytest.mark.parametrize(
    ("script", "state"), [("SSSS", "closed"), ("FSSSS", "closed"), ("SSSFF", "open")]
)
def test_probes_decide_by_number(script: str, state: str) -> None:
    """CB-3, CB-4, CB-11: five at once; 80 % of five are four successes before two failures."""
    machine = circuit(probes=Probes(at_once=5, successes=4, failures=2))
    machine.open(0.0, "by hand", hard=True)
    opened = machine.state
    machine.half_open(0.0, "by hand")
    probes = [machine.admit(0.0) for _ in range(5)]

    assert ("open", "half_open") == (opened, machine.state)
    for probe, letter in zip(probes, script, strict=False):
        machine.settle(probe, Outcome(1.0) if letter == "S" else bad(1.0), 1.0)
    assert state == machine.state


def test_reset_is_as_new() -> None:
    """CB-5: closed, no ramp, the next open time is the first again."""
    machine = total(circuit(ramp=30.0, chance=lambda: 0.96875))
    machine.reset(1.0, "by hand")

    assert "" == is_refused(machine, 1.0)
    assert (0, 0) == (machine.statistics().level, machine.statistics().recent)


@pytest.mark.parametrize(("script", "failures"), [("SSS", 0), ("SFS", 1)], ids=["CB-6", "CB-7"])
def test_statistics_count_failures(script: str, failures: int) -> None:
    """Of three calls, so many failed."""
    machine = circuit()
    play(machine, script)

    assert (3, failures) == (machine.statistics().recent, machine.statistics().bad)


NEUTRAL: list[BaseException] = [
    *(AuthFailed(), RateLimited(), QuotaExhausted(), BadRequest(), ConcurrencyFull()),
    *(DeadlineExceeded(), KeyboardInterrupt(), ZeroDivisionError()),
]


@given(st.lists(st.sampled_from(NEUTRAL), max_size=30))
def test_neutral_outcomes_change_nothing(errors: list[BaseException]) -> None:
    """P-CB-7, LC-7, LC-13, U-4, W-LK-14: what is no fault of the endpoint; a cancel, a bug."""
    machine = circuit(1)
    new = machine.statistics()
    for error in errors:
        machine.settle(machine.admit(0.0), Outcome.of(error, 0.0), 0.0)
    machine.settle(machine.admit(0.0), Outcome(0.0, "abandoned"), 0.0)

    assert new == machine.statistics()


@pytest.mark.parametrize("error", NEUTRAL, ids=lambda error: type(error).__name__)
def test_a_neutral_probe_is_not_spent(error: BaseException) -> None:
    """LC-11, W-LL-27: it stays half-open, and the next request is a probe."""
    machine = total(circuit())
    machine.settle(machine.admit(2.5), Outcome.of(error, 3.0), 3.0)

    assert "half_open" == machine.state
    assert machine.admit(3.0).probe


def test_only_what_is_allowed_is_a_probe() -> None:
    """The others are refused, and a hard circuit does not wake up for them either."""
    machine = total(circuit(probes=Probes(allow=lambda request: request is not INSISTS)))

    assert ("hard", "hard") == (
        is_refused(machine, 2.5, INSISTS),
        is_refused(machine, 90.0, INSISTS),
    )
    with pytest.raises(CircuitOpen) as refusal:
        machine.admit(2.5, INSISTS)
    assert refusal.value.ready_at is None
    assert "" == is_refused(machine, 2.5)
