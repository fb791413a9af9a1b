"""Events byte for byte: what is before them, and what they say if nothing was said."""

from __future__ import annotations

import tracemalloc

import pytest

from llmstack.providers.sse import SSEEvent, SSELimitExceeded, SSEParser, split


@pytest.mark.parametrize("size", [1, 2, 3, 99])
def test_a_mark_of_the_byte_order_is_no_event(size: int) -> None:
    """It is dropped at the start, whole or in pieces, and nowhere else."""
    parser, stream = SSEParser(), b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\ndata: c\n\n"
    pieces = [stream[n : n + size] for n in range(0, len(stream), size)]
    events = [event for piece in pieces for event in parser.feed(piece)]

    assert [
        SSEEvent(b"data: a\n\n", b"a", "", ""),
        SSEEvent(b"\xef\xbb\xbfdata: b\n\ndata: c\n\n", b"c", "", ""),
    ] == events


def test_an_event_has_no_name_and_no_id_unless_it_says_so() -> None:
    """Made by hand it is as one that came."""
    assert [SSEEvent(b"data: a\n\n", b"a")] == SSEParser().feed(b"data: a\n\n")


@pytest.mark.parametrize("last_id", ["", "7"])
def test_a_run_is_split_into_what_the_parser_gives(last_id: str) -> None:
    """Each with its bytes, and the id that was there before."""
    run = b"data: a\n\nevent: x\ndata: b: c\n\ndata: \n\nevent: \xff\ndata: d\n\n"
    parser = SSEParser()
    parser.feed(f"id: {last_id}\ndata: first\n\n".encode())

    assert parser.feed(run) == split(run, last_id)
    assert SSEParser().feed(run) == split(run)


@pytest.mark.parametrize(
    ("stream", "data", "event", "last_id"),
    [
        (b"data: a\nid: 5\n\n", b"a", "", "5"),
        (b"data: a\ndata: b\n\n", b"a\nb", "", ""),
        (b"data: a\nevent: x\n\n", b"a", "x", ""),
        (b"event: x\nid: 5\ndata: a\n\n", b"a", "x", "5"),
        (b"event: x\ndata: a\nid: 5\n\n", b"a", "x", "5"),
        (b"event: x\ndata: a\ndata: b\n\n", b"a\nb", "x", ""),
        (b"event: x\nevent: y\ndata: a\n\n", b"a", "y", ""),
        (b"event: \xff\nid: \xfe\ndata: a\n\n", b"a", "\ufffd", "\ufffd"),
    ],
)
@pytest.mark.parametrize("size", [1, 99])
def test_an_event_of_several_lines(
    stream: bytes, data: bytes, event: str, last_id: str, size: int
) -> None:
    """All of them are read, though it looks like a plain one."""
    parser, found = SSEParser(), list[SSEEvent]()
    for n in range(0, len(stream), size):
        found += parser.feed(stream[n : n + size])

    assert [SSEEvent(stream, data, event, last_id)] == found


def test_a_line_that_goes_over_its_limit_is_not_kept() -> None:
    """Only that it did."""
    size = 1 << 17
    parser, long = SSEParser(max_line=size), b"x" * size
    tracemalloc.start()
    parser.feed(long)
    before, _ = tracemalloc.get_traced_memory()
    with pytest.raises(SSELimitExceeded, match="max_line"):
        parser.feed(b"x")
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert after < size / 2 < size <= before
