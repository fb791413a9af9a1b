"""A gateway from its start to its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import http_parser, web
from attrs import define, field

import llmstack as ls
from llmstack.gateway.app import GRACE, create_app, running
from llmstack.gateway.desk import Desk
from llmstack.gateway.server import Listener, check_parser
from llmstack.integrations.prometheus import PrometheusRecorder
from llmstack.layers.metrics import Metrics
from llmstack.messages import Request
from llmstack.testing.provider import FakeProvider, Hang
from llmstack.testing.scripted import ScriptedEvent, ScriptedService, ScriptedSource, echo
from llmstack.testing.virtual import run_virtual
from tests.gateway.stage import (
    Answer,
    asked,
    chat,
    chunked,
    connected,
    gateway,
    over,
    post,
    run,
    sdk,
    served,
    serving,
    talk,
)


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode()


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
class Part:
    """A leaf that has to be started."""

    log: list[str] = field(factory=list)

    async def __call__(self, _request: Request) -> ls.Response:
        self.log.append("asked")
        return ls.Response(b"{}")

    async def __aenter__(self) -> None:
        self.log.append("started")

    async def __aexit__(self, *_exc: object) -> None:
        self.log.append("stopped")


def test_stacks_are_started_before_and_stopped_behind_everything() -> None:
    """Each once, also where two names stand for one stack."""
    part = Part()
    stack = over(part)

    async def main() -> None:
        async with serving({"chat": stack, "*": stack}) as url:
            await talk(url, post(chat()))

    run(main())

    assert ["started", "asked", "stopped"] == part.log


def test_a_taken_port_is_told_and_nothing_stays_behind() -> None:
    """The stacks are stopped again."""
    part = Part()

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            settings = gateway(over(part))
            with pytest.raises(OSError, match="address already in use"):
                async with running(ls_evolve(settings, listen=("127.0.0.1", port))):
                    pass

    run(main())

    assert ["started", "stopped"] == part.log


def ls_evolve(settings: Any, **changes: Any) -> Any:  # noqa: ANN401 -- attrs.evolve
    return type(settings)(routes=settings.routes, **changes)


async def slow(_request: Request) -> ls.Response:
    """Take ten seconds."""
    await asyncio.sleep(10)
    return ls.Response(b'{"slow": true}')


def test_what_is_under_way_may_end_when_it_stops() -> None:
    """Meanwhile nobody new is let in, and the reply ends the connection."""

    async def main() -> tuple[Answer, float]:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            async with serving(over(slow)) as url:
                call = group.create_task(talk(url, post(chat())))
                await asyncio.sleep(1)
                late = loop.call_later(2, lambda: group.create_task(refused(url)))
            stopped = loop.time()
        assert not late.cancelled()
        return call.result(), stopped

    answer, stopped = run(main())

    assert (200, b'{"slow": true}', True) == (answer.status, answer.body, answer.closed)
    assert 10 == pytest.approx(stopped, abs=0.1)


async def refused(url: str) -> None:
    with pytest.raises(ConnectionRefusedError):
        await connected(url)


def test_idle_connections_do_not_hold_it_up() -> None:
    """They are closed at once."""

    async def main() -> bytes:
        async with serving(over(echo)) as url:
            reader, writer = await connected(url)
            writer.write(get("/livez"))
            await reader.readuntil(b"}")
        end = await reader.read()
        writer.close()
        return end

    end, elapsed = run_virtual(main())

    assert b"" == end
    assert 0.5 > elapsed


@pytest.mark.parametrize("patience", [0, 3])
def test_what_takes_too_long_gets_a_last_word(patience: float) -> None:
    """A request a 503, and a stream an error event; both end the connection."""

    async def stream(request: Request) -> ls.EventStream:
        if not request.stream:
            await asyncio.Event().wait()
        source = ScriptedSource([], terminal=False)
        return ls.EventStream(source, held=[ScriptedEvent(raw=b"data: 0\n\n")])

    async def main() -> tuple[Answer, bytes, float]:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            async with serving(over(stream), shutdown_timeout=patience) as url:
                call = group.create_task(talk(url, post(chat())))
                reader, writer = await connected(url)
                writer.write(post(chat(stream=True)))
                await asyncio.sleep(1)
            stopped = loop.time()
        body = await reader.read()
        writer.close()
        return call.result(), body, stopped - 1

    answer, body, took = run(main())

    assert (503, "server_shutting_down", "true", True) == (
        answer.status,
        answer.error["code"],
        answer.headers["x-should-retry"],
        answer.closed,
    )
    assert b'"code": "server_shutting_down"' in body
    assert (False, False) == (b"[DONE]" in body, body.endswith(b"0\r\n\r\n"))
    assert patience == pytest.approx(took, abs=0.2)


def test_a_client_that_does_not_take_the_last_word_is_dropped() -> None:
    """Of a stream the connection, behind the gateway's back; it stops in time."""

    async def flood(_request: Request) -> ls.EventStream:
        events = [ScriptedEvent(raw=b"x" * 100_000)] * 400
        return ls.EventStream(ScriptedSource(events), held=events[:1])

    async def main() -> tuple[float, bool]:
        loop = asyncio.get_running_loop()
        async with serving(over(flood), shutdown_timeout=2) as url:
            reader, writer = await connected(url)
            writer.write(post(chat(stream=True)))
            await asyncio.sleep(1)
        took = loop.time() - 1
        await asyncio.sleep(GRACE)
        end = await reader.read()
        writer.close()
        return took, b"server_shutting_down" in end

    took, told = run(main())

    assert 2 == pytest.approx(took, abs=0.2)
    assert not told


def test_a_client_that_does_not_take_its_reply_does_not_hold_it_up() -> None:
    """A long one, complete; its connection is dropped a while after the others."""
    service: ScriptedService[Any, Any] = ScriptedService([ls.Response(b"x" * 40_000_000)])

    async def main() -> float:
        loop = asyncio.get_running_loop()
        async with serving(over(service), shutdown_timeout=2) as url:
            _, writer = await connected(url)
            writer.write(post(chat()))
            await asyncio.sleep(1)
        writer.close()
        return loop.time() - 1

    assert 2 + GRACE == pytest.approx(run(main()), abs=0.2)


def test_a_client_that_leaves_while_it_stops_needs_no_last_word() -> None:
    """It is gone, and the gateway with it."""
    cancelled: list[str] = []

    async def hang(_request: Request) -> ls.Response:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("cancelled")
            raise
        raise AssertionError

    async def main() -> float:
        loop = asyncio.get_running_loop()
        async with serving(over(hang), shutdown_timeout=9) as url:
            _, writer = await connected(url)
            writer.write(post(chat()))
            await asyncio.sleep(1)
            loop.call_later(1, writer.close)
        return loop.time()

    assert 2 == pytest.approx(run(main()), abs=0.2)
    assert ["cancelled"] == cancelled


SERVE: Final = """
import asyncio, sys
import llmstack as ls
from llmstack.gateway.app import serve
from llmstack.gateway.routes import Gateway

async def slow(request):
    print("asked", flush=True)
    await asyncio.sleep(float(sys.argv[1]))
    return ls.Response(b'{"slow": true}')

stack = ls.ServiceBuilder().service(slow)
gateway = Gateway(routes={"chat": stack}, listen=("127.0.0.1", 0), shutdown_timeout=20)
asyncio.run(serve(gateway, started=lambda url: print(url, flush=True)))
print("stopped", flush=True)
"""


@pytest.mark.parametrize(
    ("takes", "signals", "status"),
    [
        ("0.3", [signal.SIGTERM], 200),
        ("0.3", [signal.SIGINT], 200),
        ("15", [signal.SIGTERM, signal.SIGTERM], 503),
    ],
    ids=["term", "int", "twice"],
)
def test_a_signal_stops_it_gracefully_and_a_second_one_at_once(
    takes: str, signals: list[signal.Signals], status: int
) -> None:
    """Whoever is under way gets an answer, and the exit code is 0."""

    async def main() -> tuple[Answer, bytes, int]:
        command = [sys.executable, "-c", SERVE, takes]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
        assert process.stdout is not None
        assert process.stderr is not None
        url = (await process.stdout.readline()).decode().strip()
        async with asyncio.TaskGroup() as group:
            call = group.create_task(talk(url, post(chat())))
            assert b"asked\n" == await process.stdout.readline()
            for number in signals:
                process.send_signal(number)
                await asyncio.sleep(0.05)
        out, err = await process.communicate()
        assert b"" == err
        return call.result(), out, process.returncode or 0

    answer, out, code = asyncio.run(main())

    assert (status, b"stopped\n", 0) == (answer.status, out, code)


def test_it_does_not_start_without_the_c_parser() -> None:
    """The other one is slow, and takes what should be refused."""
    code = SERVE.replace("asyncio.run", "check(); asyncio.run").replace(
        "async def slow",
        "from llmstack.gateway.server import check_parser as check\nasync def slow",
    )
    run_ = subprocess.run(
        [sys.executable, "-c", code, "0"],
        env=os.environ | {"AIOHTTP_NO_EXTENSIONS": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert "ConfigError: aiohttp runs without its C extensions" in run_.stderr
    with pytest.raises(ls.ConfigError, match="C extensions"):
        check_parser(http_parser.HttpRequestParserPy)
    check_parser()


@asynccontextmanager
async def application(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def test_the_application_does_the_same_in_a_server_of_ones_own() -> None:
    """Complete, streamed, bad; started and stopped with the server."""
    part = Part()

    async def main() -> tuple[int, int, list[int]]:
        async with FakeProvider() as provider:
            routes = {"chat": served(provider), "part": over(part)}
            async with application(create_app(gateway(routes, max_body=3_000_000))) as url:
                async with sdk(url) as client:
                    words = len((await asked(client)).choices[0].message.content or "")
                answers = [
                    await talk(url, post(chat(model="part"))),
                    await talk(url, post(b"x" * 2_000_000)),
                    await talk(url, post(chat(), "X_A: b")),
                    await talk(url, get("/readyz")),
                    await talk(url, get("/nowhere")),
                ]
                statuses = [answer.status for answer in answers]
                return words, len(provider.requests), statuses

    words, sent, statuses = run(main())

    assert 1 == sent
    assert 8 <= words
    assert [200, 400, 400, 200, 404] == statuses
    assert ["started", "asked", "stopped"] == part.log


def test_the_application_invites_a_body_itself() -> None:
    """One that is too long is not welcome; a broken one is told in the usual shape."""

    async def main() -> list[int]:
        async with application(create_app(gateway(over(echo), max_body=1000))) as url:
            head = post(b"", "Expect: 100-continue")
            long = await talk(url, head.replace(b"Length: 0", b"Length: 1001"))
            sent = chunked(b'{"model"')
            broken = await talk(url, sent[:-20], 0.1, b"\r\nxyz\r\n")
            return [long.status, broken.status]

    assert [413, 400] == run(main())


def test_an_application_that_shuts_down_says_so() -> None:
    """Requests that still come are answered, and end their connection."""
    app = create_app(gateway(over(ScriptedService([ls.Response(b"{}")]))))

    async def main() -> Answer:
        async with application(app) as url:
            await app.shutdown()
            return await talk(url, post(chat()))

    answer = run(main())

    assert (200, True) == (answer.status, answer.closed)


def test_a_provider_is_free_when_the_gateway_has_stopped() -> None:
    """Whatever was under way upstream is closed."""

    async def main() -> list[str]:
        async with FakeProvider() as provider, asyncio.TaskGroup() as group:
            provider.always(Hang())
            async with serving(served(provider), shutdown_timeout=1) as url:
                group.create_task(talk(url, post(chat())))
                await asyncio.sleep(1)
            await asyncio.sleep(0.1)
            return [seen.ended for seen in provider.requests]

    assert ["left"] == run(main())


def test_aiohttps_client_is_served_as_well() -> None:
    """It asks for compression, which is not done."""

    async def main() -> tuple[int, bytes]:
        service: ScriptedService[Any, Any] = ScriptedService([ls.Response(b"{}")])
        async with serving(over(service)) as url, aiohttp.ClientSession() as session:
            target = f"{url}/chat/completions"
            async with session.post(
                target, json={"model": "chat", "messages": [{"role": "a"}]}
            ) as reply:
                return reply.status, await reply.read()

    assert (200, b"{}") == run(main())
