from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import llmstack as ls
from llmstack.call import Call, Usage
from llmstack.providers.constant import Constant
from tests.openapi import wrong


SORRY = "We are back in a moment. ✓"


async def asked(service: Any, request: ls.Request) -> Any:  # noqa: ANN401
    """The body of a reply, or the data of all events of a stream; and the tokens."""
    reply = await service(request)
    if isinstance(reply, ls.Response):
        return reply.data, reply.usage
    async with reply:
        events = [event.data async for event in reply]
    return events, reply.usage


def test_it_says_the_same_as_a_whole_reply() -> None:
    """A valid chat completion under the name asked for, which took no tokens."""
    request = ls.Request("gpt-4o", call=Call("abc"))
    (body, usage), (again, _) = (asyncio.run(asked(Constant(SORRY), request)) for _ in range(2))

    assert [] == wrong("CreateChatCompletionResponse", body)
    assert ("gpt-4o", "chatcmpl-abc") == (body["model"], body["id"])
    assert (
        SORRY
        == body["choices"][0]["message"]["content"]
        == again["choices"][0]["message"]["content"]
    )
    assert Usage() == usage


@pytest.mark.parametrize("counts", [False, True])
def test_it_says_the_same_as_a_stream(*, counts: bool) -> None:
    """Whole, with its terminal; and with the tokens for who wants to know."""
    body = {"stream": True, "stream_options": {"include_usage": counts}}
    request = ls.Request("gpt-4o", body, stream=True)
    events, usage = asyncio.run(asked(Constant(SORRY), request))

    *chunks, last = events
    read = [json.loads(chunk) for chunk in chunks]
    said = [choice["delta"].get("content") or "" for each in read for choice in each["choices"]]
    assert b"[DONE]" == last
    assert SORRY == "".join(said)
    assert counts == any(each.get("usage") for each in read)
    assert Usage() == usage


def test_callers_of_other_dialects_are_answered_through_a_translate() -> None:
    """And who asks for what is no chat is refused, so that a router goes on."""
    endpoint = ls.Endpoint("sorry", ls.Translate()(Constant(SORRY)))
    stack: Any = ls.ServiceBuilder().layer(ls.Fallback([endpoint])).service(ls.dispatch)
    body = {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
    message, _ = asyncio.run(asked(stack, ls.Request("claude", body, operation="messages")))

    assert [{"type": "text", "text": SORRY}] == [
        {"type": part["type"], "text": part["text"]} for part in message["content"]
    ]
    with pytest.raises(ls.Untranslatable, match="no embeddings; it has: chat"):
        asyncio.run(asked(Constant(SORRY), ls.Request(operation="embeddings")))


def test_it_is_the_last_entry_of_a_fallback() -> None:
    """Nobody sees the outage but those who count."""

    async def down(_request: ls.Request, /) -> ls.Reply:
        raise ls.ServerError("down")

    entries = [ls.Endpoint("eu", down), ls.Endpoint("sorry", Constant(SORRY))]
    stack: Any = ls.ServiceBuilder().layer(ls.Fallback(entries)).service(ls.dispatch)
    request = ls.Request("m")
    asyncio.run(asked(stack, request))

    assert [("eu", "failed"), ("sorry", "ok")] == [
        (a.endpoint, a.how) for a in request.call.attempts
    ]


@pytest.mark.parametrize("text", ["", None, 3])
def test_there_is_something_to_say(text: str) -> None:
    """An empty reply would be taken for a failure."""
    with pytest.raises((ValueError, TypeError), match="text"):
        Constant(text)
