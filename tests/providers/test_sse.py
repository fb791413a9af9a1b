import tracemalloc
from collections.abc import Iterator
from cProfile import Profile
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from llmstack.providers.sse import BOM, SSEEvent, SSELimitExceeded, SSEParser


Fields = tuple[bytes, str, str]


def reference(stream: bytes) -> tuple[list[Fields], bool]:
    """The HTML standard, on the whole stream at once: the events, and whether one is lost.

    A single CR at the end is no line end yet: it may be half of one.
    """
    lines = stream.removeprefix(BOM).replace(b"\r\n", b"\n")
    if lines.endswith(b"\r") and not lines.endswith(b"\r\r"):
        lines = lines[:-1]
    *whole, rest = lines.replace(b"\r", b"\n").split(b"\n")
    events: list[Fields] = []
    block: list[tuple[bytes, bytes]] = []
    last_id = b""
    for line in whole:
        name, _, value = line.partition(b":")
        if line and name:
            block.append((name, value[1:] if value[:1] == b" " else value))
        if not line:
            ids = [value for name, value in block if name == b"id" and 0 not in value]
            names = [value for name, value in block if name == b"event"]
            data = [value for name, value in block if name == b"data"]
            last_id = [last_id, *ids][-1]
            event = [b"", *names][-1]
            if data:
                texts = [text.decode(errors="replace") for text in (event, last_id)]
                events.append((b"\n".join(data), texts[0], texts[1]))
            block = []
    return events, bool(block) or (bool(rest) and rest[0] != ord(":"))


def fed(chunks: Iterator[bytes] | list[bytes], parser: SSEParser) -> list[SSEEvent]:
    return [event for chunk in chunks for event in parser.feed(chunk)]


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(n % (len(stream) + 1) for n in at), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


#: Pieces of which anything may come after anything.
pieces = st.sampled_from(
    [
        *(b"data", b"event", b"id", b"retry", b":", b": ", b" ", b"\n", b"\r", b"\r\n", b"\n\n"),
        *(b"data: ", b"data: x\n\n", b"data: y\r\n\r\n", b"id: 1\n", b"event: e\n", b"\0", BOM),
        *("é".encode(), b"\xff", b"\xf0\x9f", "\u2028".encode(), b"[DONE]", b": ping\n\n", b"7"),
    ]
)
streams = st.lists(pieces, max_size=30).map(b"".join) | st.binary(max_size=60)
cuts = st.lists(st.integers(0, 1000), max_size=8)


@given(stream=streams, at=cuts)
@example(b"data: x\r\r\n\ndata: y\r\r", [8, 9, 10])
@example(b"data: x\n\rdata: y\r\n\r", [9])
@example(b"data: x\r\n\r\ndata: y\r\n\r\n", [8, 9, 10, 12])
@example(BOM + b"data: x\n\n" + BOM + b"data: y\n\n", [1, 2, 3])
@example(b"\xef\xbb", [1])
@example(b"\xef\xbbdata: x\n\n", [1, 2])
@example(b"id: 1\ndata: a\n\ndata: b\n\nid\n\ndata: c\n\n", [3])
@example(b"event: e\n\ndata: a\n\n", [])
@example(b": c\n\ndata: a\n\n: d", [])
@example(b"data: a\n\n: d\n", [])
@example(b"data: x\rdata: y\r\n\r\n", [])
@example(b"\rdata: x\n\n", [1])
@example(BOM, [])
def test_follows_the_standard_however_the_bytes_are_cut(stream: bytes, at: list[int]) -> None:
    """Data, names and ids as in the reference; the same objects for every cut."""
    parser = SSEParser()
    events = fed(cut(stream, at), parser)

    expected, lost = reference(stream)
    bom = stream and BOM.startswith(stream) and len(stream) < 3
    assert expected == [(event.data, event.event, event.id) for event in events]
    assert (lost or bool(bom)) == parser.close()
    assert events == fed([stream], SSEParser())
    assert events == fed([bytes([byte]) for byte in stream], SSEParser())


@given(stream=streams, at=cuts)
def test_the_raw_bytes_together_are_the_stream(stream: bytes, at: list[int]) -> None:
    """Up to a tail that gives no event; and each raw, parsed alone, is its own event."""
    events = fed(cut(stream, at), SSEParser())

    body = stream.removeprefix(BOM)
    raw = b"".join(event.raw for event in events)
    assert body.startswith(raw)
    assert [] == [data for data, _, _ in reference(b"\n" + body[len(raw) :])[0]]
    for event in events:
        alone = [
            (again.data, again.event) for again in SSEParser().feed(b":\n" + event.raw + b"\n")
        ]
        assert [(event.data, event.event)] == alone


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize("bom", [b"", BOM])
def test_every_way_to_cut_it_in_two(end: bytes, bom: bytes) -> None:
    """Comments, names, ids, many lines and half characters, for each kind of line end."""
    lines = [
        *(b": hello", b"", b"event: delta", b"id: 7", b"data: \xe2\x82\xac", b"data:", b"data"),
        *(b"", b"", b"data:  two spaces", b"id: a\0b", b"retry: 99", b"retry: soon", b"other: 1"),
        *(b"", b": ping", b"", b"event: nothing", b"", BOM + b"data: late", b"data: [DONE]", b""),
    ]
    stream = bom + end.join(lines) + end
    expected = [
        ("\u20ac\n\n".encode(), "delta", "7"),
        (b" two spaces", "", "7"),
        (b"[DONE]", "", "7"),
    ]
    for n in range(len(stream) + 1):
        events = fed([stream[:n], stream[n:]], SSEParser())

        assert expected == [(event.data, event.event, event.id) for event in events]
        assert bom + b"".join(event.raw for event in events) == stream


names = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=8)
lines = names.filter(lambda text: not text.startswith(" "))
well_formed = st.lists(
    st.tuples(st.lists(lines, min_size=1, max_size=3), lines, st.sampled_from(["\n", "\r\n", "\r"]))
)


@given(events=well_formed, at=cuts)
def test_agrees_with_the_decoder_of_the_openai_sdk(
    events: list[tuple[list[str], str, str]], at: list[int]
) -> None:
    """On streams in which each event has data, for both read the same standard."""
    stream = "".join(
        end.join([f"event: {name}", *(f"data: {line}" for line in data), "", ""])
        for data, name, end in events
    ).encode()
    theirs = [(sse.data, sse.event) for sse in SSEDecoder().iter_bytes(iter([stream]))]

    ours = fed(cut(stream, at), SSEParser())

    assert [("\n".join(data), name or None) for data, name, _ in events] == theirs
    assert theirs == [(event.data.decode(), event.event or None) for event in ours]


def ending(parser: SSEParser, chunks: list[bytes]) -> tuple[list[SSEEvent], str | None]:
    """The events, and the limit that ended them."""
    events: list[SSEEvent] = []
    try:
        for chunk in [*chunks, b""]:
            events += parser.feed(chunk)
    except SSELimitExceeded as error:
        with pytest.raises(SSELimitExceeded, match=f"over {error.limit}, which is {error.most} by"):
            parser.feed(b"data: more\n\n")
        most = {"max_line": parser.max_line, "max_event": parser.max_event}[error.limit]
        return events, error.limit if most == error.most else "another limit"
    return events, None


def limited(stream: bytes, max_line: int, max_event: int) -> tuple[list[SSEEvent], str | None]:
    """The limits as a loop: the longest beginning of the stream that keeps to them."""
    for n in range(len(stream) + 1):
        events, tail = fed([stream[:n]], SSEParser()), stream[:n]
        start = sum(len(event.raw) for event in events)
        longest = max((len(line) for line in tail.replace(b"\r", b"\n").split(b"\n")), default=0)
        largest = max([len(tail) - start, *(len(event.raw) for event in events)])
        if longest > max_line or largest > max_event:
            kept = [event for event in events if len(event.raw) <= max_event]
            return kept, "max_line" if longest > max_line else "max_event"
    return fed([stream], SSEParser()), None


@given(
    stream=st.lists(
        st.sampled_from([b"data: ", b"abc", b"\n", b"\n\n", b": c\n", b"data: x\n\n", b"\r\n"]),
        max_size=20,
    ).map(b"".join),
    at=cuts,
    max_line=st.integers(1, 24),
    max_event=st.integers(1, 40),
)
@example(b"data: x\n\n" * 3, [], 7, 9)
@example(b"data: x\n\n" * 3, [], 6, 9)
@example(b"data: x\n\n" * 3, [], 7, 8)
@example(b"data: abc", [], 8, 8)
@example(b"data: x\n\ndata: abc\n\n", [], 8, 20)
def test_limits_hold_however_the_bytes_are_cut(
    stream: bytes, at: list[int], max_line: int, max_event: int
) -> None:
    """What came before is returned, then the error names the limit that was met first."""
    expected = limited(stream, max_line, max_event)

    for chunks in ([stream], cut(stream, at), [bytes([byte]) for byte in stream]):
        assert expected == ending(SSEParser(max_line, max_event), chunks)


def test_the_defaults_are_one_and_four_mebibytes() -> None:
    """A line of exactly 1 MiB passes, one byte more does not; lines of one event add up."""
    mebi = 1 << 20
    line = b"data: " + bytes(mebi - 6)

    assert mebi - 6 == len(SSEParser().feed(line + b"\n\n")[0].data)
    assert ([], "max_line") == ending(SSEParser(), [line, b"."])
    assert ([], "max_event") == ending(SSEParser(), [line, b"\n"] * 4)


@pytest.mark.parametrize("line", [b"data\n", b"data: xy\n", b"data: %b\n" % bytes(1017)], ids=len)
def test_an_event_takes_no_more_room_than_its_bytes(line: bytes) -> None:
    """However short its lines are; and what goes over a limit is not kept."""
    size = 1 << 17
    chunk = line * (4096 // len(line))
    parser = SSEParser(max_event=size)
    tracemalloc.start()
    events, limit = ending(parser, [chunk] * (size // len(chunk) + 1))
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert ([], "max_event") == (events, limit)
    assert 1.0 < most / size < 1.6
    assert kept / size < 0.1


def work_of(chunks: list[bytes]) -> tuple[int, int]:
    """Calls that the parser makes, and bytes that it takes hold of, feed by feed."""
    parser, profile, taken = SSEParser(), Profile(), 0
    tracemalloc.start()
    for chunk in chunks:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        profile.enable()
        parser.feed(chunk)
        profile.disable()
        taken += tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return sum(entry.callcount for entry in profile.getstats()), taken


@pytest.mark.parametrize("size", [1, 700])
@pytest.mark.parametrize(
    "unit",
    [
        b"data: x\n\n",
        b"data: x\r\n\r\n",
        b"data: x\r\r",
        b"data: x\n",
        b"x",
        b"\n",
        b"\r",
        b":\n\n",
    ],
)
def test_work_grows_with_the_bytes_and_no_faster(unit: bytes, size: int) -> None:
    """Twice the stream, twice the work, also for one byte at a time and for no event ever."""

    def work(n: int) -> tuple[int, int]:
        stream = unit * n
        return work_of([stream[i : i + size] for i in range(0, len(stream), size)])

    once, twice = work(1400), work(2800)

    assert twice[0] < 2.1 * once[0]
    assert twice[1] < 2.2 * once[1]
