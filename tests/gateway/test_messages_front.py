"""Messages through the gateway: the released client of Anthropic, and errors in its dialect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anthropic
import pytest

import llmstack as ls
from llmstack.messages import Request
from llmstack.providers.anthropic import Anthropic
from llmstack.testing.provider import Cut, FakeProvider, Reply
from llmstack.testing.scripted import ScriptedService, echo
from tests.gateway.stage import (
    HELLO,
    Answer,
    Chat,
    get,
    over,
    post,
    run,
    serving,
    talk,
)


def served(*providers: FakeProvider) -> Chat:
    """Fallback over *providers*, which are named a, b, and so on."""
    endpoints = [
        ls.Endpoint(name, Anthropic(each.base_url, api_key="sk-ours"))
        for name, each in zip("abc", providers, strict=False)
    ]
    return ls.ServiceBuilder().layer(ls.Fallback(endpoints)).service(ls.dispatch)


@asynccontextmanager
async def sdk(url: str, retries: int = 0) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """The released client of Anthropic."""
    base = url.removesuffix("/v1")
    async with anthropic.AsyncAnthropic(
        base_url=base, api_key="sk-mine", max_retries=retries
    ) as client:
        yield client


def body(**fields: object) -> bytes:
    """The body of a good request, with *fields* of its own."""
    return json.dumps({"model": "chat", "max_tokens": 9, "messages": HELLO, **fields}).encode()


def message(*headers: str, path: str = "/v1/messages", **fields: object) -> bytes:
    """A good request as bytes, with *fields* and *headers* of its own."""
    return post(body(**fields), *headers, path=path)


def error_of(answer: Answer) -> dict[str, Any]:
    """The error of *answer*, which has the shape of the dialect, and nothing beside it."""
    data = json.loads(answer.body)
    assert {"type", "error", "request_id"} == data.keys()
    assert "error" == data["type"]
    assert {"type", "message"} == data["error"].keys()
    ids = {answer.headers[name] for name in ("request-id", "x-request-id")}
    assert {data["request_id"]} == ids
    return dict(data["error"])


async def texts(stream: Any, found: list[str]) -> None:  # noqa: ANN401 -- of the SDK
    """Read the text of *stream* into *found*, which keeps what came before an error."""
    async for event in stream:
        if event.type == "content_block_delta":
            found.append(event.delta.text)  # noqa: PERF401 -- as said


def test_the_sdk_gets_the_same_through_the_gateway() -> None:
    """Messages, streams and counts, as from a provider with the same dice."""

    async def ask(url: str) -> list[Any]:
        words: list[str] = []
        async with sdk(url) as client:
            whole = await client.messages.create(model="chat", max_tokens=9, messages=HELLO)
            stream = await client.messages.create(
                model="chat", max_tokens=9, messages=HELLO, stream=True
            )
            await texts(stream, words)
            count = await client.messages.count_tokens(model="chat", messages=HELLO)
        return [whole.content, whole.usage, words, count]

    async def main() -> tuple[list[Any], list[Any], list[str]]:
        async with FakeProvider(seed=3) as here, FakeProvider(seed=3) as there:
            async with serving(served(here)) as url:
                through = await ask(url)
            return through, await ask(there.base_url), [seen.path for seen in here.requests]

    through, direct, paths = run(main())

    assert direct == through
    assert 3 < len(through[2])
    assert ["/v1/messages", "/v1/messages", "/v1/messages/count_tokens"] == paths


def test_the_sdk_without_async_works_as_well() -> None:
    """With its helper for streams, and the id that it tells of a reply."""

    def ask(url: str) -> tuple[str, str | None]:
        base = url.removesuffix("/v1")
        with anthropic.Anthropic(base_url=base, api_key="sk-mine", max_retries=0) as client:
            with client.messages.stream(model="chat", max_tokens=9, messages=HELLO) as stream:
                text = stream.get_final_text()
            reply = client.messages.create(model="chat", max_tokens=9, messages=HELLO)
            return text, reply._request_id

    async def main() -> tuple[str, str | None]:
        async with FakeProvider(tokens=8) as provider, serving(served(provider)) as url:
            return await asyncio.to_thread(ask, url)

    text, request_id = asyncio.run(main())

    assert 8 == len(text.split())
    assert "req_" == (request_id or "")[:4]


@pytest.mark.parametrize("key", ["x-api-key: sk-mine", "Authorization: Bearer sk-mine", ""])
def test_of_a_callers_headers_a_provider_sees_two(key: str) -> None:
    """The version and the betas. A key is taken either way, and goes nowhere."""
    mine = [
        *filter(None, [key]),
        "anthropic-version: 2023-06-01",
        "anthropic-beta: a-1,b-2",
        "Anthropic-Beta: c-3",
        "anthropic-workspace-id: wrkspc_1",
        "Cookie: a=b",
    ]

    async def main() -> tuple[int, dict[str, str]]:
        async with FakeProvider() as provider, serving(served(provider)) as url:
            answer = await talk(url, message(*mine, path="/v1/messages?beta=true"))
            return answer.status, dict(provider.requests[0].headers)

    status, sent = run(main())

    assert (200, "sk-ours") == (status, sent["x-api-key"])
    assert ("2023-06-01", "a-1,b-2, c-3") == (sent["anthropic-version"], sent["anthropic-beta"])
    assert set() == {"authorization", "anthropic-workspace-id", "cookie"} & sent.keys()
    assert "mine" not in repr(sent)


def test_in_another_dialect_they_are_not_seen() -> None:
    """There they mean nothing."""
    seen: list[Request] = []

    async def leaf(request: Request) -> ls.Response:
        seen.append(request)
        return ls.Response(b"{}")

    async def main() -> None:
        header = "anthropic-beta: a-1"
        async with serving(over(leaf)) as url:
            await talk(url, message(header, path="/v1/chat/completions"))
            await talk(url, message(header))
            await talk(url, message(header, path="/v1/messages/count_tokens", stream=True))

    run(main())

    assert ["chat", "messages", "count_tokens"] == [each.operation for each in seen]
    assert [{}, {"anthropic-beta": "a-1"}] == [each.headers for each in seen[:2]]
    assert [False] * 3 == [each.stream for each in seen]


def test_headers_of_a_reply_pass_as_in_other_dialects() -> None:
    """Limits, and the provider's id; ours is where the SDK looks for it."""
    theirs = {
        "request-id": "req_theirs",
        "anthropic-ratelimit-requests-remaining": "7",
        "anthropic-organization-id": "org",
    }

    async def main() -> dict[str, str]:
        reply = ls.Response(b"{}", headers=theirs)
        async with serving(over(ScriptedService([reply]))) as url:
            return (await talk(url, message())).headers

    headers = run(main())

    assert "req_theirs" == headers["x-llmstack-upstream-request-id"]
    assert "7" == headers["anthropic-ratelimit-requests-remaining"]
    assert "anthropic-organization-id" not in headers
    assert headers["x-request-id"] == headers["request-id"] == headers["x-llmstack-request-id"]


#: What is sent, the status, the type, and words of the message.
BAD: Final[dict[str, tuple[bytes, int, str, str]]] = {
    "no JSON": (post(b"{", path="/v1/messages"), 400, "invalid_request_error", "not JSON"),
    "no limit": (message(max_tokens=None), 400, "invalid_request_error", "max_tokens must be"),
    "a wrong type": (
        message(stop_sequences="."),
        400,
        "invalid_request_error",
        "stop_sequences must be an array of strings",
    ),
    "a place for keys": (message(base_url="x"), 400, "invalid_request_error", "base_url is not"),
    "a bad header": (
        message("anthropic-beta: a\tb"),
        400,
        "invalid_request_error",
        "the header anthropic-beta must",
    ),
    "two keys": (
        message("x-api-key: a", "X-API-Key: b"),
        400,
        "invalid_request_error",
        "the header x-api-key is there twice",
    ),
    "two bearers": (
        message("Authorization: a", "authorization: b"),
        400,
        "invalid_request_error",
        "the header authorization is there twice",
    ),
    "an unknown model": (message(model="gpt"), 404, "not_found_error", "no such model"),
    "a method": (get("/v1/messages"), 405, "invalid_request_error", "must be POST"),
    "a method of counts": (
        get("/v1/messages/count_tokens"),
        405,
        "invalid_request_error",
        "must be POST",
    ),
    "too long": (message(system="x" * 2000), 413, "request_too_large", "than 2000 bytes"),
    "a form": (
        post(b"a=b", path="/v1/messages", kind="text/plain"),
        415,
        "invalid_request_error",
        "Content-Type must be",
    ),
}


@pytest.mark.parametrize(("sent", "status", "type_", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_told_in_the_dialect(sent: bytes, status: int, type_: str, words: str) -> None:
    """With the status that it has everywhere, and its name in header and body."""

    async def main() -> Answer:
        async with serving(over(echo), max_body=2000) as url:
            return await talk(url, sent)

    answer = run(main())
    error = error_of(answer)

    assert (status, type_) == (answer.status, error["type"])
    assert words in error["message"]


#: Errors of a stack, what the SDK raises, and how it calls them.
RAISED: Final[list[tuple[Exception, type[anthropic.APIStatusError], str]]] = [
    (ls.BadRequest("no"), anthropic.BadRequestError, "invalid_request_error"),
    (ls.Untranslatable("top_k"), anthropic.BadRequestError, "invalid_request_error"),
    (ls.BudgetExceeded(), anthropic.PaymentRequiredError, "billing_error"),
    (ls.RateLimited(), anthropic.RateLimitError, "rate_limit_error"),
    (ls.Overloaded(), anthropic.ServiceUnavailableError, "overloaded_error"),
    (ls.AuthFailed(), anthropic.InternalServerError, "api_error"),
    (ls.DeadlineExceeded(), anthropic.GatewayTimeoutError, "timeout_error"),
    (ZeroDivisionError(), anthropic.InternalServerError, "api_error"),
]


@pytest.mark.parametrize(
    ("error", "kind", "type_"), RAISED, ids=[type(row[0]).__name__ for row in RAISED]
)
def test_the_sdk_raises_what_the_status_says(
    error: Exception, kind: type[anthropic.APIStatusError], type_: str
) -> None:
    """With our message and the name of the request, for counts as well."""

    async def main() -> list[anthropic.APIStatusError]:
        caught = []
        async with serving(over(ScriptedService([error, error]))) as url, sdk(url) as client:
            with pytest.raises(kind) as raised:
                await client.messages.create(model="chat", max_tokens=9, messages=HELLO)
            caught.append(raised.value)
            with pytest.raises(kind) as raised:
                await client.messages.count_tokens(model="chat", messages=HELLO)
            return [*caught, raised.value]

    for raised in run(main()):
        assert (kind, type_) == (type(raised), raised.type)
        assert raised.api_message
        assert "req_" == (raised.request_id or "")[:4]


def test_the_sdk_begins_anew_where_it_is_told_to_and_only_there() -> None:
    """By the header that both SDKs know."""
    errors = [ls.NoEndpoint(), ls.BadRequest("no"), ls.BadRequest("not asked for")]

    async def main() -> int:
        service: ScriptedService[Request, Any] = ScriptedService(errors)
        async with serving(over(service)) as url, sdk(url, retries=2) as client:
            with pytest.raises(anthropic.BadRequestError):
                await client.messages.create(model="chat", max_tokens=9, messages=HELLO)
            return len(service.calls)

    assert 2 == run(main())


@pytest.mark.parametrize("how", ["fin", "rst", "end"])
def test_a_cut_after_content_is_an_error_of_the_sdk(how: Any) -> None:  # noqa: ANN401 -- a literal
    """Not silence, and not a second answer; what came before it is there."""

    async def main() -> tuple[list[str], anthropic.APIStatusError, int]:
        words: list[str] = []
        async with FakeProvider(tokens=5) as a, FakeProvider(tokens=5) as b:
            a.script(Cut(after=5, how=how))  # a ping is one of them
            async with serving(served(a, b)) as url, sdk(url, retries=2) as client:
                stream = await client.messages.create(
                    model="chat", max_tokens=9, messages=HELLO, stream=True
                )
                with pytest.raises(anthropic.APIStatusError) as caught:
                    await texts(stream, words)
                return words, caught.value, len(b.requests)

    words, error, others = run(main())

    assert (2, 0, 200, "api_error") == (len(words), others, error.status_code, error.type)
    assert isinstance(error.body, dict)
    assert error.request_id == error.body["request_id"]


def test_a_failure_before_content_is_an_ordinary_error() -> None:
    """Another endpoint answers, or the SDK gets a status."""

    async def main() -> tuple[list[str], str]:
        words: list[str] = []
        async with FakeProvider(tokens=5) as a, FakeProvider(tokens=5) as b:
            a.always(Cut(after=2))
            b.script(Reply(529))
            async with serving(served(a, b)) as url, sdk(url) as client:
                with pytest.raises(anthropic.ServiceUnavailableError) as caught:
                    await client.messages.create(
                        model="chat", max_tokens=9, messages=HELLO, stream=True
                    )
                stream = await client.messages.create(
                    model="chat", max_tokens=9, messages=HELLO, stream=True
                )
                await texts(stream, words)
                return words, caught.value.type or ""

    words, type_ = run(main())

    assert (5, "overloaded_error") == (len(words), type_)
