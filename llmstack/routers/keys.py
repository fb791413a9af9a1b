"""Keys: endpoints that differ in their key alone, in turn; after trouble with a key, the next one.

What blames the key or its account is no reason to leave the endpoint while it has another key:
that is asked at once, within the same attempt of a `Retry` above. So rotation and retries
are counted apart, and `bound` counts both. Whatever else goes wrong leaves. Put a `Cooldown`
below, which remembers the trouble: without one, each call that has its turn there meets it anew.

Errors: the last failure as it came, with all *attempts*; `NoEndpoint` if no key could be used.
Events: none.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, final
from weakref import WeakKeyDictionary

from attrs import define, field, frozen, validators

from llmstack.call import Call
from llmstack.endpoint import Endpoint
from llmstack.errors import LLMStackError
from llmstack.messages import Request
from llmstack.order import Bound
from llmstack.routers.router import (
    ONE_ROUTER,
    Endpoints,
    RouterService,
    as_endpoints,
    bound_of_endpoints,
    named,
    the_set,
)
from llmstack.routers.turns import Turns
from llmstack.service import Service


__all__ = ["Keys"]

OURS: Final = ("key", "account")


@final
@frozen
class Keys:
    """Choose keys in turn, by weight; after a failure that is about a key, ask the next one.

    At most *rotations* more keys are asked so; who refuses was not asked.
    """

    endpoints: Endpoints = field(converter=as_endpoints, repr=named)
    rotations: int = field(default=2, kw_only=True, validator=validators.ge(0))

    role: ClassVar[str] = "router"
    alone: ClassVar[str] = ONE_ROUTER

    def __call__(self, inner: Service[Request, Any], /) -> RouterService:
        """Put the router above *inner*, which calls ``request.endpoint``."""
        accounts = _Accounts()
        return RouterService(
            the_set(self.endpoints),
            Turns(),
            inner,
            "keys",
            self.goes_on,
            learns=accounts.learns,
            bars=accounts.bars,
        )

    def goes_on(self, error: LLMStackError, asked: int, /) -> bool:
        """Whether to ask the next key after *error*, with which *asked* have failed."""
        return asked <= self.rotations and _is_about_the_key(error)

    def bound(self, inner: Bound, /) -> Bound:
        """One key is asked, and as many more as allowed, of those that there are now."""
        asked = min(max(1, len(self.endpoints)), 1 + self.rotations)
        return bound_of_endpoints(self.endpoints, inner, asked)


def _is_about_the_key(error: LLMStackError) -> bool:
    """Whether another key may do where this one did not.

    A host that narrows what its class says down to the endpoint, as for a region that it does
    not serve, means all keys; what its class says of an endpoint is said of it under one key.
    """
    cools = error.cools
    of_all = cools is not None and cools.scope == "endpoint" and cools is not type(error).cools
    return error.blames in OURS and not of_all


@final
@define(eq=False)
class _Accounts:
    """Which accounts have failed a call, and whether for good; nothing is kept of calls gone."""

    failed: WeakKeyDictionary[Call, dict[str, bool]] = field(factory=WeakKeyDictionary, init=False)

    def learns(self, request: Request, endpoint: Endpoint, error: LLMStackError) -> None:
        """Note that the account failed, and whether it may be asked again."""
        if endpoint.account and error.cools is not None and error.cools.scope == "account":
            self.failed.setdefault(request.call, {})[endpoint.account] = not error.again

    def bars(self, request: Request, endpoint: Endpoint, walks: bool) -> str:  # noqa: FBT001 -- as the shell calls it
        """Return why *endpoint* is not asked now; *walks* if this walk comes from another key.

        A retry may come back to an account that was only busy.
        """
        for_good = self.failed.get(request.call, {}).get(endpoint.account)
        if for_good is None or not (for_good or walks):
            return ""
        return f"account {endpoint.account} has failed this call"
