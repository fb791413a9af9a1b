"""What each call has met at a fallback, and whom that opens the way to.

It stands on both sides of the router's shell: below it to see how each entry fails, and at
its side to say which entries are not for this call now, and which answers are not for its
caller. Nothing is kept of a call that is gone.

Errors: none of its own. Events: `fallback.unaccepted` (warning).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import takewhile
from typing import Final, final
from weakref import WeakKeyDictionary

from attrs import define, evolve, field

from llmstack.call import Call
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import LLMStackError
from llmstack.estimators.tokens import prompt_tokens
from llmstack.events import EventLog
from llmstack.messages import Request, Response
from llmstack.routers.triggers import Met, Rule


__all__ = ["Watch"]

log: Final = EventLog()


def _window_of(endpoint: Endpoint) -> int | None:
    able = endpoint.capabilities
    return None if able is None else able.context


@final
@define(eq=False)
class Watch:
    """Knows the rules, of the list and an entry's own, and what each call has met.

    *is_good* is what the user asks of a whole reply; at most *most* entries are asked after
    the first.
    """

    endpoints: EndpointSet
    rule: Rule
    own: Mapping[str, Rule]
    is_good: Callable[[Response], bool] | None
    most: float
    met: WeakKeyDictionary[Call, Met] = field(factory=WeakKeyDictionary, init=False)

    def learns(self, request: Request, endpoint: Endpoint, error: LLMStackError) -> None:
        """Note how *endpoint* failed."""
        kind, met = type(error), self.met.get(request.call, Met())
        met = evolve(met, kind=kind, elsewhere=error.elsewhere, asked=met.asked | {endpoint.name})
        if met.too_long:
            window = _window_of(endpoint)
            met = evolve(met, window=max(met.window, window or 0), vague=window is None)
        self.met[request.call] = met

    def accepts(self, request: Request, endpoint: Endpoint, reply: object, asked: int) -> bool:
        """Whether *reply* is for the caller: it is good, or nobody else may be asked.

        A stream has been handed up, and is not read for this.
        """
        good = self.is_good is None or not isinstance(reply, Response) or self.is_good(reply)
        if not good:
            log.warning("fallback.unaccepted", endpoint=endpoint.name)
        if good or asked > self.most:
            self.met.pop(request.call, None)
            return True
        self.met[request.call] = evolve(self.met.get(request.call, Met()), kind=None)
        return False

    def bars(self, request: Request, endpoint: Endpoint, walks: bool) -> str:  # noqa: FBT001 -- as the shell calls it
        """Return why *endpoint* is not asked now; *walks* if this walk comes from another one.

        A walk that begins anew, as a retry above has it, begins with the list.
        """
        name, window = endpoint.name, _window_of(endpoint)
        rule, met = self.own.get(name, self.rule), self.met.get(request.call)
        if met is not None and window is not None and window <= met.window:
            return f"holds {window} tokens, and {met.window} were too few"
        if (met is not None and name in met.asked) if rule.own else not walks:
            return ""
        return rule.bars(met, window, partial(self._is_too_long, request, name))

    def _is_too_long(self, request: Request, name: str) -> bool:
        """Whether the request is too long for an entry before that one, as is known already."""
        before = takewhile(lambda each: each.name != name, self.endpoints.enabled)
        windows = [window for each in before if (window := _window_of(each)) is not None]
        needed = prompt_tokens(request.body.data) + (request.max_tokens or 0)
        return needed > min(windows, default=needed)
