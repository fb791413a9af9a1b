"""A gateway from its start to its end: stacks, listener, signals, and a graceful stop.

`serve` is what the command line runs; `running` is the same for tests and programs, and
`create_app` an aiohttp application with the same operations, for a server of one's own. The
admin API has a listener of its own, which is there before all else and until all else is gone.

To stop: ``/readyz`` says 503, nobody new is let in, what is under way may end for
``shutdown_timeout`` seconds; then it is ended with a last word, and who does not take that
within `GRACE` seconds is dropped.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from aiohttp import web

from llmstack.gateway.admin.edge import MOST, AdminEdge
from llmstack.gateway.desk import Desk
from llmstack.gateway.routes import Gateway
from llmstack.gateway.server import Edge, Listener, check_parser


__all__ = ["create_app", "running", "serve"]

#: Seconds for clients to take the last word.
GRACE: Final = 5.0

#: Objects made before the collector looks, and how often it looks at those that stayed.
RARELY: Final = (20_000, 20, 20)

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

#: Gets a URL when something listens there.
Told = Callable[[str], None]


def _nobody(_url: str) -> None:
    """Tell it nobody."""


async def serve(
    gateway: Gateway, *, started: Told = _nobody, admin_started: Told = _nobody
) -> None:
    """Serve until SIGINT or SIGTERM; a second one cuts the waiting short.

    *started* gets the base URL when the gateway listens, *admin_started* before it that of
    the admin API, if there is one. An `OSError` has where it could not listen as its filename.
    """
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    async with _serving(gateway, admin_started) as (desk, url):

        def end() -> None:
            if asked.is_set():
                desk.stop()
            asked.set()

        for number in SIGNALS:
            loop.add_signal_handler(number, end)
        # What is there now stays, so the collector need not look at it again.
        gc.collect()
        gc.freeze()
        # A request leaves no cycles behind, so it pays to look for them less often.
        usual = gc.get_threshold()
        gc.set_threshold(*RARELY)
        started(url)
        await asked.wait()
        gc.set_threshold(*usual)
    for number in SIGNALS:
        loop.remove_signal_handler(number)


@asynccontextmanager
async def running(gateway: Gateway, *, admin_started: Told = _nobody) -> AsyncIterator[str]:
    """Serve in the block, which gets the base URL as clients want it: it ends in ``/v1``.

    *admin_started* gets the URL of the admin API, if there is one.
    """
    async with _serving(gateway, admin_started) as (_, url):
        yield url


def create_app(gateway: Gateway) -> web.Application:
    """Return an application that answers as the gateway does, and starts its stacks.

    Run it with ``handler_cancellation=True``, or clients that leave are not noticed.
    """
    check_parser()
    desk = Desk(gateway)

    async def started(_app: web.Application) -> AsyncIterator[None]:
        async with _stacks(desk):
            yield

    async def draining(_app: web.Application) -> None:
        desk.phase = "draining"

    edge = Edge(desk)

    async def answer(request: web.Request) -> web.StreamResponse:
        return await edge(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer, expect_handler=_expect)
    app.cleanup_ctx.append(started)
    app.on_shutdown.append(draining)
    return app


async def _expect(_request: web.Request) -> None:
    """Leave it to the operation to invite the body, or not to."""


@asynccontextmanager
async def _stacks(desk: Desk) -> AsyncIterator[None]:
    """Start the stacks; one that stands behind several names is started once, it counts."""
    async with AsyncExitStack() as started:
        for stack in desk.gateway.routes.values():
            await started.enter_async_context(stack)
        desk.phase = "serving"
        yield


@asynccontextmanager
async def _serving(gateway: Gateway, admin_started: Told) -> AsyncIterator[tuple[Desk, str]]:
    check_parser()
    desk = Desk(gateway)
    async with _admin(desk, admin_started), _stacks(desk):
        patience = gateway.shutdown_timeout + 2 * GRACE
        listener = Listener(desk)
        runner = web.ServerRunner(listener, shutdown_timeout=patience)
        await runner.setup()
        try:
            url = await _listen(runner, gateway.listen)
            yield desk, f"{url}/v1"
        finally:
            await _drain(desk, listener, runner)


@asynccontextmanager
async def _admin(desk: Desk, started: Told) -> AsyncIterator[None]:
    """Answer for the admin API, if there is to be one."""
    admin = desk.gateway.admin
    if admin is None:
        yield
        return
    listener = Listener(desk, AdminEdge(desk, admin), MOST)
    runner = web.ServerRunner(listener, shutdown_timeout=2 * GRACE)
    await runner.setup()
    try:
        started(await _listen(runner, admin.listen))
        yield
    finally:
        timer = asyncio.get_running_loop().call_later(GRACE, listener.abort)
        try:
            await runner.cleanup()
        finally:
            timer.cancel()


async def _listen(runner: web.ServerRunner, where: tuple[str, int]) -> str:
    """Listen at *where* and return the URL."""
    site = web.TCPSite(runner, *where)
    try:
        await site.start()
    except OSError as error:
        error.filename = f"{where[0]}:{where[1]}"
        raise
    return site.name


async def _drain(desk: Desk, listener: Listener, runner: web.ServerRunner) -> None:
    desk.phase = "draining"
    loop = asyncio.get_running_loop()
    patience = desk.gateway.shutdown_timeout
    timers = [
        loop.call_later(patience, desk.stop),
        loop.call_later(patience + GRACE, listener.abort),
    ]
    try:
        await runner.cleanup()
    finally:
        for timer in timers:
            timer.cancel()
