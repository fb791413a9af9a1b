"""Planted keys and a planted prompt, through all that the admin API says: never seen."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any, Final
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.providers.anthropic import Anthropic
from llmstack.providers.key import Key, with_keys
from llmstack.providers.openai import OpenAI
from llmstack.testing.provider import FakeProvider
from tests.gateway.admin.stage import Both, administered, endpoint, read, send
from tests.gateway.stage import HELLO, chat, gateway, post, run, talk


KEY: Final = "hunter2pass-Zq81kk"
OTHER: Final = "sk-other-c4n4ry9876543210"
TOKEN: Final = "adm1n-t0ken-of-the-house"
WRONG: Final = "adm1n-t0ken-of-somebody"
PROMPT: Final = "the canary sings at dawn"
PATHS: Final = ("/livez", "/readyz", "/metrics", "/routes", "/routes/chat", "/routes/chat/plan")


def forms(secret: str) -> list[str]:
    """How *secret* could be written."""
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]
    return [secret, encoded, quote(secret), secret.upper(), secret[:8], secret[-8:]]


async def everything(both: Both, sent: str) -> list[bytes]:
    """All that is answered to whoever *sent* a token."""
    line = f"Authorization: Bearer {sent}"
    asked = {"model": "chat", "messages": [{"role": "user", "content": PROMPT}]}
    changes: list[tuple[str, Any]] = [
        ("breaker", {"do": "open", "endpoint": "eu"}),
        ("breaker", {"do": "open", "endpoint": "nobody"}),
        ("endpoint", {"do": "disable", "endpoint": "us"}),
        ("cooldown", {"do": "put_aside", "scope": "key", "name": "env:EU", "seconds": 5}),
        ("cooldown", {"do": "put_aside", "scope": "key", "name": "env:XX", "seconds": 5}),
        ("plan", asked),
        ("plan", {**asked, "temperature": PROMPT}),
        ("plan", b"{"),
    ]
    requests = [read(path, line) for path in (*PATHS, "/nowhere")]
    requests += [send(f"/routes/chat/{what}", body, line) for what, body in changes]
    requests += [read(path, line) for path in PATHS]
    return [(await both.asks(each)).body for each in requests]


def test_no_key_no_token_and_no_prompt_is_ever_seen(caplog: pytest.LogCaptureFixture) -> None:
    """Not in an answer, a line of a log, or a repr, whoever asks."""
    caplog.set_level(logging.DEBUG)

    async def main() -> list[str]:
        async with FakeProvider(api_key=KEY) as provider:
            leaf = OpenAI(provider.base_url, api_key=KEY)
            other = Anthropic("http://127.0.0.1:9/v1", api_key=OTHER)
            keys = [Key("one", lambda: KEY, label="env:ONE"), Key("two", lambda: OTHER)]
            endpoints = [
                endpoint("eu", leaf, key="env:EU", account="ours"),
                ls.Endpoint("us", ls.Translate()(other), key="env:US"),
                with_keys(ls.Endpoint("ap", leaf), keys),
            ]
            stack = (
                ls.ServiceBuilder()
                .layer(ls.Retry())
                .layer(ls.LatencyBased(endpoints))
                .layer(ls.CircuitBreaker())
                .layer(ls.Cooldown())
                .service(ls.dispatch)
            )
            served = gateway(stack, metrics=lambda: b"# metrics")
            async with administered(stack, TOKEN, metrics=lambda: b"# metrics") as both:
                prompt = [{"role": "user", "content": PROMPT}]
                for messages in (HELLO, prompt, prompt):
                    answer = await talk(both.url, post(chat(messages=messages)))
                    assert 200 == answer.status
                said = [*await everything(both, TOKEN), *await everything(both, WRONG)]
            assert 2 * (2 * len(PATHS) + 9) == len(said)
            assert b'"endpoints"' in b"".join(said)
            return [*map(repr, said), repr(served), repr(both)]

    with capture_logs() as logs:
        said = run(main())

    seen = "\n".join([*said, *map(repr, logs), caplog.text])
    changed = [log["what"] for log in logs if log["event"] == "admin.changed"]
    assert ["breaker open", "endpoint disable", "cooldown put_aside"] == changed
    assert "ours" not in json.dumps(changed)
    assert [] == [
        form
        for secret in (KEY, OTHER, TOKEN, WRONG, PROMPT)
        for form in forms(secret)
        if form in seen
    ]
