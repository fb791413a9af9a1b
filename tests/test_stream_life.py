"""The streamed reply against a model: whatever comes when, and whoever interferes when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import Literal

from attrs import define, field
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.call import How, Outcome
from llmstack.errors import LLMStackError, ServerError, StreamBroken
from llmstack.stream import EventStream
from llmstack.testing.scripted import Line, ScriptedEvent, ScriptedSource
from llmstack.testing.virtual import run_virtual


Action = Literal["abort", "close", "cancel"]
#: How many seconds after it is asked for, what comes: text, or the cut.
Story = Sequence[tuple[float, str]]

STOPPED: dict[Action, tuple[str, How]] = {
    "abort": ("ServerError", "failed"),
    "close": ("StreamBroken", "abandoned"),
    "cancel": ("CancelledError", "cancelled"),
}


@define
class Seen:
    """What the reader got and raised, how the stream ended and when, and how often it was read."""

    got: list[str] = field(factory=lambda: ["held"])
    raised: str = ""
    how: How = "ok"
    ended: float = 0.0
    reads: int = 0


def model(story: Story, pace: float, at: float, action: Action) -> Seen:
    """The documentation as a walk along the story; at *at* the *action* strikes, once."""
    seen, now = Seen(), pace
    raised, how = STOPPED[action]
    for wait, text in story:
        if at < now:
            # Nobody was reading, so a cancelled reader only leaves its block.
            return ending(seen, raised, "abandoned" if action == "cancel" else how, at)
        seen.reads += 1
        if at < now + wait:
            return ending(seen, raised, how, at)
        if text == "cut":
            return ending(seen, "StreamBroken", "failed", now + wait)
        seen.got.append(text)
        seen.ended = now + wait
        now += wait + pace
    if action == "cancel" and at < now:
        seen.raised = raised  # while it uses the last event: the stream has ended well
    return seen


def ending(seen: Seen, raised: str, how: How, ended: float) -> Seen:
    seen.raised, seen.how, seen.ended = raised, how, ended
    return seen


def played(story: Story) -> ScriptedSource:
    lines: list[tuple[Line, Line]] = [
        (wait, StreamBroken() if text == "cut" else ScriptedEvent(text.encode()))
        for wait, text in story
    ]
    return ScriptedSource(chain(*lines))


@define(eq=False)
class Reader:
    """Reads a stream at its pace, and notes what it gets."""

    stream: EventStream
    pace: float
    seen: Seen = field(factory=lambda: Seen([]))
    cancelling: int = 0

    async def read(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            async with self.stream:
                async for event in self.stream:
                    self.seen.got.append(event.data.decode())
                    await asyncio.sleep(self.pace)
        except (LLMStackError, asyncio.CancelledError) as error:
            self.seen.raised = type(error).__name__
        self.cancelling = task.cancelling()

    async def until(self, at: float, action: Action) -> None:
        """Read, while at *at* somebody else interferes."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.read())
            await asyncio.sleep(at)
            if action == "abort":
                self.stream.abort(ServerError())
            elif action == "close":
                self.stream.close()
            else:
                task.cancel()


waits = st.integers(0, 3).map(float)
stories = st.tuples(
    st.lists(st.tuples(waits, st.sampled_from("bc")), max_size=4),
    st.lists(st.tuples(waits, st.just("cut")), max_size=1),
).map(lambda parts: [*parts[0], *parts[1]])


@given(
    story=stories,
    pace=waits,
    at=st.integers(0, 20).map(lambda n: n + 0.5),
    action=st.sampled_from(["abort", "close", "cancel"]),
)
@example(story=[(2.0, "b")], pace=0.0, at=1.5, action="abort")
@example(story=[(2.0, "b")], pace=0.0, at=1.5, action="close")
@example(story=[(2.0, "b")], pace=0.0, at=1.5, action="cancel")
@example(story=[(2.0, "b")], pace=3.0, at=1.5, action="cancel")
@example(story=[(2.0, "b")], pace=3.0, at=1.5, action="abort")
@example(story=[(2.0, "b")], pace=3.0, at=6.5, action="cancel")
@example(story=[(2.0, "b"), (0.0, "cut")], pace=1.0, at=9.5, action="close")
def test_a_life_follows_the_model(story: Story, pace: float, at: float, action: Action) -> None:
    """The reader, the one end and the source agree with it; nobody is left half cancelled."""
    source, ends = played(story), list[Outcome]()

    async def main() -> Reader:
        reader = Reader(EventStream(source, held=[ScriptedEvent(b"held")]), pace)
        reader.stream.on_end(ends.append)
        await reader.until(at, action)
        return reader

    reader, _ = run_virtual(main())

    expected = model(story, pace, at, action)
    assert 1 == len(ends)
    seen = reader.seen
    seen.how, seen.ended, seen.reads = ends[0].how, ends[0].ended, source.reads
    assert expected == seen
    assert 1 == source.closed
    assert (seen.raised == "CancelledError") == reader.cancelling
