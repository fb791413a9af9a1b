"""The admin listener: there before all else and until all else is gone, and never in the way."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any, Final

import pytest
from attrs import define, evolve, field

import llmstack as ls
from llmstack.gateway.admin.edge import MOST
from llmstack.gateway.admin.settings import Admin
from llmstack.gateway.app import GRACE, running
from tests.gateway.admin.stage import (
    ANYWHERE,
    Both,
    administered,
    answers,
    endpoint,
    guarded,
    read,
    send,
)
from tests.gateway.stage import (
    Answer,
    Part,
    chat,
    connected,
    gateway,
    over,
    post,
    run,
    talk,
    timed,
)


OPEN: Final = {"endpoint": "eu", "do": "open"}


@define(eq=False)
class Looking:
    """A leaf that has to be started, and asks the admin API when it is, and at its end."""

    at: list[str] = field(factory=list)
    seen: list[tuple[int, str]] = field(factory=list)

    __call__ = staticmethod(answers)

    async def __aenter__(self) -> None:
        await self.look()

    async def __aexit__(self, *_exc: object) -> None:
        await self.look()

    async def look(self) -> None:
        answer = await talk(self.at[0], read("/readyz"))
        self.seen.append((answer.status, json.loads(answer.body)["status"]))


def test_it_answers_before_the_stacks_start_and_until_they_have_stopped() -> None:
    """The gateway's own listener begins after it and ends before it."""
    part = Looking()

    async def main() -> None:
        served = gateway(over(part), admin=Admin(listen=ANYWHERE))
        async with running(served, admin_started=part.at.append):
            await part.look()
        with pytest.raises(ConnectionRefusedError):
            await connected(part.at[0])

    run(main())

    assert [(503, "starting"), (200, "ok"), (503, "draining")] == part.seen


def test_while_the_gateway_drains_it_reads_and_changes() -> None:
    """A call that is under way is not touched; it ends as it would have."""

    async def slow(_request: ls.Request) -> ls.Response:
        await asyncio.sleep(10)
        return ls.Response(b'{"slow": true}')

    async def look(both: Both) -> tuple[Answer, Answer]:
        await asyncio.sleep(2)
        change = send("/routes/chat/breaker", OPEN)
        return await both.asks(read("/readyz")), await both.asks(change)

    async def main() -> tuple[bytes, tuple[Answer, Answer], float]:
        async with asyncio.TaskGroup() as group:
            async with administered(guarded(endpoint("eu", slow))) as both:
                call = group.create_task(talk(both.url, post(chat())))
                looked = group.create_task(look(both))
                await asyncio.sleep(1)
            stopped = asyncio.get_running_loop().time()
        return call.result().body, looked.result(), stopped

    body, (ready, change), stopped = run(main())

    assert b'{"slow": true}' == body
    assert (503, "draining") == (ready.status, json.loads(ready.body)["status"])
    assert (200, "down") == (change.status, json.loads(change.body)["standing"]["state"])
    assert 10 == pytest.approx(stopped, abs=0.1)


def test_it_is_not_traffic() -> None:
    """No call is counted, whatever is read."""
    recorder = ls.MemoryRecorder()
    stack = (
        ls.ServiceBuilder()
        .layer(ls.Metrics(recorder))
        .layer(ls.RoundRobin([endpoint("eu")]))
        .layer(ls.CircuitBreaker())
        .service(ls.dispatch)
    )
    paths = ("/livez", "/readyz", "/routes", "/routes/chat", "/routes/chat/plan")

    async def main() -> tuple[int, Any]:
        async with administered(stack) as both:
            statuses = {(await both.asks(read(path))).status for path in paths}
            assert {200} == statuses
            counted = len(recorder.counters)
            await both.who()
            return counted, await both.reads("/routes/chat")

    counted, after = run(main())

    assert 0 == counted < len(recorder.counters)
    assert 1 == after["statistics"]["circuit_breaker"]["eu"]["recent"]


def test_what_ends_the_calls_of_a_gateway_does_not_end_a_change() -> None:
    """Without patience a call is ended at once; a body that is on its way meanwhile is read."""

    async def slow_to_leave(_request: ls.Request) -> object:
        try:
            return await asyncio.Event().wait()
        finally:
            await asyncio.sleep(4)

    async def slowly(both: Both) -> bytes:
        reader, writer = await connected(both.admin)
        change = send("/routes/chat/breaker", OPEN, "Connection: close")
        writer.write(change[:-1])
        await asyncio.sleep(3)
        writer.write(change[-1:])
        said = await reader.read()
        writer.close()
        return said

    async def main() -> tuple[Answer, bytes]:
        async with asyncio.TaskGroup() as group:
            stack = guarded(endpoint("eu", slow_to_leave))
            async with administered(stack, shutdown_timeout=0) as both:
                call = group.create_task(talk(both.url, post(chat())))
                change = group.create_task(slowly(both))
                await asyncio.sleep(1)
        return call.result(), change.result()

    call, change = run(main())

    assert (503, "server_shutting_down") == (call.status, call.error["code"])
    assert change.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"did": "breaker open"' in change


def test_it_takes_so_many_connections_and_no_more() -> None:
    """The next one is dropped; when one has ended there is room again. Callers are not counted."""

    async def main() -> tuple[object, int, str]:
        async with administered(guarded(endpoint("eu"))) as both:
            held = [await connected(both.admin) for _ in range(MOST)]
            reader, writer = await connected(both.admin)
            async with asyncio.timeout(1):
                (dropped,) = await asyncio.gather(reader.read(), return_exceptions=True)
            who = await both.who()
            for one in (writer, held.pop()[1]):
                one.close()
            await asyncio.sleep(0.1)
            status = (await both.asks(read("/livez"))).status
            for _, one in held:
                one.close()
            return dropped, status, who

    dropped, status, who = run(main())

    assert dropped == b"" or isinstance(dropped, ConnectionError)
    assert (200, "eu") == (status, who)


def test_a_client_that_is_slow_does_not_hold_up_the_end() -> None:
    """Its request is waited for a moment; idle connections are closed at once."""

    async def main() -> None:
        async with administered(over(answers)) as both:
            _, idle = await connected(both.admin)
            _, slow = await connected(both.admin)
            slow.write(send("/routes/chat/breaker", OPEN)[:-1])
            await asyncio.sleep(1)
        for one in (idle, slow):
            one.close()

    _, elapsed = timed(main())

    assert 1 + GRACE == pytest.approx(elapsed, abs=0.2)


@pytest.mark.parametrize("which", ["admin", "gateway"])
def test_a_taken_port_is_told_and_nothing_stays_behind(which: str) -> None:
    """Which address it was; where it is the admin API's, no stack was even started."""
    part = Part()
    at: list[str] = []

    async def main() -> tuple[str, str]:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            where = ("127.0.0.1", taken.getsockname()[1])
            served = gateway(over(part), admin=Admin(listen=ANYWHERE))
            admin = Admin(listen=where) if which == "admin" else served.admin
            listen = where if which == "gateway" else served.listen
            served = evolve(served, admin=admin, listen=listen)
            with pytest.raises(OSError, match="address already in use") as raised:
                await running(served, admin_started=at.append).__aenter__()
            return raised.value.filename, f"{where[0]}:{where[1]}"

    told, where = run(main())

    assert where == told
    assert ([] if which == "admin" else ["started", "stopped"]) == part.log
    assert (which == "gateway") == bool(at)
