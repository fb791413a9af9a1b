"""A stream read block by block: the bytes of all that is there, and the same end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from llmstack.call import Outcome
from llmstack.errors import LLMStackError, ServerError, StreamBroken, StreamIncomplete
from llmstack.stream import Event, EventStream
from llmstack.testing.scripted import ScriptedEvent
from llmstack.testing.virtual import run_virtual


Read = list[ScriptedEvent]


class Whole(list[Event]):
    """Events that offer their bytes, and count how often they are taken apart."""

    apart = 0

    @property
    def raw(self) -> bytes:
        return b"".join(event.raw for event in list.__iter__(self))

    def __iter__(self) -> Iterator[Event]:
        Whole.apart += 1
        return super().__iter__()


@define(eq=False)
class Batches:
    """A source that gives one batch a second, and in the end an error or the terminal."""

    batches: list[Sequence[Event]]
    error: LLMStackError | None = None
    usage: None = None
    closed: int = field(default=0, init=False)

    @property
    def complete(self) -> bool:
        return not self.batches and self.error is None

    async def read(self) -> Sequence[Event]:
        await asyncio.sleep(1)
        if self.batches:
            return self.batches.pop(0)
        if self.error is not None:
            raise self.error
        return ()

    def close(self) -> None:
        self.closed += 1


def events(*raws: bytes) -> Read:
    return [ScriptedEvent(b"d" + raw, raw=raw) for raw in raws]


raws = st.lists(st.sampled_from([b"a", b"bc", b""]), min_size=1, max_size=3)


@given(
    held=raws,
    batches=st.lists(st.tuples(st.booleans(), raws), max_size=3),
    fails=st.booleans(),
    watched=st.booleans(),
)
def test_blocks_are_the_bytes_of_the_events(
    held: list[bytes], batches: list[tuple[bool, list[bytes]]], *, fails: bool, watched: bool
) -> None:
    """One for what was held and one for each batch, and observers miss none of the events."""
    source = Batches(
        [Whole(events(*raw)) if whole else events(*raw) for whole, raw in batches],
        ServerError("down") if fails else None,
    )
    seen: list[bytes] = []
    ends: list[Outcome] = []

    async def main() -> tuple[list[bytes], str]:
        stream = EventStream(source, held=events(*held))
        stream.on_end(ends.append)
        if watched:
            stream.on_event(lambda event: seen.append(event.raw))
        blocks: list[bytes] = []
        try:
            while (block := await stream.block()) is not None:
                assert None is stream.waiting_since
                blocks.append(block)
        except ServerError:
            with pytest.raises(ServerError):
                await stream.block()
            return blocks, "failed"
        assert None is await stream.block()
        return blocks, "ok"

    alone = [held, *(raw for _, raw in batches)]
    (blocks, how), elapsed = run_virtual(main())

    assert [b"".join(raw) for raw in alone] == blocks
    assert ("failed" if fails else "ok") == how
    assert [how] == [outcome.how for outcome in ends]
    assert len(batches) + fails == elapsed
    assert ([raw for raws in alone for raw in raws] if watched else []) == seen
    assert 1 == source.closed


def test_what_is_only_passed_on_is_not_taken_apart() -> None:
    """Unless somebody looks at the events, or reads them one by one."""

    async def main() -> list[int]:
        counts = []
        for watched in (False, True):
            stream = EventStream(Batches([Whole(events(b"a", b"b"))]), held=events(b"x"))
            if watched:
                stream.on_event(lambda _event: None)
            Whole.apart = 0
            while await stream.block() is not None:
                pass
            counts.append(Whole.apart)
        return counts

    assert [0, 1] == run_virtual(main())[0]


def test_a_block_ends_where_the_stream_was_ended() -> None:
    """An observer that aborts it sees nothing more; then comes its error."""

    async def main() -> tuple[bytes | None, str]:
        stream = EventStream(Batches([]), held=events(b"a", b"b", b"c"))

        def look(event: Event) -> None:
            if event.raw == b"b":
                stream.abort(ServerError("enough"))

        stream.on_event(look)
        block = await stream.block()
        with pytest.raises(ServerError, match="enough"):
            await stream.block()
        return block, stream.ended.how if stream.ended is not None else ""

    assert (b"ab", "failed") == run_virtual(main())[0]


@pytest.mark.parametrize("closed", [True, False])
def test_an_end_that_is_not_good_is_told(*, closed: bool) -> None:
    """After it was left, and where the source just stops."""

    class Short(Batches):
        complete = False

    async def main() -> None:
        stream = EventStream(Short([]), held=events(b"a"))
        assert b"a" == await stream.block()
        if closed:
            stream.close()
        await stream.block()

    with pytest.raises(StreamBroken if closed else StreamIncomplete):
        run_virtual(main())


def test_events_and_blocks_may_be_mixed() -> None:
    """What was read alone is in no block."""

    async def main() -> list[object]:
        stream = EventStream(Batches([Whole(events(b"c", b"d")), events(b"e")]), held=events(b"a"))
        first = await anext(stream)
        one = await anext(stream)
        return [first.raw, one.raw, await stream.block(), await stream.block()]

    assert [b"a", b"c", b"d", b"e"] == run_virtual(main())[0]
