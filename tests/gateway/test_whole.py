"""Complete replies on the wire: heads, versions, clients that are slow."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import llmstack as ls
from llmstack.gateway.whole import WRITE_TIMEOUT
from llmstack.testing.scripted import ScriptedService
from tests.gateway.stage import (
    Answer,
    chat,
    connected,
    over,
    post,
    run,
    serving,
    talk,
)


@pytest.mark.parametrize(
    ("headers", "value"),
    [({"x-request-id": "a\r\nX-Evil: b"}, r"'a\r\nX-Evil: b'"), ({"X-Request-ID": "é"}, "é")],
)
def test_no_header_of_a_leaf_breaks_the_reply(headers: dict[str, str], value: str) -> None:
    """Whatever somebody's own leaf gives."""

    async def main() -> Answer:
        reply = ls.Response(b"{}", 200, headers)
        async with serving(over(ScriptedService([reply]))) as url:
            return await talk(url, post(chat()))

    answer = run(main())

    assert (value, b"{}") == (answer.headers["x-llmstack-upstream-request-id"], answer.body)
    assert "x-evil" not in answer.headers
    assert "application/json" == answer.headers["content-type"]


@pytest.mark.parametrize("status", [201, 599])
def test_the_status_of_a_leaf_passes(status: int) -> None:
    """One that has a name, and one that has none."""

    async def main() -> int:
        async with serving(over(ScriptedService([ls.Response(b"{}", status)]))) as url:
            return (await talk(url, post(chat()))).status

    assert status == run(main())


@pytest.mark.parametrize(
    ("request_line", "closed"),
    [("HTTP/1.0", True), ("HTTP/1.1", False), ("HTTP/1.1\r\nConnection: close", True)],
)
def test_the_connection_goes_on_if_the_client_can(request_line: str, *, closed: bool) -> None:
    """With the version that it has, and as it asks."""

    async def main() -> Answer:
        async with serving(over(ScriptedService([ls.Response(b"{}")]))) as url:
            return await talk(url, post(chat()).replace(b"HTTP/1.1", request_line.encode()))

    answer = run(main())

    assert (200, closed) == (answer.status, answer.closed)


def test_a_long_reply_waits_for_a_slow_client_but_not_for_one_that_stands_still() -> None:
    """Each piece that is taken gives time for the next."""
    body = b"x" * 40_000_000

    async def main() -> tuple[int, bytes]:
        replies: ScriptedService[Any, Any] = ScriptedService([ls.Response(body)] * 2)
        async with serving(over(replies)) as url:
            reader, writer = await connected(url)
            writer.write(post(chat(), "Connection: close"))
            head = await reader.readuntil(b"\r\n\r\n")
            left = int(head.partition(b"Content-Length: ")[2])
            for _ in range(4):
                await asyncio.sleep(WRITE_TIMEOUT - 1)
                left -= len(await reader.readexactly(left // 4))
            left -= len(await reader.read())
            writer.close()
            reader, writer = await connected(url)
            writer.write(post(chat()))
            await asyncio.sleep(WRITE_TIMEOUT + 1)
            short = await reader.read()
            writer.close()
            return left, short

    left, short = run(main(), grace=0.1)

    assert 0 == left
    assert 1000 < len(short) < len(body)
