"""Small layers made of functions: what each does to requests, replies and errors."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, TypeVar

import pytest
from attrs import define, frozen

from llmstack.builder import ServiceBuilder, Stack
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
from llmstack.errors import Blocked, Overloaded, ServerError
from llmstack.service import Layer, Service
from llmstack.stream import EventStream
from llmstack.testing.scripted import ScriptedEvent, ScriptedService, echo, stream_of


T = TypeVar("T")


def ask(service: Service[Any, T], request: object = "hello") -> T:
    async def main() -> T:
        return await service(request)

    return asyncio.run(main())


def failing(error: BaseException) -> ScriptedService[object, str]:
    return ScriptedService([error])


def test_a_plain_function_becomes_a_service() -> None:
    """What it returns is the reply, what it raises the error."""
    assert 5 == ask(service_fn(len))
    with pytest.raises(TypeError):
        ask(service_fn(len), 7)


def test_a_layer_is_made_of_a_function_that_calls_on() -> None:
    """It sees both ways, and may call as often as it likes."""

    async def twice(inner: Service[str, str], request: str) -> str:
        return await inner(request + "1") + await inner(request + "2")

    layer = layer_fn(twice)

    assert "hello1hello2" == ask(layer(echo))
    assert ("twice", "twice") == (layer.role, layer.says)
    assert "FunctionLayer(role='twice', says='twice')" == repr(layer)


def test_a_request_is_changed_on_its_way_down() -> None:
    """The inner service sees the change, the caller's object is not touched."""
    inner = ScriptedService[str, str](["ok"])

    assert "ok" == ask(map_request(str.upper)(inner))
    assert ["HELLO"] == [request for _, request in inner.calls]


def test_a_reply_is_changed_on_its_way_up() -> None:
    """An error is not a reply."""
    assert 5 == ask(map_response(len)(echo))
    with pytest.raises(ServerError):
        ask(map_response(len)(failing(ServerError())))


def test_a_stream_is_handed_over_whole() -> None:
    """The function gets the stream at its first content, and nothing has been read."""

    seen: list[object] = []

    def look(stream: EventStream) -> EventStream:
        seen.append(stream.ended)
        return stream

    async def main() -> int:
        inner = ScriptedService[str, EventStream]([stream_of([ScriptedEvent()])])
        stream = await map_response(look)(inner)("?")
        return len([event async for event in stream])

    assert 2 == asyncio.run(main())
    assert [None] == seen


def busy(_error: Exception) -> Exception:
    return Overloaded("busy")


def test_an_error_is_changed_on_its_way_up() -> None:
    """The new one names the old as its cause; a reply passes."""
    old = KeyError("x")
    with pytest.raises(Overloaded) as caught:
        ask(map_error(busy)(failing(old)))

    assert old is caught.value.__cause__
    assert "hello" == ask(map_error(busy)(echo))


def test_an_error_that_is_left_as_it_is_leaves_as_it_came() -> None:
    """With the cause that it had, and without one if it had none."""
    cause = OSError()
    old = KeyError("x")
    old.__cause__ = cause
    for error in (old, KeyError("y")):
        expected = error.__cause__
        with pytest.raises(KeyError) as caught:
            ask(map_error(lambda error: error)(failing(error)))
        assert error is caught.value
        assert expected is error.__cause__


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), KeyboardInterrupt(), KeyError("x")], ids=repr
)
def test_a_cancellation_is_not_an_error_to_change(error: BaseException) -> None:
    """It passes every layer untouched."""
    asked: list[Exception] = []

    def change(error: Exception) -> Exception:
        asked.append(error)
        return error

    async def main() -> BaseException | None:
        with pytest.raises(type(error)) as caught:
            await map_error(change)(failing(error))("?")
        return caught.value

    assert error is asyncio.run(main())
    assert [] == asked or isinstance(error, Exception)
    assert [error] == asked or not isinstance(error, Exception)


def test_what_is_not_allowed_is_not_sent() -> None:
    """It is blocked, and the message names the rule and nothing of the request."""
    inner = ScriptedService[str, str](["ok"])
    service = filter(str.isdigit)(inner)
    with pytest.raises(Blocked, match=r"^isdigit does not allow the request$"):
        ask(service, "secret")

    assert [] == inner.calls
    assert "ok" == ask(service, "7")
    assert ["7"] == [request for _, request in inner.calls]


@frozen
class Tag:
    """A layer that says in the reply that it was there, and counts its calls."""

    text: str

    def __call__(self, inner: Service[Any, str], /) -> Tagged:
        return Tagged(self.text, inner)


@define(eq=False)
class Tagged:
    text: str
    inner: Service[Any, str]
    calls: int = 0

    async def __call__(self, request: object, /) -> str:
        self.calls += 1
        return self.text + await self.inner(request)

    def statistics(self) -> int:
        return self.calls


def test_a_layer_that_is_not_there_changes_nothing() -> None:
    """And one that is there is itself."""
    layer = Tag("a")

    assert layer is optional(layer)
    assert echo is optional(None)(echo)
    assert ServiceBuilder((layer,)) == ServiceBuilder().layer(layer).layer(optional(None))


def test_a_layer_that_is_not_there_is_nowhere_in_a_stack() -> None:
    """However it came to the builder."""
    builder = ServiceBuilder().layer(Tag("a"))

    for bare in (builder.replace("Tag", optional(None)), ServiceBuilder((optional(None),))):
        assert "echo\nat most 1 upstream call" == bare.service(echo).describe()


def test_a_request_goes_one_of_two_ways() -> None:
    """Down to the same inner service; each way keeps its own state, and shows it."""
    inner = ScriptedService[str, str](["1", "2", "3"])
    service = either(str.isupper, Tag("then "), Tag("else "))(inner)

    assert ["then 1", "else 2", "else 3"] == [ask(service, name) for name in ("A", "b", "c")]
    assert ["A", "b", "c"] == [request for _, request in inner.calls]
    assert hasattr(service, "statistics")
    assert {"then": 1, "otherwise": 2} == service.statistics()


def test_a_way_without_state_shows_none() -> None:
    """An absent layer may be one of the two ways."""
    service: Any = either(str.isupper, optional(None), Tag("else "))(echo)

    assert ["A", "else b"] == [ask(service, "A"), ask(service, "b")]
    assert {"otherwise": 1} == service.statistics()


def test_two_stacks_share_no_state_of_a_choice() -> None:
    """As with any layer: each use is a service of its own."""
    layer = either(str.isupper, Tag("a"), Tag("b"))
    one, other = layer(echo), layer(echo)
    ask(one, "A")

    assert hasattr(one, "statistics")
    assert hasattr(other, "statistics")
    assert ({"then": 1, "otherwise": 0}, {"then": 0, "otherwise": 0}) == (
        one.statistics(),
        other.statistics(),
    )


class Rule:
    """A callable without a name of its own."""

    def __call__(self, request: str) -> bool:
        return request == "yes"


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (map_request(str.upper), "FunctionLayer(role='map_request', says='upper')"),
        (map_response(len), "FunctionLayer(role='map_response', says='len')"),
        (map_error(busy), "FunctionLayer(role='map_error', says='busy')"),
        (filter(Rule()), "FunctionLayer(role='filter', says='Rule')"),
        (filter(partial(str.startswith, "x")), "FunctionLayer(role='filter', says='partial')"),
        (
            either(str.isupper, Tag("a"), Tag("b")),
            "Either(chooses=isupper, then=Tag(text='a'), otherwise=Tag(text='b'))",
        ),
    ],
    ids=["map_request", "map_response", "map_error", "filter", "filter partial", "either"],
)
def test_a_layer_says_what_it_does_in_a_description(layer: Layer, says: str) -> None:
    """By the role and the name of the function, without addresses that differ in each run."""
    described = ServiceBuilder().layer(layer).service(echo).describe()

    assert [says, "echo", "at most 1 upstream call"] == described.splitlines()


def test_a_choice_of_equal_layers_is_equal() -> None:
    """Settings are values."""
    assert either(str.isupper, Tag("a"), Tag("b")) == either(str.isupper, Tag("a"), Tag("b"))
    assert either(str.isupper, Tag("a"), Tag("b")) != either(str.isupper, Tag("b"), Tag("a"))


def test_the_names_of_functions_are_roles() -> None:
    """So a layer of a function is found and replaced like any other."""
    stack: Stack[str, str] = (
        ServiceBuilder().layer(map_request(str.upper)).layer(filter(Rule())).service(echo)
    )

    assert "<Stack map_request > filter > echo>" == repr(stack)
    assert isinstance(map_request(str.upper), FunctionLayer)
    with pytest.raises(Blocked):
        ask(stack["filter"], "no")
