from __future__ import annotations

import asyncio
from math import inf, nan
from random import Random

import pytest

from llmstack import clock
from llmstack.builder import ServiceBuilder
from llmstack.errors import (
    AuthFailed,
    BadRequest,
    CircuitOpen,
    ConfigError,
    Cool,
    CoolingDown,
    DeadlineExceeded,
    LLMStackError,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    QuotaExhausted,
    RateLimited,
    ServerError,
    StreamBroken,
    UpstreamError,
)
from llmstack.estimators.scope import Where
from llmstack.layers.circuit_breaker import CircuitBreaker
from llmstack.layers.concurrency_limit import ConcurrencyLimit
from llmstack.layers.cooldown import Cooldown
from llmstack.layers.retry import Retry
from llmstack.layers.timeout import Timeout
from llmstack.messages import Request
from llmstack.routers.round_robin import RoundRobin
from llmstack.service import Layer
from llmstack.testing.scripted import ScriptedEvent, ScriptedService, echo, stream_of
from llmstack.testing.virtual import run_virtual
from tests.layers.cooling import ASIA, EU, US, Cooling, Scripted, failing, outcome, to


@pytest.mark.parametrize(
    ("named", "chance", "expected"),
    [
        (None, 0.0, 1.0),
        (None, 0.5, 1.05),
        (0.0, 0.0, 1.0),
        (-3.0, 0.0, 1.0),
        (nan, 0.0, 1.0),
        (0.25, 0.0, 0.25),
        (5.0, 0.5, 5.25),
        (10.0, 0.5, 10.5),
        (100.0, 0.5, 100.5),
        (86400.0, 0.0, 21600.0),
        (inf, 0.5, 21600.5),
    ],
)
def test_a_named_time_stands_and_chance_only_adds_to_it(
    named: float | None, chance: float, expected: float
) -> None:
    """Up to a tenth, and a second at most; it has a cap, and what is no time is none."""
    error = RateLimited(retry_after=named)

    assert expected == Cooldown().wait_after(error, chance=chance)
    assert min(0.5, expected) == Cooldown(cap=0.5).wait_after(error, chance=0.0)
    assert 0.0 == Cooldown().wait_after(ServerError(retry_after=named), chance=chance)


@pytest.mark.parametrize("cap", [0, -1.0])
def test_a_cap_is_longer_than_nothing(cap: float) -> None:
    """Said where it is written."""
    with pytest.raises(ValueError, match="cap"):
        Cooldown(cap=cap)


def test_its_place_is_between_breaker_and_limits() -> None:
    """Any other order is told, with the reason."""
    robin = RoundRobin([EU])
    right: list[Layer] = [
        Retry(),
        robin,
        CircuitBreaker(),
        Cooldown(),
        ConcurrencyLimit(3),
        Timeout(total=3),
    ]
    ServiceBuilder(tuple(right)).service(echo)
    for other in (n for n in range(len(right)) if n != 3):
        layers = [*right]
        layers[3], layers[other] = layers[other], layers[3]
        with pytest.raises(ConfigError, match=r"cooldown must be|must be \w+ cooldown"):
            ServiceBuilder(tuple(layers)).service(echo)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RateLimited(retry_after=9.0), "hard hard ok ok"),
        (RateLimited(), "soft soft ok ok"),
        (Overloaded(), "soft ok ok soft"),
        (Overloaded(retry_after=9.0), "hard ok ok hard"),
        (AuthFailed(), "hard hard ok hard"),
        (QuotaExhausted(), "hard hard hard hard"),
        (PermissionDenied(), "hard hard ok ok"),
        (ModelNotFound(), "hard hard ok ok"),
    ],
    ids=repr,
)
def test_just_what_the_error_names_is_put_aside(error: LLMStackError, expected: str) -> None:
    """F-72, U-7: here, under the same key or account, and here for another model."""
    service, _ = failing(error, *["ok"] * 4)

    async def main() -> list[str]:
        assert "failed" == await outcome(service, to(EU))
        return [await outcome(service, each) for each in (to(EU), to(US), to(ASIA), to(EU, "n"))]

    found, _ = run_virtual(main())
    assert expected.split() == found


def moved(error: LLMStackError, cools: Cool | None) -> LLMStackError:
    error.cools = cools
    return error


def caused(error: LLMStackError, cause: Exception | None) -> LLMStackError:
    error.__cause__ = cause
    return error


def cut(cause: Exception | None) -> LLMStackError:
    return caused(StreamBroken("cut"), cause)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (moved(RateLimited(), Cool("account", 60.0)), ("account", "acme", "")),
        (moved(ServerError(), Cool("endpoint", 60.0)), ("endpoint", "eu", "")),
        (cut(RateLimited(retry_after=60.0)), ("key_model", "env:KEY", "m")),
        (moved(RateLimited(), None), None),
        (moved(BadRequest(), Cool("endpoint", 60.0)), None),
        (moved(DeadlineExceeded(), Cool("endpoint", 60.0)), None),
        (moved(CircuitOpen(), Cool("endpoint", 60.0)), None),
        (ServerError(retry_after=60.0), None),
        (caused(ServerError(), RateLimited(retry_after=60.0)), None),
        (cut(ZeroDivisionError()), None),
        (cut(None), None),
    ],
    ids=[
        "moved",
        "given",
        "cause",
        "taken",
        "caller",
        "late",
        "refused",
        "none",
        "no cut",
        "bug",
        "bare",
    ],
)
def test_the_error_itself_says_what_and_nobody_else(
    error: LLMStackError, expected: tuple[object, ...] | None
) -> None:
    """Of a broken stream its cause; but a refusal, or what is the caller's fault, says nothing."""
    service, _ = failing(error)

    async def main() -> None:
        with pytest.raises(type(error)):
            await service(to(EU))
        aside = service.statistics()

        assert ([] if expected is None else [expected]) == list(aside)
        assert all(aside[where].until >= 60 for where in aside)

    run_virtual(main())


def test_what_ends_otherwise_changes_nothing() -> None:
    """Good replies, streams that are left, bugs and cancels."""
    service, inner = failing("ok")

    async def main() -> None:
        await service(to(EU))
        inner.script += [stream_of([ScriptedEvent()]), ZeroDivisionError("a bug"), "late"]
        (await service(to(EU))).close()
        with pytest.raises(ZeroDivisionError):
            await service(to(EU))
        inner.delay = 5.0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await service(to(EU))

        assert {} == service.statistics()

    run_virtual(main())


def test_a_refusal_says_what_why_and_until_when() -> None:
    """Nothing is sent; and then it is over by itself, to the moment."""
    service, inner = failing(RateLimited(retry_after=8.0), "ok")

    async def main() -> None:
        await outcome(service, to(EU))
        aside = service.statistics()[Where("key_model", "env:KEY", "m")]
        with pytest.raises(CoolingDown) as refused:
            await service(to(US))
        await asyncio.sleep(aside.until - 0.001)
        early = await outcome(service, to(US))
        await asyncio.sleep(0.001)

        left = f"{aside.until:.1f}"
        words = f"its key for m is put aside for {left} s more: RateLimited"
        assert (words, aside.until) == (refused.value.message, refused.value.ready_at)
        assert 8.0 < aside.until < 8.8
        assert ("hard", "ok") == (early, await outcome(service, to(US)))
        assert (2, {}) == (len(inner.calls), service.statistics())

    run_virtual(main())


def test_who_fails_learns_how_long_it_is_put_aside() -> None:
    """So that a retry is not early, not by a rounding, though another was told a longer time."""
    dice = Random(1)

    async def late(request: Request, /) -> None:
        first = request.tenant == "first"
        await asyncio.sleep(dice.uniform(0, 1) if first else dice.uniform(10, 30))
        raise RateLimited(retry_after=dice.uniform(90, 127) if first else 1.0)

    async def failed(service: Cooling, name: str, tenant: str) -> None:
        request = to(name)
        request.tenant = tenant
        with pytest.raises(RateLimited) as failed:
            await service(request)
        until = service.statistics()[Where("endpoint", name, "m")].until
        assert failed.value.retry_after is not None
        assert until <= clock.now() + failed.value.retry_after < until + 1e-9

    async def main() -> None:
        service = Cooldown(rng=dice)(late)
        names = [f"e{n}" for n in range(100)]
        await asyncio.gather(
            *(failed(service, n, "first") for n in names),
            *(failed(service, n, "second") for n in names),
        )

    run_virtual(main())


@pytest.mark.parametrize("named", [None, 3.0])
@pytest.mark.parametrize("kind", [AuthFailed, QuotaExhausted, RateLimited])
def test_other_times_are_told_as_they_were(kind: type[UpstreamError], named: float | None) -> None:
    """Of what nobody timed a retry goes by its own measure; of a bad key there is none."""
    error = kind(retry_after=named)
    service, _ = failing(error)
    run_virtual(outcome(service, to(EU)))

    told = error.retry_after
    assert named == told or (kind is RateLimited and told is not None and 3.0 <= told < 3.4)


def test_a_longer_time_stays() -> None:
    """U-8: the end is the later of the two, whichever comes first; success changes nothing.

    BerriAI/litellm#40130: to be put aside once more kept the shorter of the two times.
    """

    async def ends(*named: float) -> float:
        service, inner = failing(*[RateLimited(retry_after=each) for each in named], "ok")
        inner.delay = 1.0
        async with asyncio.TaskGroup() as group:
            for _ in range(len(named) + 1):
                group.create_task(outcome(service, to(EU)))
        (aside,) = service.statistics().values()
        return aside.until - clock.now()

    for named in ((50.0, 5.0), (5.0, 50.0)):
        assert 50.0 <= run_virtual(ends(*named))[0] < 51.0


def test_a_soft_refusal_waits_for_somebody_who_insists() -> None:
    """And who does so with success ends it; one that was sent before it began does not."""
    service, inner = failing(Overloaded(), "ok", "ok", Overloaded(), Overloaded(), "ok")

    async def main() -> list[str]:
        ends = [await outcome(service, to(EU)), await outcome(service, to(EU))]
        ends.append(await outcome(service, to(EU, insists=True)))
        ends.append(await outcome(service, to(EU)))
        inner.delay = 0.5
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(outcome(service, to(EU))) for _ in range(3)]
        return [*ends, *(call.result() for call in calls), await outcome(service, to(EU))]

    expected = ["failed", "soft", "ok", "ok", "failed", "failed", "ok", "soft"]
    assert expected == run_virtual(main())[0]


def test_without_a_router_nobody_could_insist() -> None:
    """So only what is hard is refused, and all requests are to one place, or to that of a key."""

    async def main(service: Cooling, *requests: object) -> list[str]:
        return [await outcome(service, request) for request in requests]

    service, _ = failing(Overloaded(), Overloaded(retry_after=5.0), "ok")
    assert ["failed", "failed", "hard"] == run_virtual(main(service, 1, 2, 3))[0]
    inner: Scripted = ScriptedService([Overloaded(retry_after=5.0), "ok"])
    keyed = Cooldown(key=str)(inner)
    assert ["failed", "hard", "ok"] == run_virtual(main(keyed, 1, 1, 2))[0]


def test_other_errors_are_judged_by_who_knows_them() -> None:
    """What the classifier calls a rate limit is one."""

    def busy(error: Exception) -> LLMStackError | None:
        return RateLimited(retry_after=5.0) if isinstance(error, OSError) else None

    inner: Scripted = ScriptedService([KeyError(), OSError(), "ok"])
    service = Cooldown(classify=busy)(inner)

    async def main() -> None:
        for kind in (KeyError, OSError, CoolingDown):
            with pytest.raises(kind):
                await service(to(EU))

    run_virtual(main())


def test_what_befell_a_member_of_a_group_is_the_groups_own_business() -> None:
    """It has other members, and a cooldown of its own."""
    service, _ = failing(RateLimited(retry_after=5.0), "ok")
    request = to("group")
    assert request.attempt is not None
    request.attempt.group = True

    async def main() -> list[str]:
        return [await outcome(service, request), await outcome(service, to("group"))]

    assert ["failed", "ok"] == run_virtual(main())[0]
