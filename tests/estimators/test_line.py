"""A line of those who wait, against the list of what was booked."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.estimators.line import Line


def freed(history: str) -> list[float]:
    """The turns that are given: a list of who waits for which, and of what is booked still.

    A history: w waits for second 100; g goes, the first of those who wait; l leaves, and the
    next letter says who, from a on. A gap is a second.
    """
    waits: list[float] = []
    last, unused = 99.0, list[float]()
    found = []
    for step, who in zip(history[::2], history[1::2], strict=True):
        if step == "w":
            last = max(100.0, last + 1.0)
            waits.append(last)
            found.append(last)
        elif waits:
            turn = waits.pop(0 if step == "g" else ord(who) % len(waits))
            # Whoever has gone has left no room before it.
            unused = [each for each in unused if each > turn] if step == "g" else [*unused, turn]
            if not waits:
                last, unused = min([last, *(each - 1.0 for each in unused)]), []
    return found


@given(st.lists(st.sampled_from(["w-", "w-", "g-", "la", "lb", "lc"]), max_size=40).map("".join))
@example("w-w-w-lblblaw-")
@example("w-w-g-law-")
@example("w-w-w-lag-law-w-")
def test_turns_that_nobody_used_are_free_when_nobody_waits(history: str) -> None:
    """A crowd that leaves does not keep the next one waiting; who goes leaves its gap behind."""
    line = Line()
    waits: list[float] = []
    found = []
    for step, who in zip(history[::2], history[1::2], strict=True):
        if step == "w":
            waits.append(line.turn(100.0))
            line.take(waits[-1], 1.0)
            found.append(waits[-1])
        elif waits:
            turn = waits.pop(0 if step == "g" else ord(who) % len(waits))
            line.leave(turn, used=step == "g")

    assert freed(history) == found


def test_a_gap_is_that_of_whoever_booked() -> None:
    """None is at once; and one may be so long that nobody comes behind it."""
    line = Line()
    found = []
    for gap in (0.0, 0.5, 2.0, float("inf"), 1.0):
        found.append(line.turn(10.0))
        line.take(found[-1], gap)

    assert [10.0, 10.0, 10.5, 12.5, float("inf")] == found
