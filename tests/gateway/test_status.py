"""What a gateway says of itself: health, models, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from attrs import define
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.gateway.desk import Desk
from llmstack.gateway.server import Listener
from llmstack.integrations.prometheus import PrometheusRecorder
from llmstack.layers.metrics import Metrics
from llmstack.messages import Request
from llmstack.testing.provider import FakeProvider
from llmstack.testing.scripted import echo
from tests.gateway.stage import (
    Answer,
    chat,
    connected,
    gateway,
    get,
    over,
    post,
    run,
    served,
    serving,
    talk,
    timed,
)


@asynccontextmanager
async def bare(desk: Desk) -> AsyncIterator[str]:
    """A listener of *desk* without anything around it."""
    runner = web.ServerRunner(Listener(desk))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def test_it_is_ready_while_it_serves_and_some_route_can_take_requests() -> None:
    """And alive all the time."""
    endpoints = ls.EndpointSet([ls.Endpoint("eu", echo)])
    stack = ls.ServiceBuilder().layer(ls.RoundRobin(endpoints)).service(ls.dispatch)

    async def main() -> list[tuple[int, bytes, int]]:
        desk, seen = Desk(gateway(stack)), []

        async def look(url: str) -> None:
            answer = await talk(url, get("/readyz"))
            seen.append((answer.status, answer.body, (await talk(url, get("/livez"))).status))

        async with bare(desk) as url:
            await look(url)
            desk.phase = "serving"
            await look(url)
            endpoints.disable("eu")
            await look(url)
            endpoints.enable("eu")
            desk.phase = "draining"
            await look(url)
        return seen

    assert [
        (503, b'{"status": "starting"}', 200),
        (200, b'{"status": "ok"}', 200),
        (503, b'{"status": "no route has an enabled endpoint"}', 200),
        (503, b'{"status": "draining"}', 200),
    ] == run(main())


def test_one_route_is_enough_to_be_ready() -> None:
    """The others may be switched off."""
    off = ls.EndpointSet([ls.Endpoint("eu", echo)])
    off.disable("eu")
    stack = ls.ServiceBuilder().layer(ls.RoundRobin(off)).service(ls.dispatch)

    async def main() -> int:
        async with serving({"off": stack, "on": over(echo)}) as url:
            return (await talk(url, get("/readyz?verbose=1"))).status

    assert 200 == run(main())


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/v1/models"])
def test_a_head_is_a_get_without_its_body(path: str) -> None:
    """With the same headers."""

    async def main() -> tuple[Answer, bytes]:
        async with serving(over(echo)) as url:
            whole = await talk(url, get(path))
            reader, writer = await connected(url)
            writer.write(
                get(path, "HEAD") + get(path).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            )
            both = await reader.read()
            writer.close()
            return whole, both

    whole, both = run(main())
    head, _, rest = both.partition(b"\r\n\r\n")

    assert f"Content-Length: {len(whole.body)}".encode() in head
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")
    assert rest.endswith(whole.body)


def test_metrics_are_rendered_for_prometheus() -> None:
    """What the layers recorded, in the text format."""
    recorder = PrometheusRecorder()

    async def main() -> Answer:
        async with FakeProvider() as provider:
            stack = ls.ServiceBuilder().layer(Metrics(recorder)).service(served(provider))
            async with serving(stack, metrics=recorder.render) as url:
                await talk(url, post(chat()))
                return await talk(url, get("/metrics"))

    answer = run(main())

    assert "text/plain; version=0.0.4; charset=utf-8" == answer.headers["content-type"]
    assert b'llmstack_calls_total{endpoint="",error="",how="ok"} 1.0\n' in answer.body


def test_without_a_recorder_there_are_no_metrics() -> None:
    """And a renderer that fails says so in the log alone."""

    def fail() -> bytes:
        raise ZeroDivisionError("secret")

    async def main() -> list[tuple[int, Any]]:
        found = []
        for render in (None, fail):
            async with serving(over(echo), metrics=render) as url:
                answer = await talk(url, get("/metrics"))
                found.append((answer.status, answer.error["code"]))
        return found

    assert [(404, "unknown_url"), (500, "internal_error")] == run(main())


@define(eq=False)
class Odd:
    """A part of a stack that breaks whoever looks at it."""

    @property
    def endpoints(self) -> object:
        raise ZeroDivisionError("secret")

    __call__ = staticmethod(echo)


def test_a_bug_of_the_gateway_itself_is_told_in_the_same_shape() -> None:
    """And logged in the same way."""

    async def main() -> Answer:
        async with serving(over(Odd())) as url:
            return await talk(url, get("/readyz"))

    with capture_logs() as logs:
        answer = run(main())

    assert (500, "internal_error") == (answer.status, answer.error["code"])
    assert [("gateway.failed", "ZeroDivisionError")] == [(e["event"], e["error"]) for e in logs]
    assert "secret" not in f"{logs}{answer}"


def test_what_is_under_way_is_stopped_only_once() -> None:
    """A second time would cut short what a stack does at its end."""

    async def slow_to_leave(_request: Request) -> object:
        try:
            return await asyncio.sleep(60, "late")
        finally:
            await asyncio.sleep(2)

    async def main() -> Answer:
        desk = Desk(gateway(over(slow_to_leave)))
        async with bare(desk) as url, asyncio.TaskGroup() as group:
            call = group.create_task(talk(url, post(chat())))
            await asyncio.sleep(1)
            desk.stop()
            await asyncio.sleep(1)
            desk.stop()
        return call.result()

    answer, elapsed = timed(main())

    assert (503, "server_shutting_down") == (answer.status, answer.error["code"])
    assert 3 == pytest.approx(elapsed, abs=0.1)
