"""`check_router`: the shipped routers keep the promises, and wrong ones are found out."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import pytest

import llmstack as ls
from llmstack.estimators.explore import Exploration
from llmstack.testing.check import check_router
from tests.testing.wrong_routers import (
    ByName,
    Crowded,
    Dicey,
    Everybody,
    InOrder,
    Makes,
    OnlyTheFirst,
    Own,
    PlannedOtherwise,
    Turning,
    TwiceEach,
    Walks,
    answers_for_others,
    calls_a_failure_a_refusal,
    forgets,
    goes_on_after_bugs,
    keeps_no_ledger,
    leaves_tasks,
    lets_refusals_through,
    never_insists,
    peeks_ahead,
    picks,
    settles_twice,
    swallows_cancels,
    walk,
    wraps_failures,
)


@pytest.mark.parametrize(
    ("make", "order_free"),
    [
        (ls.RoundRobin, True),
        (ls.WeightedRandom, False),
        (ls.Fallback, False),
        (partial(ls.Fallback, retry_primary=1, max_attempts=2), False),
        (partial(ls.Fallback, triggers=[ls.Overloaded]), False),
        (partial(ls.LatencyBased, explore=Exploration(share=0)), True),
        (ls.LatencyBased, False),
        (ls.CostBased, True),
        (partial(ls.CostBased, unknown=ls.Price(1, 1)), True),
    ],
    ids=lambda value: repr(value).rpartition(".")[2],
)
def test_the_shipped_routers_keep_their_promises(make: Makes, *, order_free: bool) -> None:
    """All five, and some of their settings."""
    check_router(make, order_free=order_free)


def test_a_right_picker_of_ones_own_passes() -> None:
    """So what is found below is what is wrong there; its order is the point."""
    check_router(picks(InOrder))
    check_router(picks(ByName), by_name=True, order_free=True)


@pytest.mark.parametrize(
    ("picker", "promise"),
    [
        (OnlyTheFirst, "nobody could be asked, so all were"),
        (Everybody, "only eligible endpoints are asked"),
        (TwiceEach, "refuses hard, so it is asked once|asked once, then insisting"),
        (ByName, "names are only names"),
        (Dicey, "the same seed gives the same choices"),
        (Turning, "the same seed gives the same choices|a plan changes nothing|the plan said"),
        (PlannedOtherwise, "the plan said|a plan changes nothing"),
        (Crowded, "nothing is in flight"),
    ],
)
def test_a_wrong_picker_is_found_out(picker: type[InOrder], promise: str) -> None:
    """And the promise that it breaks is named."""
    with pytest.raises(AssertionError, match=promise):
        check_router(picks(picker))


@pytest.mark.parametrize(
    ("make", "promise"),
    [
        (settles_twice, "each choice is settled once: . was settled more often than chosen"),
        (peeks_ahead, "each choice is settled once: . was never settled"),
    ],
    ids=["twice", "never"],
)
def test_a_choice_that_is_not_settled_once_is_found_out(make: Makes, promise: str) -> None:
    """Whoever does it, picker or shell."""
    with pytest.raises(AssertionError, match=promise):
        check_router(make)


def test_an_order_that_ought_not_to_matter_is_found_out() -> None:
    """Where it is said to be no matter."""
    with pytest.raises(AssertionError, match="the order of the list decides nothing"):
        check_router(picks(InOrder), order_free=True)


def test_a_right_router_without_the_shell_passes() -> None:
    """The promises are about what a router does, not about how."""
    check_router(partial(Own, walks=walk))


@pytest.mark.parametrize(
    ("walks", "promise"),
    [
        (lets_refusals_through, "a failure leaves as it came, and not as"),
        (never_insists, "who refuses softly is asked once more"),
        (forgets, "after auth each is asked once|after busy each is asked once"),
        (keeps_no_ledger, "the ledger has who was asked"),
        (calls_a_failure_a_refusal, "a call that was sent and failed was not refused"),
        (wraps_failures, "a failure leaves as it came"),
        (goes_on_after_bugs, "nobody is asked after a bug|was not refused"),
        (answers_for_others, "the reply 'nobody' is from who was asked last"),
        (swallows_cancels, "a cancellation is never swallowed"),
        (leaves_tasks, "no task is left behind"),
    ],
)
def test_a_wrong_router_is_found_out(walks: Walks, promise: str) -> None:
    """And the promise that it breaks is named."""
    with pytest.raises(AssertionError, match=promise):
        check_router(partial(Own, walks=walks))


def test_hypothesis_is_asked_for_where_it_is_missing() -> None:
    """It is no dependency, and the rest of the kit does without it."""
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import llmstack.testing\n"
        "try: import llmstack.testing.check\n"
        "except ImportError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "check_router and check_layer need hypothesis: install it first\n" == run.stdout
