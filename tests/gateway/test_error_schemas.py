"""Every error that the gateway tells, by itself or in a stream, is one that the dialect has."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

import llmstack as ls
from llmstack import errors
from llmstack.testing import anthropic_wire, openai_wire
from llmstack.testing.scripted import ScriptedEvent, ScriptedService, ScriptedSource, echo
from llmstack.testing.upstream import expect_request, send
from tests.gateway.answers import ANSWERS, bytes_of, stream_of
from tests.gateway.published import check_error, check_last_word
from tests.gateway.stage import over, post, run, serving
from tests.gateway.told import (
    CLOSE,
    DIALECTS,
    PAIRS,
    PATHS,
    TURN,
    Told,
    answers,
    asked,
    fronted,
    got,
    tell,
)
from tests.openapi import wrong


def raised() -> list[Exception]:
    """One error of each kind, and one that nobody foresaw."""
    kinds = [getattr(errors, name) for name in errors.__all__]
    found = [each for each in kinds if isinstance(each, type) and issubclass(each, Exception)]
    return [*(kind("what happened") for kind in found), OSError("a bug")]


@pytest.mark.parametrize("shape", ["whole", "streamed"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_error_is_one_that_the_dialect_has(dialect: str, shape: str) -> None:
    """Whatever a stack raises before there is content."""
    told = raised()
    service: ScriptedService[Any, Any] = ScriptedService(told)

    async def main() -> list[Told]:
        async with serving(over(service)) as url:
            return [await tell(url, asked(dialect, stream=shape == "streamed")) for _ in told]

    replies = run(main())

    assert {400, 402, 413, 429, 500, 502, 503, 504} == {reply.status for reply in replies}
    for reply in replies:
        check_error(dialect, reply.body)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_last_word_is_one_that_the_dialect_has(dialect: str) -> None:
    """Whatever a stack raises after there was content; no terminating chunk comes behind it."""
    told = raised()
    pieces = stream_of(dialect, ANSWERS["text"])
    begun = next(at for at, (_, data) in enumerate(pieces, 1) if "two words" in json.dumps(data))
    held = [
        ScriptedEvent(
            json.dumps(data).encode(), name, bytes_of(dialect, [(name, data)], whole=False)
        )
        for name, data in pieces[:begun]
    ]
    left = iter(told)

    async def begins(_request: ls.Request) -> ls.EventStream:
        return ls.EventStream(ScriptedSource([next(left)]), held=held)

    async def main() -> list[Told]:
        async with serving(over(begins)) as url:
            return [await tell(url, asked(dialect, stream=True)) for _ in told]

    for reply in run(main()):
        assert (200, False) == (reply.status, reply.ended)
        assert pieces[:begun] == reply.events[:-1]
        check_last_word(dialect, reply.events)


def test_a_response_of_which_nothing_was_said_ends_with_an_error() -> None:
    """There is no response yet that could have failed."""
    held = [ScriptedEvent(b'{"type": "x"}', "", b'data: {"type": "x"}\n\n')]

    async def begins(_request: ls.Request) -> ls.EventStream:
        return ls.EventStream(ScriptedSource([ls.StreamBroken()]), held=held)

    async def main() -> Told:
        async with serving(over(begins)) as url:
            return await tell(url, asked("responses", stream=True))

    _, (name, said) = run(main()).events

    assert "error" == name
    assert [] == wrong("ResponseErrorEvent", said)


#: Where one asks, and the dialect in which an error is told there.
FRONTS: Final = {
    **{path: dialect for dialect, path in PATHS.items()},
    "/v1/embeddings": "chat",
    "/v1/messages/count_tokens": "messages",
}


@pytest.mark.parametrize(("path", "dialect"), FRONTS.items())
def test_a_bad_request_is_told_in_the_dialect(path: str, dialect: str) -> None:
    """No JSON, no fields, a wrong type, no such model, no such method, too much."""
    good: dict[str, Any] = {"model": "chat", "max_tokens": 9, "input": "Hi", **TURN}
    bodies = [b"{oops", b"[]", b"{}", *(json.dumps(each).encode() for each in (
        {**good, "model": 3}, {**good, "model": "other"},
        {**good, "messages": 3, "input": 3}, {**good, "messages": [], "input": []},
        {**good, "more": "x" * 2000},
    ))]  # fmt: skip
    requests = [
        *(post(body, CLOSE, path=path) for body in bodies),
        post(b"{}", CLOSE, path=path, kind="text/plain"),
        post(b"{}", CLOSE, "Content-Encoding: br", path=path),
        got(path),
    ]

    async def main() -> list[Told]:
        async with serving(over(echo), max_body=1000) as url:
            return [await tell(url, request) for request in requests]

    replies = run(main())

    assert {400, 404, 405, 413, 415} == {reply.status for reply in replies}
    for reply in replies:
        check_error(dialect, reply.body)


@pytest.mark.parametrize(("asks", "speaks"), [("messages", "responses"), ("chat", "responses")])
def test_what_an_endpoint_cannot_say_is_told_in_the_dialect(asks: str, speaks: str) -> None:
    """There is no way from the one to the other."""

    async def main() -> Told:
        async with fronted(speaks, answers(speaks, ANSWERS["text"])) as url:
            return await tell(url, asked(asks))

    reply = run(main())

    assert 400 == reply.status
    check_error(asks, reply.body)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 503, 529])
@pytest.mark.parametrize(("asks", "speaks"), PAIRS)
def test_an_error_of_the_endpoint_is_told_in_the_dialect(
    asks: str, speaks: str, status: int
) -> None:
    """Whatever that speaks; also if it speaks nothing."""
    path = "messages" if speaks == "messages" else "chat"
    say = {"messages": anthropic_wire.error_body, "chat": openai_wire.error_body}[path]
    head = b"HTTP/1.1 %d No\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n"
    bodies = (json.dumps(say(status, "no")).encode(), b"<html>", b"")
    scripts = [[expect_request, send(head % status + body)] for body in bodies]

    async def main() -> list[Told]:
        async with fronted(speaks, *scripts) as url:
            return [await tell(url, asked(asks, stream=True)) for _ in bodies]

    for reply in run(main()):
        assert reply.status >= 400
        check_error(asks, reply.body)
