"""Probes: a page, a connection and one token, asked of real sockets on loopback."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.providers.probes import SMALLEST, HttpGet, OneToken, TcpConnect
from llmstack.providers.transport import Transport
from llmstack.service import Service
from llmstack.testing.behaviour import Hang, Reply
from llmstack.testing.provider import FakeProvider
from llmstack.testing.scripted import ScriptedEvent, ScriptedService, ScriptedSource, echo
from tests.gateway.stage import run


PRICE = ls.Price(1_000_000, 10_000_000)


def at(url: str, service: Service[Any, Any] = echo) -> ls.Endpoint:
    return ls.Endpoint("eu", service, url=url)


async def said(probe: HttpGet | TcpConnect, url: str) -> str:
    """What *probe* finds at *url*: the class of the error and its status."""
    try:
        await probe(at(url))
    except ls.UpstreamError as error:
        return f"{type(error).__name__} {error.status}"
    return "good"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, "good"),
        (204, "good"),
        (299, "good"),
        (300, "ProtocolError 300"),
        (302, "ProtocolError 302"),
        (404, "ProtocolError 404"),
        (429, "RateLimited 429"),
        (499, "ProtocolError 499"),
        (500, "ServerError 500"),
        (503, "ServerError 503"),
    ],
)
def test_a_page_is_good_by_its_status(status: int, expected: str) -> None:
    """A redirect is not followed; a 429 blames no endpoint, all else does."""

    async def main() -> None:
        probe = HttpGet()
        headers = {"Location": "/elsewhere"}
        async with FakeProvider() as provider, probe:
            provider.script(Reply(status, body=b"x" * 300_000, headers=headers))

            assert expected == await said(probe, provider.base_url)
            (seen,) = provider.requests
            assert ("GET", "/health", b"") == (seen.method, seen.path, seen.body)
            assert {"host", "accept", "accept-encoding", "user-agent"} == seen.headers.keys()
            assert f"127.0.0.1:{provider.port}" == seen.headers["host"]

    run(main())


def test_which_statuses_are_good_can_be_said() -> None:
    """Then no others are; the path may have a query, and is that of the host."""

    async def main() -> None:
        async with FakeProvider() as provider, HttpGet("/v1/up?deep=1", {401, 200}) as probe:
            provider.script(*[Reply(status) for status in (200, 401, 204)])
            found = [await said(probe, f"{provider.base_url}/some/where") for _ in range(3)]

            assert ["good", "good", "ProtocolError 204"] == found
            assert {"/v1/up"} == {seen.path for seen in provider.requests}

    run(main())


def test_nobody_there() -> None:
    """A page and a connection say so; what was refused was not sent."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/v1"

        async def main() -> None:
            async with HttpGet() as probe:
                assert "ConnectionFailed None" == await said(probe, url)
            assert "ConnectionFailed None" == await said(TcpConnect(), url)

        run(main())


def test_a_connection_is_enough_for_one_that_only_connects() -> None:
    """Whatever the provider would say; not a byte is written."""

    async def main() -> None:
        heard: asyncio.Queue[bytes] = asyncio.Queue()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.put_nowait(await reader.read())
            writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        assert "good" == await said(TcpConnect(), f"http://127.0.0.1:{port}/v1")
        assert b"" == await heard.get()
        server.close()
        await server.wait_closed()

    run(main())


def test_the_connections_of_another_may_be_used() -> None:
    """Its transport is open as long as somebody is in it."""

    async def main() -> None:
        transport = Transport()
        probe = HttpGet(transport=transport)
        async with FakeProvider() as provider, probe:
            session = transport.session
            async with transport:
                provider.script(Reply(200))
                assert "good" == await said(probe, provider.base_url)
            assert not session.closed
        assert session.closed

    run(main())
    assert HttpGet(transport=Transport()) == HttpGet()


@pytest.mark.parametrize("probe", [HttpGet(), TcpConnect()], ids=repr)
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "endpoint 'eu' has no url"),
        ("127.0.0.1:80", "not http"),
        ("ftp://host/", "not http"),
        ("http://", "not http"),
        ("http://[", "not http"),
        ("http://host:port/", "not http"),
    ],
)
def test_one_has_to_know_where_an_endpoint_is(
    probe: HttpGet | TcpConnect, url: str, says: str
) -> None:
    """It is told when the layer is applied, by name."""
    with pytest.raises(ls.ConfigError, match=says):
        ls.Health([at(url)], probe)(echo)
    ls.Health([at("https://user:sk-1@host/v1")], probe)(echo)


@pytest.mark.parametrize("path", ["", "health", "//other", "/a b", "/\r\nX: 1", "/é"])
def test_a_path_is_one_that_can_be_written(path: str) -> None:
    """And leads to no other host."""
    with pytest.raises(ValueError, match="path"):
        HttpGet(path)


def test_no_status_at_all_would_be_good() -> None:
    """So it is refused."""
    with pytest.raises(ValueError, match="status"):
        HttpGet(status=[])


LEAVES = [
    *((ls.OpenAI, "chat"), (ls.OpenAI, "embeddings"), (ls.OpenAI, "models")),
    *((ls.Anthropic, "messages"), (ls.Anthropic, "count_tokens")),
]


@pytest.mark.parametrize(("leaf", "operation"), LEAVES)
def test_one_token_asks_what_a_caller_would(leaf: Any, operation: str) -> None:  # noqa: ANN401
    """With the key, for the provider's own name of the model; past all layers."""

    async def main() -> None:
        async with FakeProvider(api_key="sk-1") as provider:
            service = leaf(provider.base_url, api_key="sk-1")
            endpoint = ls.Endpoint("eu", service, models={"m": "real"}, price=PRICE)
            async with service:
                cost = await OneToken("m", operation)(endpoint)

            (seen,) = provider.requests
            free = operation in {"models", "count_tokens"}
            sent = {"model": "real", **SMALLEST[operation]}
            assert ({} if operation == "models" else sent) == (seen.json if seen.body else {})
            assert (cost is None) if free else (cost is not None and cost > 0)

    run(main())


def test_all_formats_have_a_smallest_request() -> None:
    """Of each operation that a leaf can be asked for."""
    spoken = ls.OpenAI("http://eu").speaks | ls.Anthropic("http://eu").speaks

    assert spoken == SMALLEST.keys()


@pytest.mark.parametrize(
    ("status", "kind"), [(401, ls.AuthFailed), (429, ls.RateLimited), (500, ls.ServerError)]
)
def test_one_token_raises_what_a_call_would(status: int, kind: type[ls.UpstreamError]) -> None:
    """So the tables of the provider say whom it blames."""

    async def main() -> None:
        async with FakeProvider() as provider, ls.OpenAI(provider.base_url) as leaf:
            provider.fail(status)
            with pytest.raises(kind) as raised:
                await OneToken("m")(ls.Endpoint("eu", leaf))
            assert ("eu", status) == (raised.value.endpoint, raised.value.status)

    run(main())


def test_a_body_of_ones_own() -> None:
    """For models that will not have the smallest; any service will do, a stream is closed."""
    source = ScriptedSource([ScriptedEvent()] * 9)
    service = ScriptedService[Any, Any](["not a reply"])
    body = {"input": "?"}
    probe = OneToken("m", "audio", body=body)

    async def main() -> None:
        assert await probe(ls.Endpoint("eu", service, price=PRICE)) is None
        service.script.append(ls.EventStream(source, held=[ScriptedEvent()]))
        assert await probe(ls.Endpoint("eu", service)) is None
        assert 1 == source.closed

    run(main())
    requests = [request for _, request in service.calls]
    assert [("audio", body, False)] * 2 == [(r.operation, r.body.data, r.stream) for r in requests]


def test_one_token_needs_a_body_and_a_model_that_is_served() -> None:
    """Told where it is written, or when the layer is applied."""
    with pytest.raises(ls.ConfigError, match="operation 'audio' needs a body; without: chat, "):
        OneToken("m", "audio")
    endpoint = ls.Endpoint("eu", echo, models={"other": "o"})
    ls.Health([endpoint], OneToken("other"))(echo)
    with pytest.raises(ls.ConfigError, match="endpoint 'eu' does not serve 'm'"):
        ls.Health([endpoint], OneToken("m"))(echo)


def test_a_provider_that_dies_and_comes_back() -> None:
    """The whole of it, on sockets: down by its probes, asked last, up again; money is counted."""

    async def main() -> None:
        async with FakeProvider() as eu, FakeProvider() as us:
            endpoints = [
                ls.Endpoint(name, ls.OpenAI(each.base_url), url=each.base_url, price=PRICE)
                for name, each in (("eu", eu), ("us", us))
            ]
            stack: ls.Stack[ls.Request, Any] = (
                ls.ServiceBuilder(seed=1)
                .layer(ls.Fallback(endpoints, triggers=["auth"]))
                .layer(ls.Health(endpoints, OneToken("m")))
                .service(ls.dispatch)
            )
            async with stack:
                await eu.die()
                await asyncio.sleep(100)
                assert "down" == stack.standings()["eu"].state
                known = stack.statistics()["health"]
                assert ("ConnectionFailed", None) == (known["eu"].reason, known["eu"].cost)
                assert known["us"].cost > 0
                assert "eu" not in await asked(stack)
                await eu.revive()
                await asyncio.sleep(70)
                assert "up" == stack.standings()["eu"].state
                eu.script(Hang())
                us.always(Hang())
                await asyncio.sleep(30)

    with capture_logs():
        run(main())


async def asked(stack: ls.Stack[ls.Request, Any]) -> list[str]:
    """Whom a call goes to."""
    request = ls.Request("m", {"messages": [{"role": "user", "content": "?"}]})
    await stack(request)
    return [attempt.endpoint for attempt in request.call.attempts]
