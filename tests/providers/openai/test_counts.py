"""The tokens of a chat stream: asked for, told to whom asked, and estimated where nobody says."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from llmstack.call import Usage
from llmstack.errors import StreamBroken, StreamIncomplete
from llmstack.messages import EventStream, Request
from llmstack.providers.openai import OpenAI
from llmstack.testing.upstream import ScriptedUpstream, expect_request, fin, send, stall
from tests.providers.openai import scripts as s
from tests.providers.openai.scripts import chunked, play, text


#: Of the guess: 7 for the words of the prompt, in two fields, 3 for the message, 3 for the reply.
PROMPT: Final = 20


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (
            b' { "model":"a", "x": 1.0}',
            b' {"stream_options":{"include_usage":true},"stream":true, "model":"m", "x": 1.0}',
        ),
        (
            b'{"model":"m","stream":true,"stream_options":null}',
            b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}',
        ),
        (
            b'{"model":"a","stream":true,"stream_options":{"include_obfuscation":false}}',
            b'{"model":"m","stream":true,%b}'
            % b'"stream_options":{"include_obfuscation":false,"include_usage":true}',
        ),
        (
            b'{"stream_options":{"include_usage":null}, "model":"m"}',
            b'{"stream_options":{"include_usage":true},"model":"m","stream":true}',
        ),
        *(
            (body, body)
            for body in (
                b'{"model":"m", "stream":true, "stream_options":{"include_usage":true}}',
                b'{"model":"m", "stream":true, "stream_options":{"include_usage":false}}',
                b'{"model":"m", "stream":true, "stream_options":"wrong"}',
            )
        ),
    ],
)
def test_a_stream_is_asked_to_count_its_tokens(body: bytes, sent: bytes) -> None:
    """Where the caller does not say; what the caller says stands, and the rest stays."""
    (seen,) = play(
        s.SSE + chunked(s.WHOLE) + s.END, asked=Request("m", body, stream=True)
    ).upstream.requests

    assert sent == seen.body


@pytest.mark.parametrize("body", [b'{"model":"m"}', b'{"model":"m", "stream_options":{}}'])
def test_a_whole_reply_is_not_asked(body: bytes) -> None:
    """It counts in any case, and hosts refuse what is meant for streams."""
    (seen,) = play(s.sized(b"{}"), asked=Request("m", body)).upstream.requests

    assert body == seen.body


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("options", [None, {"include_usage": False}, {"include_usage": True}])
def test_the_tokens_are_told_to_whom_asked(options: object, *, asks: bool) -> None:
    """The event that counts them passes once, or not at all; they are known all the same."""
    body = {} if options is None else {"stream_options": options}
    counted = play(
        s.SSE + chunked(s.ROLE, text("x"), s.STOP, s.USAGE, s.USAGE, s.DONE) + s.END,
        asked=Request("m", body, stream=True),
        leaf=lambda url: OpenAI(url, asks_usage=asks),
    )

    usage = [event for event in counted.events if b"usage" in event]
    assert (1 if options == {"include_usage": True} else 0) == len(usage)
    assert 4 == len(counted.events) - len(usage)
    assert Usage(3, 2) == counted.stream.usage


@pytest.mark.parametrize(
    ("events", "error"),
    [
        ([text("1234"), text("56789")], StreamIncomplete),
        ([text("123456789")], StreamIncomplete),
        ([text("1234"), text("5678"), text("9"), s.ERROR], StreamBroken),
        ([text("123456789"), s.STOP, s.DONE], None),
        ([s.chunk({"tool_calls": [{"function": {"name": "1234", "arguments": "56789"}}]})], None),
        ([text("12"), *[text(sign) for sign in "3456789"], s.STOP, text("late"), s.DONE], None),
        ([text("\u00e9\u00e92"), s.chunk({"reasoning": "6789", "refusal": ""}), s.STOP], None),
    ],
)
def test_what_nobody_counted_is_estimated(events: list[bytes], error: type | None) -> None:
    """From the prompt and from the text that came, four bytes a token, and it says so."""
    if error is None and s.STOP not in events:
        events = [*events, s.STOP]
    played = play(s.SSE + chunked(s.ROLE, *events) + s.END)

    assert error is None or isinstance(played.error, error)
    assert Usage(PROMPT, 3, estimated=True) == played.stream.usage
    assert played.stream.ended is not None
    assert Usage(PROMPT, 3, estimated=True) == played.stream.ended.usage


def test_what_was_counted_and_then_cut_is_at_least_that() -> None:
    """Hosts that count as they go have said how long the prompt is; the rest may be more."""
    so_far = {"prompt_tokens": 5, "completion_tokens": 1}
    event = s.chunk({"content": "123456789"}, usage=so_far)

    cut = play(s.SSE + chunked(s.ROLE, event), fin).stream
    more = play(
        s.SSE + chunked(s.ROLE, s.chunk({"content": "1"}, usage={**so_far, "completion_tokens": 8}))
    ).stream

    assert Usage(5, 3, estimated=True) == cut.usage
    assert Usage(5, 8, estimated=True) == more.usage


def test_a_stream_that_was_left_costs_what_had_come() -> None:
    """The provider would have gone on; what was read until then is the bill."""

    async def main() -> Usage | None:
        script = [expect_request, send(s.SSE), send(chunked(text("12345678"))), stall]
        async with ScriptedUpstream([script]) as upstream, OpenAI(upstream.base_url) as leaf:
            reply = await leaf(s.request(counts=False))
            assert isinstance(reply, EventStream)
            async with reply as stream:
                await anext(stream)
            assert stream.ended is not None
            assert stream.ended.how == "abandoned"
            return stream.ended.usage

    assert Usage(PROMPT, 2, estimated=True) == asyncio.run(main())


@pytest.mark.parametrize(("n", "kind"), [(1, None), ("2", None), (2, StreamBroken)])
def test_a_cut_before_all_answers_have_begun_is_a_cut(
    n: object, kind: type[StreamBroken] | None
) -> None:
    """Of two that were asked for, one has finished: the other one is missing."""
    body = {"model": "m", "messages": [], "n": n}
    sent = (s.SSE, chunked(s.ROLE, text("Hi"), s.STOP), fin)

    assert (kind or type(None)) is type(play(*sent, asked=Request("m", body, stream=True)).error)
