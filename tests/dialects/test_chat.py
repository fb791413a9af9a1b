"""A chat reply and its stream say the same, to us and to the openai SDK."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from llmstack.dialects.chat import assembled, pieces
from llmstack.errors import ProtocolError
from tests.dialects.chat_side import ChatStream, replies, streams, texts


TOKEN: Final = {"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": []}
#: What some hosts say beside the format.
BESIDE: Final[st.SearchStrategy[dict[str, Any]]] = st.sampled_from(
    [
        {},
        {"system_fingerprint": "fp_1", "service_tier": "default"},
        {"system_fingerprint": None, "usage": None, "citations": ["https://a.example"]},
    ]
)
LOGPROBS: Final = st.sampled_from(
    [None, {"content": [TOKEN, TOKEN], "refusal": None}, {"content": None, "refusal": [TOKEN]}]
)


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a reply with up to three choices, and with what not all hosts say."""
    body = {**draw(BESIDE), **draw(replies())}
    choices = []
    for index in range(draw(st.integers(1, 3))):
        (choice,) = draw(replies())["choices"]
        thought = {"reasoning_content": draw(texts())} if draw(st.booleans()) else {}
        message = {**choice["message"], **thought}
        said = {**choice, "index": index, "message": message, "logprobs": draw(LOGPROBS)}
        choices.append(said | draw(st.sampled_from([{}, {"stop_reason": 7}])))
    return {**body, "choices": choices}


def chunk(choice: dict[str, Any] | None = None, **fields: object) -> tuple[str, dict[str, Any]]:
    """A chunk with at most one choice."""
    return "", {"choices": [] if choice is None else [choice], **fields}


def by_the_sdk(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The completion that the SDK makes of *chunks*."""
    state = ChatCompletionStreamState()
    for each in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(each))
    return state.current_completion_snapshot.model_dump(mode="json", exclude_unset=True)


def plain(body: object) -> object:
    """A reply without what is null or empty, and what the SDK adds, or leaves out."""
    if isinstance(body, dict):
        small = {name: plain(value) for name, value in body.items()}
        odd = {"role", "parsed_arguments", "parsed", "stop_reason"}
        odd |= {"index"} if "function" in body else set()
        return {n: v for n, v in small.items() if v not in (None, "", [], {}) and n not in odd}
    return [plain(each) for each in body] if isinstance(body, list) else body


def test_a_reply_is_said_in_the_shortest_stream() -> None:
    """The role, the content, the finish and the usage have a chunk each."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    body = {"id": "a", "object": "chat.completion", "created": 5, "model": "m", "seed": 7}

    said = pieces({**body, "choices": [choice], "usage": usage})

    each = {"id": "a", "object": "chat.completion.chunk", "created": 5, "model": "m"}
    opening = {"role": "assistant", "content": None}
    assert [
        {
            **each,
            "choices": [{"index": 0, "delta": opening, "finish_reason": None}],
            "seed": 7,
        },
        {
            **each,
            "choices": [
                {
                    "index": 0,
                    "delta": {"tool_calls": [{**call, "index": 0}]},
                    "finish_reason": None,
                }
            ],
        },
        {**each, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
        {**each, "choices": [], "usage": usage},
    ] == [data for _, data in said]
    assert {""} == {name for name, _ in said}


@given(body=bodies())
def test_a_reply_comes_back_from_its_stream(body: dict[str, Any]) -> None:
    """To cut a reply and to assemble it changes nothing, and leaves both as they were."""
    before = deepcopy(body)

    cut = pieces(body)
    as_cut = deepcopy(cut)

    assert before == assembled(cut)
    assert before == body
    assert as_cut == cut


@given(body=bodies())
def test_the_sdk_reads_the_same_from_the_stream(body: dict[str, Any]) -> None:
    """Each chunk is valid in strict mode, and the SDK puts together what was said."""
    chunks: list[Any] = [data for _, data in pieces(body)]
    ChatCompletion.model_validate(body, strict=True)

    for each in chunks:
        ChatCompletionChunk.model_validate(each, strict=True)
    assert plain(body) == plain(by_the_sdk(chunks))


@given(stream=streams())
def test_any_stream_is_assembled_as_the_sdk_does_it(stream: ChatStream) -> None:
    """However a host cuts and mixes a reply, it is the reply, for us and for the SDK."""
    ours = assembled([("", each) for each in stream.chunks])

    assert plain(stream.reply) == plain(ours)
    # The SDK forgets a count that a later chunk does not repeat.
    assert plain(by_the_sdk(stream.chunks)) == plain(ours)


def test_what_names_something_is_said_once() -> None:
    """Hosts that repeat role, id and name in each chunk say no more than the others."""
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f"}}
    again = {**first, "function": {"name": "f", "arguments": "{}"}}
    delta = {"role": "assistant", "tool_calls": [first]}

    said = assembled(
        [chunk({"delta": delta}), chunk({"delta": {**delta, "tool_calls": [again]}})],
    )

    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "tool_calls": [call]}
    assert [{"index": 0, "message": message, "finish_reason": None}] == said["choices"]


def test_calls_without_an_index_are_calls_of_their_own() -> None:
    """Each is whole, and they keep their order behind those that have one."""
    calls = [{"id": "a", "index": 0}, {"id": "b"}, {"id": "c"}]

    said = assembled([chunk({"delta": {"tool_calls": [call]}}) for call in calls])

    expected = [{"id": "a"}, {"id": "b"}, {"id": "c"}]
    assert expected == said["choices"][0]["message"]["tool_calls"]


def test_choices_and_calls_stand_by_their_index() -> None:
    """Whoever comes first, the order is that of the numbers."""
    calls = [{"index": 1, "id": "b"}, {"index": 0, "id": "a"}]

    said = assembled(
        [
            chunk({"index": 1, "delta": {"content": "two"}}),
            chunk({"index": 0, "delta": {"tool_calls": calls}}),
        ]
    )

    assert [0, 1] == [choice["index"] for choice in said["choices"]]
    assert [{"id": "a"}, {"id": "b"}] == said["choices"][0]["message"]["tool_calls"]


def test_what_comes_after_the_finish_says_nothing() -> None:
    """The first finish of a choice counts, for that choice; the last usage counts."""
    late = {"index": 0, "delta": {"content": "late"}, "finish_reason": "length", "odd": 1}

    said = assembled(
        [
            chunk({"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}, usage={"n": 1}),
            chunk(late, usage=None),
            chunk({"index": 1, "delta": None, "finish_reason": "stop"}),
            chunk(usage={"n": 2}),
            chunk(usage=None),
        ]
    )

    assert [
        {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"},
        {"index": 1, "message": {}, "finish_reason": "stop"},
    ] == said["choices"]
    assert {"n": 2} == said["usage"]


def test_an_empty_chunk_before_the_first_names_nothing() -> None:
    """Azure's first chunk has neither id nor model; the padding of OpenAI is left out."""
    said = assembled(
        [
            chunk(id="", model="", created=0, prompt_filter_results=[1]),
            chunk({"delta": {"content": "a"}}, id="x", model="m", created=3, obfuscation="aa"),
            chunk(id="y"),
        ]
    )

    order = ["id", "model", "created", "prompt_filter_results", "object", "choices"]
    assert order == list(said)
    named = {"id": "x", "model": "m", "created": 3, "prompt_filter_results": [1]}
    assert named == {name: said[name] for name in said if name not in {"choices", "object"}}


def test_objects_in_a_message_grow_too() -> None:
    """A transcript is joined, what is said once more replaces, and lists go on."""
    parts: list[dict[str, Any]] = [
        {"audio": {"id": "a", "transcript": "Hel"}, "annotations": [1]},
        {"audio": {"transcript": "lo", "expires_at": 1}, "annotations": [2]},
        {"audio": {"expires_at": 2, "deep": {"deeper": {"text": "a"}}}},
        {"audio": {"deep": {"deeper": {"text": "b"}}}},
    ]

    said = assembled([chunk({"delta": part}) for part in parts])

    deep = {"deeper": {"text": "b"}}
    audio = {"id": "a", "transcript": "Hello", "expires_at": 2, "deep": deep}
    expected = {"audio": audio, "annotations": [1, 2]}
    assert expected == said["choices"][0]["message"]


@pytest.mark.parametrize(
    "data",
    [
        {"error": {"message": "no"}},
        {"choices": {"a": 1}},
        {"choices": ["a"]},
        {"choices": [{"index": 128}]},
        {"choices": [{"index": -1}]},
        {"choices": [{"index": "0"}]},
        {"choices": [{"delta": "a"}]},
        {"choices": [{"delta": {"tool_calls": "a"}}]},
        {"choices": [{"delta": {"tool_calls": [1]}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": 1024}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": None}]}}]},
    ],
)
def test_a_chunk_that_is_none_is_told(data: dict[str, Any]) -> None:
    """What the format does not allow is an error, not a guess."""
    good = chunk({"delta": {"content": "a"}, "finish_reason": None})

    with pytest.raises(ProtocolError):
        assembled([good, ("", data)])


def test_a_stream_without_a_choice_is_no_reply() -> None:
    """Neither nothing at all nor a usage alone is."""
    with pytest.raises(ProtocolError):
        assembled([chunk(usage={"n": 1})])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": [1]},
        {"choices": [{"index": 0}]},
        {"choices": [{"index": 128, "message": {}}]},
        {"choices": [{"index": 0, "message": {"tool_calls": "a"}}]},
    ],
)
def test_a_reply_that_is_none_is_told(body: dict[str, Any]) -> None:
    """What cannot be a reply has no stream."""
    with pytest.raises(ProtocolError):
        pieces(body)
