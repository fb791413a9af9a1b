"""A message and its stream say the same, to us and to the anthropic SDK."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from llmstack.dialects.messages import assembled, pieces
from llmstack.errors import ProtocolError
from tests.dialects.messages_side import Events, cuts, replies


EVENT: Final[TypeAdapter[Any]] = TypeAdapter(RawMessageStreamEvent)
CITED: Final = {
    "type": "char_location",
    "cited_text": "a",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
}
#: Blocks that streams seldom have.
ODD: Final = st.sampled_from(
    [
        {"type": "text", "text": "a", "citations": [CITED, CITED]},
        {"type": "text", "text": "", "citations": None},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "a"}},
        {"type": "container_upload", "file_id": "f1"},
        {"type": "thinking", "thinking": "a", "signature": ""},
    ]
)
START: Final = {"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 3}}}
TEXT: Final = {"type": "text", "text": ""}
TOOL: Final = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
STOP: Final = {"type": "message_stop"}


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a message, with blocks that are seldom seen among the others."""
    body = draw(replies())
    return {**body, "content": [*body["content"], *draw(st.lists(ODD, max_size=2))]}


def named(*events: dict[str, Any]) -> Events:
    return [(event["type"], event) for event in events]


def block(index: object, start: object, *deltas: object) -> list[dict[str, Any]]:
    """The events of one block."""
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": each} for each in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def ended(why: str) -> list[dict[str, Any]]:
    last = {"type": "message_delta", "delta": {"stop_reason": why}, "usage": {"output_tokens": 1}}
    return [last, STOP]


def by_the_sdk(events: Events) -> dict[str, Any]:
    """The message that the SDK makes of *events*."""
    message: Any = None
    parts: dict[int, bytes] = {}
    for _, event in events:
        known = EVENT.validate_python(event, strict=True)
        message = accumulate_event(event=known, current_snapshot=message, json_bufs=parts)
    return Message.model_validate(message.to_dict()).model_dump(mode="json", exclude_none=True)


def plain(value: object) -> object:
    """A message without what is null."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items() if each is not None}
    return [plain(each) for each in value] if isinstance(value, list) else value


def test_a_message_is_said_in_the_shortest_stream() -> None:
    """It starts without content and without a reason, and each block has one delta."""
    usage = {"input_tokens": 3, "output_tokens": 9}
    body = {
        "id": "m",
        "content": [{"type": "text", "text": "Hi"}, {**TOOL, "input": {"a": [1, "é"]}}],
        "stop_reason": "tool_use",
        "usage": usage,
    }

    start: dict[str, Any] = {
        "id": "m",
        "content": [],
        "stop_reason": None,
        "usage": {**usage, "output_tokens": 0},
    }
    written = '{"a":[1,"\\u00e9"]}'
    assert named(
        {"type": "message_start", "message": start},
        *block(0, TEXT, {"type": "text_delta", "text": "Hi"}),
        *block(1, TOOL, {"type": "input_json_delta", "partial_json": written}),
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use"},
            "usage": {"output_tokens": 9},
        },
        STOP,
    ) == pieces(body)


@given(body=bodies())
def test_a_message_comes_back_from_its_stream(body: dict[str, Any]) -> None:
    """To cut a message and to assemble it changes nothing, and leaves both as they were."""
    before = deepcopy(body)

    cut = pieces(body)
    as_cut = deepcopy(cut)

    assert before == assembled(cut)
    assert before == body
    assert as_cut == cut


@given(body=bodies())
def test_the_sdk_reads_the_same_from_the_stream(body: dict[str, Any]) -> None:
    """Each event is valid in strict mode, and the SDK puts together what was said."""
    events: Any = pieces(body)
    Message.model_validate(body, strict=True)

    assert plain(body) == plain(by_the_sdk(events))


@given(data=st.data(), body=replies())
def test_any_stream_is_assembled_to_its_message(data: st.DataObject, body: dict[str, Any]) -> None:
    """However a server cuts a message, it is the message."""
    events = data.draw(cuts(body))

    assert body == assembled(events)


@pytest.mark.parametrize("why", ["max_tokens", "model_context_window_exceeded", "refusal"])
def test_an_input_that_a_limit_cut_stays_as_it_began(why: str) -> None:
    """Half an input is not handed on as one, and the reason to stop tells of the cut."""
    half = {"type": "input_json_delta", "partial_json": '{"command": "rm -rf /tmp'}

    said = assembled(named(START, *block(0, TOOL, half), *ended(why)))

    assert [TOOL] == said["content"]
    assert why == said["stop_reason"]


@pytest.mark.parametrize("written", ['{"a": 1', "[1]", "1", "[" * 20_000])
def test_an_input_that_is_no_object_is_told(written: str) -> None:
    """After a reason that says that the message is done, it is not as agreed."""
    part = {"type": "input_json_delta", "partial_json": written}

    with pytest.raises(ProtocolError):
        assembled(named(START, *block(0, TOOL, part), *ended("tool_use")))


def test_an_input_that_is_whole_stands_whatever_was_cut() -> None:
    """A limit that was met later changes nothing of it."""
    part = {"type": "input_json_delta", "partial_json": '{"a": 1}'}

    said = assembled(named(START, *block(0, TOOL, part), *ended("max_tokens")))

    assert [{**TOOL, "input": {"a": 1}}] == said["content"]


def test_an_input_of_nothing_is_as_it_began() -> None:
    """A tool without parameters has an empty piece of JSON, and thoughts may be unsigned."""
    empty = {"type": "input_json_delta", "partial_json": ""}
    thought = {"type": "thinking", "thinking": ""}
    cut = pieces({"content": [thought], "stop_reason": "end_turn", "usage": {}})

    said = assembled(named(START, *block(0, TOOL, empty), *ended("tool_use")))

    assert [TOOL] == said["content"]
    assert [thought] == assembled(cut)["content"]


def test_counts_at_the_end_replace_those_of_the_start() -> None:
    """They are totals; what is null or not said again stays."""
    usage = {"input_tokens": 5, "cache_read_input_tokens": None, "output_tokens": 2}
    start = {"content": [], "usage": {"input_tokens": 3, "cache_read_input_tokens": 4}}
    last = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}

    said = assembled(named({"type": "message_start", "message": start}, last, STOP))

    expected = {"input_tokens": 5, "cache_read_input_tokens": 4, "output_tokens": 2}
    assert {"content": [], "stop_reason": "end_turn", "usage": expected} == said


def test_what_is_not_known_says_nothing() -> None:
    """Pings, new events and new kinds of delta pass by; after the end nothing is read."""
    new = {"type": "sparkle_delta", "sparkle": 1}
    events = named(
        {"type": "ping"}, START, *block(0, TEXT, new), {"type": "later"}, *ended("end_turn")
    )

    said = assembled([*events, ("error", {"type": "error"})])

    assert [TEXT] == said["content"]


def test_citations_go_on_from_those_of_the_start() -> None:
    """The start's own list is left as it is."""
    start = {**TEXT, "citations": [CITED]}
    more = {"type": "citations_delta", "citation": {**CITED, "document_index": 1}}

    said = assembled(named(START, *block(0, start, more), *ended("end_turn")))

    assert [CITED, {**CITED, "document_index": 1}] == said["content"][0]["citations"]
    assert [CITED] == start["citations"]


HELLO: Final = {"type": "text_delta", "text": "a"}
QUOTE: Final = {"type": "citations_delta", "citation": CITED}
BROKEN: Final[list[list[dict[str, Any]]]] = [
    [],
    [START],
    [STOP],
    [START, START, STOP],
    [*block(0, TEXT), START, STOP],
    [{"type": "message_delta", "delta": {}}, START, STOP],
    [START, {"type": "error", "error": {}}, STOP],
    [{"type": "message_start", "message": "a"}, STOP],
    [START, *block(1, TEXT), STOP],
    [START, *block(0, "a"), STOP],
    [START, *block(0, TEXT, "a"), STOP],
    [START, *block(0, TEXT), {"type": "content_block_delta", "index": 1, "delta": HELLO}, STOP],
    [START, *block(0, TEXT), {"type": "content_block_delta", "index": -1, "delta": HELLO}, STOP],
    [START, *block(0, TEXT), {"type": "content_block_delta", "delta": HELLO}, STOP],
    [START, *block(0, TOOL, HELLO), STOP],
    [START, *block(0, TEXT, {"type": "text_delta", "text": 1}), STOP],
    [START, *block(0, TEXT, {"type": "thinking_delta", "thinking": "a"}), STOP],
    [START, *block(0, TEXT, {"type": "signature_delta", "signature": "a"}), STOP],
    [START, *block(0, TOOL, {"type": "citations_delta", "citation": CITED}), STOP],
    [START, *block(0, TEXT, {"type": "input_json_delta", "partial_json": "{}"}), STOP],
    [START, *block(0, {**TEXT, "text": True}, HELLO), STOP],
    [START, *block(0, {**TEXT, "text": ["a"]}, HELLO), STOP],
    [START, *block(0, {**TEXT, "citations": 1}, QUOTE), STOP],
    [START, *block(0, {**TEXT, "citations": "a"}, QUOTE), STOP],
    [START, {"type": "message_delta", "delta": None}, STOP],
    [START, {"type": "message_delta", "delta": {}, "usage": [1]}, STOP],
]


@pytest.mark.parametrize("events", BROKEN)
def test_a_stream_that_is_none_is_told(events: list[dict[str, Any]]) -> None:
    """What the format does not allow is an error, not a guess."""
    with pytest.raises(ProtocolError):
        assembled(named(*events))


@pytest.mark.parametrize(
    "wrong",
    [
        *({"content": None}, {"content": ["a"]}, {"usage": None}, {"usage": [1]}),
        *({"stop_reason": None}, {"stop_reason": ""}),
    ],
)
def test_a_message_that_is_none_is_told(wrong: dict[str, Any]) -> None:
    """What cannot be a message, or does not say how it ended, has no stream."""
    body = {"content": [], "stop_reason": "end_turn", "usage": {"output_tokens": 1}}

    with pytest.raises(ProtocolError):
        pieces({**body, **wrong})
    assert body == assembled(pieces(body))


@pytest.mark.parametrize("cited", [1, True, "a", {"a": 1}])
def test_citations_that_are_no_list_stay_as_they_are(cited: object) -> None:
    """They cannot be told one by one."""
    body = {
        "content": [{"type": "text", "text": "a", "citations": cited}],
        "stop_reason": "end_turn",
        "usage": {"output_tokens": 1},
    }

    assert body == assembled(pieces(body))
