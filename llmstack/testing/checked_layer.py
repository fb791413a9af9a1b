"""What every layer for requests of any type promises, as properties over drawn traffic.

`check_layer` puts an inner service that answers, streams and fails as drawn below the
layer, callers that wait, leave, close and drop above it, and looks at what is left when all
is over. Time is virtual.

Errors: `AssertionError` that says which promise was not kept, with the smallest traffic
that breaks it.
"""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, final

from attrs import define, field, frozen

from llmstack.builder import ServiceBuilder, Stack
from llmstack.call import Outcome
from llmstack.errors import BadRequest, LLMStackError, Overloaded, StreamBroken
from llmstack.service import Layer, observe
from llmstack.stream import EventStream
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from llmstack.testing.drawn import for_all, hold, st
from llmstack.testing.scripted import (
    ScriptedEvent,
    ScriptedService,
    ScriptedSource,
    dispatched,
    stream_of,
)
from llmstack.testing.stage import check_alone, still_out
from llmstack.testing.virtual import run_virtual


__all__ = ["Caller", "Inner", "Line", "check_layer"]

Makes = Callable[[], Layer]
Asks = Callable[[], object]

#: Seconds after which a layer has got over whatever it has seen.
LONG: Final = 1e6


def _request() -> object:
    return dispatched("eu")


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


def _queue(lines: Iterable[Line]) -> deque[Line]:
    return deque(lines)


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
        more: list[Any] = (
            [StreamBroken("as drawn")] if line.act == "cut" else [1.0, ScriptedEvent()]
        )
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
        with suppress(TimeoutError):
            async with asyncio.timeout(caller.patience):
                call = observe(stack, scene.request(), ends.append)
                await _outcome(call, caller.treats)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for caller in callers:
                group.create_task(one(caller))
        await asyncio.sleep(LONG)
        _check_quiet(stack, inner)
        hold(len(ends) == len(callers), f"{len(callers)} calls had {len(ends)} ends")
        inner.lines.clear()
        said = await _outcome(stack(scene.request()))
        hold(said == "ok", f"long after all this a call is served as before, and not {said}")
        await check_alone()

    run_virtual(main())


def _check_quiet(stack: Stack[Any, Any], inner: Inner) -> None:
    """Nothing is out, and every stream is closed."""
    gc.collect()  # a stream in a cycle ends when it is collected
    closed = [source.closed for source in inner.sources]
    hold(set(closed) <= {1}, f"each stream is closed once, and these were {closed} times")
    for role, statistics in stack.statistics().items():
        out = still_out(statistics)
        hold(out == 0, f"nothing is in flight, so {role} must not say {out}")


def _keeps_apart(scene: _Scene, lines: list[Line]) -> None:
    """A second use of one layer is as new, whatever the first one is in the middle of."""
    layer = scene.make()
    first = scene.over(layer, Inner([Line("ok", LONG), *[Line("busy", 0.0)] * 20]))

    async def five(stack: Stack[Any, Any]) -> list[object]:
        return [await _outcome(stack(scene.request())) for _ in range(5)]

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            held = group.create_task(_outcome(first(scene.request())))
            await asyncio.sleep(0)
            for _ in range(4):
                await five(first)
            second = await five(scene.over(layer, Inner(lines)))
            new = await five(scene.over(scene.make(), Inner(lines)))
            held.cancel()
        hold(second == new, f"a second use of a layer gives {second}, a new layer {new}")

    run_virtual(main())


def _passes_on(scene: _Scene) -> None:
    """Bugs and replies go through untouched, once, and leave no trace."""

    async def main() -> None:
        bugs = [ZeroDivisionError(f"bug {n}") for n in range(50)]
        inner = ScriptedService[Any, Any](bugs)
        stack = ServiceBuilder(seed=1).layer(scene.make()).service(inner)
        for n, bug in enumerate(bugs, 1):
            said = await _raised(stack(scene.request()))
            hold(said is bug, f"a bug passes as it is, and not as {said!r}")
            hold(len(inner.calls) == n, "a bug is not tried again")
        for reply in (object(), stream_of([])):
            inner.script.append(reply)
            said = await stack(scene.request())
            hold(said is reply, f"after {len(bugs)} bugs a reply passes as it is, and not {said!r}")

    run_virtual(main())


async def _raised(call: Coroutine[Any, Any, object]) -> object:
    """Return the error that *call* ends with, or its reply."""
    try:
        return await call
    except (LLMStackError, ZeroDivisionError) as error:
        return error


def _survives_cancels(scene: _Scene, lines: Sequence[Line]) -> None:
    """A cancel at any step of a call, once and twice, and then the next call."""
    ends: list[Outcome] = []
    built: list[tuple[Stack[Any, Any], Inner]] = []

    async def scenario() -> object:
        inner = Inner(lines)
        built[:] = [(scene.over(scene.make(), inner), inner)]
        ends.clear()
        return await _outcome(observe(built[0][0], scene.request(), ends.append))

    async def check(run: CancelledRun[object]) -> None:
        if run.cancels[:1] == (0,):
            return  # it never began
        stack, inner = built[0]
        hold(len(ends) == 1, f"a call ends once, not {len(ends)} times")
        hold(not run.left, f"no task is left behind: {run.left}")
        hold(not run.cancels or run.ended == "cancelled", "a cancellation is never swallowed")
        _check_quiet(stack, inner)
        inner.lines.clear()
        await asyncio.sleep(LONG)
        said = await _outcome(stack(scene.request()))
        hold(said == "ok", f"after a cancel a call is served as before, and not {said}")

    cancelled_everywhere(scenario, check)


def check_layer(make: Makes, *, request: Asks = _request, examples: int = 50) -> None:
    """Check that the layer of ``make()`` keeps what every layer for any request promises.

    *request* makes the requests, by default one as it is below a router. Each property is
    tried with so many *examples*. A healthy reply must come through as it is, so this is
    not for layers that change replies on purpose.
    """
    scene = _Scene(make, request)
    for_all(_scripts, partial(_ends_once, scene), examples)
    for_all(_lines, partial(_keeps_apart, scene), examples)
    _passes_on(scene)
    for lines in _FOR_CANCELS:
        _survives_cancels(scene, lines)
