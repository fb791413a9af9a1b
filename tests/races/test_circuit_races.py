"""A circuit that is half-open, in any order: so many probes at once, and news only from them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import llmstack as ls
from llmstack import clock
from llmstack.estimators.circuit import Circuit
from llmstack.estimators.phase import Probes
from llmstack.testing import Explorer, ScriptedEvent, dispatched, stream_of
from llmstack.testing.interleaved import Scenario
from tests.races.tried import all_over, tried


#: How a call may end; a stream is read out, or breaks behind its first content.
ACTS: Final = ("ok", "failed", "busy", "stream", "cut")
ONE: Final = Probes()
TWO: Final = Probes(at_once=2, successes=2, failures=2)
HANDS: Final = ("open", "half_open", "close", "reset", "disable")
#: When an endpoint that was opened at 1 s may be asked again, whatever the dice said.
LATER: Final = 60.0


class Provider:
    """Below a breaker: ends each call as the explorer says, and keeps books of its own."""

    def __init__(self, explorer: Explorer, acts: Sequence[str], probes: Probes) -> None:
        self.explorer, self.acts, self.at_once = explorer, acts, probes.at_once
        breaker = ls.CircuitBreaker(ls.ConsecutiveFailures(1), ramp=0, probes=probes, rng=Random(1))
        self.service = breaker(self.answer)
        self.circuit: Circuit = self.service.circuits("eu")
        self.generation, self.shut = 0, False
        self.in_flight = 0
        self.probes: Counter[int] = Counter()  # of which nothing is known yet, by generation
        self.may_turn = False
        self.final = "closed"

    async def answer(self, _request: object, /) -> object:
        generation, probe = self.circuit.permit.generation, self.circuit.state == "half_open"
        self.in_flight += 1
        self.probes[generation] += probe
        act = "left"
        try:
            await asyncio.sleep(max(0.0, LATER - clock.now()))
            act = self.explorer.choose(*self.acts)
        finally:
            self.probes[generation] -= probe
            self.in_flight -= act not in {"stream", "cut"}
            self.hear(generation, probe=probe, says=act not in {"left", "busy"})
        if act == "failed":
            raise ls.ServerError("as told")
        if act == "busy":
            raise ls.RateLimited("as told")
        return "ok" if act == "ok" else self.stream(generation, probe=probe, cut=act == "cut")

    def stream(self, generation: int, *, probe: bool, cut: bool) -> ls.EventStream:
        def end(_outcome: object) -> None:
            self.in_flight -= 1
            # A probe has had its say with the first content.
            self.hear(generation, probe=False, says=not probe)

        reply = stream_of([0.0, ls.StreamBroken("as told") if cut else ScriptedEvent()])
        reply.on_end(end)
        return reply

    def hear(self, generation: int, *, probe: bool, says: bool) -> None:
        """Note whether the circuit may turn in this step."""
        self.may_turn |= says and generation == self.generation and (probe or not self.shut)

    def check(self) -> None:
        circuit = self.circuit
        phase, generation = circuit.phase, circuit.permit.generation
        assert self.may_turn or generation == self.generation, "a stale result turned it"
        assert self.in_flight == circuit.in_flight
        assert self.probes[generation] == (phase.out if phase else 0)
        assert self.probes[generation] <= self.at_once
        self.generation, self.may_turn = generation, False
        self.shut = circuit.state in {"open", "half_open"}

    async def call(self, wait: float = 0.0) -> None:
        await asyncio.sleep(wait)
        try:
            reply: Any = await self.service(dispatched("eu"))
            if isinstance(reply, ls.EventStream):
                async with reply:
                    await anext(reply)
                    await anext(reply)
        except ls.LLMStackError:
            return

    async def touch(self, hand: str) -> None:
        await asyncio.sleep(LATER)
        self.may_turn = True
        self.final = "disabled" if hand == "disable" else "closed"
        getattr(self.service, hand)("eu")


def half_open(acts: Sequence[str] = ACTS, hands: Sequence[str] = ("",)) -> Scenario:
    """One call that was sent before the opening, three that may be probes, and a hand."""

    async def scenario(explorer: Explorer) -> None:
        provider = Provider(explorer, acts, explorer.choose(ONE, TWO))
        explorer.always(provider.check)

        async def opens() -> None:
            await asyncio.sleep(1.0)
            provider.may_turn = True
            provider.service.open("eu")

        calls = [provider.call(), opens(), *(provider.call(LATER) for _ in range(3))]
        hand = explorer.choose(*hands)
        await all_over([*calls, provider.touch(hand)] if hand else calls)
        provider.check()
        provider.acts = ("ok",)
        await asyncio.sleep(600.0)
        for _ in range(2):
            await provider.call()
            provider.check()

        assert 0 == provider.in_flight == sum(provider.probes.values())
        assert provider.final == provider.circuit.state

    return scenario


def test_no_more_probes_are_out_than_may_be() -> None:
    """However calls and cancels fall, permits come back, and one that is stale turns nothing."""
    tried(half_open(("ok", "failed")), runs=100, drawn=60)


def test_probes_that_are_streams_or_say_nothing() -> None:
    """The first content is the news; a probe that learnt nothing makes room for another."""
    tried(half_open(), runs=20, drawn=150, cancels=2)


def test_a_hand_in_the_midst() -> None:
    """Whatever an operator does while probes are out, their results count for that no more."""
    tried(half_open(hands=HANDS), runs=20, drawn=130)
