"""Plug layers into aiohttp: around the handlers of a server, and around a client's requests.

A whole application on loopback with its own client; it ends by itself after some seconds.
What one sees:

1. three requests at once for a slow page: two are served, the third is refused (503);
2. a page that hangs: 504 after half a second, and its handler is cancelled;
3. a page that fails twice: the client's `Retry` asks again and the caller sees a 200;
4. a page that always fails: after three failures the breaker answers for it, at once and
   with ``Retry-After``; other pages are served as before.

    python examples/plug_into_aiohttp.py
"""

from __future__ import annotations

import asyncio
import logging

import structlog
from aiohttp import ClientSession, web

import llmstack as ls
from llmstack.estimators.trip import ConsecutiveFailures
from llmstack.integrations.aiohttp import client_middleware, server_middleware


def path_of(request: web.Request) -> str:
    """The key of what is kept for each page by itself."""
    return request.path


def application() -> web.Application:
    """An application as anybody would write it, but for one line."""
    failures = iter([503, 503])

    async def slow(_request: web.Request) -> web.Response:
        await asyncio.sleep(0.2)
        return web.Response(text="slow, but here")

    async def hangs(_request: web.Request) -> web.Response:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print("   (its handler was cancelled)")
            raise
        return web.Response(text="never said")

    async def shaky(_request: web.Request) -> web.Response:
        return web.Response(status=next(failures, 200), text="third time lucky")

    async def broken(_request: web.Request) -> web.Response:
        raise web.HTTPInternalServerError(text="as always")

    layers = (
        ls.ServiceBuilder()
        .layer(ls.CircuitBreaker(ConsecutiveFailures(3), key=path_of))
        .layer(ls.ConcurrencyLimit(2, key=path_of))
        .layer(ls.Timeout(total=0.5))
    )
    app = web.Application(middlewares=[server_middleware(layers)])  # this one
    app.add_routes([web.get("/slow", slow), web.get("/hangs", hangs)])
    app.add_routes([web.get("/shaky", shaky), web.get("/broken", broken)])
    return app


async def ask(session: ClientSession, url: str) -> str:
    """Ask once; say what came."""
    async with session.get(url) as reply:
        after = reply.headers.get("Retry-After")
        again = f", come back in {after} s" if after else ""
        return f"{reply.status} {(await reply.text()).strip()}{again}"


async def tour(url: str) -> None:
    async with ClientSession() as session:
        print("1. Three at once, and two permits:")
        for said in sorted(await asyncio.gather(*(ask(session, f"{url}/slow") for _ in range(3)))):
            print(f"   {said}")

        print("2. A handler that hangs:")
        print(f"   {await ask(session, f'{url}/hangs')}")

        print("3. Through a client that tries again:")
        retry = client_middleware(ls.Retry(base=0.05, idempotent=lambda r: r.method == "GET"))
        async with ClientSession(middlewares=[retry]) as patient:
            print(f"   {await ask(patient, f'{url}/shaky')}")

        print("4. A page that is broken:")
        for _ in range(4):
            print(f"   {await ask(session, f'{url}/broken')}")
        print(f"   meanwhile: {await ask(session, f'{url}/slow')}")


async def main() -> None:
    runner = web.AppRunner(application(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        await tour(f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    # What layers log (a breaker opens, a retry is scheduled) would come in between.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(main())
