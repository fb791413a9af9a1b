"""What one class of errors changes in the way it is retried.

A rule belongs to a class and to what is derived from it, as far as that has none of its own.
What a rule leaves open is as the layer has it. Errors: `ConfigError` from wrong settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from types import MappingProxyType
from typing import Any, Final, final

from attrs import field, frozen, validators

from llmstack.errors import ConfigError, EmptyResponse, LLMStackError, ServerError


__all__ = ["RetryRule", "Rules", "rule_of", "rules_with"]


@final
@frozen(kw_only=True)
class RetryRule:
    """How errors of one class are retried; None leaves it to the layer.

    The call ends with the error once there were so many *attempts*. The endpoint that failed
    with it is asked *again* at most so often. *base* and *cap* are of the wait before that.

    >>> RetryRule(again=1)
    RetryRule(attempts=None, again=1, base=None, cap=None)
    """

    attempts: int | None = field(
        default=None,
        validator=validators.optional([validators.instance_of(int), validators.ge(1)]),
    )
    again: int | None = field(
        default=None,
        validator=validators.optional([validators.instance_of(int), validators.ge(0)]),
    )
    base: float | None = field(
        default=None,
        validator=validators.optional(validators.and_(validators.gt(0), validators.lt(inf))),
    )
    cap: float | None = field(default=None, validator=validators.optional(validators.gt(0)))


Rules = Mapping[type[LLMStackError], RetryRule]

#: What has failed in this way twice at one endpoint has hardly done so by chance.
ONCE: Final[Rules] = MappingProxyType(
    {
        LLMStackError: RetryRule(),
        ServerError: RetryRule(again=1),
        EmptyResponse: RetryRule(again=1),
    }
)


def rules_with(given: Mapping[Any, Any]) -> Rules:
    """Return the rules that hold by default, and those *given* in place of theirs."""
    for kind, rule in given.items():
        if not (isinstance(kind, type) and issubclass(kind, LLMStackError)):
            raise ConfigError(f"rules: a class of our errors has a rule, not {kind!r}")
        if not isinstance(rule, RetryRule):
            raise ConfigError(f"rules: {kind.__name__} must have a RetryRule, not {rule!r}")
    return MappingProxyType({**ONCE, **given})


def rule_of(rules: Rules, error: LLMStackError) -> tuple[type[LLMStackError], RetryRule]:
    """Return the nearest class of *error* that has a rule, and the rule."""
    kind = next(kind for kind in type(error).__mro__ if kind in rules)
    return kind, rules[kind]
