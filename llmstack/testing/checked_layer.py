"""What every layer for requests of any type promises, as properties over drawn traffic.

`check_layer` puts an inner service that answers, streams and fails as drawn below the
layer, callers that wait, leave, close and drop above it, and looks at what is left when all
is over. Time is virtual.

Errors: `AssertionError` that says which promise was not kept, with the smallest traffic
that breaks it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, final

from attrs import define, field, frozen
from hypothesis import strategies as st

from llmstack.builder import ServiceBuilder, Stack
from llmstack.call import Outcome
from llmstack.errors import BadRequest, LLMStackError, Overloaded, StreamBroken
from llmstack.service import Layer, observe
from llmstack.stream import EventStream
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from llmstack.testing.drawn import for_all, hold
from llmstack.testing.scripted import ScriptedEvent, ScriptedSource, dispatched
from llmstack.testing.stage import still_out
from llmstack.testing.virtual import left_behind, run_virtual


__all__ = ["check_layer"]

Makes = Callable[[], Layer]
Asks = Callable[[], object]

#: Seconds after which a layer has got over whatever it has seen.
LONG: Final = 1e6


def _request() -> object:
    return dispatched("eu")


def check_layer(make: Makes, *, request: Asks = _request, examples: int = 50) -> None:
    """Check that the layer of ``make()`` keeps what every layer for any request promises.

    *request* makes the requests, by default one as it is below a router. Each property is
    tried with so many *examples*. A healthy reply must come through as it is, so this is
    not for layers that change replies on purpose.
    """
    scene = _Scene(make, request)
    for_all(_scripts, partial(_ends_once, scene), examples)
    for_all(_lines, partial(_keeps_apart, scene), examples)
    _passes_bugs(scene)
    for inner in _FOR_CANCELS:
        _survives_cancels(scene, inner)


@final
@frozen
class Line:
    """What the inner service does with one call: how it ends, after how many seconds."""

    act: str
    seconds: float


@final
@frozen
class Caller:
    """What a caller does: begins at some second, leaves after others, and treats streams."""

    at: float
    patience: float | None
    treats: str


_acts: Final = st.sampled_from(["ok", "stream", "cut", "busy", "fault"])
_seconds: Final = st.sampled_from([0.0, 0.5, 2.0, 40.0])
_lines: Final = st.lists(st.builds(Line, _acts, _seconds), min_size=1, max_size=8)
_callers: Final = st.lists(
    st.builds(
        Caller,
        st.sampled_from([0.0, 0.5, 1.0, 30.0]),
        st.sampled_from([None, None, 0.0, 0.5, 1.0]),
        st.sampled_from(["read", "close", "drop"]),
    ),
    min_size=1,
    max_size=8,
)
_scripts: Final = st.tuples(_lines, _callers)
#: What is below a layer while its calls are cancelled at every step.
_FOR_CANCELS: Final = ((Line("busy", 1.0), Line("ok", 1.0)), (Line("stream", 1.0),))


@final
@define(eq=False)
class Inner:
    """Below the layer: plays its lines, then answers "ok"; remembers what it has handed out."""

    lines: deque[Line] = field(converter=_queue)
    calls: int = field(default=0, init=False)
    sources: list[ScriptedSource] = field(factory=list, init=False)

    async def __call__(self, _request: object, /) -> object:
        """Play a line."""
        self.calls += 1
        line = self.lines.popleft() if self.lines else Line("ok", 0.0)
        await asyncio.sleep(line.seconds)
        if line.act == "busy":
            raise Overloaded("as drawn")
        if line.act == "fault":
            raise BadRequest("as drawn")
        if line.act == "ok":
            return "ok"
        more = [StreamBroken("as drawn")] if line.act == "cut" else [1.0, ScriptedEvent()]
        self.sources.append(ScriptedSource(more))
        return EventStream(self.sources[-1], held=[ScriptedEvent()])


@final
@frozen
class _Scene:
    """Makes what a property needs anew for each example."""

    make: Makes
    request: Asks

    def over(self, layer: Layer, inner: Inner) -> Stack[Any, Any]:
        return ServiceBuilder(seed=1).layer(layer).service(inner)


async def _used(reply: object, treats: str) -> object:
    """Do with a stream as its caller does; other replies are over."""
    if isinstance(reply, EventStream):
        if treats == "close":
            await reply.aclose()
        elif treats == "read":
            return [event async for event in reply]
        return treats
    return reply


async def _outcome(call: Coroutine[Any, Any, object], treats: str = "read") -> object:
    """Return what a caller gets: the reply, or the name of the error."""
    try:
        return await _used(await call, treats)
    except LLMStackError as error:
        return type(error).__name__


def _ends_once(scene: _Scene, script: tuple[list[Line], list[Caller]]) -> None:
    """Whatever happens, each call ends once, all is given back, and the layer gets over it."""
    lines, callers = script
    inner = Inner(lines)
    stack = scene.over(scene.make(), inner)
    ends: list[Outcome] = []

    async def one(caller: Caller) -> None:
        await asyncio.sleep(caller.at)
        call = observe(stack, scene.request(), ends.append)
        with suppress(TimeoutError):
            async with asyncio.timeout(caller.patience):
                await _outcome(call, caller.treats)

    async def main() -> list[str]:
        async with asyncio.TaskGroup() as group:
            for caller in callers:
                group.create_task(one(caller))
        await asyncio.sleep(LONG)
        gc.collect()  # a dropped stream ends when it is collected
        hold(len(ends) == len(callers), f"{len(callers)} calls have {len(callers)} ends, not {len(ends)}")
        return await left_behind()

    left, _ = run_virtual(main())
    hold(not left, f"no task is left behind: {left}")
    _check_quiet(scene, stack, inner)


def _check_quiet(scene: _Scene, stack: Stack[Any, Any], inner: Inner) -> None:
    """Nothing is out, every stream is closed, and the next call is served."""
    closed = [source.closed for source in inner.sources]
    hold(set(closed) <= {1}, f"each stream is closed once, and not {closed}")
    for role, statistics in stack.statistics().items():
        out = still_out(statistics)
        hold(out == 0, f"nothing is in flight, so {role} must not say {out}")
