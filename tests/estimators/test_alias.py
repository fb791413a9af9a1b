"""Choices by chance against an urn with a ball for each unit of weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import nextafter
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.estimators.alias import AliasTable, choose


Weights = dict[str, float]
ALMOST_ONE = nextafter(1.0, 0.0)
units = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any)
floats = st.lists(
    st.just(0.0) | st.floats(1e-9, 1e9) | st.sampled_from([5e-324, 1e-300, 1e307]),
    min_size=1,
    max_size=30,
).filter(any)
choosers: list[Callable[[Weights, float], str]] = [
    choose,
    lambda weights, chance: AliasTable.of(weights).pick(chance),
]
either = pytest.mark.parametrize("chooser", choosers, ids=["choose", "table"])


def named(weights: list[float] | list[int]) -> Weights:
    return {f"e{n}": weight for n, weight in enumerate(weights)}


def table_shares(table: AliasTable[str]) -> dict[str, float]:
    """What the table gives to each, in columns."""
    shares = dict.fromkeys(table.items, 0.0)
    for item, odds, other in zip(table.items, table.odds, table.other, strict=True):
        shares[item] += odds
        shares[other] += 1 - odds
    return shares


@given(floats)
@example([1.0, 1.0, 1.0])
@example([0.1] * 10)
@example([1e307] * 30)
@example([1.0, 1e-300])
def test_the_table_reproduces_the_weights(weights: list[float]) -> None:
    """P-AL-1: the parts of all columns together are n * w / W for each item."""
    table = AliasTable.of(named(weights))

    top = max(weights)
    total = sum(weight / top for weight in weights)
    n = len(table.items)
    expected = {name: n * (w / top) / total for name, w in named(weights).items() if w > 0}
    assert pytest.approx(expected, rel=0, abs=1e-12) == table_shares(table)
    assert all(0 <= odds <= 1 for odds in table.odds)


@given(units)
@example([1, 0, 3])
def test_picks_are_exactly_by_weight(weights: list[int]) -> None:
    """P-AL-1, through `pick`: of n * W chances in a row each item gets n * w."""
    table = AliasTable.of(named(weights))
    total, n = sum(weights), len(table.items)
    taken = Counter(table.pick((k + 0.5) / (n * total)) for k in range(n * total))

    assert {name: n * w for name, w in named(weights).items() if w} == taken


@given(units, st.integers(0, 1023))
@example([1, 3], 256)
@example([1, 3], 255)
@example([0, 1, 0], 0)
def test_a_choice_is_a_ball_from_the_urn(weights: list[int], k: int) -> None:
    """The chance k / 1024 takes the ball at that part of the row, first item first."""
    urn = [name for name, weight in named(weights).items() for _ in range(int(weight))]

    assert urn[k * len(urn) // 1024] == choose(named(weights), k / 1024)


def test_a_part_ends_before_the_next_begins() -> None:
    """In the table as well: the lower end of a part belongs to it, the upper end does not."""
    table = AliasTable.of({"a": 1, "b": 3})

    assert "aabb" == "".join(table.pick(chance) for chance in (0.0, 0.2499, 0.25, 0.5))


@either
@given(weights=floats, chance=st.sampled_from([0.0, ALMOST_ONE]) | st.floats(0, ALMOST_ONE))
@example(weights=[0.0, 1.0, 0.0], chance=0.0)
@example(weights=[0.0, 1.0, 0.0], chance=ALMOST_ONE)
@example(weights=[0.0, *[0.1] * 10, 0.0], chance=ALMOST_ONE)
@example(weights=[1e308, 1e308, 0.0], chance=0.0)
def test_weight_zero_is_never_chosen(
    chooser: Callable[[Weights, float], str], weights: list[float], chance: float
) -> None:
    """Not at either end of chance, and not where rounding decides."""
    assert named(weights)[chooser(named(weights), chance)] > 0


@pytest.mark.parametrize("n", range(1, 130))
def test_the_greatest_chance_is_in_the_last_column(n: int) -> None:
    """However many columns: n times the number below one does not round to n."""
    assert f"e{n - 1}" == AliasTable.of(named([1] * n)).pick(ALMOST_ONE)


@either
@pytest.mark.parametrize("weights", [[1, 2, 3], [5, 1, 1, 0], [1] * 10, [1, 100, 3.5, 0.25]])
def test_a_hundred_thousand_picks(
    chooser: Callable[[Weights, float], str], weights: list[float]
) -> None:
    """P-AL-2: chi-square of seeded picks is below the 0.9999 quantile, and not too good either."""
    rng, items = Random(7), named(weights)
    pick = AliasTable.of(items).pick if chooser is choosers[1] else lambda c: choose(items, c)
    picks = 100_000
    taken = Counter(pick(rng.random()) for _ in range(picks))
    expected = {name: picks * w / sum(weights) for name, w in items.items() if w}
    distance = sum((taken[name] - mean) ** 2 / mean for name, mean in expected.items())

    # the 0.9999 quantile of chi-square with 9 degrees of freedom, the most there are here
    assert 0 < distance < 33.7
    assert set(expected) == set(taken)


@given(weights=units, power=st.integers(-40, 40), data=st.data())
def test_neither_unit_nor_order_matters(
    weights: list[int], power: int, data: st.DataObject
) -> None:
    """P-AL-3: scaled weights give the same shares, and permuted ones give them permuted."""
    items = named(weights)
    shuffled = dict(data.draw(st.permutations(list(items.items()))))
    shares = table_shares(AliasTable.of(items))

    assert AliasTable.of(items) == AliasTable.of({n: w * 2.0**power for n, w in items.items()})
    assert pytest.approx(shares) == table_shares(AliasTable.of(shuffled))


@given(weights=units, k=st.integers(0, 1023), power=st.integers(-40, 40))
def test_a_choice_has_no_unit(weights: list[int], k: int, power: int) -> None:
    """Scaled weights choose the same."""
    scaled = [weight * 2.0**power for weight in weights]

    assert choose(named(weights), k / 1024) == choose(named(scaled), k / 1024)


@either
@pytest.mark.parametrize("weights", [{}, {"a": 0.0}])
def test_nothing_to_choose_from(chooser: Callable[[Weights, float], str], weights: Weights) -> None:
    """Without a positive weight there is no choice."""
    with pytest.raises(ValueError, match=r"^no weight is positive$"):
        chooser(weights, 0.5)
