import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any, Literal, TypeVar

import aiohttp
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from llmstack import clock
from llmstack.testing.openai_wire import embedding
from llmstack.testing.provider import Behaviour, Cut, FakeProvider, Hang, Reply
from llmstack.testing.virtual import run_virtual


HELLO: Any = [{"role": "user", "content": "hello there"}]
BODY = {"model": "m", "messages": HELLO}


@asynccontextmanager
async def sdk(provider: FakeProvider, key: str = "x") -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key=key, max_retries=0) as client:
        yield client


async def streamed(client: openai.AsyncOpenAI) -> list[ChatCompletionChunk]:
    stream = await client.chat.completions.create(
        model="m", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    return [chunk async for chunk in stream]


async def post(
    url: str, body: bytes | None = None, *, path: str = "/chat/completions", **more: str
) -> tuple[int, bytes]:
    """Status and body, as a plain client of aiohttp gets them."""
    data = json.dumps({**BODY, **more}).encode() if body is None else body
    async with aiohttp.ClientSession() as session, session.post(url + path, data=data) as reply:
        return reply.status, await reply.read()


T = TypeVar("T")


def run(main: Callable[[FakeProvider], Awaitable[T]], provider: FakeProvider) -> T:
    async def inside() -> T:
        async with provider:
            return await main(provider)

    return run_virtual(inside())[0]


def run_apart(main: Callable[[FakeProvider], Awaitable[T]], provider: FakeProvider) -> T:
    """Run in a thread: when anyio connects, 3.11 loses count of frames, and coverage with it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run, main, provider).result()


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


def test_answers_have_a_number_a_date_and_the_seed() -> None:
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

    assert [("chatcmpl-1", 1_767_225_600), ("chatcmpl-2", 1_767_225_605)] == [
        (answer["id"], answer["created"]) for answer in (first, second)
    ]
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


Ending = tuple[list[bytes], str | None]


async def stream_of(provider: FakeProvider, *, stream: bool) -> Ending:
    """The pieces that came, and the error that ended them."""
    pieces: list[bytes] = []
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{provider.base_url}/chat/completions", json={**BODY, "stream": stream}
            ) as reply,
        ):
            async for piece in reply.content.iter_any():
                pieces += piece.split(b"\n\n")[:-1] if stream else [piece]
    except aiohttp.ClientError as error:
        return pieces, type(error).__name__
    return pieces, None


@pytest.mark.parametrize(
    ("cut", "events", "last", "error"),
    [
        (Cut(2), 2, b'"content": "', "ClientPayloadError"),
        (Cut(2, "rst"), 2, b'"content": "', "ClientPayloadError"),
        (Cut(2, "end"), 2, b'"content": "', None),
        (Cut(0), 0, b"", "ClientPayloadError"),
        (Cut(1, terminal=True), 3, b"data: [DONE]", "ClientPayloadError"),
        (Cut(99), 6, b"data: [DONE]", "ClientPayloadError"),
    ],
)
def test_a_stream_is_cut_where_and_how_it_is_told(
    cut: Cut, events: int, last: bytes, error: str | None
) -> None:
    """The events before the cut arrive; the request is noted as cut."""
    provider = FakeProvider(tokens=3, pace=1)
    provider.script(cut)

    pieces, raised = run(partial(stream_of, stream=True), provider)

    assert (events, error) == (len(pieces), raised)
    assert last in b"".join(pieces[-1:])
    assert ["cut"] == [seen.ended for seen in provider.requests]


@pytest.mark.parametrize(
    ("how", "error"),
    [("fin", "ClientPayloadError"), ("rst", "ClientPayloadError"), ("end", None)],
)
def test_a_complete_body_is_cut_in_its_middle(
    how: Literal["fin", "rst", "end"], error: str | None
) -> None:
    """Half of it comes; with "end" it looks complete, and is no JSON."""
    provider = FakeProvider()
    provider.script(Cut(how=how))

    pieces, raised = run(partial(stream_of, stream=False), provider)

    whole, _ = run(partial(stream_of, stream=False), FakeProvider())
    assert error == raised
    assert b"".join(whole)[: len(b"".join(whole)) // 2] == b"".join(pieces)
    assert ["cut"] == [seen.ended for seen in provider.requests]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_cut_is_a_fin_or_a_reset(how: Literal["fin", "rst"], *, stream: bool) -> None:
    """As a raw socket sees it."""

    async def main(provider: FakeProvider) -> str:
        body = json.dumps({**BODY, "stream": stream}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
        writer.write(f"{head}\r\n\r\n".encode() + body)
        try:
            await reader.read()
        except ConnectionResetError:
            return "rst"
        finally:
            writer.close()
        return "fin"

    provider = FakeProvider(pace=1)
    provider.script(Cut(3, how))

    assert how == run(main, provider)


def test_raw_bytes_are_all_that_comes() -> None:
    """And then the connection is closed."""

    async def main(provider: FakeProvider) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
        writer.write(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        heard = await reader.read()
        writer.close()
        await writer.wait_closed()
        return heard

    provider = FakeProvider()
    provider.script(Reply(raw=b"nonsense"))

    assert b"nonsense" == run(main, provider)
    assert ["cut"] == [seen.ended for seen in provider.requests]


@pytest.mark.parametrize(("hang", "events"), [(Hang(), None), (Hang(after=0), 0), (Hang(2), 2)])
def test_it_hangs_until_the_client_leaves(hang: Hang, events: int | None) -> None:
    """Before its head, or after some events; and it notices that the client has left."""

    async def main(provider: FakeProvider) -> list[Any]:
        seen: list[Any] = []
        async with aiohttp.ClientSession() as session:
            try:
                async with (
                    asyncio.timeout(60),
                    session.post(
                        f"{provider.base_url}/chat/completions", json={**BODY, "stream": True}
                    ) as reply,
                ):
                    async for line in reply.content:
                        seen += [line] if line.strip() else []
            except TimeoutError:
                seen += [clock.now(), *(request.ended for request in provider.requests)]
        await asyncio.sleep(0.1)
        return [*seen, *(request.ended for request in provider.requests)]

    provider = FakeProvider()
    provider.always(hang)
    seen = run(main, provider)

    assert (events or 0) == sum(isinstance(entry, bytes) for entry in seen)
    assert [60.0, "open", "left"] == seen[events or 0 :]


def test_a_dead_provider_resets_and_refuses_until_it_is_revived() -> None:
    """On the same port; dying twice is dying once."""

    async def main(provider: FakeProvider) -> list[Any]:
        seen: list[Any] = [provider.alive]

        async def ask() -> None:
            try:
                seen.append((await post(provider.base_url))[0])
            except aiohttp.ClientConnectorError:
                seen.append("refused")
            except aiohttp.ClientOSError:
                seen.append("reset")

        async with asyncio.TaskGroup() as group:
            group.create_task(ask())
            await asyncio.sleep(1)
            await provider.die()
        await ask()
        await provider.die()
        seen.append(provider.alive)
        port = provider.port
        await provider.revive()
        await provider.revive()
        await ask()
        assert port == provider.port
        return [*seen, provider.alive, *(request.ended for request in provider.requests)]

    seen = run(main, FakeProvider(latency=2))

    assert [True, "reset", "refused", False, 200, True, "cut", "served"] == seen


def test_a_provider_that_is_left_while_it_serves_takes_its_clients_along() -> None:
    """Leaving the block waits for nobody."""

    async def main() -> str:
        async with FakeProvider(latency=1e6) as provider:
            task = asyncio.ensure_future(post(provider.base_url))  # noqa: TID251
            await asyncio.sleep(1)
        with pytest.raises(aiohttp.ClientOSError):
            await task
        return provider.requests[0].ended

    assert ("cut", 1.0) == run_virtual(main())


def test_two_at_once_do_not_mix() -> None:
    """Each has its port, dice and memory."""

    async def main() -> list[tuple[int, bytes]]:
        async with FakeProvider(seed=1) as one, FakeProvider(seed=2) as other:
            seen = [await post(provider.base_url) for provider in (one, other)]
            assert (1, 1) == (len(one.requests), len(other.requests))
            return seen

    seen, _ = run_virtual(main())

    assert seen[0] != seen[1]
    assert seen == run_virtual(main())[0]


def test_a_cut_after_less_than_nothing_is_refused() -> None:
    """Where it is written."""
    with pytest.raises(ValueError, match="after"):
        Cut(-1)


def test_a_behaviour_is_one_of_three() -> None:
    """The type is what `script` takes."""
    behaviours: list[Behaviour] = [Reply(), Cut(), Hang()]

    assert 3 == len(behaviours)
