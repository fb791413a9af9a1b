"""Health: what probes find out, what traffic saves, and what becomes of calls meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from llmstack.endpoint import Endpoint, EndpointSet, Price
from llmstack.errors import (
    AuthFailed,
    BadRequest,
    ConfigError,
    ConnectionFailed,
    DeadlineExceeded,
    LLMStackError,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    ServerError,
    Unhealthy,
    UpstreamTimeout,
)
from llmstack.layers.health import Health
from llmstack.messages import Request
from llmstack.testing.check import check_layer
from llmstack.testing.scripted import ScriptedService, dispatched, echo
from llmstack.testing.virtual import run_virtual
from tests.layers.probed import EU, US, Doctor, Probed, ends, logged, probing, watched


TIMES = "\N{MULTIPLICATION SIGN}"


def test_there_is_no_probe_at_the_start() -> None:
    """G3: none before half an interval, then one an interval, give or take a tenth."""
    doctor = Doctor()

    async def main() -> None:
        async with probing(doctor, EU, US):
            await asyncio.sleep(14.9)
            assert [] == doctor.at
            await asyncio.sleep(300 - 14.9)

    run_virtual(main())
    for name in ("eu", "us"):
        first, *more = doctor.of(name)
        assert 15 <= first <= 30
        assert len(more) in {8, 9, 10}
        gaps = [b - a for a, b in pairwise([first, *more])]
        assert all(27 <= gap <= 33 for gap in gaps)
        assert 1 < max(gaps) - min(gaps)


def test_three_in_a_row_put_down_and_two_lift_up() -> None:
    """F-73: it is told once each, with the reason; other endpoints are not touched."""
    doctor = Doctor({"eu": ConnectionFailed("gone")})
    service = probing(doctor, EU, US)

    async def main() -> None:
        async with service:
            await asyncio.sleep(68)  # of three probes the last begins after 15 + 27 + 27 seconds
            assert service.standing(dispatched("eu")) is None
            await asyncio.sleep(28 + 1)
            assert ("soft", "ok") == (await ends(service), await ends(service, "us"))
            doctor.finds.clear()
            await asyncio.sleep(26)
            assert "soft" == await ends(service)
            await asyncio.sleep(40 + 1)
            assert ("ok", "ok") == (await ends(service), await ends(service, "us"))

    why = f"3 probes in a row failed: ConnectionFailed {TIMES}3"
    assert [
        ("warning", "health.down", "eu", why),
        ("info", "health.up", "eu", "2 probes in a row went well"),
    ] == logged(main)


def test_a_refusal_is_soft_and_says_why() -> None:
    """Who insists passes, and so does what no router has sent: nobody could come back."""
    service = probing(Doctor({"eu": ServerError(status=503)}), down=1)

    async def main() -> None:
        async with service:
            await asyncio.sleep(30)
            with pytest.raises(Unhealthy, match="a probe failed: ServerError 503") as refused:
                await service(dispatched("eu"))
            alone = Request(endpoint=EU)
            assert refused.value.soft
            assert alone is await service(alone)
            assert "ok" == await ends(service, insists=True)
            standing = service.standing(dispatched("eu"))
            assert standing is not None
            assert ("down", True) == (standing.state, standing.soft)
            assert 1 == service.statistics()["eu"].refused

    watched(main)


def test_who_is_not_known_passes() -> None:
    """Another endpoint, a request without one, and all before the start."""
    service = probing(Doctor({"eu": ServerError()}), down=1)

    async def main() -> None:
        assert ("ok", None, {}) == (
            *(await ends(service), service.standing(dispatched("eu"))),
            service.statistics(),
        )
        async with service:
            await asyncio.sleep(40)
            assert "ok" == await ends(service, "us")
            assert "aiohttp" == await service("aiohttp")
            assert service.standing("aiohttp") is None

    watched(main)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionFailed(), "ConnectionFailed"),
        (ServerError(status=500), "ServerError 500"),
        (Overloaded(status=529), "Overloaded 529"),
        (UpstreamTimeout(), "UpstreamTimeout"),
        (TimeoutError(), "TimeoutError"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (OSError("sk-secret"), "OSError"),
    ],
    ids=repr,
)
def test_what_blames_the_endpoint_is_bad(error: Exception, reason: str) -> None:
    """And so is what nobody knows; its text is not repeated."""
    service = probing(Doctor({"eu": error}), down=2)

    async def main() -> None:
        async with service:
            await asyncio.sleep(80)

            known = service.statistics()["eu"]
            assert ("down", reason) == (known.state, known.reason)
            assert known.bad == known.sent >= 2
            assert known.at is not None
            assert 80 - 33 <= known.at <= 80
            assert "secret" not in repr(known)
            assert error.__cause__ is None

    watched(main)


@pytest.mark.parametrize(
    "error",
    [
        AuthFailed(status=401),
        RateLimited(status=429),
        QuotaExhausted(),
        BadRequest(),
        DeadlineExceeded(),
        ConfigError(),
        asyncio.CancelledError(),
    ],
    ids=repr,
)
def test_what_blames_somebody_else_changes_nothing(error: BaseException) -> None:
    """The endpoint has answered: it is not lifted up by that either."""
    doctor = Doctor({"eu": ServerError()})
    service = probing(doctor, down=1)

    async def main() -> None:
        async with service:
            await asyncio.sleep(100)
            bad = service.statistics()["eu"].bad
            doctor.finds["eu"] = error
            await asyncio.sleep(200)

            known = service.statistics()["eu"]
            assert ("down", bad, 0) == (known.state, known.bad, known.good)
            assert known.sent > bad + 3
            assert known.reason.startswith((type(error).__name__, "cancelled"))

    watched(main)


def _says(fault: LLMStackError | None) -> Callable[[Exception], LLMStackError | None]:
    return lambda _error: fault


@pytest.mark.parametrize(
    ("classify", "expected"),
    [
        (_says(None), ("down", "OSError")),
        (_says(ServerError(status=502)), ("down", "ServerError 502")),
        (_says(AuthFailed(status=401)), ("up", "AuthFailed 401")),
        (lambda error: {}[error], ("down", "KeyError")),
    ],
    ids=["unknown", "bad", "neutral", "broken"],
)
def test_other_errors_are_judged_by_who_knows_them(
    classify: Callable[[Exception], Any], expected: tuple[str, str]
) -> None:
    """What the classifier says of an error counts; a broken one does not end the probes."""
    service = probing(Doctor({"eu": OSError()}), classify=classify)

    async def main() -> None:
        async with service:
            await asyncio.sleep(300)
            known = service.statistics()["eu"]
            assert expected == (known.state, known.reason)
            assert known.sent > 8

    watched(main)


def test_calls_that_are_answered_save_probes() -> None:
    """W-LL-34: they count as good ones; a call that fails, or is cancelled, does not."""
    doctor = Doctor()
    inner = ScriptedService[Any, Any](["ok"] * 30, delay=1.0)
    service = probing(doctor, inner=inner)

    async def calls(n: int) -> None:
        for _ in range(n):
            await ends(service)
            await asyncio.sleep(9.0)

    async def main() -> None:
        async with service:
            await calls(30)
            known = service.statistics()["eu"]
            assert ([], 0, "up") == (doctor.at, known.sent, known.state)
            assert known.saved == known.good >= 8
            inner.script.extend([ServerError()] * 12)
            await calls(6)
            for _ in range(6):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await service(dispatched("eu"))
                await asyncio.sleep(9.5)
            assert len(doctor.at) >= 3

    run_virtual(main())


def test_calls_that_insist_lift_an_endpoint_up() -> None:
    """Probes may be wrong: an answer is worth more than a page."""
    service = probing(Doctor({"eu": ServerError()}))

    async def main() -> list[str]:
        async with service:
            await asyncio.sleep(120)
            found = [await ends(service)]
            for _ in range(7):
                await asyncio.sleep(10)
                found.append(await ends(service, insists=True))
            return [*found, await ends(service)]

    assert ["soft", *["ok"] * 8] == watched(main)[0]


def test_a_probe_that_hangs_is_bad_and_in_nobodys_way() -> None:
    """It is ended after its timeout; two at most are under way, and all have their turn."""
    doctor = Doctor({"eu": asyncio.Event(), "us": asyncio.Event()})
    others = [Endpoint(name, echo) for name in "abc"]
    service = probing(doctor, EU, US, *others, timeout=5.0)

    async def main() -> None:
        async with service:
            await asyncio.sleep(300)

            known = service.statistics()
            assert ("down", "TimeoutError") == (known["us"].state, known["eu"].reason)
            assert all(known[name].good >= 7 for name in "abc")

    assert watched(main)[1] == pytest.approx(300)
    assert 2 == doctor.most


def test_what_a_probe_costs_is_added_up() -> None:
    """As far as it says so; of those that do not, nothing is known."""
    doctor = Doctor({"eu": 0.25, "us": "a reply"})
    service = probing(doctor, EU, US)

    async def main() -> None:
        async with service:
            await asyncio.sleep(75)
            assert 0.25 * len(doctor.of("eu")) == service.statistics()["eu"].cost
            assert service.statistics()["us"].cost is None

    run_virtual(main())
    assert len(doctor.of("eu")) >= 2


def test_endpoints_come_and_go_while_it_runs() -> None:
    """A new one is probed in time, one that is gone or disabled not at all, and is forgotten."""
    doctor = Doctor({"eu": ServerError()})
    endpoints = EndpointSet([EU])
    service: Probed = Health(endpoints, doctor, down=1)(echo)

    async def main() -> None:
        async with service:
            await asyncio.sleep(95)
            endpoints.add(US)
            endpoints.disable("eu")
            before = len(doctor.of("eu"))
            await asyncio.sleep(100)
            assert before == len(doctor.of("eu"))
            assert ["us"] == [*service.statistics()]
            assert 95 + 15 <= doctor.of("us")[0] <= 95 + 45
            endpoints.enable("eu")
            endpoints.remove("us")
            after = len(doctor.of("us"))
            assert "ok" == await ends(service)
            await asyncio.sleep(50)
            assert after == len(doctor.of("us"))
            assert before < len(doctor.of("eu")) <= before + 2
            assert "soft" == await ends(service)

    watched(main)


def test_a_healthy_call_reads_no_clock_and_makes_no_task() -> None:
    """So it can be made where no loop runs."""
    service = probing(Doctor())
    service.checkups.keep(["eu"], 0.0)
    request = dispatched("eu")
    with pytest.raises(StopIteration) as returned:
        service(request).send(None)

    assert request is returned.value.value
    assert service.checkups.pulses["eu"].answered


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"interval": 0}, "interval"),
        ({"timeout": 0}, "timeout"),
        ({"down": 0}, "down"),
        ({"up": 0}, "up"),
        ({"endpoints": []}, "endpoints: there must be at least one"),
        ({"probe": 3}, "probe"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], says: str) -> None:
    """Where they are written."""
    given: dict[str, Any] = {"endpoints": [EU], "probe": Doctor(), **settings}
    with pytest.raises((ValueError, TypeError), match=says):
        Health(**given)


def test_a_probe_may_say_beforehand_that_it_cannot() -> None:
    """When the layer is applied."""

    class Priced(Doctor):
        def check(self, endpoint: Endpoint, /) -> None:
            if endpoint.price is None:
                raise ConfigError(f"{endpoint.name} has no price")

    dear = Endpoint("dear", echo, price=Price(1, 2))
    Health([dear], Priced())(echo)
    with pytest.raises(ConfigError, match="us has no price"):
        Health([dear, US], Priced())(echo)


def test_it_keeps_the_promises_of_all_layers() -> None:
    """Whatever requests there are, with probes or without."""
    check_layer(lambda: Health([EU], Doctor()), examples=10)
