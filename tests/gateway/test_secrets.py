"""A planted prompt and two planted keys, through everything that can go wrong: never seen."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any, Final
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.gateway.app import running
from llmstack.integrations.prometheus import PrometheusRecorder
from llmstack.layers.log import Log
from llmstack.layers.metrics import Metrics
from llmstack.messages import Request
from llmstack.providers.openai import OpenAI
from llmstack.testing.provider import Behaviour, Cut, FakeProvider, Reply
from tests.gateway.stage import connected, gateway, post, run


PROMPT: Final = "the canary sings at dawn"
#: A key that looks like a word.
OURS: Final = "hunter2pass-Zq81kk"
THEIRS: Final = "sk-theirs-c4n4ry9876543210"
MESSAGES: Final = [{"role": "user", "content": PROMPT}]


def echoing(status: int, code: str | None = None) -> Reply:
    """An error that repeats the prompt and the key, as careless providers do."""
    message = f"Incorrect API key provided: {OURS}. The prompt was: '{PROMPT}'"
    error = {"message": message, "type": "x", "param": PROMPT, "code": code}
    return Reply(status, {"error": error}, {"X-Echo": PROMPT, "Retry-After": "1"})


def plainly(status: int) -> Reply:
    """One that has the prompt for its words, without quotes, and the key where codes are."""
    error = {"message": PROMPT, "type": OURS, "param": f"in.{OURS}", "code": OURS}
    return Reply(status, {"error": error}, {"X-Request-Id": OURS})


PAGE: Final = Reply(
    502, f"<html><body>{PROMPT} {OURS}</body></html>", {"Content-Type": "text/html"}
)
BEHAVIOURS: Final[list[Behaviour | None]] = [
    None,
    *(echoing(status) for status in (400, 401, 403, 404, 413, 429, 500, 503)),
    *(echoing(400, code) for code in ("context_length_exceeded", "content_filter")),
    echoing(429, "insufficient_quota"),
    *(plainly(status) for status in (400, 413, 422)),
    PAGE,
    Reply(200, f"{PROMPT} is no JSON"),
    Reply(200, {"error": {"message": f"{PROMPT} {OURS}"}}),
    Reply(raw=f"{PROMPT} {OURS}\r\n\r\n".encode()),
    Cut(after=0),
    Cut(after=3),
    Cut(after=3, how="end"),
]


def good(**fields: object) -> bytes:
    return post(
        json.dumps({"model": "chat", "messages": MESSAGES, **fields}).encode(),
        f"Authorization: Bearer {THEIRS}",
        "Connection: close",
    )


def at(path: str, sent: bytes) -> bytes:
    """The same, sent to another *path*."""
    return sent.replace(b"/v1/chat/completions", path.encode())


#: Requests that are wrong in a way that shows the prompt to whoever says what is wrong.
BAD: Final[list[bytes]] = [
    good(temperature=PROMPT),
    good(stop=[1, PROMPT]),
    good(api_key=OURS),
    good(model=7),
    good(model=PROMPT),
    good(**{f"{PROMPT} api_key": 1}),
    post(b'{"%b": 1, "%b": 1}' % ((PROMPT.encode(),) * 2), "Connection: close"),
    good(messages=[PROMPT]),
    good()[:-5] + b"     ",
    good(extra=float("nan")),
    good().replace(b"HTTP/1.1", PROMPT.encode()),
    good().replace(b"Connection:", b"Connection " + PROMPT.encode()),
    good().replace(b"/v1/chat/completions", quote(PROMPT).encode()),
    good().replace(b"POST", b"TRACE"),
    good().replace(b"application/json", PROMPT.encode()),
    good().replace(b"Authorization", b"X_Key"),
    good().replace(b"Host:", b"Host: a\r\nHost:"),
    good().replace(b"Content-Length: ", b"Content-Length: x"),
    at("/v1/messages", good(max_tokens=PROMPT)),
    at("/v1/messages", good(max_tokens=9, system=[{"text": [PROMPT]}])),
    at("/v1/messages", good(max_tokens=9, **{f"{PROMPT} api_key": 1})),
    at("/v1/messages", good()).replace(b"Authorization", b"anthropic-beta: \x7f\r\nanthropic-beta"),
    at("/v1/messages", good()).replace(b"Authorization", b"X-Api-Key: a\r\nx-api-key"),
    at("/v1/messages/count_tokens", good(model=PROMPT)),
    at("/v1/responses", good(input=[PROMPT])),
    at("/v1/responses", good(input=PROMPT, text=PROMPT)),
]


async def buggy(request: Request) -> object:
    """A bug whose words, and whose frame, have the prompt in them."""
    prompt = request.body.raw
    raise ZeroDivisionError(prompt)


def forms(secret: str) -> list[str]:
    """How *secret* could be written."""
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]
    return [secret, encoded, quote(secret), secret.upper(), repr(secret)[1:-1]]


async def sent(url: str, request: bytes) -> bytes:
    """Everything that comes back, up to the end of the connection."""
    reader, writer = await connected(url)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


async def everything() -> tuple[list[bytes], list[str]]:
    """Send it all, and give what came back and what can be printed."""
    recorder = PrometheusRecorder()
    async with FakeProvider(api_key=OURS) as provider:
        leaf = OpenAI(provider.base_url, api_key=OURS)
        stack: ls.Stack[Request, Any] = (
            ls.ServiceBuilder()
            .layer(Log())
            .layer(Metrics(recorder))
            .layer(ls.Retry(attempts=2))
            .layer(ls.RoundRobin([ls.Endpoint("eu", leaf)]))
            .layer(ls.CircuitBreaker())
            .service(ls.dispatch)
        )
        bug: ls.Stack[Request, Any] = ls.ServiceBuilder().layer(Log()).service(buggy)
        settings = gateway({"chat": stack, "bug": bug}, metrics=recorder.render)
        answers = []
        async with running(settings) as url:
            for behaviour in BEHAVIOURS:
                for stream in (False, True):
                    provider.behave()
                    if behaviour is not None:
                        provider.always(behaviour)
                    answers.append(await sent(url, good(stream=stream)))
            answers += [await sent(url, request) for request in BAD]
            answers.append(await sent(url, good(model="bug")))
            answers.append(await sent(url, b"GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n"))
            assert all(PROMPT.encode() in seen.body for seen in provider.requests)
        printed = [repr(settings), repr(stack), stack.describe(), repr(stack.statistics())]
        return answers, [*printed, repr(leaf), repr(bug)]


def test_no_prompt_and_no_key_is_ever_seen(caplog: pytest.LogCaptureFixture) -> None:
    """Not in a line of a log, an error, a metric or a repr, however it is written."""
    caplog.set_level(logging.DEBUG)
    with capture_logs() as logs:
        answers, printed = run(everything())

    lines = [*map(repr, logs), *(record.getMessage() for record in caplog.records), caplog.text]
    seen = "\n".join([*map(repr, answers), *printed, *lines])
    assert 2 * len(BEHAVIOURS) + len(BAD) + 2 == len(answers)
    assert 20 < len(logs)
    assert [] == [
        form for secret in (PROMPT, OURS, THEIRS) for form in forms(secret) if form in seen
    ]
