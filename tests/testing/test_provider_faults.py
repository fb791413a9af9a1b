import asyncio
import json
from functools import partial
from typing import Any, Literal

import aiohttp
import pytest

from llmstack import clock
from llmstack.testing.provider import Behaviour, Cut, FakeProvider, Hang, Reply
from llmstack.testing.virtual import run_virtual
from tests.testing.clients import BODY, post, run


Ending = tuple[list[bytes], str | None]


async def stream_of(provider: FakeProvider, *, stream: bool) -> Ending:
    """The pieces that came, and the error that ended them."""
    pieces: list[bytes] = []
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{provider.base_url}/chat/completions", json={**BODY, "stream": stream}
            ) as reply,
        ):
            async for piece in reply.content.iter_any():
                pieces += piece.split(b"\n\n")[:-1] if stream else [piece]
    except aiohttp.ClientError as error:
        return pieces, type(error).__name__
    return pieces, None


@pytest.mark.parametrize(
    ("cut", "events", "last", "error"),
    [
        (Cut(2), 2, b'"content": "', "ClientPayloadError"),
        (Cut(2, "rst"), 2, b'"content": "', "ClientPayloadError"),
        (Cut(2, "end"), 2, b'"content": "', None),
        (Cut(0), 0, b"", "ClientPayloadError"),
        (Cut(1, terminal=True), 3, b"data: [DONE]", "ClientPayloadError"),
        (Cut(99), 6, b"data: [DONE]", "ClientPayloadError"),
    ],
)
def test_a_stream_is_cut_where_and_how_it_is_told(
    cut: Cut, events: int, last: bytes, error: str | None
) -> None:
    """The events before the cut arrive; the request is noted as cut."""
    provider = FakeProvider(tokens=3, pace=1)
    provider.script(cut)

    pieces, raised = run(partial(stream_of, stream=True), provider)

    assert (events, error) == (len(pieces), raised)
    assert last in b"".join(pieces[-1:])
    assert ["cut"] == [seen.ended for seen in provider.requests]


@pytest.mark.parametrize(
    ("how", "error"),
    [("fin", "ClientPayloadError"), ("rst", "ClientPayloadError"), ("end", None)],
)
def test_a_complete_body_is_cut_in_its_middle(
    how: Literal["fin", "rst", "end"], error: str | None
) -> None:
    """Half of it comes; with "end" it looks complete, and is no JSON."""
    provider = FakeProvider()
    provider.script(Cut(how=how))

    pieces, raised = run(partial(stream_of, stream=False), provider)

    whole, _ = run(partial(stream_of, stream=False), FakeProvider())
    assert error == raised
    assert b"".join(whole)[: len(b"".join(whole)) // 2] == b"".join(pieces)
    assert ["cut"] == [seen.ended for seen in provider.requests]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_cut_is_a_fin_or_a_reset(how: Literal["fin", "rst"], *, stream: bool) -> None:
    """As a raw socket sees it."""

    async def main(provider: FakeProvider) -> str:
        body = json.dumps({**BODY, "stream": stream}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
        writer.write(f"{head}\r\n\r\n".encode() + body)
        try:
            await reader.read()
        except ConnectionResetError:
            return "rst"
        finally:
            writer.close()
        return "fin"

    provider = FakeProvider(pace=1)
    provider.script(Cut(3, how))

    assert how == run(main, provider)


def test_raw_bytes_are_all_that_comes() -> None:
    """And then the connection is closed."""

    async def main(provider: FakeProvider) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
        writer.write(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        heard = await reader.read()
        writer.close()
        await writer.wait_closed()
        return heard

    provider = FakeProvider()
    provider.script(Reply(raw=b"nonsense"))

    assert b"nonsense" == run(main, provider)
    assert ["cut"] == [seen.ended for seen in provider.requests]


@pytest.mark.parametrize(("hang", "events"), [(Hang(), None), (Hang(after=0), 0), (Hang(2), 2)])
def test_it_hangs_until_the_client_leaves(hang: Hang, events: int | None) -> None:
    """Before its head, or after some events; and it notices that the client has left."""

    async def main(provider: FakeProvider) -> list[Any]:
        seen: list[Any] = []
        async with aiohttp.ClientSession() as session:
            try:
                async with (
                    asyncio.timeout(60),
                    session.post(
                        f"{provider.base_url}/chat/completions", json={**BODY, "stream": True}
                    ) as reply,
                ):
                    async for line in reply.content:
                        seen += [line] if line.strip() else []
            except TimeoutError:
                seen += [clock.now(), *(request.ended for request in provider.requests)]
        await asyncio.sleep(0.1)
        return [*seen, *(request.ended for request in provider.requests)]

    provider = FakeProvider()
    provider.always(hang)
    seen = run(main, provider)

    assert (events or 0) == sum(isinstance(entry, bytes) for entry in seen)
    assert [60.0, "open", "left"] == seen[events or 0 :]


def test_a_dead_provider_resets_and_refuses_until_it_is_revived() -> None:
    """On the same port; dying twice is dying once."""

    async def main(provider: FakeProvider) -> list[Any]:
        seen: list[Any] = [provider.alive]

        async def ask() -> None:
            try:
                seen.append((await post(provider.base_url))[0])
            except aiohttp.ClientConnectorError:
                seen.append("refused")
            except aiohttp.ClientOSError:
                seen.append("reset")

        async with asyncio.TaskGroup() as group:
            group.create_task(ask())
            await asyncio.sleep(1)
            await provider.die()
        await ask()
        await provider.die()
        seen.append(provider.alive)
        port = provider.port
        await provider.revive()
        await provider.revive()
        await ask()
        assert port == provider.port
        return [*seen, provider.alive, *(request.ended for request in provider.requests)]

    seen = run(main, FakeProvider(latency=2))

    assert [True, "reset", "refused", False, 200, True, "cut", "served"] == seen


def test_a_provider_that_is_left_while_it_serves_takes_its_clients_along() -> None:
    """Leaving the block waits for nobody."""

    async def main() -> str:
        async with FakeProvider(latency=1e6) as provider:
            task = asyncio.ensure_future(post(provider.base_url))  # noqa: TID251
            await asyncio.sleep(1)
        with pytest.raises(aiohttp.ClientOSError):
            await task
        return provider.requests[0].ended

    assert ("cut", 1.0) == run_virtual(main())


def test_two_at_once_do_not_mix() -> None:
    """Each has its port, dice and memory."""

    async def main() -> list[tuple[int, bytes]]:
        async with FakeProvider(seed=1) as one, FakeProvider(seed=2) as other:
            seen = [await post(provider.base_url) for provider in (one, other)]
            assert (1, 1) == (len(one.requests), len(other.requests))
            return seen

    seen, _ = run_virtual(main())

    assert seen[0] != seen[1]
    assert seen == run_virtual(main())[0]


def test_a_cut_after_less_than_nothing_is_refused() -> None:
    """Where it is written."""
    with pytest.raises(ValueError, match="after"):
        Cut(-1)


def test_a_behaviour_is_one_of_three() -> None:
    """The type is what `script` takes."""
    behaviours: list[Behaviour] = [Reply(), Cut(), Hang()]

    assert 3 == len(behaviours)
