"""What several layers of a stack would make, each for itself, is made once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from llmstack.builder import ServiceBuilder, Stack
from llmstack.combine import either
from llmstack.endpoint import Endpoint
from llmstack.estimators.retry_budget import RetryBudget
from llmstack.layers.hedge import Hedge, always
from llmstack.layers.retry import Retry
from llmstack.messages import dispatch
from llmstack.order import parts_of
from llmstack.routers.fallback import Fallback
from llmstack.service import Layer
from llmstack.testing.scripted import echo


OWN = RetryBudget(0.5)
HEDGE = Hedge(hedgeable=always)
ROUTER = Fallback([Endpoint("eu", echo)])


def built(*layers: Layer) -> Stack[Any, Any]:
    return ServiceBuilder(layers).service(dispatch)


def budgets(layers: Iterable[Layer]) -> list[RetryBudget | None]:
    parts = [part for layer in layers for part in parts_of(layer)]
    return [part.budget for part in parts if hasattr(part, "budget")]


def test_what_is_sent_again_has_one_budget_in_a_stack() -> None:
    """Of all layers that could have one; and it is the one that they go by."""
    stack = built(Retry(), HEDGE, ROUTER)
    retry, hedge, fallback = budgets(stack.layers)

    assert isinstance(retry, RetryBudget)
    assert (retry, retry) == (hedge, fallback)
    assert (retry, retry) == (stack["retry"].budget, stack["hedge"].budgets[-1])


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([Retry(), Hedge(hedgeable=always, budget=OWN)], [None, OWN]),
        ([Retry(budget=OWN), HEDGE], [OWN, None]),
        ([Retry()], [None]),
        ([], []),
    ],
)
def test_what_was_given_stays_and_one_alone_makes_its_own(
    layers: list[Layer], expected: list[RetryBudget | None]
) -> None:
    """The budget that was given to one layer is not given to others."""
    assert expected == budgets(built(*layers).layers)


def test_branches_share_it_too() -> None:
    """And a layer that was given to a branch as it is outside."""
    one, two, three = budgets(built(either(always, Retry(), Retry(attempts=2)), HEDGE).layers)

    assert one is not None
    assert (one, one) == (two, three)


def test_two_stacks_share_nothing() -> None:
    """Not even if they are of one builder; and the layers themselves stay as they were."""
    builder = ServiceBuilder((Retry(), HEDGE))
    one, other = (budgets(builder.service(echo).layers)[0] for _ in range(2))

    assert one is not other
    assert [None, None] == budgets(builder.layers)
