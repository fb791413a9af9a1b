"""What a refusal says, and which of several facts it is about."""

from __future__ import annotations

import pytest

from llmstack.errors import AuthFailed, CoolingDown, LLMStackError, Overloaded, RateLimited
from llmstack.estimators.cooling import Aside, CoolingBoard, named_wait
from llmstack.estimators.scope import Place, Where


EU = Place("eu", "m", "k", "x")


def put(
    board: CoolingBoard, error: LLMStackError, wait: float, place: Place = EU, now: float = 100.0
) -> bool:
    """Let *place* fail; whether that began anything."""
    assert error.cools is not None
    return board.learn(place, error, error.cools, now, wait).began


def refusal(board: CoolingBoard, now: float = 100.0, place: Place = EU) -> CoolingDown:
    with pytest.raises(CoolingDown) as refused:
        board.admit(place, now, insists=False)
    return refused.value


def test_of_several_the_last_that_is_hard_is_told() -> None:
    """Once that is over, who insists gets through; so a longer soft one is not waited for."""
    board = CoolingBoard()
    put(board, Overloaded(), 50.0)
    put(board, RateLimited(), 70.0)
    soft = refusal(board)
    put(board, RateLimited(retry_after=5.0), 5.0)
    put(board, AuthFailed(), 3.0)
    hard = refusal(board)

    assert (True, 170.0) == (soft.soft, soft.ready_at)
    assert "its key for m is put aside for 70 s more: RateLimited" == soft.message
    assert (False, 105.0) == (hard.soft, hard.ready_at)
    assert "its key for m is put aside for 5 s more: RateLimited" == hard.message


def test_nobody_knows_when_a_probe_is_back() -> None:
    """Unless there is something else that takes longer."""
    board = CoolingBoard()
    put(board, AuthFailed(), 3.0)
    board.admit(EU, 103.0, insists=False)
    waits = refusal(board, 103.0)
    board.put_aside(Where("account", "x"), 200.0, 103.0)
    longer = refusal(board, 103.0)

    assert None is waits.ready_at
    assert not waits.soft
    assert "its key is put aside while a probe is out: AuthFailed" == waits.message
    assert 200.0 == longer.ready_at
    assert "its account is put aside for 97 s more: by hand" == longer.message


@pytest.mark.parametrize(
    ("place", "expected"),
    [(Place(None), "the service is"), (Place(""), "endpoint  is"), (Place("eu"), "endpoint eu is")],
    ids=["no name", "empty", "eu"],
)
@pytest.mark.parametrize(("wait", "left"), [(20000.04, "20000"), (0.25, "0.2"), (12.34, "12.3")])
def test_a_refusal_is_in_words(place: Place, expected: str, wait: float, left: str) -> None:
    """To a tenth of a second; a service without a name is called so."""
    board = CoolingBoard()
    put(board, Overloaded(), wait, place)

    words = f"{expected} put aside for {left} s more: Overloaded"
    assert words == refusal(board, place=place).message


def test_a_time_of_nothing_is_over_at_once() -> None:
    """And one that has come to an end begins anew, if it fails again."""
    board = CoolingBoard()
    put(board, Overloaded(), 0.0)

    assert () == board.admit(EU, 100.0, insists=False)
    put(board, Overloaded(), 0.0)
    put(board, Overloaded(), 9.0)
    (aside,) = board.statistics().values()
    assert (1, 109.0) == (aside.times, aside.until)


def test_who_insisted_before_it_ended_does_not_end_what_began_since() -> None:
    """The answer is about a time that is past."""
    board = CoolingBoard()
    put(board, Overloaded(), 1.0)
    permit = board.admit(EU, 100.0, insists=True)

    assert put(board, Overloaded(), 9.0, now=101.0)
    assert [] == board.answered(permit)
    assert refusal(board, 105.0).soft


def test_who_insisted_before_another_failed_does_not_end_it() -> None:
    """The failure is the newer word; it makes the time longer, and begins nothing."""
    board = CoolingBoard()
    put(board, Overloaded(), 1.0)
    permit = board.admit(EU, 100.0, insists=True)

    assert not put(board, Overloaded(), 9.0, now=100.5)
    assert [] == board.answered(permit)
    (aside,) = board.statistics().values()
    assert (1, 109.5) == (aside.times, aside.until)


def test_a_probe_begins_it_anew_from_the_moment_that_its_time_is_over() -> None:
    """A failure an instant earlier only makes it longer."""
    for now in (102.75, 103.0, 103.25):
        board = CoolingBoard()
        put(board, AuthFailed(), 3.0)

        assert (now >= 103) == put(board, AuthFailed(), 3.0, now=now)
        (aside,) = board.statistics().values()
        assert (now + 3, 1 + (now >= 103)) == (aside.until, aside.times)


def test_a_class_of_errors_is_named_once() -> None:
    """In the statistics, though it may be there in two ways; one of them may need a probe."""
    board = CoolingBoard()
    for error in (Overloaded(), Overloaded(retry_after=1.0), AuthFailed()):
        put(board, error, 9.0, Place("eu"))
    (aside,) = board.statistics().values()

    assert ("Overloaded, AuthFailed", True) == (aside.reason, aside.probing)


def test_what_is_sent_away_is_counted() -> None:
    """By each fact that is in the way, and once by the board."""
    board = CoolingBoard()
    put(board, Overloaded(), 50.0)
    before = board.statistics()
    for _ in range(3):
        refusal(board)
    put(board, AuthFailed(), 50.0)
    refusal(board)

    assert [0] == [aside.refused for aside in before.values()]
    assert [4, 1] == [aside.refused for aside in board.statistics().values()]
    assert 4 == board.refused


def test_what_is_put_aside_is_told_whole() -> None:
    """For each scope, by what is worst of its facts; with the probes that are out."""
    board = CoolingBoard()
    put(board, Overloaded(), 50.0)
    put(board, AuthFailed(), 3.0)
    board.admit(EU, 103.0, insists=True)

    assert {
        Where("endpoint", "eu"): Aside(
            "Overloaded", 150.0, soft=True, probing=False, out=0, times=1, refused=0
        ),
        Where("key", "k"): Aside(
            "AuthFailed", 103.0, soft=False, probing=True, out=1, times=1, refused=0
        ),
    } == board.statistics()


def test_another_request_may_be_the_probe() -> None:
    """Once the one that was is back, and nothing came of it."""
    board = CoolingBoard()
    put(board, AuthFailed(), 3.0)
    permit = board.admit(EU, 103.0, insists=False)
    assert refusal(board, 103.0).ready_at is None
    board.settle(permit)

    assert board.admit(EU, 103.0, insists=False)


def test_whoever_insisted_ends_nothing_that_failed_since() -> None:
    """However often it did, and also if it was forgotten after that."""
    board = CoolingBoard()
    put(board, Overloaded(), 50.0)
    first = board.admit(EU, 100.0, insists=True)
    put(board, Overloaded(), 50.0)
    second = board.admit(EU, 100.0, insists=True)
    put(board, Overloaded(), 50.0)

    assert [[], []] == [board.answered(permit) for permit in (first, second)]
    assert 1 == len(board.clear())
    assert [[], []] == [board.answered(permit) for permit in (first, second)]


def test_what_is_cleared_once_is_no_more() -> None:
    """Whoever insisted while it was there ends nothing; and what is not there is not cleared."""
    board = CoolingBoard()
    put(board, Overloaded(), 50.0)
    permit = board.admit(EU, 100.0, insists=True)
    put(board, Overloaded(), 50.0)
    cleared = board.clear([Where("endpoint", "us"), Where("endpoint", "eu")])

    assert ["Overloaded"] == [fact.reason for fact in cleared]
    assert [] == board.answered(permit)
    assert [] == board.clear([Where("endpoint", "eu")])


def test_what_is_put_aside_again_is_the_same_fact() -> None:
    """It is told with either failure."""
    board, error = CoolingBoard(), Overloaded()
    assert error.cools is not None
    first, second = (board.learn(EU, error, error.cools, 100.0, 5.0) for _ in range(2))

    assert (True, False) == (first.began, second.began)
    assert first.fact is second.fact


@pytest.mark.parametrize(("named", "wait"), [(None, 0.0), (-1.0, 0.0), (0.0, 0.0), (2.5, 2.5)])
def test_a_wait_is_named_or_nothing(named: float | None, wait: float) -> None:
    """What is below nothing is none either."""
    assert wait == named_wait(Overloaded(retry_after=named))
