import json
from random import Random
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.shared import ErrorResponse
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from llmstack.testing.anthropic_wire import Answer, error_body, tokens_in
from llmstack.testing.openai_wire import WORDS


TOOL = {"name": "f", "description": "three more words", "input_schema": {"type": "object"}}
#: `ping` is no type of the SDK, whose clients drop it by its name.
EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def answer(tokens: int, seed: int = 0, *, most: int = 9, **more: object) -> Answer:
    messages = [{"role": "user", "content": "one two"}]
    body = {"model": "m", "max_tokens": most, "messages": messages, **more}
    return Answer.to(body, tokens, Random(seed), at=10.9)


def decoded(event: bytes) -> dict[str, Any]:
    """The data of an event, which has the name that the data says."""
    name, data, *end = event.decode().split("\n")
    said: dict[str, Any] = json.loads(data.removeprefix("data: "))

    assert (f"event: {said['type']}", ["", ""]) == (name, end)
    return said


@given(tokens=st.integers(0, 9), most=st.integers(1, 9), tool=st.booleans())
def test_events_and_message_say_the_same(tokens: int, most: int, *, tool: bool) -> None:
    """Words, reason and usage; and both are what the types of the SDK take."""
    more: Any = {"tools": [TOOL], "tool_choice": {"type": "any"}} if tool else {}
    given_answer = answer(tokens, most=most, **more)
    whole = given_answer.complete()
    Message.model_validate(whole, strict=True)
    begin, start, ping, *deltas, stop, ended, last = map(decoded, given_answer.events())
    for event in (begin, start, *deltas, stop, ended, last):
        EVENTS.validate_python(event, strict=True)

    said = min(tokens, most)
    names = ("partial_json", "input") if tool else ("text", "text")
    text = "".join(each["delta"][names[0]] for each in deltas)
    assert (Answer.lead, said) == (3, len(deltas))
    assert {"type": "ping"} == ping
    (block,) = whole["content"]
    assert block[names[1]] == (json.loads(text or "{}") if tool else text)
    assert said == len((block["input"].get("words", "") if tool else text).split())
    assert block == {**start["content_block"], names[1]: block[names[1]]}
    reason = ("tool_use" if tool else "end_turn") if said == tokens else "max_tokens"
    assert [reason, reason] == [whole["stop_reason"], ended["delta"]["stop_reason"]]
    assert whole["usage"] == {**begin["message"]["usage"], **ended["usage"]}
    prompt = 5 if tool else 2
    assert (prompt, said) == (whole["usage"]["input_tokens"], whole["usage"]["output_tokens"])
    assert min(said, 1) == begin["message"]["usage"]["output_tokens"]
    kept = {"content": [], "stop_reason": None, "usage": begin["message"]["usage"]}
    assert {**whole, **kept} == begin["message"]


def test_the_same_dice_give_the_same_words() -> None:
    """And other dice give others, of the list; the id tells the time too."""
    assert answer(9) == answer(9)
    assert answer(9).id != answer(9, seed=1).id
    assert answer(9).words != answer(9, seed=1).words
    assert set(WORDS) >= set(answer(9).words)
    assert answer(9).id.startswith("msg_a")


@pytest.mark.parametrize(
    ("choice", "tool"),
    [
        ({"type": "tool", "name": "g"}, "g"),
        ({"type": "any"}, "f"),
        ({"type": "auto"}, None),
        ({"type": "none"}, None),
        (None, None),
    ],
)
def test_a_tool_is_used_where_the_request_insists(choice: object, tool: str | None) -> None:
    """On this one, or on any; else the answer is a text."""
    assert tool == answer(1, tools=[TOOL, {"name": "g"}], tool_choice=choice).tool
    assert answer(1, tools=[], tool_choice={"type": "any"}).tool is None


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({}, 0),
        ({"system": "a b", "model": "x y"}, 2),
        ({"system": [{"type": "text", "text": "a b c"}]}, 3),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "x", "content": "b c"}]}, 3),
        ({"messages": [{"content": [{"type": "tool_use", "id": "t", "input": {"text": "a"}}]}]}, 1),
        ({"messages": [{"content": [{"type": "tool_result", "content": "a b"}]}]}, 2),
        ({"tools": [TOOL]}, 3),
        ({"messages": [{"content": 5}]}, 0),
    ],
)
def test_a_prompt_has_as_many_tokens_as_words(body: dict[str, object], tokens: int) -> None:
    """Of what it says, not of names, types and ids."""
    assert tokens == tokens_in(body)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((400, "invalid_request_error"), (401, "authentication_error"), (402, "billing_error")),
        *((403, "permission_error"), (404, "not_found_error"), (429, "rate_limit_error")),
        *((500, "api_error"), (503, "api_error"), (504, "timeout_error")),
        *((529, "overloaded_error"), (422, "invalid_request_error")),
    ],
)
def test_an_error_has_the_type_of_its_status(status: int, kind: str) -> None:
    """In the frame of the format; a code goes into its details."""
    plain, exact = error_body(status, "x"), error_body(status, "x", "c")
    ErrorResponse.model_validate(plain, strict=True)

    assert {"type": "error", "error": {"type": kind, "message": "x"}} == plain
    assert {**plain["error"], "details": {"error_code": "c"}} == exact["error"]


def test_a_request_that_is_too_large_has_a_type_of_its_own() -> None:
    """Which the SDK has no type for: it goes by the status."""
    assert "request_too_large" == error_body(413, "x")["error"]["type"]
