import asyncio
import gc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack import clock
from llmstack.alarm import abort_at
from llmstack.call import End
from llmstack.errors import DeadlineExceeded, LLMStackError
from llmstack.messages import Response
from llmstack.stream import EventStream
from llmstack.testing.scripted import ScriptedEvent, ScriptedSource, stream_of
from llmstack.testing.virtual import run_virtual
from tests.layers.timed import timers


async def read(stream: EventStream) -> tuple[int, str, float]:
    """How many events came, how it ended for the reader, and when."""
    n = 0
    try:
        async for _ in stream:
            n += 1
    except LLMStackError as error:
        return n, str(error), clock.now()
    return n, "read", clock.now()


@given(waits=st.lists(st.integers(0, 3), max_size=5), when=st.integers(1, 9))
@example(waits=[2, 2], when=4)
@example(waits=[2, 2], when=5)
@example(waits=[], when=1)
def test_a_stream_is_aborted_at_its_time(waits: list[int], when: int) -> None:
    """What came before is read; an event in the tick of the abort comes too late."""

    async def main() -> tuple[int, str, float]:
        stream = stream_of([part for wait in waits for part in (wait, ScriptedEvent())])
        abort_at(when, stream, lambda: DeadlineExceeded("over"))
        got = await read(stream)
        assert 0 == timers()
        return got

    ends = [sum(waits[:n]) for n in range(len(waits) + 1)]
    there = [end for end in ends if end < when]
    late = len(there) < len(ends)
    expected = (len(there), "over", when) if late else (len(ends), "read", ends[-1])
    assert expected == run_virtual(main())[0]


def test_a_dropped_stream_is_finalised_at_once() -> None:
    """The alarm does not keep the stream alive, and its end takes the timer back."""

    async def main() -> None:
        source = ScriptedSource([ScriptedEvent()])
        stream = EventStream(source, held=[ScriptedEvent()])
        abort_at(9, stream, DeadlineExceeded)
        assert (0, 1) == (source.closed, timers())
        gc.disable()
        try:
            del stream
            assert (1, 0) == (source.closed, timers())
        finally:
            gc.enable()

    run_virtual(main())


def test_a_stream_that_is_over_is_left_alone() -> None:
    """It has ended as it has; no timer stays."""

    async def main() -> None:
        stream = stream_of([])
        stream.close()
        abort_at(5, stream, DeadlineExceeded)
        assert stream.ended is not None
        assert ("abandoned", 0) == (stream.ended.how, timers())

    run_virtual(main())


class Careless:
    """A stream that says nothing when it is dropped."""

    def __init__(self) -> None:
        self.aborted: list[LLMStackError] = []

    def on_end(self, end: End) -> None:
        """Forget *end*."""

    def abort(self, error: LLMStackError) -> None:
        self.aborted.append(error)


@pytest.mark.parametrize("dropped", [False, True])
def test_any_stream_will_do(*, dropped: bool) -> None:
    """One of a user's own is aborted too, and may be gone by then."""
    made: list[LLMStackError] = []

    def error() -> LLMStackError:
        made.append(DeadlineExceeded())
        return made[-1]

    async def main() -> list[LLMStackError]:
        stream = Careless()
        aborted = stream.aborted
        abort_at(5, stream, error)
        if dropped:
            del stream
        await asyncio.sleep(9)
        return aborted

    aborted, _ = run_virtual(main())

    assert (made, 0 if dropped else 1) == (aborted, len(made))


class Transport:
    """Has an ``abort`` of its own, and is no stream."""

    def abort(self) -> None:
        """Drop the connection."""


@pytest.mark.parametrize("reply", [None, "text", Response(b"{}"), Transport()], ids=repr)
def test_what_is_no_stream_is_left_alone(reply: object) -> None:
    """A reply that is there already gets neither a timer nor a callback."""

    async def main() -> int:
        abort_at(5, reply, DeadlineExceeded)
        return timers()

    assert (0, 0.0) == run_virtual(main())
    assert None is getattr(reply, "ended", None)
