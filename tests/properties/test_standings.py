"""What a gate says of itself is what it does, whatever has happened to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from copy import deepcopy
from random import Random
from typing import Any, Final, Protocol, cast

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from llmstack.call import Attempt
from llmstack.endpoint import Endpoint
from llmstack.errors import (
    AuthFailed,
    LLMStackError,
    NotReady,
    Overloaded,
    RateLimited,
    ServerError,
)
from llmstack.estimators.trip import ConsecutiveFailures
from llmstack.layers.circuit_breaker import CircuitBreaker
from llmstack.layers.concurrency_limit import ConcurrencyLimit
from llmstack.layers.cooldown import Cooldown
from llmstack.messages import Request
from llmstack.service import Layer
from llmstack.standing import Standing, Stands, standing_of
from llmstack.testing.scripted import echo
from llmstack.testing.virtual import run_virtual


class Stood(Stands, Protocol):
    """A gate that says what it would do, and has statistics."""

    settings: object

    async def __call__(self, request: object, /) -> object: ...

    def statistics(self) -> object: ...


EU: Final = Endpoint("eu", echo, key="one", account="acme")
ENDS: Final[Mapping[str, Callable[[], LLMStackError | None]]] = {
    "ok": lambda: None,
    "fails": ServerError,
    "busy": Overloaded,
    "limited": lambda: RateLimited(retry_after=7.0),
    "auth": AuthFailed,
}
GATES: Final[Mapping[str, Callable[[int], Layer]]] = {
    "breaker": lambda seed: CircuitBreaker(ConsecutiveFailures(2), rng=Random(seed)),
    "cooldown": lambda seed: Cooldown(rng=Random(seed)),
    "limit": lambda _: ConcurrencyLimit(2),
}


@define(eq=False)
class Held:
    """Answers a call when it is told how."""

    calls: list[asyncio.Future[str]] = field(factory=list)

    async def __call__(self, _request: object, /) -> str:
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.calls.append(told)
        return await told

    def end(self, n: int, how: str) -> None:
        """Let one of the calls end."""
        if self.calls:
            told, error = self.calls.pop(n % len(self.calls)), ENDS[how]()
            if error is None:
                told.set_result("ok")
            else:
                told.set_exception(error)


def plain(*, insists: bool = False) -> Request:
    return Request("m").to(EU, Attempt("eu", 0.0), insists=insists)


async def called(service: Stood, *, insists: bool) -> object:
    return await service(plain(insists=insists))


async def refusal_of(service: Stood, inner: Held, *, insists: bool) -> NotReady | None:
    """How a request is refused, that is cancelled if it is not."""
    task = asyncio.get_running_loop().create_task(called(service, insists=insists))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    inner.calls[:] = [call for call in inner.calls if not call.cancelled()]
    error = None if task.cancelled() else task.exception()
    assert error is None or isinstance(error, NotReady)
    return error


async def check(service: Stood, inner: Held) -> Standing:
    """Compare what is said with what a copy of the gate does; the copy shares nothing."""
    before = repr(service.statistics())
    said = standing_of(service, plain())
    assert before == repr(service.statistics())
    refusals = []
    for insists in (False, True):
        copied = deepcopy(service, {id(inner): inner, id(service.settings): service.settings})
        refusals.append(await refusal_of(copied, inner, insists=insists))
    refused, insisting = refusals
    match said.state:
        case "up":
            assert refused is None
        case "degraded":
            assert refused is None or refused.soft
            assert insisting is None or refused is None
        case _:
            assert refused is not None
            assert (refused.soft, refused.ready_at) == (said.soft, said.ready_at)
            hidden = said.reason.replace("key one", "its key")
            assert str(refused) == hidden.replace("account acme", "its account")
            assert (insisting is None) == said.soft
    return said


steps: Final = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.booleans()),
        st.tuples(st.just("end"), st.integers(0, 3), st.sampled_from(sorted(ENDS))),
        st.tuples(st.just("wait"), st.sampled_from([0.3, 1.0, 4.0, 6.0, 40.0, 700.0])),
    ),
    max_size=30,
)


@pytest.mark.parametrize("gate", GATES)
@given(steps=steps, seed=st.integers(0, 9))
def test_a_gate_does_what_it_says(gate: str, steps: list[tuple[Any, ...]], seed: int) -> None:
    """Up takes it, down refuses it so and so softly, until then, for that reason; to ask is a read.

    And what is degraded takes it or refuses it softly.
    """

    async def main() -> None:
        inner = Held()
        service = cast("Stood", GATES[gate](seed)(inner))
        tasks = []
        for step in steps:
            match step:
                case ("call", bool(insists)):
                    tasks.append(
                        asyncio.get_running_loop().create_task(called(service, insists=insists))
                    )
                case ("end", int(n), str(how)):
                    inner.end(n, how)
                case ("wait", float(seconds)):
                    await asyncio.sleep(seconds)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await check(service, inner)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run_virtual(main())
