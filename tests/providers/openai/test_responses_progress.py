"""What the events of a Responses stream mean, and how such a stream ends."""

from __future__ import annotations

import json
import sys
from typing import Any, Final

import pytest
from hypothesis import example, given

from llmstack.call import Usage
from llmstack.dialects.responses import pieces
from llmstack.dialects.wire import encoded
from llmstack.errors import (
    ContentFiltered,
    EmptyResponse,
    ProtocolError,
    RateLimited,
    ServerError,
    StreamBroken,
    StreamIncomplete,
    UpstreamError,
)
from llmstack.messages import Request
from llmstack.providers.openai.responses_progress import ResponsesProgress, failed
from tests.dialects.responses_side import FULL, responses
from tests.providers.openai import scripts as s
from tests.providers.openai.scripts import Played, chunked


USAGE: Final = {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 2}
MESSAGE: Final = {"type": "message", "content": []}
SAID: Final = {"type": "message", "content": [{"type": "output_text", "text": "hi"}]}
CALL: Final = {"type": "function_call", "name": "f", "arguments": ""}


def of(kind: str, **fields: object) -> bytes:
    return json.dumps({"type": kind, "sequence_number": 1, **fields}).encode()


def delta(kind: str, text: object) -> bytes:
    return of(f"response.{kind}.delta", delta=text)


def ended(how: str, *output: object, **fields: object) -> bytes:
    response = {"id": "r", "status": how, "output": output, "usage": USAGE, **fields}
    return of(f"response.{how}", response=response)


CREATED: Final = of("response.created", response={"status": "in_progress", "output": []})
ADDED: Final = of("response.output_item.added", item=MESSAGE)


def play(*events: bytes) -> Played:
    """Ask for a response as a stream, and get these events, named as they call themselves."""
    named = (f"event: {json.loads(each)['type']}\n".encode() for each in events)
    said = [name + b"data: " + each + b"\n\n" for name, each in zip(named, events, strict=True)]
    asked = Request("m", {"input": "12345678"}, operation="responses", stream=True)
    return s.play(s.SSE, *map(chunked, said), s.END, asked=asked)


@pytest.mark.parametrize(
    ("event", "begun", "text"),
    [
        (delta("output_text", "h\u00e9"), True, 3),
        (delta("reasoning_text", "a"), True, 1),
        (delta("reasoning_summary_text", "a"), True, 1),
        (delta("refusal", "a"), True, 1),
        (delta("function_call_arguments", "{}"), True, 2),
        (delta("custom_tool_call_input", "a"), True, 1),
        (delta("mcp_call_arguments", {"a": "b"}), True, 0),
        (delta("output_text", ""), False, 0),
        (delta("output_text", None), False, 0),
        (of("response.output_item.added", item=CALL), True, 0),
        (of("response.output_item.added", item={"type": "web_search_call"}), True, 0),
        (of("response.output_item.added", item={"type": "reasoning", "summary": []}), False, 0),
        (of("response.output_item.added", item=SAID), True, 0),
        (of("response.output_item.added"), False, 0),
        (of("response.output_item.added", item={**SAID, "type": ["message"]}), False, 0),
        (of("response.output_item.added", item={**CALL, "type": {"a": 1}}), False, 0),
        (of("response.output_item.added", item={**CALL, "type": True}), False, 0),
        (of("response.sparkle"), False, 0),
        (CREATED, False, 0),
        (ADDED, False, 0),
    ],
)
def test_what_content_is(event: bytes, text: int, *, begun: bool) -> None:
    """It is said in deltas and by calls; all events go on, those that nobody knows as well."""
    progress = ResponsesProgress()

    assert progress.take(event)
    assert (begun, text) == (progress.begun, progress.text)
    assert (False, False, None) == (progress.done, progress.whole, progress.usage)
    assert progress.unsaid is None
    # What came stays.
    progress.take(ADDED)
    progress.take(delta("output_text", ""))
    assert begun == progress.begun


@pytest.mark.parametrize(
    ("event", "begun"),
    [
        (ended("completed", SAID), True),
        (ended("completed", CALL), True),
        (ended("completed", MESSAGE), False),
        (of("response.completed", response={"output": None, "usage": USAGE}), False),
        (ended("incomplete"), True),
    ],
)
def test_the_terminal_ends_it(event: bytes, *, begun: bool) -> None:
    """It has the count, and what it says that was not said before is content."""
    progress = ResponsesProgress()

    assert progress.take(event)
    assert (True, True, Usage(5, 2, 4)) == (progress.done, progress.whole, progress.usage)
    assert begun == progress.begun
    assert not progress.take(delta("output_text", "late"))
    assert (begun, 0) == (progress.begun, progress.text)


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (of("error", code="rate_limit_exceeded", message="x"), "", RateLimited),
        (of("error", code=None, message="x"), "error", ServerError),
        (b'{"code": "invalid_prompt"}', "error", ContentFiltered),
        (b'{"error": {"code": "rate_limit_exceeded"}}', "", RateLimited),
        (of("response.completed"), "", ProtocolError),
        (of("response.incomplete", response=[]), "", ProtocolError),
        (
            of(
                "response.completed",
                response={"status": "failed", "error": {"code": "server_error"}},
            ),
            "",
            ServerError,
        ),
        (b'{"error": {"code": "rate_limit_exceeded"}}', "response.completed", RateLimited),
        (ended("failed", error={"code": "rate_limit_exceeded", "message": "x"}), "", RateLimited),
        (ended("failed", error={"code": "server_error"}), "", ServerError),
        (ended("failed", SAID, error=None), "", ServerError),
        (of("response.failed"), "", ServerError),
        (b"[1]", "", ProtocolError),
        (b"not json", "", ProtocolError),
        (b'{"type": 1}', "", ProtocolError),
    ],
)
def test_an_error_is_what_its_code_means(data: bytes, name: str, kind: type[UpstreamError]) -> None:
    """Whether an event of its own tells it or the response that failed."""
    progress = ResponsesProgress(lambda: {"x-request-id": "req-1"})

    with pytest.raises(UpstreamError) as caught:
        progress.take(data, name)

    assert kind is type(caught.value)
    assert not progress.whole
    assert kind is ProtocolError or caught.value.request_id == "req-1"


def test_an_error_may_be_nested_as_deep_as_can_be_read() -> None:
    """What can be read is what it is, or too deep to be told again; it is never a crash."""
    error: Any = {"code": "rate_limit_exceeded"}
    for _ in range(sys.getrecursionlimit()):
        error = {"code": "rate_limit_exceeded", "a": error}

    assert ProtocolError is type(failed({"error": error}, {}))


def test_a_done_of_another_dialect_says_nothing() -> None:
    """Some hosts send it behind the terminal, or instead of it."""
    progress = ResponsesProgress()

    assert not progress.take(b" [DONE] ")
    assert not progress.whole


def test_a_name_stands_in_for_a_type() -> None:
    """Hosts that leave the type out still name their events."""
    progress = ResponsesProgress()

    assert progress.take(b'{"delta": "a"}', "response.output_text.delta")
    assert progress.begun


@example(body=FULL)
@given(body=responses())
def test_the_shortest_stream_of_a_response_is_whole(body: dict[str, Any]) -> None:
    """Its text is counted, no event is held back, and one that failed is an error."""
    progress = ResponsesProgress()
    events = [data for _, data in pieces(body)]

    said = [progress.take(json.dumps(event).encode()) for event in events[:-1]]
    last = json.dumps(events[-1]).encode()

    assert all(said)
    assert not progress.whole
    if body["status"] == "failed":
        with pytest.raises(ServerError):
            progress.take(last)
    else:
        assert progress.take(last)
    assert (body["status"] != "failed") is progress.whole
    spoken = [event["delta"] for event in events if event["type"].endswith(".delta")]
    assert len("".join(spoken).encode()) == progress.text


@pytest.mark.parametrize("how", ["completed", "incomplete"])
def test_a_stream_is_complete_with_its_terminal(how: str) -> None:
    """Which is the last that goes on, and has the count."""
    events = [CREATED, ADDED, delta("output_text", "hi"), ended(how, SAID)]

    played = play(*events, delta("output_text", "late"))

    assert played.error is None
    assert events == played.events
    assert played.stream.ended is not None
    assert ("ok", Usage(5, 2, 4)) == (played.stream.ended.how, played.stream.ended.usage)


def test_what_ends_a_stream_before_content_is_an_ordinary_error() -> None:
    """Nobody has seen anything of it."""
    failed = ended("failed", error={"code": "rate_limit_exceeded", "message": "x"})
    error = of("error", code="invalid_prompt", message="x")
    ends: list[list[bytes]] = [[failed], [error], [ended("completed", MESSAGE)], []]

    errors = [type(play(CREATED, ADDED, *end).error) for end in ends]

    assert [RateLimited, ContentFiltered, EmptyResponse, EmptyResponse] == errors


def test_what_ends_a_stream_after_content_breaks_it() -> None:
    """A failed response is told as the cause; no terminal is no end; both are estimated."""
    begun = [CREATED, delta("output_text", "12345")]

    broken = play(*begun, ended("failed", SAID, error={"code": "rate_limit_exceeded"}))
    cut = play(*begun)

    assert StreamBroken is type(broken.error)
    assert broken.error is not None
    assert RateLimited is type(broken.error.__cause__)
    assert StreamIncomplete is type(cut.error)
    for played in (broken, cut):
        assert begun == played.events
        assert Usage(2, 2, estimated=True) == played.stream.usage


def test_a_stream_is_asked_for_as_it_is() -> None:
    """The terminal counts in any case, so nothing is asked for besides."""
    (seen,) = play(ended("completed", SAID)).upstream.requests

    assert b'{"stream":true,"input":"12345678","model":"m"}' == seen.body


def test_the_bytes_of_all_events_go_on() -> None:
    """As they came, those before the first content too."""
    said = encoded(pieces(FULL))

    asked = Request("m", {"input": "x"}, operation="responses", stream=True)
    played = s.play(s.SSE, chunked(said), s.END, asked=asked)

    assert said == b"".join(played.raw)
