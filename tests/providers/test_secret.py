"""Nothing shows a secret that was not asked for it."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import string
from collections.abc import Callable
from typing import Final

import attrs
import pytest
from attrs import define

from llmstack.providers.secret import Secret


CANARY: Final = "sk-canary-0815"


@define
class _Holder:
    key: Secret


WAYS: Final[dict[str, Callable[[Secret], object]]] = {
    "repr": repr,
    "str": str,
    "format": "{}".format,
    "format with a width": "{:>30}".format,
    "percent": lambda secret: "%s %r" % (secret, secret),  # noqa: UP031 -- loggers do it
    "template": lambda secret: string.Template("$s").substitute(s=secret),
    "in a list": lambda secret: repr([secret]),
    "attrs": lambda secret: repr(_Holder(secret)),
    "attrs.asdict": lambda secret: repr(attrs.asdict(_Holder(secret))),
    "pickle": pickle.dumps,
    "state": lambda secret: repr(secret.__getstate__()),
    "json": lambda secret: json.dumps(secret, default=str),
    "error": lambda secret: repr(ValueError(secret)),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_no_way_to_show_a_secret_shows_it(way: Callable[[Secret], object]) -> None:
    """Neither it nor what it can be read from."""
    shown = way(Secret(CANARY))

    text = shown if isinstance(shown, bytes) else str(shown).encode()
    assert b"***" in text
    assert not any(part in text for part in (b"canary", base64.b64encode(CANARY.encode())))


def test_is_seen_where_it_is_asked_for() -> None:
    """Copies in the process keep the value; one from a pickle is masked."""
    secret = Secret(CANARY)

    assert [CANARY] * 3 == [s.reveal() for s in (secret, copy.copy(secret), copy.deepcopy(secret))]
    assert "***" == pickle.loads(pickle.dumps(secret)).reveal()


def test_equal_values_are_equal_secrets() -> None:
    """And hash alike; a plain string is no secret."""
    same, other = Secret(CANARY), Secret("ß")

    assert Secret(CANARY) == same
    assert hash(Secret(CANARY)) == hash(same)
    assert same != other
    assert CANARY != same
    assert {same, other} == {other, Secret(CANARY)}


def test_is_a_credential_that_never_changes() -> None:
    """It is its own current secret."""
    secret = Secret(CANARY)

    assert secret is secret.current()
