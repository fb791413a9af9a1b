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
        return self._of(f"{self.scope.partition('_')[0]} {self.name}")

    @property
    def unnamed(self) -> str:
        """The same for callers: where a key is and who pays is none of their business."""
        if self.scope == "endpoint":
            return str(self)
        return self._of("its account" if self.scope == "account" else "its key")

    def _of(self, thing: str) -> str:
        return f"{thing} for {self.model}" if self.model else thing


#: A `Where` costs ten times as much, and to look up this is as good.
Scoped = tuple[Scope, Hashable, str]


@final
class Place(NamedTuple):
    """Where a request goes: which endpoint and model, under which key of which account.

    A *key* or an *account* of "" is shared with nobody. A key that was exchanged is another
    *edition* of it: what befell the one before says nothing of this one.
    """

    endpoint: Hashable
    model: str = ""
    key: str = ""
    account: str = ""
    edition: int = 0

    def within(self) -> list[Scoped]:
        """Return all that can be put aside and would take this with it."""
        found: list[Scoped] = [("endpoint", self.endpoint, "")]
        if self.model:
            found.append(("endpoint", self.endpoint, self.model))
        if self.key:
            found += (("key", self._edited, ""), ("key_model", self._edited, self.model))
        if self.account:
            found.append(("account", self.account, ""))
        return found

    def by_hand(self) -> list[Scoped]:
        """Return what counts only if an operator put it aside, who means all editions of a key."""
        if not self.edition:
            return []
        return [("key", self.key, ""), ("key_model", self.key, self.model)]

    def models(self, where: Scoped) -> bool:
        """Whether *where* is a part of this, about some model, where this names none."""
        about = ("endpoint", self.endpoint), ("key_model", self._edited)
        return not self.model and where[2] != "" and where[:2] in about

    def where(self, scope: Scope) -> Where:
        """Return what to put aside for *scope*; of what has no name, the next that it is in."""
        if scope == "account" and self.account:
            return Where("account", self.account)
        if not self.key:
            return Where("endpoint", self.endpoint, self.model if scope == "key_model" else "")
        if scope == "endpoint":
            return Where("endpoint", self.endpoint)
        if scope == "key_model":
            return Where("key_model", self._edited, self.model)
        # One key has one account: what befalls that befalls all who use the key.
        return Where("key", self._edited)

    @property
    def _edited(self) -> str:
        return f"{self.key} (edition {self.edition})" if self.edition else self.key
