from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from llmstack.errors import (
    AuthFailed,
    BadRequest,
    CircuitOpen,
    Cool,
    LLMStackError,
    ModelNotFound,
    PermissionDenied,
    QuotaExhausted,
    RateLimited,
    ServerError,
    StreamBroken,
)
from llmstack.estimators.scope import Where
from llmstack.layers.cooldown import Cooldown
from llmstack.service import Service
from llmstack.stream import EventStream
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from llmstack.testing.scripted import (
    ENDINGS,
    ScriptedEvent,
    ScriptedService,
    stream_of,
    under_way,
)
from llmstack.testing.virtual import run_virtual
from tests.layers.cooling import ASIA, EU, US, Cooling, Scripted, events_of, outcome, to


MODEL = "look whether the provider has the model, and whether the key may use it"


def moved(error: LLMStackError, cools: Cool) -> LLMStackError:
    """An error that puts aside something else than others of its class."""
    error.cools = cools
    return error


async def aside(inner: Service[Any, Any], error: LLMStackError | None = None) -> Cooling:
    """A cooldown that has put something aside, by way of EU, with its time just over."""
    script: Scripted = ScriptedService([error or AuthFailed()])
    service = Cooldown()(script)
    await outcome(service, to(EU))
    service.inner = inner
    (seen,) = service.statistics().values()
    await asyncio.sleep(seen.until)
    return service


def probes(service: Cooling) -> int:
    return sum(each.out for each in service.statistics().values())


@pytest.mark.parametrize("error", [AuthFailed(), QuotaExhausted()], ids=repr)
def test_ten_attempts_are_one_alarm(error: LLMStackError) -> None:
    """Once for what has happened, not once for each who meets it; nor for a probe that fails."""
    inner: Scripted = ScriptedService([error] * 12, delay=1.0)
    service = Cooldown()(inner)

    async def main() -> None:
        await asyncio.gather(*(outcome(service, to(EU)) for _ in range(10)))
        for _ in range(2):
            await asyncio.sleep(4000)
            assert ["failed", "hard"] == [await outcome(service, to(US)) for _ in range(2)]

    name = "key env:KEY" if isinstance(error, AuthFailed) else "account acme"
    began, alert = ("warning", "began", name), ("error", "alert", name)
    assert [began, alert, began, began] == events_of(lambda: run_virtual(main()))
    assert 12 == len(inner.calls)


@pytest.mark.parametrize(
    ("error", "scope", "advice"),
    [
        (AuthFailed(), "key env:KEY", "look whether the key is valid, and put in another one"),
        (QuotaExhausted(), "account acme", "look at the balance and the caps of the account"),
        (PermissionDenied(), "key env:KEY for m", MODEL),
        (ModelNotFound(), "key env:KEY for m", MODEL),
        (
            moved(PermissionDenied(), Cool("endpoint", 600.0)),
            "endpoint eu",
            "look whether the provider still has the model, under this name",
        ),
    ],
    ids=repr,
)
def test_an_alarm_says_what_to_do(error: LLMStackError, scope: str, advice: str) -> None:
    """In words, and nothing that a provider has said: there might be a key in it."""
    with capture_logs() as logs:
        run_virtual(aside(ScriptedService([]), error))

    alert = {"event": "cooldown.alert", "log_level": "error"}
    assert alert | {"scope": scope, "reason": type(error).__name__, "advice": advice} == logs[1]
    wait = logs[0].pop("wait")
    assert {**alert, "event": "cooldown.began", "log_level": "warning"} | {
        "scope": scope,
        "reason": type(error).__name__,
    } == logs[0]
    assert wait == round(wait, 3)


def test_a_busy_provider_is_no_alarm() -> None:
    """It heals by waiting, so nothing is probed either."""
    inner: Scripted = ScriptedService(["ok"] * 5, delay=1.0)

    async def main() -> list[str]:
        service = await aside(inner, RateLimited(retry_after=9.0))
        return await asyncio.gather(*(outcome(service, to(EU)) for _ in range(5)))

    ends: list[str] = []
    logs = events_of(lambda: ends.extend(run_virtual(main())[0]))
    assert ["ok"] * 5 == ends
    assert [("warning", "began", "key env:KEY for m")] == logs


def test_of_fifty_that_come_when_the_time_is_over_one_is_the_probe() -> None:
    """The others are refused, with no time to come back at; insisting does not help them."""
    inner: Scripted = ScriptedService(["ok"], delay=1.0)

    async def main() -> None:
        service = await aside(inner)
        requests = [to(each, insists=n % 2 == 0) for n, each in enumerate([EU, US] * 25)]
        ends = await asyncio.gather(*(outcome(service, request) for request in requests))

        assert ["ok", *["hard"] * 49] == ends
        assert {} == service.statistics()

    assert [
        ("warning", "began", "key env:KEY"),
        ("error", "alert", "key env:KEY"),
        ("info", "ended", "key env:KEY"),
    ] == events_of(lambda: run_virtual(main()))
    assert 1 == len(inner.calls)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_probe_is_out_until_it_answers_or_ends(ending: str) -> None:
    """The first content of a stream is an answer, whatever comes then."""

    async def main() -> None:
        service = await aside(ScriptedService([]))

        def over(inner: Service[Any, Any]) -> Cooling:
            service.inner = inner
            return service

        async with under_way(over, to(US), ending):
            out, second = probes(service), await outcome(service, to(US))
        after = "aside" if ending in {"error", "cancel"} else "free"

        expected = (0, "ok") if ending in ENDINGS[3:] else (1, "hard")
        assert expected == (out, second)
        assert 0 == probes(service)
        assert after == ("aside" if service.statistics() else "free")
        assert "ok" == await outcome(service, to(US))

    run_virtual(main())


def test_a_probe_cancelled_anywhere_is_not_lost() -> None:
    """After any cancel, once or twice, the next request is the probe."""
    services: list[Cooling] = []

    async def slow(request: object, /) -> object:
        await asyncio.sleep(1)
        return request

    async def scenario() -> None:
        services.append(Cooldown()(ScriptedService([QuotaExhausted(retry_after=1.0)])))
        await outcome(services[0], to(EU))
        await asyncio.sleep(5)
        services[0].inner = slow
        await services[0](to(EU))

    async def check(run: CancelledRun[None]) -> None:
        while services:  # none, if the cancel came before the first step
            service = services.pop()
            service.inner = slow
            aside = service.statistics()
            assert 0 == probes(service)
            assert run.cancels or not aside
            await asyncio.sleep(5)
            assert "ok" == await outcome(service, to(EU))
            assert {} == service.statistics()

    assert {"returned", "cancelled"} == {run.ended for run in cancelled_everywhere(scenario, check)}


@pytest.mark.parametrize(
    "error", [ServerError(), BadRequest(), CircuitOpen(), ZeroDivisionError()], ids=repr
)
def test_a_probe_that_does_not_tell_gives_its_place_to_the_next(error: Exception) -> None:
    """The endpoint is broken, or the caller's mistake came first: who knows about the key."""
    inner: Scripted = ScriptedService([error, "ok"])

    async def main() -> None:
        service = await aside(inner)
        with pytest.raises(type(error)):
            await service(to(EU))

        assert 1 == len(service.statistics())
        assert ["ok", {}] == [await outcome(service, to(US)), service.statistics()]

    run_virtual(main())


def test_a_classifier_that_breaks_does_not_keep_the_probe() -> None:
    """It costs a lesson."""

    def broken(_error: Exception) -> LLMStackError | None:
        raise ZeroDivisionError

    inner: Scripted = ScriptedService([AuthFailed(), KeyError("k"), "ok"])
    service = Cooldown(classify=broken)(inner)

    async def main() -> str:
        await outcome(service, to(EU))
        await asyncio.sleep(700)
        with pytest.raises(ZeroDivisionError):
            await service(to(EU))
        return await outcome(service, to(EU))

    assert "ok" == run_virtual(main())[0]


def test_who_was_sent_before_the_probe_changes_nothing() -> None:
    """Neither an old failure nor an old success: the probe knows better."""
    lines = [(702.0, AuthFailed()), (703.0, None), (0.0, AuthFailed()), (10.0, None)]

    async def inner(_request: object, /) -> None:
        delay, error = lines.pop(0)
        await asyncio.sleep(delay)
        if error is not None:
            raise error

    async def main() -> list[object]:
        service = Cooldown()(inner)
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(outcome(service, to(EU))) for _ in range(3)]
            await asyncio.sleep(700)
            calls.append(group.create_task(outcome(service, to(EU))))
            await asyncio.sleep(5)
            seen: list[object] = [*(call.done() for call in calls), probes(service)]
            seen.append(await outcome(service, to(EU)))
        return [*seen, *(call.result() for call in calls), service.statistics()]

    expected = [True, True, True, False, 1, "hard", "failed", "ok", "failed", "ok", {}]
    assert expected == run_virtual(main())[0]


def test_a_stream_that_breaks_for_want_of_money_puts_the_account_aside() -> None:
    """After its content was handed up, and although it was the probe that ended the last time."""

    async def main() -> list[object]:
        inner: Scripted = ScriptedService([])
        service = await aside(inner, QuotaExhausted(retry_after=3.0))
        broken = StreamBroken("cut")
        broken.__cause__ = QuotaExhausted(retry_after=100.0)
        inner.script += [stream_of([5.0, ScriptedEvent(), broken])]
        stream = await service(to(EU))
        free = service.statistics() == {}
        with pytest.raises(StreamBroken):
            await read(stream)
        account = service.statistics()[Where("account", "acme")]
        return [free, await outcome(service, to(ASIA)), account.times, account.until > 105]

    assert [True, "hard", 1, True] == run_virtual(main())[0]


async def read(stream: EventStream) -> None:
    async for _ in stream:
        pass


def test_a_probe_of_two_things_may_free_one_of_them() -> None:
    """The key works again, the account has no money."""
    script: Scripted = ScriptedService([AuthFailed(retry_after=5.0), "ok"])
    service = Cooldown()(script)

    async def main() -> list[object]:
        await outcome(service, to(EU))
        service.put_aside("account", "acme", 20.0)
        await asyncio.sleep(10)
        early = await outcome(service, to(EU)), probes(service)
        await asyncio.sleep(10)
        script.script.appendleft(QuotaExhausted(retry_after=5.0))
        both = await outcome(service, to(EU)), [*service.statistics()]
        await asyncio.sleep(10)
        return [early, both, await outcome(service, to(EU)), service.statistics()]

    expected = [
        ("hard", 0),
        ("failed", [Where("key", "env:KEY"), Where("account", "acme")]),
        "ok",
        {},
    ]
    assert expected == run_virtual(main())[0]


def test_what_an_operator_clears_is_free_at_once() -> None:
    """And a probe that was out then has no say any more."""
    inner: Scripted = ScriptedService([AuthFailed(), "ok"], delay=1.0)

    async def main() -> list[object]:
        service = await aside(inner)
        async with asyncio.TaskGroup() as group:
            probe = group.create_task(outcome(service, to(EU)))
            await asyncio.sleep(0.5)
            service.clear("key", "env:KEY")
            free = group.create_task(outcome(service, to(US)))
        (key,) = service.statistics().values()
        return [probe.result(), free.result(), key.out, key.times]

    assert ["failed", "ok", 0, 1] == run_virtual(main())[0]
