"""Layers in front of the handlers of an aiohttp server, and behind an aiohttp client.

The server takes two requests at a time and stops asking a handler that keeps failing. The
client asks again when a failure is temporary. One sees refusals, an open breaker, and a
request that succeeds at the third attempt. Everything is on loopback, and it ends by itself.
"""

from __future__ import annotations

import asyncio

from aiohttp import ClientSession, web

import llmstack as ls
from llmstack.integrations.aiohttp import client_middleware, server_middleware


def by_path(request: web.Request) -> str:
    """Key: each path has limits and a breaker of its own."""
    return request.path


async def slow(_request: web.Request) -> web.Response:
    """Take a while."""
    await asyncio.sleep(0.05)
    return web.Response(text="slow, but there")


async def broken(_request: web.Request) -> web.Response:
    """Fail."""
    return web.Response(status=500, text="out of order")


class Flaky:
    """Fails twice, then works."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, _request: web.Request) -> web.Response:
        """Answer the third request."""
        self.asked += 1
        return web.Response(status=200 if self.asked > 2 else 503, text=f"attempt {self.asked}")


def guarded() -> web.Application:
    """Return an application with layers around its handlers."""
    layers = (
        ls.ServiceBuilder()
        .layer(ls.CircuitBreaker(ls.ConsecutiveFailures(3), key=by_path))
        .layer(ls.ConcurrencyLimit(2, key=by_path))
        .layer(ls.Timeout(total=5))
    )
    application = web.Application(middlewares=[server_middleware(layers)])
    application.router.add_get("/slow", slow)
    application.router.add_get("/broken", broken)
    return application


async def served(application: web.Application) -> tuple[web.AppRunner, str]:
    """Serve on a free port of loopback."""
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


async def statuses(session: ClientSession, url: str, count: int) -> list[int]:
    """Send so many requests at once and return their statuses, sorted."""

    async def one() -> int:
        async with session.get(url) as reply:
            return reply.status

    return sorted(await asyncio.gather(*(one() for _ in range(count))))


async def main() -> None:
    """Run the server and the client against each other."""
    plain = web.Application()
    plain.router.add_get("/flaky", Flaky())
    guarded_runner, guarded_url = await served(guarded())
    plain_runner, plain_url = await served(plain)
    try:
        async with ClientSession() as session:
            print("five at once:", await statuses(session, f"{guarded_url}/slow", 5))
            for _ in range(3):
                await statuses(session, f"{guarded_url}/broken", 1)
            print("after three failures:", await statuses(session, f"{guarded_url}/broken", 1))
            print("the other path:", await statuses(session, f"{guarded_url}/slow", 1))
        retrying = client_middleware(ls.Retry(base=0.01))
        async with (
            ClientSession(middlewares=[retrying]) as session,
            session.get(f"{plain_url}/flaky") as reply,
        ):
            print("with retries:", reply.status, await reply.text())
    finally:
        await guarded_runner.cleanup()
        await plain_runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
