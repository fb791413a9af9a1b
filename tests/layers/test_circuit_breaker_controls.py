from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from llmstack import clock
from llmstack.builder import ServiceBuilder
from llmstack.errors import CircuitOpen, ConfigError, LLMStackError, Overloaded, ServerError
from llmstack.estimators.phase import CircuitStatistics, Probes
from llmstack.estimators.trip import ConsecutiveFailures
from llmstack.layers.circuit_breaker import CircuitBreaker, CircuitBreakerService
from llmstack.layers.concurrency_limit import ConcurrencyLimit
from llmstack.layers.retry import Retry
from llmstack.layers.timeout import Timeout
from llmstack.messages import Request
from llmstack.testing.scripted import ScriptedEvent, ScriptedService, dispatched, echo, stream_of
from llmstack.testing.virtual import run_virtual


Breaker = CircuitBreakerService[Any, Any]

EU: Final = dispatched("eu")


def test_a_stream_that_begins_ends_the_outage() -> None:
    """The probe is a stream of a minute; others are let through from its first content on."""

    async def main() -> None:
        streams = [stream_of([60.0, ScriptedEvent()]) for _ in range(2)]
        inner: ScriptedService[Request, Any] = ScriptedService(streams)
        service = CircuitBreaker(ramp=0)(inner)
        service.open("eu")
        await asyncio.sleep(5)
        async with await service(EU), await service(EU):
            assert ("closed", 2) == (state(service), service.statistics()["eu"].in_flight)
        assert 0 == service.statistics()["eu"].in_flight

    with capture_logs() as logs:
        run_virtual(main())
    assert ["opened", "half_opened", "closed"] == events(logs)


def events(logs: Sequence[Mapping[str, Any]]) -> list[str]:
    return [entry["event"].removeprefix("circuit_breaker.") for entry in logs]


def test_probes_at_once_are_one_half_opening() -> None:
    """Two of them are sent, as the settings say, and the change of state is told once."""

    async def main() -> None:
        inner: ScriptedService[Request, str] = ScriptedService(["ok", "ok"], delay=1.0)
        service = CircuitBreaker(probes=Probes(at_once=2))(inner)
        service.circuits("eu").open(clock.now(), "test", hard=True)
        await asyncio.sleep(5)
        await asyncio.gather(service(EU), service(EU))

    with capture_logs() as logs:
        run_virtual(main())
    assert ["half_opened", "closed"] == events(logs)


def test_what_insists_beside_is_not_told() -> None:
    """A soft opening lets it pass, which changes nothing; one by hand is hard."""

    async def main() -> None:
        service: Breaker = CircuitBreaker()(echo)
        service.circuits("eu").open(clock.now(), "test", hard=False)
        await service(dispatched("eu", insists=True))
        assert "open" == state(service)
        service.open("eu")
        with pytest.raises(CircuitOpen):
            await service(dispatched("eu", insists=True))

    with capture_logs() as logs:
        run_virtual(main())
    assert ["opened"] == events(logs)


def state(service: Breaker) -> str:
    return service.statistics()["eu"].state


def test_a_transition_is_logged_once() -> None:
    """The events with their keys; refusals are not among them, and Retry-After is a floor."""
    script = [Overloaded(retry_after=40), ServerError(), "ok", "ok"]
    inner: ScriptedService[Request, Any] = ScriptedService(script)

    async def main() -> list[str]:
        service = CircuitBreaker(ConsecutiveFailures(1), ramp=0, rng=Random(2))(inner)
        ends = []
        for wait in (0.0, 39.0, 1.0, 10.0, 0.0):
            await asyncio.sleep(wait)
            try:
                ends.append(await service(EU))
            except LLMStackError as error:
                ends.append(type(error).__name__)
        return ends

    with capture_logs() as logs:
        ends, _ = run_virtual(main())
    dice = Random(2)
    dice.random()
    half = {"event": "circuit_breaker.half_opened", "log_level": "info", "endpoint": "eu"}
    shut = {"event": "circuit_breaker.opened", "log_level": "warning", "endpoint": "eu"}
    done = {"event": "circuit_breaker.closed", "log_level": "info", "endpoint": "eu"}
    first, probe = "1 of the last 1 calls failed: Overloaded", "a probe failed: ServerError"
    wait = 10 * (0.5 + dice.random() / 2)
    assert ["Overloaded", "CircuitOpen", "ServerError", "ok", "ok"] == ends
    assert [
        {**shut, "reason": first, "wait": 40.0, "hard": False},
        {**half, "reason": first},
        {**shut, "reason": probe, "wait": round(wait, 3), "hard": False},
        {**half, "reason": probe},
        {**done, "reason": "probes succeeded"},
    ] == logs


#: What operators do, one after the other, and what it makes of the circuit and of the log.
BY_HAND: Final = {
    "through all states": (
        "open half_open close close reset",
        "open half_open closed closed closed",
        "opened half_opened closed",
    ),
    "reset what is open": ("open reset", "open closed", "opened closed"),
    "disable what is closed": ("disable", "disabled", "disabled"),
    "disable what is open": (
        "open disable enable",
        "open disabled closed",
        "opened disabled closed",
    ),
    "enable what is not disabled": ("enable open enable", "closed open open", "opened"),
    "open what is disabled": ("disable open", "disabled open", "disabled opened"),
    "half-open what is disabled": (
        "disable half_open",
        "disabled half_open",
        "disabled half_opened",
    ),
    "close what is disabled": ("disable close", "disabled closed", "disabled closed"),
    "reset what is disabled": ("disable reset", "disabled closed", "disabled closed"),
}
QUIET: Final = {"circuit_breaker.half_opened", "circuit_breaker.closed"}


@pytest.mark.parametrize(("acts", "states", "told"), BY_HAND.values(), ids=list(BY_HAND))
def test_by_hand(acts: str, states: str, told: str) -> None:
    """CB-3, CB-5, P-CB-1, W-LL-29: each change of state is logged, once, and nothing else is."""

    async def main() -> list[str]:
        service: Breaker = CircuitBreaker()(echo)
        seen = []
        for act in acts.split():
            getattr(service, act)("eu")
            seen.append(state(service))
        return seen

    with capture_logs() as logs:
        seen = asyncio.run(main())

    assert states.split() == seen
    assert told.split() == events(logs)
    assert [entry["event"] in QUIET for entry in logs] == [
        entry["log_level"] == "info" for entry in logs
    ]
    assert {("eu", "by hand")} >= {(entry["endpoint"], entry["reason"]) for entry in logs}


def test_a_disabled_circuit_lets_all_pass_and_learns_nothing() -> None:
    """Ten failures are ten failures; enabled again, it is as new, and late ends change nothing."""
    inner: ScriptedService[Request, Any] = ScriptedService([*[ServerError()] * 12, "ok"], delay=1.0)

    async def main() -> list[object]:
        service = CircuitBreaker(ConsecutiveFailures(2))(inner)
        service.open("eu")
        service.disable("eu")
        for _ in range(10):
            with pytest.raises(ServerError):
                await service(EU)
        then = service.statistics()["eu"]
        asyncio.get_running_loop().call_later(0.5, service.enable, "eu")
        late = await asyncio.gather(service(EU), service(EU), return_exceptions=True)
        return [then, service.statistics()["eu"], await service(EU), *late]

    then, now, *ends = run_virtual(main())[0]
    assert CircuitStatistics("disabled", 0, 0, 1, 1, 0, 0, reason="by hand") == then
    assert CircuitStatistics("closed", 0, 0, 1, 0, 0, 0) == now
    assert ["ok", ServerError, ServerError] == [ends[0], *map(type, ends[1:])]


def test_a_disabled_circuit_is_not_forgotten() -> None:
    """An operator's word outlives the eviction of idle circuits."""
    service: Breaker = CircuitBreaker()(echo)
    service.disable("eu")

    assert not service.circuits("eu").idle


def test_idle_circuits_make_room() -> None:
    """The map of circuits is bounded, and forgets none that matters."""

    async def main() -> list[object]:
        service: Breaker = CircuitBreaker(key=str)(echo)
        service.circuits.cap = 2
        service.open("shut")
        for name in ("a", "b", "c"):
            await service(name)
        return list(service.statistics())

    assert ["shut", "c"] == asyncio.run(main())


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([ConcurrencyLimit(1), CircuitBreaker()], "what the breaker refuses should hold no permit"),
        ([Timeout(total=1), CircuitBreaker()], "what takes too long must count as a failure"),
        ([CircuitBreaker(), Retry()], "a breaker must see each attempt, not only the last"),
    ],
    ids=["concurrency_limit", "timeout", "retry"],
)
def test_the_order_is_checked(layers: list[Any], reason: str) -> None:
    """The other way round is an error that says why."""
    with pytest.raises(ConfigError, match=reason):
        ServiceBuilder(tuple(layers)).service(echo)
    ServiceBuilder(tuple(reversed(layers))).service(echo)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: CircuitBreaker(base=0), "base"),
        (lambda: CircuitBreaker(cap=0), "cap"),
        (lambda: CircuitBreaker(ramp=-1), "ramp"),
    ],
    ids=["base", "cap", "ramp"],
)
def test_bad_settings_name_the_field(make: Callable[[], CircuitBreaker], name: str) -> None:
    """Each at the place where it is written."""
    with pytest.raises(ValueError, match=name):
        make()


def test_a_policy_makes_detectors() -> None:
    """Anything else is a mistake, told where it is made."""
    with pytest.raises(ConfigError, match=r"policy must be one such as Cusum\(\), not 5"):
        CircuitBreaker(5)  # type: ignore[arg-type]


def test_settings_reach_the_circuit() -> None:
    """Base, cap and probes are those that were given, and the dice too."""

    async def main() -> list[Any]:
        rng, probes = Random(5), Probes(at_once=2)
        layer = CircuitBreaker(base=4, cap=6, probes=probes, rng=rng)
        service: Breaker = layer(echo)
        waits = []
        for _ in range(3):
            service.open("eu")
            waits.append(service.statistics()["eu"].ready_at)
        return waits

    draws = Random(5)
    expected = [nominal * (0.5 + draws.random() / 2) for nominal in (4, 6, 6)]
    assert pytest.approx(expected) == run_virtual(main())[0]
