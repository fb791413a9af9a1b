"""A whole chat reply is a response with all its fields, in which the caller's settings stand."""

from __future__ import annotations

from typing import Any, Final

import pytest

from llmstack.dialects.responses_over_chat import ResponsesOverChat
from llmstack.errors import ProtocolError
from tests.dialects.responses_over_chat.chat import Thing, message, whole
from tests.openapi import wrong


BARE: Final[Thing] = {
    "id": "resp_7",
    "object": "response",
    "created_at": 5,
    "status": "completed",
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "model": "m-1",
    "output": [],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
}
CALL: Final = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CUSTOM: Final = {"id": "c2", "type": "custom", "custom": {"name": "sh", "input": "ls"}}


def response(body: object, **asked: object) -> Thing:
    said: Any = ResponsesOverChat().reply(body, asked=asked, at=5.9)  # type: ignore[arg-type]
    assert [] == wrong("Response", {n: v for n, v in said.items() if n != "store"})
    return said  # type: ignore[no-any-return]


def text(words: str, logprobs: list[Thing] | None = None) -> Thing:
    return {"type": "output_text", "text": words, "annotations": [], "logprobs": logprobs or []}


def fc(n: int, call_id: str, status: str = "completed") -> Thing:
    common = {"id": f"fc_7_{n}", "type": "function_call", "status": status, "call_id": call_id}
    return {**common, "name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"content": "hey"}, [message([text("hey")])]),
        ({"content": ""}, []),
        ({"content": None, "refusal": None, "tool_calls": None}, []),
        ({"refusal": "no"}, [message([{"type": "refusal", "refusal": "no"}])]),
        (
            {"content": "a", "refusal": "no"},
            [message([text("a"), {"type": "refusal", "refusal": "no"}])],
        ),
        ({"tool_calls": [CALL]}, [fc(0, "c1")]),
        (
            {"content": "a", "tool_calls": [CALL, {**CALL, "id": None}]},
            [message([text("a")]), fc(0, "c1"), fc(1, "call_7_1")],
        ),
        (
            {"tool_calls": [CUSTOM]},
            [
                {
                    "id": "ctc_7_0",
                    "type": "custom_tool_call",
                    "status": "completed",
                    "call_id": "c2",
                    "name": "sh",
                    "input": "ls",
                }
            ],
        ),
        ({"content": "hey", "reasoning_content": "hm"}, [message([text("hey")])]),
    ],
)
def test_output(said: Thing, expected: list[Thing]) -> None:
    """Text and refusal are one message, and each call is an item."""
    assert {**BARE, "output": expected} == response(whole(said))


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("function_call", "completed", None),
        (None, "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_status(finish: str | None, status: str, reason: str | None) -> None:
    """What was cut says so, in the response and in each of its items."""
    said = response(whole({"content": "a", "tool_calls": [CALL]}, finish))
    details = None if reason is None else {"reason": reason}

    assert (status, details) == (said["status"], said["incomplete_details"])
    assert [message([text("a")], status), fc(0, "c1", status)] == said["output"]


def test_the_settings_are_repeated() -> None:
    """As the caller gave them, but for what was dropped."""
    settings: Thing = {
        "instructions": "be kind",
        "max_output_tokens": 99,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "prompt_cache_key": "k",
        "prompt_cache_retention": "24h",
        "safety_identifier": "s",
        "temperature": 0.5,
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "tool_choice": {"type": "function", "name": "f"},
        "tools": [{"type": "custom", "name": "c"}],
        "top_logprobs": 3,
        "top_p": 0.25,
        "user": "u",
    }
    dropped: Thing = {"max_tool_calls": 3, "truncation": "auto", "service_tier": "ultrafast"}
    said = response(whole({}), input="hi", **settings, **dropped)

    assert {**BARE, **settings} == said


def test_what_was_dropped_of_an_object_is_not_repeated() -> None:
    """An effort had its effect, a summary had none."""
    said = response(
        whole({}), reasoning={"effort": "low", "summary": "auto"}, text={"format": None}
    )

    assert {**BARE, "reasoning": {"effort": "low", "summary": None}} == said


def test_tools_get_the_fields_that_a_response_must_have() -> None:
    """A request may leave them out."""
    bare = {"type": "function", "name": "f"}
    full = {**bare, "parameters": {"type": "object"}, "strict": True}
    expected = [{**bare, "parameters": None, "strict": None}, full]

    assert expected == response(whole({}), tools=[bare, full])["tools"]


@pytest.mark.parametrize("name", sorted({"instructions", "metadata", "text", "tools", "user"}))
def test_a_null_setting_is_none(name: str) -> None:
    """A null in the request is as good as no field."""
    assert BARE == response(whole({}), **{name: None})


USAGE: Final = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({}, (0, 0, 0, 12)),
        ({"total_tokens": None}, (0, 0, 0, 12)),
        ({"total_tokens": 99}, (0, 0, 0, 99)),
        (
            {
                "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            (3, 2, 4, 12),
        ),
        ({"prompt_tokens_details": None, "completion_tokens_details": 7}, (0, 0, 0, 12)),
        ({"prompt_tokens_details": {"cached_tokens": True}}, (0, 0, 0, 12)),
    ],
)
def test_usage(details: Thing, expected: tuple[int, int, int, int]) -> None:
    """Tokens by the names of Responses."""
    said = response(whole({}, usage={**USAGE, **details}))["usage"]

    assert (7, 5) == (said["input_tokens"], said["output_tokens"])
    assert expected == (
        said["input_tokens_details"]["cached_tokens"],
        said["input_tokens_details"]["cache_write_tokens"],
        said["output_tokens_details"]["reasoning_tokens"],
        said["total_tokens"],
    )


@pytest.mark.parametrize(
    "usage", [None, 7, {}, {**USAGE, "prompt_tokens": "7"}, {**USAGE, "completion_tokens": -1}]
)
def test_no_usage_is_made_up(usage: object) -> None:
    """A response without tokens does not say that there were none."""
    assert BARE == response(whole({}, usage=usage))


TOKEN: Final = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}


def test_log_probabilities() -> None:
    """Those of the text stand with it; where bytes are null, they are none."""
    odd = {"token": "b", "logprob": -1, "bytes": None, "top_logprobs": [{**TOKEN, "bytes": None}]}
    body = whole({"content": "ab"})
    body["choices"][0]["logprobs"] = {"content": [TOKEN, odd], "refusal": [TOKEN]}
    inner = {"token": "a", "logprob": -0.5, "bytes": []}
    expected = [TOKEN, {"token": "b", "logprob": -1, "bytes": [], "top_logprobs": [inner]}]

    assert [message([text("ab", expected)])] == response(body)["output"]


@pytest.mark.parametrize(
    ("tier", "expected"), [("flex", "flex"), ("on_demand", None), (None, None), ([], None)]
)
def test_the_tier_is_the_one_that_was_used(tier: object, expected: str | None) -> None:
    """If the caller's dialect has a word for it."""
    said = response(whole({}, service_tier=tier), service_tier="auto")

    assert expected == said.get("service_tier")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ({"id": "x-1", "model": "m"}, ("resp_x-1", "m")),
        ({"id": "", "model": ""}, ("resp_at5900000", "asked")),
        ({"id": None, "model": None}, ("resp_at5900000", "asked")),
        ({"id": "chatcmpl-", "model": "m"}, ("resp_at5900000", "m")),
        ({"id": 7, "model": "m"}, ("resp_at5900000", "m")),
    ],
)
def test_ids_come_from_the_endpoints(head: Thing, expected: tuple[str, str]) -> None:
    """Without one, from the time; without a model, the one that was asked for."""
    said = response({**whole({}), **head}, model="asked")

    assert expected == (said["id"], said["model"])


def test_only_the_first_choice_counts() -> None:
    """No other was asked for."""
    body = whole({"content": "a"})
    body["choices"].append({**whole({"content": "b"})["choices"][0], "index": 1})

    assert [message([text("a")])] == response(body)["output"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "the reply has no choice in it"),
        ({"choices": []}, "the reply has no choice in it"),
        ({"choices": {}}, "choices are no list of objects"),
        ({"choices": [7]}, "choices are no list of objects"),
        ({"choices": [{"index": "0"}]}, "a choice has an impossible index"),
        ({"choices": [{"index": -1}]}, "a choice has an impossible index"),
        ({"choices": [{"index": True}]}, "a choice has an impossible index"),
        ({"choices": [{"message": "a"}]}, "the message is no object"),
        ({**whole({}), "model": 7}, "the model is no string"),
        (whole({"content": ["a"]}), "the content is no string"),
        (whole({"refusal": 7}), "the refusal is no string"),
        (whole({"function_call": {"name": "f"}}), "a call of a kind that was not asked for"),
        (whole({"tool_calls": "f"}), "tool_calls are no list of objects"),
        (whole({"tool_calls": [{"id": "c"}]}), "a tool call has no name"),
        (whole({"tool_calls": [{"id": 7}]}), "the id of a tool call is no string"),
        (whole({"tool_calls": [{"function": "f"}]}), "a tool call is no object"),
        (whole({"tool_calls": [{"function": {"name": 7}}]}), "the name of a tool call is no"),
        (whole({"tool_calls": [{"function": {"arguments": {}}}]}), "the text of a tool call is"),
        (whole({}, "aborted"), "the finish is none that is known"),
        (
            {"choices": [{"message": {}, "finish_reason": 7}]},
            "the finish is no string",
        ),
        ({"choices": [{"logprobs": 7}]}, "logprobs is no object"),
        ({"choices": [{"logprobs": {"content": 7}}]}, "logprobs.content are no list of objects"),
        ({"choices": [{"logprobs": {"content": [{}]}}]}, "a log probability is no number"),
        (
            {"choices": [{"logprobs": {"content": [{"logprob": 0, "token": 7}]}}]},
            "a token is no string",
        ),
        (
            {"choices": [{"logprobs": {"content": [{"logprob": 0, "top_logprobs": 7}]}}]},
            "top_logprobs are no list of objects",
        ),
    ],
)
def test_what_no_chat_may_say(body: Thing, says: str) -> None:
    """It is an error of the protocol, which says what was wrong."""
    with pytest.raises(ProtocolError) as caught:
        ResponsesOverChat().reply(body, asked={}, at=5.9)

    assert caught.value.message.startswith(says)
