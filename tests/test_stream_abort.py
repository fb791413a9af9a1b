"""A stream stopped from outside: who is woken with what, to the tick."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from attrs import define, field

from llmstack.call import Outcome, Usage
from llmstack.errors import ServerError, StreamBroken, UpstreamTimeout
from llmstack.stream import Event, EventStream
from llmstack.testing.scripted import ScriptedEvent
from llmstack.testing.virtual import run_virtual


EVENT = ScriptedEvent()
DOWN = ServerError("down")


@define(eq=False)
class Pipe:
    """A source whose reads end when the test says so."""

    usage: Usage | None = None
    complete: bool = False
    closed: int = 0
    asked: asyncio.Future[Sequence[Event]] = field(init=False)

    async def read(self) -> Sequence[Event]:
        self.asked = asyncio.get_running_loop().create_future()
        return await self.asked

    def close(self) -> None:
        self.closed += 1


@define(eq=False)
class Scene:
    """A stream whose reader waits for its next event, and what became of the reader."""

    source: Pipe
    stream: EventStream
    reader: asyncio.Task[None] = field(init=False)
    result: object = None
    cancelling: int = -1

    async def read(self) -> None:
        try:
            self.result = await anext(self.stream)
        except BaseException as error:
            self.result = error
            raise
        finally:
            task = asyncio.current_task()
            assert task is not None
            self.cancelling = task.cancelling()


Act = Callable[[Scene], Awaitable[object] | None]


def play(act: Act, source: Pipe | None = None) -> tuple[object, int, Outcome]:
    """Have a reader wait, then *act*: what it got, how cancelled it was, how the stream ended."""
    ends: list[Outcome] = []

    async def main() -> Scene:
        pipe = source or Pipe()
        scene = Scene(pipe, EventStream(pipe))
        scene.stream.on_end(ends.append)
        loop = asyncio.get_running_loop()
        scene.reader = loop.create_task(scene.read())
        await asyncio.sleep(1)
        doing = act(scene)
        if doing is not None:
            await doing
        await asyncio.wait([scene.reader])
        scene.stream.close()
        if not scene.reader.cancelled():
            scene.reader.exception()
        return scene

    scene, _ = run_virtual(main())

    assert [1.0] == [outcome.ended for outcome in ends]
    assert 1 == scene.source.closed
    return scene.result, scene.cancelling, ends[0]


def test_an_abort_wakes_the_reader_with_its_error() -> None:
    """With the very error, not with a cancellation, and nobody has been cancelled."""
    result, cancelling, outcome = play(lambda scene: scene.stream.abort(DOWN))

    assert DOWN is result
    assert (0, "failed", "endpoint", DOWN) == (
        cancelling,
        outcome.how,
        outcome.blames,
        outcome.error,
    )


def test_the_error_of_an_abort_keeps_its_cause() -> None:
    """And says nothing of the cancellation by which it came."""
    error = ServerError("down")
    error.__cause__ = OSError("reset")
    result, _, _ = play(lambda scene: scene.stream.abort(error))

    assert error is result
    assert "OSError('reset')" == repr(error.__cause__)
    assert not isinstance(error.__context__, asyncio.CancelledError)


def test_closing_a_stream_that_another_task_reads_wakes_the_reader() -> None:
    """The stream was left, for which nobody is to blame; but its reader has no whole reply."""
    result, cancelling, outcome = play(lambda scene: scene.stream.close())

    assert "StreamBroken" == type(result).__name__
    assert (0, "abandoned", "nobody") == (cancelling, outcome.how, outcome.blames)


def test_the_first_of_two_aborts_has_the_word() -> None:
    """Even before the reader has run; it is woken once."""

    def act(scene: Scene) -> None:
        scene.stream.abort(DOWN)
        scene.stream.abort(UpstreamTimeout())
        scene.stream.close()

    result, cancelling, _ = play(act)

    assert DOWN is result
    assert 0 == cancelling


def cancel(scene: Scene) -> None:
    scene.reader.cancel()


def abort(scene: Scene) -> None:
    scene.stream.abort(DOWN)


def close(scene: Scene) -> None:
    scene.stream.close()


def give(scene: Scene) -> None:
    if not scene.source.asked.done():
        scene.source.asked.set_result([EVENT])


def cut(scene: Scene) -> None:
    scene.source.asked.set_exception(StreamBroken("cut"))


def in_turn(*steps: Callable[[Scene], None]) -> Act:
    """All in one tick, before the reader can run."""

    def act(scene: Scene) -> None:
        for step in steps:
            step(scene)

    return act


@pytest.mark.parametrize(
    ("act", "how"),
    [
        (in_turn(cancel), "cancelled"),
        (in_turn(cancel, abort), "failed"),
        (in_turn(abort, cancel), "failed"),
        (in_turn(close, cancel), "abandoned"),
        (in_turn(cancel, close), "abandoned"),
        (in_turn(give, cancel, abort), "failed"),
        (in_turn(abort, give, cancel), "failed"),
        (in_turn(cut, abort, cancel), "failed"),
    ],
    ids=[
        "cancel",
        "cancel abort",
        "abort cancel",
        "close cancel",
        "cancel close",
        "event cancel abort",
        "abort event cancel",
        "cut abort cancel",
    ],
)
def test_a_cancellation_of_somebody_else_is_never_swallowed(act: Act, how: str) -> None:
    """In the same tick as an abort it is the reader's last word, and it counts once."""
    result, cancelling, outcome = play(act)

    assert isinstance(result, asyncio.CancelledError)
    assert (1, how) == (cancelling, outcome.how)


@pytest.mark.parametrize("first", [give, cut])
def test_an_abort_has_the_word_over_what_came_in_the_same_tick(
    first: Callable[[Scene], None],
) -> None:
    """The stream is over when it says so, and what had come is given up."""
    result, cancelling, _ = play(in_turn(first, abort))

    assert DOWN is result
    assert 0 == cancelling


def test_two_cancellations_of_others_stay_two() -> None:
    """Only the abort's own is taken back."""
    result, cancelling, _ = play(in_turn(cancel, abort, cancel))

    assert isinstance(result, asyncio.CancelledError)
    assert 2 == cancelling


def test_a_timeout_round_the_read_stays_one() -> None:
    """It strikes in the same tick as the abort, and says so to its caller."""

    async def main() -> tuple[int, object]:
        stream = EventStream(Pipe())
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        loop.call_at(5.0, stream.abort, DOWN)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await anext(stream)
        return task.cancelling(), stream.ended and stream.ended.error

    result, elapsed = run_virtual(main())

    assert (0, DOWN) == result
    assert 5.0 == elapsed


def test_a_task_that_was_cancelled_before_reads_on() -> None:
    """Who handles a cancellation without taking it back may still be woken by an abort."""

    async def main() -> tuple[int, object]:
        stream = EventStream(Pipe())
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(1)
        asyncio.get_running_loop().call_later(1, stream.abort, DOWN)
        with pytest.raises(ServerError) as caught:
            await anext(stream)
        return task.cancelling(), caught.value

    assert (1, DOWN) == run_virtual(main())[0]


async def read_within(seconds: float, stream: EventStream) -> None:
    async with asyncio.timeout(seconds):
        await anext(stream)


@pytest.mark.parametrize(
    ("stop", "first", "then"),
    [
        (None, TimeoutError, StreamBroken),
        (EventStream.close, StreamBroken, StreamBroken),
        (lambda stream: stream.abort(DOWN), ServerError, ServerError),
    ],
    ids=["timeout", "close", "abort"],
)
def test_reading_on_never_raises_an_old_cancellation(
    stop: Callable[[EventStream], None] | None, first: type[Exception], then: type[Exception]
) -> None:
    """A task that nobody cancelled must not die as if it were: the error is one to handle."""

    async def main() -> None:
        stream = EventStream(Pipe())
        if stop is not None:
            asyncio.get_running_loop().call_later(1, stop, stream)
        with pytest.raises(first):
            await read_within(5, stream)
        with pytest.raises(then):
            await anext(stream)

    run_virtual(main())


class Deaf(Pipe):
    """A source that does not let itself be cancelled: it gives what it has, or breaks."""

    answer: object = None

    async def read(self) -> Sequence[Event]:
        try:
            return await super().read()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            if isinstance(self.answer, Exception):
                raise self.answer from None
            return [EVENT]


@pytest.mark.parametrize("answer", [None, OSError("in clean-up")], ids=["event", "error"])
@pytest.mark.parametrize("act", [abort, close])
def test_a_source_that_swallows_the_cancellation_changes_nothing(
    act: Callable[[Scene], None], answer: Exception | None
) -> None:
    """After the end nothing is handed up, and nobody stays cancelled."""
    source = Deaf()
    source.answer = answer
    result, cancelling, outcome = play(act, source)

    assert ("ServerError" if act is abort else "StreamBroken") == type(result).__name__
    assert 0 == cancelling
    assert ("failed" if act is abort else "abandoned") == outcome.how


def test_a_second_reader_is_refused() -> None:
    """It is told at once; the first reads on, and the stream has not ended."""

    async def act(scene: Scene) -> None:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="one reader"):
                await anext(scene.stream)
        assert None is scene.stream.ended
        give(scene)

    result, cancelling, outcome = play(act)

    assert EVENT is result
    assert (0, "abandoned") == (cancelling, outcome.how)


def test_one_reader_may_take_over_from_another() -> None:
    """Only two at a time are too many."""

    async def act(scene: Scene) -> None:
        give(scene)
        await scene.reader
        second = asyncio.get_running_loop().create_task(scene.read())
        await asyncio.sleep(0)
        give(scene)
        await second

    result, _, _ = play(act)

    assert EVENT is result


def test_who_reads_is_a_task() -> None:
    """A callback could not be woken."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        said: asyncio.Future[str] = loop.create_future()
        stream = EventStream(Pipe())

        def read() -> None:
            with pytest.raises(RuntimeError, match="task") as caught:
                stream.__anext__().send(None)
            said.set_result(str(caught.value))

        loop.call_soon(read)
        assert "reader" in await said
        assert None is stream.ended
        stream.close()

    asyncio.run(main())
