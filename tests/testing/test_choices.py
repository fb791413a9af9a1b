from __future__ import annotations

from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.testing.choices import Choices, read, written


@given(st.dictionaries(st.integers(0, 999), st.integers(1, 99)))
def test_a_word_says_all(deviations: Mapping[int, int]) -> None:
    """What is written can be read again, whatever the order in which it was put together."""
    assert deviations == read(written(deviations))
    assert written(deviations) == written(dict(reversed([*deviations.items()])))


def test_a_word_that_is_none() -> None:
    """It is said to be wrong."""
    with pytest.raises(ValueError, match="invalid literal"):
        read("3.1-what")


def test_what_was_given_is_chosen_where_it_can_be() -> None:
    """A deviation that the run has no room for is none; the others are kept."""
    choices = Choices({0: 1, 1: 5, 2: 2})

    assert [1, 0, 2, 0] == [choices.freely(2), choices.freely(2), choices.next_of("abc", 0), 0]
    assert {0: 1, 2: 2} == choices.made


def test_what_comes_next_is_one_more_and_later() -> None:
    """Each run leads to those with one deviation behind its own, and to none twice."""
    choices = Choices({1: 1})
    choices.next_of("ab", 0)
    choices.next_of("ab", 0)
    choices.freely(3)
    choices.next_of("a", 2)

    assert [{1: 1, 3: 1}, {1: 1, 3: 2}] == list(choices.further(free=False))
    assert [{1: 1, 2: 1}, {1: 1, 2: 2}] == list(choices.further(free=True))


@given(st.integers())
def test_a_drawn_choice_is_among_what_there_is(seed: int) -> None:
    """Of those that are ready or may be cancelled, one is drawn; alone, nobody is in question."""
    choices = Choices(rng=Random(seed), leave=0.5)
    for size in range(1, 6):
        assert choices.next_of("abcde"[:size], 3) in range(size + 3)
        assert choices.next_of("abcde"[:size], 0) in range(size)
        assert choices.freely(size) in range(size)
    assert all(0 < choice < 8 for choice in choices.made.values())
