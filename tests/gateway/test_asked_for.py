"""What users of other gateways asked for about limits: when to come back, and who else there is.

The docstrings name the thread that asked.
"""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.providers.openai import OpenAI
from llmstack.testing.provider import FakeProvider, Reply
from tests.gateway.stage import Answer, Chat, chat, post, run, serving, talk


def stack_of(*providers: FakeProvider) -> Chat:
    """As one builds it, over *providers*, which are named a, b, and so on."""
    endpoints = [
        ls.Endpoint(name, OpenAI(provider.base_url, api_key="sk-any"))
        for name, provider in zip("abc", providers, strict=False)
    ]
    layers: list[ls.Layer] = [
        *(ls.Deadline(30), ls.Retry(), ls.Fallback(endpoints)),
        *(ls.CircuitBreaker(), ls.Cooldown(), ls.Timeout(first_token=10)),
    ]
    return ls.ServiceBuilder(layers, seed=1).service(ls.dispatch)


@pytest.mark.parametrize("stream", [False, True], ids=["complete", "streamed"])
@pytest.mark.parametrize("waits", [(90, 300), (300, 90)], ids=str)
def test_who_finds_nobody_is_told_when_the_first_is_back(
    waits: tuple[float, float], *, stream: bool
) -> None:
    """BerriAI/litellm#27823, #30098: with all put aside, nobody was told when to come back.

    Here it is the earliest moment, less the time that has passed; who comes then is served.
    """

    async def main() -> list[Answer]:
        async with FakeProvider() as a, FakeProvider() as b, serving(stack_of(a, b)) as url:
            for provider, wait in zip((a, b), waits, strict=True):
                provider.fail(429, retry_after=wait)
            body = post(chat(stream=stream))
            answers = [await talk(url, body), await talk(url, body)]
            await asyncio.sleep(40)
            answers.append(await talk(url, body))
            assert [1, 1] == [len(provider.requests) for provider in (a, b)]
            a.behave()
            b.behave()
            await asyncio.sleep(int(answers[-1].headers["retry-after"]))
            return [*answers, await talk(url, post(chat()))]

    with capture_logs():
        first, second, third, last = run(main())

    assert 429 == first.status
    assert 90 <= int(first.headers["retry-after"]) <= 92
    for refused, least in ((second, 90), (third, 50)):
        assert (503, "no_endpoint") == (refused.status, refused.error["code"])
        assert least <= int(refused.headers["retry-after"]) <= least + 2
    assert 200 == last.status


@pytest.mark.parametrize("body", ["", "Resource exhausted", "{}"])
def test_the_status_of_a_limit_is_enough(body: str) -> None:
    """agentgateway/agentgateway#1500: a 429 without headers was no reason to go elsewhere; #1153.

    Here it is, and the host is left alone for a while: not for ever, though it said nothing.
    """

    async def main() -> tuple[list[Answer], list[int], float]:
        async with FakeProvider() as a, FakeProvider() as b, serving(stack_of(a, b)) as url:
            a.script(Reply(429, body))
            answers, seen = [], []
            for wait in (0.0, 0.0, 3.0):
                await asyncio.sleep(wait)
                answers.append(await talk(url, post(chat())))
                seen.append(len(a.requests))
            return answers, seen, b.requests[0].at - a.requests[0].at

    with capture_logs():
        answers, seen, later = run(main())

    assert [(200, "b"), (200, "b"), (200, "a")] == [
        (answer.status, answer.headers["x-llmstack-endpoint"]) for answer in answers
    ]
    assert "2; a=RateLimited, b=ok" == answers[0].headers["x-llmstack-attempts"]
    assert [1, 1, 2] == seen
    assert later < 0.01
