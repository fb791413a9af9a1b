"""Waits against their definitions, and the moments of what is drawn."""

from __future__ import annotations

from itertools import accumulate
from math import inf, isfinite
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.estimators.backoff import Backoff, Jitter, after_named


bases = st.floats(1e-9, 1e9)
chances = st.floats(0, 1)
jitters: st.SearchStrategy[Jitter] = st.sampled_from(["full", "equal", "decorrelated"])


def in_words(backoff: Backoff, attempt: int, last: float) -> tuple[float, float]:
    """The least and the most that is waited."""
    doubled = [backoff.base]
    while len(doubled) < attempt and doubled[-1] < backoff.cap:
        doubled.append(2 * doubled[-1])
    ceiling = min(doubled[-1], backoff.cap)
    if backoff.jitter == "full":
        return 0.0, ceiling
    if backoff.jitter == "equal":
        return ceiling / 2, ceiling
    base = min(backoff.base, backoff.cap)
    return base, min(backoff.cap, 3 * max(last, base))


@given(
    backoff=st.builds(Backoff, base=bases, cap=bases, jitter=jitters),
    attempt=st.integers(1, 10**9),
    last=st.just(0.0) | st.floats(0, 1e9),
    chance=chances,
)
@example(Backoff(), 1025, 0.0, 1.0)
@example(Backoff(1e-9, 1e9), 64, 0.0, 1.0)
@example(Backoff(0.5, 8.0, "decorrelated"), 1, 0.0, 1.0)
@example(Backoff(0.5, 8.0, "decorrelated"), 3, 5.0, 1.0)
@example(Backoff(9.0, 8.0, "decorrelated"), 3, 5.0, 0.0)
@example(Backoff(9.0, 8.0, "equal"), 1, 5.0, 0.0)
def test_p_rt_4_a_wait_is_within_its_bounds(
    backoff: Backoff, attempt: int, last: float, chance: float
) -> None:
    """P-RT-4: from nothing, from half, or from the base; and at no chance or all, right there."""
    least, most = in_words(backoff, attempt, last)
    drawn = backoff.after(attempt, chance=chance, last=last)

    assert isfinite(drawn)
    assert least * (1 - 1e-12) <= drawn <= most * (1 + 1e-12)
    assert pytest.approx(least, rel=1e-9) == backoff.after(attempt, chance=0.0, last=last)
    assert pytest.approx(most, rel=1e-9) == backoff.after(attempt, chance=1.0, last=last)


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        (Backoff(), [0.25, 0.5, 1, 2, 4, 4]),
        (Backoff(0.1), [0.05, 0.1, 0.2, 0.4]),
        (Backoff(10, 30), [5, 10, 15, 15]),
        (Backoff(jitter="equal"), [0.375, 0.75, 1.5, 3, 6, 6]),
    ],
)
def test_the_ceiling_doubles_up_to_the_cap(backoff: Backoff, waits: list[float]) -> None:
    """At half a chance; at the cap there is still chance, so clients stay apart."""
    assert pytest.approx(waits) == [
        backoff.after(attempt, chance=0.5) for attempt in range(1, len(waits) + 1)
    ]


def test_decorrelated_waits_grow_from_one_another() -> None:
    """Each is drawn between the base and three times the last, up to the cap."""
    backoff = Backoff(1.0, 20.0, "decorrelated")
    chances = [0.5, 0.5, 0.0, 1.0, 1.0, 1.0]
    waits = accumulate(
        chances, lambda last, chance: backoff.after(1, chance=chance, last=last), initial=0.0
    )

    assert [0.0, 2.0, 3.5, 1.0, 3.0, 9.0, 20.0] == list(waits)


def test_the_first_decorrelated_wait_follows_none() -> None:
    """It is drawn between the base and three times that."""
    backoff = Backoff(0.125, 20.0, "decorrelated")

    assert [0.125, 0.375] == [backoff.after(1, chance=chance) for chance in (0.0, 1.0)]


@given(named=st.floats(0, 1e6), chance=chances)
@example(20.0, 1.0)
@example(5.0, 1.0)
def test_a_named_wait_is_a_floor(named: float, chance: float) -> None:
    """P-RT-4: a tenth more at most, and never more than a second."""
    most = named * 1.1 if named < 10 else named + 1

    assert named <= after_named(named, chance=chance) <= most * (1 + 1e-12)
    assert pytest.approx(most) == after_named(named, chance=1.0)
    assert named == after_named(named, chance=0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("base", 0), ("base", inf), ("base", float("nan")), ("cap", 0), ("jitter", "some")],
)
def test_a_bad_setting_names_its_field(name: str, value: Any) -> None:  # noqa: ANN401 -- wrong ones
    """So that whoever wrote it finds it."""
    with pytest.raises(ValueError, match=name):
        Backoff(**{name: value})
