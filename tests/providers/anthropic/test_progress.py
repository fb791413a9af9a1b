"""What the events of a Messages stream mean."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.call import Usage
from llmstack.errors import (
    BadRequest,
    LLMStackError,
    Overloaded,
    ProtocolError,
    RateLimited,
    ServerError,
)
from llmstack.providers.anthropic.progress import SHAPE, Progress
from llmstack.providers.template import Template


def of(kind: str, **more: object) -> bytes:
    return json.dumps({"type": kind, **more}).encode()


def delta(kind: str, text: object, index: object = 0) -> bytes:
    names = {"input_json_delta": "partial_json"}
    name = names.get(kind, kind.removesuffix("_delta"))
    return of("content_block_delta", index=index, delta={"type": kind, name: text})


def start(block: object, index: object = 0) -> bytes:
    return of("content_block_start", index=index, content_block=block)


Numbers = dict[str, int]
Step = tuple[str, Any]
FIELDS: Final = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
numbers = st.dictionaries(st.sampled_from((*FIELDS, "output_tokens")), st.integers(0, 9))
steps = st.one_of(
    st.tuples(st.just("start"), numbers),
    st.tuples(st.just("text block"), st.sampled_from(["", "a"])),
    st.tuples(st.just("thinking block"), st.sampled_from(["", "a"])),
    st.tuples(st.just("tool"), st.just("f")),
    st.tuples(st.just("text"), st.sampled_from(["", "a", 'b"\\', "ö"])),
    st.tuples(st.just("thinking"), st.sampled_from(["", "a"])),
    st.tuples(st.just("arguments"), st.sampled_from(["", '{"a":'])),
    st.tuples(st.just("signature"), st.just("s")),
    st.tuples(st.just("block stop"), st.just("")),
    st.tuples(st.just("reason"), st.sampled_from([None, "end_turn", "tool_use", "refusal"])),
    st.tuples(st.just("counts"), numbers),
    st.tuples(st.just("ping"), st.just("")),
    st.tuples(st.just("news"), st.just("")),
    st.tuples(st.just("stop"), st.just("")),
)


#: The events of the steps, as the provider writes them.
WRITTEN: Final[Mapping[str, Callable[[Any, int], bytes]]] = {
    "start": lambda what, _: of("message_start", message={"usage": what}),
    "text block": lambda what, index: start({"type": "text", "text": what}, index),
    "thinking block": lambda what, index: start({"type": "thinking", "thinking": what}, index),
    "tool": lambda what, index: start({"type": "tool_use", "id": "t", "name": what}, index),
    "text": lambda what, index: delta("text_delta", what, index),
    "thinking": lambda what, index: delta("thinking_delta", what, index),
    "arguments": lambda what, index: delta("input_json_delta", what, index),
    "signature": lambda what, index: delta("signature_delta", what, index),
    "block stop": lambda _, index: of("content_block_stop", index=index),
    "reason": lambda what, _: of("message_delta", delta={"stop_reason": what}),
    "counts": lambda what, _: of("message_delta", delta={}, usage=what),
    "ping": lambda _, __: of("ping"),
    "news": lambda _, __: of("message_news"),
    "stop": lambda _, __: of("message_stop"),
}


SAYS: Final = ("text block", "thinking block", "tool", "text", "thinking", "arguments")


def known(script: list[Step]) -> tuple[bool, bool, Usage | None]:
    """What is known after *script*, read backwards: content, the end, the last numbers."""
    kinds = [kind for kind, _ in script]
    heard = script[: kinds.index("stop")] if "stop" in kinds else script
    begun = any(
        bool(what) if kind in SAYS else kind == "reason" and what not in (None, "end_turn")
        for kind, what in heard
    )
    last = {
        name: next(
            (w[name] for k, w in reversed(heard) if k in ("start", "counts") and name in w), None
        )
        for name in (*FIELDS, "output_tokens")
    }
    if last["input_tokens"] is None:
        return begun, "stop" in kinds, None
    read, written, cached, output = (last[name] or 0 for name in (*FIELDS, "output_tokens"))
    told = any(kind == "counts" and "output_tokens" in what for kind, what in heard)
    return begun, "stop" in kinds, Usage(read + written, output, cached, estimated=not told)


def spoken(script: list[Step]) -> int:
    """The bytes of all pieces; on the wire one may be written as an escape of six."""
    said = [*script, ("stop", "")]
    pieces = said[: said.index(("stop", ""))]
    kinds = ("text", "thinking", "arguments")
    return sum(len(what.encode()) for kind, what in pieces if kind in kinds)


A: Final[Step] = ("text", "a")
STOP: Final[Step] = ("stop", "")
LEGAL: Final[list[Step]] = [
    ("start", {"input_tokens": 3, "output_tokens": 1}),
    *(("text block", ""), ("ping", ""), A, A, ("block stop", "")),
    *(("reason", "end_turn"), ("counts", {"output_tokens": 2}), STOP),
]


@given(script=st.lists(steps, max_size=14), index=st.integers(0, 2), named=st.booleans())
@example(script=LEGAL, index=0, named=True)
@example(script=[*LEGAL, A, STOP, ("counts", {"input_tokens": 9})], index=0, named=True)
@example(script=[STOP, ("reason", "refusal")], index=0, named=True)
@example(script=[A, ("thinking", "a"), ("arguments", "{"), A, STOP], index=1, named=False)
@example(script=[A, ("tool", "f"), A], index=0, named=True)
@example(script=[A, A, ("counts", {"input_tokens": 2}), ("counts", {})], index=0, named=False)
@example(script=[("start", {"output_tokens": 5}), ("counts", {})], index=0, named=False)
def test_follows_the_model(script: list[Step], index: int, *, named: bool) -> None:
    """In whatever order: what passes, and what is known after each event."""
    progress, ended = Progress(), False
    for n, step in enumerate(script):
        data = WRITTEN[step[0]](step[1], index)
        name = json.loads(data)["type"] if named or step[0] == STOP[0] else ""

        assert (not ended) is progress.take(data, name)
        begun, ended, usage = known(script[: n + 1])
        assert (begun, ended, ended) == (progress.begun, progress.done, progress.whole)
        if usage is not None and usage.estimated:
            usage = evolve(usage, output=max(usage.output, -(-progress.text // 4)))
        assert (usage, None) == (progress.usage, progress.unsaid)
        assert spoken(script[: n + 1]) <= progress.text <= 6 * spoken(script[: n + 1])


CONTENT: Final[dict[str, bytes]] = {
    "text": delta("text_delta", "a"),
    "thinking": delta("thinking_delta", "a"),
    "arguments": delta("input_json_delta", "{"),
    "citation": of("content_block_delta", delta={"type": "citations_delta", "citation": {"a": 1}}),
    "compaction": delta("compaction_delta", "a").replace(b'"compaction":', b'"content":'),
    "tool": start({"type": "tool_use", "id": "x", "name": "f", "input": {}}),
    "server tool": start({"type": "server_tool_use", "id": "x", "name": "f", "input": {}}),
    "result": start({"type": "web_search_tool_result", "tool_use_id": "x", "content": []}),
    "redacted": start({"type": "redacted_thinking", "data": "x"}),
    "text at once": start({"type": "text", "text": "a"}),
    "thought at once": start({"type": "thinking", "thinking": "a"}),
    **{
        reason: of("message_delta", delta={"stop_reason": reason})
        for reason in ("max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "news")
    },
}
PREAMBLE: Final[dict[str, bytes]] = {
    "start": of("message_start", message={"content": [], "usage": {"output_tokens": 1}}),
    "ping": of("ping"),
    "text block": start({"type": "text", "text": ""}),
    "thinking block": start({"type": "thinking", "thinking": "", "signature": ""}),
    "empty text": delta("text_delta", ""),
    "empty thought": delta("thinking_delta", ""),
    "empty arguments": delta("input_json_delta", ""),
    "signature": delta("signature_delta", "abc"),
    "no text": delta("text_delta", None),
    "no delta": of("content_block_delta", index=0),
    "delta of another kind": of("content_block_delta", index=0, delta="a"),
    "no index": of("content_block_stop"),
    "no block": start(None),
    "a block without a type": start({"text": "a"}),
    **{
        f"a block whose type is {kind}": start({"type": kind, "text": "a"})
        for kind in (["text"], {"text": 1}, 1, True)
    },
    "end of turn": of("message_delta", delta={"stop_reason": "end_turn"}),
    "no reason": of("message_delta", delta={"stop_reason": None}),
    "empty reason": of("message_delta", delta={"stop_reason": ""}),
    "numbers": of("message_delta", usage={"output_tokens": 3}),
    "no message": of("message_start"),
    "unknown": of("message_news", delta={"text": "a"}, index=10**6),
    "no type": b"{}",
    "no error": of("ping", error=None),
}


@pytest.mark.parametrize("data", CONTENT.values(), ids=CONTENT)
def test_is_content(data: bytes) -> None:
    """From here on the stream is handed up."""
    progress = Progress()

    assert progress.take(data)
    assert (True, False) == (progress.begun, progress.whole)


@pytest.mark.parametrize("data", PREAMBLE.values(), ids=PREAMBLE)
def test_is_no_content(data: bytes) -> None:
    """Nobody could make anything of it; and what begun stays begun."""
    progress = Progress()

    assert progress.take(data)
    assert (False, False) == (progress.begun, progress.whole)
    progress.take(CONTENT["text"])
    assert progress.take(data)
    assert progress.begun


@pytest.mark.parametrize("kind", ["content_block_start", "content_block_delta", "message_stop"])
def test_the_name_counts_where_there_is_no_type(kind: str) -> None:
    """For hosts that leave one of them out; the type counts if there are both."""
    data = {"content_block_start": CONTENT["tool"], "message_stop": b"{}"}.get(
        kind, CONTENT["text"]
    )
    bare = json.dumps({k: v for k, v in json.loads(data).items() if k != "type"}).encode()
    progress, typed = Progress(), Progress()
    progress.take(bare, kind)
    typed.take(of("ping"), kind)

    assert (kind != "message_stop", kind == "message_stop") == (progress.begun, progress.done)
    assert (False, False) == (typed.begun, typed.done)


OVERLOADED: Final = {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}
FAULTS: Final[dict[str, tuple[bytes, str, type[LLMStackError]]]] = {
    "error": (json.dumps(OVERLOADED).encode(), "error", Overloaded),
    "error by type": (json.dumps(OVERLOADED).encode(), "", Overloaded),
    "error by name": (b'{"error":{"type":"rate_limit_error"}}', "error", RateLimited),
    "error in the frame of others": (b'{"error":{"code":400}}', "", BadRequest),
    "error without words": (b"{}", "error", ServerError),
    "error that is no object": (b'{"type":"error"}', "", ServerError),
    "ordinary but for its name": (delta("text_delta", "b"), "error", ServerError),
    "no JSON": (b"oops", "", ProtocolError),
    "no object": (b"[1]", "", ProtocolError),
    "done": (b"[DONE]", "", ProtocolError),
    "cut": (delta("text_delta", "a")[:-1], "", ProtocolError),
    "deep": (b'{"type":' + b"[" * 100_000, "", ProtocolError),
    "half a letter": (b'{"type":"ping","x":"\xc3"}', "", ProtocolError),
    "index below zero": (delta("text_delta", "a", -1), "", ProtocolError),
    "index 1024": (start({"type": "text"}, 1024), "", ProtocolError),
    "index of a stop": (of("content_block_stop", index=10**6), "", ProtocolError),
    "index in words": (delta("text_delta", "a", "0"), "", ProtocolError),
    "index true": (delta("text_delta", "a", index=True), "", ProtocolError),
    "index null": (delta("text_delta", "a", None), "", ProtocolError),
}


@pytest.mark.parametrize("begun", [False, True], ids=["first", "later"])
@pytest.mark.parametrize(("data", "name", "kind"), FAULTS.values(), ids=FAULTS)
def test_is_a_fault(data: bytes, name: str, kind: type[LLMStackError], *, begun: bool) -> None:
    """The same before and after the first content; what it breaks is the reader's business."""
    progress = Progress(lambda: {"request-id": "req-9"})
    if begun:
        progress.take(delta("text_delta", "a"))
    with pytest.raises(kind) as caught:
        progress.take(data, name)

    assert kind is type(caught.value)
    assert caught.value.request_id == (None if kind is ProtocolError else "req-9")
    assert not progress.whole


def test_the_count_of_a_start_is_none_of_the_output() -> None:
    """It is of the first piece: until the end has counted, more text is more tokens."""
    progress, counted = Progress(), Progress()
    begun = of("message_start", message={"usage": {"input_tokens": 5, "output_tokens": 2}})
    end = of("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3})
    silent = of("message_delta", delta={"stop_reason": "end_turn"}, usage={"input_tokens": 6})
    seen = []
    for data in (begun, delta("text_delta", "abcdefghi"), silent, of("message_stop")):
        progress.take(data, json.loads(data)["type"])
        seen.append(progress.usage)
    for data in (begun, delta("text_delta", "abcdefghi"), end, silent, of("message_stop")):
        counted.take(data, json.loads(data)["type"])

    guessed = [Usage(5, 2, estimated=True), Usage(5, 3, estimated=True)]
    assert [*guessed, *[Usage(6, 3, estimated=True)] * 2] == seen
    assert Usage(6, 3) == counted.usage


@pytest.mark.parametrize("name", ["", "ping", "message_delta"])
def test_the_last_event_has_its_name(name: str) -> None:
    """Clients go by names: what they cannot see ends nothing for them."""
    progress = Progress()
    progress.take(delta("text_delta", "a"), "content_block_delta")
    with pytest.raises(ProtocolError, match="not named so"):
        progress.take(of("message_stop"), name)

    assert not progress.whole


def test_a_cited_answer_has_many_blocks() -> None:
    """A block for each passage."""
    progress = Progress()

    assert all(progress.take(delta("text_delta", "a", index)) for index in range(1024))


PADDED: Final = (
    b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%b"}%b}'
)
texts = st.text(max_size=20) | st.text('"\\{}[]:,nu\x00\n', max_size=12)


def event(text: str, spaces: int) -> bytes:
    said = json.dumps(text, ensure_ascii=False)[1:-1].encode()
    return PADDED % (said, b" " * spaces)


@given(texts.filter(bool), texts, st.integers(0, 20), st.integers(0, 20))
@example("a", 'x"},"error":{"type":"', 0, 3)
def test_fits_the_same_event_with_other_padding(
    one: str, other: str, spaces: int, more: int
) -> None:
    """Anthropic pads with spaces before the last brace, as many as it likes."""
    template = Template(SHAPE)
    template.learn(event(one, spaces))

    assert template.fits(event(other, more))


pieces = st.lists(
    st.sampled_from(
        [b'"', b"\\", b'"}', b'"} ', b'},"', b":", b"}", b" ", b"a", b'","index":1', b"\t"]
    ),
    max_size=7,
).map(b"".join)


@given(pieces, st.integers(0, 2))
@example(b'a"', 0)
@example(b'a"} }', 0)
@example(b'a","index":1', 1)
def test_never_fits_what_is_not_ordinary(between: bytes, spaces: int) -> None:
    """What fits decodes to the very event that was learned, but for its text."""
    template = Template(SHAPE)
    template.learn(event("Hello", spaces))
    other = PADDED.replace(b'%b"}%b}', b"") + between + b"}"
    if not template.fits(other):
        return
    seen = json.loads(other)

    assert isinstance(seen["delta"].pop("text"), str)
    assert {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta"}} == seen


def test_does_not_decode_what_it_need_not() -> None:
    """Ordinary events are known by their shape once one was read, whatever comes between."""
    progress = Progress()
    seen = []
    for data in [
        *(PREAMBLE["start"], event("a", 3), PREAMBLE["ping"], CONTENT["citation"]),
        *(delta("text_delta", "a", 1), event("b", 0)),
    ]:
        progress.take(data)
        seen.append(progress._template.fits(event("c", 9)))

    assert [False, True, True, False, False, True] == seen
