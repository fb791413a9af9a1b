"""A place in a caller's request, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.dialects.place import Place, top
from llmstack.errors import Untranslatable


def at(body: Any) -> Place:  # noqa: ANN401 -- any JSON
    return top(body, "Klingon")


def refused(ask: Callable[[], object]) -> str:
    """The words of the refusal that is the answer."""
    with pytest.raises(Untranslatable) as caught:
        ask()
    return caught.value.message


#: What may be read, from which values, and the words where it is anything else.
KINDS: Final[list[tuple[Callable[[Place], object], list[object], str]]] = [
    (Place.text, ["", "a"], "must be a string"),
    (Place.fields, [{}, {"a": 1}], "must be an object"),
    (Place.number, [0, 0.5, 1, 2], "must be a number from 0 up"),
    (Place.count, [1, 2], "must be an integer from 1 up"),
]
VALUES: Final[list[object]] = [
    None,
    True,
    False,
    -1,
    -0.5,
    0,
    0.5,
    1,
    2,
    float("nan"),
    "",
    "a",
    [],
    {},
    {"a": 1},
]


@pytest.mark.parametrize(("read", "fit", "words"), KINDS)
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_is_of_its_kind_or_refused(
    read: Callable[[Place], object],
    fit: list[object],
    words: str,
    value: object,
) -> None:
    """It is given back as it is; a boolean is no number, and NaN is none."""
    place = at({"a": value})["a"]
    if any(type(each) is type(value) and each == value for each in fit):
        assert value is read(place)
    else:
        assert f"a: {words}" == refused(lambda: read(place))


@pytest.mark.parametrize("value", [None, True, 1, "a", {"a": 1}])
def test_positions_are_of_an_array(value: object) -> None:
    """In a tuple too: bodies that a translator has made may have one."""
    assert ["a", "b"] == [each.text() for each in at({"x": ["a", "b"]})["x"].each()]
    assert ["a"] == [each.text() for each in at({"x": ("a",)})["x"].each()]
    assert "x: must be an array" == refused(at({"x": value})["x"].each)


def test_one_of_those_that_are_known() -> None:
    """Of anything else it is said why not, or that it cannot be said."""
    place = at({"a": "x"})["a"]

    assert "x" == place.one_of(("y", "x"))
    assert "a: Klingon cannot say it" == refused(lambda: place.one_of(["y"]))
    assert "a: not a mode" == refused(lambda: place.one_of((), "not a mode"))
    assert "a: no" == refused(lambda: at({"a": ["x"]})["a"].one_of({"x": 1}, "no"))


def test_a_field_is_of_an_object() -> None:
    """One that is not there is null; what is no object has none, and the top is the body."""
    assert not at({})["a"].given
    assert at({"a": 0})["a"].given
    assert "a[1]: must be an object" == refused(lambda: at({"a": [{}, 5]})["a"].each()[1]["b"])
    assert "the body: must be an object" == refused(lambda: at([])["a"])


def test_null_says_nothing() -> None:
    """Another value may stand for it, at the same place; no other value is nothing."""
    asked = at({"a": None, "b": 0, "c": ""})

    assert [5, 0, ""] == [asked[name].otherwise(5).value for name in "abc"]
    assert {"b": 0, "c": ""} == asked.some("c", "a", "b", "d")
    assert "a: must be a string" == refused(asked["a"].otherwise(5).text)
    assert "b: must be a string" == refused(asked["b"].holding(5).text)


def test_a_path_leads_to_the_place() -> None:
    """As the gateway writes it, and with stars as it is told."""
    place = at({"a": [0, [0, {"b": {"c": 1}}]]})["a"].each()[1].each()[1]["b"]["c"]

    assert ("a[1][1].b.c", "a[*][*].b.c") == (place.path(), place.path("*"))
    assert "Place(a[1][1].b.c)" == repr(place)
    assert "" == at({}).path()


def test_what_is_dropped_is_told_once() -> None:
    """In the order in which it was met, wherever it was told."""
    asked = at({"b": [{"x": 1}, {"x": 2, "y": 3}], "a": 1})
    for each in asked["b"].each():
        each.rest()
    asked["a"].drop()

    assert ("b[*].x", "b[*].y", "a") == asked.dropped == asked["b"].dropped
    assert () == at({}).dropped


def test_the_rest_is_what_is_not_said() -> None:
    """What is null or empty says nothing; false, zero and blanks do."""
    empty: dict[str, object] = {"a": None, "b": [], "c": {}}
    said: dict[str, object] = {"d": False, "e": 0, "f": "", "g": [None]}
    asked = at({**empty, **said, "h": 1})
    asked.rest("h", "i")

    assert tuple(said) == asked.dropped
    assert "a: must be an object" == refused(at({"a": 5})["a"].rest)


@pytest.mark.parametrize("name", ["A", "a b", "a1", "a-b", "a.b", "a[0]", "", "é", "a\n", "a" * 41])
def test_a_name_that_is_no_name_is_not_repeated(name: str) -> None:
    """It is the caller's text, and may be anything."""
    asked = at({"a": [{name: 1, "a_b": 1, "a" * 40: 1}]})
    (each,) = asked["a"].each()
    each.rest()

    assert ("a[*].?", "a[*].a_b", f"a[*].{'a' * 40}") == asked.dropped


@given(st.lists(st.sampled_from(["a", "b_c"]) | st.integers(0, 99), max_size=9))
def test_a_path_is_the_way_that_was_gone(steps: list[str | int]) -> None:
    """Whatever is in what: it is the way in Python too, but for the quotes."""
    value: Any = 5
    for step in reversed(steps):
        value = {step: value} if isinstance(step, str) else [*([None] * step), value]
    place = at(value)
    for step in steps:
        place = place[step] if isinstance(step, str) else place.each()[step]
    written = "".join(f".{step}" if isinstance(step, str) else f"[{step}]" for step in steps)

    assert 5 == place.value
    assert written.removeprefix(".") == place.path()
