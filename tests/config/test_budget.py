"""Which layers of a file share a budget for what is sent again."""

from __future__ import annotations

from typing import Any, Final

import pytest

from llmstack.config import parse
from tests.config.example import LAYERED


RETRY: Final = '{ use = "retry" }'
HEDGE: Final = '{ use = "hedge", hedgeable = "always" }'
FALLBACK: Final = '{ use = "fallback", endpoints = ["eu", "us"], retry_primary = 1 }'
ROBIN: Final = '{ use = "round_robin", endpoints = ["eu", "us"] }'


def budgets(*layers: str) -> list[Any]:
    """What each layer has that could have one."""
    stack = parse(LAYERED.format(", ".join(layers))).routes["chat"]
    return [layer.budget for layer in stack.layers if hasattr(layer, "budget")]


def test_layers_of_a_route_share_one() -> None:
    """All that could have one of their own."""
    retry, hedge, fallback = budgets(RETRY, HEDGE, FALLBACK)

    assert "RetryBudget(ratio=0.2, min_per_sec=1.0, ttl=10.0, share=0.2, least=10)" == repr(retry)
    assert retry is hedge
    assert hedge is fallback


@pytest.mark.parametrize(
    ("layers", "ratios"),
    [
        ([RETRY, ROBIN], [None]),
        ([RETRY, FALLBACK.replace(" }", ", budget = { ratio = 0.5 } }")], [None, 0.5]),
        ([RETRY.replace(" }", ", budget = { ratio = 0.5 } }"), HEDGE, ROBIN], [0.5, None]),
        ([RETRY.replace(" }", ", budget = { ratio = inf, share = inf } }"), ROBIN], [float("inf")]),
    ],
)
def test_what_is_said_is_for_one_layer(layers: list[str], ratios: list[float | None]) -> None:
    """And what is alone makes its own, each time that it is used."""
    assert ratios == [getattr(each, "ratio", None) for each in budgets(*layers)]


def test_two_routes_share_none() -> None:
    """A group may fail without costing others their retries."""
    text = LAYERED.format(f"{RETRY}, {HEDGE}, {ROBIN}")
    config = parse(f"{text}routes.other.layers = [{RETRY}, {HEDGE}, {ROBIN}]\n")
    found = {
        name: {id(layer.budget) for layer in stack.layers if hasattr(layer, "budget")}
        for name, stack in config.routes.items()
    }

    assert [1, 1] == [len(each) for each in found.values()]
    assert not found["chat"] & found["other"]
