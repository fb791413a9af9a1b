"""The budget against a list of all that was begun, granted and sent."""

from __future__ import annotations

from fractions import Fraction
from math import floor, inf
from typing import Any, Final

import pytest
from attrs import define
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llmstack.call import Attempt, Call
from llmstack.endpoint import Endpoint
from llmstack.estimators.retry_budget import Extra, RetryBudget
from llmstack.messages import Request
from llmstack.testing.scripted import dispatched, echo


@define(eq=False)
class Held:
    """An extra call, as the model knows it."""

    extra: Extra
    sent: int | None = None
    charged: bool = True
    out: bool = True


def exact(value: float) -> Any:  # noqa: ANN401 -- a fraction, or infinity
    return value if value == inf else Fraction(str(value))


class BudgetAgainstList(RuleBasedStateMachine):
    """Each rule does the same to the budget and to lists; nothing is ever taken off a list."""

    @initialize(
        ratio=st.sampled_from([0.0, 0.1, 0.2, 0.29, 0.7, 1.0, inf]),
        min_per_sec=st.sampled_from([0.0, 0.1, 0.2, 2.0, inf]),
        ttl=st.sampled_from([2.5, 10.0]),
        share=st.sampled_from([0.0, 0.2, 0.5, inf]),
        least=st.integers(0, 4),
    )
    def start(self, ratio: float, min_per_sec: float, ttl: float, share: float, least: int) -> None:
        self.budget = RetryBudget(ratio, min_per_sec, ttl, share, least)
        self.now, self.newest, self.refused = 1000.0, 0, 0
        self.begun: list[int] = []
        self.calls: list[Request | object] = []
        self.held: list[Held] = []

    @property
    def tick(self) -> int:
        """Twenty to a *ttl*; time that goes backwards stays in the newest one."""
        self.newest = max(self.newest, floor(Fraction(self.now) / Fraction(self.budget.ttl) * 20))
        return self.newest

    @rule(quarters=st.integers(-2, 44))
    def time_passes(self, quarters: int) -> None:
        self.now += quarters / 4

    @rule(foreign=st.booleans(), times=st.integers(1, 12))
    def begin(self, *, foreign: bool, times: int) -> None:
        for _ in range(times):
            request = object() if foreign else Request()
            self.calls.append(request)
            self.begun.append(self.tick)

            assert self.budget.begin(request, self.now)
            assert not self.budget.begin(request, self.now)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.budget.end(self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1))))

    @rule(times=st.integers(1, 3))
    def withdraw(self, times: int) -> None:
        for _ in range(times):
            expected = self.may()
            extra = self.budget.withdraw(self.now)

            assert expected == (extra is not None)
            if extra is None:
                self.refused += 1
            else:
                self.held.append(Held(extra))

    def may(self) -> bool:
        budget, tick = self.budget, self.tick
        begun = sum(tick - at < 20 for at in self.begun)
        charged = sum(
            one.charged and (one.sent is None or tick - one.sent <= 20) for one in self.held
        )
        # Infinity times nothing is no number.
        earned = exact(budget.ratio) * begun if begun else 0
        earned = earned + exact(budget.min_per_sec) * exact(budget.ttl)
        if budget.ratio == inf:
            earned = inf
        out = sum(one.out for one in self.held)
        shared = exact(budget.share) * len(self.calls) if budget.share < inf else inf
        return charged + 1 <= earned and out + 1 <= max(budget.least, shared)

    @precondition(lambda self: any(one.out and one.sent is None for one in self.held))
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        waiting = [one for one in self.held if one.out and one.sent is None]
        one = data.draw(st.sampled_from(waiting))
        one.sent = self.tick
        self.budget.send(one.extra, self.now)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from(["settle", "settle", "give_back"]))
    def over(self, data: st.DataObject, how: str) -> None:
        """Any of them, in any state: once more changes nothing."""
        one = data.draw(st.sampled_from(self.held))
        if one.out:
            one.out = False
            one.charged = how == "settle" and one.sent is not None
        getattr(self.budget, how)(one.extra)

    @invariant()
    def agrees(self) -> None:
        seen = self.budget.statistics()
        out = sum(one.out for one in self.held)

        assert (len(self.calls), out) == (seen.in_flight, seen.extra)
        assert (len(self.held), self.refused) == (seen.granted, seen.refused)


TestBudget = BudgetAgainstList.TestCase


steps = st.lists(
    st.tuples(st.floats(0, 3), st.sampled_from(["begin", "begin", "withdraw"]), st.floats(0, 15)),
    max_size=60,
)


@given(
    steps=steps,
    ratio=st.sampled_from([0.1, 0.29, 0.5]),
    min_per_sec=st.sampled_from([0.0, 0.2, 0.5]),
)
@example([(0.0, "begin", 0.0)] * 10 + [(0.5, "withdraw", 9.0)] * 30, 0.5, 0.2)
def test_p_rt_1_what_is_sent_in_any_ttl_is_bounded(
    steps: list[tuple[float, str, float]], ratio: float, min_per_sec: float
) -> None:
    """P-RT-1: by what was earned in the *ttl* before the last of them was granted."""
    budget = RetryBudget(ratio, min_per_sec, least=99)
    now, begun, requests = 0.0, list[float](), [object() for _ in steps]
    out: list[tuple[float, float, Extra]] = []
    sent: list[tuple[float, float]] = []
    for passes, what, wait in [*steps, (99.0, "withdraw", 0.0)]:
        now += passes
        for at, granted, extra in sorted(out, key=lambda one: one[:2]):
            if at <= now:
                budget.send(extra, at)
                sent.append((at, granted))
        out = [one for one in out if one[0] > now]
        if what == "begin":
            budget.begin(requests[len(begun)], now)
            begun.append(now)
        elif new := budget.withdraw(now):
            out.append((now + wait, now, new))

    for last, _ in sent:
        there = [(at, granted) for at, granted in sent if last - 10 <= at <= last]
        granted = max(granted for _, granted in there)
        earned = sum(granted - 10 < at <= granted for at in begun)
        assert len(there) <= exact(ratio) * earned + exact(min_per_sec) * 10


@pytest.mark.parametrize("percent", range(1, 101))
def test_a_share_is_what_is_written(percent: int) -> None:
    """To the last call, in any hundredth: 70 % is not all, and 29 % of 100 is 29."""
    budget = RetryBudget(percent / 100, 0, share=percent / 100, least=0)
    requests = [object() for _ in range(200)]
    granted = 0
    for request in requests:
        budget.begin(request, 5.0)
        while budget.withdraw(5.0) is not None:
            granted += 1

    assert 2 * percent == granted


def test_without_traffic_there_is_a_floor() -> None:
    """So many in ten seconds, at any time of which they come back."""
    budget = RetryBudget(min_per_sec=0.2)
    granted: list[float] = []
    for at in range(60):
        extra = budget.withdraw(at / 2)
        if extra is not None:
            budget.send(extra, at / 2)
            budget.settle(extra)
            granted.append(at / 2)

    assert [0.0, 0.5, 10.5, 11.0, 21.0, 21.5] == granted


def test_the_stricter_view_wins() -> None:
    """A fifth of the last ten seconds and a fifth of those in flight, ten at once at least."""
    brief, long = RetryBudget(min_per_sec=0), RetryBudget(min_per_sec=0)
    for n in range(100):
        request = Request(str(n))
        brief.begin(request, 0.0)
        brief.end(request)
    held = [Request(str(n)) for n in range(100)]
    for request in held:
        long.begin(request, 0.0)

    assert [10, 20] == [sum(b.withdraw(1.0) is not None for _ in range(99)) for b in (brief, long)]
    assert long.withdraw(10.0) is None, "all of those in flight, but none of them is recent"


def test_a_call_is_entered_once_by_all_layers() -> None:
    """The copies of a request are one call; other requests are others, with a call or without."""
    budget = RetryBudget()
    request, routed = Request(), dispatched("eu")
    copy = request.to(Endpoint("eu", echo), Attempt("eu", 0.0))

    assert budget.begin(request, 0.0)
    assert not budget.begin(copy, 0.0)
    assert budget.begin(routed, 0.0)
    budget.end(copy)
    assert budget.begin(request, 0.0)
    assert 2 == budget.statistics().in_flight


class Socket:
    """A request of another kind, whose *call* is something else: a method, new at each look."""

    def call(self) -> None:
        """Not be a call of ours."""


def test_what_others_call_a_call_is_none() -> None:
    """A request that has another thing of that name is known by itself."""
    budget, one, other = RetryBudget(), Socket(), Socket()

    assert budget.begin(one, 0.0)
    assert budget.begin(other, 0.0)
    assert not budget.begin(one, 0.0)
    budget.end(one)
    assert budget.begin(one, 0.0)
    assert 2 == budget.statistics().in_flight
    one.call()


def test_a_time_that_is_over_is_forgotten_the_earlier() -> None:
    """What is entered late counts from the newest tick that is known, or from what is said."""
    budget, one, other = RetryBudget(1.0, 0), object(), object()
    budget.begin(one, 3.0)
    budget.begin(other, 0.0)
    late = [budget.withdraw(12.9), budget.withdraw(12.9)]

    assert None not in late
    assert budget.withdraw(13.0) is None


@pytest.mark.parametrize("start", [-10.0, 0.0, 1000.0], ids=str)
def test_a_tick_begins_at_its_first_moment(start: float) -> None:
    """What is entered or sent at the end of one belongs to the next, wherever time began."""
    earns, sends = RetryBudget(1.0, 0), RetryBudget(0, 0.1)
    earns.begin("one", start)
    earns.begin("other", start + 0.5)
    extra = sends.withdraw(start + 0.25)
    assert extra is not None
    sends.send(extra, start + 0.5)

    earned = earns.withdraw(start + 10.0)
    assert earned is not None
    earns.give_back(earned)
    assert earns.withdraw(start + 10.5) is None
    assert sends.withdraw(start + 10.5) is None
    assert sends.withdraw(start + 11.0) is not None


@pytest.mark.parametrize("at", [-0.25, 0.0, 0.25], ids=str)
def test_a_tick_is_cut_off_downwards(at: float) -> None:
    """A moment is in the tick that began last, below 0 too."""
    budget = RetryBudget(1.0, 0)
    budget.begin("one", at)

    assert (at < 0) == (budget.withdraw(9.75) is None)


def test_a_tick_whose_end_is_rounded() -> None:
    """Of twenty to two seconds the fifth ends at .5, which is in it: it is begun anew each time."""
    now, later = RetryBudget(1.0, 0, ttl=2.0), RetryBudget(1.0, 0, ttl=2.0)
    for n in range(3):
        now.begin(n, 0.5)
        later.begin(n, 0.5)

    assert [True] * 3 + [False] == [now.withdraw(0.5) is not None for _ in range(4)]
    assert later.withdraw(9.0) is None


def test_time_that_goes_back_is_no_new_tick() -> None:
    """What was sent since is remembered."""
    budget = RetryBudget(0, 0.1)
    extra = budget.withdraw(3.0)
    assert extra is not None
    budget.send(extra, 3.0)
    budget.begin("one", 2.75)
    budget.begin("other", 3.0)

    assert budget.withdraw(3.0) is None


def test_a_new_budget_has_earned_nothing() -> None:
    """Where there is no floor, nothing is granted before the first call; a short ttl is one too."""
    assert RetryBudget(1.0, 0).withdraw(0.0) is None
    assert RetryBudget(1.0, 0, ttl=0.5).withdraw(0.0) is None


@pytest.mark.parametrize(("back", "late"), [(5.0, False), (10.0, False), (10.5, True), (30, True)])
def test_p_rt_9_what_comes_back_late_is_not_counted_twice(back: float, *, late: bool) -> None:
    """P-RT-9: given back in its window it makes room for one; when it is forgotten, for none."""
    budget = RetryBudget(0, 0.1)
    first = budget.withdraw(0.0)
    assert first is not None
    budget.send(first, 0.0)
    before = budget.withdraw(back)
    budget.give_back(first)
    budget.give_back(first)

    assert late == (before is not None)
    assert late == (budget.withdraw(back) is None)
    assert budget.withdraw(back) is None


def test_unlimited_counts_and_refuses_nothing() -> None:
    """For whoever wants no budget."""
    budget = RetryBudget.unlimited()

    assert None not in [budget.withdraw(0.0) for _ in range(1000)]
    assert 1000 == budget.statistics().granted


WRONG: Final = [
    ("ratio", -0.1),
    ("ratio", float("nan")),
    ("min_per_sec", -1),
    ("ttl", 0),
    ("ttl", inf),
    ("share", -0.1),
    ("least", -1),
    ("least", 1.5),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_bad_setting_names_its_field(name: str, value: Any) -> None:  # noqa: ANN401 -- wrong ones
    """So that whoever wrote it finds it."""
    with pytest.raises((ValueError, TypeError), match=f"'{name}'"):
        RetryBudget(**{name: value})


def test_the_call_is_what_is_known() -> None:
    """Two requests that were given one call are one."""
    budget, call = RetryBudget(), Call()

    assert [True, False] == [budget.begin(Request(call=call), 0.0) for _ in range(2)]
