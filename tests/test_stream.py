"""The streamed reply: how it is read, and the one end that it has."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import pytest

from llmstack.call import How, Outcome, Usage
from llmstack.errors import Blame, ServerError, StreamBroken, StreamIncomplete
from llmstack.stream import Event, EventStream
from llmstack.testing.scripted import Line, ScriptedEvent, ScriptedSource, stream_of
from llmstack.testing.virtual import run_virtual


A, B, C = ScriptedEvent(b"a"), ScriptedEvent(b"b"), ScriptedEvent(b"c")
ONE = Usage(input=1_000_000)
LEFT: tuple[How, Blame] = ("abandoned", "nobody")


def played(*lines: Line, terminal: bool = True) -> ScriptedSource:
    return ScriptedSource(lines, ONE, terminal=terminal)


async def drain(stream: EventStream, got: list[Event] | None = None) -> list[Event]:
    """Read to the end; *got* keeps what came before an error."""
    events = [] if got is None else got
    async for event in stream:
        events += [event]
    return events


def facts(outcome: Outcome | None) -> tuple[How, Blame, float | None, float]:
    assert outcome is not None
    return outcome.how, outcome.blames, outcome.first, outcome.ended


def test_a_stream_is_read_to_its_terminal() -> None:
    """What was held first, then what comes; the end is that of the last event."""
    source = played(2.0, B, 3.0, C)
    ends: list[Outcome] = []

    async def main() -> None:
        stream = EventStream(source, held=[A])
        stream.on_end(ends.append)

        assert [A, B, C] == await drain(stream)
        assert ends == [stream.ended]
        assert [] == await drain(stream)

    _, elapsed = run_virtual(main())

    assert [("ok", "nobody", 0.0, 5.0)] == [facts(outcome) for outcome in ends]
    assert (2, 1, 5.0) == (source.reads, source.closed, elapsed)


@pytest.mark.parametrize("lines", [[], [B], [B, C]])
def test_the_end_comes_with_the_last_event(lines: list[Line]) -> None:
    """A caller who stops at the last event has read all of it: no other read is needed."""
    source = played(*lines)

    async def main() -> None:
        stream = EventStream(source, held=[A])
        for expected in [A, *lines]:
            assert None is stream.ended
            assert expected is await anext(stream)

        assert ("ok", "nobody", 0.0, 0.0) == facts(stream.ended)

    run_virtual(main())

    assert (len(lines), 1) == (source.reads, source.closed)


def test_a_terminal_that_comes_alone_is_an_end() -> None:
    """A source may learn only by reading on that there is no more."""

    class Late(Pipe):
        async def read(self) -> Sequence[Event]:
            self.complete = True
            return []

    source = Late()

    async def main() -> None:
        stream = EventStream(source, held=[A])

        assert [A] == await drain(stream)
        assert ("ok", "nobody", 0.0, 0.0) == facts(stream.ended)

    run_virtual(main())

    assert 1 == source.closed


def test_nothing_is_read_that_nobody_asked_for() -> None:
    """The pace is the reader's: a slow one is not overrun."""
    source = played(B, C)

    async def main() -> list[int]:
        stream = EventStream(source, held=[A])
        await asyncio.sleep(5)
        reads = [source.reads]
        async for _ in stream:
            await asyncio.sleep(5)
            reads.append(source.reads)
        return reads

    reads, _ = run_virtual(main())

    assert [0, 0, 1, 2] == reads


def test_several_events_of_one_read_are_handed_up_one_by_one() -> None:
    """They came in one piece of the wire; the terminal's end waits for the last of them."""

    class Lump(Pipe):
        async def read(self) -> Sequence[Event]:
            self.complete = True
            return [A, B, C]

    source = Lump()

    async def main() -> None:
        stream = EventStream(source)
        got = [await anext(stream), await anext(stream)]

        assert None is stream.ended
        assert [A, B] == got
        assert C is await anext(stream)
        assert ("ok", "nobody", 0.0, 0.0) == facts(stream.ended)

    run_virtual(main())


def test_observers_see_each_event_when_it_is_handed_up() -> None:
    """In order, before the reader has it, and none that is not read."""
    seen: list[object] = []

    async def main() -> None:
        async with EventStream(played(B, C), held=[A]) as stream:
            stream.on_event(seen.append)
            stream.on_event(lambda event: seen.append(event.data))
            for _ in range(2):
                seen.extend(["read", await anext(stream)])

    run_virtual(main())

    assert [A, b"a", "read", A, B, b"b", "read", B] == seen


def test_an_observer_may_abort() -> None:
    """The event is still handed up, then comes the error, to the last event too."""

    async def main() -> None:
        for lines in ([], [B], [9.0, B]):
            source = played(*lines)
            stream = EventStream(source, held=[A])
            stream.on_event(lambda _, s=stream: s.abort(ServerError("enough")))  # type: ignore[misc]
            got: list[Event] = []
            with pytest.raises(ServerError, match="enough"):
                await drain(stream, got)

            assert [A] == got
            assert ("failed", "endpoint", 0.0, 0.0) == facts(stream.ended)
            assert 1 == source.closed

    run_virtual(main())


@pytest.mark.parametrize(
    ("error", "heard"),
    [
        (StreamBroken("cut"), ("failed", "endpoint")),
        (StreamIncomplete("no terminal"), ("failed", "endpoint")),
        (ZeroDivisionError("bug"), ("failed", "nobody")),
    ],
    ids=repr,
)
def test_a_broken_reply_never_looks_whole(error: Exception, heard: tuple[How, Blame]) -> None:
    """Each further read raises the same error again, with its cause, and asks for nothing."""
    cause = error.__cause__ = OSError("reset")
    source = played(1.0, B, 1.0, error)

    async def main() -> None:
        stream, got = EventStream(source, held=[A]), list[Event]()
        for _ in range(3):
            with pytest.raises(type(error)) as caught:
                await drain(stream, got)
            assert error is caught.value
            assert cause is error.__cause__

        assert [A, B] == got
        assert (*heard, 0.0, 2.0) == facts(stream.ended)
        assert stream.ended is not None
        assert error is stream.ended.error

    run_virtual(main())

    assert (2, 1) == (source.reads, source.closed)


def test_a_broken_reply_does_not_grow_its_traceback() -> None:
    """However often it is read again: what is raised begins where it is raised."""

    async def main() -> list[int]:
        stream = stream_of([StreamBroken("cut")])
        depths: list[int] = []
        for _ in range(5):
            with pytest.raises(StreamBroken) as caught:
                await drain(stream)
            depths.append(len(caught.traceback))
        return depths

    depths, _ = run_virtual(main())

    assert 1 == len(set(depths[1:]))


class Pipe:
    """What sources have in common."""

    usage: Usage | None = None
    complete: bool = False

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def test_a_read_that_gives_nothing_without_the_terminal_is_incomplete() -> None:
    """A clean end without it never looks whole, even if the source does not say so."""

    class Silent(Pipe):
        async def read(self) -> Sequence[Event]:
            return []

    async def main() -> None:
        stream = EventStream(Silent(), held=[A])
        for _ in range(2):
            with pytest.raises(StreamIncomplete):
                await drain(stream)

        assert ("failed", "endpoint", 0.0, 0.0) == facts(stream.ended)

    run_virtual(main())


def test_a_stream_is_what_came_with_it() -> None:
    """Status and headers pass; the first content came when it was made."""

    async def main() -> None:
        await asyncio.sleep(4)
        stream = EventStream(played(B), 201, {"x": "y"}, held=[A])

        assert (201, {"x": "y"}, 4.0) == (stream.status, stream.headers, stream.first)
        assert (200, {}) == (stream_of([]).status, stream_of([]).headers)
        assert "y" not in repr(stream)
        stream.close()

    run_virtual(main())
    gc.collect()


def test_it_says_since_when_it_waits() -> None:
    """An idle timer looks there: time that the reader takes is not the provider's."""
    seen: list[float | None] = []

    async def main() -> None:
        stream = EventStream(played(2.0, B, 2.0, C), held=[A])
        loop = asyncio.get_running_loop()
        for at in (1.0, 4.0, 6.0, 9.0, 12.0):
            loop.call_at(at, lambda: seen.append(stream.waiting_since))
        async for _ in stream:
            await asyncio.sleep(3)

    run_virtual(main())

    # Used 0-3, waits 3-5, used 5-8, waits 8-10, used 10-13.
    assert [None, 3.0, None, 8.0, None] == seen


def test_observers_see_how_long_an_event_was_waited_for() -> None:
    """Only the first of those that came together; and nothing waits any more at the end."""
    seen: list[float | None] = []

    class Pairs(Pipe):
        async def read(self) -> Sequence[Event]:
            if await asyncio.sleep(2, len(seen)) > 2:
                raise ServerError
            return [B, C]

    async def main() -> None:
        stream = EventStream(Pairs(), held=[A])
        stream.on_event(lambda _event: seen.append(stream.waiting_since))
        stream.on_end(lambda _outcome: seen.append(stream.waiting_since))
        with pytest.raises(ServerError):
            await drain(stream)

    run_virtual(main())

    assert [None, 0.0, None, None] == seen


def test_what_is_at_hand_needs_no_waiting() -> None:
    """Held events are at hand; what the source has not given yet is not."""

    async def main() -> list[bool]:
        stream = stream_of([1.0, ScriptedEvent()], ScriptedEvent(), ScriptedEvent())
        return [stream.at_hand, *[stream.at_hand async for _ in stream]]

    assert [True, True, False, False] == run_virtual(main())[0]
