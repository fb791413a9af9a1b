"""Translate: who is asked in which dialect, and what the caller gets of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Self

import pytest
import structlog
from attrs import define, field, frozen

import llmstack as ls
from llmstack.dialects.translator import JSON, Piece, Translated
from llmstack.errors import NoEndpoint, ProtocolError, StreamBroken, Untranslatable
from llmstack.layers.translate import TRANSLATORS, Translate
from llmstack.service import Service
from llmstack.testing.scripted import Line, ScriptedEvent, ScriptedService, ScriptedSource
from llmstack.testing.virtual import run_virtual


ASKED = {"model": "m", "words": "hello"}


@frozen
class Shout:
    """From the dialect "chat" to the dialect "shout": all in capitals; no secrets."""

    asks: str = "chat"
    speaks: str = "shout"

    def request(self, body: JSON, /) -> Translated:
        if "secret" in body:
            raise Untranslatable("secret: nobody can shout a secret")
        left = tuple(name for name in body if name.startswith("x"))
        return Translated({"words": body["words"].upper()}, left)

    def reply(self, body: JSON, /, asked: JSON, at: float) -> JSON:
        return {"said": body["said"].lower(), "to": asked["words"], "at": at}

    def stream(self, _asked: JSON, /, at: float) -> Whisper:
        return Whisper(at)


@define
class Whisper:
    at: float

    def take(self, _name: str, data: JSON, /) -> Sequence[Piece]:
        return [("", {"choices": [{"delta": {"content": data["said"].lower()}}]})]

    def end(self) -> Sequence[Piece]:
        return ()


@define(eq=False)
class Leaf:
    """A leaf that says what it speaks, and counts its users."""

    answers: ScriptedService[ls.Request, Any]
    speaks: frozenset[str] = frozenset({"shout"})
    users: int = field(default=0, init=False)

    async def __call__(self, request: ls.Request, /) -> object:
        return await self.answers(request)

    async def __aenter__(self) -> Self:
        self.users += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.users -= 1

    @property
    def asked(self) -> list[ls.Request]:
        return [request for _, request in self.answers.calls]


def leaf(*answers: object, speaks: str = "shout") -> Leaf:
    return Leaf(ScriptedService(answers), frozenset({speaks}))


def chunk(said: str) -> bytes:
    return b'{"choices":[{"delta":{"content":"%s"}}]}' % said.encode()


def heard(said: str) -> ls.Response:
    return ls.Response(
        b'{"said":"%s"}' % said.encode(), 201, {"x-request-id": "r1"}, ls.Usage(input=1)
    )


LAYER = Translate([Shout()])


def stack(*leaves: Service[Any, Any], by: str = "floor") -> ls.Stack[ls.Request, Any]:
    """A router over *leaves*, translated at the floor of the stack, or *by* each endpoint."""
    around = by == "endpoint"
    endpoints = [
        ls.Endpoint(f"e{n}", LAYER(each) if around else each, price=ls.Price(1, 1))
        for n, each in enumerate(leaves)
    ]
    router = ls.ServiceBuilder().layer(ls.Fallback(endpoints))
    return (router if around else router.layer(LAYER)).service(ls.dispatch)


WAYS = pytest.mark.parametrize("by", ["floor", "endpoint"])


@WAYS
def test_a_request_and_its_reply_are_translated(by: str) -> None:
    """The body alone: status, headers, usage and price stay as they were."""
    shouter = leaf(heard("HI"))
    request = ls.Request("m", ASKED, headers={"anthropic-beta": "b"})

    reply, _ = run_virtual(stack(shouter, by=by)(request))

    asked = shouter.asked[0]
    assert ("shout", {"words": "HELLO"}, {}) == (
        asked.operation,
        dict(asked.body.data),
        dict(asked.headers),
    )
    assert {"said": "hi", "to": "hello"} == {k: reply.data[k] for k in ("said", "to")}
    assert (201, {"x-request-id": "r1"}) == (reply.status, reply.headers)
    assert (ls.Usage(input=1), ls.Price(1, 1)) == (reply.usage, reply.price)
    assert reply.data["at"] > 0


@WAYS
def test_who_speaks_the_dialect_gets_the_very_request(by: str) -> None:
    """And the caller the very reply: no byte is touched."""
    reply = heard("hi")
    native = leaf(reply, speaks="chat")
    body = b'{ "model": "m" ,"words":"hello"}'

    assert reply is run_virtual(stack(native, by=by)(ls.Request("m", body)))[0]
    assert body == native.asked[0].body.raw


def test_who_does_not_say_is_asked_as_it_is() -> None:
    """Any callable may be an endpoint."""
    plain = ScriptedService[ls.Request, Any]([heard("hi")])

    run_virtual(stack(plain)(ls.Request("m", ASKED)))

    assert "chat" == plain.calls[0][1].operation
    assert frozenset() == LAYER(plain).speaks


def test_what_an_endpoint_speaks_may_be_told_for_it() -> None:
    """For a callable that does not say so, and for a server that has a part of a format."""
    told = Translate([Shout()], speaks=["shout"])
    plain = ScriptedService[ls.Request, Any]([heard("HI")])
    talker = leaf(heard("HI"), speaks="chat")

    run_virtual(told(plain)(ls.Request("m", ASKED)))
    run_virtual(told(talker)(ls.Request("m", ASKED)))

    assert ["shout", "shout"] == [plain.calls[0][1].operation, talker.asked[0].operation]
    assert {"chat", "shout"} == told(talker).speaks


def test_without_a_router_the_leaf_below_is_asked() -> None:
    """A stack may have one endpoint only, which is its floor."""
    shouter = leaf(heard("HI"))
    alone = ls.ServiceBuilder().layer(LAYER).service(shouter)

    reply: Any = run_virtual(alone(ls.Request("m", ASKED)))[0]

    assert "hi" == reply.data["said"]


@WAYS
def test_what_cannot_be_said_is_refused_and_asked_elsewhere(by: str) -> None:
    """Nothing was sent to the first, so the call has one attempt."""
    shouter, native = leaf(heard("HI")), leaf(heard("hi"), speaks="chat")
    request = ls.Request("m", {**ASKED, "secret": "psst"})

    run_virtual(stack(shouter, native, by=by)(request))

    assert ([], ["e1"]) == (shouter.asked, [each.endpoint for each in request.call.attempts])


@WAYS
def test_if_nobody_can_say_it_the_caller_is_told_what(by: str) -> None:
    """It is about the request, not about who takes traffic."""
    with pytest.raises(Untranslatable, match="secret: nobody can shout") as caught:
        run_virtual(stack(leaf(), leaf(), by=by)(ls.Request("m", {**ASKED, "secret": "psst"})))

    assert (False, True, True) == (
        caught.value.again,
        caught.value.elsewhere,
        caught.value.lasting,
    )


def test_if_somebody_could_but_does_not_now_the_caller_may_come_back() -> None:
    """One endpoint cannot say it, the other one has its permits out."""
    full = ScriptedService[ls.Request, Any]([ls.ConcurrencyFull("all 1 permits are out")])

    with pytest.raises(NoEndpoint, match=r"nobody can shout .*permits are out"):
        run_virtual(stack(leaf(), full)(ls.Request("m", {**ASKED, "secret": "psst"})))


def test_an_operation_without_a_translator_is_refused() -> None:
    """With what there is, in the order of the alphabet."""
    two = Leaf(ScriptedService([]), frozenset({"shout", "models"}))

    with pytest.raises(Untranslatable, match="the endpoint has no embeddings; it has: models, sh"):
        run_virtual(stack(two)(ls.Request("m", ASKED, "embeddings")))


def test_a_stream_is_translated() -> None:
    """With the usage and the price of the endpoint, and one end."""
    ends: list[ls.Outcome] = []

    async def main() -> list[bytes]:
        source = ScriptedSource([ScriptedEvent(b'{"said":"THERE"}')], ls.Usage(output=3))
        stream = ls.EventStream(source, 200, {"a": "b"}, held=[ScriptedEvent(b'{"said":"HI"}')])
        reply = await stack(leaf(stream))(ls.Request("m", ASKED, stream=True))
        reply.on_end(ends.append)
        async with reply:
            return [event.data async for event in reply]

    data, _ = run_virtual(main())

    assert [chunk("hi"), chunk("there"), b"[DONE]"] == data
    assert [("ok", ls.Usage(output=3), 3e-6)] == [(e.how, e.usage, e.cost) for e in ends]


def test_a_stream_that_breaks_before_content_is_tried_elsewhere() -> None:
    """The endpoint's stream is closed, whoever cancels meanwhile."""
    sources: list[ScriptedSource] = []

    async def main(line: Line) -> object:
        sources.append(ScriptedSource([line], terminal=False))
        stream = ls.EventStream(sources[-1])
        return await stack(leaf(stream), leaf(heard("HI")))(ls.Request("m", ASKED, stream=True))

    async def cancelled() -> None:
        async with asyncio.timeout(5):
            await main(60.0)

    failure = StreamBroken("cut")
    failure.__cause__ = ls.Overloaded("busy")
    reply: Any = run_virtual(main(failure))[0]
    with pytest.raises(TimeoutError):
        run_virtual(cancelled())

    assert "hi" == reply.data["said"]
    assert [1, 1] == [source.closed for source in sources]


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b"[" * 200_000])
def test_a_reply_that_is_no_object_is_no_reply(body: bytes) -> None:
    """Whatever the leaf let pass."""
    with pytest.raises(ProtocolError, match="not a JSON object"):
        run_virtual(stack(leaf(ls.Response(body)))(ls.Request("m", ASKED)))


def test_what_is_left_out_is_logged_by_name() -> None:
    """At most sixteen names that look like names, no value; nothing if nothing is left out."""
    many = {"x my secret": "psst", **{f"x{n}": "psst" for n in range(20)}}
    request = ls.Request("m", {**ASKED, **many}, call=ls.Call("req_1"))

    with structlog.testing.capture_logs() as lines:
        run_virtual(stack(leaf(heard("HI")))(ls.Request("m", ASKED)))
        run_virtual(stack(leaf(heard("HI")))(request))
        run_virtual(LAYER(leaf(heard("HI")))(request))

    line = {
        "event": "translate.dropped",
        "log_level": "info",
        "request_id": "req_1",
        "dialect": "shout",
        "fields": ["?", *(f"x{n}" for n in range(15))],
    }
    assert [{**line, "endpoint": "e0"}, {**line, "endpoint": None}] == lines


def test_a_translated_leaf_starts_and_stops_with_its_stack() -> None:
    """And says what it can be asked for; a leaf that needs no start is left alone."""
    shouter = leaf()
    translated, plain = LAYER(shouter), LAYER(ScriptedService[ls.Request, Any]([]))

    async def main() -> list[int]:
        seen = [shouter.users]
        async with stack(translated), plain:
            seen.append(shouter.users)
        return [*seen, shouter.users]

    assert [0, 1, 0] == run_virtual(main())[0]
    assert {"chat", "shout"} == translated.speaks


def test_to_speak_nothing_is_no_setting() -> None:
    """It would be asked nothing, or everything: nobody could tell."""
    with pytest.raises(ValueError, match="speaks"):
        Translate(speaks=[])


def test_the_order_is_checked() -> None:
    """Below the router and below the retry: another endpoint may speak another dialect."""
    endpoints = [ls.Endpoint("a", leaf())]

    with pytest.raises(ls.ConfigError, match="which dialect is spoken depends on the endpoint"):
        ls.ServiceBuilder().layer(LAYER).layer(ls.RoundRobin(endpoints)).service(ls.dispatch)


def test_every_caller_can_be_answered_by_chat_and_by_messages() -> None:
    """Those of llmstack: the nearest first."""
    pairs = [(each.asks, each.speaks) for each in TRANSLATORS]

    assert [
        ("chat", "messages"),
        ("messages", "chat"),
        ("responses", "chat"),
        ("responses", "messages"),
    ] == pairs
    assert TRANSLATORS == Translate().translators
