"""The events of a response, chunk by chunk."""

from __future__ import annotations

from typing import Any, Final

import pytest

from llmstack.dialects.responses_over_chat import ResponsesOverChat
from llmstack.dialects.translator import Piece
from llmstack.errors import ProtocolError
from tests.dialects.responses_over_chat.chat import (
    Thing,
    chunk,
    counted,
    events,
    function,
    message,
)
from tests.dialects.responses_over_chat.reader import read


USAGE: Final = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def kinds(pieces: list[Piece]) -> list[str]:
    """The names of the events, without the word that all begin with."""
    return [name.removeprefix("response.") for name, _ in pieces]


def bare(pieces: list[Piece]) -> list[Thing]:
    """The events between the first two and the terminal, without their numbers."""
    return [
        {key: value for key, value in data.items() if key != "sequence_number"}
        for _, data in pieces[2:-1]
    ]


def output(pieces: list[Piece]) -> list[Thing]:
    found: list[Thing] = pieces[-1][1]["response"]["output"]
    return found


def test_a_text() -> None:
    """Its item and its part begin with its first words, and end with the choice."""
    where = {"item_id": "msg_7", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    done = {**part, "text": "hey"}
    delta = {"type": "response.output_text.delta", **where, "logprobs": []}
    pieces = events(
        [chunk({"role": "assistant", "content": ""}), chunk({"content": "he"}),
         chunk({"content": "y"}, "stop")]
    )  # fmt: skip

    assert [
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": message([], "in_progress"),
        },
        {"type": "response.content_part.added", **where, "part": part},
        {**delta, "delta": "he"},
        {**delta, "delta": "y"},
        {"type": "response.output_text.done", **where, "text": "hey", "logprobs": []},
        {"type": "response.content_part.done", **where, "part": done},
        {"type": "response.output_item.done", "output_index": 0, "item": message([done])},
    ] == bare(pieces)
    assert "response.completed" == pieces[-1][0]


def test_a_refusal() -> None:
    """It has a part of its own, whose events have no log probabilities."""
    where = {"item_id": "msg_7", "output_index": 0, "content_index": 0}
    pieces = bare(events([chunk({"refusal": "n"}), chunk({"refusal": "o"}, "stop")]))

    assert [
        {
            "type": "response.content_part.added",
            **where,
            "part": {"type": "refusal", "refusal": ""},
        },
        {"type": "response.refusal.delta", **where, "delta": "n"},
        {"type": "response.refusal.delta", **where, "delta": "o"},
        {"type": "response.refusal.done", **where, "refusal": "no"},
        {
            "type": "response.content_part.done",
            **where,
            "part": {"type": "refusal", "refusal": "no"},
        },
    ] == pieces[1:-1]


def test_calls_that_interleave() -> None:
    """Each goes on where it stands."""
    pieces = events(
        [
            chunk(function(0, "", "f", "a")),
            chunk(function(1, "{", "g", "b")),
            chunk(function(0, "{}")),
            chunk(function(1, "}")),
            chunk({}, "tool_calls"),
        ]
    )
    deltas = [
        (data["item_id"], data["output_index"], data["delta"])
        for name, data in pieces
        if name == "response.function_call_arguments.delta"
    ]
    ended = [
        (data["item_id"], data["output_index"], data["name"], data["arguments"])
        for name, data in pieces
        if name == "response.function_call_arguments.done"
    ]

    assert [("fc_7_1", 1, "{"), ("fc_7_0", 0, "{}"), ("fc_7_1", 1, "}")] == deltas
    assert [("fc_7_0", 0, "f", "{}"), ("fc_7_1", 1, "g", "{}")] == ended
    assert [("a", "f", "{}"), ("b", "g", "{}")] == [
        (item["call_id"], item["name"], item["arguments"]) for item in output(pieces)
    ]


def test_a_custom_call() -> None:
    """Its input comes by events of its own, and has no name at the end."""
    first = {"index": 0, "id": "c", "type": "custom", "custom": {"name": "sh", "input": "l"}}
    more = {"index": 0, "custom": {"input": "s"}}
    where = {"item_id": "ctc_7_0", "output_index": 0}
    item = {"id": "ctc_7_0", "type": "custom_tool_call", "call_id": "c", "name": "sh"}
    pieces = bare(
        events([chunk({"tool_calls": [first]}), chunk({"tool_calls": [more]}, "tool_calls")])
    )

    assert [
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**item, "status": "in_progress", "input": ""},
        },
        {"type": "response.custom_tool_call_input.delta", **where, "delta": "l"},
        {"type": "response.custom_tool_call_input.delta", **where, "delta": "s"},
        {"type": "response.custom_tool_call_input.done", **where, "input": "ls"},
        {
            "type": "response.output_item.done",
            "output_index": 0,
            "item": {**item, "status": "completed", "input": "ls"},
        },
    ] == pieces


def test_the_first_events_say_that_it_is_under_way() -> None:
    """With the id and the model of the first chunk that has them, and no output yet."""
    before = {"id": "", "model": "", "choices": []}
    named = {"id": "chatcmpl-8", "model": "m-2", "choices": []}
    first = {**chunk({"content": "a"}), "id": None, "model": None}
    pieces = events([before, named, first, chunk({}, "stop")], {"temperature": 1})
    responses = [data["response"] for _, data in (*pieces[:2], pieces[-1])]

    assert ["created", "in_progress"] == kinds(pieces)[:2]
    assert 3 * [("resp_8", "m-2", 5, 1)] == [
        (each["id"], each["model"], each["created_at"], each["temperature"]) for each in responses
    ]
    assert ["in_progress", "in_progress", "completed"] == [each["status"] for each in responses]
    assert [0, 0, 1] == [len(each["output"]) for each in responses]


def step(*chunks: Thing) -> list[list[str]]:
    """The names of the events that each chunk means, and the end."""
    stream = ResponsesOverChat().stream({}, at=0.0)
    return [*(kinds(list(stream.take("", each))) for each in chunks), kinds(list(stream.end()))]


DONE: Final = ["output_text.done", "content_part.done", "output_item.done"]


@pytest.mark.parametrize(
    "last",
    [
        [],
        [counted(USAGE)],
        [counted(None)],
        [chunk({}, "stop", usage=USAGE)],
        [counted(USAGE), counted(USAGE)],
    ],
    ids=["end", "usage", "no usage", "finish again", "usage twice"],
)
def test_the_terminal_is_said_at_the_end_alone(last: list[Thing]) -> None:
    """Items end with the finish; an endpoint may still break behind that, and behind its usage."""
    said = step(chunk({"content": "a"}), chunk({}, "stop"), *last)

    assert [DONE, *([] for _ in last), ["completed"]] == said[1:]


def test_usage_that_comes_early_waits() -> None:
    """Tokens that are counted along are not the end; the last count stands."""
    early = {**USAGE, "completion_tokens": 1}
    first = [counted(early), chunk({"content": "a"}, usage=early), counted(early)]
    pieces = events([*first, chunk({}, "stop", usage=USAGE), chunk({}, usage=None)])

    assert 1 == kinds(pieces).count("completed")
    assert 2 == pieces[-1][1]["response"]["usage"]["output_tokens"]


def test_what_comes_after_the_finish_says_nothing() -> None:
    """The first finish stands."""
    late = [chunk({"content": "b"}), chunk(function(0, "", "f", "a")), chunk({}, "length")]
    pieces = events([chunk({"content": "a"}), chunk({}, "stop"), *late])

    assert events([chunk({"content": "a"}), chunk({}, "stop")]) == pieces


def test_only_the_first_choice_counts() -> None:
    """Which is the first that comes, whatever its number."""
    chunks = [chunk({"content": text}) for text in "abc"]
    for each, index in zip(chunks, (1, 0, 1), strict=True):
        each["choices"][0]["index"] = index
    (item,) = output(events(chunks))

    assert "ac" == item["content"][0]["text"]


def test_a_stream_without_a_finish_is_complete_when_it_ends() -> None:
    """For hosts that leave it out, the end says that all has come."""
    assert [*DONE, "completed"] == step(chunk({"content": "a"}))[-1]


def test_items_stand_in_the_order_in_which_they_began() -> None:
    """A text that begins behind a call comes behind it, and what comes late still joins."""
    chunks = [
        chunk(function(0, "{", "f", "a")),
        chunk({"refusal": "no"}),
        chunk({"content": "b"}),
        chunk(function(0, "}")),
        chunk({"content": "c"}, "stop"),
    ]
    pieces = events(chunks)
    call, said = output(pieces)

    assert [call, said] == read(pieces)["output"]
    assert ("function_call", "{}") == (call["type"], call["arguments"])
    assert ["no", "bc"] == [part.get("refusal", part.get("text")) for part in said["content"]]


def test_arguments_wait_for_the_name() -> None:
    """A call begins when it is known what is called; its number may come later, or never."""
    pieces = events(
        [chunk(function(0, "{")), chunk(function(0, "1", "f")), chunk(function(0, "}", "f", "a"))]
    )
    deltas = [data["delta"] for name, data in pieces if name.endswith("arguments.delta")]

    assert ["{1", "}"] == deltas
    assert ["call_7_0"] == [item["call_id"] for item in output(pieces)]


def test_names_that_are_repeated_are_said_once() -> None:
    """Some hosts say id and name in every delta."""
    (item,) = output(events(2 * [chunk(function(0, "1", "f", "a"))]))

    assert ("a", "f", "11") == (item["call_id"], item["name"], item["arguments"])


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (function(0, "", "g"), "the name of a tool call has changed"),
        (function(0, "", "", "b"), "the id of a tool call has changed"),
    ],
)
def test_two_calls_in_one_are_an_error(second: Thing, says: str) -> None:
    """Their arguments would be glued together."""
    with pytest.raises(ProtocolError, match=says):
        events([chunk(function(0, "", "f", "a")), chunk(second)])


@pytest.mark.parametrize(
    ("chunks", "says"),
    [
        ([], "the reply has no choice in it"),
        ([counted(USAGE)], "the reply has no choice in it"),
        ([chunk(function(0, "{}"), "stop")], "a tool call has no name"),
        ([chunk(function(-1, "{}", "f", "a"))], "a tool call has an impossible index"),
        ([chunk({}, "aborted")], "the finish is none that is known"),
        ([{"choices": [{"delta": "a"}]}], "the delta is no object"),
    ],
)
def test_what_no_chat_may_stream(chunks: list[Thing], says: str) -> None:
    """It is an error of the protocol."""
    with pytest.raises(ProtocolError, match=says):
        events(chunks)


def weighed(text: str, *tokens: str) -> Thing:
    """A chunk with these tokens, whether or not they are those of its text."""
    said: Any = chunk({"content": text})
    content = [{"token": token, "logprob": -1, "bytes": None} for token in tokens]
    said["choices"][0]["logprobs"] = {"content": content, "refusal": None}
    return said  # type: ignore[no-any-return]


def test_log_probabilities_come_with_their_text() -> None:
    """Before the text they wait; behind it they are told at once, and all at the end."""

    pieces = events([weighed("", "a"), weighed("bc", "b", "c"), weighed("", "d"), weighed("e")])
    told = [
        (name.rpartition(".")[2], data.get("delta"), [each["token"] for each in data["logprobs"]])
        for name, data in pieces
        if name.startswith("response.output_text.")
    ]

    assert [
        ("delta", "bc", ["a", "b", "c"]),
        ("delta", "", ["d"]),
        ("delta", "e", []),
        ("done", None, ["a", "b", "c", "d"]),
    ] == told


def test_log_probabilities_wait_for_the_text_behind_a_refusal() -> None:
    """A refusal has none of its own."""
    (item,) = output(events([weighed("", "a"), chunk({"refusal": "no"}), weighed("b", "b")]))

    assert ["a", "b"] == [each["token"] for each in item["content"][1]["logprobs"]]


def test_log_probabilities_of_calls_have_no_place() -> None:
    """They do not make a message."""
    said = chunk(function(0, "{}", "f", "a"), "stop")
    said["choices"][0]["logprobs"] = {"content": [{"token": "{}", "logprob": 0}]}

    assert ["function_call"] == [item["type"] for item in output(events([said]))]


def test_the_tier_that_is_told_last_stands() -> None:
    """And a null does not take it back."""
    tiers = ("auto", "flex", None)
    pieces = events([chunk({"content": "a"}, service_tier=tier) for tier in tiers])

    assert "flex" == pieces[-1][1]["response"]["service_tier"]
    assert "service_tier" not in pieces[0][1]["response"]
