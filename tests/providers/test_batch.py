"""Events that are kept together are the same events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.providers.batch import Batch, Run
from llmstack.providers.sse import SSEEvent, SSEParser, split


BLOCKS = st.sampled_from([b"data: a\n\n", b"data: \n\n", b"event: x\ndata: b\n\n", b"data: {}\n\n"])


@given(runs=st.lists(st.lists(BLOCKS, min_size=1, max_size=4), max_size=4), first=st.booleans())
def test_a_batch_is_the_list_of_its_events(runs: list[list[bytes]], *, first: bool) -> None:
    """Whether they were taken apart before, or are when somebody looks."""
    parts: list[SSEEvent | Run] = []
    for n, run in enumerate(runs):
        raw = b"".join(run)
        together = n % 2 == first
        parts += [Run(raw, len(run))] if together else SSEParser().feed(raw)
    batch = Batch(parts)
    whole = b"".join(block for run in runs for block in run)
    expected = SSEParser().feed(whole)

    assert whole == batch.raw
    assert len(expected) == len(batch)
    assert bool(expected) is bool(batch)
    assert expected == list(batch)
    assert expected == [batch[n] for n in range(len(batch))]
    assert expected[1:] == batch[1:]


def test_one_part_is_not_copied() -> None:
    """The bytes of a run are those that came."""
    raw = b"data: a\n\n" * 9

    assert raw is Batch([Run(raw, 9)]).raw


def test_the_events_of_a_run_have_its_id() -> None:
    """The last one that the stream had given."""
    batch = Batch([Run(b"data: a\n\nevent: x\ndata: b\n\n", 2, "7")])

    assert [("", "7"), ("x", "7")] == [(event.event, event.id) for event in batch]


@pytest.mark.parametrize("run", [b"data: a\r\n\n", b"id: 5\n\n", b"event: x\n\n", b": hm\n\n"])
def test_only_plain_events_are_split(run: bytes) -> None:
    """Whatever else is not in a run, so it is none."""
    assert [b"a"] == [event.data for event in split(run + b"data: a\n\n")]
