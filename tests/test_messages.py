"""Requests and complete replies, and the floor of a stack with a router."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.body import Body
from llmstack.call import Attempt, Call, Outcome, Usage
from llmstack.endpoint import Endpoint, Price
from llmstack.errors import ConfigError, ServerError
from llmstack.messages import Reply, Request, Response, dispatch
from llmstack.service import Service, observe
from llmstack.stream import EventStream
from llmstack.testing.scripted import ScriptedEvent, ScriptedSource, echo
from llmstack.testing.virtual import run_virtual


requests = st.builds(
    Request,
    model=st.sampled_from(["", "a", "b"]),
    body=st.sampled_from([b"{}", {"n": 1}]),
    operation=st.sampled_from(["chat", "embeddings"]),
    stream=st.booleans(),
    tenant=st.none() | st.just("acme"),
    tags=st.sets(st.sampled_from(["eu", "gdpr"])),
    insists=st.booleans(),
)
FIELDS = ("operation", "stream", "tenant", "tags")


@given(
    request=requests,
    models=st.none() | st.just("x") | st.just({"a": "y"}),
    insists=st.booleans(),
)
def test_the_copy_for_an_endpoint_differs_in_what_a_router_decides(
    request: Request, models: str | Mapping[str, str] | None, *, insists: bool
) -> None:
    """Endpoint, attempt, the model's name there, and whether it insists; the rest is shared."""
    before = {name: getattr(request, name) for name in (*FIELDS, "model", "insists")}
    endpoint, attempt = Endpoint("eu", echo, models=models), Attempt("eu", 0.0)
    copy = request.to(endpoint, attempt, insists=insists)

    assert [getattr(request, name) for name in FIELDS] == [getattr(copy, name) for name in FIELDS]
    assert (request.body, request.call) == (copy.body, copy.call)
    assert (endpoint, attempt) == (copy.endpoint, copy.attempt)
    names = {"a": "y", "b": "b", "": ""} if isinstance(models, dict) else {}
    assert names.get(request.model, models or request.model) == copy.model
    assert (insists or request.insists) is copy.insists
    assert before == {name: getattr(request, name) for name in before}
    assert (None, None) == (request.endpoint, request.attempt)


def test_a_copy_of_a_copy_goes_to_the_inner_endpoint() -> None:
    """Below a group the model goes by the group's name for it, and once insisting is enough."""
    group = Endpoint("group", echo, models={"a": "b"})
    inner = Endpoint("eu", echo, models={"a": "wrong", "b": "c"})
    last = Attempt("eu", 0.0)
    copy = Request("a").to(group, Attempt("group", 0.0), insists=True).to(inner, last)

    assert ("c", inner, last, True) == (copy.model, copy.endpoint, copy.attempt, copy.insists)


def test_a_request_asks_for_a_chat_unless_it_says_otherwise() -> None:
    """Nothing else is assumed, and no two requests share a call."""
    request = Request()

    assert ("", "chat", False, None, frozenset(), None, None, False) == (
        request.model,
        request.operation,
        request.stream,
        request.tenant,
        request.tags,
        request.endpoint,
        request.attempt,
        request.insists,
    )
    assert {} == request.body.data
    assert request.call is not Request().call


def test_a_request_takes_its_body_in_any_form() -> None:
    """Bytes, a mapping, or a body that another request has."""
    body = Body(b'{"n":1}')

    assert body is Request(body=body).body
    assert b'{"n": 1}' == Request(body=b'{"n": 1}').body.raw
    assert {"n": 1} == Request(body={"n": 1}).body.data
    assert frozenset({"eu"}) == Request(tags=["eu"]).tags


def test_a_repr_shows_no_prompt() -> None:
    """A request may be printed."""
    assert "secret" not in repr(Request(body=b'{"a":"secret"}'))
    assert "secret" not in repr(Request(body={"a": "secret"}, call=Call("secret")))
    assert "secret" not in repr(Response(b'{"a":"secret"}', headers={"set-cookie": "secret"}))


LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
odd: st.SearchStrategy[Any] = st.sampled_from([None, True, False, "7", 7.0, -1, [7], 0, 1, 7])


@given(st.dictionaries(st.sampled_from([*LIMITS, "n"]), odd))
@example({"max_tokens": 0, "max_output_tokens": 7})
@example({"max_completion_tokens": True, "max_tokens": 7, "max_output_tokens": 1})
@example({"max_output_tokens": 7, "max_tokens": 1, "max_completion_tokens": 0})
def test_the_most_tokens_are_the_first_limit_that_is_a_count(data: dict[str, Any]) -> None:
    """The newest name of it has the word; what is no count says nothing."""
    counts = [data[name] for name in LIMITS if name in data and type(data[name]) is int]
    expected = [count for count in counts if count >= 0]

    assert (expected[0] if expected else None) == Request(body=data).max_tokens


def test_a_reply_is_decoded_when_asked_for() -> None:
    """Once; and what is not JSON is a ValueError at each look."""
    reply = Response(b'{"n": [1]}')

    assert {"n": [1]} == reply.data
    assert reply.data is reply.data
    for _ in range(2):
        with pytest.raises(ValueError):
            _ = Response(b"<html>").data
    assert None is Response(b"null").data


def test_a_reply_is_plain_unless_it_says_otherwise() -> None:
    """Status 200, and nothing known of usage and price."""
    reply = Response()

    assert (b"", 200, {}, None, None, None) == (
        reply.body,
        reply.status,
        reply.headers,
        reply.usage,
        reply.price,
        reply.ended,
    )


@pytest.mark.parametrize(
    ("usage", "price", "cost"),
    [
        (Usage(1_000_000, 2_000_000), Price(3, 5), 13.0),
        (Usage(), Price(3, 5), 0.0),
        (Usage(1, 1), None, None),
        (None, Price(3, 5), None),
        (None, None, None),
    ],
)
def test_a_complete_reply_is_over_when_it_is_there(
    usage: Usage | None, price: Price | None, cost: float | None
) -> None:
    """All who ask hear so at once, with usage and cost; an unknown cost is not zero."""
    heard: list[Outcome] = []

    async def main() -> None:
        await asyncio.sleep(3)
        reply = Response(usage=usage, price=price)
        reply.on_end(heard.append)
        reply.on_end(heard.append)

    run_virtual(main())

    assert [(3.0, "ok", None, "nobody", 3.0, usage, cost)] * 2 == [
        (o.ended, o.how, o.error, o.blames, o.first, o.usage, o.cost) for o in heard
    ]


def at(service: Service[Request, Any], price: Price | None = None) -> Request:
    endpoint = Endpoint("eu", service, price=price)
    return Request().to(endpoint, Attempt("eu", 0.0))


def test_a_reply_that_is_given_again_ends_again() -> None:
    """An endpoint may answer many calls with one object: none ends before its call began."""
    canned, heard = Response(b"{}", usage=Usage(5)), list[Outcome]()

    async def leaf(_request: Request) -> Response:
        await asyncio.sleep(2)
        return canned

    async def group(request: Request) -> Reply:
        inner = Endpoint("inner", leaf)
        return await observe(dispatch, request.to(inner, Attempt("inner", 0.0)), heard.append)

    async def main() -> None:
        for _ in range(3):
            await observe(dispatch, at(group), heard.append)

    run_virtual(main())

    assert [(at, at) for at in (2.0, 2.0, 4.0, 4.0, 6.0, 6.0)] == [
        (o.first, o.ended) for o in heard
    ]
    assert [Usage(5)] * 6 == [o.usage for o in heard]


def test_dispatch_calls_the_endpoint_that_was_chosen() -> None:
    """With the very request; whatever comes back passes as it is."""
    request = at(echo, Price(1, 1))

    async def main() -> object:
        return await dispatch(request)

    assert request is asyncio.run(main())


def test_dispatch_counts_what_is_sent() -> None:
    """Each call of the endpoint, also one that fails; a request without a ledger is sent too."""

    async def broken(_request: Request) -> Response:
        raise ServerError

    async def main() -> None:
        request = at(broken)
        for _ in range(3):
            with pytest.raises(ServerError):
                await dispatch(request)
        bare = Request(endpoint=Endpoint("eu", echo))

        assert request.attempt is not None
        assert 3 == request.attempt.sends
        assert bare is await dispatch(bare)  # type: ignore[comparison-overlap]

    asyncio.run(main())


def test_dispatch_without_an_endpoint_says_what_is_missing() -> None:
    """It is a mistake in the stack, not a failure of anybody."""
    with pytest.raises(ConfigError, match="router"):
        asyncio.run(dispatch(Request()))


def replying(*, streamed: bool, price: Price | None = None) -> Service[Request, Reply]:
    """A leaf whose replies have used a million tokens, so that they cost what one costs."""

    async def service(_request: Request) -> Reply:
        usage = Usage(input=1_000_000)
        if streamed:
            source = ScriptedSource([], usage)
            return EventStream(source, price=price, held=[ScriptedEvent()])
        return Response(usage=usage, price=price)

    return service


async def read(reply: Reply) -> None:
    if isinstance(reply, EventStream):
        assert 1 == len([event async for event in reply])


@pytest.mark.parametrize("price", [None, Price(2, 0), Price(0, 0)], ids=["none", "two", "free"])
@pytest.mark.parametrize("streamed", [False, True])
def test_the_price_of_the_endpoint_goes_with_the_reply(
    price: Price | None, *, streamed: bool
) -> None:
    """So the end knows the cost; without one the cost is unknown, which is not zero."""
    ends: list[Outcome] = []

    async def main() -> None:
        await read(await observe(dispatch, at(replying(streamed=streamed), price), ends.append))

    asyncio.run(main())

    assert [price and price.input] == [outcome.cost for outcome in ends]


@pytest.mark.parametrize("streamed", [False, True])
def test_an_endpoint_without_a_price_leaves_the_one_that_came(*, streamed: bool) -> None:
    """A leaf may know what it charges."""
    ends: list[Outcome] = []

    async def main() -> None:
        leaf = replying(streamed=streamed, price=Price(3, 0))
        await read(await observe(dispatch, at(leaf), ends.append))

    asyncio.run(main())

    assert [3.0] == [outcome.cost for outcome in ends]


@pytest.mark.parametrize("streamed", [False, True])
def test_in_a_group_the_price_of_the_endpoint_that_was_asked_stands(*, streamed: bool) -> None:
    """For the endpoint and for the group, streamed or not: it is one and the same reply."""
    ends: list[Outcome] = []

    async def group(request: Request) -> Reply:
        inner = Endpoint("inner", replying(streamed=streamed), price=Price(1, 0))
        return await observe(dispatch, request.to(inner, Attempt("inner", 0.0)), ends.append)

    async def main() -> None:
        await read(await observe(dispatch, at(group, Price(2, 0)), ends.append))

    asyncio.run(main())

    assert [1.0, 1.0] == [outcome.cost for outcome in ends]
