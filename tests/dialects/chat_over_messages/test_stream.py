"""What the events of a Messages stream are to a caller who speaks chat, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from llmstack.dialects.translator import Piece
from llmstack.errors import ProtocolError
from tests.dialects.chat_over_messages.asking import CHAT


Fields = dict[str, Any]

HEAD = {"id": "msg_1", "object": "chat.completion.chunk", "created": 7, "model": "claude"}
OLDER: Fields = {"functions": [{"name": "f"}]}
TELLS: Fields = {"stream_options": {"include_usage": True}}
TEXT: Fields = {"type": "text", "text": ""}
TOOL: Fields = {"type": "tool_use", "id": "x", "name": "f", "input": {}}
ROLE: Fields = {"role": "assistant", "content": None, "refusal": None}


def begun(**fields: object) -> Fields:
    message = {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 3, "output_tokens": 1}}
    return {"type": "message_start", "message": {**message, **fields}}


def block(index: int, start: Fields) -> Fields:
    return {"type": "content_block_start", "index": index, "content_block": start}


def text(index: int, said: str) -> Fields:
    return delta(index, {"type": "text_delta", "text": said})


def json(index: int, said: str) -> Fields:
    return delta(index, {"type": "input_json_delta", "partial_json": said})


def delta(index: int, what: Fields) -> Fields:
    return {"type": "content_block_delta", "index": index, "delta": what}


def closed(index: int) -> Fields:
    return {"type": "content_block_stop", "index": index}


def stopped(reason: object, **usage: object) -> Fields:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


OVER: Fields = {"type": "message_stop"}
PING: Fields = {"type": "ping"}


def told(asked: Fields, *events: Fields) -> list[Sequence[Piece]]:
    """What each event says, and the end."""
    stream = CHAT.stream(asked, 7.9)
    return [*(stream.take(event["type"], event) for event in events), stream.end()]


def deltas(asked: Fields, *events: Fields) -> list[list[Fields]]:
    """The deltas that each event between the start and the stop says."""
    (_, *middle, _, _) = told(asked, begun(), *events, stopped("end_turn"))
    return [[chunk["choices"][0]["delta"] for _, chunk in pieces] for pieces in middle]


def test_a_stream_is_told_chunk_by_chunk() -> None:
    """Role, text, finish: with the same head, and without the usage that nobody asked for."""

    def chunk(what: Fields, finish: str | None = None) -> list[Piece]:
        choice = {"index": 0, "delta": what, "logprobs": None, "finish_reason": finish}
        return [("", {**HEAD, "choices": [choice]})]

    assert [
        chunk(ROLE),
        (),
        (),
        chunk({"content": "Hi"}),
        (),
        chunk({}, "length"),
        (),
        (),
    ] == told(
        {},
        begun(),
        PING,
        block(0, TEXT),
        text(0, "Hi"),
        closed(0),
        stopped("max_tokens"),
        OVER,
    )


def test_usage_is_told_at_the_end_if_asked_for() -> None:
    """The last count of each kind, in a chunk of its own; the others have a null."""
    first, early, finish, late, end = told(
        TELLS,
        begun(usage={"input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": 5}),
        stopped(None, output_tokens=6),
        stopped("end_turn", output_tokens=8, cache_read_input_tokens=None),
        stopped("max_tokens", output_tokens=9),
    )
    usage = {
        "prompt_tokens": 8,
        "completion_tokens": 9,
        "total_tokens": 17,
        "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 0},
    }

    assert [("", {**HEAD, "choices": [], "usage": usage})] == end
    assert ((), ()) == (early, late)
    for ((_, chunk),) in (first, finish):
        assert chunk["usage"] is None


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": 1}, []])
def test_usage_is_not_told_otherwise(options: object) -> None:
    """Nor is there a null for it."""
    made = told({"stream_options": options}, begun(), stopped("end_turn", output_tokens=2))

    assert () == made[-1]
    assert not [chunk for pieces in made for _, chunk in pieces if "usage" in chunk]


def test_no_usage_is_told_where_none_is_known() -> None:
    """It is not made up."""
    assert () == told(TELLS, begun(usage=None), stopped("end_turn"))[-1]


def test_calls_are_counted_by_themselves() -> None:
    """Each begins with its id and name; what comes in between takes no number."""
    other = {**TOOL, "id": "y", "name": "g", "input": {"a": [1, "é"]}}

    assert [
        [{"tool_calls": [called(0, "x", "f")]}],
        [],
        [{"tool_calls": [{"index": 0, "function": {"arguments": '{"b": '}}]}],
        [{"tool_calls": [{"index": 0, "function": {"arguments": "2}"}}]}],
        [],
        [],
        [],
        [],
        [{"tool_calls": [called(1, "y", "g")]}],
        [{"tool_calls": [{"index": 1, "function": {"arguments": '{"a":[1,"é"]}'}}]}],
        [{"tool_calls": [called(2, "x", "f")]}],
        [],
        [{"tool_calls": [{"index": 2, "function": {"arguments": "{}"}}]}],
    ] == deltas(
        {},
        block(0, TOOL),
        json(0, ""),
        json(0, '{"b": '),
        json(0, "2}"),
        closed(0),
        block(1, {"type": "thinking", "thinking": "", "signature": ""}),
        delta(1, {"type": "thinking_delta", "thinking": "hm"}),
        closed(1),
        block(2, other),
        closed(2),
        block(3, TOOL),
        json(3, ""),
        closed(3),
    )


def called(index: int, known_as: str, name: str) -> Fields:
    function = {"name": name, "arguments": ""}
    return {"index": index, "id": known_as, "type": "function", "function": function}


def test_the_older_form_has_one_call() -> None:
    """Its name first, then its arguments; and a reason to finish of its own."""
    assert [
        [{"function_call": {"name": "f", "arguments": ""}}],
        [{"function_call": {"arguments": '{"a":1}'}}],
        [],
    ] == deltas(OLDER, block(0, TOOL), json(0, '{"a":1}'), closed(0))
    finish = told(OLDER, begun(), stopped("tool_use"))[1][0][1]
    assert "function_call" == finish["choices"][0]["finish_reason"]


def test_text_may_be_there_from_the_start_of_its_block() -> None:
    """Empty pieces say nothing; blocks may be open side by side."""
    assert [[{"content": "a"}], [], [], [{"content": "b"}], [{"content": "c"}], [], []] == deltas(
        {},
        block(0, {"type": "text", "text": "a"}),
        block(1, TEXT),
        text(0, ""),
        text(1, "b"),
        text(0, "c"),
        closed(1),
        closed(0),
    )


def test_after_the_first_finish_nothing_is_said() -> None:
    """Neither content nor a second reason to stop."""
    made = told(
        {}, begun(), stopped("refusal"), block(0, TEXT), text(0, "a"), closed(0), stopped("nope")
    )

    assert [1, 1, 0, 0, 0, 0, 0] == [len(pieces) for pieces in made]


def test_what_the_provider_runs_itself_is_left_out() -> None:
    """The call, what it is called with, and what came out; the text behind it is said."""
    server = {"type": "server_tool_use", "id": "s", "name": "search", "input": {}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}

    assert [[], [], [], [], [], [], [{"content": "a"}], []] == deltas(
        {},
        block(0, server),
        json(0, '{"q": 1}'),
        closed(0),
        block(1, found),
        closed(1),
        block(2, TEXT),
        text(2, "a"),
        closed(2),
    )


def test_what_is_not_known_says_nothing() -> None:
    """New events and new deltas may come at any time."""
    assert [[], [], [], []] == deltas(
        {},
        {"type": "novelty"},
        block(0, TEXT),
        delta(0, {"type": "novelty_delta", "index": []}),
        closed(0),
    )


@pytest.mark.parametrize(
    ("asked", "events", "said"),
    [
        ({}, [], "without a reason to stop"),
        ({}, [begun(), OVER], "without a reason to stop"),
        ({}, [begun(), begun()], "starts twice"),
        ({}, [stopped("end_turn")], "does not begin with its start"),
        ({}, [block(0, TOOL)], "does not begin with its start"),
        ({}, [{"type": "message_start"}], "the message of"),
        ({}, [begun(id=None)], "the id of"),
        ({}, [begun(model=None)], "the model of"),
        ({}, [begun(), {"type": "content_block_start", "index": 0}], "the content_block of"),
        ({}, [begun(), block(0, {})], "the type of"),
        ({}, [begun(), {**block(0, TEXT), "index": "0"}], "the index of"),
        ({}, [begun(), block(0, {"type": "text"})], "the text of"),
        ({}, [begun(), block(0, {**TOOL, "input": None})], "the input of"),
        ({}, [begun(), block(0, {**TOOL, "name": None})], "the name of"),
        ({}, [begun(), block(0, {**TOOL, "id": None})], "the id of"),
        ({}, [begun(), text(0, "a")], "a block that is not open"),
        ({}, [begun(), block(0, TEXT), closed(0), text(0, "a")], "a block that is not open"),
        ({}, [begun(), block(0, TEXT), text(1, "a")], "a block that is not open"),
        ({}, [begun(), block(0, TEXT), json(0, "{}")], "a block that is not open"),
        ({}, [begun(), block(0, TOOL), text(0, "a")], "a block that is not open"),
        ({}, [begun(), block(0, TOOL), delta(0, {"type": "input_json_delta"})], "the partial_json"),
        ({}, [begun(), delta(0, {})], "the type of"),
        ({}, [begun(), {"type": "content_block_delta", "index": 0}], "the delta of"),
        ({}, [begun(), {"type": "content_block_stop"}], "the index of"),
        ({}, [begun(), block(0, TEXT), stopped("end_turn")], "stops inside a block"),
        ({}, [begun(), {"type": "message_delta"}], "the delta of"),
        ({}, [begun(), stopped("secret")], "known reason to stop"),
        ({}, [begun(), {"type": "error", "error": {"message": "secret"}}], "an error inside"),
        (OLDER, [begun(), block(0, TOOL), closed(0), block(1, TOOL)], "more than the one call"),
    ],
)
def test_what_is_out_of_order_is_an_error(asked: Fields, events: list[Fields], said: str) -> None:
    """It says what is wrong, and nothing of the stream."""
    with pytest.raises(ProtocolError, match=said) as error:
        told(asked, *events)

    assert "secret" not in str(error.value)
