"""A log that takes no line: nobody who calls and no layer can tell it from one that does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Literal

import structlog
from attrs import define, field
from hypothesis import example, given, settings
from hypothesis import strategies as st

import llmstack as ls
from llmstack import clock
from llmstack.layers.hedge import always
from llmstack.testing.virtual import run_virtual


#: What a host does in one spell: answer, hang for a while, or fail so.
Spell = Literal["well", "slow", "down", "denied", "busy"]
SPELLS: Final[tuple[Spell, ...]] = ("well", "slow", "down", "denied", "busy")
#: Seconds of a spell, and between two calls.
LONG: Final = 40.0
BETWEEN: Final = 2.0
#: What each layer tells in the example that has it all.
TOLD: Final = {
    *("call.ended", "retry.scheduled", "hedge.sent", "hedge.won", "health.down", "health.up"),
    *("circuit_breaker.opened", "circuit_breaker.half_opened", "circuit_breaker.closed"),
    *("cooldown.began", "cooldown.ended", "cooldown.alert"),
}


@define(eq=False)
class Host:
    """Has a spell after the other; then it is well. It counts who is there."""

    spells: Sequence[Spell]
    there: int = 0

    def now(self) -> Spell:
        n = int(clock.now() / LONG)
        return self.spells[n] if n < len(self.spells) else "well"

    async def __call__(self, _request: ls.Request, /) -> str:
        spell = self.now()
        self.there += 1
        try:
            await asyncio.sleep(30 if spell == "slow" else 0.5)
        finally:
            self.there -= 1
        if spell == "down":
            raise ls.ServerError
        if spell == "denied":
            raise ls.AuthFailed
        if spell == "busy":
            raise ls.RateLimited(retry_after=5.0)
        return "here"


@define(eq=False)
class Log:
    """A processor that notes what is told and then takes the line, or *fails*."""

    fails: bool
    told: list[tuple[str, str]] = field(factory=list)

    def __call__(self, _logger: object, method: str, event: Any) -> Any:  # noqa: ANN401
        self.told.append((method, str(event)))
        if self.fails:
            raise BrokenPipeError(32, "Broken pipe")
        raise structlog.DropEvent


def played(spells: tuple[Sequence[Spell], Sequence[Spell]], log: Log) -> tuple[Any, ...]:
    """What callers and operators see of calls through a whole stack, while *log* is there."""
    hosts = [Host(each) for each in spells]
    there = [ls.Endpoint(name, host) for name, host in zip(("eu", "us"), hosts, strict=True)]

    async def ping(endpoint: ls.Endpoint) -> None:
        if hosts[endpoint.name == "us"].now() == "down":
            raise ls.ConnectionFailed

    stack: ls.Stack[ls.Request, Any] = (
        ls.ServiceBuilder(seed=7)
        .layer(ls.Log())
        .layer(ls.Deadline(60))
        .layer(ls.Retry(attempts=4))
        .layer(ls.Hedge(hedgeable=always, share=0.5, samples=3, spread=1.0))
        .layer(ls.RoundRobin(there))
        .layer(ls.Health(there, ping, interval=3.0, down=2))
        .layer(ls.CircuitBreaker(ls.ConsecutiveFailures(2), base=4.0, cap=8.0))
        .layer(ls.Cooldown())
        .layer(ls.ConcurrencyLimit(8))
        .service(ls.dispatch)
    )

    async def call(n: int) -> str:
        await asyncio.sleep(n * BETWEEN)
        try:
            return f"{await stack(ls.Request('m'))} {clock.now()}"
        except ls.LLMStackError as error:
            return f"{type(error).__name__} {error} {clock.now()}"

    async def main() -> tuple[Any, ...]:
        async with stack:
            calls = int(LONG * (1 + max(map(len, spells))) / BETWEEN)
            answers = await asyncio.gather(*map(call, range(calls)))
            await asyncio.sleep(3600)
            answers += [await call(0) for _ in range(4)]
            seen = stack.statistics()
        own = seen.pop("log")
        held = [each.in_flight for each in seen["concurrency_limit"].values()]
        return answers, repr(seen), held, [host.there for host in hosts], own

    old = structlog.get_config()["processors"]
    structlog.configure(processors=[log])
    try:
        return run_virtual(main())[0]
    finally:
        structlog.configure(processors=old)


ALL: Final[tuple[list[Spell], list[Spell]]] = (
    ["well", "slow", "down", "well", "busy", "well", "denied"],
    ["well", "well", "well", "well", "busy", "well"],
)
several = st.lists(st.sampled_from(SPELLS), max_size=4)


@settings(max_examples=8)
@given(st.tuples(several, several))
@example(ALL)
@example((["down", "well"], ["down", "well"]))
def test_lines_that_are_lost_change_nothing(
    spells: tuple[Sequence[Spell], Sequence[Spell]],
) -> None:
    """Same answers at the same times, same state; no permit is kept and no probe left out."""
    good, bad = Log(fails=False), Log(fails=True)
    *expected, written = played(spells, good)
    *actual, lost = played(spells, bad)

    assert expected == actual
    assert good.told == bad.told
    answers, _, held, there, _ = (*actual, lost)
    assert {0} == {*held, *there}
    assert ({"lost": 0}, {"lost": len(answers)}) == (written, lost)


def test_every_layer_has_told_something() -> None:
    """Or the property above would say little of it."""
    log = Log(fails=True)
    played(ALL, log)
    told = {name for name in TOLD if any(f"'{name}'" in line for _, line in log.told)}

    assert set() == TOLD - told
