"""What a phase says of itself, and what it wakes up for."""

from __future__ import annotations

from math import inf
from typing import Final

import pytest

from llmstack.estimators.phase import CircuitStatistics, Permit, Phase, Probes, State, Turn
from llmstack.standing import Standing


OPEN: Final[State] = "open"
HALF: Final[State] = "half_open"


@pytest.mark.parametrize(
    ("phase", "sent", "wakes"),
    [
        (Phase(OPEN, "", hard=True), 5.0, True),
        (Phase(OPEN, "", hard=True), 5.25, False),
        (Phase(OPEN, "", hard=True), -inf, True),
        (Phase(OPEN, "", hard=False), 5.0, False),
        (Phase(HALF, "", hard=True), 5.0, False),
    ],
    ids=["after five seconds", "before", "nothing was sent", "soft", "half-open"],
)
def test_only_a_hard_opening_wakes(phase: Phase, sent: float, *, wakes: bool) -> None:
    """Five seconds after the last request."""
    assert wakes == phase.wakes(10.0, sent)


NEXT: Final = "; the next request is a probe"


@pytest.mark.parametrize(
    ("phase", "sent", "standing"),
    [
        (Phase("disabled", "by hand"), 9.0, Standing("up", "disabled: by hand")),
        (Phase("degraded", "slow"), 9.0, Standing("degraded", "slow")),
        (Phase(OPEN, "a", 11.0), 9.0, Standing("down", "open: a", "", 11.0, soft=True)),
        (
            Phase(OPEN, "a", 11.0, hard=True),
            9.0,
            Standing("down", "open: a", "", 11.0, soft=False),
        ),
        (
            Phase(OPEN, "a", 11.0, hard=True),
            5.0,
            Standing("down", "open: a", "", 11.0, soft=True),
        ),
        (Phase(OPEN, "a", 10.0, hard=True), 9.0, Standing("degraded", "open: a" + NEXT)),
        (Phase(HALF, "a", 11.0, hard=True), 9.0, Standing("degraded", "half-open: a" + NEXT)),
        (
            Phase(HALF, "a", 10.0, hard=True, out=1),
            9.0,
            Standing("degraded", "half-open: a" + NEXT),
        ),
        (Phase(HALF, "a", 10.0, hard=True, out=2), 9.0, Standing("down", "half-open: a")),
        (Phase(HALF, "a", 10.5, out=2), 9.0, Standing("down", "half-open: a", soft=True)),
    ],
    ids=[
        *("disabled", "degraded", "soft", "hard", "awake", "due", "half-open", "one probe is out"),
        *("all are", "all are, and soft"),
    ],
)
def test_says_how_it_stands(phase: Phase, sent: float, standing: Standing) -> None:
    """At 10 s, towards a plain request, where two may be probes."""
    assert standing == phase.standing(10.0, sent, Probes(at_once=2))


def test_a_phase_has_no_end_that_nobody_set() -> None:
    """Nor has it any probes, and it is soft."""
    phase = Phase("degraded", "slow")

    assert (inf, False, -inf) == (phase.until, phase.hard, phase.since)
    assert (0, 0, 0) == (phase.out, phase.good, phase.bad)


def test_what_is_not_said_is_nothing() -> None:
    """Of a turn, of a permit, of the statistics, and of the probes."""
    assert (False, None) == (Permit(1).probe, Permit(1).turn)
    assert Turn("closed", "a", 0.0, hard=False) == Turn("closed", "a")
    assert CircuitStatistics(
        "closed", 1, 2, 3, 4, 5, 6, probing=0, hard=False, reason="", ready_at=None
    ) == CircuitStatistics("closed", 1, 2, 3, 4, 5, 6)
    probes = Probes()
    assert (1, 1, 1, True) == (
        probes.at_once,
        probes.successes,
        probes.failures,
        probes.allow(object()),
    )
