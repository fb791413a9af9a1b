"""What stands below a hedge in its tests: calls that end as they are told, and a past."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

import llmstack as ls
from llmstack import clock
from llmstack.layers.hedge import Hedge, HedgeService, always
from llmstack.testing.scripted import ScriptedEvent, ScriptedSource


#: How one call ends, and after how many seconds.
Line = tuple[str, float]

#: So long is waited after `learn`: a second less two percent, which a sketch may be off by.
DELAY: Final = 0.98
ERRORS: Final = {
    "busy": ls.Overloaded,
    "failed": ls.ServerError,
    "full": ls.ConcurrencyFull,
    "wrong": ls.BadRequest,
    "bug": ZeroDivisionError,
}


class Plan:
    """Plays a line for each call, then answers after a second; remembers when it was asked."""

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self.lines = deque(lines)
        self.asked: list[float] = []
        self.out = 0
        self.sources: list[ScriptedSource] = []

    async def __call__(self, _request: object, /) -> object:
        act, seconds = self.lines.popleft() if self.lines else ("ok", 1.0)
        self.asked.append(clock.now())
        name = f"{act} {len(self.asked)}"
        self.out += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self.out -= 1
        if act in ERRORS:
            raise ERRORS[act](name)
        if act != "stream":
            return name
        self.sources.append(ScriptedSource([1.0, ScriptedEvent()]))
        return ls.EventStream(self.sources[-1], held=[ScriptedEvent()])


async def learn(service: Any, plan: Plan, *, calls: int = 40, slow: float = 10.0) -> None:  # noqa: ANN401
    """Make calls, one in forty of them slow, all at once; it takes *slow* seconds."""
    plan.lines.clear()
    plan.lines.extend([("ok", 1.0)] * (calls - calls // 40) + [("ok", slow)] * (calls // 40))
    async with asyncio.TaskGroup() as group:
        for _ in range(calls):
            group.create_task(service(ls.Request("m")))
    plan.asked.clear()


def over(plan: Plan, layer: Hedge | None = None) -> HedgeService[Any, Any]:
    """Return *layer*, by default one that hedges everything, on top of *plan*."""
    service = (layer or Hedge(hedgeable=always))(plan)
    assert isinstance(service, HedgeService)
    return service


async def after(
    lines: Sequence[Line], layer: Hedge | None = None, request: ls.Request | None = None
) -> tuple[str, float, list[float], dict[str, Any]]:
    """Make one call after having learnt: what came, after how long, and when was asked.

    Times are from when the call began; and the counts, without the delays.
    """
    plan = Plan()
    service = over(plan, layer)
    await learn(service, plan)
    plan.lines.extend(lines)
    begun = clock.now()
    try:
        said = str(await service(request or ls.Request("m")))
    except (ls.LLMStackError, ZeroDivisionError) as error:
        said = str(error)
    took = clock.now() - begun
    counts = {name: n for name, n in service.statistics().items() if name != "delay" and n}
    assert 0 == plan.out
    return said, round(took, 6), [round(at - begun, 6) for at in plan.asked], counts
