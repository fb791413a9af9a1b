"""What is written as events is read as those events."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from llmstack.dialects.wire import DONE, encoded, framed, written
from llmstack.providers.sse import SSEParser


#: Also half characters, and what ends a line elsewhere.
texts: Final = st.text(max_size=8) | st.sampled_from(["\ud800", "\udfff", "a\nb", "\r", "\u2028"])
values: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
)
pieces: Final = st.lists(
    st.tuples(
        st.sampled_from(["", "message_start", "response.output_text.delta"]),
        st.dictionaries(texts, values, max_size=3),
    ),
    max_size=5,
)


def test_an_event_is_its_name_and_its_data() -> None:
    """Chat has no names; the JSON is as short as it can be."""
    data = {"a": [1, "é"]}

    assert b'data: {"a":[1,"\\u00e9"]}\n\n' == encoded([("", data)])
    assert b'event: ping\ndata: {"a":[1,"\\u00e9"]}\n\n' == encoded([("ping", data)])
    assert b'{"a":[1,"\\u00e9"]}' == written(data)
    assert b'{"a":{"b":1}}' == written({"a": MappingProxyType({"b": 1})})
    assert b"data: {}\n\n" == framed("", b"{}")
    assert b"data: {}\n\ndata: [DONE]\n\n" == encoded([("", {})], DONE)


@given(said=pieces)
def test_what_is_written_is_read(said: list[tuple[str, dict[str, Any]]]) -> None:
    """Every event comes back from the parser, whatever its texts are, and nothing else."""
    events = SSEParser().feed(encoded(said, DONE))

    read = [(event.event, json.loads(event.data)) for event in events[:-1]]
    assert said == read
    assert b"[DONE]" == events[-1].data
