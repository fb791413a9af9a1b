import asyncio
import json
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import aiohttp
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from llmstack import clock
from llmstack.testing.openai_wire import embedding
from llmstack.testing.provider import FakeProvider, Reply
from tests.testing.clients import BODY, HELLO, post, run, run_apart, sdk, streamed


def test_the_sdk_gets_the_same_words_complete_and_streamed() -> None:
    """Two providers of one seed: one is asked for a stream, the other is not."""

    async def whole(provider: FakeProvider) -> ChatCompletion:
        async with sdk(provider) as client:
            return await client.chat.completions.create(model="m", messages=HELLO)

    async def stream(provider: FakeProvider) -> list[ChatCompletionChunk]:
        async with sdk(provider) as client:
            return await streamed(client)

    completion = run_apart(whole, FakeProvider(tokens=5, seed=3))
    chunks = run_apart(stream, FakeProvider(tokens=5, seed=3))
    other = run_apart(whole, FakeProvider(tokens=5, seed=4))

    text = completion.choices[0].message.content or ""
    assert 5 == len(text.split())
    assert text == "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert completion.usage == chunks[-1].usage
    assert text != other.choices[0].message.content


def test_a_stream_without_usage_ends_with_the_finish_and_done() -> None:
    """On the wire: one data line an event, and [DONE] last."""

    async def main(provider: FakeProvider) -> tuple[int, bytes]:
        body = json.dumps({**BODY, "stream": True}).encode()
        return await post(provider.base_url, body)

    status, body = run(main, FakeProvider(tokens=2))

    *events, done, end = body.split(b"\n\n")
    assert (200, b"data: [DONE]", b"") == (status, done, end)
    assert 4 == len(events)
    last = json.loads(events[-1].removeprefix(b"data: "))
    assert ("stop", None) == (last["choices"][0]["finish_reason"], last.get("usage"))


def test_the_sdk_gets_embeddings_and_models() -> None:
    """The SDK asks for base64, a plain client for floats: the same numbers."""

    async def main(provider: FakeProvider) -> tuple[list[list[float]], dict[str, Any], list[str]]:
        async with sdk(provider) as client:
            theirs = await client.embeddings.create(model="m", input=["a", "b"], dimensions=4)
            models = [model.id async for model in client.models.list()]
        body = json.dumps({"model": "m", "input": ["a", "b"], "dimensions": 4}).encode()
        _, plain = await post(provider.base_url, body, path="/embeddings")
        return [entry.embedding for entry in theirs.data], json.loads(plain), models

    vectors, plain, models = run_apart(main, FakeProvider(models=("m", "n")))

    assert vectors == [entry["embedding"] for entry in plain["data"]]
    assert ["m", "n"] == models


def test_answers_have_an_id_a_date_and_the_seed() -> None:
    """And without models there is one to be listed."""

    async def main(provider: FakeProvider) -> list[dict[str, Any]]:
        ask = partial(post, provider.base_url)
        seen = [json.loads((await ask())[1])]
        await asyncio.sleep(5)
        seen.append(json.loads((await ask())[1]))
        seen.append(json.loads((await ask(path="/embeddings", input="a"))[1]))
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{provider.base_url}/models") as reply,
        ):
            return [*seen, await reply.json()]

    first, second, vectors, models = run(main, FakeProvider(seed=9))

    assert [1_767_225_600, 1_767_225_605] == [first["created"], second["created"]]
    assert first["id"] != second["id"]
    assert embedding("a", 8, 9) == vectors["data"][0]["embedding"]
    assert ["fake"] == [model["id"] for model in models["data"]]


def test_it_takes_its_time() -> None:
    """Latency before the first byte, pace before each word, on the clock of the loop."""

    async def main(provider: FakeProvider) -> list[float]:
        async with sdk(provider) as client:
            stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
            times = [clock.now() async for _ in stream]
            provider.latency = 1.0
            await client.models.list()
        return [*times, clock.now()]

    assert [3.0, 3.5, 4.0, 4.0, 5.0] == run_apart(
        main, FakeProvider(latency=3.0, pace=0.5, tokens=2)
    )


def test_times_may_be_drawn() -> None:
    """From the dice of the provider, so that the seed decides them."""
    latency: Callable[[Random], float] = lambda rng: rng.uniform(1, 2)  # noqa: E731

    async def main(provider: FakeProvider) -> float:
        await post(provider.base_url)
        return clock.now()

    expected = Random(5).uniform(1, 2)
    assert [expected] * 2 == [run(main, FakeProvider(latency=latency, seed=5)) for _ in range(2)]


def test_requests_are_remembered() -> None:
    """Method, path, headers in lower case, body, time and end."""

    async def main(provider: FakeProvider) -> None:
        await asyncio.sleep(2)
        await post(provider.base_url, model="other")

    provider = FakeProvider()
    run(main, provider)

    (seen,) = provider.requests
    assert ("POST", "/v1/chat/completions", 2.0, "served") == (
        seen.method,
        seen.path,
        seen.at,
        seen.ended,
    )
    assert {**BODY, "model": "other"} == seen.json
    assert str(len(seen.body)) == seen.headers["content-length"]


@pytest.mark.parametrize(
    ("key", "model", "expected"),
    [
        ("right", "m", None),
        ("wrong", "m", "AuthenticationError invalid_api_key"),
        ("right", "n", "NotFoundError model_not_found"),
    ],
)
def test_key_and_model_are_checked_if_there_are_any(
    key: str, model: str, expected: str | None
) -> None:
    """With the codes of the format; and the key is in no repr."""

    async def main(provider: FakeProvider) -> str | None:
        async with sdk(provider, key) as client:
            try:
                await client.chat.completions.create(model=model, messages=HELLO)
            except openai.APIStatusError as raised:
                return f"{type(raised).__name__} {raised.code}"
        return None

    provider = FakeProvider(api_key="right", models=("m",))

    assert expected == run_apart(main, provider)
    assert "right" not in repr(provider)


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/chat/completions", b"{", 400, "not JSON"),
        ("/chat/completions", b'{"model": "m"}', 400, "missing: messages"),
        ("/embeddings", b'{"model": "m"}', 400, "missing: input"),
        ("/models", b"", 404, "unknown URL: POST /v1/models"),
        ("/nothing", b"", 404, "unknown URL: POST /v1/nothing"),
    ],
)
def test_bad_requests_are_answered_in_the_shape_of_the_format(
    path: str, body: bytes, status: int, said: str
) -> None:
    """With a message that says what is wrong."""

    async def main(provider: FakeProvider) -> tuple[int, bytes]:
        return await post(provider.base_url, body, path=path)

    seen, reply = run(main, FakeProvider())

    assert status == seen
    assert said in json.loads(reply)["error"]["message"]


def test_the_script_comes_before_what_is_always_done() -> None:
    """Both end with `behave`; a reply without body is the error of its status."""

    async def main(provider: FakeProvider) -> list[tuple[int, bytes]]:
        ask = partial(post, provider.base_url)
        provider.fail(429, code="slow_down", retry_after=2.5)
        provider.script(Reply(503), Reply(200, "text"), Reply(201, b"bytes"), Reply(202, {"a": 1}))
        seen = [await ask() for _ in range(6)]
        provider.script(Reply(500))
        provider.behave()
        return [*seen, await ask()]

    *scripted, first, second, last = run(main, FakeProvider())

    assert [503, 200, 201, 202] == [status for status, _ in scripted]
    assert [b"text", b"bytes", b'{"a": 1}'] == [body for _, body in scripted[1:]]
    assert "server_error" == json.loads(scripted[0][1])["error"]["type"]
    assert first == second
    assert (429, "slow_down") == (first[0], json.loads(first[1])["error"]["code"])
    assert 200 == last[0]


def test_a_failure_may_name_a_wait() -> None:
    """The header is there if asked for, and not otherwise; other headers are as given."""

    async def main(provider: FakeProvider) -> list[str | None]:
        seen = []
        async with aiohttp.ClientSession() as session:
            for retry_after in (None, 2.5, 3.0):
                provider.fail(retry_after=retry_after)
                async with session.get(f"{provider.base_url}/models") as reply:
                    seen.append(reply.headers.get("Retry-After"))
            provider.script(Reply(500, headers={"X-A": "b", "Content-Type": "text/html"}))
            async with session.get(f"{provider.base_url}/models") as reply:
                seen += [reply.headers["X-A"], reply.content_type]
        return seen

    assert [None, "2.5", "3", "b", "text/html"] == run(main, FakeProvider())
