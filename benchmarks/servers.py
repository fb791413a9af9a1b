"""The servers that are compared, each a process of its own: ``python -m benchmarks.servers``.

*upstream* answers at once with a reply of 1 KB; *forwarder* is an aiohttp handler that
passes the bytes to one upstream and back, without any feature. Both listen on loopback at a
free port, print it, and end with their standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web


def reply(size: int) -> bytes:
    """Return a chat completion of about *size* bytes."""
    empty = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": ""},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }
    missing = size - len(json.dumps(empty))
    empty["choices"][0]["message"]["content"] = "x" * max(1, missing)  # type: ignore[index]
    return json.dumps(empty).encode()


def upstream(size: int) -> web.Application:
    """Return an application that answers every chat with the same bytes."""
    body = reply(size)

    async def chat(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=body, content_type="application/json")

    application = web.Application()
    application.router.add_post("/v1/chat/completions", chat)
    return application


def forwarder(base_url: str) -> web.Application:
    """Return an application that passes every chat on to *base_url*."""
    url = f"{base_url}/chat/completions"
    sessions: list[ClientSession] = []

    async def chat(request: web.Request) -> web.Response:
        body = await request.read()
        headers = {"Content-Type": "application/json"}
        async with sessions[0].post(url, data=body, headers=headers) as answer:
            return web.Response(
                body=await answer.read(), status=answer.status, content_type=answer.content_type
            )

    async def session(_application: web.Application) -> AsyncIterator[None]:
        timeout = ClientTimeout(total=None)
        async with ClientSession(connector=TCPConnector(limit=0), timeout=timeout) as opened:
            sessions.append(opened)
            yield

    application = web.Application()
    application.router.add_post("/v1/chat/completions", chat)
    application.cleanup_ctx.append(session)
    return application


async def run(application: web.Application) -> None:
    """Serve until standard input ends."""
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"Listening at http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


def main() -> None:
    """Run the server that the first argument names; the second is a size or a URL."""
    kind, given = sys.argv[1:3]
    asyncio.run(run(upstream(int(given)) if kind == "upstream" else forwarder(given)))


if __name__ == "__main__":
    main()
