"""A gateway from its start to its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import aiohttp
import attrs
import pytest
from aiohttp import http_parser

import llmstack as ls
from llmstack.gateway.app import GRACE, running
from llmstack.gateway.server import check_parser
from llmstack.messages import Request
from llmstack.testing.provider import FakeProvider, Hang
from llmstack.testing.scripted import ScriptedEvent, ScriptedService, ScriptedSource, echo
from tests.gateway.stage import (
    Answer,
    Part,
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
            settings = attrs.evolve(gateway(over(part)), listen=("127.0.0.1", port))
            with pytest.raises(OSError, match="address already in use"):
                await running(settings).__aenter__()

    run(main())

    assert ["started", "stopped"] == part.log


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

    end, elapsed = timed(main())

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

    took, told = run(main(), grace=0.1)

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

    assert 2 + GRACE == pytest.approx(run(main(), grace=0.1), abs=0.2)


def test_a_client_that_leaves_while_it_stops_needs_no_last_word() -> None:
    """It is gone, and the gateway with it."""
    ended: list[str] = []

    async def hang(_request: Request) -> object:
        try:
            return await asyncio.Event().wait()
        finally:
            ended.append("ended")

    async def main() -> float:
        loop = asyncio.get_running_loop()
        async with serving(over(hang), shutdown_timeout=9) as url:
            _, writer = await connected(url)
            writer.write(post(chat()))
            await asyncio.sleep(1)
            loop.call_later(1, writer.close)
        return loop.time()

    assert 2 == pytest.approx(run(main()), abs=0.2)
    assert ["ended"] == ended


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
