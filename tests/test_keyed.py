"""The bounded map key → machine: what is out is never lost, what is idle makes room."""

from __future__ import annotations

from collections.abc import Hashable

import pytest
from attrs import define
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llmstack.keyed import LOOK, Keyed


@define(eq=False)
class Counter:
    """A machine with so many permits out."""

    out: int = 0

    @property
    def idle(self) -> bool:
        return self.out == 0


keys = st.sampled_from([*range(9), None, (0,), (1,), (2,), "a", "b"])  # fewer than LOOK


class KeyedAgainstModel(RuleBasedStateMachine):
    """The model: which machine each busy key has, and how many machines were ever made."""

    @initialize(cap=st.integers(1, 6))
    def start(self, cap: int) -> None:
        self.cap, self.made = cap, 0
        self.keyed: Keyed[Counter] = Keyed(self.make, cap)
        self.busy: dict[Hashable, Counter] = {}

    def make(self) -> Counter:
        self.made += 1
        return Counter()

    @rule(key=keys)
    def take(self, key: Hashable) -> None:
        there = dict(self.keyed.items())
        idle, size, made = sum(m.idle for m in there.values()), len(there), self.made
        machine = self.keyed(key)
        assert (made if key in there else made + 1) == self.made
        assert there.get(key, machine) is machine
        if key not in there:
            # Every idle one is found, but no more are dropped than must be.
            room = min(idle, max(0, size + 1 - self.cap))
            assert size + 1 - room == len(self.keyed)
        else:
            assert there == dict(self.keyed.items())
        machine.out += 1
        self.busy[key] = machine

    @rule(key=keys)
    def look(self, key: Hashable) -> None:
        """Who only looks gets an idle machine, and leaves it so."""
        machine = self.keyed(key)
        assert machine is self.busy.get(key, machine)
        assert key in self.busy or machine.idle

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(list(self.busy)))
        self.busy[key].out -= 1
        if self.busy[key].idle:
            del self.busy[key]

    @invariant()
    def nothing_that_is_out_is_lost(self) -> None:
        there = dict(self.keyed.items())
        assert len(there) == len(self.keyed)
        assert all(there.get(key) is machine for key, machine in self.busy.items())
        assert set(self.busy) == {key for key, machine in there.items() if not machine.idle}


TestKeyed = KeyedAgainstModel.TestCase


def filled(cap: int, busy: int) -> Keyed[Counter]:
    """A map that grew to *busy* machines with a permit out each."""
    keyed: Keyed[Counter] = Keyed(Counter, cap)
    for key in range(busy):
        keyed(key).out += 1
    return keyed


def test_a_key_keeps_its_machine() -> None:
    """Until it is dropped, the same key is the same machine; two keys are two."""
    keyed: Keyed[Counter] = Keyed(Counter, 2)

    assert keyed("a") is keyed("a")
    assert keyed("a") is not keyed("b")
    assert ["a", "b"] == [key for key, _ in keyed.items()]


def test_the_oldest_idle_one_goes_first() -> None:
    """And one alone, while there is room for the rest."""
    keyed = filled(3, 3)
    keyed(1).out = keyed(2).out = 0
    keyed("new")

    assert {0, 2, "new"} == {key for key, _ in keyed.items()}


@pytest.mark.parametrize("busy", [1, LOOK, 10 * LOOK])
def test_load_may_pass_the_cap_but_no_permit_is_lost(busy: int) -> None:
    """With every machine out, the map is as large as the load, and each key keeps its own."""
    keyed = filled(1, busy)

    assert busy == len(keyed)
    assert [1] * busy == [keyed(key).out for key in range(busy)]


def test_when_the_load_is_over_the_map_is_small_again() -> None:
    """A burst does not hold memory for ever: new keys clear away what is idle."""
    keyed = filled(4, 200)
    for key in range(200):
        keyed(key).out = 0
    for key in range(200):
        keyed(("new", key))

    assert 4 == len(keyed)


def test_a_long_row_of_busy_ones_hides_no_idle_one_for_long() -> None:
    """A new key looks at a few machines only, but not at the same ones each time."""
    keyed = filled(1, 10 * LOOK)
    for key in range(9 * LOOK, 10 * LOOK):
        keyed(key).out = 0
    for key in range(20):
        keyed(("new", key)).out += 1

    assert 9 * LOOK + 20 == len(keyed)


def test_a_search_has_an_end() -> None:
    """One new key asks no more than so many machines whether they are idle."""
    asked: list[int] = []

    class Asked(Counter):
        @property
        def idle(self) -> bool:
            asked.append(1)
            return False

    keyed: Keyed[Counter] = Keyed(Asked, 1)
    for key in range(10 * LOOK):
        keyed(key)
    asked.clear()
    keyed("new")

    assert LOOK == len(asked)


def test_there_is_a_cap_without_asking() -> None:
    """Large enough for every tenant, and small enough for memory."""
    assert 10_000 == Keyed(Counter).cap


def test_a_machine_that_cannot_be_made_is_not_there() -> None:
    """The next call of that key tries again."""
    tries: list[int] = []

    def make() -> Counter:
        tries.append(1)
        if len(tries) == 1:
            raise ZeroDivisionError
        return Counter()

    keyed: Keyed[Counter] = Keyed(make)
    with pytest.raises(ZeroDivisionError):
        keyed("a")

    assert 0 == len(keyed)
    assert keyed("a") is keyed("a")


@pytest.mark.parametrize("cap", [0, -1])
def test_a_map_without_room_is_refused(cap: int) -> None:
    """Where it is made, and not at the first key."""
    with pytest.raises(ValueError, match="cap"):
        Keyed(Counter, cap)
