"""What an endpoint that speaks chat completions says: whole replies, and streams of chunks.

A stream is cut from a reply that is drawn first, so each `ChatStream` knows the reply that
its chunks make together; no assembler is needed to know it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from attrs import frozen
from hypothesis import strategies as st


__all__ = ["ChatStream", "arguments", "objects", "replies", "streams", "texts", "usages"]

OF_CHUNKS: Final = "chat.completion.chunk"
#: Not only letters: marks that JSON escapes, two code units, a line separator.
SIGNS: Final = 'ab {}[]"\\\n\u00e9\u2028\U0001f600'
NAMES: Final = ("look_up", "run", "send-mail", "f")
MODELS: Final = ("gpt-x", "local/model:7b")


@frozen
class ChatStream:
    """The chunks of one stream, and the reply that they are when put together.

    If no chunk carries usage, *reply* has none either.
    """

    reply: dict[str, Any]
    chunks: list[dict[str, Any]]


def texts(*, empty: bool = False) -> st.SearchStrategy[str]:
    """Short texts of signs that are hard to carry."""
    return st.text(SIGNS, min_size=0 if empty else 1, max_size=12)


def objects() -> st.SearchStrategy[dict[str, Any]]:
    """JSON objects, as tools are called with."""
    leaves = st.none() | st.booleans() | st.integers(-9, 9) | st.just(0.5) | texts(empty=True)
    inner = st.recursive(
        leaves,
        lambda some: st.lists(some, max_size=2) | st.dictionaries(texts(), some, max_size=2),
        max_leaves=4,
    )
    return st.dictionaries(texts(), inner, max_size=3)


@st.composite
def arguments(draw: st.DrawFn) -> str:
    """The text of a JSON object, in one of the ways that servers write it."""
    value = draw(objects())
    indent = draw(st.sampled_from([None, None, 2]))
    return json.dumps(value, ensure_ascii=draw(st.booleans()), indent=indent)


@st.composite
def usages(draw: st.DrawFn) -> dict[str, Any]:
    """Counts whose details are a part of the totals, where there are details."""
    prompt, completion = draw(st.integers(0, 5000)), draw(st.integers(0, 5000))
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    if draw(st.booleans()):
        usage["prompt_tokens_details"] = draw(
            st.sampled_from([None, {}, {"cached_tokens": None}])
            | st.builds(lambda n: {"cached_tokens": n, "audio_tokens": 0}, st.integers(0, prompt)),
        )
    if draw(st.booleans()):
        thought = st.integers(0, completion)
        usage["completion_tokens_details"] = draw(
            st.none() | st.builds(lambda n: {"reasoning_tokens": n}, thought),
        )
    return usage


@st.composite
def tool_calls(draw: st.DrawFn) -> list[dict[str, Any]]:
    """One to three calls with ids of their own."""
    return [
        {
            "id": f"call_{n}{draw(st.sampled_from(['', 'x', '-7']))}",
            "type": "function",
            "function": {"name": draw(st.sampled_from(NAMES)), "arguments": draw(arguments())},
        }
        for n in range(draw(st.integers(1, 3)))
    ]


@st.composite
def messages(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """The message of the assistant, and the reason why it ended."""
    kind = draw(st.sampled_from(["text", "text", "tools", "tools", "refusal", "empty"]))
    text = draw(st.none() | texts()) if kind == "tools" else None
    said: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if kind == "text":
        said["content"] = draw(texts())
        return said, draw(st.sampled_from(["stop", "length", "content_filter"]))
    if kind == "tools":
        said["tool_calls"] = draw(tool_calls())
        return said, draw(st.sampled_from(["tool_calls", "tool_calls", "stop"]))
    if kind == "refusal":
        said["refusal"] = draw(texts())
        return said, "stop"
    said["content"] = draw(st.sampled_from(["", None]))
    return said, draw(st.sampled_from(["stop", "length", "content_filter"]))


@st.composite
def replies(draw: st.DrawFn) -> dict[str, Any]:
    """Whole replies with one choice: text, a refusal, tool calls, or nothing."""
    message, finish = draw(messages())
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    body: dict[str, Any] = {
        "id": draw(st.sampled_from(["chatcmpl-1", "c"])),
        "object": "chat.completion",
        "created": draw(st.integers(0, 2_000_000_000)),
        "model": draw(st.sampled_from(MODELS)),
        "choices": [choice],
    }
    if draw(st.integers(0, 4)):
        body["usage"] = draw(usages())
    return body


def pieces(draw: st.DrawFn, text: str) -> list[str]:
    """Cut *text* at up to three places, which may be alike: then a piece is empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def call_deltas(draw: st.DrawFn, index: int, call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The deltas of one call: the first has its id and name, with or without arguments."""
    cut = pieces(draw, call["function"]["arguments"])
    first = cut.pop(0) if draw(st.booleans()) else ""
    function = {"name": call["function"]["name"], "arguments": first}
    yield {"index": index, "id": call["id"], "type": "function", "function": function}
    for piece in cut:
        yield {"index": index, "function": {"arguments": piece}}


def shuffled(draw: st.DrawFn, queues: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The deltas of all calls in one line: one after the other, or interleaved.

    A call never begins before the one with the index below.
    """
    if draw(st.booleans()):
        return [delta for queue in queues for delta in queue]
    at, line = [0] * len(queues), []
    while any(n < len(queue) for n, queue in zip(at, queues, strict=True)):
        begun = sum(n > 0 for n in at)
        ready = [i for i, queue in enumerate(queues) if i <= begun and at[i] < len(queue)]
        chosen = draw(st.sampled_from(ready))
        line.append(queues[chosen][at[chosen]])
        at[chosen] += 1
    return line


def deltas(draw: st.DrawFn, message: dict[str, Any]) -> list[dict[str, Any]]:
    """What one message is said in: content, then the refusal, then the calls."""
    said: list[dict[str, Any]] = []
    for key in ("content", "refusal"):
        text = message[key]
        said += [{key: piece} for piece in (pieces(draw, text) if text else [])]
    calls = enumerate(message.get("tool_calls", ()))
    line = shuffled(draw, [list(call_deltas(draw, n, call)) for n, call in calls])
    while line:
        together = line[: draw(st.integers(1, 2))]
        alone = len({each["index"] for each in together}) < len(together)
        together = together[:1] if alone else together
        said.append({"tool_calls": together})
        del line[: len(together)]
    return said


def finished(draw: st.DrawFn, said: list[dict[str, Any]], why: str) -> list[dict[str, Any]]:
    """Choices with these deltas; the finish is in one of its own, or in the last."""
    choices: list[dict[str, Any]] = [
        {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None} for delta in said
    ]
    if not choices or draw(st.integers(0, 2)):
        choices.append({"index": 0, "delta": {}, "logprobs": None, "finish_reason": None})
    choices[-1]["finish_reason"] = why
    return choices


def begun(draw: st.DrawFn, said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same deltas with a role: in one of its own, in the first one, or nowhere."""
    how = draw(st.sampled_from(["own", "own", "first", "none"]))
    if how == "own":
        empty: dict[str, Any] = draw(st.sampled_from([{}, {"content": ""}, {"content": None}]))
        return [{"role": "assistant", **empty}, *said]
    if how == "first" and said:
        return [{"role": "assistant", **said[0]}, *said[1:]]
    return said


@st.composite
def streams(draw: st.DrawFn) -> ChatStream:
    """Streams of one choice with every freedom that servers take.

    Chunks with empty choices come first or not; the usage is on a chunk of its own behind
    the finish, on the finish, or nowhere; calls that are made in parallel may interleave.
    """
    reply = draw(replies())
    same = {key: reply[key] for key in ("id", "created", "model")} | {"object": OF_CHUNKS}
    (choice,) = reply["choices"]
    said = begun(draw, deltas(draw, choice["message"]))
    chunks: list[dict[str, Any]] = [
        {**same, "choices": [each]} for each in finished(draw, said, choice["finish_reason"])
    ]
    if draw(st.booleans()):
        chunks.insert(0, {**same, "choices": []})
    usage = reply.get("usage")
    if usage is not None and draw(st.booleans()):
        chunks[-1] = {**chunks[-1], "usage": usage}
    elif usage is not None:
        chunks = [{**chunk, "usage": None} for chunk in chunks]
        chunks.append({**same, "choices": [], "usage": usage})
    return ChatStream(reply, chunks)
