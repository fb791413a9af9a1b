"""Health: probe endpoints that nobody asks just now, and ask those last whose probes fail.

Without it health is passive: breaker and cooldown learn from traffic, and that is enough
for most. This layer asks by itself, so that an endpoint that is gone is known before a call
is spent on it. Put it below the router, which goes on to the next endpoint, and above all
that is kept for each endpoint, so that what it refuses takes nothing.

A probe goes to the endpoint itself, past all layers: it takes no permit, opens no circuit
and is in no ledger. It may be wrong, so the refusal is soft: where there is nobody else, the
call goes out. Calls that are answered count as good probes, and save them.

``async with stack:`` starts the probes. Before and after that nothing is ever down.

Errors: `Unhealthy`. Events: `health.down` and `health.stuck` (warning), `health.up` (info);
refusals are a number in the statistics.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from random import Random
from types import TracebackType
from typing import Any, ClassVar, Final, Generic, Protocol, Self, final, runtime_checkable

from attrs import define, field, frozen, validators

from llmstack import clock
from llmstack.endpoint import Endpoint, EndpointSet
from llmstack.errors import ConfigError, LLMStackError, Unhealthy, classify
from llmstack.estimators.health import Checked, Checkups, Pulse, Turn, Verdict
from llmstack.events import EventLog
from llmstack.service import Req, Resp, Service, by_endpoint, insists
from llmstack.standing import Standing


__all__ = ["Checks", "Health", "HealthService", "Probe"]

log: Final = EventLog()

#: Seconds that a probe has to end once it is cancelled.
GRACE: Final = 1.0

#: Asks an endpoint for a sign of life: an error is none. What it returns, if it is a float, is
#: what the probe has cost in USD. One that is an async context manager is entered too.
Probe = Callable[[Endpoint], Awaitable[float | None]]


@runtime_checkable
class Checks(Protocol):
    """A probe that knows beforehand which endpoints it cannot ask."""

    def check(self, endpoint: Endpoint, /) -> None:
        """Raise `ConfigError` if *endpoint* is not one that can be probed so."""
        ...


def _as_set(value: Iterable[Endpoint]) -> EndpointSet:
    """Take a set as it is, to be shared; make one of anything else."""
    if isinstance(value, EndpointSet):
        return value
    endpoints = EndpointSet(value)
    if not endpoints:
        raise ConfigError("endpoints: there must be at least one to probe")
    return endpoints


def _names(endpoints: EndpointSet) -> str:
    return f"[{', '.join(endpoint.name for endpoint in endpoints)}]"


@final
@frozen
class Health:
    """Whom to probe, how and how often, and how many probes in a row decide.

    *endpoints* are those of the router: give both one `EndpointSet` if they change. After
    *down* bad probes one is down, after *up* good ones it is up again. A probe is sent every
    *interval* seconds, and bad if it takes longer than *timeout*. *classify* turns errors that
    are not ours into ours; an error that does not blame the endpoint says nothing of it, one
    that nobody knows is bad.

    >>> async def ping(endpoint):
    ...     ...
    >>> Health([Endpoint("eu", print)], ping)
    Health(endpoints=[eu], interval=30.0, timeout=5.0, down=3, up=2)
    """

    endpoints: EndpointSet = field(converter=_as_set, repr=_names)
    probe: Probe = field(validator=validators.is_callable(), repr=False)
    interval: float = field(default=30.0, validator=validators.gt(0), kw_only=True)
    timeout: float = field(default=5.0, validator=validators.gt(0), kw_only=True)
    down: int = field(default=3, validator=validators.ge(1), kw_only=True)
    up: int = field(default=2, validator=validators.ge(1), kw_only=True)
    classify: Callable[[Exception], LLMStackError | None] = field(
        default=classify, repr=False, kw_only=True
    )
    rng: Random | None = field(default=None, repr=False, eq=False, kw_only=True)

    role: ClassVar[str] = "health"
    above: ClassVar[Mapping[str, str]] = {
        "circuit_breaker": "what probes call down should spend no probe of the breaker",
        "cooldown": "what probes call down should spend no probe of the cooldown",
        "concurrency_limit": "what probes call down should hold no permit",
        "timeout": "what probes call down needs no timer",
    }
    below: ClassVar[Mapping[str, str]] = {
        "retry": "what is refused here should cost no attempt",
        "router": "above it, one endpoint that is down would refuse the calls of all",
    }

    def __call__(self, inner: Service[Req, Resp], /) -> HealthService[Req, Resp]:
        """Wrap *inner*; `ConfigError` if there is an endpoint that cannot be probed so."""
        probe: object = self.probe
        if isinstance(probe, Checks):
            for endpoint in self.endpoints:
                if endpoint.asks:
                    probe.check(endpoint)
        chance = (self.rng or Random()).random
        return HealthService(self, inner, Checkups(self.interval, self.down, self.up, chance))


@final
@define(eq=False)
class _Visit:
    """A probe under way; it is given up at *until*."""

    name: str
    pulse: Pulse
    task: asyncio.Task[float | None]
    until: float


@final
@define(eq=False)
class HealthService(Generic[Req, Resp]):
    """The shell: refuse what is down, note what answers, and probe while it is entered."""

    settings: Health
    inner: Service[Req, Resp]
    checkups: Checkups
    _visits: list[_Visit] = field(factory=list, init=False)
    _stuck: dict[str, asyncio.Task[Any]] = field(factory=dict, init=False)
    _running: AsyncExitStack | None = field(default=None, init=False)

    async def __call__(self, request: Req, /) -> Resp:
        """Call the inner service, unless the endpoint is down and another one may be up."""
        pulse = self._pulse(request)
        if pulse is None:
            return await self.inner(request)
        # Nobody but a router can come back and insist.
        if pulse.down and not insists(request) and getattr(request, "attempt", None) is not None:
            pulse.refused += 1
            raise Unhealthy(pulse.why, soft=True)
        reply = await self.inner(request)
        pulse.answered = True
        return reply

    def _pulse(self, request: Req) -> Pulse | None:
        return self.checkups.pulses.get(by_endpoint(request) or "")

    def standing(self, request: Req, /) -> Standing | None:
        """Return what would become of *request* now; None if it would just pass."""
        pulse = self._pulse(request)
        return None if pulse is None else pulse.standing()

    def statistics(self) -> dict[str, Checked]:
        """Return what is known of each endpoint, by name."""
        return {name: pulse.statistics() for name, pulse in self.checkups.pulses.items()}

    async def __aenter__(self) -> Self:
        """Start to probe, the first time in half an interval at the earliest."""
        if self._running is not None:
            raise ConfigError("health is running already: enter the stack, which counts")
        probe: object = self.settings.probe
        async with AsyncExitStack() as starting:
            if isinstance(probe, AbstractAsyncContextManager):
                await starting.enter_async_context(probe)
            watch = asyncio.create_task(self._watch())  # noqa: TID251 -- ended by _stop
            starting.push_async_callback(self._stop, watch)
            self._running = starting.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop to probe; from now on nothing is down."""
        running, self._running = self._running, None
        if running is not None:
            await running.aclose()

    async def _stop(self, watch: asyncio.Task[None]) -> None:
        """End what is at work; what does not end when it is cancelled is left to itself."""
        probes = [*(visit.task for visit in self._visits), *self._stuck.values()]
        self._visits.clear()
        self._stuck.clear()
        self.checkups.rest()
        for task in (watch, *probes):
            task.cancel()
        await asyncio.wait([watch, *probes], timeout=GRACE)
        if watch.done() and not watch.cancelled():
            watch.result()

    async def _watch(self) -> None:
        """Probe whoever is due, for ever."""
        while True:
            now = clock.now()
            wait = max(0.0, self._look(now) - now)
            if self._visits:
                tasks = [visit.task for visit in self._visits]
                await asyncio.wait(tasks, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(wait)

    def _look(self, now: float) -> float:
        """Take in what has ended and begin what is due; return when to look again."""
        for visit in [visit for visit in self._visits if visit.task.done() or now >= visit.until]:
            self._visits.remove(visit)
            self._end(visit, now)
        there = [endpoint.name for endpoint in self.settings.endpoints.enabled if endpoint.asks]
        self.checkups.keep(there, now)
        while (name := self.checkups.next(now)) is not None:
            if self.checkups.pulses[name].answered:
                _tell(name, self.checkups.save(name, now))
            else:
                self._begin(name, now)
        return min([self.checkups.look(now), *(visit.until for visit in self._visits)])

    def _begin(self, name: str, now: float) -> None:
        """Send a probe; where the last one is stuck still, that is the answer."""
        pulse = self.checkups.begin(name)
        stuck = self._stuck.pop(name, None)
        if stuck is not None and not stuck.done():
            self._stuck[name] = stuck
            _tell(name, self.checkups.end(name, pulse, "bad", "stuck", now))
            return
        endpoint = self.settings.endpoints[name]
        task = asyncio.create_task(self._probe(endpoint))  # noqa: TID251 -- ended by _stop
        task.add_done_callback(_heard)
        self._visits.append(_Visit(name, pulse, task, now + self.settings.timeout + GRACE))

    async def _probe(self, endpoint: Endpoint) -> float | None:
        """Probe *endpoint*; an error is raised as it is classified."""
        try:
            async with asyncio.timeout(self.settings.timeout):
                return await self.settings.probe(endpoint)
        except Exception as error:
            fault = self.settings.classify(error)
            if fault is None or fault is error:
                raise
            raise fault from error

    def _end(self, visit: _Visit, now: float) -> None:
        """Learn what a probe has found out."""
        verdict, reason = _found(visit.task)
        if not visit.task.done():
            self._stuck[visit.name] = visit.task
            log.warning("health.stuck", endpoint=visit.name, reason="it ignores its cancellation")
        elif verdict == "good" and isinstance(cost := visit.task.result(), float):
            visit.pulse.spend(cost)
        _tell(visit.name, self.checkups.end(visit.name, visit.pulse, verdict, reason, now))


def _heard(task: asyncio.Task[Any]) -> None:
    """Take note of an error that nobody may ask for, or the loop complains of it."""
    if not task.cancelled():
        task.exception()


def _found(task: asyncio.Task[float | None]) -> tuple[Verdict, str]:
    """Return what a probe says of its endpoint, and why."""
    if not task.done():
        return "bad", "stuck"
    if task.cancelled():
        return "neutral", "cancelled"
    error = task.exception()
    if error is None:
        return "good", ""
    status = getattr(error, "status", None)
    reason = type(error).__name__ if status is None else f"{type(error).__name__} {status}"
    if isinstance(error, LLMStackError) and error.blames != "endpoint":
        return "neutral", reason
    return "bad", reason


def _tell(name: str, turn: Turn | None) -> None:
    """Log that an endpoint went down or came up."""
    if turn is None:
        return
    if turn.to == "down":
        log.warning("health.down", endpoint=name, reason=turn.reason)
    else:
        log.info("health.up", endpoint=name, reason=turn.reason)
