"""Every body and every event that the gateway sends is one that its dialect has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

import pytest

import llmstack as ls
from llmstack.dialects.translator import Piece
from llmstack.testing.provider import FakeProvider
from llmstack.testing.upstream import Step, expect_request, send, sleep
from tests.gateway.answers import ANSWERS, bytes_of, heard, stream_of
from tests.gateway.published import (
    check_count,
    check_embeddings,
    check_error,
    check_last_word,
    check_models,
    check_reply,
    check_stream,
)
from tests.gateway.stage import over, post, run, serving
from tests.gateway.told import CLOSE, HEAD, PAIRS, TURN, Told, answers, asked, fronted, got, tell


COUNTED: Final = {"stream_options": {"include_usage": True}}
ONE: Final = {"type": "object", "properties": {"place": {"type": "string"}}}
#: Settings that a response repeats.
RICH: Final = {
    "instructions": "be brief",
    "tools": [{"type": "function", "name": "look_up", "parameters": ONE}],
    "temperature": 0.5,
    "metadata": {"a": "b"},
    "reasoning": {"effort": "low"},
    "max_output_tokens": 64,
}


@pytest.mark.parametrize("shape", ["as asked", "contrary"])
@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize(("asks", "speaks"), PAIRS)
def test_an_answer_is_one_that_the_dialect_has(
    asks: str, speaks: str, kind: str, shape: str
) -> None:
    """Whole, and as a stream, with its usage asked for or not; and nothing of it is lost."""
    said = ANSWERS[kind]
    more = RICH if asks == "responses" else {}

    async def main() -> list[Told]:
        async with fronted(speaks, answers(speaks, said, contrary=shape == "contrary")) as url:
            return [
                await tell(url, asked(asks, **more)),
                await tell(url, asked(asks, stream=True, **more)),
                await tell(url, asked(asks, stream=True, **({"chat": COUNTED}.get(asks, more)))),
            ]

    whole, streamed, counted = run(main())
    counts = said.counts or speaks == "messages"
    words, tokens = said.text + said.refusal, (20, said.cached, 5) if counts else (0, 0, 0)
    expected = (words, said.ids(), tokens)

    assert [200, 200, 200] == [whole.status, streamed.status, counted.status]
    check_reply(asks, whole.body)
    assert expected == heard(asks, whole.body)
    got = heard(asks, check_stream(asks, streamed.events))
    assert (*expected[:2], (0, 0, 0) if asks == "chat" else tokens) == got
    is_counted = asks == "chat" and counts
    assert expected == heard(asks, check_stream(asks, counted.events, counted=is_counted))


#: The fake messages have stop_details, which is none of the fields that a translation has.
WORDY: Final = [pair for pair in PAIRS if pair[1] != "responses" and pair != ("messages",) * 2]


@pytest.mark.parametrize(("asks", "speaks"), WORDY)
def test_an_answer_word_by_word_is_one_that_the_dialect_has(asks: str, speaks: str) -> None:
    """With pings between the words, where the endpoint sends some."""
    leaf = ls.Anthropic if speaks == "messages" else ls.OpenAI

    async def main() -> tuple[Told, int]:
        async with FakeProvider(tokens=5) as provider:
            stack = ls.ServiceBuilder().layer(ls.Translate(speaks=[speaks]))
            async with serving(stack.service(leaf(provider.base_url))) as url:
                return await tell(url, asked(asks, stream=True)), len(provider.requests)

    reply, requests = run(main())

    assert (200, True, 1) == (reply.status, reply.ended, requests)
    words, calls, _ = heard(asks, check_stream(asks, reply.events))
    assert (5, []) == (len(words.split()), calls)


def cut(dialect: str, events: Sequence[Piece], at: int, ending: bytes) -> list[Step]:
    """An upstream that says *events* up to a place, then *ending*, and hangs up in good order."""
    data = bytes_of(dialect, events[:at], whole=False) + ending
    return [expect_request, send(HEAD % b"text/event-stream" + data)]


FAULTS: Final[Mapping[str, bytes]] = {
    "chat": b'data: {"error": {"message": "no", "type": "server_error", "code": null}}\n\n',
    "messages": b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error",'
    b' "message": "no"}}\n\n',
    "responses": b'event: error\ndata: {"type": "error", "code": "server_error", "message": "no",'
    b' "param": null, "sequence_number": 99}\n\n',
}


@pytest.mark.parametrize("ending", ["silent", "error"])
@pytest.mark.parametrize(("asks", "speaks"), PAIRS)
def test_a_stream_that_breaks_anywhere_is_one_that_the_dialect_has(
    asks: str, speaks: str, ending: str
) -> None:
    """An error reply, or a stream with a last word; nothing that ends it comes before that."""
    events = stream_of(speaks, ANSWERS["text and a call"])
    last = FAULTS[speaks] if ending == "error" else b""
    scripts = [cut(speaks, events, at, last) for at in range(len(events))]

    async def main() -> list[Told]:
        async with fronted(speaks, *scripts) as url:
            return [await tell(url, asked(asks, stream=True)) for _ in scripts]

    replies = run(main())
    broken = [reply for reply in replies if reply.status == 200 and not reply.ended]
    refused = [reply for reply in replies if reply.status != 200]

    assert refused
    assert broken
    for reply in refused:
        check_error(asks, reply.body)
    for reply in broken:
        check_last_word(asks, reply.events)
    for reply in replies:
        # What a chat says behind its finish is not missed.
        if reply not in broken and reply not in refused:
            assert "chat" == speaks
            check_stream(asks, reply.events)


@pytest.mark.parametrize(("asks", "speaks"), PAIRS)
def test_pings_are_no_strangers_in_a_stream(asks: str, speaks: str) -> None:
    """While an endpoint is silent; what comes around them is a stream as ever."""
    data = bytes_of(speaks, stream_of(speaks, ANSWERS["text"]))
    at = data.index(b"\n\n", data.index(b"two words")) + 2
    steps: list[Step] = [
        *(expect_request, send(HEAD % b"text/event-stream" + data[:at])),
        *(sleep(12), send(data[at:])),
    ]

    async def main() -> Told:
        async with fronted(speaks, steps, ping_after=5) as url:
            return await tell(url, asked(asks, stream=True))

    reply = run(main())
    pings = b'event: ping\ndata: {"type": "ping"}\n\n' if asks == "messages" else b": ping\n\n"

    assert 2 == reply.data.count(pings)
    counted = (asks, speaks) == ("chat", "chat")
    check_stream(asks, reply.events, counted=counted and b"usage" in reply.data)


def test_models_embeddings_and_counts_are_published() -> None:
    """The replies that have one shape only."""

    async def main() -> list[Told]:
        async with FakeProvider() as provider:
            stacks = {
                "chat": over(ls.OpenAI(provider.base_url)),
                "claude": over(ls.Anthropic(provider.base_url)),
            }
            vectors = [json.dumps({"model": "chat", "input": "Hi", **more}).encode() for more in (
                {}, {"encoding_format": "base64"}
            )]  # fmt: skip
            count = json.dumps({"model": "claude", **TURN}).encode()
            requests = [
                got("/v1/models"),
                *(post(body, CLOSE, path="/v1/embeddings") for body in vectors),
                post(count, CLOSE, path="/v1/messages/count_tokens"),
            ]
            async with serving(stacks) as url:
                return [await tell(url, request) for request in requests]

    models, floats, base64, count = run(main())

    assert ["chat", "claude"] == [each["id"] for each in models.body["data"]]
    check_models(models.body)
    check_embeddings(floats.body)
    check_count(count.body)
    # Neither the schema nor the model has the other encoding, which the SDK asks for.
    assert isinstance(base64.body["data"][0]["embedding"], str)
