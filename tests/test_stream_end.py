"""The one end of a stream: when it comes, what is noted, who hears of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Coroutine, Sequence
from typing import Any
from weakref import ref

import pytest

from llmstack.call import How, Outcome, Usage
from llmstack.endpoint import Price
from llmstack.errors import Blame, ServerError, StreamBroken
from llmstack.stream import Event, EventStream
from llmstack.testing.scripted import Line, ScriptedSource, stream_of
from llmstack.testing.virtual import VirtualLoop, run_virtual
from tests.test_stream import LEFT, ONE, A, B, C, drain, facts, played


@pytest.mark.parametrize("read", [0, 1])
@pytest.mark.parametrize("end", ["close", "aclose", "block"])
def test_a_stream_that_is_left_is_abandoned(read: int, end: str) -> None:
    """What was not read is given up, the source closed, and reading on is an error."""
    source = played(1.0, B, 1.0, C)

    async def main() -> None:
        stream = EventStream(source, held=[A])
        for _ in range(read):
            await anext(stream)
        for _ in range(2):
            if end == "block":
                async with stream as same:
                    assert same is stream
            elif end == "close":
                stream.close()
            else:
                await stream.aclose()
        for _ in range(2):
            with pytest.raises(StreamBroken, match="before its end"):
                await anext(stream)

        assert ("abandoned", "nobody", 0.0, 0.0) == facts(stream.ended)
        assert stream.ended is not None
        assert None is stream.ended.error

    run_virtual(main())

    assert (0, 1) == (source.reads, source.closed)


def test_leaving_after_the_end_is_nothing() -> None:
    """The end was good and stays so."""
    source = played()

    async def main() -> None:
        async with EventStream(source, held=[A]) as stream:
            assert [A] == await drain(stream)
            stream.abort(ServerError())
            stream.close()

        assert ("ok", "nobody", 0.0, 0.0) == facts(stream.ended)
        assert [] == await drain(stream)

    run_virtual(main())

    assert 1 == source.closed


def test_an_abort_without_a_reader_waits_for_one() -> None:
    """What was held is not handed up any more; the first abort has the word."""
    source, error = played(B), ServerError("first")
    error.__cause__ = OSError("cause")

    async def main() -> None:
        stream = EventStream(source, held=[A])
        await asyncio.sleep(3)
        stream.abort(error)
        stream.abort(ServerError("second"))
        stream.close()
        for _ in range(2):
            with pytest.raises(ServerError) as caught:
                await anext(stream)
            assert error is caught.value

        assert "OSError('cause')" == repr(error.__cause__)
        assert ("failed", "endpoint", 0.0, 3.0) == facts(stream.ended)

    run_virtual(main())

    assert (0, 1) == (source.reads, source.closed)


async def end_of(how: str, stream: EventStream) -> None:
    """Bring *stream* to an end; one that is read fails after two seconds."""
    if how == "abort":
        stream.abort(ServerError())
    elif how == "close":
        stream.close()
    elif how == "cancel":
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await drain(stream)
    else:
        with contextlib.suppress(StreamBroken):
            await drain(stream)


@pytest.mark.parametrize("how", ["abort", "close", "cancel", "error", "read"])
def test_usage_and_cost_are_noted_once_whatever_the_end(how: str) -> None:
    """As far as the provider has said by then; what it says later changes nothing."""
    source = played(2.0, StreamBroken() if how == "error" else B)
    ends: list[Outcome] = []

    async def main() -> None:
        stream = EventStream(source, price=Price(3, 5), held=[A])
        stream.on_end(ends.append)
        assert ONE is stream.usage
        await end_of(how, stream)
        source.usage = Usage()
        stream.price = Price(0, 0)
        stream.on_end(ends.append)
        stream.close()

    run_virtual(main())

    assert [(ONE, 3.0)] * 2 == [(outcome.usage, outcome.cost) for outcome in ends]
    assert ends[0] is ends[1]


@pytest.mark.parametrize(
    ("usage", "price"), [(None, Price(3, 5)), (ONE, None), (None, None)], ids=str
)
def test_an_unknown_cost_is_not_zero(usage: Usage | None, price: Price | None) -> None:
    """It takes both usage and price to know it."""

    async def main() -> None:
        stream = EventStream(ScriptedSource([], usage), price=price, held=[A])
        await drain(stream)
        assert stream.ended is not None

        assert (usage, None) == (stream.ended.usage, stream.ended.cost)

    run_virtual(main())


def test_who_asks_after_the_end_hears_of_it_at_once() -> None:
    """In the order in which they asked; also those who ask while the others are told."""
    heard: list[str] = []

    async def main() -> None:
        stream = stream_of([])

        def first(_outcome: Outcome) -> None:
            heard.append("first")
            stream.on_end(lambda _: heard.append("within"))
            stream.close()
            stream.abort(ServerError())

        stream.on_end(first)
        stream.on_end(lambda _: heard.append("second"))
        await drain(stream)
        stream.on_end(lambda _: heard.append("after"))

    run_virtual(main())

    assert ["first", "within", "second", "after"] == heard


def test_the_source_is_closed_before_anybody_is_told() -> None:
    """So that who is told may use the connection's place; and `ended` is there already."""
    source = played(9.0)
    closed: list[tuple[int, bool]] = []

    async def main() -> None:
        stream = EventStream(source, held=[A])
        stream.on_end(lambda outcome: closed.append((source.closed, stream.ended is outcome)))
        stream.close()

    run_virtual(main())

    assert [(1, True)] == closed


def dropped(lines: Sequence[Line], *, read: int, loop: str) -> list[tuple[object, ...]]:
    """Drop a stream unread while the *loop* runs, between runs, or after it was closed."""
    ends: list[tuple[object, ...]] = []
    source = played(*lines)

    async def main() -> EventStream | None:
        stream = EventStream(source, held=[A])
        stream.on_end(lambda outcome: ends.append((*facts(outcome), source.closed)))
        for _ in range(read):
            await anext(stream)
        await asyncio.sleep(3)
        if loop != "running":
            return stream
        del stream
        gc.collect()
        assert ends
        return None

    virtual = VirtualLoop()
    kept = virtual.run_until_complete(main())
    if loop == "closed":
        virtual.close()
    del kept
    gc.collect()
    virtual.close()
    return ends


@pytest.mark.parametrize("loop", ["running", "idle", "closed"])
@pytest.mark.parametrize("read", [0, 1, 2])
def test_a_stream_that_is_dropped_ends_then_and_there(loop: str, read: int) -> None:
    """Whether or not a loop runs: the source is closed and everybody told."""
    assert [("abandoned", "nobody", 0.0, 3.0, 1)] == dropped([B, 5.0, C], read=read, loop=loop)


@pytest.mark.parametrize("loop", ["running", "idle", "closed"])
def test_a_stream_that_is_dropped_after_its_end_has_ended_once(loop: str) -> None:
    """Dropping it says nothing more."""
    assert [("ok", "nobody", 0.0, 0.0, 1)] == dropped([B], read=2, loop=loop)


def test_a_stream_that_was_never_made_is_dropped_in_silence() -> None:
    """Without a loop there is none."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        stream_of([])
    gc.collect()


@pytest.mark.parametrize(
    ("stop", "heard"),
    [("", ("cancelled", "nobody")), ("abort", ("failed", "endpoint")), ("close", LEFT)],
)
def test_a_reader_may_be_destroyed_with_its_loop(stop: str, heard: tuple[How, Blame]) -> None:
    """It ends the stream if nobody did, and it is destroyed without a word."""
    source, ends = played(9.0, B), list[Outcome]()

    async def main() -> tuple[EventStream, Coroutine[Any, Any, list[Event]]]:
        stream = EventStream(source, held=[A])
        stream.on_end(ends.append)
        reading = drain(stream)
        await asyncio.sleep(1)
        # Run by hand in this task up to its wait, and never again.
        reading.send(None)
        return stream, reading

    loop = VirtualLoop()
    stream, reading = loop.run_until_complete(main())
    loop.close()
    if stop == "abort":
        stream.abort(ServerError())
    elif stop == "close":
        stream.close()
    reading.close()

    assert [(*heard, 0.0, 1.0)] == [facts(outcome) for outcome in ends]
    assert 1 == source.closed


def test_a_stream_that_is_over_holds_nobody() -> None:
    """Who asked is told and let go: a reply kept for later must not keep a permit's owner."""

    async def main() -> None:
        stream, heard = stream_of([]), set[Outcome]()
        owner = ref(heard)
        stream.on_end(heard.add)
        await drain(stream)
        del heard
        gc.collect()

        assert None is owner()
        assert "ok" == facts(stream.ended)[0]

    run_virtual(main())
