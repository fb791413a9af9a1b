"""Which rule an error has."""

from __future__ import annotations

from typing import Any

import pytest

from llmstack.errors import (
    BadRequest,
    Broken,
    ConfigError,
    ConnectionLost,
    ContextLengthExceeded,
    EmptyResponse,
    LLMStackError,
    RateLimited,
    ServerError,
    UpstreamError,
)
from llmstack.estimators.retry_rule import RetryRule, rule_of, rules_with


class Ours(ServerError):
    """A kind of server error that only one provider has."""


ONCE = RetryRule(again=1)
ANY = RetryRule()


@pytest.mark.parametrize(
    ("error", "kind", "rule"),
    [
        (ServerError(), ServerError, ONCE),
        (EmptyResponse(), EmptyResponse, ONCE),
        (Ours(), ServerError, ONCE),
        (ConnectionLost(), LLMStackError, ANY),
        (RateLimited(), LLMStackError, ANY),
    ],
)
def test_some_are_asked_once_more(
    error: LLMStackError, kind: type[LLMStackError], rule: RetryRule
) -> None:
    """Without any word, so is an endpoint that failed, or had nothing to say."""
    assert (kind, rule) == rule_of(rules_with({}), error)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Ours(), Ours),
        (ServerError(), ServerError),
        (ConnectionLost(), Broken),
        (EmptyResponse(), EmptyResponse),
        (ContextLengthExceeded(), BadRequest),
        (RateLimited(), UpstreamError),
    ],
)
def test_the_nearest_class_has_the_rule(error: LLMStackError, kind: type[LLMStackError]) -> None:
    """Its own, or that of the class it is derived from; those given stand before the others."""
    given: dict[type[LLMStackError], RetryRule] = {
        UpstreamError: RetryRule(attempts=2),
        Broken: RetryRule(base=3.0),
        Ours: RetryRule(cap=4.0),
        BadRequest: RetryRule(again=0),
        ServerError: RetryRule(again=5),
    }
    expected: dict[type[LLMStackError], RetryRule] = {EmptyResponse: ONCE, **given}

    assert (kind, expected[kind]) == rule_of(rules_with(given), error)


def test_rules_can_be_read_again() -> None:
    """What has been filled up stays as it is."""
    rules = rules_with({RateLimited: RetryRule(base=2.0)})

    assert rules == rules_with(rules)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({ValueError: ANY}, "not <class 'ValueError'>"),
        ({"ServerError": ANY}, "not 'ServerError'"),
        ({ServerError: 1}, "ServerError must have a RetryRule, not 1"),
    ],
)
def test_what_is_no_rule_is_a_mistake(given: dict[Any, Any], says: str) -> None:
    """It is told when the layer is made, not when something fails."""
    with pytest.raises(ConfigError, match=says):
        rules_with(given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attempts", 0),
        ("attempts", 1.5),
        ("again", -1),
        ("again", 0.5),
        ("base", 0),
        ("base", float("inf")),
        ("cap", 0),
    ],
)
def test_a_bad_setting_names_its_field(name: str, value: Any) -> None:  # noqa: ANN401 -- wrong ones
    """So that whoever wrote it finds it."""
    with pytest.raises((ValueError, TypeError), match=f"'{name}'"):
        RetryRule(**{name: value})


def test_the_least_that_a_setting_can_be() -> None:
    """One attempt, never again, and a cap without end; of seconds, a part of one."""
    least = RetryRule(attempts=1, again=0, cap=float("inf"))
    short = RetryRule(base=0.25, cap=0.5)

    assert (1, 0, None) == (least.attempts, least.again, least.base)
    assert (0.25, 0.5) == (short.base, short.cap)
