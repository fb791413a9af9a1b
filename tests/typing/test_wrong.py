"""What a caller may not write: mypy --strict must say so, or an ignore here is unused."""

from __future__ import annotations

from llmstack.builder import ServiceBuilder, Stack
from llmstack.combine import layer_fn, service_fn
from llmstack.endpoint import Endpoint, Price
from llmstack.errors import Overloaded, UpstreamTimeout
from llmstack.messages import Request
from llmstack.service import Layer, Service


async def length(request: str, /) -> int:
    return len(request)


def not_async(request: str, /) -> int:
    return len(request)


async def two(inner: Service[str, int], request: str) -> int:
    return await inner(request)


def wrong() -> None:
    """Never called."""
    stack = ServiceBuilder().service(length)
    stack(7)  # type: ignore[arg-type, unused-coroutine]
    _reply: Stack[bytes, int] = stack  # type: ignore[assignment]
    ServiceBuilder().service(not_async)  # type: ignore[arg-type]
    ServiceBuilder().layer(7)  # type: ignore[arg-type]
    ServiceBuilder().layer(length)  # type: ignore[arg-type]
    ServiceBuilder((), 7)  # type: ignore[call-arg]
    _layer: Layer = two  # type: ignore[assignment]
    layer_fn(two)(service_fn(str))  # type: ignore[arg-type]
    Endpoint("eu")  # type: ignore[call-arg]
    Endpoint("eu", length, price=3)  # type: ignore[arg-type]
    Price(1)  # type: ignore[call-arg]
    Overloaded("busy", "eu")  # type: ignore[call-arg]
    UpstreamTimeout(phase="never")  # type: ignore[arg-type]
    Request(tags=7)  # type: ignore[arg-type]
    Request(body="text")  # type: ignore[arg-type]
