"""Health begins and ends with its stack, and leaves nothing behind, whatever a probe does."""

from __future__ import annotations

import asyncio
from random import Random
from types import TracebackType
from typing import Any

import pytest
from attrs import define, field
from structlog.testing import capture_logs

from llmstack import clock
from llmstack.builder import ServiceBuilder, Stack
from llmstack.endpoint import Endpoint
from llmstack.errors import ConfigError, ServerError
from llmstack.layers.health import Health
from llmstack.messages import Request, dispatch
from llmstack.routers.round_robin import RoundRobin
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from llmstack.testing.scripted import echo
from tests.layers.probed import EU, US, Doctor, Probed, ends, logged, probing, watched


@define(eq=False)
class Stubborn(Doctor):
    """A probe of the one in Europe that goes on when it is cancelled, until it may end."""

    may_end: asyncio.Event = field(factory=asyncio.Event)
    cancels: int = 0

    async def look(self, finds: object) -> object:
        if not isinstance(finds, asyncio.Event):
            return finds
        while not self.may_end.is_set():
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                self.cancels += 1
        return None


class Slow(Doctor):
    """A probe that needs half a second to end."""

    async def look(self, finds: object) -> object:
        try:
            return await super().look(finds)
        finally:
            await asyncio.sleep(0.5)


def stuck() -> Stubborn:
    return Stubborn({"eu": asyncio.Event()})


def test_a_probe_that_ignores_its_cancellation_blocks_nobody() -> None:
    """Its endpoint counts as down, others have their turn; and it is told once."""
    doctor = stuck()
    service = probing(doctor, EU, US, *(Endpoint(name, echo) for name in "abc"))

    async def main() -> None:
        async with service:
            await asyncio.sleep(300)

            known = service.statistics()
            assert ("down", "stuck") == (known["eu"].state, known["eu"].reason)
            assert known["eu"].bad >= 8
            assert 1 == len(doctor.of("eu"))
            assert all(known[name].good >= 8 for name in ("us", *"abc"))
            doctor.may_end.set()
            doctor.finds.clear()
            await asyncio.sleep(100)
            assert "up" == service.statistics()["eu"].state
            assert len(doctor.of("eu")) >= 3

    found = logged(main)
    assert ("warning", "health.stuck", "eu", "it ignores its cancellation") == found[0]
    assert ["health.stuck", "health.down", "health.up"] == [event for _, event, *_ in found]


class Even(Random):
    """Dice that fall in the middle."""

    def random(self) -> float:
        return 0.5


def test_it_is_given_up_a_second_after_its_timeout() -> None:
    """Not when somebody happens to look; one that ends within the second is only late."""
    doctor = stuck()
    events: list[str] = []

    async def main() -> None:
        async with probing(doctor, rng=Even()) as service:
            await asyncio.sleep(22.5 + 5.99)
            found = [service.statistics()["eu"].reason]
            await asyncio.sleep(0.02)
            found.append(service.statistics()["eu"].reason)
            doctor.may_end.set()
            assert ["", "stuck"] == found

    async def late() -> None:
        async with probing(Slow({"eu": asyncio.Event()}), interval=10.0) as service:
            await asyncio.sleep(30)
            assert "TimeoutError" == service.statistics()["eu"].reason

    events += [event for _, event, *_ in logged(main)]
    events += [event for _, event, *_ in logged(late)]
    assert ["health.stuck"] == events


@pytest.mark.parametrize(("after", "cancels"), [(10.1, 1), (200.0, 2)])
def test_it_does_not_block_the_end_either(after: float, cancels: int) -> None:
    """It is cancelled once more, and left to itself a second later."""
    doctor = stuck()

    async def main() -> float:
        service = probing(doctor, interval=10.0, timeout=9.0)
        async with service:
            await asyncio.sleep(after)
            left = clock.now()
        took = clock.now() - left
        assert cancels == doctor.cancels
        doctor.finds.clear()
        async with service:
            await asyncio.sleep(25)
            assert (2, 0) < (len(doctor.at), service.statistics()["eu"].bad) < (5, 1)
        doctor.may_end.set()
        return took

    assert 1.0 == pytest.approx(watched(main)[0])


def test_a_probe_under_way_is_ended_at_the_exit() -> None:
    """At once; and what it says in its last moment is heard by nobody."""

    class Sore(Doctor):
        async def look(self, finds: object) -> object:
            try:
                return await super().look(finds)
            except asyncio.CancelledError:
                raise ServerError from None

    doctor = Sore({"eu": asyncio.Event()})
    service = probing(doctor, interval=10.0, timeout=9.0, down=1)

    async def main() -> float:
        async with service:
            await asyncio.sleep(10.1)
            assert 1 == doctor.now
        assert (0, "up", "") == (
            doctor.now,
            service.statistics()["eu"].state,
            service.statistics()["eu"].reason,
        )
        left = clock.now()
        async with service:
            await asyncio.sleep(1)
            assert "" == service.statistics()["eu"].reason
        return left

    assert 10.1 == watched(main)[0]


def test_after_the_end_nothing_is_down() -> None:
    """Nobody would see it come up; and when it begins again, it begins anew."""
    doctor = Doctor({"eu": ServerError()})
    service = probing(doctor, down=1)

    async def main() -> None:
        async with service:
            await asyncio.sleep(40)
            assert "soft" == await ends(service)
        assert "ok" == await ends(service)
        n = len(doctor.at)
        await asyncio.sleep(100)
        assert n == len(doctor.at)
        async with service:
            await asyncio.sleep(14)
            assert (n, "ok") == (len(doctor.at), await ends(service))
            await asyncio.sleep(27 + 33)
            assert "soft" == await ends(service)

    watched(main)


def test_it_runs_once() -> None:
    """The stack counts who has entered it; the service itself is entered by the stack alone."""
    doctor = Doctor()
    stack: Stack[Request, Any] = (
        ServiceBuilder(seed=1).layer(RoundRobin([EU])).layer(Health([EU], doctor)).service(dispatch)
    )
    outer = ServiceBuilder().layer(RoundRobin([Endpoint("group", stack)])).service(dispatch)

    async def main() -> None:
        async with stack, outer:
            async with stack:
                await asyncio.sleep(1)
            with pytest.raises(ConfigError, match="running already"):
                await stack["health"].__aenter__()
            await asyncio.sleep(99)
        n = len(doctor.at)
        await asyncio.sleep(100)
        assert n == len(doctor.at)
        assert 3 <= n <= 4
        await stack["health"].__aexit__(None, None, None)

    watched(main)


@define(eq=False)
class Open(Doctor):
    """A probe that is a context manager."""

    log: list[str] = field(factory=list)
    broken: bool = False

    async def __aenter__(self) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise ConfigError("it cannot begin")
        self.log.append("opened")

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.log.append(f"closed with {self.now} at work")


def test_a_probe_may_have_to_be_opened() -> None:
    """Before the first probe; it is closed when the last one has ended."""
    doctor = Open({"eu": asyncio.Event()})

    async def main() -> None:
        async with probing(doctor, interval=10.0, timeout=9.0):
            await asyncio.sleep(10.1)
            assert (["opened"], 1) == (doctor.log, doctor.now)
        assert ["opened", "closed with 0 at work"] == doctor.log

    watched(main)


def test_one_that_cannot_be_opened_is_not_begun() -> None:
    """And may be tried again."""
    doctor = Open(broken=True)
    service = probing(doctor)

    async def main() -> None:
        with pytest.raises(ConfigError, match="cannot begin"):
            await service.__aenter__()
        doctor.broken = False
        async with service:
            await asyncio.sleep(31)
        assert 1 == len(doctor.at)

    watched(main)


def test_broken_dice_are_told_at_the_end() -> None:
    """A bug is not swallowed."""

    class Broken(Random):
        def random(self) -> float:
            raise ZeroDivisionError

    async def main() -> None:
        async with probing(Doctor(), rng=Broken()):
            await asyncio.sleep(1)

    with pytest.raises(ZeroDivisionError):
        watched(main)


def test_a_cancel_at_any_step_leaves_nothing_behind() -> None:
    """Of entering, probing, ending; afterwards it works as before."""
    doctors: list[Open] = []
    services: list[Probed] = []

    async def scenario() -> str:
        doctors[:] = [Open({"eu": asyncio.Event(), "us": ServerError()})]
        services[:] = [probing(doctors[0], EU, US, interval=4.0, timeout=3.0, down=1)]
        async with services[0]:
            await asyncio.sleep(5)
            return await ends(services[0], "us")

    async def check(run: CancelledRun[str]) -> None:
        if run.cancels[:1] == (0,):
            return
        assert () == run.left
        assert ("cancelled" if run.cancels else "returned") == run.ended
        (doctor,), (service,) = doctors, services
        assert 0 == doctor.now
        assert len(doctor.log) in {0, 2}
        assert ["ok", "ok"] == [await ends(service, name) for name in ("eu", "us")]
        n = len(doctor.at)
        await asyncio.sleep(20)
        assert n == len(doctor.at)

    with capture_logs():
        alone, *_ = cancelled_everywhere(scenario, check)
    assert "soft" == alone.result
