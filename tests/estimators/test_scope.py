"""What a place is in, and what is put down to it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from llmstack.errors import Scope
from llmstack.estimators.scope import Place, Where


SCOPES: Sequence[Scope] = ("endpoint", "key_model", "key", "account")
NAMES = {
    "endpoint eu": ("endpoint", "eu", ""),
    "key k for m": ("key_model", "k", "m"),
    "key k": ("key", "k", ""),
    "account x": ("account", "x", ""),
}


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (Place("eu", "m", "k", "x"), ["endpoint eu", "key k for m", "key k", "account x"]),
        (Place("eu", "m", "k"), ["endpoint eu", "key k for m", "key k", "key k"]),
        (Place("eu", "m", "", "x"), ["endpoint eu"] * 3 + ["account x"]),
        (Place("eu", "m"), ["endpoint eu"] * 4),
    ],
    ids=["all named", "no account", "no key", "neither"],
)
def test_what_has_no_name_is_put_down_to_the_next_that_it_is_in(
    place: Place, expected: list[str]
) -> None:
    """And a place is in just what can be put down to it: "" is shared with nobody."""
    wheres = [place.where(scope) for scope in SCOPES]

    assert expected == [str(where) for where in wheres]
    assert [NAMES[name] for name in expected] == wheres
    assert sorted({NAMES[name] for name in expected}) == sorted(place.within())


def test_what_is_put_aside_can_be_said() -> None:
    """In words; a model is not always known, nor is the name of a service."""
    assert "key k" == str(Where("key_model", "k"))
    assert "key 3 for m" == str(Where("key_model", 3, "m"))
    assert "the service" == str(Where("endpoint", None))


def test_what_is_not_said_of_a_place_is_nothing() -> None:
    """Neither a model nor a key nor an account."""
    assert Place("eu", "", "", "") == Place("eu")
