"""What a failure can put aside, and which of it a request would meet on its way.

The scopes are those of `llmstack.errors`: an endpoint, a key for one model, a key, an account.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple, final

from llmstack.errors import Scope


__all__ = ["Place", "Scoped", "Where"]


@final
class Where(NamedTuple):
    """One thing that can be put aside: *name* is an endpoint's, a key's or an account's."""

    scope: Scope
    name: Hashable
    model: str = ""

    def __str__(self) -> str:
        """Say it in words."""
        if self.name is None:
            return "the service"
        thing = f"{self.scope.partition('_')[0]} {self.name}"
        return f"{thing} for {self.model}" if self.model else thing


#: A `Where` costs ten times as much, and to look up this is as good.
Scoped = tuple[Scope, Hashable, str]


@final
class Place(NamedTuple):
    """Where a request goes: which endpoint and model, under which key of which account.

    A *key* or an *account* of "" is shared with nobody.
    """

    endpoint: Hashable
    model: str = ""
    key: str = ""
    account: str = ""

    def within(self) -> list[Scoped]:
        """Return all that can be put aside and would take this with it."""
        found: list[Scoped] = [("endpoint", self.endpoint, "")]
        if self.key:
            found += (("key", self.key, ""), ("key_model", self.key, self.model))
        if self.account:
            found.append(("account", self.account, ""))
        return found

    def where(self, scope: Scope) -> Where:
        """Return what to put aside for *scope*; of what has no name, the next that it is in."""
        if scope == "account" and self.account:
            return Where("account", self.account)
        if scope == "endpoint" or not self.key:
            return Where("endpoint", self.endpoint)
        if scope == "key_model":
            return Where("key_model", self.key, self.model)
        # One key has one account: what befalls that befalls all who use the key.
        return Where("key", self.key)
