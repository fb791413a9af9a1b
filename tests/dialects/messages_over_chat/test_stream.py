"""A chat stream as the events of a message: order, what is held back, what is no stream."""

from __future__ import annotations

from typing import Any, Final

import pytest

from llmstack.dialects.messages import assembled
from llmstack.dialects.messages_over_chat import MessagesOverChat
from llmstack.dialects.messages_over_chat.segments import Braces
from llmstack.dialects.translator import Piece
from llmstack.errors import ProtocolError
from tests.dialects.messages_over_chat.published import check_events, legal


TRANSLATOR: Final = MessagesOverChat()
ASKED: Final = {"model": "asked"}
USAGE: Final = {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17}


def chunk(finish: str | None = None, usage: object = None, **delta: object) -> dict[str, Any]:
    """A chunk of the first choice."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "model": "gpt", "choices": [choice], "usage": usage}


def call(index: int, arguments: str = "", **fields: object) -> dict[str, Any]:
    """A chunk with a piece of a call."""
    said = {"index": index, "function": {"arguments": arguments}, **fields}
    return chunk(tool_calls=[said])


def opened(index: int, arguments: str = "") -> dict[str, Any]:
    """The first chunk of a call; its tool is named by its index."""
    return call(index, id=f"i{index}", function={"name": f"f{index}", "arguments": arguments})


def events_of(*chunks: dict[str, Any]) -> list[list[Piece]]:
    """The events that come with each chunk, and with the end."""
    stream = TRANSLATOR.stream(ASKED, 0.0)
    said = [list(stream.take("", each)) for each in chunks]
    said.append(list(stream.end()))
    flat = [piece for pieces in said for piece in pieces]
    check_events(flat)
    legal(flat)
    return said


def short(pieces: list[Piece]) -> list[str]:
    """The events in a word each: ``+`` and ``-`` a block, what a delta says, the reason."""
    words = []
    for name, data in pieces:
        delta = data.get("delta", {})
        words.append(
            {
                "content_block_start": f"+{data.get('index')}",
                "content_block_stop": f"-{data.get('index')}",
                "content_block_delta": delta.get("text", delta.get("partial_json")),
                "message_delta": delta.get("stop_reason"),
            }.get(name, name),
        )
    return words


def test_an_answer_in_text() -> None:
    """It starts with the first choice, and ends when the stream is over."""
    empty = {"id": "", "model": "", "choices": []}
    counts = {"id": "c", "model": "gpt", "choices": [], "usage": USAGE}
    said = events_of(
        empty,
        chunk(role="assistant", content=""),
        chunk(content="Hel"),
        chunk(content="lo"),
        chunk("stop"),
        counts,
        {},
    )

    start: dict[str, Any] = {
        "id": "c",
        "type": "message",
        "role": "assistant",
        "model": "gpt",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 0,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        },
    }
    block = {"type": "text", "text": ""}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    usage = {**start["usage"], "input_tokens": 10, "output_tokens": 7}
    expected: list[list[dict[str, Any]]] = [
        [],
        [{"type": "message_start", "message": start}],
        [
            {"type": "content_block_start", "index": 0, "content_block": block},
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": "Hel"},
            },
        ],
        [
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": "lo"},
            },
        ],
        [{"type": "content_block_stop", "index": 0}],
        [],
        [],
        [{"type": "message_delta", "delta": end, "usage": usage}, {"type": "message_stop"}],
    ]
    assert expected == [[data for _, data in pieces] for pieces in said]


def test_calls_one_after_the_other() -> None:
    """A call is closed when the next begins, if its arguments are whole."""
    said = events_of(
        chunk(content="hi"),
        opened(0),
        call(0, '{"a'),
        call(0, '":"}"}'),
        opened(1, "{}"),
        chunk("tool_calls"),
    )

    assert [
        ["message_start", "+0", "hi"],
        ["-0", "+1"],
        ['{"a'],
        ['":"}"}'],
        ["-1", "+2", "{}"],
        ["-2"],
        ["tool_use", "message_stop"],
    ] == [short(pieces) for pieces in said]
    start = said[1][1][1]["content_block"]
    assert {"type": "tool_use", "id": "i0", "name": "f0", "input": {}} == start


def test_calls_in_turns() -> None:
    """The later call waits until the one before it is whole, and then comes at once."""
    said = events_of(
        opened(0, "{"),
        opened(1, '{"b":'),
        opened(2, "{}"),
        call(1, "1}"),
        call(0, "}"),
        chunk("tool_calls"),
    )

    assert [
        ["message_start", "+0", "{"],
        [],
        [],
        [],
        ["}", "-0", "+1", '{"b":1}', "-1", "+2", "{}"],
        ["-2"],
        ["tool_use", "message_stop"],
    ] == [short(pieces) for pieces in said]


def test_calls_in_one_chunk() -> None:
    """They are two blocks, in their order; what has no arguments waits for the end."""
    first, second = opened(0)["choices"][0]["delta"], opened(1, "{}")["choices"][0]["delta"]
    said = events_of(
        chunk(tool_calls=[*first["tool_calls"], *second["tool_calls"]]),
        call(1, " "),
        chunk("tool_calls"),
    )

    assert [
        ["message_start", "+0"],
        [],
        ["-0", "+1", "{} ", "-1"],
        ["tool_use", "message_stop"],
    ] == [short(pieces) for pieces in said]


def test_a_text_behind_a_call_is_a_block_behind_it() -> None:
    """As is a refusal behind a text; a text goes on where it is the last to have begun."""
    said = events_of(
        *(opened(0, "{"), chunk(content="a"), chunk(content="b"), call(0, "}")),
        *(chunk(content="c"), chunk(refusal="d", content="e"), chunk(refusal="f"), chunk("stop")),
    )

    assert [
        ["message_start", "+0", "{"],
        [],
        [],
        ["}", "-0", "+1", "ab"],
        ["c"],
        ["e", "-1", "+2", "d"],
        ["f"],
        ["-2"],
        ["refusal", "message_stop"],
    ] == [short(pieces) for pieces in said]


def test_a_name_that_comes_late_is_waited_for() -> None:
    """A block cannot begin without it."""
    said = events_of(
        call(0, "{"),
        call(0, id="a", function={"name": "f", "arguments": "}"}),
        chunk("tool_calls"),
    )

    assert [
        ["message_start"],
        ["+0", "{}"],
        ["-0"],
        ["tool_use", "message_stop"],
    ] == [short(pieces) for pieces in said]


def test_the_first_id_and_the_first_name_stand() -> None:
    """Some hosts say them again with each piece; also while the call is held back."""
    said = events_of(
        opened(0),
        call(1, id="a", function={"name": "f"}),
        call(1, id="a", function={"name": "g", "arguments": "{}"}),
        chunk("tool_calls"),
    )
    content = assembled([piece for pieces in said for piece in pieces])["content"]

    assert ("a", "f") == (content[1]["id"], content[1]["name"])


def test_two_calls_under_one_index_are_not_taken_for_one() -> None:
    """One of them would be lost, or run with the arguments of the other."""
    two = [call(1, id="a", function={"name": "f"}), call(1, id="b", function={"name": "f"})]

    with pytest.raises(ProtocolError, match="two tool calls have one index"):
        events_of(opened(0), *two)


def test_what_has_no_index_is_a_call_of_its_own() -> None:
    """And what has no id gets one from the reply's."""
    function = {"name": "f", "arguments": "{}"}
    calls = chunk("tool_calls", tool_calls=[{"function": function}, {"function": function}])
    content = assembled([piece for pieces in events_of(calls) for piece in pieces])["content"]

    assert ["c_0", "c_1"] == [block["id"] for block in content]


def test_the_call_of_older_hosts() -> None:
    """It is a call like the others."""
    name: dict[str, Any] = {"name": "f", "arguments": '{"x"'}
    said = events_of(
        chunk(function_call=name),
        chunk(function_call={"arguments": ":1}"}),
        chunk("function_call", function_call=None),
    )
    message = assembled([piece for pieces in said for piece in pieces])

    assert [{"type": "tool_use", "id": "c_0", "name": "f", "input": {"x": 1}}] == message["content"]
    assert "tool_use" == message["stop_reason"]


def test_only_the_first_finish_counts() -> None:
    """What comes behind it is read for tokens alone, and the last of those stand."""
    said = events_of(
        chunk("length", usage={**USAGE, "completion_tokens": 1}, content="hi"),
        chunk("stop", usage=USAGE, content="more"),
        chunk(usage=None, content=5),
    )

    assert [
        ["message_start", "+0", "hi", "-0"],
        [],
        [],
        ["max_tokens", "message_stop"],
    ] == [short(pieces) for pieces in said]
    assert 7 == said[-1][0][1]["usage"]["output_tokens"]


def test_other_choices_are_left_out() -> None:
    """Nobody asked for them."""
    other = {"index": 1, "delta": {"content": "no"}, "finish_reason": "length"}
    both = chunk(content="hi")
    both["choices"].insert(0, other)
    said = events_of({**chunk(), "choices": [other]}, both, chunk("stop", reasoning_content="hm"))

    assert [
        [],
        ["message_start", "+0", "hi"],
        ["-0"],
        ["end_turn", "message_stop"],
    ] == [short(pieces) for pieces in said]


def test_a_host_that_never_says_finish() -> None:
    """Its stream is over when its endpoint says so; what is open is closed."""
    silent = {"id": "c", "choices": [{"index": 0, "delta": None}]}
    said = events_of(silent, opened(0), opened(1, "{}"))

    assert [
        ["message_start"],
        ["+0"],
        [],
        ["-0", "+1", "{}", "-1", "tool_use", "message_stop"],
    ] == [short(pieces) for pieces in said]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("length", "max_tokens"), ("content_filter", "refusal")],
)
def test_a_stream_that_was_cut_says_so(finish: str, reason: str) -> None:
    """What began is there, with the reason; a call without a name yet is not."""
    said = events_of(opened(0, '{"a'), opened(1, '{"b":'), call(2, "{"), chunk(finish))

    assert [
        ["message_start", "+0", '{"a'],
        [],
        [],
        ["-0", "+1", '{"b":', "-1"],
        [reason, "message_stop"],
    ] == [short(pieces) for pieces in said]


BROKEN: Final[list[tuple[list[dict[str, Any]], str]]] = [
    ([], "the stream has no choice"),
    ([{"choices": [], "usage": USAGE}], "the stream has no choice"),
    ([{"choices": 5}], "choices are no list of objects"),
    ([{"choices": [5]}], "choices are no list of objects"),
    ([{"choices": [{"index": 0, "delta": 5}]}], "the delta is no object"),
    ([chunk(content=5)], "the content is no string"),
    ([chunk("canary")], "a reason that is not known"),
    ([chunk(tool_calls={"a": 1})], "tool_calls are no list of objects"),
    ([chunk(tool_calls=[5])], "tool_calls are no list of objects"),
    ([chunk(tool_calls=[{"index": "0"}])], "a tool call has no index"),
    ([chunk(tool_calls=[{"index": 0, "function": 5}])], "the function of a tool call is no object"),
    ([chunk(function_call=5)], "the function of a tool call is no object"),
    ([call(0, "{}"), chunk("tool_calls")], "no function with a name"),
    ([opened(0, '{"canary'), chunk("tool_calls")], "arguments of a tool call are no JSON object"),
    ([opened(0, '{"canary')], "arguments of a tool call are no JSON object"),
    ([opened(0, "{canary}"), opened(1)], "arguments of a tool call are no JSON object"),
    ([opened(0, "{}"), opened(1), call(0, "canary")], "goes on behind its arguments"),
    ([opened(0, "{}"), call(0, "canary"), chunk("stop")], "arguments of a tool call are no JSON"),
]


@pytest.mark.parametrize(("chunks", "words"), BROKEN)
def test_what_is_no_stream_is_an_error(chunks: list[dict[str, Any]], words: str) -> None:
    """Nothing of what was said is in it."""
    with pytest.raises(ProtocolError, match=words) as caught:
        events_of(*chunks)

    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("pieces", "closed"),
    [
        (["{}"], True),
        (["{", "}"], True),
        (["[]"], True),
        ([""], False),
        (["1"], False),
        (["{"], False),
        (['{"}'], False),
        (['{"}"', "}"], True),
        (['{"\\', '"}'], False),
        (['{"\\\\"}'], True),
        (["{[}"], False),
        (["}{"], True),
        (["{}}"], False),
    ],
)
def test_braces(pieces: list[str], closed: bool) -> None:  # noqa: FBT001 -- an expectation
    """Those in strings do not count, wherever the text is cut."""
    braces = Braces()
    for piece in pieces:
        braces.take(piece)

    assert closed == braces.closed
