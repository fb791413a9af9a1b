"""The board of a cooldown: what is put aside, why, until when, and who may try it.

A failure says which scope it is about: one endpoint, a key for one model, the key for all
models, the account with all its keys. That is put aside as a *fact*, in one of three ways::

    soft      a wait that nobody named          refuses all but what insists
    hard      a wait that was named, or by hand refuses all, until it is over
    probing   waiting alone heals nothing       refuses all; then one probe at a time decides

A scope may have several facts, one for each class of errors and way; the worst of them
counts. Each beginning and each end is a turn of the fact, and what was let through in an
older one changes nothing.

There is no clock and no chance in here. Errors: `CoolingDown`. Events: none; the layer tells
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Final, NamedTuple, final

from attrs import define, field, frozen, validators

from llmstack.errors import Cool, CoolingDown, LLMStackError
from llmstack.estimators.scope import Place, Scoped, Where
from llmstack.keyed import CAP, LOOK
from llmstack.standing import Standing


__all__ = ["Aside", "CoolingBoard", "Fact", "Permit", "Put", "named_wait"]

BY_HAND: Final = "by hand"


@final
@define(eq=False)
class Fact:
    """That something is put aside, and why; *times* counts how often it began."""

    where: Where
    reason: str
    soft: bool
    probing: bool
    until: float
    times: int = 0
    refused: int = 0
    out: bool = False  # a probe is
    turn: int = 0

    def is_over(self, now: float) -> bool:
        """Whether it is of no consequence any more."""
        return now >= self.until and not self.probing

    def passes(self, now: float, *, insists: bool) -> bool:
        """Whether a request may go all the same, or, of what is not over, as the probe."""
        return insists if self.soft else now >= self.until and not self.out


#: What a call holds that was let through in spite of some facts: each with its turn.
Permit = tuple[tuple[Fact, int], ...]


@final
class Put(NamedTuple):
    """What a failure did: the fact, and whether that began now, or was there already."""

    fact: Fact
    began: bool


@final
@frozen
class Aside:
    """What is put aside, as it is now.

    *until* is loop time. *soft* lets pass what insists. *probing* takes a probe to end, and
    so many are *out*. *times* is how often it began, *refused* how many it sent away.
    """

    reason: str
    until: float
    soft: bool
    probing: bool
    out: int
    times: int
    refused: int


_NO_FACTS: Final[Mapping[tuple[str, bool], Fact]] = MappingProxyType({})


def named_wait(error: LLMStackError) -> float:
    """Return the seconds that the provider asks for; 0 if it names none."""
    named = error.retry_after
    return named if named is not None and named > 0 else 0.0


@final
@define(eq=False)
class CoolingBoard:
    """Keeps the facts; give one to several layers, and all of them go by the same.

    Above *cap* scopes the oldest is forgotten: at worst it is tried once more.
    """

    cap: int = field(default=CAP, validator=validators.ge(1), kw_only=True)
    facts: dict[Scoped, dict[tuple[str, bool], Fact]] = field(factory=dict, init=False)
    refused: int = field(default=0, init=False)

    def admit(self, place: Place, now: float, *, insists: bool) -> Permit:
        """Let a request go to *place*, or raise `CoolingDown`."""
        through: list[Fact] = []
        shut: list[Fact] = []
        for fact in self._at(place):
            if fact.is_over(now):
                self._drop(fact)
            else:
                (through if fact.passes(now, insists=insists) else shut).append(fact)
        if shut:
            raise self._refusal(shut, now)
        for fact in through:
            fact.out = fact.probing
        return tuple((fact, fact.turn) for fact in through)

    def _refusal(self, shut: list[Fact], now: float) -> CoolingDown:
        self.refused += 1
        for fact in shut:
            fact.refused += 1
        last = _last(shut)
        until = last.until if last.until > now else None
        return CoolingDown(_told(last.where.unnamed, last, now), soft=last.soft, ready_at=until)

    def standing(self, place: Place, now: float) -> Standing | None:
        """Return what would become of a plain request to *place*; None if it would just pass.

        Where *place* has no model, one that its key may not be asked for now counts a little.
        """
        there = [fact for fact in self._at(place) if not fact.is_over(now)]
        shut = [fact for fact in there if not fact.passes(now, insists=False)]
        if shut:
            last = _last(shut)
            until = last.until if last.until > now else None
            said = _told(str(last.where), last, now)
            return Standing("down", said, ready_at=until, soft=last.soft)
        if there:
            said = f"{there[0].where} was put aside: {there[0].reason}; the next request is a probe"
            return Standing("degraded", said)
        some = [] if place.model else filter(place.models, tuple(self.facts))
        for fact in (fact for where in some for fact in self.facts[where].values()):
            if not fact.is_over(now):
                return Standing("degraded", _told(str(fact.where), fact, now))
        return None

    def _at(self, place: Place) -> list[Fact]:
        """Return what is known of *place*; of a key that was exchanged, what an operator said."""
        facts = self.facts
        found = [fact for where in place.within() for fact in facts.get(where, _NO_FACTS).values()]
        for where in place.by_hand():
            there = facts.get(where, _NO_FACTS).values()
            found += [fact for fact in there if fact.reason == BY_HAND]
        return found

    def answered(self, permit: Permit) -> list[Fact]:
        """Learn that a call is being answered; return the facts that this ends."""
        ended = [fact for fact, turn in permit if fact.turn == turn]
        for fact in ended:
            self._drop(fact)
        return ended

    def settle(self, permit: Permit) -> None:
        """Take *permit* back, however its call ended: another request may be the probe."""
        for fact, _ in permit:
            fact.out = False

    def learn(
        self, place: Place, error: LLMStackError, cools: Cool, now: float, wait: float
    ) -> Put:
        """Put aside what *error* cools at *place*, for *wait* seconds."""
        soft, probing = error.again and not named_wait(error), not error.again
        where, reason = place.where(cools.scope), type(error).__name__
        return self._put(Fact(where, reason, soft, probing, now + wait), now)

    def put_aside(self, where: Where, until: float, now: float) -> Put:
        """Put *where* aside by hand, hard; a longer time that was set so before stays."""
        return self._put(Fact(where, BY_HAND, soft=False, probing=False, until=until), now)

    def _put(self, new: Fact, now: float) -> Put:
        kind = (new.reason, new.soft)
        fact = self.facts.get(new.where, _NO_FACTS).get(kind)
        if fact is None or fact.is_over(now):
            if fact is not None:
                self._drop(fact)
            if new.where not in self.facts:
                self._make_room(now)
            new.times = 1
            self.facts.setdefault(new.where, {})[kind] = new
            return Put(new, began=True)
        began = now >= fact.until and not fact.out
        # While a probe is out, others that fail were sent before it, and it knows better.
        if not fact.out:
            fact.until = max(fact.until, new.until)
            fact.times += began
            fact.turn += 1
        return Put(fact, began)

    def clear(self, wheres: Iterable[Scoped] | None = None) -> list[Fact]:
        """Forget all facts about *wheres*, or all there are, and return them."""
        chosen = list(self.facts) if wheres is None else wheres
        ended = [f for where in chosen for f in tuple(self.facts.get(where, _NO_FACTS).values())]
        for fact in ended:
            self._drop(fact)
        return ended

    def _drop(self, fact: Fact) -> None:
        fact.turn += 1
        there = self.facts[fact.where]
        del there[fact.reason, fact.soft]
        if not there:
            del self.facts[fact.where]

    def _make_room(self, now: float) -> None:
        """Forget, of the oldest few, what is over, and then the oldest if there are too many."""
        oldest = [f for there in islice(self.facts.values(), LOOK) for f in there.values()]
        for fact in oldest:
            if fact.is_over(now):
                self._drop(fact)
        while len(self.facts) >= self.cap:
            self.clear([next(iter(self.facts))])

    def statistics(self) -> dict[Where, Aside]:
        """Return what is put aside; what is over stays until somebody asks for it."""
        return {Where(*where): _aside([*there.values()]) for where, there in self.facts.items()}


def _last(shut: list[Fact]) -> Fact:
    """Return what is over last, of the hard ones if there are any."""
    hard = [fact for fact in shut if not fact.soft]
    return max(hard or shut, key=lambda fact: fact.until)


def _told(what: str, fact: Fact, now: float) -> str:
    more = fact.until - now
    left = f"for {round(more, 1):g} s more" if more > 0 else "while a probe is out"
    return f"{what} is put aside {left}: {fact.reason}"


def _aside(facts: list[Fact]) -> Aside:
    return Aside(
        reason=", ".join(dict.fromkeys(fact.reason for fact in facts)),
        until=max(fact.until for fact in facts),
        soft=all(fact.soft for fact in facts),
        probing=any(fact.probing for fact in facts),
        out=sum(fact.out for fact in facts),
        times=sum(fact.times for fact in facts),
        refused=sum(fact.refused for fact in facts),
    )
