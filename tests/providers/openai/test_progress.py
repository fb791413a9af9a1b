"""What the events of a chat stream mean."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.call import Usage
from llmstack.errors import (
    ContentFiltered,
    LLMStackError,
    Overloaded,
    ProtocolError,
    RateLimited,
    ServerError,
)
from llmstack.providers.openai.progress import Progress


def of(delta: object, finish: object = None, index: object = 0, **more: object) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return json.dumps({"id": "c", "choices": [choice], **more}).encode()


def counted(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "completion_tokens": 0}


Step = tuple[str, int, str]
indexes = st.integers(0, 2)
steps = st.one_of(
    st.tuples(st.just("text"), indexes, st.sampled_from(["", "a", 'b"\\', "ö"])),
    st.tuples(st.just("text and finish"), indexes, st.just("a")),
    st.tuples(st.just("finish"), indexes, st.sampled_from(["stop", "length"])),
    st.tuples(st.just("usage"), st.integers(1, 9), st.just("")),
    st.tuples(st.just("finish and usage"), indexes, st.just("stop")),
    st.tuples(st.just("done"), st.just(0), st.just("")),
)


class Model:
    """The documentation, over names instead of bytes: every event is read in full."""

    def __init__(self, *, done_is_terminal: bool, counts: bool) -> None:
        self.terminal = done_is_terminal
        self.told = 0 if counts else 1
        self.open: list[int] = []
        self.finished: list[int] = []
        self.begun = self.done = False
        self.usage: int | None = None

    def take(self, step: Step) -> bool:
        kind, n, what = step
        if kind == "usage":
            self.usage = n
            self.told += 1
            return self.told == 1
        if kind == "done":
            self.done = True
            return self.whole
        return self.choice(n, kind, what)

    def choice(self, n: int, kind: str, what: str) -> bool:
        if kind == "finish and usage":
            self.usage = 7
        if n in self.finished:
            return kind == "finish and usage" or (kind == "text" and not what)
        self.open = [each for each in self.open if each != n] + [n]
        self.begun = self.begun or what not in ("", "stop")
        if kind != "text":
            self.open.remove(n)
            self.finished.append(n)
        return True

    @property
    def whole(self) -> bool:
        return (self.terminal and self.done) or bool(self.finished and not self.open)


def bytes_of(step: Step) -> bytes:
    kind, n, what = step
    match kind:
        case "text":
            return of({"content": what}, None, n)
        case "text and finish":
            return of({"content": what}, "stop", n)
        case "finish":
            return of({}, what, n)
        case "usage":
            return json.dumps({"choices": [], "usage": counted(n)}).encode()
        case "finish and usage":
            return of({}, what, n, usage=counted(7))
        case _:
            return b" [DONE] "


A: Final = ("text", 0, "a")


@given(script=st.lists(steps, max_size=12), flags=st.tuples(st.booleans(), st.booleans()))
@example(script=[A, A, ("finish", 0, "stop"), A, ("usage", 3, ""), ("done", 0, "")], flags=(0, 0))
@example(script=[A, ("text and finish", 0, "a"), ("text and finish", 0, "b")], flags=(0, 1))
@example(script=[A, ("text", 1, "a"), ("finish", 0, "stop"), ("done", 0, "")], flags=(0, 1))
@example(script=[A, ("finish", 0, "stop"), ("finish", 0, "length")], flags=(0, 1))
@example(script=[A, ("finish", 0, "stop"), ("finish and usage", 0, "stop")], flags=(0, 0))
@example(script=[("finish", 0, "stop"), ("done", 0, "")], flags=(0, 1))
@example(script=[("done", 0, "")], flags=(1, 1))
@example(script=[("usage", 5, ""), ("usage", 3, "")], flags=(0, 1))
def test_follows_the_model(script: list[Step], flags: tuple[bool, bool]) -> None:
    """Each event: whether it goes on, and what is known after it."""
    terminal, counts = flags
    progress = Progress(done_is_terminal=terminal, counts=counts)
    model = Model(done_is_terminal=terminal, counts=counts)
    for step in script:
        expected, seen = model.take(step), progress.take(bytes_of(step))
        assert (expected, model.begun, model.done, model.whole) == (
            *(seen, progress.begun, progress.done, progress.whole),
        )
        assert (None if model.usage is None else Usage(model.usage)) == progress.usage


CONTENT: Final[dict[str, tuple[object, object]]] = {
    "text": ({"content": "a"}, None),
    "parts": ({"content": [{"type": "text"}]}, None),
    "reasoning": ({"reasoning": "a"}, None),
    "reasoning content": ({"reasoning_content": "a", "content": ""}, None),
    "reasoning details": ({"reasoning_details": [{"text": "a"}]}, None),
    "refusal": ({"refusal": "no"}, None),
    "tool call": ({"tool_calls": [{"index": 0, "id": "x"}]}, None),
    "function call": ({"function_call": {"name": "f"}}, None),
    "audio": ({"audio": {"id": "x"}}, None),
    "length": ({}, "length"),
    "filter": ({"content": ""}, "content_filter"),
    "tool calls": (None, "tool_calls"),
    "a finish that nobody knows": ({}, ["x"]),
}
PREAMBLE: Final[dict[str, tuple[object, object]]] = {
    "role": ({"role": "assistant"}, None),
    "empty text": ({"role": "assistant", "content": "", "tool_calls": []}, None),
    "null": ({"content": None, "refusal": None}, None),
    "no delta": (None, None),
    "delta of another kind": ("x", None),
    "stop": ({"content": ""}, "stop"),
    "empty finish": ({}, ""),
    "something else": ({"provider_specific_fields": {"a": 1}}, None),
}


@pytest.mark.parametrize(("delta", "finish"), CONTENT.values(), ids=CONTENT)
def test_is_content(delta: object, finish: object) -> None:
    """From here on the stream is handed up."""
    progress = Progress()

    assert progress.take(of(delta, finish))
    assert progress.begun
    assert (finish is not None) is progress.whole


@pytest.mark.parametrize(("delta", "finish"), PREAMBLE.values(), ids=PREAMBLE)
def test_is_no_content(delta: object, finish: object) -> None:
    """Nobody could make anything of it."""
    progress = Progress()

    assert progress.take(of(delta, finish))
    assert not progress.begun
    assert (finish == "stop") is progress.whole


@pytest.mark.parametrize(
    "data",
    [
        *(b"{}", b'{"choices":[]}', b'{"choices":null}', b'{"error":null,"choices":[]}'),
        *(b'{"prompt_filter_results":[{"x":1}],"choices":[]}', b'{"type":"ping"}'),
        b'{"choices":[],"usage":{"prompt_tokens":"x"}}',
    ],
)
def test_an_event_without_choices_passes(data: bytes) -> None:
    """Azure's filter results, pings, what is to come."""
    progress = Progress()

    assert progress.take(data, "ping")
    assert (False, False, None) == (progress.begun, progress.whole, progress.usage)


FAULTS: Final[dict[str, tuple[bytes, str, type[LLMStackError]]]] = {
    "error": (b'{"error":{"type":"server_error"}}', "", ServerError),
    "error by code": (b'{"error":{"code":"rate_limit_exceeded"}}', "", RateLimited),
    "error of the prompt": (b'{"error":{"code":"content_filter"}}', "", ContentFiltered),
    "error in words": (b'{"error":"out of memory"}', "", ServerError),
    "error without frame": (b'{"object":"error","code":503}', "", Overloaded),
    "error by name": (b'{"message":"x","code":429}', "error", RateLimited),
    "error with choices": (
        b'{"error":{"code":502},"choices":[{"index":0,"finish_reason":"error"}]}',
        "",
        ServerError,
    ),
    "finish": (of({}, "error"), "", ServerError),
    "finish of DeepSeek": (of({}, "insufficient_system_resource"), "", Overloaded),
    "ordinary but for its name": (of({"content": "b"}), "error", ServerError),
    "no JSON": (b"oops", "", ProtocolError),
    "no object": (b"[1]", "", ProtocolError),
    "cut": (of({"content": "a"})[:-1], "", ProtocolError),
    "deep": (b'{"choices":' + b"[" * 100_000, "", ProtocolError),
    "half a letter": (b'{"choices":[],"x":"\xc3"}', "", ProtocolError),
    "choices are no list": (b'{"choices":{"a":1}}', "", ProtocolError),
    "index below zero": (of({}, None, -1), "", ProtocolError),
    "index 128": (of({}, None, 128), "", ProtocolError),
    "index in words": (of({}, None, "0"), "", ProtocolError),
}


@pytest.mark.parametrize("begun", [False, True], ids=["first", "later"])
@pytest.mark.parametrize(("data", "name", "kind"), FAULTS.values(), ids=FAULTS)
def test_is_a_fault(data: bytes, name: str, kind: type[LLMStackError], *, begun: bool) -> None:
    """The same before and after the first content; what it breaks is the reader's business."""
    progress = Progress(lambda: {"x-request-id": "req-9"})
    if begun:
        progress.take(of({"content": "a"}))
    with pytest.raises(kind) as caught:
        progress.take(data, name)

    assert kind is type(caught.value)
    assert caught.value.request_id == ("req-9" if b"error" in data[:20] or name else None)


def choices(*each: tuple[int, dict[str, Any], str | None]) -> bytes:
    """One event with several choices: index, delta and finish."""
    said = [{"index": n, "delta": delta, "finish_reason": end} for n, delta, end in each]
    return json.dumps({"choices": said}).encode()


def test_an_event_that_is_refused_has_begun_nothing() -> None:
    """Whichever of its choices is wrong: another endpoint may still be asked."""
    progress = Progress()
    with pytest.raises(ProtocolError):
        progress.take(choices((0, {"content": "a"}, None), (128, {}, None)))

    assert (False, 0) == (progress.begun, progress.text)


@pytest.mark.parametrize(
    ("wanted", "finished", "done", "whole"),
    [(1, 1, False, True), (2, 1, False, False), (2, 1, True, True), (2, 2, False, True)],
)
def test_as_many_answers_finish_as_were_asked_for(
    wanted: int, finished: int, *, done: bool, whole: bool
) -> None:
    """Or the host says that there are no more: not every one knows how to give several."""
    progress = Progress(choices=wanted)
    for index in range(finished):
        progress.take(of({"content": "a"}, "stop", index))
    if done:
        progress.take(b"[DONE]")

    assert whole is progress.whole


def test_what_comes_too_late_takes_nothing_else_with_it() -> None:
    """An event with content for a choice that goes on is handed on, whatever else is in it."""
    progress = Progress()
    progress.take(choices((0, {"content": "a"}, "stop"), (1, {"content": "b"}, None)))

    assert progress.take(choices((0, {"content": "late"}, None), (1, {"content": "c"}, None)))
    assert not progress.take(choices((0, {"content": "late"}, None)))


def test_all_choices_up_to_128_are_known() -> None:
    """All of them have to finish."""
    progress = Progress()
    for index in range(128):
        progress.take(of({"content": "a"}, None, index))
    for index in range(128):
        assert not progress.whole
        progress.take(of({}, "stop", index))

    assert progress.whole


def test_reads_the_usage_of_groq() -> None:
    """Which is put aside where it was not asked for."""
    progress = Progress()
    progress.take(of({}, "stop", x_groq={"usage": counted(5)}))

    assert Usage(5) == progress.usage


def test_does_not_decode_what_it_need_not() -> None:
    """Ordinary events are known by their shape once one was read; after a finish all are read."""
    progress = Progress()
    known = []
    for data in [of({"role": "assistant"}), of({"content": "a"}), of({}, "stop"), of({"x": "a"})]:
        progress.take(data)
        known.append(progress._template.fits(of({"content": "b"})))

    assert [False, True, False, False] == known
