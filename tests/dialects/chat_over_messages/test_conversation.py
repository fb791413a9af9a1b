"""What the messages of a chat become: system text, turns, blocks, calls and results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmstack.errors import Untranslatable
from tests.dialects.chat_over_messages.asking import CHAT, turns


Message = dict[str, Any]

HI: Message = {"role": "user", "content": "Hi"}


def text(said: str) -> Message:
    return {"type": "text", "text": said}


def image(url: str, **fields: str) -> Message:
    return {"type": "image_url", "image_url": {"url": url, **fields}}


def calls(*ids: str, arguments: str = "{}") -> Message:
    """A message of the assistant that calls `f` under each of *ids*."""
    function = {"name": "f", "arguments": arguments}
    made = [{"id": each, "type": "function", "function": function} for each in ids]
    return {"role": "assistant", "content": None, "tool_calls": made}


def result(known_as: str, content: object = "42") -> Message:
    return {"role": "tool", "tool_call_id": known_as, "content": content}


@pytest.mark.parametrize(
    ("messages", "system", "expected"),
    [
        ([HI], None, [("user", ["Hi"])]),
        ([{"role": "system", "content": "S"}, HI], "S", [("user", ["Hi"])]),
        (
            [
                {"role": "developer", "content": "D"},
                HI,
                {"role": "system", "content": [text("S"), text(" "), text("T")]},
            ],
            "D\n\nS\n\nT",
            [("user", ["Hi"])],
        ),
        ([{"role": "system", "content": " "}, HI], None, [("user", ["Hi"])]),
        ([{"role": "system", "content": "S"}], None, [("user", ["S"])]),
        (
            [
                *(HI, {"role": "assistant", "content": "Ho"}),
                *({"role": "system", "content": "S"}, {"role": "user", "content": ""}),
            ],
            None,
            [("user", ["Hi"]), ("assistant", ["Ho"]), ("user", ["S"])],
        ),
        ([HI, HI], None, [("user", ["Hi", "Hi"])]),
        (
            [HI, {"role": "assistant", "content": ""}, {"role": "user", "content": "x"}],
            None,
            [("user", ["Hi", "x"])],
        ),
        (
            [{"role": "assistant", "content": "Welcome"}, HI],
            None,
            [("assistant", ["Welcome"]), ("user", ["Hi"])],
        ),
        (
            [HI, {"role": "assistant", "content": [text("It "), text("is \n")]}],
            None,
            [("user", ["Hi"]), ("assistant", ["It ", "is"])],
        ),
        (
            [HI, {"role": "assistant", "content": "a "}, HI],
            None,
            [("user", ["Hi"]), ("assistant", ["a "]), ("user", ["Hi"])],
        ),
        (
            [HI, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No"}]}],
            None,
            [("user", ["Hi"]), ("assistant", ["No"])],
        ),
        (
            [HI, {"role": "assistant", "content": "I", "refusal": "cannot"}],
            None,
            [("user", ["Hi"]), ("assistant", ["I", "cannot"])],
        ),
    ],
)
def test_texts_become_turns(
    messages: list[Message], system: str | None, expected: list[tuple[str, list[str]]]
) -> None:
    """System texts aside, in turns that alternate, without empty ones."""
    body = CHAT.request({"messages": messages}).body
    said = [
        (turn["role"], [block["text"] for block in turn["content"]]) for turn in body["messages"]
    ]

    assert (system, expected) == (body.get("system"), said)


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("https://a.org/b.png?c=,", {"type": "url", "url": "https://a.org/b.png?c=,"}),
        ("HTTPS://a.org/", {"type": "url", "url": "HTTPS://a.org/"}),
        (
            "data:image/png;base64,AA,+/=",
            {"type": "base64", "media_type": "image/png", "data": "AA,+/="},
        ),
        (
            "DATA:image/JPG;charset=x;BASE64,Qq==",
            {"type": "base64", "media_type": "image/jpeg", "data": "Qq=="},
        ),
    ],
)
def test_an_image_has_a_source(url: str, source: Message) -> None:
    """At an address, or in base64, between the texts where it stood."""
    (turn,) = turns({"role": "user", "content": [text("a"), image(url), text("b")]})

    assert [text("a"), {"type": "image", "source": source}, text("b")] == turn["content"]


@pytest.mark.parametrize(
    ("message", "dropped"),
    [
        ({**HI, "name": "ann"}, ["messages[*].name"]),
        ({**HI, "odd": None, "none": []}, []),
        ({"role": "system", "content": "S", "name": "x"}, ["messages[*].name"]),
        (
            {"role": "assistant", "content": "a", "reasoning_content": "b", "annotations": [1]},
            ["messages[*].reasoning_content", "messages[*].annotations"],
        ),
        (
            {"role": "user", "content": [{**text("a"), "prompt_cache_breakpoint": {"mode": "x"}}]},
            ["messages[*].content[*].prompt_cache_breakpoint"],
        ),
        ({"role": "user", "content": [image("https://a.org/", detail="auto")]}, []),
        (
            {"role": "user", "content": [{**image("https://a.org/", detail="low"), "x": 1}]},
            ["messages[*].content[*].x", "messages[*].content[*].image_url.detail"],
        ),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "a", "x": 1}]},
            ["messages[*].content[*].x"],
        ),
    ],
)
def test_what_is_left_out_of_a_message_is_told(message: Message, dropped: list[str]) -> None:
    """Once, however often it occurs."""
    translated = CHAT.request({"messages": [message, HI, message]})

    assert dropped == list(translated.dropped)
    names = {path.split(".")[-1] for path in dropped}
    assert not [name for name in names if f'"{name}"' in json.dumps(translated.body)]


def test_calls_and_results_keep_together() -> None:
    """Text and calls in one turn, results first in the next, whatever was said in between."""
    said = {**calls("a", "b", arguments='{"x": [1]}'), "content": "Let me see"}
    late = {"role": "system", "content": "S"}
    made = turns(HI, said, {"role": "user", "content": "Well?"}, result("b", ""), late, result("a"))

    assert made[1:] == [
        {
            "role": "assistant",
            "content": [
                text("Let me see"),
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": [1]}},
                {"type": "tool_use", "id": "b", "name": "f", "input": {"x": [1]}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "b"},
                {"type": "tool_result", "tool_use_id": "a", "content": [text("42")]},
                text("Well?"),
            ],
        },
    ]


def test_calls_of_two_messages_may_be_one_turn() -> None:
    """The results for both are then in the turn behind them."""
    made = turns(HI, calls("a"), calls("b"), result("a"), result("b", [text("x"), text("y")]))

    assert ["a", "b"] == [block["id"] for block in made[1]["content"]]
    assert [text("x"), text("y")] == made[2]["content"][1]["content"]


def test_a_function_has_its_result_by_name() -> None:
    """The older form: no ids, and a result that may be null."""
    call = {"role": "assistant", "function_call": {"name": "f", "arguments": " "}}
    results = [{"role": "function", "name": "f", "content": each} for each in ("1", None)]
    made = turns(HI, call, results[0], call, results[1])
    ids = [turn["content"][0].get("id") or turn["content"][0]["tool_use_id"] for turn in made[1:]]

    assert ["call", "call", "call_1", "call_1"] == ids
    assert {"type": "tool_use", "id": "call", "name": "f", "input": {}} == made[1]["content"][0]
    assert [text("1")] == made[2]["content"][0]["content"]
    assert "content" not in made[4]["content"][0]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["call_1", "x-Y"], ["call_1", "x-Y"]),
        (["a.b", "a b", "a_b"], ["a_b", "a_b_1", "a_b_2"]),
        (["a_b_1", "a.b", "a b", "a:b"], ["a_b_1", "a_b", "a_b_2", "a_b_3"]),
        (["a_1", "a_1", "a_1"], ["a_1", "a_1_1", "a_1_2"]),
        (["x", "y", "a", "a"], ["x", "y", "a", "a_3"]),
        (["é", ""], ["_", "call"]),
    ],
)
def test_ids_are_said_in_the_signs_of_messages(ids: list[str], expected: list[str]) -> None:
    """Each once in the conversation, for its call and for its result."""
    exchanges = [message for each in ids for message in (calls(each), result(each))]
    made = [block for turn in turns(HI, *exchanges)[1:] for block in turn["content"]]

    assert expected == [block["id"] for block in made[::2]]
    assert expected == [block["tool_use_id"] for block in made[1::2]]


def test_what_is_left_out_of_a_call_is_told() -> None:
    """Its index in a stream is no part of it."""
    message = calls("a")
    message["tool_calls"][0] |= {"index": 0, "extra_content": {"a": 1}, "odd": {}}
    message["tool_calls"][0]["function"] = {"name": "f", "arguments": "", "parsed": 1}
    translated = CHAT.request({"messages": [HI, message, result("a")]})

    assert [
        "messages[*].tool_calls[*].extra_content",
        "messages[*].tool_calls[*].function.parsed",
    ] == list(translated.dropped)


def test_a_call_may_be_short_of_what_goes_without_saying() -> None:
    """It is of a function, and without arguments it has none."""
    call = {"id": "a", "function": {"name": "f"}}
    said = CHAT.request(
        {"messages": [HI, {"role": "assistant", "tool_calls": [call]}, result("a")]}
    )

    expected = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    assert [expected] == said.body["messages"][1]["content"]


def function_call(**fields: object) -> Message:
    return {"role": "assistant", "function_call": {"name": "f", "arguments": "{}", **fields}}


AUDIO = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
CUSTOM = {"id": "a", "type": "custom", "custom": {"name": "f", "input": ""}}
NO_PART = "Messages has no such part in this place"
NO_RESULT = "Messages has no call without a result"


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (None, "messages: must be an array"),
        ("Hi", "messages: must be an array"),
        ([], "messages: nothing is said in them"),
        ([{"role": "user", "content": " \n"}], "messages: nothing is said in them"),
        ([HI, 1], "messages[1]: must be an object"),
        ([{}], "messages[0].role: not a role"),
        ([{"role": "critic", "content": "a"}], "messages[0].role: not a role"),
        ([{"role": "user"}], "messages[0].content: must be an array"),
        ([{"role": "user", "content": ["a"]}], "messages[0].content[0]: must be an object"),
        ([{"role": "user", "content": [{}]}], f"messages[0].content[0].type: {NO_PART}"),
        (
            [{"role": "user", "content": [{"type": "text"}]}],
            "messages[0].content[0].text: must be a string",
        ),
        (
            [{"role": "user", "content": [text("a"), AUDIO]}],
            f"messages[0].content[1].type: {NO_PART}",
        ),
        (
            [{"role": "user", "content": [{"type": "file", "file": {}}]}],
            f"messages[0].content[0].type: {NO_PART}",
        ),
        (
            [{"role": "system", "content": [image("https://a.org/")]}],
            f"messages[0].content[0].type: {NO_PART}",
        ),
        (
            [{"role": "user", "content": [{"type": "refusal", "refusal": "a"}]}],
            f"messages[0].content[0].type: {NO_PART}",
        ),
        (
            [{"role": "assistant", "content": [{"type": "refusal"}]}],
            "messages[0].content[0].refusal: must be a string",
        ),
        ([{"role": "assistant", "refusal": 1}], "messages[0].refusal: must be a string"),
        (
            [{"role": "assistant", "audio": {"id": "a"}}],
            "messages[0].audio: Messages has no audio",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "https://a.org"}]}],
            "messages[0].content[0].image_url: must be an object",
        ),
        *(
            (
                [{"role": "user", "content": [image(url)]}],
                f"messages[0].content[0].image_url.url: Messages takes {what} only",
            )
            for url, what in [
                ("http://a.org/", "https: and data:"),
                ("data:image/png;base64", "https: and data:"),
                ("data:image/png,AAAA", "base64 of gif, jpeg, png and webp"),
                ("data:image/bmp;base64,AAAA", "base64 of gif, jpeg, png and webp"),
                ("data:,", "base64 of gif, jpeg, png and webp"),
            ]
        ),
        ([HI, calls("a")], f"messages[1].tool_calls[0].function: {NO_RESULT}"),
        (
            [HI, calls("a", "b"), result("a"), {"role": "assistant", "content": "x"}],
            f"messages[1].tool_calls[1].function: {NO_RESULT}",
        ),
        ([HI, function_call(), HI], f"messages[1].function_call: {NO_RESULT}"),
        (
            [HI, calls("a", "a")],
            "messages[1].tool_calls[1].function: a call with the same id is open",
        ),
        *(
            (
                [HI, calls("a"), wrong],
                f"messages[2].{name}: no call in the turn before waits for it",
            )
            for name, wrong in [
                ("tool_call_id", result("b")),
                ("name", {"role": "function", "name": "f", "content": ""}),
            ]
        ),
        (
            [HI, calls("a"), result("a"), result("a")],
            "messages[3].tool_call_id: no call in the turn before waits for it",
        ),
        ([HI, {"role": "tool", "content": ""}], "messages[1].tool_call_id: must be a string"),
        ([{"role": "assistant", "tool_calls": "a"}], "messages[0].tool_calls: must be an array"),
        (
            [{"role": "assistant", "tool_calls": [1]}],
            "messages[0].tool_calls[0]: must be an object",
        ),
        (
            [{"role": "assistant", "tool_calls": [CUSTOM]}],
            "messages[0].tool_calls[0].type: Messages has calls of functions only",
        ),
        (
            [{"role": "assistant", "tool_calls": [{"id": "a", "type": None}]}],
            "messages[0].tool_calls[0].type: Messages has calls of functions only",
        ),
        (
            [{"role": "assistant", "tool_calls": [{"id": 1}]}],
            "messages[0].tool_calls[0].id: must be a string",
        ),
        (
            [function_call(name="a.b")],
            "messages[0].function_call.name: not a name of a tool in Messages",
        ),
        (
            [function_call(name="a" * 129)],
            "messages[0].function_call.name: not a name of a tool in Messages",
        ),
        *(
            ([function_call(arguments=wrong)], f"messages[0].function_call.arguments: {why}")
            for wrong, why in [
                (None, "must be a string"),
                ('{"a": ', "must be the JSON of an object"),
                ('{"a": NaN}', "must be the JSON of an object"),
                ("[" * 100_000, "must be the JSON of an object"),
                ("[]", "must be the JSON of an object"),
            ]
        ),
    ],
)
def test_what_messages_cannot_say_is_refused(messages: object, said: str) -> None:
    """By the path of what is wrong."""
    with pytest.raises(Untranslatable) as refusal:
        CHAT.request({"messages": messages})

    assert said == str(refusal.value)
