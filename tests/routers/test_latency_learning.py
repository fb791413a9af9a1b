"""What `LatencyBased` learns from how calls end, and that no call in flight is lost count of."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from copy import deepcopy
from math import exp
from random import Random
from statistics import median
from threading import Lock
from typing import Any, Literal

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llmstack.call import Outcome
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import BadRequest, CircuitOpen, ServerError
from llmstack.messages import Request, dispatch
from llmstack.routers.latency_based import LatencyBased
from llmstack.testing.scripted import ENDINGS, ScriptedEvent, echo, stream_of, under_way
from llmstack.testing.virtual import run_virtual
from tests.routers.measured import NEVER, fastest, take
from tests.routers.stage import listed


Ending = Literal["ok", "failed", "caller", "cancelled", "left", "refused"]
ENDS: tuple[Ending, ...] = ("ok", "failed", "caller", "cancelled", "left")


@define
class Memory:
    """The model of one average: what it is, since when, and of how many samples."""

    value: float | None = None
    at: float = 0.0
    n: int = 0

    def read(self, now: float, prior: float) -> float:
        faded = exp((self.at - now) / 30)
        return prior if self.value is None else prior + faded * (self.value - prior)

    def add(self, sample: float, now: float, base: float | None = None) -> None:
        base = self.value if base is None or self.value is None else base
        share = max(0.05, 1 - exp((self.at - now) / 10))
        self.value = sample if base is None else base + share * (sample - base)
        self.at, self.n = now, self.n + 1


@define(eq=False)
class Known:
    """The model of one endpoint; *out* are its calls in flight, of all who had its name."""

    latency: Memory = field(factory=Memory)
    success: Memory = field(factory=Memory)


@define(eq=False)
class Out:
    """A call in flight: the walk it came from, who was there then, its turn and the one before."""

    name: str
    known: Known
    started: float
    walk: Iterator[Endpoint]
    there: dict[str, object]
    turn: int
    before: int


class FastestAgainstModel(RuleBasedStateMachine):
    """Calls begin, are refused, and end in every way, while endpoints come and go."""

    @initialize()
    def start(self) -> None:
        self.endpoints = {name: Endpoint(name, echo, n) for n, name in enumerate("abc", 1)}
        layer = LatencyBased(self.endpoints.values(), explore=NEVER, rng=Random(1))
        self.picker = fastest(layer)
        self.known: dict[str, Known] = {}
        self.out: list[Out] = []
        self.there: dict[str, object] = {name: object() for name in "abc"}
        self.now, self.prior = 0.0, 1.0
        self.turns: dict[str, int] = {}
        self.taken = 0

    @rule(seconds=st.sampled_from([0.25, 1.0, 3.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    def pending(self, name: str) -> int:
        return sum(each.name == name for each in self.out)

    def score(self, name: str) -> tuple[bool, float, bool, int]:
        known = self.known.get(name, Known())
        room = max(1, -(-len(self.out) // 20))
        success = max(0.02, known.success.read(self.now, 1.0))
        load = (self.pending(name) + 1) / self.endpoints[name].weight
        new = known.latency.n == 0
        score = known.latency.read(self.now, self.prior) * load / success**2
        return new and self.pending(name) >= room, score, not new, self.turns.get(name, 0)

    def goes_out(
        self, endpoint: Endpoint, walk: Iterator[Endpoint], there: dict[str, object]
    ) -> None:
        known = self.known.setdefault(endpoint.name, Known())
        self.taken += 1
        before, self.turns[endpoint.name] = self.turns.get(endpoint.name, 0), self.taken
        self.out.append(Out(endpoint.name, known, self.now, walk, there, self.taken, before))

    @precondition(lambda self: self.there)
    @rule()
    def call(self) -> None:
        there = [self.endpoints[name] for name in sorted(self.there)]
        places = {e.name: self.score(e.name) for e in there}
        told = self.picker.explain(Request(), there, self.now)
        walk = self.picker.order(Request(), there, self.now)
        endpoint = next(walk)
        mine = places[endpoint.name]
        for name, place in places.items():
            assert pytest.approx(place[1]) == told[name].score
            tie = told[name].score == told[endpoint.name].score
            near = tie or abs(mine[1] - place[1]) <= 1e-9 * mine[1]
            assert mine[0] <= place[0]
            assert mine[0] < place[0] or near or mine[1] < place[1]
            assert mine[0] < place[0] or not tie or mine[2:] <= place[2:]
        self.goes_out(endpoint, walk, dict(self.there))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), how=st.sampled_from(ENDS), waited=st.sampled_from([0.25, 1.0, 9.0]))
    def end(self, data: st.DataObject, how: Ending, waited: float) -> None:
        out = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        out.known = out.known if self.known.get(out.name) is out.known else Known()
        self.now = max(self.now, out.started + waited)
        first = out.started + waited if how in {"ok", "left"} else None
        errors = {"failed": ServerError(), "caller": BadRequest()}
        outcome = Outcome(self.now, first=first)
        if how in errors:
            outcome = Outcome.of(errors[how], self.now)
        elif how != "ok":
            outcome.how = "cancelled" if how == "cancelled" else "abandoned"
        self.picker.settle(self.endpoints[out.name], out.started, outcome)
        self.learn(out, how, waited)

    def learn(self, out: Out, how: Ending, waited: float) -> None:
        latency, success = out.known.latency, out.known.success
        if how in {"ok", "failed"}:
            success.add(float(how == "ok"), self.now)
        estimate = latency.read(self.now, self.prior)
        if how in {"ok", "left"}:
            latency.add(waited, self.now)
            values = [k.latency.value for k in self.known.values() if k.latency.value is not None]
            self.prior = median(values) if self.known.get(out.name) is out.known else self.prior
        elif how == "cancelled" and self.now - out.started > estimate:
            latency.add(self.now - out.started, self.now, base=estimate)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        out = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        refused = Outcome.of(CircuitOpen(), self.now)
        self.picker.settle(self.endpoints[out.name], out.started, refused)
        endpoint = next(out.walk, None)
        if self.turns.get(out.name) == out.turn:
            self.turns[out.name] = out.before
        if endpoint is not None:
            # The order was made when the call began; who has gone since is not asked.
            if self.there.get(endpoint.name) is out.there[endpoint.name]:
                self.goes_out(endpoint, out.walk, out.there)
            else:
                self.taken += 1
                self.turns[endpoint.name] = self.taken
                self.picker.settle(endpoint, self.now, Outcome(self.now, "refused"))

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.there)))
        del self.there[name]
        self.known.pop(name, None)
        self.turns.pop(name, None)
        self.picker.keep(self.there)
        # Two removals within one instant would leave nothing to tell the calls apart by.
        self.now += 0.25

    @precondition(lambda self: len(self.there) < 3)
    @rule(data=st.data())
    def add(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(set("abc") - self.there.keys())))
        self.there[name] = object()
        self.picker.keep(self.there)

    @invariant()
    def agrees(self) -> None:
        told = self.picker.statistics()
        for name in "abc":
            known, seen = self.known.get(name, Known()), told.get(name, {})
            assert self.pending(name) == seen.get("pending", 0)
            assert known.latency.n == seen.get("samples", 0)
            assert pytest.approx(known.latency.value) == seen.get("latency")
            assert pytest.approx(known.success.value) == seen.get("success")
        assert told.keys() <= self.known.keys() | {out.name for out in self.out}
        assert pytest.approx(self.prior) == self.picker.prior


TestFastest = FastestAgainstModel.TestCase


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("change", ["none", "remove", "replace", "reweight", "disable"])
def test_a_call_is_in_flight_until_it_is_over(ending: str, change: str) -> None:
    """P-LB-7, U-12: however it ends, and whatever becomes of its endpoint meanwhile."""

    async def main() -> None:
        endpoints = EndpointSet([*listed([1]), Endpoint("z", echo)])
        layer = LatencyBased(endpoints, explore=NEVER)

        def counts() -> dict[str, int]:
            return {name: seen["pending"] for name, seen in service.statistics().items()}

        async with under_way(layer, Request(), ending) as service:
            assert {"a": 1} == counts()
            if change in {"remove", "replace"}:
                endpoints.remove("a")
                assert "ok" == await service(Request())  # that is when it is seen
                assert {"a": 1, "z": 0} == counts()
            if change == "replace":
                endpoints.add(*listed([1]))
                endpoints.disable("z")
                assert "ok" == await service(Request())
                assert {"a": 1, "z": 0} == counts()
            elif change == "reweight":
                endpoints.reweight("a", 7)
            elif change == "disable":
                endpoints.disable("a")
            assert "ok" == await service(Request())
            assert 1 == counts()["a"]
        assert 0 == counts().get("a", 0)
        assert (change == "remove") == ("a" not in counts())

    run_virtual(main())


@pytest.mark.parametrize("soft", [False, True])
def test_a_refusal_leaves_nothing(soft: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    """Neither in flight nor learned, nor that somebody has looked; insisting is one more call."""
    asked: list[tuple[str, bool]] = []

    async def inner(request: Request) -> object:
        assert request.endpoint is not None
        asked.append((request.endpoint.name, request.insists))
        if request.insists or request.endpoint.name == "b":
            return request.endpoint.name
        raise CircuitOpen(soft=soft)

    async def main() -> dict[str, Any]:
        router = LatencyBased(listed([1] * (1 if soft else 2)), explore=NEVER)(inner)
        await router(Request())
        return router.picker.statistics()

    told = run_virtual(main())[0]

    assert [("a", False), ("a", True) if soft else ("b", False)] == asked
    assert {"a" if soft else "b": (0, 1)} == {
        name: (seen["pending"], seen["samples"]) for name, seen in told.items()
    }


def test_the_time_to_the_first_content_is_the_sample() -> None:
    """W-LL-8: of a stream, however long it goes on, and though the caller leaves it."""

    async def streams(_request: Request) -> object:
        await asyncio.sleep(0.5)
        return stream_of([60.0, ScriptedEvent()])

    async def main() -> list[dict[str, Any]]:
        router = LatencyBased(listed([1]))(streams)
        seen = []
        for read in (True, False):
            async with await router(Request(stream=True)) as stream:
                if read:
                    async for _ in stream:
                        pass
                seen.append(router.statistics()["a"])
        return [*seen, router.statistics()["a"]]

    during, read, left = run_virtual(main())[0], None, None
    read, first_left, left = during

    assert (0.5, 1.0, 1) == (read["latency"], read["success"], read["samples"])
    assert 1 == first_left["pending"]
    assert (0.5, 2, 0) == (left["latency"], left["samples"], left["pending"])


@given(waits=st.lists(st.integers(1, 80).map(lambda n: n / 4), min_size=1, max_size=8))
def test_a_cancelled_wait_only_raises(waits: list[float]) -> None:
    """P-CE-1: it says that the latency is no less, and about the endpoint it says nothing else."""
    picker = fastest(LatencyBased(listed([1]), prior=2.0))
    endpoint = listed([1])[0]
    for now, wait in enumerate(waits):
        before = picker.explain(Request(), [endpoint], now)["a"]
        take(picker, endpoint, now)
        picker.settle(endpoint, now - wait, Outcome(now, "cancelled"))
        after = picker.explain(Request(), [endpoint], now)["a"]

        assert before.latency is not None
        assert after.latency is not None
        assert (wait > before.latency) == (after.latency > before.latency)
        assert after.latency >= before.latency
        assert 1.0 == after.terms["success"]
    assert {2.0} == {picker.prior}


def test_a_shared_reply_is_not_faster_than_at_once() -> None:
    """A stream whose first content is older than the call has no latency below zero."""
    picker = fastest(LatencyBased(listed([1])))
    endpoint = listed([1])[0]
    take(picker, endpoint, 9.0)
    picker.settle(endpoint, 9.0, Outcome(9.5, first=3.0))

    assert 0.0 == picker.statistics()["a"]["latency"]


def test_a_picker_is_copied_without_its_endpoints() -> None:
    """Their services may hold what no copy can be made of; `plan` needs a copy each time."""

    class Client:
        def __init__(self) -> None:
            self.lock = Lock()

        async def __call__(self, request: Request, /) -> Request:
            return request

    endpoints = [Endpoint("a", Client())]
    router = LatencyBased(endpoints)(dispatch)

    async def main() -> tuple[str, ...]:
        await router(Request())
        return router.plan(Request()).order

    with pytest.raises(TypeError):
        deepcopy(endpoints)
    assert ("a",) == asyncio.run(main())
