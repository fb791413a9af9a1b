"""Complete replies through the gateway: what the client gets of what the provider said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

import openai
import pytest
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.call import Attempt
from llmstack.errors import LLMStackError
from llmstack.messages import Request
from llmstack.testing.provider import FakeProvider, Hang, Reply
from llmstack.testing.scripted import ScriptedService, stream_of
from tests.gateway.stage import (
    HELLO,
    Answer,
    asked,
    chat,
    connected,
    over,
    post,
    run,
    sdk,
    served,
    serving,
    talk,
)


def test_the_sdk_gets_what_the_provider_says() -> None:
    """The same words through the gateway as from a provider with the same dice."""

    async def main() -> tuple[Any, Any]:
        async with FakeProvider(seed=3) as here, FakeProvider(seed=3) as there:
            async with serving(served(here)) as url, sdk(url) as client:
                through = await asked(client)
            async with sdk(there.base_url) as client:
                return through, await asked(client)

    through, direct = run(main())

    assert direct.choices == through.choices
    assert direct.usage == through.usage
    assert "chat" == through.model


def test_the_sdk_without_async_works_as_well() -> None:
    """From a thread of its own."""

    def ask(url: str) -> str | None:
        with openai.OpenAI(base_url=url, api_key="sk-client", max_retries=0) as client:
            reply = client.chat.completions.create(model="chat", messages=HELLO)
            stream = client.chat.completions.create(model="chat", messages=HELLO, stream=True)
            words = [chunk.choices[0].delta.content or "" for chunk in stream]
            assert 8 == len("".join(words).split())
            return reply.choices[0].message.content

    async def main() -> str | None:
        async with FakeProvider(tokens=8) as provider, serving(served(provider)) as url:
            return await asyncio.to_thread(ask, url)

    assert 8 == len((asyncio.run(main()) or "").split())


@pytest.mark.parametrize("form", ["float", "base64"])
def test_embeddings_pass(form: Any) -> None:  # noqa: ANN401 -- a literal of the SDK
    """The same numbers in both encodings, for many texts."""

    async def main() -> tuple[Any, Any]:
        async with FakeProvider(seed=1) as provider, serving(served(provider)) as url:
            found = []
            for base in (url, provider.base_url):
                async with sdk(base) as client:
                    found.append(
                        await client.embeddings.create(
                            model="chat", input=["a", "b"], encoding_format=form
                        )
                    )
            return found[0], found[1]

    through, direct = run(main())

    assert 2 == len(through.data)
    assert direct.data == through.data


def test_models_are_the_names_of_routes() -> None:
    """All but the star, which is no name."""

    async def main() -> list[str]:
        stacks = {name: over(ScriptedService([])) for name in ("chat", "*", "small")}
        async with serving(stacks) as url, sdk(url) as client:
            return [model.id async for model in client.models.list()]

    assert ["chat", "small"] == run(main())


def test_the_star_takes_the_name_that_was_asked_for() -> None:
    """And passes it on."""

    async def main() -> list[Any]:
        async with FakeProvider() as provider, serving({"*": served(provider)}) as url:
            async with sdk(url) as client:
                await asked(client, "gpt-x")
            return [seen.json["model"] for seen in provider.requests]

    assert ["gpt-x"] == run(main())


def test_the_bytes_of_both_sides_pass_as_they_are() -> None:
    """Not even a space is changed, in either direction."""
    body = b'{ "model":"chat",  "messages": [{"role":"user"}] , "mine":1.50}'
    said = b'{ "choices" : [ {"message": {"content": "hi"}} ] }'

    async def main() -> tuple[bytes, bytes]:
        async with FakeProvider() as provider, serving(served(provider)) as url:
            provider.script(Reply(200, said))
            answer = await talk(url, post(body))
            return answer.body, provider.requests[0].body

    assert (said, body) == run(main())


def test_of_headers_only_a_few_pass() -> None:
    """To the provider none of the client's; to the client limits, and the provider's id."""
    mine = {"Authorization": "Bearer sk-client", "Cookie": "a=b", "X-Forwarded-For": "1.2.3.4"}
    theirs = {
        "X-Request-Id": "up-1",
        "x-ratelimit-remaining-tokens": "7",
        "OpenAI-Processing-Ms": "12",
        "Set-Cookie": "c=d",
        "openai-organization": "org-1",
        "Server": "nginx",
        "x-should-retry": "true",
        "Content-Type": "application/json; charset=utf-8",
    }
    said = {"choices": [{"message": {"content": "hi"}}]}

    async def main() -> tuple[dict[str, str], dict[str, str]]:
        async with FakeProvider() as provider, serving(served(provider)) as url:
            provider.script(Reply(200, said, theirs))
            sent = [f"{name}: {value}" for name, value in mine.items()]
            answer = await talk(url, post(chat(), *sent))
            return dict(provider.requests[0].headers), answer.headers

    sent, got = run(main())

    assert "Bearer sk-any" == sent["authorization"]
    assert set() == {"cookie", "x-forwarded-for"} & sent.keys()
    ours = got.pop("x-request-id")
    assert ours == got.pop("x-llmstack-request-id")
    assert (28, "req_") == (len(ours), ours[:4])
    assert got.pop("date").endswith(" GMT")
    assert {
        "content-type": "application/json; charset=utf-8",
        "content-length": str(len(json.dumps(said))),
        "x-llmstack-attempts": "1",
        "x-llmstack-endpoint": "a",
        "x-llmstack-upstream-request-id": "up-1",
        "x-ratelimit-remaining-tokens": "7",
        "openai-processing-ms": "12",
    } == got


def test_each_request_has_a_name_of_its_own() -> None:
    """Good ones and bad ones."""

    async def main() -> list[str]:
        async with FakeProvider() as provider, serving(served(provider)) as url:
            answers = [await talk(url, post(body)) for body in [chat(), b"x"] * 5]
            return [answer.headers["x-request-id"] for answer in answers]

    assert 10 == len(set(run(main())))


def test_a_failover_is_only_seen_in_the_headers() -> None:
    """Who served, and how many were asked."""

    async def main() -> Answer:
        async with FakeProvider() as a, FakeProvider() as b, serving(served(a, b)) as url:
            a.fail(503)
            return await talk(url, post(chat()))

    answer = run(main())

    assert (200, "2; a=Overloaded, b=ok", "b") == (
        answer.status,
        answer.headers["x-llmstack-attempts"],
        answer.headers["x-llmstack-endpoint"],
    )


def test_of_a_group_the_endpoint_in_it_is_named() -> None:
    """A group sends nothing itself."""

    async def main() -> Answer:
        async with FakeProvider() as provider:
            group = ls.Endpoint("group", served(provider))
            outer = ls.ServiceBuilder().layer(ls.RoundRobin([group])).service(ls.dispatch)
            async with serving(outer) as url:
                return await talk(url, post(chat()))

    headers = run(main()).headers

    assert ("a", "1") == (headers["x-llmstack-endpoint"], headers["x-llmstack-attempts"])


def test_the_last_failure_is_told_with_advice() -> None:
    """After several attempts the client's SDK is told not to begin anew, and does not."""

    async def main() -> tuple[int, openai.APIStatusError]:
        async with FakeProvider() as a, serving(served(a, attempts=2)) as url:
            a.fail(500)
            async with sdk(url, retries=5) as client:
                with pytest.raises(openai.InternalServerError) as caught:
                    await asked(client)
            return len(a.requests), caught.value

    asked_for, error = run(main())

    assert (2, 502, "upstream_error") == (asked_for, error.status_code, error.code)
    assert "2; a=ServerError, a=ServerError" == error.response.headers["x-llmstack-attempts"]
    assert "false" == error.response.headers["x-should-retry"]
    assert error.request_id == error.response.headers["x-llmstack-request-id"]


def test_a_refusal_tells_when_to_come_back() -> None:
    """In seconds from now, by the loop's clock."""

    async def main() -> Answer:
        now = asyncio.get_running_loop().time()
        error = ls.CircuitOpen("open", ready_at=now + 12.3)
        async with serving(over(ScriptedService([error]))) as url:
            return await talk(url, post(chat()))

    answer = run(main())

    assert (503, "circuit_open", "13", "true") == (
        answer.status,
        answer.error["code"],
        answer.headers["retry-after"],
        answer.headers["x-should-retry"],
    )


def test_a_refusal_because_of_draining_ends_the_connection() -> None:
    """So that the client goes to another server."""

    async def main() -> Answer:
        async with serving(over(ScriptedService([ls.Draining()]))) as url:
            return await talk(url, post(chat()))

    assert run(main()).closed


async def wrong(_request: Request) -> object:
    """A stack that gives what is no reply."""
    return "text"


async def broken(_request: Request) -> object:
    """A stack with a bug in it, whose words are a prompt."""
    raise ZeroDivisionError("tell me a secret")


BUGS: Final[list[tuple[Callable[..., Any], str]]] = [
    (broken, "ZeroDivisionError"),
    (wrong, "TypeError"),
    (ScriptedService([ls.ConfigError("tell me a secret")]), "ConfigError"),
    (ScriptedService([LLMStackError("tell me a secret")]), "LLMStackError"),
]


@pytest.mark.parametrize(("service", "error"), BUGS, ids=[error for _, error in BUGS])
def test_a_bug_is_logged_and_not_told(service: Any, error: str) -> None:  # noqa: ANN401
    """Class and place go to the log, under the id that the client gets; no words, no values."""

    async def main() -> Answer:
        async with serving(over(service)) as url:
            return await talk(url, post(chat()))

    with capture_logs() as logs:
        answer = run(main())

    (line,) = logs
    assert (500, "internal_error") == (answer.status, answer.error["code"])
    assert ("gateway.failed", "error", error, answer.headers["x-request-id"]) == (
        line["event"],
        line["log_level"],
        line["error"],
        line["request_id"],
    )
    assert "handler.py" in line["trace"][0]
    assert "secret" not in f"{logs}{answer}"


@pytest.mark.parametrize("stream", [False, True])
def test_a_stack_gives_what_is_asked_for(*, stream: bool) -> None:
    """A client that asks for one kind of reply could not read the other; a stream is closed."""
    ends: list[str] = []

    async def other(request: Request) -> ls.Response | ls.EventStream:
        if request.stream:
            return ls.Response(b"{}")
        reply = stream_of([])
        reply.on_end(lambda outcome: ends.append(outcome.how))
        return reply

    async def main() -> Answer:
        async with serving(over(other)) as url:
            return await talk(url, post(chat(stream=stream)))

    with capture_logs() as logs:
        answer = run(main())

    assert (500, ["TypeError"]) == (answer.status, [line["error"] for line in logs])
    assert ([] if stream else ["abandoned"]) == ends


def test_a_client_that_leaves_before_the_reply_frees_the_provider() -> None:
    """Its connection is closed, and nothing else is asked."""

    async def main() -> tuple[list[str], int]:
        async with FakeProvider() as a, FakeProvider() as b, serving(served(a, b)) as url:
            a.script(Hang())
            _, writer = await connected(url)
            writer.write(post(chat()))
            await asyncio.sleep(1)
            writer.close()
            await asyncio.sleep(0.25)
            return [seen.ended for seen in a.requests], len(b.requests)

    with capture_logs() as logs:
        assert (["left"], 0) == run(main())
    assert [] == logs


def test_who_served_is_the_last_who_did() -> None:
    """Not one that was asked later and lost, and not a group."""

    async def hedged(request: Request) -> ls.Response:
        ledger = request.call.attempts
        ledger.append(Attempt("eu", 0.0, how="ok", sends=1))
        ledger.append(Attempt("us", 0.0, how="ok", sends=1))
        ledger.append(Attempt("asia", 0.0, how="cancelled", sends=1))
        ledger.append(Attempt("group", 0.0, how="ok", group=True, sends=1))
        return ls.Response(b"{}", headers={"Retry-After": "1", "Via": "x"})

    async def main() -> Answer:
        async with serving(over(hedged)) as url:
            return await talk(url, post(chat()))

    headers = run(main()).headers

    assert "us" == headers["x-llmstack-endpoint"]
    assert "3; eu=ok, us=ok, asia=cancelled" == headers["x-llmstack-attempts"]
    assert set() == {"retry-after", "via"} & headers.keys()
