"""A stream read as another dialect's: what passes, when it commits, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import define, field

from llmstack.call import Outcome, Usage
from llmstack.dialects.source import TranslatedSource
from llmstack.dialects.translator import JSON, Piece
from llmstack.errors import (
    EmptyResponse,
    LLMStackError,
    Overloaded,
    ProtocolError,
    StreamBroken,
    StreamIncomplete,
)
from llmstack.stream import Event, EventStream
from llmstack.testing.scripted import Line, ScriptedEvent, ScriptedSource
from llmstack.testing.virtual import run_virtual


USAGE = Usage(input=2, output=1)


def said(text: str) -> ScriptedEvent:
    """An event of the endpoint: its text; "" is nothing that the caller's format can say."""
    return ScriptedEvent(json.dumps({"text": text}).encode(), "said")


def chunk(text: str) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}}]}


@define
class Loud:
    """A translator: what it is told, in capitals; twice if it ends in an exclamation mark."""

    ended: int = field(default=0, init=False)

    def take(self, name: str, data: JSON, /) -> Sequence[Piece]:
        if name != "said":
            raise ProtocolError("no such event")
        text = data["text"].upper()
        return [("", chunk(text))] * (0 if not text else 2 if text[-1] == "!" else 1)

    def end(self) -> Sequence[Piece]:
        self.ended += 1
        return [("", {"choices": [], "end": True})]


def played(*lines: Line, terminal: bool = True) -> ScriptedSource:
    return ScriptedSource(lines, USAGE, terminal=terminal)


def source_of(script: ScriptedSource, *held: ScriptedEvent) -> TranslatedSource:
    return TranslatedSource("chat", EventStream(script, held=held), Loud())


async def preamble(script: ScriptedSource) -> list[Event]:
    """What is handed up with the stream."""
    return await source_of(script).preamble()


async def heard(script: ScriptedSource, ends: list[Outcome]) -> tuple[list[str], EventStream]:
    """The texts that a caller reads, and the stream that it reads."""
    source = source_of(script)
    stream = EventStream(source, held=await source.preamble())
    stream.on_end(ends.append)
    return [_text(event.data) async for event in stream], stream


def _text(data: bytes) -> str:
    if data == b"[DONE]":
        return "[DONE]"
    choices = json.loads(data)["choices"]
    return choices[0]["delta"]["content"] if choices else "end"


def test_every_event_is_translated_and_the_end_is_said_once() -> None:
    """One event may become none or several; usage is the endpoint's."""
    script = played(said(""), said("a"), 1.0, said("b!"), said(""), said("c"))
    ends: list[Outcome] = []

    texts, stream = run_virtual(heard(script, ends))[0]

    assert ["A", "B!", "B!", "C", "end", "[DONE]"] == texts
    assert [("ok", USAGE)] == [(end.how, end.usage) for end in ends]
    assert (1, True) == (script.closed, stream.ended is ends[0])


def test_the_bytes_are_events_of_the_caller() -> None:
    """With their name where the dialect has names; a chat ends with its own last event."""
    script = played(said("a"))

    events = run_virtual(preamble(script))[0]

    assert [
        b'data: {"choices":[{"delta":{"content":"A"}}]}\n\n',
        b'data: {"choices":[],"end":true}\n\n',
        b"data: [DONE]\n\n",
    ] == [event.raw for event in events]


def test_a_named_event_says_its_name() -> None:
    """And nothing follows the last event of a dialect that has names."""
    script = ScriptedSource([ScriptedEvent(b'{"text":"a"}', "delta")])

    class Named(Loud):
        def take(self, name: str, data: JSON, /) -> Sequence[Piece]:
            return [(f"content_block_{name}", {"delta": data})]

        def end(self) -> Sequence[Piece]:
            return [("message_stop", {})]

    async def main() -> list[bytes]:
        source = TranslatedSource("messages", EventStream(script), Named())
        return [event.raw for event in await source.preamble()]

    assert [
        b'event: content_block_delta\ndata: {"delta":{"text":"a"}}\n\n',
        b"event: message_stop\ndata: {}\n\n",
    ] == run_virtual(main())[0]


def test_the_last_event_of_a_chat_is_no_event_to_translate() -> None:
    """And a translator may have nothing left to say at the end."""
    script = ScriptedSource([said("a"), 1.0, ScriptedEvent(b" [DONE]")])

    class Named(Loud):
        def take(self, _name: str, data: JSON, /) -> Sequence[Piece]:
            return [("content_block_delta", {"delta": data})]

        def end(self) -> Sequence[Piece]:
            return ()

    async def main() -> int:
        source = TranslatedSource("messages", EventStream(script), Named())
        stream = EventStream(source, held=await source.preamble())
        return len([event async for event in stream])

    assert 1 == run_virtual(main())[0]


def test_it_tells_when_the_endpoint_was_heard() -> None:
    """Whatever the bytes said; without news of them, since the first content."""

    told: Any = SimpleNamespace(heard=7.0, usage=None, complete=False, close=lambda: None)

    async def main() -> list[float]:
        silent = source_of(played())
        return [
            silent.heard,
            TranslatedSource("chat", EventStream(told), Loud()).heard,
        ]

    assert [0.0, 7.0] == run_virtual(main())[0]


def test_it_is_handed_up_at_the_first_content_that_the_caller_can_get() -> None:
    """What the endpoint has sent before is not content to this caller."""
    script = played(said(""), 5.0, said(""), 5.0, said("a"), 5.0, said("b"))

    async def main() -> float:
        await preamble(script)
        return asyncio.get_running_loop().time()

    assert 10.0 == run_virtual(main())[0]


def test_in_a_dialect_that_somebody_brought_every_piece_counts() -> None:
    """It is not known what says nothing in it; and its last event is one of its own."""
    script = ScriptedSource([said(""), 5.0, said("a"), 5.0, said("b")])

    async def main() -> tuple[float, list[bytes]]:
        source = TranslatedSource("acme.generate", EventStream(script), Loud())
        stream = EventStream(source, held=await source.preamble())
        begun = asyncio.get_running_loop().time()
        return begun, [event.data async for event in stream]

    begun, events = run_virtual(main())[0]

    assert (5.0, ["A", "B", "end"]) == (begun, list(map(_text, events)))


def test_who_waits_for_it_behind_its_terminal_need_not() -> None:
    """The endpoint's source is told; one that knows no such waiting says no."""

    @define(eq=False)
    class Tailed:
        usage: Usage | None = None
        complete: bool = False
        told: int = 0

        async def read(self) -> Sequence[Event]:
            raise NotImplementedError

        def conclude(self) -> bool:
            self.told += 1
            return True

        def close(self) -> None:
            """Nothing is open."""

    async def main() -> tuple[bool, bool, int]:
        tailed = Tailed()
        waits = TranslatedSource("chat", EventStream(tailed), Loud()).conclude()
        return waits, source_of(played(said("a"))).conclude(), tailed.told

    assert (True, False, 1) == run_virtual(main())[0]


def broken(cause: Exception | None) -> StreamBroken:
    error = StreamBroken("cut", endpoint="eu", status=200, request_id="r1")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (broken(Overloaded("busy")), Overloaded),
        (broken(None), StreamBroken),
        (broken(ValueError()), StreamBroken),
        (StreamIncomplete(), EmptyResponse),
        (ScriptedEvent(b"{}", "nonsense"), ProtocolError),
        (ScriptedEvent(b"[]", "said"), ProtocolError),
        (ScriptedEvent(b"{", "said"), ProtocolError),
    ],
)
def test_before_content_a_fault_is_an_ordinary_failure(
    line: Line, kind: type[LLMStackError]
) -> None:
    """It is what broke the stream, so that another endpoint may be asked."""
    script = played(said(""), line)

    with pytest.raises(kind) as caught:
        run_virtual(preamble(script))

    assert kind is type(caught.value)
    if kind is Overloaded:
        facts = caught.value
        assert ("eu", 200, "r1") == (facts.endpoint, facts.status, facts.request_id)
        assert facts.__cause__ is None


def test_a_stream_without_content_for_the_caller_is_empty() -> None:
    """Although it was complete for the endpoint."""
    script = played(said(""), said(""))

    with pytest.raises(EmptyResponse):
        run_virtual(preamble(script))


@pytest.mark.parametrize(
    ("line", "kind", "cause"),
    [
        (broken(Overloaded("busy")), StreamBroken, Overloaded),
        (StreamIncomplete(), StreamIncomplete, type(None)),
        (ScriptedEvent(b"{}", "nonsense"), StreamBroken, ProtocolError),
        (ScriptedEvent(b"no", "said"), StreamBroken, ProtocolError),
    ],
)
def test_after_content_a_fault_breaks_the_stream(
    line: Line, kind: type[LLMStackError], cause: type[object]
) -> None:
    """What came before it is read; the end is told once, and the endpoint's stream is closed."""
    script = played(said("a"), 1.0, line)
    ends: list[Outcome] = []

    with pytest.raises(kind) as caught:
        run_virtual(heard(script, ends))

    assert cause is type(caught.value.__cause__)
    assert (1, ["failed"]) == (script.closed, [end.how for end in ends])


def test_what_came_together_with_a_fault_is_handed_up_before_it() -> None:
    """A bad event takes nothing with it that was good."""
    events: list[Event] = []

    async def main() -> None:
        source = source_of(played(), said("a"), said("b"), ScriptedEvent(b"{}", "nonsense"))
        stream = EventStream(source, held=await source.preamble())
        stream.on_event(events.append)
        async for _ in stream:
            pass

    with pytest.raises(StreamBroken):
        run_virtual(main())

    assert ["A", "B"] == [_text(event.data) for event in events]


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "two"])
def test_an_end_that_cannot_be_said_breaks_the_stream(*, together: bool) -> None:
    """However the bytes came: the endpoint's terminal alone does not make the reply whole."""
    ends: list[Outcome] = []

    class Endless(Loud):
        def end(self) -> Sequence[Piece]:
            raise ProtocolError("no reason to stop")

    async def main() -> None:
        later: list[Line] = [] if together else [1.0, said("b")]
        script = played(*later)
        held = [said("a"), said("b")] if together else [said("a")]
        source = TranslatedSource("chat", EventStream(script, held=held), Endless())
        stream = EventStream(source, held=await source.preamble())
        stream.on_end(ends.append)
        async for _ in stream:
            pass

    with pytest.raises(StreamBroken):
        run_virtual(main())

    assert ["failed"] == [end.how for end in ends]


@pytest.mark.parametrize("way", ["closed", "dropped", "cancelled", "aborted"])
def test_to_leave_it_is_to_leave_the_endpoint(way: str) -> None:
    """At once and once, whatever way the caller takes."""
    script = played(said("a"), said("b"), terminal=False)
    ends: list[Outcome] = []

    async def read(stream: EventStream) -> None:
        with suppress(Overloaded):
            async for _ in stream:
                pass

    async def main() -> None:
        source = source_of(script)
        stream = EventStream(source, held=await source.preamble())
        stream.on_end(ends.append)
        if way == "closed":
            await stream.aclose()
        elif way != "dropped":
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(read(stream))
                await asyncio.sleep(1)
                if way == "aborted":
                    stream.abort(Overloaded("late"))
                else:
                    reader.cancel()
        del stream, source
        gc.collect()

    run_virtual(main())
    how = {"aborted": "failed", "cancelled": "cancelled"}

    assert [how.get(way, "abandoned")] == [end.how for end in ends]
    assert (1, USAGE) == (script.closed, ends[0].usage)
