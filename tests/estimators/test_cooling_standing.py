"""How a place stands, by what is put aside: no more than a look."""

from __future__ import annotations

import pytest

from llmstack.errors import AuthFailed, LLMStackError, Overloaded, RateLimited
from llmstack.estimators.cooling import CoolingBoard
from llmstack.estimators.scope import Place, Where
from llmstack.standing import Standing
from tests.estimators.test_cooling_cases import EU, put


@pytest.mark.parametrize(
    ("error", "now", "standing"),
    [
        (
            Overloaded(),
            103.0,
            Standing(
                "down",
                "endpoint eu is put aside for 2 s more: Overloaded",
                ready_at=105.0,
                soft=True,
            ),
        ),
        (
            RateLimited(retry_after=5.0),
            103.0,
            Standing("down", "key k for m is put aside for 2 s more: RateLimited", ready_at=105.0),
        ),
        (
            AuthFailed(),
            104.0,
            Standing("down", "key k is put aside for 1 s more: AuthFailed", ready_at=105.0),
        ),
        (
            AuthFailed(),
            105.0,
            Standing("degraded", "key k was put aside: AuthFailed; the next request is a probe"),
        ),
        (Overloaded(), 105.0, None),
        (RateLimited(retry_after=5.0), 105.0, None),
    ],
    ids=["soft", "hard", "before a probe", "a probe is due", "soft and over", "hard and over"],
)
def test_says_how_a_place_stands(
    error: LLMStackError, now: float, standing: Standing | None
) -> None:
    """Five seconds after it failed; to look twice changes nothing."""
    board = CoolingBoard()
    put(board, error, 5.0)
    before = board.statistics()

    assert [standing, standing] == [board.standing(EU, now), board.standing(EU, now)]
    assert before == board.statistics()
    assert CoolingBoard().standing(EU, now) is None


def test_while_a_probe_is_out_nobody_knows_until_when() -> None:
    """Unless there is something else that takes longer."""
    board = CoolingBoard()
    put(board, AuthFailed(), 5.0)
    board.admit(EU, 105.0, insists=False)
    waits = board.standing(EU, 105.0)
    board.put_aside(Where("account", "x"), 200.0, 105.0)
    longer = board.standing(EU, 105.0)

    assert Standing("down", "key k is put aside while a probe is out: AuthFailed") == waits
    assert (
        Standing("down", "account x is put aside for 95 s more: by hand", ready_at=200.0) == longer
    )


def test_a_key_without_a_model_counts_a_little() -> None:
    """Where the model is not known, that the key may not be asked for one of them is said."""
    board = CoolingBoard()
    put(board, RateLimited(retry_after=5.0), 5.0)
    put(board, RateLimited(retry_after=9.0), 9.0, Place("us", "m", "other"))
    some = Standing("degraded", "key k for m is put aside for 2 s more: RateLimited")

    assert some == board.standing(Place("eu", "", "k"), 103.0)
    assert None is board.standing(Place("eu", "n", "k"), 103.0)
    assert None is board.standing(Place("eu", "", "third"), 103.0)
    assert None is board.standing(Place("eu", "", "k"), 105.0)
