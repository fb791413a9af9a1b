"""The order of layers: what is wrong is said in full, what is doubtful is warned of."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from math import inf
from typing import Any, Final

import pytest
from attrs import astuple, frozen
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.builder import ServiceBuilder
from llmstack.combine import either, optional
from llmstack.errors import ConfigError
from llmstack.order import (
    Bound,
    Bounded,
    StackWarning,
    bound_of,
    check_order,
    parts_of,
    reasons,
    role_of,
)
from llmstack.service import Layer, Service
from llmstack.testing.scripted import echo


NONE: Final[Mapping[str, str]] = {}


@frozen
class Placed:
    """A layer that says where it belongs, and does nothing."""

    role: str
    above: Mapping[str, str] = NONE
    below: Mapping[str, str] = NONE
    twice: str = ""
    limits: float | None = None

    def __call__(self, inner: Service[Any, Any], /) -> Service[Any, Any]:
        return inner


def plain(inner: Service[Any, Any], /) -> Service[Any, Any]:
    """A layer that is just a function."""
    return inner


ROLES: Final = "abcd"
says = st.dictionaries(st.sampled_from(ROLES), st.sampled_from(["", "because", "so"]), max_size=3)
layers = st.lists(st.builds(Placed, st.sampled_from(ROLES), says, says), max_size=4)


def wrong(stack: list[Placed]) -> set[str]:
    """Each saying that the order breaks, in words: who must be where, and why."""
    found = set()
    for n, layer in enumerate(stack):
        over, under = ({other.role for other in part} for part in (stack[:n], stack[n + 1 :]))
        for role in over & set(layer.above):
            found.add(f"{layer.role} must be above {role}: {layer.above[role]}")
        for role in under & set(layer.below):
            found.add(f"{layer.role} must be below {role}: {layer.below[role]}")
    return found


@given(layers)
@example([Placed("a", above={"b": "because"}), Placed("b")])
@example([Placed("b"), Placed("a", above={"b": "because"})])
@example([Placed("a", below={"b": "because"}), Placed("b", above={"a": "so"})])
@example([Placed("a", below={"a": "because"}), Placed("a")])
@example([Placed("a", below={"b": ""}), Placed("b")])
def test_every_wrong_pair_is_told_with_its_reason(stack: list[Placed]) -> None:
    """All at once, each once, both names in it; a right order passes without a word."""
    expected = wrong(stack)
    try:
        check_order(stack)
    except ConfigError as error:
        head, _, told = str(error).partition(": ")
        assert "wrong order of layers" == head
        assert sorted(expected) == sorted(told.split("; "))
    else:
        assert set() == expected


@given(layers)
def test_a_builder_builds_what_is_in_order_and_nothing_else(stack: list[Placed]) -> None:
    """It checks when the stack is built, not when a layer is added."""
    builder = ServiceBuilder()
    for layer in stack:
        builder = builder.layer(layer)

    if wrong(stack):
        with pytest.raises(ConfigError, match="must be"):
            builder.service(echo)
    else:
        assert tuple(stack) == builder.service(echo).layers


@given(layers)
def test_reasons_are_those_of_the_roles_that_are_there(stack: list[Placed]) -> None:
    """What is said of absent layers is not told; a layer's own role needs another of it."""
    for n, layer in enumerate(stack):
        others = {other.role for other in stack[:n] + stack[n + 1 :] if other is not layer}
        expected = [f"above {r}: {why}" for r, why in layer.above.items() if r in others]
        expected += [f"below {r}: {why}" for r, why in layer.below.items() if r in others]

        assert expected == list(reasons(stack, layer))


def test_what_stands_in_a_choice_has_its_place_too() -> None:
    """A layer in one of two ways is as wrong as one on the only way."""
    retry = Placed("retry", above={"breaker": "each attempt counts"})
    breaker = Placed("breaker")
    for way in (either(bool, retry, plain), either(bool, plain, either(bool, plain, retry))):
        with pytest.raises(ConfigError, match="retry must be above breaker: each attempt counts"):
            check_order([breaker, way])
        check_order([way, breaker])
        assert ["above breaker: each attempt counts"] == list(
            reasons([retry, either(bool, breaker, plain)], retry)
        )


def test_the_two_ways_of_a_choice_are_not_above_each_other() -> None:
    """No request passes both."""
    one = Placed("a", above={"b": "x"}, below={"b": "y"}, twice="they multiply", limits=1)
    other = Placed("b", limits=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_order([either(bool, one, other)])
        check_order([either(bool, other, one)])
        check_order([either(bool, one, one)])


def test_functions_say_nothing_about_order() -> None:
    """They may stand anywhere, and several times."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_order([plain, Placed("a"), plain, lambda inner: inner])


stories = st.lists(
    st.builds(
        Placed,
        st.sampled_from("ab"),
        twice=st.sampled_from(["", "they multiply"]),
        limits=st.none() | st.integers(0, 3),
    ),
    max_size=4,
)


@given(stories)
@example([Placed("a", limits=30), Placed("b", limits=30)])
@example([Placed("a", limits=30), Placed("b", limits=30.5)])
@example([Placed("a", limits=0), Placed("b", limits=1)])
@example([Placed("b", limits=31), Placed("a", limits=30)])
@example([Placed("a", twice="they multiply"), Placed("b"), Placed("a")])
@example([Placed("a"), Placed("a", twice="they multiply")])
def test_what_is_doubtful_is_warned_of(stack: list[Placed]) -> None:
    """Two of a kind that multiply, and a time inside that is longer than the one outside."""
    expected = []
    for n, outer in enumerate(stack):
        for inner in stack[n + 1 :]:
            if outer.role == inner.role and outer.twice:
                expected.append(f"two layers are {outer.role}: they multiply")
            if outer.limits is not None and inner.limits is not None:
                allowed, takes = outer.limits, inner.limits
                if takes > allowed:
                    text = f"{inner.role} allows {takes:g} s, but {outer.role} above it"
                    expected.append(f"{text} only {allowed:g} s")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_order(stack)

    assert expected == [str(warning.message) for warning in caught]
    assert {StackWarning} >= {warning.category for warning in caught}


def test_a_warning_points_at_whoever_built_the_stack() -> None:
    """The line with `.service(...)`, for there the order can be changed."""
    one = Placed("a", twice="they multiply", limits=1)
    builder = ServiceBuilder((one, Placed("b", limits=2), one))
    with pytest.warns(StackWarning) as seen:
        builder.service(echo)

    assert [__file__] * 2 == [warning.filename for warning in seen]


def test_a_wrong_order_is_said_even_where_doubts_are_too() -> None:
    """Both are told."""
    stack = [Placed("a", below={"b": "x"}, limits=1), Placed("b", limits=2)]
    with pytest.warns(StackWarning), pytest.raises(ConfigError):
        check_order(stack)


class Named:
    """A layer that is a plain class of a user."""

    def __call__(self, inner: Service[Any, Any], /) -> Service[Any, Any]:
        return inner


@pytest.mark.parametrize(
    ("layer", "role"),
    [
        (Placed("retry"), "retry"),
        (plain, "plain"),
        (Named(), "Named"),
        (Named, "Named"),
        (either(bool, plain, plain), "either"),
        (echo, "echo"),
    ],
    ids=str,
)
def test_a_role_is_declared_or_it_is_the_name(layer: object, role: str) -> None:
    """Any callable has one; a function that is a layer and a class of one are alike."""
    assert plain(echo) is Named()(echo)
    assert role == role_of(layer)


@frozen
class Bounding:
    """A layer that multiplies the calls, and ends after so many seconds."""

    times: int
    seconds: float = inf

    def __call__(self, inner: Service[Any, Any], /) -> Service[Any, Any]:
        return inner

    def bound(self, inner: Bound, /) -> Bound:
        seconds = min(self.seconds, 2 * inner.seconds + 1)
        return Bound(inner.calls * self.times, seconds, min(self.seconds, inner.cost))


bounding = st.builds(Bounding, st.integers(1, 3), st.sampled_from([inf, 4, 9])) | st.just(plain)
choices = st.builds(either, st.just(bool), bounding, bounding)


def worst(stack: list[Any], inner: Bound = Bound()) -> Bound:  # noqa: B008 -- it is frozen
    """The most that any way through *stack* can take: each way is walked alone."""
    if not stack:
        return inner
    below, layer = worst(stack[1:], inner), stack[0]
    ways = [layer.then, layer.otherwise] if hasattr(layer, "then") else [layer]
    bounds = [way.bound(below) if isinstance(way, Bounding) else below for way in ways]
    return Bound(*(max(values) for values in zip(*map(astuple, bounds), strict=True)))


@given(st.lists(bounding | choices, max_size=5))
@example([Bounding(3), Bounding(2, 4)])
@example([Bounding(3, 4), Bounding(2)])
@example([either(bool, Bounding(3, 4), plain)])
@example([either(bool, plain, Bounding(1, 4)), Bounding(2)])
def test_a_bound_is_built_up_from_the_floor(stack: list[Layer]) -> None:
    """Each layer says what it makes of the bound below it; of two ways the worse one counts."""
    assert worst(stack) == bound_of(stack) == ServiceBuilder(tuple(stack)).service(echo).bound


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        (Bound(), "at most 1 upstream call"),
        (Bound(3), "at most 3 upstream calls"),
        (Bound(3, 30.0), "at most 3 upstream calls, 30 s"),
        (Bound(1, 0.25), "at most 1 upstream call, 0.25 s"),
        (Bound(2, 0), "at most 2 upstream calls, 0 s"),
        (Bound(2, cost=0.123456), "at most 2 upstream calls, 0.1235 USD"),
        (Bound(2, 9, 0), "at most 2 upstream calls, 9 s, 0 USD"),
    ],
)
def test_a_bound_is_said_in_words(bound: Bound, text: str) -> None:
    """What has no end is not named."""
    assert text == str(bound)


def test_what_changes_a_bound_is_recognised() -> None:
    """By its method."""
    assert isinstance(Bounding(2), Bounded)
    assert not isinstance(plain, Bounded)


def test_the_parts_of_a_layer_are_itself_and_its_ways() -> None:
    """However deep."""
    one, two, three = Placed("1"), Placed("2"), Placed("3")
    inner = either(bool, two, three)
    outer = either(bool, one, inner)

    assert [outer, one, inner, two, three] == list(parts_of(outer))
    assert [one] == list(parts_of(one))
    assert [optional(one)] == list(parts_of(one))


def test_order_is_about_all_pairs_not_neighbours_alone() -> None:
    """Whatever stands in between makes no difference."""
    outer, inner = Placed("a"), Placed("b", above={"a": "far away"})
    stack: list[Layer] = [outer, plain, plain, inner]

    with pytest.raises(ConfigError, match="b must be above a: far away"):
        check_order(stack)
