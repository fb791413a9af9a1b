"""Turns against a ledger of all turns ever taken, and their laws by number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llmstack.estimators.smooth_wrr import SmoothWrr


NAMES = "abcdefghij"
whole = st.lists(st.integers(1, 9), min_size=1, max_size=10).map(
    lambda weights: dict(zip(NAMES, weights, strict=False))
)
some = st.dictionaries(st.sampled_from(NAMES[:5]), st.integers(0, 9), min_size=1).filter(
    lambda weights: any(weights.values())
)


def run(weights: Mapping[str, float], turns: int) -> str:
    machine = SmoothWrr()
    return "".join(machine.take(weights) for _ in range(turns))


class TurnsAgainstLedger(RuleBasedStateMachine):
    """The model keeps every turn that stands, and adds up who earned and who paid."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = SmoothWrr()
        self.ledger: list[tuple[str, dict[str, int]]] = []

    def owed(self, name: str) -> int:
        earned = sum(weights.get(name, 0) for _, weights in self.ledger)
        return earned - sum(sum(weights.values()) for won, weights in self.ledger if won == name)

    @rule(weights=some)
    def take(self, weights: dict[str, int]) -> None:
        rich = [(self.owed(name) + w, name) for name, w in weights.items() if w]
        most = max(owed for owed, _ in rich)
        expected = next(name for owed, name in rich if owed == most)
        assert expected == self.machine.take(weights)
        self.ledger.append((expected, weights))

    @precondition(lambda self: self.ledger)
    @rule(data=st.data())
    def untake(self, data: st.DataObject) -> None:
        turn = self.ledger.pop(data.draw(st.integers(0, len(self.ledger) - 1)))
        self.machine.untake(*turn)

    @invariant()
    def agrees(self) -> None:
        credit = self.machine.credit
        assert {name: self.owed(name) for name in credit} == credit
        assert 0 == sum(credit.values())


TestTurns = TurnsAgainstLedger.TestCase


def test_the_published_sequence() -> None:
    """Weights 5, 1, 1 give a a b a c a a, again and again."""
    assert "aabacaa" * 3 == run({"a": 5, "b": 1, "c": 1}, 21)


def test_a_tie_goes_to_the_first_given() -> None:
    """Equal weights take turns in the order they are given in."""
    assert "cabcab" == run({"c": 1, "a": 1, "b": 1}, 6)


@given(whole)
@example({"a": 5, "b": 1, "c": 1})
def test_each_gets_its_share_at_any_time(weights: dict[str, int]) -> None:
    """P-WRR-1, P-WRR-2: after a cycle exactly, and before never two turns off."""
    machine, total = SmoothWrr(), sum(weights.values())
    taken: Counter[str] = Counter()
    for n in range(1, total + 1):
        taken[machine.take(weights)] += 1
        off = [taken[name] * total - n * weight for name, weight in weights.items()]
        assert max(map(abs, off)) < 2 * total

    assert weights == taken
    assert dict.fromkeys(weights, 0) == machine.credit


@given(whole)
def test_nobody_starves(weights: dict[str, int]) -> None:
    """P-WRR-3: between two turns of anyone there are at most ceil(W / w) + n."""
    total, n = sum(weights.values()), len(weights)
    turns = run(weights, 3 * total)
    for name, weight in weights.items():
        at = [-1, *(turn for turn, taken in enumerate(turns) if taken == name)]
        assert max(after - before for before, after in pairwise(at)) <= ceil(total / weight) + n


@given(
    st.lists(st.floats(0.01, 10), min_size=1, max_size=10),
)
def test_weights_need_not_be_whole(weights: list[float]) -> None:
    """P-WRR-2 holds for fractions too, in the long run as well."""
    named, machine, total = dict(zip(NAMES, weights, strict=False)), SmoothWrr(), sum(weights)
    taken: Counter[str] = Counter(machine.take(named) for _ in range(500))

    off = [taken[name] - 500 * weight / total for name, weight in named.items()]
    assert max(map(abs, off)) < 2
    assert pytest.approx(0.0, abs=1e-9) == sum(machine.credit.values())


@given(weights=some, before=st.lists(some, max_size=9))
def test_weight_zero_gets_no_turn(weights: dict[str, int], before: list[dict[str, int]]) -> None:
    """P-WRR-4: not even if it is owed one from the time when it had a weight."""
    machine = SmoothWrr()
    for earlier in before:
        machine.take(earlier)
    for _ in range(10):
        assert weights[machine.take(weights)] > 0


@pytest.mark.parametrize("weights", [{}, {"a": 0.0}])
def test_nobody_to_take_a_turn(weights: dict[str, float]) -> None:
    """Without a positive weight there is no turn, and nothing is booked."""
    machine = SmoothWrr()
    with pytest.raises(ValueError, match=r"^no weight is positive$"):
        machine.take(weights)

    assert {} == machine.credit


@given(weights=whole, down=st.integers(1, 9))
def test_the_others_share_what_a_refusal_leaves(weights: dict[str, int], down: int) -> None:
    """With its turns undone, one that always refuses takes no one's share and gives none away."""
    machine, total, everyone = SmoothWrr(), sum(weights.values()), {"down": down, **weights}
    taken: Counter[str] = Counter()
    for n in range(1, 3 * total + 1):
        name = machine.take(everyone)
        if name == "down":
            machine.untake(name, everyone)
            name = machine.take(weights)
        taken[name] += 1
        off = [taken[other] * total - n * weight for other, weight in weights.items()]
        assert max(map(abs, off)) < 2 * total


@given(weights=whole, gone=st.sampled_from(NAMES), warm=st.integers(0, 30))
@example(weights={"a": 5, "b": 1, "c": 1}, gone="a", warm=1)
def test_forgetting_one_leaves_the_order_of_the_rest(
    weights: dict[str, int], gone: str, warm: int
) -> None:
    """It has no credit, theirs all moved by the same, and the sum is zero again."""
    machine, other = SmoothWrr(), SmoothWrr()
    for _ in range(warm):
        machine.take(weights)
        other.take(weights)
    machine.forget(gone)

    rest = [name for name in other.credit if name != gone]
    each = other.credit.get(gone, 0.0) / max(1, len(rest))
    assert pytest.approx({name: other.credit[name] + each for name in rest}) == machine.credit
    assert pytest.approx(0.0, abs=1e-9) == sum(machine.credit.values())


def test_a_turn_can_be_undone_after_its_names_are_forgotten() -> None:
    """The credits sum to zero then, too: names that are gone pay back what they earned."""
    machine, weights = SmoothWrr(), {"a": 2, "b": 1, "c": 1}
    machine.take(weights)
    for name in "bc":
        machine.forget(name)
    machine.take({"a": 1, "d": 1})
    machine.untake("a", weights)

    assert 0 == sum(machine.credit.values())
    assert -1 == machine.credit["b"] == machine.credit["c"]


def test_to_forget_a_stranger_is_nothing() -> None:
    """A name that never had a turn may be forgotten too."""
    machine = SmoothWrr()
    machine.take({"a": 1, "b": 1})
    machine.forget("z")

    assert {"a": -1, "b": 1} == machine.credit


def take_or_refuse(machine: SmoothWrr, weights: Mapping[str, float], down: set[str]) -> list[str]:
    """Take turns until one is not refused; those who refused, then who has it."""
    left, asked = dict(weights), list[str]()
    while True:
        asked.append(machine.take(left))
        purse = machine.empty(asked[-1])
        if asked[-1] not in down:
            return asked
        machine.untake(asked[-1], left)
        machine.give_back(asked[-1], purse)
        del left[asked[-1]]


@given(weights=whole, refuse=st.sets(st.sampled_from(NAMES)))
@example(weights={"a": 1, "b": 1, "c": 1, "d": 1}, refuse={"a", "b"})
@example(weights=dict.fromkeys("abcdefg", 1), refuse=set("bcdef"))
def test_who_refuses_was_never_there(weights: dict[str, int], refuse: set[str]) -> None:
    """When all who refuse have just done so, the rest owe each other what they would alone."""
    machine = SmoothWrr()
    up = {name: weight for name, weight in weights.items() if name not in refuse}
    total, down = sum(up.values()), weights.keys() - up.keys()
    taken: Counter[str] = Counter()
    for n in range(1, 1 + 3 * total):
        *refused, winner = take_or_refuse(machine, weights, refuse)
        taken[winner] += 1
        off = {name: n * weight - taken[name] * total for name, weight in up.items()}
        assert max(map(abs, off.values())) < 2 * total
        if len(set(up.values())) == 1:
            assert max(taken[name] for name in up) - min(taken[name] for name in up) <= 1
        if set(refused) == down:
            assert {**off, **dict.fromkeys(down, 0)} == machine.credit


def test_a_purse_has_what_was_earned_since_the_last_turn() -> None:
    """By payer; an undone turn was not earned, and who is forgotten has no purse."""
    machine, weights = SmoothWrr(), {"a": 3, "b": 2, "c": 1}
    assert "aba" == "".join(machine.take(weights) for _ in range(3))
    assert {"a": {"b": 3}, "b": {"a": 4}, "c": {"a": 2, "b": 1}} == machine.earned
    machine.untake("a", weights)
    assert {"a": {"b": 3}, "b": {"a": 2}, "c": {"a": 1, "b": 1}} == machine.earned

    assert {"a": 1, "b": 1} == machine.empty("c")
    assert {} == machine.empty("c")
    machine.untake("a", weights)
    machine.forget("a")
    assert {"b": {"a": 0}} == machine.earned


def test_what_is_given_back_goes_to_who_is_still_there() -> None:
    """And the rest is kept: the credits still sum to zero."""
    machine = SmoothWrr()
    machine.take({"a": 1, "b": 1})
    machine.give_back("b", {"a": 0.5, "gone": 7})

    assert {"a": -0.5, "b": 0.5} == machine.credit


def test_a_turn_of_weight_zero_fills_no_purse() -> None:
    """Only who earns is paid; and nobody pays itself."""
    machine = SmoothWrr()
    machine.take({"a": 1, "b": 0, "c": 2})

    assert {"a": {"c": 1}} == machine.earned


def test_who_has_no_weight_is_not_known() -> None:
    """Neither by a turn nor by one that is undone, so nothing of what others leave falls to it."""
    wrr, weights = SmoothWrr(), {"a": 1.0, "none": 0.0, "b": 1.0}
    taken = wrr.take(weights)
    wrr.untake(taken, weights)

    assert {"a", "b"} == set(wrr.credit)
