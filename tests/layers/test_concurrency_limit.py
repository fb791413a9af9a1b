import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llmstack.builder import ServiceBuilder
from llmstack.call import Outcome
from llmstack.errors import ConcurrencyFull, Shed
from llmstack.layers.concurrency_limit import ConcurrencyLimit, Permits
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from llmstack.testing.scripted import ENDINGS, ScriptedService, dispatched, under_way
from llmstack.testing.virtual import run_virtual


async def slow(_request: str, /) -> str:
    """Take a second."""
    return await asyncio.sleep(1, "ok")


class PermitsAgainstModel(RuleBasedStateMachine):
    """The model is the list of permits that are out, each with the time it was taken."""

    @initialize(limit=st.integers(1, 7))
    def start(self, limit: int) -> None:
        self.machine, self.limit = Permits(limit), limit
        self.out: list[tuple[float, int]] = []
        self.now, self.busy, self.refused = 0, 0, 0

    @rule(seconds=st.integers(1, 9))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def admit(self) -> None:
        if len(self.out) < self.limit:
            self.out.append((self.machine.admit(self.now), self.now))
        else:
            self.refused += 1
            with pytest.raises(ConcurrencyFull, match=f"^all {self.limit} permits are out$"):
                self.machine.admit(self.now)

    @rule()
    def admit_extra(self) -> None:
        """Less than four fifths of them are out, so that one is to be had."""
        if 5 * len(self.out) < 4 * self.limit:
            self.out.append((self.machine.admit(self.now, extra=True), self.now))
        else:
            self.refused += 1
            with pytest.raises(ConcurrencyFull) as refusal:
                self.machine.admit(self.now, extra=True)
            assert (len(self.out) < self.limit) == refusal.value.soft

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        permit, taken = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        self.busy += self.now - taken
        self.machine.settle(permit, Outcome(self.now), self.now)

    @invariant()
    def agrees(self) -> None:
        machine = self.machine
        seen = machine.in_flight, machine.refused, machine.busy, machine.idle
        assert (len(self.out), self.refused, self.busy, not self.out) == seen


TestPermits = PermitsAgainstModel.TestCase


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("layer", "to"),
    [(ConcurrencyLimit(1), dispatched), (ConcurrencyLimit(1, key=str.lower), str)],
    ids=["by endpoint", "by the caller's key"],
)
def test_a_permit_is_out_until_the_call_is_over(
    layer: ConcurrencyLimit, to: Callable[[str], object], ending: str
) -> None:
    """W-LL-11: however it ends; until then its key is full, and no other key is."""

    async def main() -> None:
        async with under_way(layer, to("eu"), ending) as service:
            with pytest.raises(ConcurrencyFull):
                await service(to("eu"))
            assert "ok" == await service(to("us"))
            then = service.statistics()
        assert "ok" == await service(to("eu"))
        assert {"eu": 1, "us": 0} == {key: permits.in_flight for key, permits in then.items()}
        assert {"eu": 1, "us": 0} == {key: permits.refused for key, permits in then.items()}

    asyncio.run(main())


def test_the_refusal_is_hard_and_nothing_is_sent() -> None:
    """A request that insists gets it too, and the inner service never hears of it."""
    inner: ScriptedService[object, str] = ScriptedService(["ok"], delay=5)
    service = ConcurrencyLimit(1)(inner)

    async def main() -> bool:
        async with asyncio.TaskGroup() as group:
            group.create_task(service(dispatched("eu")))
            await asyncio.sleep(1)
            with pytest.raises(ConcurrencyFull) as refusal:
                await service(dispatched("eu", insists=True))
        return refusal.value.soft

    assert (False, 5.0) == run_virtual(main())
    assert 1 == len(inner.calls)


def test_a_refusal_from_below_gives_the_permit_back() -> None:
    """What a gate further down refuses has held a permit for no time."""
    inner: ScriptedService[str, Any] = ScriptedService([Shed(), Shed(), "ok"])
    service = ConcurrencyLimit(1)(inner)

    async def main() -> object:
        for _ in range(2):
            with pytest.raises(Shed):
                await service("request")
        return await service("request")

    assert ("ok", 0.0) == run_virtual(main())
    counts = service.statistics()[None]
    assert (0, 0, 0.0) == (counts.in_flight, counts.refused, counts.busy)


def test_busy_is_the_time_of_all_calls() -> None:
    """Three calls of one second each, all at once, are three call-seconds in a second."""
    service = ConcurrencyLimit(3)(slow)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(service("request"))

    _, elapsed = run_virtual(main())

    assert (1.0, 3.0) == (elapsed, service.statistics()[None].busy)


def test_a_cancel_at_any_step_leaves_no_permit_out() -> None:
    """Whoever leaves, whenever: all permits are back, and the next call is let in."""
    service = ConcurrencyLimit(1)(slow)

    async def check(_run: CancelledRun[str]) -> None:
        assert [0] * len(service.permits) == [p.in_flight for p in service.statistics().values()]
        assert "ok" == await service("request")

    runs = cancelled_everywhere(lambda: service("request"), check)

    assert {"returned", "cancelled"} == {run.ended for run in runs}


def test_each_use_counts_for_itself() -> None:
    """One layer in two stacks is two limits; what it gives out is a copy."""
    layer = ConcurrencyLimit(1)
    one, two = layer(slow), layer(slow)

    async def main() -> list[str]:
        return list(await asyncio.gather(one("request"), two("request")))

    assert (["ok", "ok"], 1.0) == run_virtual(main())
    one.statistics()[None].in_flight = 9
    assert 0 == one.statistics()[None].in_flight


@pytest.mark.parametrize("limit", [0, -1, 1.5, "2"])
def test_a_bad_setting_names_its_field(limit: int) -> None:
    """A limit is a whole number from one upwards."""
    with pytest.raises((ValueError, TypeError), match="'limit'"):
        ConcurrencyLimit(limit)


def test_its_statistics_are_the_stacks() -> None:
    """A stack shows the counts under the role."""
    stack = ServiceBuilder().layer(ConcurrencyLimit(2)).service(slow)

    assert ("ok", 1.0) == run_virtual(stack("request"))
    assert ["concurrency_limit"] == list(stack.statistics())
    assert 0 == stack.statistics()["concurrency_limit"][None].in_flight
