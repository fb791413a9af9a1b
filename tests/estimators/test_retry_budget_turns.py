"""Those who wait for a gate get turns; those who go elsewhere are held to the window alone."""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from math import floor, inf

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.estimators.retry_budget import Extra, RetryBudget


def turns(budget: RetryBudget, at: float, times: int) -> list[float]:
    """The turns of so many who wait for one moment, and all come before it."""
    found = []
    for _ in range(times):
        found.append(budget.turn(at))
        budget.take(found[-1], at - 1.0)
    return found


def after(calls: int, budget: RetryBudget) -> RetryBudget:
    """The budget, after so many calls that began, and ended, at second 90."""
    for request in range(calls):
        budget.begin(request, 90.0)
        budget.end(request)
    return budget


def model(steps: list[tuple[int, int, int]], ratio: float, rate: float, ttl: float) -> list[float]:
    """When those go out who take turns: all that was booked, read off a plain list.

    A step: quarters of seconds that pass, calls that begin then, quarters that one waits.
    """
    begun: list[int] = []
    booked: list[tuple[float, float]] = []
    now = Fraction(0)
    for passes, calls, waits in steps:
        now += Fraction(passes, 4)
        tick = floor(now * 20 / Fraction(ttl))
        # What begins in the tick that is under way is not known to be a pace yet.
        recent = sum(tick - 20 < at < tick for at in begun)
        each_second = max(Fraction(str(ratio)) * recent / 2 / Fraction(ttl), Fraction(str(rate)))
        earliest = max((turn + gap for turn, gap in booked), default=-inf)
        gap = float(1 / each_second) if each_second else inf
        booked.append((max(float(now) + waits / 4, earliest), gap))
        begun += [tick] * calls
    return [turn for turn, _ in booked]


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 30), st.integers(-4, 12)), max_size=20
    ),
    ratio=st.sampled_from([0.0, 0.2, 0.29, 1.0]),
    rate=st.sampled_from([0.0, 0.1, 1.0, 2.0]),
    ttl=st.sampled_from([2.5, 10.0]),
)
@example([(0, 30, 0), (2, 1, 0), (37, 1, 0), (1, 0, 0)], 1.0, 0.1, 10.0)
@example([(0, 0, 0), (0, 9, 0)], 0.0, 0.0, 10.0)
def test_turns_are_what_is_booked(
    steps: list[tuple[int, int, int]], ratio: float, rate: float, ttl: float
) -> None:
    """None before its moment, and each a gap after the last: half of the ratio, or the floor."""
    budget = RetryBudget(ratio, rate, ttl)
    now, found, requests = 0.0, list[float](), list[object]()
    for passes, calls, waits in steps:
        now += passes / 4
        turn = budget.turn(now + waits / 4)
        found.append(turn)
        assert turn == budget.turn(now + waits / 4), "to ask is not to book"
        budget.take(turn, now)
        for _ in range(calls):
            requests.append(object())
            budget.begin(requests[-1], now)

    assert model(steps, ratio, rate, ttl) == pytest.approx(found, rel=1e-9)
    assert 0 == budget.statistics().granted


@pytest.mark.parametrize("at", [-1e9, 0.0, 1e9], ids=str)
def test_the_first_waits_for_nobody(at: float) -> None:
    """Its turn is its moment, whenever that is; and so is that of whoever comes much later."""
    budget = RetryBudget()
    first = turns(budget, at, 1)

    assert [at] == first
    assert at + 1.0 == budget.turn(at)
    assert at + 99.0 == budget.turn(at + 99.0)


def test_turns_that_nobody_used_are_free() -> None:
    """Those of a crowd that has left; not the gap behind whoever went."""
    gone, left = RetryBudget(), RetryBudget()
    for budget, used in ((gone, True), (left, False)):
        for turn in turns(budget, 100.0, 5):
            budget.leave(turn, used=used)

    assert [105.0, 100.0] == [budget.turn(100.0) for budget in (gone, left)]


@pytest.mark.parametrize(
    ("calls", "rate", "gap"),
    [
        *[(100, 1.0, 1.0), (101, 1.0, 10 / 10.1), (200, 1.0, 0.5), (99, 0.0, 10 / 9.9)],
        *[(50, 1.0, 1.0), (0, 0.25, 4.0), (0, 2.0, 0.5)],
    ],
)
def test_half_the_pace_of_the_ratio_or_that_of_the_floor(
    calls: int, rate: float, gap: float
) -> None:
    """The faster one: 200 calls in ten seconds earn 40; 20 are for turns, and 20 for retries."""
    budget = after(calls, RetryBudget(min_per_sec=rate))

    assert [99.0 + n * gap for n in range(4)] == pytest.approx(turns(budget, 99.0, 4))


def test_turns_leave_the_others_what_they_have() -> None:
    """They are not drawn from what is granted, nor from the share of those in flight."""
    waited, other = (after(100, RetryBudget(min_per_sec=0, least=99)) for _ in range(2))
    turns(waited, 95.0, 50)
    granted = [sum(b.withdraw(95.0) is not None for _ in range(99)) for b in (waited, other)]

    assert [20, 20] == granted
    assert other.statistics() == waited.statistics()


@pytest.mark.parametrize(("ratio", "rate"), [(inf, 0.0), (inf, 1.0), (0.2, inf)])
def test_without_a_limit_all_go_at_once(ratio: float, rate: float) -> None:
    """With calls or without."""
    budget = RetryBudget(ratio, rate)
    quiet = turns(budget, 50.0, 3)
    busy = turns(after(40, budget), 99.0, 3)

    assert [50.0] * 3 == quiet
    assert [99.0] * 3 == busy


def test_where_nothing_is_granted_one_goes() -> None:
    """The others never; and calls that begin earn nothing, if their share is none."""
    assert [99.0, inf, inf] == turns(RetryBudget(0.0, 0.0), 99.0, 3)
    assert [99.0, inf, inf] == turns(after(40, RetryBudget(0.0, 0.0)), 99.0, 3)
    assert [99.0, 103.0] == turns(after(25, RetryBudget(min_per_sec=0)), 99.0, 2)


def test_a_pace_is_that_of_the_last_seconds() -> None:
    """What is longer ago than *ttl* sets no pace; the floor does, from that moment on."""
    budget = after(400, RetryBudget())
    budget.take(99.5, 99.5)
    before = budget.turn(99.5)
    budget.take(100.0, 100.0)

    assert 99.75 == before
    assert 101.0 == budget.turn(100.0)


def granted(history: str, *, share: Fraction, least: int, floored: int) -> str:
    """What becomes of each that asks: + or -; the text so far is all there is to know."""
    said = ""
    for n, step in enumerate(history):
        calls = history[:n].count("b")
        if step == "s":
            said += "s" * (said.count("+") > said.count("s"))
        elif step != "b":
            flying = said.count("+") - said.count("s")
            earned = said.count("+") < calls // 2 + floored
            few = flying < max(least, floor(share * calls))
            said += "+" if earned and (few or step == "e") else "-"
    return said


@given(
    history=st.text("bhes", max_size=80),
    share=st.sampled_from(["0", "0.2", "0.5"]),
    least=st.integers(0, 3),
    floored=st.integers(0, 3),
)
@example("bbbbbbeeeh", "0.2", 1, 0)
@example("bbbbbbeeeshh", "0.2", 1, 1)
@example("eheh", "0", 0, 1)
def test_who_goes_elsewhere_is_held_to_the_window_alone(
    history: str, share: str, least: int, floored: int
) -> None:
    """The others to the share in flight too, in which those that went elsewhere do count.

    A history: calls begin, ask for more here or elsewhere, and the oldest of these is settled.
    """
    budget = RetryBudget(0.5, floored / 10, share=float(share), least=least)
    requests = [object() for _ in history]
    out, said = deque[Extra](), ""
    for request, step in zip(requests, history, strict=True):
        if step == "b":
            budget.begin(request, 5.0)
        elif step != "s":
            extra = budget.withdraw(5.0, elsewhere=step == "e")
            said += "-" if extra is None else "+"
            out.extend([] if extra is None else [extra])
        elif out:
            budget.send(out[0], 5.0)
            budget.settle(out.popleft())
            said += "s"

    assert granted(history, share=Fraction(share), least=least, floored=floored) == said
    assert (said.count("+"), said.count("-")) == (
        budget.statistics().granted,
        budget.statistics().refused,
    )
