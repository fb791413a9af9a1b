import asyncio
from math import inf

import pytest

from llmstack.call import Call
from llmstack.errors import DeadlineExceeded
from llmstack.layers.deadline import Deadline
from llmstack.messages import Request, Response
from llmstack.stream import EventStream
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from llmstack.testing.scripted import (
    ENDINGS,
    ScriptedEvent,
    ScriptedSource,
    dispatched,
    under_way,
)
from llmstack.testing.virtual import VirtualLoop, run_virtual
from tests.layers.timed import leaf, timers


@pytest.mark.parametrize("ending", ENDINGS)
def test_however_it_ends_no_timer_is_left(ending: str) -> None:
    """One timer as long as the call, and its stream, goes on; then the call is as it was."""

    async def main() -> tuple[int, float]:
        request = dispatched("eu")
        async with under_way(Deadline(30), request, ending):
            assert 1 == timers()
        return timers(), request.call.deadline

    assert ((0, inf), 0.0) == run_virtual(main())


def test_a_dropped_stream_is_not_kept() -> None:
    """The deadline holds no stream: it is closed when the last one lets go of it."""
    source = ScriptedSource([ScriptedEvent()])

    async def inner(_request: object, /) -> EventStream:
        return EventStream(source, held=[ScriptedEvent()])

    async def main() -> tuple[int, int]:
        await Deadline(30)(inner)("request")
        return source.closed, timers()

    assert ((1, 0), 0.0) == run_virtual(main())


@pytest.mark.parametrize(
    "error", [TimeoutError("a library's"), ZeroDivisionError("bug"), asyncio.CancelledError()]
)
def test_what_is_not_its_own_passes(error: BaseException) -> None:
    """A timeout of somebody else is not taken for the deadline."""

    async def inner(_request: object, /) -> None:
        raise error

    async def main() -> tuple[BaseException, int]:
        with pytest.raises(type(error)) as raised:
            await Deadline(5)(inner)("request")
        return raised.value, timers()

    assert ((error, 0), 0.0) == run_virtual(main())


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_a_cancel_at_any_step_is_never_lost(delay: int) -> None:
    """Not even in the tick of the deadline; afterwards no timer and no deadline is left."""
    calls: list[Call] = []

    async def scenario() -> int:
        calls.append(Call())
        request = Request(call=calls[-1])
        reply = await Deadline(2)(leaf(delay, [1, 1]))(request)
        return len([event async for event in reply])

    async def check(run: CancelledRun[int]) -> None:
        assert ((), inf, 0) == (run.left, calls[-1].deadline, timers())

    runs = cancelled_everywhere(scenario, check)

    assert ("raised", DeadlineExceeded, 2.0) == (
        runs[0].ended,
        type(runs[0].error),
        runs[0].elapsed,
    )
    assert {"cancelled"} == {run.ended for run in runs[1:]}


def test_a_healthy_call_costs_one_timer() -> None:
    """No task, no `asyncio.timeout`, and of timers just the one."""

    async def main() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        await Deadline(5)(leaf(0, None))("request")
        return len(asyncio.all_tasks()), len(loop._scheduled)

    assert ((1, 1), 0.0) == run_virtual(main())


def test_a_call_of_another_kind_is_left_alone() -> None:
    """What a request of another library calls *call* is none of ours; the alarm is enough."""

    class Other:
        call = "GET"

    request = Other()

    async def main() -> str:
        with pytest.raises(DeadlineExceeded):
            await Deadline(5)(leaf(9, None))(request)
        return request.call

    assert ("GET", 5.0) == run_virtual(main())


def test_a_complete_reply_passes_as_it_is() -> None:
    """The same object, with nothing registered on it."""
    reply = Response(b"{}")

    async def inner(_request: object, /) -> Response:
        return reply

    assert (reply, 0.0) == run_virtual(Deadline(5)(inner)("request"))
    assert reply.ended is None
