"""What types a caller sees: read by mypy --strict, and run once so that it stays true."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Generic, assert_type, final

from attrs import define, evolve, frozen

from llmstack.builder import ServiceBuilder, Stack
from llmstack.call import Attempt, Call, Outcome, Usage
from llmstack.combine import (
    FunctionLayer,
    either,
    filter,  # noqa: A004 -- the field's own word for it
    layer_fn,
    map_error,
    map_request,
    map_response,
    optional,
    service_fn,
)
from llmstack.endpoint import Capabilities, Endpoint, EndpointSet, Price
from llmstack.errors import LLMStackError, NotReady, Overloaded, Tried, classify
from llmstack.keyed import Keyed
from llmstack.messages import Event, EventStream, Reply, Request, Response, dispatch
from llmstack.service import (
    Layer,
    Req,
    Resp,
    Service,
    by_endpoint,
    by_tenant,
    deadline_of,
    insists,
    observe,
)
from llmstack.testing.scripted import ScriptedEvent, ScriptedService, stream_of
from llmstack.testing.virtual import run_virtual


ENDS: list[Outcome] = []


async def length(request: str, /) -> int:
    """A leaf of a user."""
    return len(request)


async def named(request: str) -> int:
    """A leaf whose argument has a name is one too."""
    return len(request)


class Greeter:
    """A leaf that is an object."""

    async def __call__(self, request: str, /) -> bytes:
        return request.encode()


@final
@frozen
class Limit:
    """A generic layer, as the shipped ones are."""

    limit: int
    rng: Random | None = None

    def __call__(self, inner: Service[Req, Resp], /) -> LimitService[Req, Resp]:
        return LimitService(self, inner)


@final
@define(eq=False)
class LimitService(Generic[Req, Resp]):
    settings: Limit
    inner: Service[Req, Resp]

    async def __call__(self, request: Req, /) -> Resp:
        return await observe(self.inner, request, ENDS.append)


async def doubled(inner: Service[str, int], request: float) -> str:
    """A function that makes a layer and changes both types."""
    return str(2 * await inner(str(request)))


def plain(inner: Service[Any, Any], /) -> Service[Any, Any]:
    """A function that is a layer."""
    return inner


class Gate:
    """A machine."""

    idle = True


async def a_stack_has_the_types_of_its_floor() -> None:
    assert_type(ServiceBuilder().service(length), Stack[str, int])
    assert_type(ServiceBuilder().service(named), Stack[str, int])
    assert_type(ServiceBuilder().service(Greeter()), Stack[str, bytes])
    assert_type(ServiceBuilder().service(dispatch), Stack[Request, Reply])
    stack = ServiceBuilder(seed=1).layer(Limit(3)).layer(plain).layer(layer_fn(doubled))
    assert_type(stack, ServiceBuilder)
    whole = ServiceBuilder().layer(Limit(3)).service(length)
    assert_type(await whole("hello"), int)
    assert_type(whole("hello").close(), None)
    assert_type(ServiceBuilder().service(whole), Stack[str, int])
    async with whole as running:
        assert_type(running, Stack[str, int])
        assert_type(running.find(LimitService), LimitService[Any, Any])
    assert_type(whole.describe(), str)
    assert_type(whole.statistics(), dict[str, Any])


async def a_layer_keeps_the_types_of_what_it_wraps() -> None:
    service = Limit(3)(length)
    assert_type(service, LimitService[str, int])
    assert_type(await service("hello"), int)
    assert_type(Limit(3)(Limit(4)(Greeter())), LimitService[str, bytes])
    layer: Layer = Limit(3)
    assert_type(layer(length), Service[Any, Any])
    endpoints: list[Service[str, int]] = [length, named, service, ServiceBuilder().service(length)]
    assert_type(await endpoints[0]("hello"), int)
    assert_type(evolve(Limit(3), limit=4), Limit)


async def functions_make_layers_with_their_types() -> None:
    assert_type(service_fn(len)([1]).close(), None)
    assert_type(await service_fn(str.upper)("hello"), str)
    layer = layer_fn(doubled)
    assert_type(layer, FunctionLayer[float, str, str, int])
    assert_type(layer(length), Service[float, str])
    assert_type(await layer(length)(2.5), str)
    assert_type(map_request(str.upper), FunctionLayer[str, Any, str, Any])
    assert_type(await map_response(str)(length)("hello"), str)
    assert_type(filter(str.isdigit), FunctionLayer[str, Any, str, Any])
    assert_type(map_error(lambda error: error), FunctionLayer[Any, Any, Any, Any])
    assert_type(optional(None), Layer)
    assert_type(optional(Limit(3)), Layer)
    either_way: Layer = either(str.isdigit, Limit(3), plain)
    assert_type(either_way(length), Service[Any, Any])


async def an_endpoint_takes_what_a_user_writes() -> None:
    price = Price(2.5, 10, cached=0.5)
    endpoint = Endpoint(
        "eu",
        length,
        3,
        models={"a": "b"},
        price=price,
        capabilities=Capabilities(context=8_000),
        tags=["eu", "gdpr"],
    )
    assert_type(endpoint.tags, frozenset[str])
    assert_type(endpoint.price, Price | None)
    assert_type(endpoint.model_for("a"), str | None)
    assert_type(price.cost(Usage(1, 2)), float)
    endpoints = EndpointSet([endpoint])
    assert_type(endpoints.enabled, tuple[Endpoint, ...])
    assert_type(endpoints["eu"], Endpoint)
    assert_type(Endpoint("us", length, models="gpt").weight, float)
    assert_type(Endpoint("us", length, tags={"eu"}).tags, frozenset[str])


async def a_request_takes_what_a_user_writes() -> None:
    request = Request("gpt", {"messages": []}, tags=["eu"], tenant="acme")
    assert_type(Request(body=b"{}").max_tokens, int | None)
    assert_type(request.to(Endpoint("eu", length), Attempt("eu", 0.0)), Request)
    assert_type(request.tags, frozenset[str])
    assert_type(request.call, Call)
    assert_type(by_endpoint(request), str | None)
    assert_type(by_tenant("anything"), str | None)
    assert_type(deadline_of(object()), float)
    assert_type(insists(None), bool)


async def a_reply_is_complete_or_a_stream() -> None:
    ends: list[Outcome] = []

    async def leaf(request: Request, /) -> Reply:
        return stream_of([]) if request.stream else Response(b"{}", usage=Usage(1))

    assert_type(await observe(length, "hello", ends.append), int)
    for streamed in (False, True):
        reply = await observe(leaf, Request(stream=streamed), ends.append)
        assert_type(reply, Reply)
        if isinstance(reply, Response):
            assert_type(reply.usage, Usage | None)
        else:
            assert_type(reply, EventStream)
            async with reply as stream:
                assert_type(stream, EventStream)
                assert_type(await anext(stream), Event)
                async for event in stream:
                    assert_type(event.data, bytes)
    assert_type(ends[0].cost, float | None)


async def errors_say_what_they_know() -> None:
    error = Overloaded("busy", endpoint="eu", status=529, retry_after=3)
    assert_type(classify(error), LLMStackError | None)
    assert_type(list(error.attempts), list[Tried])
    assert_type(error.retry_after, float | None)
    assert_type(NotReady(soft=True).soft, bool)
    assert_type(error.again, bool)


async def state_is_found_by_key() -> None:
    gates = Keyed(Gate)
    assert_type(gates("eu"), Gate)
    assert_type(gates(None).idle, bool)


async def a_script_is_lines_and_errors() -> None:
    service: ScriptedService[str, int] = ScriptedService([Overloaded(), 7])
    assert_type(service.calls, list[tuple[float, str]])
    stack = ServiceBuilder().layer(map_error(lambda error: error)).service(service)
    assert_type(stack, Stack[str, int])
    assert_type(stream_of([ScriptedEvent(), 2.0, Overloaded()]), EventStream).close()


#: Each is run by the tests, so what is claimed above happens too.
ALL: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = (
    a_stack_has_the_types_of_its_floor,
    a_layer_keeps_the_types_of_what_it_wraps,
    functions_make_layers_with_their_types,
    an_endpoint_takes_what_a_user_writes,
    a_request_takes_what_a_user_writes,
    a_reply_is_complete_or_a_stream,
    errors_say_what_they_know,
    state_is_found_by_key,
    a_script_is_lines_and_errors,
)


def run_all() -> int:
    """Run them, and say how many there are."""
    for claims in ALL:
        run_virtual(claims())
    return len(ALL)
