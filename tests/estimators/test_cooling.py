from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from llmstack.errors import (
    AuthFailed,
    Cool,
    CoolingDown,
    LLMStackError,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    QuotaExhausted,
    RateLimited,
    Scope,
)
from llmstack.estimators.cooling import CoolingBoard, Fact, Permit
from llmstack.estimators.scope import Where
from tests.estimators.cooling_model import NAMES, PLACES, Kind, Past


def moved(error: LLMStackError, cools: Cool) -> LLMStackError:
    """A failure that says itself what it is about."""
    error.cools = cools
    return error


#: Failures, with the scope that they name and the way in which it is put aside.
FAILURES: Final[dict[str, tuple[Callable[[], LLMStackError], str, str]]] = {
    "overloaded": (Overloaded, "endpoint", "soft"),
    "overloaded, named": (lambda: Overloaded(retry_after=1.0), "endpoint", "hard"),
    "rate limited": (RateLimited, "key_model", "soft"),
    "rate limited, named": (lambda: RateLimited(retry_after=5.0), "key_model", "hard"),
    "rate limited, no wait": (lambda: RateLimited(retry_after=0.0), "key_model", "soft"),
    "account is limited": (lambda: moved(RateLimited(), Cool("account", 1.0)), "account", "soft"),
    "bad key": (AuthFailed, "key", "probing"),
    "not allowed": (PermissionDenied, "key_model", "probing"),
    "no model": (ModelNotFound, "key_model", "probing"),
    "no money": (QuotaExhausted, "account", "probing"),
    "no money, named": (lambda: QuotaExhausted(retry_after=9.0), "account", "probing"),
}

places = st.sampled_from(sorted(PLACES))
failures = st.sampled_from(sorted(FAILURES))
#: Binary fractions, so that sums of times are exact.
seconds = st.sampled_from([0.25, 1.0, 2.5, 4.0, 16.0])


def kind_of(fact: Fact) -> Kind:
    way = "soft" if fact.soft else "probing" if fact.probing else "hard"
    return Kind(name_of(fact.where), fact.reason, way)


def name_of(where: Where) -> str:
    return f"{where.name} for {where.model}" if where.model else str(where.name)


class BoardAgainstPast(RuleBasedStateMachine):
    """Each rule does the same to the board and to a list of what has happened."""

    @initialize()
    def start(self) -> None:
        self.now, self.refused = 1000.0, 0
        self.board, self.past = CoolingBoard(), Past()
        self.out: dict[int, tuple[Permit, str]] = {}
        self.sent = 0

    @rule(seconds=seconds)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.past.kinds(self.now))
    @rule(data=st.data())
    def a_time_is_over(self, data: st.DataObject) -> None:
        kinds = self.past.kinds(self.now)
        self.now = max(self.now, self.past.until(data.draw(st.sampled_from(kinds))))

    @rule(place=places, insists=st.booleans())
    def ask(self, place: str, *, insists: bool) -> None:
        call = len(self.past.log)
        expected = self.past.send(place, self.now, insists=insists)
        try:
            permit = self.board.admit(PLACES[place], self.now, insists=insists)
        except CoolingDown as refusal:
            self.refused += 1
            answer: tuple[object, ...] = "refused", refusal.soft, refusal.ready_at
        else:
            answer = "sent", {kind_of(fact) for fact, _ in permit}
            self.sent -= 1
            # A call without a permit has no entry of its own in the list.
            self.out[call if permit else self.sent] = permit, place

        assert expected == answer

    @precondition(lambda self: self.out)
    @rule(data=st.data(), failure=failures, wait=seconds)
    def fail(self, data: st.DataObject, failure: str, wait: float) -> None:
        call = data.draw(st.sampled_from(sorted(self.out)))
        permit, place = self.out.pop(call)
        make, scope, way = FAILURES[failure]
        error = make()
        assert error.cools is not None
        self.board.settle(permit)
        put = self.board.learn(PLACES[place], error, error.cools, self.now, wait)
        self.past.back(call, self.now)
        kind = Kind(NAMES[place][scope], type(error).__name__, way)
        began = self.past.fail(kind, self.now, self.now + wait)

        assert (kind, began) == (kind_of(put.fact), put.began)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), how=st.sampled_from(["reply", "stream", "neutral"]))
    def end(self, data: st.DataObject, how: str) -> None:
        call = data.draw(st.sampled_from(sorted(self.out)))
        permit, _ = self.out[call]
        if how != "stream":
            self.board.settle(permit)
            self.past.back(call, self.now)
            del self.out[call]
        if how != "neutral":
            ended = {kind_of(fact) for fact in self.board.answered(permit)}
            expected = self.past.answer(call, self.now)

            assert expected <= ended

    @rule(place=places, scope=st.sampled_from(["endpoint", "key", "account"]), wait=seconds)
    def by_hand(self, place: str, scope: str, wait: float) -> None:
        name = NAMES[place][scope]
        scopes: tuple[Scope, ...] = "endpoint", "key", "account"
        where = next(w for w in map(PLACES[place].where, scopes) if w.name == name)
        put = self.board.put_aside(where, self.now + wait, self.now)
        began = self.past.fail(Kind(name, "by hand", "hard"), self.now, self.now + wait)

        assert began == put.began

    @precondition(lambda self: self.past.kinds(self.now))
    @rule(data=st.data(), everything=st.sampled_from([False, False, True]))
    def clear(self, data: st.DataObject, *, everything: bool) -> None:
        kinds = self.past.kinds(self.now)
        name = data.draw(st.sampled_from(kinds)).name
        wheres = [where for where in self.board.statistics() if name_of(where) == name]
        ended = {kind_of(fact) for fact in self.board.clear(None if everything else wheres)}
        expected = {kind for kind in kinds if everything or kind.name == name}
        self.past.log += [self.past.log[0]._replace(what="ended", kind=kind) for kind in expected]

        assert expected <= ended

    @invariant()
    def agrees(self) -> None:
        past, now = self.past, self.now
        facts = [fact for there in self.board.facts.values() for fact in there.values()]
        held = {kind_of(fact): (fact.until, fact.out) for fact in facts if not fact.is_over(now)}
        expected = {kind: (past.until(kind), past.out(kind)) for kind in past.kinds(now)}

        assert expected == held
        assert self.refused == self.board.refused
        assert all(self.board.facts.values())


TestBoard = BoardAgainstPast.TestCase
