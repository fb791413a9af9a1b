"""What is done wrong with routers is told where it is done, or does no harm."""

from __future__ import annotations

import asyncio

import pytest

import llmstack as ls
from llmstack.testing.scripted import echo


def test_a_stack_has_one_router() -> None:
    """Two in a row would overrule each other; the error says what to do instead."""
    router = ls.RoundRobin([ls.Endpoint("eu", echo)])
    builder = ls.ServiceBuilder().layer(router).layer(ls.CircuitBreaker()).layer(router)
    with pytest.raises(ls.ConfigError, match=r"a stack has one router: .* make that a group"):
        builder.service(ls.dispatch)


def test_a_request_that_was_answered_may_be_used_again() -> None:
    """What went well is not held against an endpoint; what failed in the call still is."""
    asked: list[str] = []

    async def eu(_request: ls.Request, /) -> ls.Response:
        asked.append("eu")
        raise ls.ServerError("down")

    async def us(_request: ls.Request, /) -> ls.Response:
        asked.append("us")
        return ls.Response(b"{}")

    async def main() -> None:
        endpoints = [ls.Endpoint("eu", eu), ls.Endpoint("us", us)]
        stack = ls.ServiceBuilder().layer(ls.Fallback(endpoints)).service(ls.dispatch)
        request = ls.Request("m")
        for _ in range(3):
            await stack(request)

    asyncio.run(main())

    assert ["eu", "us", "us", "us"] == asked


def test_an_endpoint_has_a_service() -> None:
    """None is told at once, by the name of the field."""
    with pytest.raises(TypeError, match="'service' must be callable"):
        ls.Endpoint("eu", None)  # type: ignore[arg-type]


def test_a_breaker_has_a_policy() -> None:
    """A number is an easy slip for "after so many failures"."""
    with pytest.raises(ls.ConfigError, match=r"policy must be one such as Cusum\(\), not 5"):
        ls.CircuitBreaker(5)  # type: ignore[arg-type]
