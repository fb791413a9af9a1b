import asyncio
import gc

import pytest

from llmstack.errors import ServerError
from llmstack.layers.timeout import Timeout
from llmstack.stream import EventStream
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from llmstack.testing.scripted import (
    ENDINGS,
    ScriptedEvent,
    ScriptedSource,
    dispatched,
    stream_of,
    under_way,
)
from llmstack.testing.virtual import VirtualLoop, run_virtual
from tests.layers.timed import leaf, timers


@pytest.mark.parametrize("ending", ENDINGS)
def test_however_it_ends_no_timer_is_left(ending: str) -> None:
    """Three timers for a stream, one for a reply that is awaited, and then none."""

    async def main() -> int:
        async with under_way(Timeout(idle=30, total=60, rate=1), dispatched("eu"), ending):
            assert (1 if ending in {"reply", "error", "cancel"} else 3) == timers()
        return timers()

    assert (0, 0.0) == run_virtual(main())


@pytest.mark.parametrize("timeout", [Timeout(idle=5), Timeout(total=5), Timeout(rate=5)], ids=repr)
def test_a_dropped_stream_is_not_kept(timeout: Timeout) -> None:
    """The timers hold no stream: it is closed when the last one lets go of it."""
    source = ScriptedSource([ScriptedEvent()])

    async def inner(_request: object, /) -> EventStream:
        return EventStream(source, held=[ScriptedEvent()])

    async def main() -> tuple[int, int]:
        gc.disable()
        try:
            await timeout(inner)("request")
            return source.closed, timers()
        finally:
            gc.enable()

    assert ((1, 0), 0.0) == run_virtual(main())


def test_a_stream_that_is_kept_and_never_read_is_not_idle() -> None:
    """Nobody waits for it; and a stream that says nothing at its end is let go at the next look."""

    class Careless:
        waiting_since = None

        def on_end(self, _end: object) -> None:
            """Forget it."""

        on_event = on_end

    async def inner(_request: object, /) -> object:
        return Careless()

    async def main() -> list[int]:
        stream = await Timeout(idle=5, rate=100, within=5)(inner)("request")
        await asyncio.sleep(99)
        seen = [timers()]
        del stream
        await asyncio.sleep(5)
        return [*seen, timers()]

    assert ([2, 0], 104.0) == run_virtual(main())


def test_many_events_cost_few_timers() -> None:
    """One look in a period for each of two watches, not one timer an event."""
    made: list[float] = []

    async def main() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        events = [part for _ in range(1000) for part in (0.01, ScriptedEvent())]
        stream = stream_of(events)

        async def inner(_request: object, /) -> EventStream:
            return stream

        reply = await Timeout(idle=1, rate=1, within=1.5)(inner)("request")
        async for _ in reply:
            looks = {t.when() for t in loop._scheduled if "_look" in repr(t)}
            made.extend(looks - set(made))
        return len(made)

    looks, elapsed = run_virtual(main())

    assert pytest.approx(10) == elapsed
    assert 16 <= looks <= 18


@pytest.mark.parametrize(
    ("delay", "waits", "ended"),
    [(1, [1], "returned"), (2, [1], "raised"), (1, [2], "raised"), (1, [1] * 9, "raised")],
    ids=["in time", "first token", "idle", "total"],
)
def test_a_cancel_at_any_step_is_never_lost(delay: int, waits: list[int], ended: str) -> None:
    """Not in the tick of an expiry either; afterwards no timer is left."""

    async def scenario() -> int:
        reply = await Timeout(first_token=2, idle=2, total=9)(leaf(delay, waits))("request")
        return len([event async for event in reply])

    async def check(run: CancelledRun[int]) -> None:
        assert ((), 0) == (run.left, timers())

    alone, *others = cancelled_everywhere(scenario, check)

    assert ended == alone.ended
    assert {"cancelled"} == {run.ended for run in others}


@pytest.mark.parametrize("error", [TimeoutError("a library's"), ServerError(), ZeroDivisionError()])
def test_what_is_not_its_own_passes(error: Exception) -> None:
    """A timeout of somebody else is not taken for this one."""

    async def inner(_request: object, /) -> None:
        raise error

    async def main() -> tuple[Exception, int]:
        with pytest.raises(type(error)) as raised:
            await Timeout(first_token=5)(inner)("request")
        return raised.value, timers()

    assert ((error, 0), 0.0) == run_virtual(main())
