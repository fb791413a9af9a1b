"""Small layers made of functions: change a request, a reply or an error, or choose a path.

They hold nothing, so there is nothing to give back, and they work on any request type.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Generic, TypeVar, final

from attrs import define, field, frozen

from llmstack.errors import Blocked
from llmstack.order import absent
from llmstack.service import Layer, Req, Resp, Service


__all__ = [
    "Either",
    "EitherService",
    "FunctionLayer",
    "either",
    "filter",
    "layer_fn",
    "map_error",
    "map_request",
    "map_response",
    "optional",
    "service_fn",
]

Req2 = TypeVar("Req2")
Resp2 = TypeVar("Resp2")


@final
@frozen
class FunctionLayer(Generic[Req2, Resp2, Req, Resp]):
    """A layer made of a function that calls the inner service itself.

    >>> map_request(str.upper)
    FunctionLayer(role='map_request', says='upper')
    """

    role: str
    says: str
    call: Callable[[Service[Req, Resp], Req2], Awaitable[Resp2]] = field(repr=False)

    def __call__(self, inner: Service[Req, Resp], /) -> Service[Req2, Resp2]:
        """Wrap *inner*."""
        return _FunctionService(self.call, inner)


@final
@define(eq=False)
class _FunctionService(Generic[Req2, Resp2, Req, Resp]):
    call: Callable[[Service[Req, Resp], Req2], Awaitable[Resp2]]
    inner: Service[Req, Resp]

    async def __call__(self, request: Req2, /) -> Resp2:
        return await self.call(self.inner, request)


def _named(function: object) -> str:
    return getattr(function, "__name__", type(function).__name__)


def service_fn(function: Callable[[Req], Resp]) -> Service[Req, Resp]:
    """Make a service of a plain function; an ``async def`` is one already."""

    async def service(request: Req, /) -> Resp:
        return function(request)

    return service


def layer_fn(
    function: Callable[[Service[Req, Resp], Req2], Awaitable[Resp2]],
) -> FunctionLayer[Req2, Resp2, Req, Resp]:
    """Make a layer of ``async def f(inner, request)``; its role is the function's name."""
    return FunctionLayer(_named(function), _named(function), function)


def map_request(function: Callable[[Req2], Req]) -> FunctionLayer[Req2, Any, Req, Any]:
    """Hand ``function(request)`` to the inner service."""

    async def call(inner: Service[Req, Any], request: Req2) -> Any:  # noqa: ANN401 -- as it came
        return await inner(function(request))

    return FunctionLayer("map_request", _named(function), call)


def map_response(function: Callable[[Resp], Resp2]) -> FunctionLayer[Any, Resp2, Any, Resp]:
    """Hand ``function(reply)`` up; a stream is handed over whole, at its first content."""

    async def call(inner: Service[Any, Resp], request: Any) -> Resp2:  # noqa: ANN401 -- as it came
        return function(await inner(request))

    return FunctionLayer("map_response", _named(function), call)


def map_error(function: Callable[[Exception], Exception]) -> FunctionLayer[Any, Any, Any, Any]:
    """Raise ``function(error)`` from the error; return the same error to leave it as it is."""

    async def call(inner: Service[Any, Any], request: Any) -> Any:  # noqa: ANN401 -- as it came
        try:
            return await inner(request)
        except Exception as error:
            mapped = function(error)
            if mapped is error:
                raise
            raise mapped from error

    return FunctionLayer("map_error", _named(function), call)


def filter(  # noqa: A001 -- the field's own word for it
    allows: Callable[[Req], bool],
) -> FunctionLayer[Req, Any, Req, Any]:
    """Refuse with `Blocked` what *allows* says no to."""

    async def call(inner: Service[Req, Any], request: Req) -> Any:  # noqa: ANN401 -- as it came
        if not allows(request):
            raise Blocked(f"{_named(allows)} does not allow the request")
        return await inner(request)

    return FunctionLayer("filter", _named(allows), call)


def optional(layer: Layer | None) -> Layer:
    """Return *layer*, or for None a layer that is not there: a builder leaves it out."""
    return absent if layer is None else layer


@final
@frozen
class Either(Generic[Req]):
    """Two layers, of which each request passes through one; see `either`."""

    chooses: Callable[[Req], bool] = field(repr=_named)
    then: Layer
    otherwise: Layer

    role: ClassVar[str] = "either"
    branches: ClassVar[tuple[str, ...]] = ("then", "otherwise")

    def __call__(self, inner: Service[Any, Any], /) -> Service[Any, Any]:
        """Put both on *inner*; each keeps state of its own."""
        return EitherService(self.chooses, self.then(inner), self.otherwise(inner))


@final
@define(eq=False)
class EitherService(Generic[Req, Resp]):
    """Asks which way, and goes it."""

    chooses: Callable[[Req], bool]
    then: Service[Req, Resp]
    otherwise: Service[Req, Resp]

    async def __call__(self, request: Req, /) -> Resp:
        """Send *request* through one of the two."""
        return await (self.then if self.chooses(request) else self.otherwise)(request)

    def statistics(self) -> dict[str, Any]:
        """Return the state of each way that keeps one."""
        ways = {"then": self.then, "otherwise": self.otherwise}
        return {way: s.statistics() for way, s in ways.items() if hasattr(s, "statistics")}


def either(chooses: Callable[[Req], bool], then: Layer, otherwise: Layer) -> Either[Req]:
    """Send a request through *then* if *chooses* says yes, else through *otherwise*.

    Both stand on the same inner service.
    """
    return Either(chooses, then, otherwise)
