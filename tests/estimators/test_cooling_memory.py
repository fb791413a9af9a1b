"""The board has a bound, and what is over leaves it."""

from __future__ import annotations

import pytest

from llmstack.errors import AuthFailed, CoolingDown, LLMStackError, RateLimited
from llmstack.estimators.cooling import CoolingBoard
from llmstack.estimators.scope import Place, Where
from llmstack.keyed import LOOK


def put(board: CoolingBoard, name: str, now: float, error: LLMStackError | None = None) -> None:
    """Let *name* fail, for ten seconds."""
    error = error or RateLimited(retry_after=10.0)
    assert error.cools is not None
    board.learn(Place(name), error, error.cools, now, 10.0)


def names(board: CoolingBoard) -> list[object]:
    return [where.name for where in board.statistics()]


def test_above_the_cap_the_oldest_is_forgotten() -> None:
    """And more to know of one that is there makes nobody go."""
    board = CoolingBoard(cap=3)
    for name in "abcd":
        put(board, name, 1.0)
    put(board, "b", 1.0, AuthFailed())

    assert [*"bcd"] == names(board)
    put(board, "e", 1.0)
    assert [*"cde"] == names(board)


def test_a_cap_is_at_least_one() -> None:
    """One scope can be known of, and the default is large."""
    with pytest.raises(ValueError, match="cap"):
        CoolingBoard(cap=0)
    board = CoolingBoard(cap=1)
    put(board, "a", 1.0)
    put(board, "b", 1.0)

    assert ["b"] == names(board)
    assert 10_000 == CoolingBoard().cap


def test_what_is_over_goes_when_there_is_something_new() -> None:
    """But not what has to be probed, however old, and never more than a few at a time."""
    board = CoolingBoard()
    put(board, "bad key", 1.0, AuthFailed())
    for n in range(LOOK + 4):
        put(board, f"old {n}", 1.0 if n % 2 else 2.0)
    put(board, "new", 11.0)
    left = [f"old {n}" for n in range(LOOK + 4) if n % 2 == 0 or n >= LOOK - 1]

    assert ["bad key", *left, "new"] == names(board)


def test_what_is_over_goes_when_it_is_asked_for() -> None:
    """To the moment; and then nothing is left that has to be looked up."""
    board = CoolingBoard()
    put(board, "a", 1.0)
    with pytest.raises(CoolingDown):
        board.admit(Place("a"), 10.75, insists=True)

    assert () == board.admit(Place("a"), 11.0, insists=False)
    assert {} == board.facts


def test_a_probe_whose_fact_was_forgotten_changes_nothing() -> None:
    """Neither its return nor its answer."""
    board = CoolingBoard(cap=1)
    put(board, "a", 1.0, AuthFailed())
    permit = board.admit(Place("a"), 11.0, insists=False)
    put(board, "b", 11.0)
    put(board, "a", 11.0, AuthFailed())
    board.settle(permit)

    assert [] == board.answered(permit)
    assert [Where("endpoint", "a")] == [*board.statistics()]
