"""The contract: each call ends exactly once, and what can be read of any request."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from math import inf
from types import SimpleNamespace
from typing import ClassVar, Final

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from llmstack.call import Attempt, Call, How, Outcome
from llmstack.endpoint import Endpoint
from llmstack.errors import (
    BadRequest,
    Blame,
    ConcurrencyFull,
    LLMStackError,
    ServerError,
    StreamBroken,
    UpstreamTimeout,
)
from llmstack.messages import Request, Response
from llmstack.service import (
    Ordered,
    Service,
    by_endpoint,
    by_model,
    by_tenant,
    deadline_of,
    insists,
    observe,
)
from llmstack.stream import EventStream
from llmstack.testing.scripted import Line, ScriptedEvent, dispatched, echo, stream_of
from llmstack.testing.virtual import VirtualLoop, run_virtual


Made = Service[str, object]
Log = list[tuple[int, Outcome | BaseException]]


class Leave(BaseException):
    """Neither an error nor a cancellation."""


@frozen
class Way:
    """One way for a call to end: what the leaf gives after two seconds, and what the caller does.

    Then what is heard of it: how, whom it blames, when the first content came, when it ended;
    and the name of what leaves the layers, if that is an exception.
    """

    gives: Callable[[], object]
    caller: Callable[[Made], Coroutine[object, object, object]]
    heard: tuple[How, Blame, float | None, float]
    leaves: str | None = None


def raises(error: type[BaseException]) -> Callable[[], object]:
    def give() -> object:
        raise error

    return give


def streams(*lines: Line) -> Callable[[], object]:
    return lambda: stream_of(lines, ScriptedEvent())


async def ask(service: Made) -> object:
    """Ask, and drop what comes."""
    try:
        await service("?")
    except (LLMStackError, KeyError, Leave):
        return None
    return None


async def stream_from(service: Made) -> EventStream:
    stream = await service("?")
    assert isinstance(stream, EventStream)
    return stream


async def keep(service: Made) -> object:
    """Hold the stream until the loop is closed."""
    stream = await stream_from(service)
    await asyncio.sleep(2)
    return stream


async def read(service: Made) -> object:
    try:
        async for _ in await stream_from(service):
            pass
    except (StreamBroken, UpstreamTimeout):
        return None
    return None


async def read_one(service: Made) -> object:
    async with await stream_from(service) as stream:
        return await anext(stream)


async def close(service: Made) -> object:
    (await stream_from(service)).close()
    return None


async def abort_unread(service: Made) -> object:
    (await stream_from(service)).abort(UpstreamTimeout(phase="total"))
    return None


async def abort_reader(service: Made) -> object:
    async with asyncio.TaskGroup() as group:
        stream = await stream_from(service)
        group.create_task(drained(stream))
        await asyncio.sleep(4)
        stream.abort(UpstreamTimeout(phase="idle"))
    return None


async def drained(stream: EventStream) -> None:
    with pytest.raises(UpstreamTimeout):
        async for _ in stream:
            pass


async def cancel_after(seconds: float, service: Made) -> object:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(whole(read(service)))
        await asyncio.sleep(seconds)
        task.cancel()
    return None


async def whole(call: Awaitable[object]) -> object:
    return await call


async def cancel_call(service: Made) -> object:
    return await cancel_after(1.0, service)


async def cancel_reader(service: Made) -> object:
    return await cancel_after(6.0, service)


BYTES: Final = ScriptedEvent(b"2")
LONG: Final = streams(9.0, BYTES)
WAYS: Final[Mapping[str, Way]] = {
    "text": Way(str, ask, ("ok", "nobody", 2.0, 2.0)),
    "none": Way(lambda: None, ask, ("ok", "nobody", 2.0, 2.0)),
    "response": Way(Response, ask, ("ok", "nobody", 2.0, 2.0)),
    "failed": Way(raises(ServerError), ask, ("failed", "endpoint", None, 2.0), "ServerError"),
    "caller": Way(raises(BadRequest), ask, ("failed", "caller", None, 2.0), "BadRequest"),
    "refused": Way(
        raises(ConcurrencyFull), ask, ("refused", "nobody", None, 2.0), "ConcurrencyFull"
    ),
    "bug": Way(raises(KeyError), ask, ("failed", "nobody", None, 2.0), "KeyError"),
    "left": Way(raises(Leave), ask, ("cancelled", "nobody", None, 2.0), "Leave"),
    "cancelled": Way(str, cancel_call, ("cancelled", "nobody", None, 1.0), "CancelledError"),
    "over": Way(streams(), read, ("ok", "nobody", 2.0, 2.0)),
    "read": Way(streams(3.0, BYTES), read, ("ok", "nobody", 2.0, 5.0)),
    "broken": Way(streams(3.0, StreamBroken()), read, ("failed", "endpoint", 2.0, 5.0)),
    "bad": Way(streams(3.0, BadRequest()), ask, ("abandoned", "nobody", 2.0, 2.0)),
    "stalled": Way(LONG, abort_reader, ("failed", "endpoint", 2.0, 6.0)),
    "aborted": Way(LONG, abort_unread, ("failed", "endpoint", 2.0, 2.0)),
    "gone": Way(LONG, cancel_reader, ("cancelled", "nobody", 2.0, 6.0)),
    "closed": Way(LONG, close, ("abandoned", "nobody", 2.0, 2.0)),
    "exited": Way(LONG, read_one, ("abandoned", "nobody", 2.0, 2.0)),
    "dropped": Way(LONG, ask, ("abandoned", "nobody", 2.0, 2.0)),
    "outlived": Way(LONG, keep, ("abandoned", "nobody", 2.0, 4.0)),
}


def leaf(gives: Callable[[], object]) -> Made:
    async def service(_request: str) -> object:
        await asyncio.sleep(2)
        return gives()

    return service


def watched(inner: Made, name: int, log: Log) -> Made:
    """A layer that does nothing but observe, and notes what leaves through it."""

    async def service(request: str) -> object:
        try:
            return await observe(inner, request, lambda outcome: log.append((name, outcome)))
        except BaseException as error:
            log.append((name, error))
            raise

    return service


def words(thing: Outcome | BaseException) -> object:
    """What is compared of an entry in the log."""
    if isinstance(thing, Outcome):
        return thing.how, thing.blames, thing.first, thing.ended
    return type(thing).__name__


@pytest.mark.parametrize("name", WAYS)
@given(depth=st.integers(1, 5))
def test_each_observer_hears_of_one_end_from_the_inside_out(name: str, depth: int) -> None:
    """However a call ends; and before its exception leaves the layer."""
    way, log = WAYS[name], Log()
    service = leaf(way.gives)
    for n in range(depth):
        service = watched(service, n, log)
    kept, _ = run_virtual(way.caller(service))
    del kept
    gc.collect()

    expected = [way.heard, way.leaves] if way.leaves else [way.heard]
    assert [(n, word) for n in range(depth) for word in expected] == [
        (n, words(thing)) for n, thing in log
    ]


def test_the_ways_are_all_that_there_are() -> None:
    """Each word for how a call ends is among them."""
    assert {"ok", "failed", "refused", "cancelled", "abandoned"} == {
        way.heard[0] for way in WAYS.values()
    }


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_call_that_is_collected_unfinished_ends(depth: int) -> None:
    """Even where no loop runs any more: a loop may be closed under its tasks."""
    log = Log()

    async def stuck(_request: str) -> object:
        return await asyncio.get_running_loop().create_future()

    async def main() -> object:
        service: Made = stuck
        for n in range(depth):
            service = watched(service, n, log)
        call = service("?")
        assert hasattr(call, "send")
        await asyncio.sleep(3)
        call.send(None)
        return call

    loop = VirtualLoop()
    call: object = loop.run_until_complete(main())
    loop.close()
    assert [] == log
    del call
    gc.collect()

    expected = [("cancelled", "nobody", None, 3.0), "GeneratorExit"]
    assert [(n, word) for n in range(depth) for word in expected] == [
        (n, words(thing)) for n, thing in log
    ]


@pytest.mark.parametrize("name", ["text", "response", "read"])
def test_the_reply_passes_as_it_is(name: str) -> None:
    """Nothing is wrapped round it."""
    given_up: list[object] = []

    async def service(_request: str) -> object:
        given_up.append(WAYS[name].gives())
        return given_up[0]

    async def main() -> None:
        reply = await observe(service, "?", lambda _: None)
        if isinstance(reply, EventStream):
            reply.close()

        assert reply is given_up[0]

    asyncio.run(main())


def test_the_request_passes_as_it_is() -> None:
    """The inner service gets the very object."""
    request = Request()

    async def main() -> Request:
        return await observe(echo, request, lambda _: None)

    assert request is asyncio.run(main())


def test_the_error_that_leaves_is_the_one_that_came() -> None:
    """Unwrapped, and the outcome holds it."""
    error, ends = ServerError("down"), list[Outcome]()

    async def service(_request: str) -> object:
        raise error

    with pytest.raises(ServerError) as caught:
        asyncio.run(observe(service, "?", ends.append))

    assert error is caught.value
    assert [error] == [outcome.error for outcome in ends]
    assert None is error.__cause__


def test_a_reply_is_its_own_judge_if_it_knows_its_end() -> None:
    """Any reply with ``on_end`` says itself when it is over: no type of ours is asked for."""
    waiting: list[Callable[[Outcome], None]] = []
    ends: list[Outcome] = []

    class Theirs:
        def on_end(self, end: Callable[[Outcome], None]) -> None:
            waiting.append(end)

    async def service(_request: str) -> Theirs:
        return Theirs()

    asyncio.run(observe(service, "?", ends.append))
    assert [] == ends
    outcome = Outcome(8.0, "abandoned")
    waiting.pop()(outcome)

    assert [outcome] == ends
    assert [] == waiting


def test_a_request_below_a_router_is_keyed_by_its_endpoint() -> None:
    """And above it by nothing."""
    assert "eu" == by_endpoint(dispatched("eu"))
    assert None is by_endpoint(Request())


def test_a_request_of_ours_says_model_tenant_and_deadline() -> None:
    """The key functions read the fields of that name."""
    request = Request("gpt", tenant="acme", call=Call(deadline=17.0))

    assert ("gpt", "acme", 17.0) == (by_model(request), by_tenant(request), deadline_of(request))
    assert (None, inf) == (by_tenant(Request()), deadline_of(Request()))


FOREIGN: Final = [
    None,
    "text",
    7,
    object(),
    SimpleNamespace(endpoint="/v1/chat", call="a call", insists="yes"),
    SimpleNamespace(endpoint=None, call=SimpleNamespace(deadline=3.0), insists=1),
    {"endpoint": "eu", "insists": True},
]


@pytest.mark.parametrize(
    "request_", FOREIGN, ids=lambda value: type(value).__name__ + str(value)[:25]
)
def test_a_request_of_any_type_can_be_asked(request_: object) -> None:
    """What it does not have is None, without end, or false: layers plug in anywhere."""
    assert None is by_endpoint(request_)
    assert None is by_model(request_)
    assert None is by_tenant(request_)
    assert inf == deadline_of(request_)
    assert not insists(request_)


@pytest.mark.parametrize("yes", [True, False])
def test_insisting_is_said_by_the_router(*, yes: bool) -> None:
    """A copy made to insist does; no other."""
    assert yes is insists(dispatched("eu", insists=yes))
    assert yes is insists(Request(insists=yes))
    assert insists(Request(insists=yes).to(Endpoint("eu", echo), Attempt("eu", 0.0))) is yes


@frozen
class Placed:
    role: ClassVar[str] = "placed"
    above: ClassVar[Mapping[str, str]] = {}
    below: ClassVar[Mapping[str, str]] = {}


def test_a_layer_that_says_where_it_belongs_is_recognised() -> None:
    """By what it has, not by its type; a plain function says nothing."""
    assert isinstance(Placed(), Ordered)
    assert not isinstance(echo, Ordered)
