"""What the tests of health share: a probe that does as told, endpoints, and what is logged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any, Final, TypeVar

from attrs import define, field
from structlog.testing import capture_logs

from llmstack import clock
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import LLMStackError, NotReady
from llmstack.layers.health import Health, HealthService
from llmstack.service import Service
from llmstack.testing.scripted import dispatched, echo
from llmstack.testing.virtual import run_virtual


__all__ = ["EU", "US", "Doctor", "Probed", "ends", "logged", "probing", "watched"]

T = TypeVar("T")
Probed = HealthService[Any, Any]

EU: Final = Endpoint("eu", echo)
US: Final = Endpoint("us", echo)


@define(eq=False)
class Doctor:
    """A probe: for each endpoint an error, an event to wait for, or what it costs."""

    finds: dict[str, object] = field(factory=dict)
    at: list[tuple[float, str]] = field(factory=list, init=False)
    most: int = field(default=0, init=False)
    now: int = field(default=0, init=False)

    async def __call__(self, endpoint: Endpoint) -> Any:  # noqa: ANN401 -- whatever probes return
        self.at.append((clock.now(), endpoint.name))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await self.look(self.finds.get(endpoint.name))
        finally:
            self.now -= 1

    async def look(self, finds: object) -> object:
        if isinstance(finds, BaseException):
            raise finds
        if isinstance(finds, asyncio.Event):
            await finds.wait()
        return finds

    def of(self, name: str) -> list[float]:
        """When *name* was probed."""
        return [at for at, who in self.at if who == name]


def probing(
    doctor: Callable[[Endpoint], Coroutine[Any, Any, float | None]],
    *endpoints: Endpoint,
    inner: Service[Any, Any] = echo,
    **settings: Any,  # noqa: ANN401 -- those of the layer
) -> Probed:
    """The layer over *inner*; without endpoints there is the one in Europe."""
    them = EndpointSet(endpoints or [EU])
    return Health(them, doctor, **{"rng": Random(1), **settings})(inner)


async def ends(service: Service[Any, Any], name: str = "eu", *, insists: bool = False) -> str:
    """How a call to *name* ends, in one word."""
    try:
        await service(dispatched(name, insists=insists))
    except NotReady as refusal:
        return "soft" if refusal.soft else "hard"
    except LLMStackError:
        return "failed"
    return "ok"


def logged(main: Callable[[], Coroutine[Any, Any, object]]) -> list[tuple[str, str, str, str]]:
    """What is logged while *main* runs: level, event, endpoint, reason."""
    with capture_logs() as logs:
        _run(main)
    return [(each["log_level"], each["event"], each["endpoint"], each["reason"]) for each in logs]


def watched(main: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, float]:
    """What *main* returns, and how long it took, without a log."""
    with capture_logs():
        return _run(main)


def _run(main: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, float]:
    # In a thread: where a probe goes on behind its cancellation, Python 3.11 tells a tracer of
    # returns without calls, and coverage loses what comes next in the frames below.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run_virtual, main()).result()
