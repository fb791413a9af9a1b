"""Keys on real sockets: which one a request shows, and what is concealed of its reply."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from attrs import define, field
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.testing.provider import FakeProvider
from llmstack.testing.upstream import ScriptedUpstream, expect_request, send
from tests.gateway.stage import HELLO, run


BODY: Final = {"messages": HELLO}
DONE: Final = json.dumps(
    {
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
        ]
    }
)
LIMITED: Final = json.dumps({"error": {"code": "rate_limit_exceeded", "message": "slow down"}})


@define(eq=False)
class Provider:
    """A provider that has enough of one key; it keeps the keys that it was shown."""

    limited: str
    shown: list[str] = field(factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        key = request.headers["Authorization"].removeprefix("Bearer ")
        self.shown.append(key)
        headers = {"Content-Type": "application/json"}
        if key == self.limited:
            return web.Response(
                status=429, text=LIMITED, headers={**headers, "Retry-After": "3600"}
            )
        return web.Response(text=DONE, headers=headers)


@asynccontextmanager
async def serving(provider: Provider) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", provider.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    await runner.cleanup()


def test_callers_see_no_failure_while_one_key_is_good() -> None:
    """The limited one is shown once, and each request shows one key."""
    provider = Provider("sk-one")
    keys = [ls.Key(name, ls.Secret(f"sk-{name}")) for name in ("one", "two")]

    async def main() -> list[int]:
        async with serving(provider) as url:
            group = ls.with_keys(ls.Endpoint("eu", ls.OpenAI(url)), keys)
            layers = (ls.Retry(), ls.RoundRobin([group]))
            async with ls.ServiceBuilder(layers, seed=1).service(ls.dispatch) as stack:
                replies = [await stack(ls.Request("m", BODY)) for _ in range(6)]
                return [reply.status for reply in replies]

    with capture_logs():
        assert [200] * 6 == run(main())
    assert ["sk-one", *["sk-two"] * 6] == provider.shown


OPERATIONS: Final = {"openai": "chat", "anthropic": "messages"}
LEAVES: Final[dict[str, Callable[[str, Any], Any]]] = {
    "openai": lambda url, key: ls.OpenAI(url, api_key=key),
    "anthropic": lambda url, key: ls.Anthropic(url, api_key=key, bearer=True),
}


@pytest.mark.parametrize("kind", [*LEAVES])
def test_a_request_shows_the_key_that_is_good_now(kind: str, tmp_path: Path) -> None:
    """From a file that changes, or from a function; each request asks once."""
    path = tmp_path / "key"
    path.write_text("sk-one")
    given = ["sk-three", "sk-four"]

    async def main() -> list[str]:
        async with FakeProvider() as provider:
            for key in (ls.credential(f"file:{path}"), lambda: given.pop(0)):
                async with LEAVES[kind](provider.base_url, key) as leaf:
                    for text in ("sk-longer", "sk-late"):
                        await leaf(ls.Request("m", {**BODY, "max_tokens": 9}, OPERATIONS[kind]))
                        path.write_text(text)
                        await asyncio.sleep(1)
            return [
                seen.headers["authorization"].removeprefix("Bearer ") for seen in provider.requests
            ]

    with capture_logs():
        assert ["sk-one", "sk-longer", "sk-three", "sk-four"] == run(main())
    assert [] == given


def test_a_function_without_a_key_sends_nothing() -> None:
    """The failure says where, and that nothing was sent."""

    def fails() -> str:
        raise LookupError

    async def main() -> tuple[ls.LLMStackError, int]:
        async with FakeProvider() as provider, ls.OpenAI(provider.base_url, api_key=fails) as leaf:
            layers = (ls.RoundRobin([ls.Endpoint("eu", leaf)]),)
            stack = ls.ServiceBuilder(layers).service(ls.dispatch)
            with pytest.raises(ls.AuthFailed) as raised:
                await stack(ls.Request("m", BODY))
            return raised.value, len(provider.requests)

    error, asked = run(main())

    assert ("eu", True, 0) == (error.endpoint, error.unsent, asked)


OLD: Final = "hunter2pass"
#: The old key comes back where texts may be repeated: in a code and in an id.
ECHO: Final = json.dumps({"error": {"code": f"no_{OLD}", "message": f"{OLD} is not good"}})
FIRST: Final = json.dumps(
    {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}
)
HEAD: Final = "HTTP/1.1 {}\r\nContent-Type: {}\r\nx-request-id: id-{}\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized"])
def test_an_old_key_is_concealed_when_the_file_has_another(status: str, tmp_path: Path) -> None:
    """What was sent is what must not be shown, however late it comes back."""
    path = tmp_path / "key"
    path.write_text(OLD)
    streams = status == "200 OK"
    if streams:
        head, text = HEAD.format(status, "text/event-stream", OLD), f"data: {ECHO}\n\n"
        head += f"data: {FIRST}\n\n"
    else:
        head, text = HEAD.format(status, "application/json", OLD), ECHO

    async def rotates(_peer: object) -> None:
        path.write_text("another")
        await asyncio.sleep(1)
        assert "another" == key.current().reveal()

    key = ls.credential(f"file:{path}")
    script = [expect_request, rotates, send(head.encode()), send(text.encode())]

    async def read(leaf: ls.OpenAI) -> None:
        reply = await leaf(ls.Request("m", BODY, stream=streams))
        assert isinstance(reply, ls.EventStream)
        async with reply:
            [event async for event in reply]

    async def main() -> ls.LLMStackError:
        async with (
            ScriptedUpstream([script]) as upstream,
            ls.OpenAI(upstream.base_url, api_key=key) as leaf,
        ):
            with pytest.raises(ls.UpstreamError) as raised:
                await read(leaf)
            return raised.value

    with capture_logs():
        error = run(main())

    assert streams is isinstance(error, ls.StreamBroken)
    for each in (error, error.__cause__ or error):
        assert OLD not in f"{each} {each!r} {getattr(each, 'code', '')}"
    assert (None, None) == (error.code, error.request_id)
