"""The gateway as an application in a server of one's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.errors import ServerError
from llmstack.gateway.app import create_app
from llmstack.gateway.whole import WRITE_TIMEOUT
from llmstack.messages import Request
from llmstack.testing.provider import FakeProvider
from llmstack.testing.scripted import ScriptedEvent, ScriptedService, ScriptedSource, echo
from tests.gateway.stage import (
    Answer,
    Part,
    asked,
    chat,
    chunked,
    connected,
    gateway,
    get,
    over,
    post,
    run,
    sdk,
    served,
    talk,
)


@asynccontextmanager
async def application(
    app: web.Application, *, handler_cancellation: bool = True
) -> AsyncIterator[str]:
    runner = web.AppRunner(
        app, handler_cancellation=handler_cancellation, access_log=None, shutdown_timeout=5
    )
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


def test_a_client_that_left_is_noticed_when_something_is_written() -> None:
    """Where the server does not cancel: in a stream, in its last word, in a long reply."""
    ends: list[str] = []

    def ended(reply: ls.EventStream) -> ls.EventStream:
        reply.on_end(lambda outcome: ends.append(outcome.how))
        return reply

    async def reply(request: Request) -> object:
        await asyncio.sleep(1)
        if not request.stream:
            return ls.Response(b"x" * 100_000)
        first = ScriptedEvent(raw=b"data: 0\n\n")
        last = ServerError() if request.model == "breaks" else first
        lines = [1.0, last, 1.0, first] if request.model in {"breaks", "goes on"} else []
        return ended(ls.EventStream(ScriptedSource(lines), held=[first]))

    async def main() -> None:
        app = create_app(gateway({"*": over(reply)}))
        async with application(app, handler_cancellation=False) as url:
            for model, stays in (("left", 0.5), ("breaks", 1.5), ("goes on", 1.5)):
                await leave(url, post(chat(model=model, stream=True)), stays)
            await leave(url, post(chat()), 0.5)

    with capture_logs() as logs:
        run(main())

    assert ["abandoned", "failed", "abandoned"] == ends
    assert [] == logs


async def leave(url: str, sent: bytes, after: float) -> None:
    """Send it, and leave some seconds later."""
    _, writer = await connected(url)
    writer.write(sent)
    await asyncio.sleep(after)
    writer.close()
    await asyncio.sleep(3)


def test_a_client_that_left_in_its_body_is_no_error() -> None:
    """Where the server does not cancel, the reading ends by itself."""

    async def main() -> None:
        app = create_app(gateway(over(ScriptedService([]))))
        async with application(app, handler_cancellation=False) as url:
            await leave(url, post(chat())[:-5], 0.5)

    with capture_logs() as logs:
        run(main())

    assert [] == logs


def test_a_client_that_takes_nothing_is_dropped() -> None:
    """And its stream is closed, where the server does not cancel."""
    ends: list[str] = []

    async def flood(_request: Request) -> ls.EventStream:
        events = [ScriptedEvent(raw=b"x" * 100_000)] * 400
        stream = ls.EventStream(ScriptedSource(events), held=events[:1])
        stream.on_end(lambda outcome: ends.append(outcome.how))
        return stream

    async def main() -> None:
        async with application(create_app(gateway(over(flood))), handler_cancellation=False) as url:
            await leave(url, post(chat(stream=True)), WRITE_TIMEOUT + 1)

    run(main(), grace=0.1)

    assert ["abandoned"] == ends
