"""Triggers: after what another entry of a fallback is asked, by name or by class.

A rule belongs to one entry and is pure: it is told what a call has met so far, and says
why the entry is not asked now. Errors: `ConfigError` for what is no trigger. Events: none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal, final

from attrs import field, frozen

from llmstack.errors import (
    AuthFailed,
    CallerFault,
    ConfigError,
    ConnectionFailed,
    ConnectionLost,
    ContentFiltered,
    ContextLengthExceeded,
    EmptyResponse,
    LLMStackError,
    Overloaded,
    PermissionDenied,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    ServerError,
    UpstreamError,
    UpstreamTimeout,
)


__all__ = ["TRIGGERS", "Met", "Rule", "Trigger", "TriggerName", "Triggers", "as_triggers", "shown"]

TriggerName = Literal[
    "rate_limit",
    "server",
    "timeout",
    "network",
    "auth",
    "context_length",
    "content_filter",
    "unaccepted",
    "any",
]
#: A name from the table, or a class of errors: then it and its subclasses.
Trigger = TriggerName | type[LLMStackError]
#: None stands for all errors that say ``elsewhere``, and for answers that were not accepted.
Triggers = tuple[Trigger, ...] | None

#: What the names mean.
TRIGGERS: Final[Mapping[str, tuple[type[LLMStackError], ...]]] = MappingProxyType(
    {
        "rate_limit": (RateLimited, QuotaExhausted),
        "server": (ServerError, Overloaded, ProtocolError, EmptyResponse),
        "timeout": (UpstreamTimeout,),
        "network": (ConnectionFailed, ConnectionLost),
        "auth": (AuthFailed, PermissionDenied),
        "context_length": (ContextLengthExceeded,),
        "content_filter": (ContentFiltered,),
        "unaccepted": (),
        "any": (UpstreamError,),
    }
)
_ANSWERS: Final = frozenset({"unaccepted", "any"})


def as_triggers(value: Iterable[Trigger]) -> tuple[Trigger, ...]:
    """Take each trigger once; `ConfigError` for what no router may go on after."""
    triggers = tuple(dict.fromkeys(value))
    for each in triggers:
        known = isinstance(each, str) and each in TRIGGERS
        if not known and LLMStackError not in getattr(each, "__mro__", ()):
            names = ", ".join(TRIGGERS)
            raise ConfigError(
                f"triggers: {each!r} is no class of llmstack's errors, nor one of {names}"
            )
    return triggers


def shown(triggers: Triggers) -> str:
    """Return the names of *triggers*, as they stand in a list."""
    if triggers is None:
        return "None"
    return f"[{', '.join(map(_name, triggers))}]"


def _name(trigger: Trigger) -> str:
    return trigger if isinstance(trigger, str) else trigger.__name__


@final
@frozen(kw_only=True)
class Met:
    """What a call has met at one router: how its last attempt failed, and what was too small.

    *kind* is None where an answer came and was not accepted. *window* is the largest that
    was too small for the request, in tokens, 0 for none; *vague* says that nobody knows how
    large the last such one was. *asked* are the entries that have failed.
    """

    kind: type[LLMStackError] | None = None
    elsewhere: bool = True
    window: int = 0
    vague: bool = False
    asked: frozenset[str] = frozenset()

    @property
    def too_long(self) -> bool:
        """Whether it was the window that the last attempt failed for."""
        return self.kind is not None and issubclass(self.kind, ContextLengthExceeded)


@final
@frozen
class Rule:
    """When one entry is asked: its *triggers*, and whether they are its *own*.

    Those of the whole list tell whether a walk goes on; what is an entry's own holds for
    the call, however often it comes back.
    """

    triggers: Triggers = None
    own: bool = False
    kinds: tuple[type[LLMStackError], ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        kinds: list[type[LLMStackError]] = []
        for each in self.triggers or ():
            kinds += TRIGGERS[each] if isinstance(each, str) else (each,)
        object.__setattr__(self, "kinds", tuple(kinds))

    @property
    def says(self) -> str:
        """After what the entry is asked, in words."""
        if self.triggers is None:
            return "after what may not happen elsewhere"
        return f"after {' or '.join(map(_name, self.triggers)) or 'a refusal'}"

    @property
    def takes_long(self) -> bool:
        """Whether it is named for requests that were too long elsewhere."""
        return any(issubclass(kind, ContextLengthExceeded) for kind in self.kinds)

    @property
    def takes_answers(self) -> bool:
        """Whether it is asked after an answer that was not accepted."""
        return not self.own or not _ANSWERS.isdisjoint(self.triggers or ())

    @property
    def takes_refusals(self) -> bool:
        """Whether it is asked after refusals alone: not if all it takes is the request's fault."""
        return not all(issubclass(kind, CallerFault) for kind in self.kinds)

    def matches(self, kind: type[LLMStackError] | None, *, elsewhere: bool) -> bool:
        """Whether the entry is meant for a failure of that *kind*; None is an answer."""
        if kind is None:
            return self.takes_answers
        return elsewhere if self.triggers is None else issubclass(kind, self.kinds)

    def bars(self, met: Met | None, window: int | None, is_too_long: Callable[[], bool]) -> str:
        """Return why an entry with that *window* is not asked now, in words; empty if it may be.

        *is_too_long* tells whether the request is too long for others, as far as can be known
        without asking.
        """
        if met is None:
            follows = self.takes_refusals
        else:
            follows = self.matches(met.kind, elsewhere=met.elsewhere)
        if self.takes_long:
            return "" if follows or is_too_long() else f"is asked only {self.says}"
        if not follows:
            return f"is asked only {self.says}"
        unknown = met is not None and met.too_long and (met.vague or window is None)
        return "is not known to hold more tokens" if unknown else ""
