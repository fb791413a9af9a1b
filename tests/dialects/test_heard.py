"""Reading what an endpoint said, and the JSON that both sides have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.dialects.heard import index_of, object_of, objects_of, text_of, the
from llmstack.dialects.messages import call_id
from llmstack.dialects.shapes import is_whole, object_in
from llmstack.errors import ProtocolError


SECRET: Final = "canary"

#: What may be read, what null stands for, values that fit, others, and the words for those.
Reader = Callable[[Any, str], object]
READERS: Final[list[tuple[Reader, object, list[object], list[object], str]]] = [
    (text_of, "", ["", "a"], [0, False, [], {}, [SECRET]], "x is no string"),
    (object_of, {}, [{}, {"a": 1}], [0, False, "", [], SECRET], "x is no object"),
    (
        objects_of,
        (),
        [[], [{}], [{}, {"a": 1}]],
        [0, False, "", {}, [{}, SECRET]],
        "x are no list of objects",
    ),
    (index_of, 0, [0, 7], [-1, True, 0.0, "0", [], SECRET], "x has an impossible index"),
]


@pytest.mark.parametrize(("read", "nothing", "fit", "others", "words"), READERS)
def test_a_value_is_of_its_kind_or_an_error(
    read: Reader,
    nothing: object,
    fit: list[object],
    others: list[object],
    words: str,
) -> None:
    """Null is an empty one; what is wrong is told, and not what was said."""
    assert nothing == read(None, "x")
    assert all(value is read(value, "x") for value in fit)
    for value in others:
        with pytest.raises(ProtocolError) as caught:
            read(value, "x")
        assert words == caught.value.message


def test_what_must_be_there() -> None:
    """It is of its kind, or an error by its name."""
    assert "a" == the(str, {"x": "a"}, "x")
    for said in ({}, {"x": None}, {"x": SECRET}):
        with pytest.raises(ProtocolError) as caught:
            the(dict, said, "x")
        assert "the x of a reply is missing or malformed" == caught.value.message


@pytest.mark.parametrize("value", [None, True, "1", 1.0, [], -1, 0, 1, 2, 10**30], ids=repr)
@pytest.mark.parametrize("least", [0, 1])
def test_a_whole_number(value: object, least: int) -> None:
    """Only those that JSON writes without a point, from the least one up."""
    assert (type(value) is int and value + 0 >= least) == is_whole(value, least)


def test_the_object_in_a_text() -> None:
    """Blanks are one without members; what is no object, and no JSON, is none."""
    assert [{}, {}, {"a": [1.5, None]}] == [*map(object_in, ("", " \n", ' {"a": [1.5, null]} '))]
    for text in ("[]", "1", '"a"', "null", "{", "{} {}", '{"a":NaN}', '{"a":-Infinity}'):
        assert object_in(text) is None
    assert object_in('{"a":' + "[" * 100_000) is None


@given(st.text(), st.sampled_from(["call", "a.b"]))
def test_an_id_of_a_call_has_the_letters_of_messages(given_id: str, otherwise: str) -> None:
    """As many as before, and those that were allowed are left as they are."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    allowed = {*letters, *letters.upper(), *"0123456789_-"}
    expected = [sign if sign in allowed else "_" for sign in given_id or otherwise]

    assert "".join(expected) == call_id(given_id, otherwise)
