"""Sketches against sorted lists, and what is cut off against mass that moves to the right."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, exp, inf, log
from random import Random

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from llmstack.estimators.sketch import LEAST, MOST, Sketch, curve, quantile


LEVELS = st.sampled_from([0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0])
seconds = st.floats(log(LEAST), log(MOST)).map(exp)
durations = st.lists(seconds, min_size=1, max_size=60)
#: Powers of two lie in buckets of their own, so that order alone decides.
Line = tuple[int, bool]
lines = st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=40)


def sketch_of(seen: list[float], cut: list[float], error: float = 0.02) -> Sketch:
    sketch = Sketch(error)
    for each in seen:
        sketch.add(each)
    for each in cut:
        sketch.add_censored(each)
    return sketch


@given(seen=durations, level=LEVELS, error=st.sampled_from([0.005, 0.02, 0.1]))
@example(seen=[float(n) for n in range(1, 21)], level=0.95, error=0.02)
@example(seen=[1.2**n for n in range(10)], level=0.9, error=0.02)
@example(seen=[float(n) for n in range(1, 101)], level=0.99, error=0.005)
def test_a_quantile_is_right_to_within_the_error(
    seen: list[float], level: float, error: float
) -> None:
    """It is that of the sorted list, by rank, and not farther off than the error allows."""
    rank = max(1, ceil(Fraction(str(level)) * len(seen)))
    exact = sorted(seen)[rank - 1]

    found = quantile(curve(sketch_of(seen, [], error)), level)

    assert pytest.approx(exact, rel=error * (1 + 1e-9)) == found


def survivors(script: list[Line]) -> dict[int, Fraction]:
    """The share that takes longer than each value, by moving mass to the right.

    Each call weighs one. From the left, the weight of one that was cut off goes in equal
    parts to all that went on longer; what the last ones had stays beyond everything.
    """
    ordered = sorted(script, key=lambda line: (line[0], not line[1]))
    weights = [Fraction(1, max(1, len(script)))] * len(script)
    for n, (_, seen) in enumerate(ordered):
        after = len(ordered) - n - 1
        if not seen and after:
            weights[n + 1 :] = [weight + weights[n] / after for weight in weights[n + 1 :]]
            weights[n] = Fraction(0)
    gone = {
        value: sum(
            (
                weight
                for weight, (at, seen) in zip(weights, ordered, strict=True)
                if seen and at <= value
            ),
            Fraction(0),
        )
        for value in {at for at, _ in script}
    }
    return {value: 1 - share for value, share in gone.items()}


@given(script=lines, level=LEVELS)
@example(script=[(1, True), (2, False), (3, True)], level=0.5)
@example(script=[(1, True), (1, False), (1, True), (3, True)], level=0.5)
@example(script=[(1, True), (2, False)], level=0.99)
def test_what_was_cut_off_counts_as_longer(script: list[Line], level: float) -> None:
    """The curve is that of the model; a quantile beyond what is known is infinite."""
    sketch = sketch_of(
        [2.0**n for n, seen in script if seen], [2.0**n for n, seen in script if not seen]
    )
    model = survivors(script)

    found = curve(sketch)

    assert pytest.approx([float(model[n]) for n in sorted(model)]) == [share for _, share in found]
    assert pytest.approx([2.0**n for n in sorted(model)], rel=0.0201) == [at for at, _ in found]
    enough = [n for n in sorted(model) if model[n] <= 1 - Fraction(str(level))]
    assert pytest.approx(2.0 ** enough[0] if enough else inf, rel=0.0201) == quantile(found, level)


@given(seen=st.lists(seconds, max_size=30), cut=st.lists(seconds, max_size=30), more=seconds)
def test_p_ce_1_what_was_cut_off_lowers_no_quantile(
    seen: list[float], cut: list[float], more: float
) -> None:
    """P-CE-1: whatever is known already, at any level."""
    assume(seen or cut)
    before, after = curve(sketch_of(seen, cut)), curve(sketch_of(seen, [*cut, more]))

    for level in (0.01, 0.1, 0.5, 0.9, 0.95, 0.99, 1.0):
        assert quantile(before, level) <= quantile(after, level)


@given(one=durations, other=durations, cut=durations, level=LEVELS)
def test_sketches_say_together_what_one_would(
    one: list[float], other: list[float], cut: list[float], level: float
) -> None:
    """In whichever of them a duration was counted."""
    together = curve(sketch_of(one, []), sketch_of(other, cut))

    assert curve(sketch_of([*one, *other], cut)) == together
    assert quantile(curve(sketch_of([*other, *one], cut)), level) == quantile(together, level)


def test_of_nothing_nothing_is_known() -> None:
    """No curve, and every quantile is beyond it."""
    assert [] == curve(Sketch(), Sketch())
    assert inf == quantile([], 0.01)


@pytest.mark.parametrize(("given_", "kept"), [(-1.0, LEAST), (0.0, LEAST), (inf, MOST)])
def test_the_ends_of_the_scale(given_: float, kept: float) -> None:
    """A clock that goes backwards, and a call that never ends, are kept at the ends."""
    for sketch in (sketch_of([given_], []), sketch_of([], [given_])):
        ((value, _),) = curve(sketch)
        assert pytest.approx(kept, rel=0.0201) == value


def test_a_day_is_the_longest() -> None:
    """To a thousandth of a second, in a sketch that tells such times apart."""
    sketch = Sketch(error=1e-8)
    sketch.add(100_000.0)

    assert pytest.approx(86_400.0, abs=1e-3) == curve(sketch)[0][0]


def test_what_it_holds_is_bounded() -> None:
    """A hundred thousand durations of all sizes are fewer than 460 numbers, and counted."""
    dice = Random(1)
    sketch = Sketch()
    for _ in range(100_000):
        sketch.add(exp(dice.uniform(log(LEAST) - 1, log(MOST) + 1)))
    for n in range(1000):
        sketch.add_censored(float(n))

    assert 400 < len(sketch.seen) < 460
    assert (100_000, 1000) == (sketch.count, sum(sketch.cut.values()))
    assert 100_000 == sum(sketch.seen.values())


def test_settings_have_limits() -> None:
    """The error is a share of the value, and not all of it."""
    assert 0.02 == Sketch().error
    for error in (0.0, 1.0):
        with pytest.raises(ValueError, match="error"):
            Sketch(error)
