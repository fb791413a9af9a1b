"""A response and its stream say the same, to us and to the openai SDK."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

import pytest
from hypothesis import assume, example, given
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from llmstack.dialects.responses import assembled, pieces
from llmstack.errors import ProtocolError
from tests.dialects.responses_side import FULL, responses
from tests.openapi import wrong


EVENT: Final[TypeAdapter[Any]] = TypeAdapter(ResponseStreamEvent)
#: The deltas of texts, and the field of the item or part that each of them makes.
GROWS: Final = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_text.delta": "text",
    "response.reasoning_summary_text.delta": "text",
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
}
#: The events that say a whole again, and under which name.
WHOLE: Final = {
    "response.output_text.done": "text",
    "response.refusal.done": "refusal",
    "response.reasoning_text.done": "text",
    "response.reasoning_summary_text.done": "text",
    "response.function_call_arguments.done": "arguments",
    "response.custom_tool_call_input.done": "input",
}
DONE: Final = {"type": "response.completed", "response": {"id": "r", "output": []}}


def events(body: dict[str, Any]) -> list[Any]:
    return [data for _, data in pieces(body)]


def place(output: list[Any], event: dict[str, Any]) -> dict[str, Any]:
    """The part of the output that *event* is about: an item, or a part of one."""
    item: dict[str, Any] = output[event["output_index"]]
    for name in ("summary", "content"):
        if f"{name}_index" in event:
            item = item[name][event[f"{name}_index"]]
    return item


def read(said: list[Any]) -> list[Any]:
    """The output as a reader of deltas alone sees it, who checks what is said twice."""
    output: list[Any] = []
    for event in deepcopy(said):
        kind = event["type"]
        if kind == "response.output_item.added":
            assert len(output) == event["output_index"]
            assert event["item"].get("status") in (None, "in_progress")
            output.append(event["item"])
        elif kind.endswith("part.added"):
            name = "summary" if "summary_index" in event else "content"
            output[event["output_index"]][name].append(event["part"])
        elif kind in GROWS:
            place(output, event)[GROWS[kind]] += event["delta"]
        elif kind == "response.output_text.annotation.added":
            place(output, event)["annotations"].insert(
                event["annotation_index"], event["annotation"]
            )
        elif kind in WHOLE:
            assert place(output, event)[WHOLE[kind]] == event[WHOLE[kind]]
        elif kind.endswith(".done"):
            again = event["part"] if "part" in event else event["item"]
            assert plain(place(output, event)) == plain(again)
    return output


def plain(value: object) -> object:
    """A part of an output without what no delta says in its place, or the SDK adds."""
    if isinstance(value, dict):
        odd = {"status", "logprobs", "parsed", "parsed_arguments"}
        return {name: plain(each) for name, each in value.items() if name not in odd}
    return [plain(each) for each in value] if isinstance(value, list) else value


def test_a_response_is_said_in_the_shortest_stream() -> None:
    """It begins empty, each item is added, said and done, and the last event has all of it."""
    part = {"type": "output_text", "text": "Hi", "annotations": []}
    item = {"type": "message", "id": "m", "status": "incomplete", "content": [part]}
    body = {"id": "r", "status": "incomplete", "usage": {"input_tokens": 1}, "output": [item]}

    at: dict[str, Any] = {"output_index": 0, "item_id": "m", "content_index": 0}
    early: dict[str, Any] = {"id": "r", "status": "in_progress", "output": []}
    empty = {**item, "status": "in_progress", "content": []}
    said: list[dict[str, Any]] = [
        {"type": "response.created", "response": early},
        {"type": "response.in_progress", "response": early},
        {"type": "response.output_item.added", "output_index": 0, "item": empty},
        {"type": "response.content_part.added", "part": {**part, "text": ""}, **at},
        {"type": "response.output_text.delta", "delta": "Hi", "logprobs": [], **at},
        {"type": "response.output_text.done", "text": "Hi", "logprobs": [], **at},
        {"type": "response.content_part.done", "part": part, **at},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.incomplete", "response": body},
    ]
    assert [
        (event["type"], {**event, "sequence_number": n}) for n, event in enumerate(said)
    ] == pieces(body)


@given(body=responses())
def test_a_response_comes_back_from_its_stream(body: dict[str, Any]) -> None:
    """To cut a response and to assemble it changes nothing, and leaves both as they were."""
    before = deepcopy(body)

    cut = pieces(body)
    as_cut = deepcopy(cut)

    assert before == assembled(cut)
    assert before == body
    assert as_cut == cut


@example(body=FULL)
@given(body=responses())
def test_deltas_alone_say_the_whole_output(body: dict[str, Any]) -> None:
    """Who adds up the deltas has what the last event says, and no two events disagree."""
    assert plain(body["output"]) == plain(read(events(body)))


@given(body=responses())
def test_the_sdk_reads_the_same_from_the_stream(body: dict[str, Any]) -> None:
    """Each event is valid in strict mode, and those that complete are the SDK's response."""
    state = ResponseStreamState[Any](input_tools=omit, text_format=omit)
    Response.model_validate(body, strict=True)

    for event in events(body):
        known = EVENT.validate_python(event, strict=True)
        assert event["type"] == known.type
        state.handle_event(known)
    completed = state._completed_response
    if body["status"] == "completed":
        assert completed is not None
        assert plain(body["output"]) == plain(completed.to_dict()["output"])
    else:
        assert completed is None


@given(body=responses())
def test_every_event_of_a_published_response_is_published(body: dict[str, Any]) -> None:
    """By the document, which wants a name behind arguments, and no null for the usage."""
    assume(not wrong("Response", body))

    for event in events(body):
        schema = type(EVENT.validate_python(event, strict=True)).__name__
        assert [] == wrong(schema, event)


@given(body=responses())
def test_items_stand_in_for_an_output_that_is_left_out(body: dict[str, Any]) -> None:
    """Some hosts say null at the end; then the items that were done are the output."""
    cut = pieces(body)
    name, last = cut[-1]
    bare = {**last, "response": {**body, "output": None}}

    assert body == assembled([*reversed(cut[:-1]), (name, bare)])


def test_a_text_is_said_before_what_stands_beside_it() -> None:
    """First the text, then its links, then all of it again; nothing is said in no letters."""
    said = [event["type"] for event in events(FULL) if event.get("item_id") == "msg_1"]
    empty = {"type": "message", "content": [{"type": "refusal", "refusal": ""}]}

    link = "response.output_text.annotation.added"
    text = ["response.output_text.delta", link, link, "response.output_text.done"]
    assert text == said[1:5]
    assert not any(event["type"].endswith(".delta") for event in events({"output": [empty]}))


def test_an_output_that_is_said_stands() -> None:
    """Also if it is empty, and items were done before."""
    item = {"type": "response.output_item.done", "output_index": 0, "item": {"id": "a"}}

    assert DONE["response"] == assembled([("", item), ("", DONE)])


def test_parts_of_other_kinds_are_said_at_once() -> None:
    """What is not known is added and done as it is; a summary need not have a text."""
    part, thought = {"type": "sparkle", "glow": 1}, {"type": "summary_text"}
    item = {"type": "message", "id": "m", "content": [part], "summary": [thought]}

    said = [event["part"] for event in events({"output": [item]}) if "part" in event]

    assert [thought, thought, part, part] == said


def test_a_response_without_a_status_is_complete() -> None:
    """Compatible hosts leave it out."""
    assert "response.completed" == pieces({"output": []})[-1][0]


def test_a_delta_of_an_item_without_an_id_is_told_by_its_place() -> None:
    """An event must have one, and no other item has it."""
    call = {"type": "function_call", "arguments": "{}", "call_id": "c", "name": "f"}

    said = events({"output": [call, call]})

    asked = [event["item_id"] for event in said if event["type"] in GROWS]
    assert ["item_0", "item_1"] == asked


def test_what_comes_after_the_terminal_is_not_read() -> None:
    """One response, one end; events that are not known say nothing."""
    new = ("response.sparkle", {"type": "response.sparkle"})

    said = assembled([new, ("response.completed", DONE), ("error", {"type": "error"})])

    assert DONE["response"] == said


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.created", "response": {"output": []}},
        {"type": "error", "message": "no"},
        {"type": "response.completed", "response": None},
        {"type": "response.output_item.done", "item": {}},
        {"type": "response.output_item.done", "output_index": 0, "item": "a"},
    ],
)
def test_a_stream_that_is_none_is_told(event: dict[str, Any]) -> None:
    """What the format does not allow is an error, not a guess; so is a missing end."""
    after = [] if event["type"] == "response.created" else [("", DONE)]

    with pytest.raises(ProtocolError):
        assembled([(event["type"], event), *after])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"status": "queued", "output": []},
        {"status": "in_progress", "output": []},
        {"status": "cancelled", "output": []},
        {"status": ["completed"], "output": []},
        {"status": "completed", "output": None},
        {"output": ["a"]},
        {"output": [{"type": "message", "content": ["a"]}]},
    ],
)
def test_a_response_that_is_none_or_not_over_is_told(body: dict[str, Any]) -> None:
    """What cannot be a response has no stream, and neither has one that goes on elsewhere."""
    with pytest.raises(ProtocolError):
        pieces(body)
