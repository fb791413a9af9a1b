"""A source against the long way: every event parsed and looked at alone; and its limits."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.call import Usage
from llmstack.errors import (
    ConnectionLost,
    Overloaded,
    ProtocolError,
    StreamBroken,
    UpstreamError,
)
from llmstack.providers.anthropic.progress import Progress as MessagesProgress
from llmstack.providers.batch import LOOKS, QUIET, WORTH
from llmstack.providers.openai.progress import Progress
from llmstack.providers.source import TAIL, EventSource
from llmstack.providers.sse import SSEEvent, SSEParser
from llmstack.stream import EventStream
from llmstack.testing.virtual import run_virtual
from tests.gateway.stage import run as apart
from tests.providers.pieces import incoming


def chunk(delta: object, finish: str | None = None, identity: str = "c") -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": identity, "choices": [choice]}).encode() + b"\n\n"


def said(text: str, identity: str = "c") -> bytes:
    return chunk({"content": text}, identity=identity)


FINISH: Final = chunk({}, "stop")
DONE: Final = b"data: [DONE]\n\n"
USAGE: Final = b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}}\n\n'
ERROR: Final = b'data: {"error": {"message": "no", "type": "server_error"}}\n\n'

NUMBERED: Final = b'id: 7\ndata: {"choices": []}\n\n'

#: Runs that are long enough to be looked for, and what may stand between them.
run: Final = st.integers(20, 60).map(lambda n: b"".join(said(f"word{i}") for i in range(n)))
between: Final = st.sampled_from(
    [
        *(said("other", "d"), said(""), chunk({"role": "assistant"}), FINISH, DONE, USAGE),
        *(b": ping\n\n", b"id: 7\n" + said("x"), b"event: x\n" + said("y"), ERROR, b"data: {\n\n"),
        said("lf").replace(b"lf", b"l\nf"),
        *(said("cr").replace(b"\n", b"\r\n"), b'data: "no object"\n\n', b"\n", b"retry: 5\n\n"),
    ]
)


def by_hand(raw: bytes) -> tuple[list[SSEEvent], str, int]:
    """The events that pass, how it ends, and the bytes of content: one event after another."""
    progress, passed = Progress(), []
    try:
        for event in SSEParser().feed(raw):
            passed += [event] if progress.take(event.data, event.event) else []
            if progress.done:
                break
    except UpstreamError as error:
        return passed, type(error).__name__, progress.text
    if progress.whole and not progress.done:
        passed.append(SSEEvent(DONE, b"[DONE]"))
    return passed, "" if progress.whole else "StreamIncomplete", progress.text


async def read(stream: EventStream, progress: Progress) -> tuple[list[SSEEvent], str, int]:
    """The same of a stream, one event after another."""
    passed: list[SSEEvent] = []
    try:
        async for event in stream:
            assert isinstance(event, SSEEvent)
            passed.append(event)
    except UpstreamError as error:
        cause = error.__cause__ if isinstance(error, StreamBroken) else error
        return passed, type(cause).__name__, progress.text
    return passed, "", progress.text


@given(
    parts=st.lists(run | between, max_size=6),
    cuts=st.lists(st.integers(0, 9000), max_size=4),
)
@example([said("a") * 50, FINISH, USAGE, DONE], [])
@example([said("a") * 50, ERROR], [len(said("Hello")) + 5])
@example([said("a") * 50, b"id: 7\n" + said("x"), said("a") * 50, DONE], [])
@example([said("a") * 50, FINISH, DONE, said("a") * 50], [])
@example([DONE, said("a") * 50], [])
@example([b": ping\n" + said("a") * 50], [len(said("Hello")) + 7])
@example([said("a") * 50, NUMBERED, said("a") * 50], [])
@example([said("a") * 50, FINISH, DONE], [len(said("Hello"))])
@example([said("a") + b"data: "], [len(said("Hello"))])
@example([b"id: 7\n" + said("x"), said("a") * 50], [len(said("Hello") + said("x")) + 6])
def test_events_are_those_that_were_sent(parts: list[bytes], cuts: list[int]) -> None:
    """However many have come at once, and wherever the network cuts them; so are their bytes."""
    raw = said("Hello") + b"".join(parts)
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    pieces = [raw[a:b] for a, b in pairwise(places)]

    async def events() -> tuple[list[SSEEvent], str, int]:
        progress = Progress()
        source = EventSource(incoming(*pieces), progress, lambda: 1)
        return await read(await source.opened(), progress)

    async def blocks() -> tuple[bytes, str]:
        stream = await EventSource(incoming(*pieces), Progress(), lambda: 1).opened()
        got = b""
        try:
            while (block := await stream.block()) is not None:
                got += block
        except UpstreamError as error:
            cause = error.__cause__ if isinstance(error, StreamBroken) else error
            return got, type(cause).__name__
        return got, ""

    expected = by_hand(raw)

    assert expected == run_virtual(events())[0]
    assert (b"".join(event.raw for event in expected[0]), expected[1]) == run_virtual(blocks())[0]


def delta(text: str) -> bytes:
    said = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": text},
    }
    return b"event: content_block_delta\ndata: " + json.dumps(said).encode() + b"\n\n"


def test_runs_of_messages_and_of_chats_are_not_taken_apart() -> None:
    """Only the first events of a long block are looked at, and what is behind the run."""

    async def first(progress: MessagesProgress | Progress, raw: bytes) -> int:
        source = EventSource(incoming(raw[:99], raw[99:]), progress, lambda: 1)
        stream = await source.opened()
        while stream.at_hand:
            await anext(stream)
        return len(getattr(await source.read(), "parts", ()))

    words = [f"word{n}" for n in range(100)]
    chat = said("Hello") + b"".join(map(said, words)) + FINISH
    messages = delta("Hello") + b"".join(map(delta, words))
    stop = b'event: message_stop\ndata: {"type": "message_stop"}\n\n'

    assert len(messages) > WORTH
    assert run_virtual(first(Progress(), chat))[0] <= LOOKS
    assert run_virtual(first(MessagesProgress(), messages + stop + messages))[0] <= LOOKS


empties: Final = st.integers(QUIET - 2, QUIET + 2)


@pytest.mark.parametrize("extra", [-1, 0, 1])
@pytest.mark.parametrize("empty", [said(""), b'data: {"choices": []}\n\n'], ids=["empty", "none"])
def test_events_without_content_have_an_end(extra: int, empty: bytes) -> None:
    """Ten thousand in a row are enough; content in between starts the count anew."""
    pieces = [said("a"), empty * (QUIET - 1), said("b"), empty * (QUIET + extra), said("c")]

    async def main() -> tuple[list[SSEEvent], str, int]:
        progress = Progress()
        source = EventSource(incoming(*pieces), progress, lambda: 1)
        return await read(await source.opened(), progress)

    passed, end, text = run_virtual(main())[0]

    assert (("StreamIncomplete", 3) if extra < 1 else ("ProtocolError", 2)) == (end, text)
    assert 2 * QUIET + 1 + extra + (extra < 1) == len(passed)


def test_before_content_they_are_an_ordinary_error() -> None:
    """So that another endpoint may be asked."""
    raw = b"data: {}\n\n" * (QUIET + 1) + said("late")

    async def main() -> None:
        await EventSource(incoming(raw), Progress(), lambda: 1).opened()

    with pytest.raises(ProtocolError, match="more than 10000 events in a row have no content"):
        run_virtual(main())


def test_a_stream_that_is_too_long_breaks() -> None:
    """What had come before is handed on."""

    async def main() -> tuple[list[SSEEvent], str, int]:
        progress = Progress()
        source = EventSource(
            incoming(said("a"), said("b")), progress, lambda: 1, limit=len(said("a")) + 1
        )
        return await read(await source.opened(), progress)

    passed, end, _ = run_virtual(main())[0]

    assert (1, "ProtocolError") == (len(passed), end)


def test_it_hears_comments_and_parts_of_events() -> None:
    """Which are no events, but bytes."""

    async def main() -> list[float]:
        reply = incoming(said("a"), 2.0, b": ping\n\n", 3.0, b"data: ", 4.0, FINISH[6:], DONE)
        source = EventSource(reply, Progress(), lambda: 1)
        stream = await source.opened()
        heard = [source.heard]
        loop = asyncio.get_running_loop()
        for at in (2.5, 5.5):
            loop.call_at(at, lambda: heard.append(source.heard))
        async for _ in stream:
            pass
        return [*heard, source.heard]

    assert [0.0, 2.0, 5.0, 9.0] == run_virtual(main())[0]


def test_a_loss_behind_the_terminal_is_none() -> None:
    """The reply is whole, but the connection is not used again."""

    async def main() -> tuple[int, str]:
        reply = incoming(said("a") + FINISH, ConnectionLost("cut"))
        stream = await EventSource(reply, Progress(), lambda: 1).opened()
        return len([event async for event in stream]), reply.ended  # type: ignore[attr-defined]

    assert (3, "closed") == run_virtual(main())[0]


@pytest.mark.parametrize(
    ("behind", "usage"),
    [
        ((TAIL - 0.5, USAGE, 60.0, DONE), Usage(3, 9)),
        ((TAIL + 0.5, USAGE, DONE), Usage(1, 1, estimated=True)),
        ((TAIL / 2, b": ping\n\n") * 9, Usage(1, 1, estimated=True)),
    ],
    ids=["in time", "too late", "comments"],
)
def test_silence_behind_the_terminal_is_not_waited_for(
    behind: tuple[bytes | float, ...], usage: Usage
) -> None:
    """The tokens have a while to come; then the reply is whole without them."""
    progress = Progress()

    async def main() -> tuple[list[bytes], EventStream, float]:
        source = EventSource(incoming(said("Hi"), FINISH, *behind), progress, lambda: 1)
        async with await source.opened() as stream:
            events = [event.data async for event in stream]
            return events, stream, asyncio.get_running_loop().time()

    events, stream, elapsed = apart(main())

    assert stream.ended is not None
    assert ("ok", b"[DONE]") == (stream.ended.how, events[-1])
    assert usage == stream.ended.usage
    assert TAIL == elapsed


def test_a_clock_that_rings_behind_the_terminal_ends_the_waiting_alone() -> None:
    """Nothing is missing, so the reply is whole: a deadline has nothing to cut off."""

    async def main() -> tuple[list[bytes], EventStream, float, list[bool]]:
        loop = asyncio.get_running_loop()
        source = EventSource(incoming(said("Hi"), FINISH, 60.0, DONE), Progress(), lambda: 1)
        async with await source.opened() as stream:
            waits = [source.conclude()]
            loop.call_later(TAIL / 4, stream.abort, Overloaded("late"))
            loop.call_later(TAIL / 4, stream.abort, Overloaded("later"))
            events = [event.data async for event in stream]
            return events, stream, loop.time(), [*waits, source.conclude()]

    events, stream, elapsed, waits = apart(main())

    assert stream.ended is not None
    assert ("ok", b"[DONE]", TAIL / 4) == (stream.ended.how, events[-1], elapsed)
    assert [False, False] == waits
