"""What the tests of the admin API stand on: a gateway with one, and what to ask it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from attrs import frozen

import llmstack as ls
from llmstack.gateway.admin.settings import Admin
from llmstack.gateway.app import running
from llmstack.providers.credential import Ask, Credential
from tests.gateway.stage import Answer, Chat, chat, gateway, post, talk


__all__ = [
    "ANYWHERE",
    "Both",
    "administered",
    "answers",
    "endpoint",
    "guarded",
    "read",
    "send",
    "two",
]

#: A port of its own choice.
ANYWHERE: Final = ("127.0.0.1", 0)


@frozen
class Both:
    """The URLs of a gateway: of its admin API, and the one that callers have."""

    admin: str
    url: str

    async def asks(self, sent: bytes) -> Answer:
        """What the admin API answers."""
        return await talk(self.admin, sent)

    async def reads(self, path: str) -> Any:  # noqa: ANN401 -- JSON
        """What is there, in JSON."""
        answer = await self.asks(read(path))
        assert "application/json" == answer.headers["content-type"]
        return json.loads(answer.body)

    async def changes(self, what: str, route: str = "chat", **fields: object) -> Any:  # noqa: ANN401
        """What is answered to a change, which must be done."""
        answer = await self.asks(send(f"/routes/{route}/{what}", fields))
        assert 200 == answer.status, answer.body
        return json.loads(answer.body)

    async def who(self, model: str = "chat") -> str:
        """Who serves a caller now, or why nobody does."""
        answer = await talk(self.url, post(chat(model=model)))
        return (
            answer.headers["x-llmstack-endpoint"] if answer.status == 200 else answer.error["code"]
        )


@asynccontextmanager
async def administered(
    stack: Chat | Mapping[str, Chat],
    token: Credential | Ask | str | None = None,
    **settings: object,
) -> AsyncIterator[Both]:
    """A gateway with an admin API that runs in the block."""
    admin = Admin(listen=ANYWHERE, token=token)
    at: list[str] = []
    served = gateway(stack, admin=admin, **settings)
    async with running(served, admin_started=at.append) as url:
        yield Both(at[0], url)


def read(path: str, *headers: str, method: str = "GET", host: str = "127.0.0.1") -> bytes:
    """A request without a body, from this machine."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def send(path: str, data: object, *headers: str) -> bytes:
    """A change, from this machine; bytes are sent as they are."""
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return post(body, *headers, path=path).replace(b"Host: gateway", b"Host: 127.0.0.1")


async def answers(_request: ls.Request) -> ls.Response:
    """Answer every request."""
    return ls.Response(b"{}")


def endpoint(
    name: str,
    service: Callable[[ls.Request], Coroutine[Any, Any, Any]] | Chat = answers,
    **about: Any,  # noqa: ANN401 -- what an endpoint has
) -> ls.Endpoint:
    """An endpoint that answers."""
    return ls.Endpoint(name, service, **about)


def guarded(*endpoints: ls.Endpoint) -> Chat:
    """The first of *endpoints* that takes it, with a breaker and a cooldown for each."""
    return (
        ls.ServiceBuilder()
        .layer(ls.Fallback(endpoints))
        .layer(ls.CircuitBreaker(ramp=0))
        .layer(ls.Cooldown())
        .service(ls.dispatch)
    )


def two() -> Chat:
    """Two endpoints under different keys of one account; one has another name for the model."""
    return guarded(
        endpoint("eu", models="gpt", key="k1", account="ours"),
        endpoint("us", key="k2", account="ours"),
    )
