"""What a place is in, and what is put down to it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from llmstack.errors import Scope
from llmstack.estimators.scope import Place, Scoped, Where


SCOPES: Sequence[Scope] = ("endpoint", "key_model", "key", "account")
NAMES = {
    "endpoint eu": ("endpoint", "eu", ""),
    "endpoint eu for m": ("endpoint", "eu", "m"),
    "key k (edition 2)": ("key", "k (edition 2)", ""),
    "key k (edition 2) for m": ("key_model", "k (edition 2)", "m"),
    "key k for m": ("key_model", "k", "m"),
    "key k": ("key", "k", ""),
    "account x": ("account", "x", ""),
}


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (Place("eu", "m", "k", "x"), ["endpoint eu", "key k for m", "key k", "account x"]),
        (Place("eu", "m", "k"), ["endpoint eu", "key k for m", "key k", "key k"]),
        (
            Place("eu", "m", "", "x"),
            ["endpoint eu", "endpoint eu for m", "endpoint eu", "account x"],
        ),
        (Place("eu", "m"), ["endpoint eu", "endpoint eu for m", "endpoint eu", "endpoint eu"]),
        (
            Place("eu", "m", "k", "x", 2),
            ["endpoint eu", "key k (edition 2) for m", "key k (edition 2)", "account x"],
        ),
    ],
    ids=["all named", "no account", "no key", "neither", "exchanged"],
)
def test_what_has_no_name_is_put_down_to_the_next_that_it_is_in(
    place: Place, expected: list[str]
) -> None:
    """And a place is in just what can be put down to it: "" is shared with nobody."""
    wheres = [place.where(scope) for scope in SCOPES]

    assert expected == [str(where) for where in wheres]
    assert [NAMES[name] for name in expected] == wheres
    about_all = {NAMES[name] for name in expected} | {("endpoint", "eu", "m")}
    assert sorted(about_all) == sorted(place.within())
    by_hand = [("key", "k", ""), ("key_model", "k", "m")] if place.edition else []
    assert by_hand == place.by_hand()


def test_what_is_put_aside_can_be_said() -> None:
    """In words; a model is not always known, nor is the name of a service."""
    assert "key k" == str(Where("key_model", "k"))
    assert "key 3 for m" == str(Where("key_model", 3, "m"))
    assert "the service" == str(Where("endpoint", None))


def test_callers_are_not_told_where_keys_are_and_who_pays() -> None:
    """But which endpoint it is, and for which model."""
    wheres = [
        Where("endpoint", "eu", "m"),
        Where("key_model", "file:/k", "m"),
        Where("key", "env:K"),
        Where("account", "acme"),
    ]

    said = ["endpoint eu for m", "its key for m", "its key", "its account"]
    assert said == [where.unnamed for where in wheres]


def test_what_is_about_some_model_is_a_part_of_a_place_that_names_none() -> None:
    """Of its endpoint, or of its key in this edition; not of one that names a model."""
    there: list[Scoped] = [("endpoint", "eu", "m"), ("key_model", "k (edition 1)", "m")]
    others: list[Scoped] = [
        ("endpoint", "us", "m"),
        ("key_model", "k", "m"),
        ("key", "k (edition 1)", ""),
    ]
    others.append(("endpoint", "eu", ""))
    blank, named = Place("eu", "", "k", "x", 1), Place("eu", "n", "k", "x", 1)

    assert [True] * 2 + [False] * 4 == [blank.models(where) for where in [*there, *others]]
    assert not any(named.models(where) for where in [*there, *others])


def test_what_is_not_said_of_a_place_is_nothing() -> None:
    """Neither a model nor a key nor an account."""
    assert Place("eu", "", "", "") == Place("eu")
