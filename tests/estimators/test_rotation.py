"""Whose turn it is: against the list of all choices that stand."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llmstack.estimators.rotation import Rotation, Turn


NAMES = "abcd"


class RotationAgainstModel(RuleBasedStateMachine):
    """The model is the history: who was chosen, one after the other; an undone choice is blank."""

    @initialize()
    def start(self) -> None:
        self.turns = Rotation()
        self.history: list[str] = []
        self.forgotten = dict.fromkeys(NAMES, 0)
        self.out: list[tuple[str, Turn, int]] = []

    @rule(name=st.sampled_from(NAMES))
    def take(self, name: str) -> None:
        self.history.append(name)
        self.out.append((name, self.turns.take(name), len(self.history)))

    # In the order in which a stack of choices is undone: the latest of a name first.
    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def untake_the_latest(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted({name for name, _, _ in self.out})))
        mine = max(n for n, each in enumerate(self.out) if each[0] == name)
        _, turn, number = self.out.pop(mine)
        self.turns.untake(name, turn)
        self.history[number - 1] = ""

    # A choice after which the same name was chosen again changes nothing any more.
    @rule(name=st.sampled_from(NAMES))
    def untake_what_was_overtaken(self, name: str) -> None:
        first = self.turns.take(name)
        self.turns.take(name)
        self.turns.untake(name, first)
        self.history += ["", name]
        self.out = [each for each in self.out if each[0] != name]

    @rule(names=st.sets(st.sampled_from(NAMES)))
    def keep(self, names: set[str]) -> None:
        self.turns.keep(names)
        for name in set(NAMES) - names:
            self.forgotten[name] = len(self.history)

    @invariant()
    def agrees(self) -> None:
        for name in NAMES:
            stands = [n for n, each in enumerate(self.history, 1) if each == name]
            last = max((n for n in stands if n > self.forgotten[name]), default=0)
            assert last == self.turns.last(name)


TestRotation = RotationAgainstModel.TestCase


def test_what_is_forgotten_stays_forgotten() -> None:
    """To undo a choice of somebody who has gone does not bring the name back."""
    turns = Rotation()
    turn = turns.take("a")
    turns.keep([])
    turns.untake("a", turn)

    assert {} == turns.chosen
    assert 0 == turns.last("a")
