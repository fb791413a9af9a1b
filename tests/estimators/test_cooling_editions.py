"""A key that was exchanged: what befell the one before is over, what an operator said is not."""

from __future__ import annotations

from typing import Final

import pytest

from llmstack.errors import AuthFailed, CoolingDown, RateLimited
from llmstack.estimators.cooling import CoolingBoard
from llmstack.estimators.scope import Place, Where


OLD: Final = Place("eu", "m", "k")
NEW: Final = Place("eu", "m", "k", edition=1)


def shuts(board: CoolingBoard, place: Place) -> bool:
    """Whether a request is refused there; the look before it says so, too."""
    standing = board.standing(place, 1.0)
    try:
        board.admit(place, 1.0, insists=False)
    except CoolingDown:
        assert standing is not None
        return True
    assert standing is None
    return False


@pytest.mark.parametrize("error", [AuthFailed(), RateLimited(retry_after=60.0)])
def test_what_befell_the_key_before_is_over(error: AuthFailed | RateLimited) -> None:
    """The new one is asked; the old one is not, if anybody still has it."""
    board = CoolingBoard()
    assert error.cools is not None
    board.learn(OLD, error, error.cools, 0.0, 60.0)

    assert (True, False) == (shuts(board, OLD), shuts(board, NEW))


@pytest.mark.parametrize("where", [Where("key", "k"), Where("key_model", "k", "m")])
def test_what_an_operator_put_aside_stays(where: Where) -> None:
    """Whoever says a key means all of its editions; another one is none of them."""
    board = CoolingBoard()
    board.put_aside(where, 60.0, 0.0)

    assert (True, True) == (shuts(board, OLD), shuts(board, NEW))
    assert not shuts(board, Place("eu", "m", "other", edition=1))


def test_all_that_is_said_of_it_counts() -> None:
    """What befell the new one, and what an operator said."""
    board, error = CoolingBoard(), AuthFailed()
    assert error.cools is not None
    board.learn(NEW, error, error.cools, 0.0, 40.0)
    board.put_aside(Where("key", "k"), 20.0, 0.0)

    with pytest.raises(CoolingDown) as refused:
        board.admit(NEW, 1.0, insists=False)
    assert 40.0 == refused.value.ready_at
