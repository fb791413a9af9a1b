from __future__ import annotations

from math import inf

from llmstack.builder import ServiceBuilder
from llmstack.errors import (
    AuthFailed,
    ModelNotFound,
    Overloaded,
    RateLimited,
)
from llmstack.estimators.cooling import Aside, CoolingBoard
from llmstack.estimators.scope import Where
from llmstack.layers.cooldown import Cooldown
from llmstack.testing.check import check_layer
from llmstack.testing.scripted import ScriptedService
from llmstack.testing.virtual import run_virtual
from tests.layers.cooling import ASIA, EU, US, Scripted, events_of, failing, outcome, to


def test_a_board_is_shared_by_whom_it_is_given_to() -> None:
    """And by nobody else: two uses of one layer know nothing of each other."""

    async def second(one: Cooldown, other: Cooldown) -> str:
        await outcome(one(ScriptedService([AuthFailed()])), to(EU))
        return await outcome(other(ScriptedService(["ok"])), to(US))

    board, plain = CoolingBoard(), Cooldown()
    assert "hard" == run_virtual(second(Cooldown(board=board), Cooldown(board=board)))[0]
    assert "ok" == run_virtual(second(plain, plain))[0]
    assert "ok" == run_virtual(second(Cooldown(board=board), plain))[0]


def test_an_operator_may_put_aside_and_clear() -> None:
    """One scope, or all; what is not there cannot be cleared, and a longer time stays."""
    service, _ = failing(*["ok"] * 9)
    ends: list[str] = []

    async def main() -> None:
        service.put_aside("account", "acme", 60.0)
        service.put_aside("account", "acme", 30.0)
        service.put_aside("key_model", "env:KEY", 60.0, "m")
        service.put_aside("key", "env:OTHER", inf)
        longest = max(aside.until for aside in service.statistics().values())
        assert 21600.0 == longest
        ends.append(await outcome(service, to(EU)))
        service.clear("key_model", "env:KEY", "other")
        service.clear("account", "acme")
        ends.append(await outcome(service, to(EU)))
        service.clear("key_model", "env:KEY", "m")
        ends.extend([await outcome(service, to(EU)), await outcome(service, to(ASIA))])
        service.clear()
        ends.append(await outcome(service, to(ASIA)))
        assert {} == service.statistics()

    logs = events_of(lambda: run_virtual(main()))
    assert ["hard", "hard", "ok", "hard", "ok"] == ends
    names = ["account acme", "key env:KEY for m", "key env:OTHER"]
    began = [("warning", "began", name) for name in names]
    assert [*began, *(("info", "ended", name) for name in names)] == logs


def test_the_statistics_say_what_why_until_when_and_how_many() -> None:
    """Of two facts about one scope the worse."""
    service, _ = failing(Overloaded(), Overloaded(retry_after=50.0), ModelNotFound())

    async def main() -> None:
        await outcome(service, to("eu"))
        soft = service.statistics()[Where("endpoint", "eu")]
        refused = [await outcome(service, to("eu")) for _ in range(3)]
        await outcome(service, to("eu", insists=True))
        hard = service.statistics()[Where("endpoint", "eu")]
        service.clear()
        await outcome(service, to("eu"))
        probing = service.statistics()[Where("endpoint", "eu", "m")]

        assert ["soft"] * 3 == refused
        assert ("Overloaded", True, False, 0, 1, 0) == facts_of(soft)
        assert ("Overloaded", False, False, 0, 2, 3) == facts_of(hard)
        assert ("ModelNotFound", False, True, 0, 1, 0) == facts_of(probing)
        assert 2 <= soft.until < 2.2
        assert 50 <= hard.until < 51
        assert 3 == service.board.refused

    run_virtual(main())


def facts_of(aside: Aside) -> tuple[object, ...]:
    return aside.reason, aside.soft, aside.probing, aside.out, aside.times, aside.refused


def test_the_same_seed_gives_the_same_times() -> None:
    """And another one another."""

    async def until(seed: int) -> float:
        inner: Scripted = ScriptedService([RateLimited(retry_after=100.0)])
        stack = ServiceBuilder(seed=seed).layer(Cooldown()).service(inner)
        await outcome(stack, to(EU))
        (aside,) = stack.statistics()["cooldown"].values()
        return float(aside.until)

    first, again, other = (run_virtual(until(seed))[0] for seed in (1, 1, 2))
    assert first == again != other


def test_it_keeps_the_promises_of_all_layers() -> None:
    """Whatever is below and above it."""
    check_layer(Cooldown, examples=10)
