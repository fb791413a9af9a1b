"""The servers that are compared, each a process of its own: ``python -m benchmarks.servers``.

*upstream* answers at once with a reply of 1 KB; *burst* with a stream of so many events at
once, each in an HTTP chunk of its own, as providers write them; *paced* with one that has
an event every few milliseconds. *forwarder* is an
aiohttp handler that passes the bytes to one upstream and back as they come, without any
feature. All listen on loopback at a free port, print it, and end with their standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator

from aiohttp import ClientResponse, ClientSession, ClientTimeout, TCPConnector, web


BODY_MAX = 4 << 20


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

    application = web.Application(client_max_size=BODY_MAX)
    application.router.add_post("/v1/chat/completions", chat)
    return application


def event(delta: object, finish: str | None = None) -> bytes:
    """Return an event of a chat as OpenAI writes it, with usage asked for."""
    chunk = {
        "id": "chatcmpl-CqRfZkbvQ1hXw3sT5uY7zA9bC2dE",
        "object": "chat.completion.chunk",
        "created": 1764547200,
        "model": "m-2025-11-20",
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        "usage": None,
    }
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def events(count: int) -> list[bytes]:
    """Return a whole stream with *count* pieces of text, a finish, the usage and the end."""
    pieces = [event({"content": f" word{n % 97}"}) for n in range(count)]
    usage = {"prompt_tokens": 10, "completion_tokens": count, "total_tokens": count + 10}
    last = b'data: {"object":"chat.completion.chunk","choices":[],"usage":%b}\n\n'
    return [
        event({"role": "assistant", "content": ""}),
        *pieces,
        event({}, "stop"),
        last % json.dumps(usage).encode(),
        b"data: [DONE]\n\n",
    ]


def streams(count: int, pace: float) -> web.Application:
    """Return an application that streams to every chat, *pace* seconds before each event.

    Without a pace all of it is written at once.
    """
    blocks = events(count)
    whole = b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks)

    async def chat(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if not pace and request.transport is not None:
            request.transport.write(whole)
        for block in blocks if pace else ():
            await asyncio.sleep(pace)
            await response.write(block)
        await response.write_eof()
        return response

    application = web.Application(client_max_size=BODY_MAX)
    application.router.add_post("/v1/chat/completions", chat)
    return application


async def passed(request: web.Request, answer: ClientResponse) -> web.StreamResponse:
    """Pass the body of *answer* on as it comes."""
    response = web.StreamResponse(headers={"Content-Type": answer.content_type})
    await response.prepare(request)
    async for block in answer.content.iter_any():
        await response.write(block)
    await response.write_eof()
    return response


def forwarder(base_url: str) -> web.Application:
    """Return an application that passes every chat on to *base_url*."""
    url = f"{base_url}/chat/completions"
    sessions: list[ClientSession] = []

    async def chat(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {"Content-Type": "application/json"}
        async with sessions[0].post(url, data=body, headers=headers) as answer:
            if answer.content_type == "text/event-stream":
                return await passed(request, answer)
            return web.Response(
                body=await answer.read(), status=answer.status, content_type=answer.content_type
            )

    async def session(_application: web.Application) -> AsyncIterator[None]:
        timeout = ClientTimeout(total=None)
        async with ClientSession(connector=TCPConnector(limit=0), timeout=timeout) as opened:
            sessions.append(opened)
            yield

    application = web.Application(client_max_size=BODY_MAX)
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
    """Run the server that the first argument names; the others are a size, a URL, or both."""
    kind, *given = sys.argv[1:]
    if kind == "forwarder":
        asyncio.run(run(forwarder(given[0])))
    elif kind == "upstream":
        asyncio.run(run(upstream(int(given[0]))))
    else:
        asyncio.run(run(streams(int(given[0]), float(given[1]) if kind == "paced" else 0.0)))


if __name__ == "__main__":
    main()
