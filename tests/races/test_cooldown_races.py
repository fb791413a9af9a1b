"""Stacks that share a board, in any order: one probe for each fact, and none is aside for ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import Any, Final

import llmstack as ls
from llmstack import clock
from llmstack.call import Attempt
from llmstack.estimators.cooling import CoolingBoard, Fact
from llmstack.layers.cooldown import CooldownService
from llmstack.testing import Explorer, ScriptedEvent, echo, stream_of
from llmstack.testing.interleaved import Scenario
from tests.races.tried import all_over, tried


#: Two endpoints under one key, and one under another key of the same account.
PLACES: Final = (
    ls.Endpoint("eu", echo, key="one", account="acme"),
    ls.Endpoint("us", echo, key="one", account="acme"),
    ls.Endpoint("asia", echo, key="two", account="acme"),
)
ERRORS: Final = {"key": ls.AuthFailed, "account": ls.QuotaExhausted, "broken": ls.ServerError}
#: When everything that was put aside at the beginning may be probed.
LATER: Final = 100_000.0


class Provider:
    """Below several stacks: ends each call as the explorer says, and knows who is a probe."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self.board = CoolingBoard()
        self.stacks = [ls.Cooldown(board=self.board, rng=Random(n))(self.answer) for n in range(2)]
        self.probes: Counter[Fact] = Counter()
        self.answered: list[Fact] = []
        self.acts: tuple[str, ...] = ()
        self.wait = 0.0

    async def answer(self, request: ls.Request, /) -> object:
        facts = [fact for fact in self.facts(request) if fact.probing]
        self.probes.update(facts)
        act = "left"
        try:
            await asyncio.sleep(self.wait)
            act = self.explorer.choose(*self.acts)
        finally:
            if act != "stream":
                self.probes.subtract(facts)
            if act in {"ok", "stream"}:
                self.answered += facts
        if act in ERRORS:
            raise ERRORS[act]("as told")
        if act == "ok":
            return "ok"
        reply = stream_of([0.0, ScriptedEvent()])
        reply.on_end(lambda _outcome: self.probes.subtract(facts))
        return reply

    def facts(self, request: ls.Request) -> list[Fact]:
        """All that is known of where *request* goes."""
        service = self.stacks[0]
        assert isinstance(service, CooldownService)
        known = [self.board.facts.get(where, {}) for where in service._place(request, 0).within()]
        return [fact for there in known for fact in there.values()]

    def known(self, fact: Fact) -> bool:
        """Whether it still is."""
        return fact in self.board.facts.get(fact.where, {}).values()

    def check(self) -> None:
        assert all(n <= 1 for n in self.probes.values()), "one probe at a time"
        assert not any(self.known(fact) for fact in self.answered), "an answer ends it"
        for where, there in self.board.facts.items():
            assert there, "what is over is forgotten"
            for kind, fact in there.items():
                assert (where, kind) == (fact.where, (fact.reason, fact.soft))
                assert fact.out == bool(self.probes[fact]), "who is out is known"

    async def touch(self, hand: str) -> None:
        await asyncio.sleep(0)
        if hand == "clear":
            self.stacks[0].clear()
        else:
            self.stacks[1].put_aside("key", "one", 10.0)

    async def call(self, n: int, place: int) -> None:
        await asyncio.sleep(0)
        endpoint = PLACES[place]
        request = ls.Request("m").to(endpoint, Attempt(endpoint.name, clock.now()))
        try:
            reply: Any = await self.stacks[n](request)
            if isinstance(reply, ls.EventStream):
                async with reply:
                    await anext(reply)
                    await anext(reply)
        except ls.LLMStackError:
            return


def shared(*acts: str, hands: tuple[str, ...] = ()) -> Scenario:
    """Calls that all fail at once; and when they may be probed, some that end as in *acts*."""

    async def scenario(explorer: Explorer) -> None:
        provider = Provider(explorer)
        explorer.always(provider.check)
        provider.wait = explorer.choose(LATER + 0.5, LATER + 1.0)
        old = asyncio.ensure_future(provider.call(1, 0))  # noqa: TID251 -- awaited below
        await asyncio.sleep(1.0)
        provider.wait = 0.0
        provider.acts = (explorer.choose("key", "account"),)
        await all_over(provider.call(n, place) for n, place in ((0, 0), (1, 1), (0, 1)))
        facts = [fact for there in provider.board.facts.values() for fact in there.values()]
        assert [1] == [fact.times for fact in facts], "it begins once, however many fail"
        provider.acts, provider.wait = acts, 1.0
        await asyncio.sleep(LATER - clock.now())
        hand = explorer.choose("", *hands)
        calls = [provider.call(n, place) for n, place in ((0, 0), (1, 1), (0, 2))]
        await all_over([*calls, provider.touch(hand)] if hand else calls)
        await asyncio.wait([old])
        provider.check()
        assert not any(provider.probes.values())
        provider.acts = ("ok",)
        for place in range(len(PLACES)):
            await asyncio.sleep(LATER)
            await provider.call(0, place)
            provider.check()

        assert {} == provider.board.facts

    return scenario


def test_one_probe_at_a_time_decides_for_all_stacks() -> None:
    """What befell a key or an account began once, has one probe out, and none that is lost."""
    tried(shared("key", "ok"), runs=20, drawn=100)


def test_streams_other_errors_and_a_hand_in_the_midst() -> None:
    """Whatever happens while probes are out, in the end nothing is aside for ever."""
    acts, hands = ("key", "ok", "stream", "broken"), ("clear", "put aside")
    tried(shared(*acts, hands=hands), runs=20, drawn=100, cancels=2)
