"""Answers that are not good enough, streams, and an entry that is no model at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from llmstack.builder import ServiceBuilder
from llmstack.call import Usage
from llmstack.endpoint import Endpoint, Price
from llmstack.errors import (
    BadRequest,
    ConcurrencyFull,
    LLMStackError,
    Overloaded,
    ServerError,
    Shed,
    StreamBroken,
)
from llmstack.estimators.trip import ConsecutiveFailures
from llmstack.layers.circuit_breaker import CircuitBreaker
from llmstack.layers.retry import Retry
from llmstack.messages import Request, Response, dispatch
from llmstack.routers.fallback import Fallback
from llmstack.stream import EventStream
from llmstack.testing.scripted import ScriptedEvent, ScriptedService, stream_of
from llmstack.testing.virtual import run_virtual
from tests.routers.stage import outcome_of


Says = Response | EventStream | LLMStackError
Services = Sequence[ScriptedService[Request, Any]]


def good(reply: Response) -> bool:
    return reply.body.startswith(b"good")


def reply(text: str, tokens: int = 1) -> Response:
    return Response(text.encode(), usage=Usage(output=tokens * 1_000_000))


def entries(*scripts: Sequence[Says]) -> tuple[list[Endpoint], Services]:
    """Endpoints a, b, c … that act as told, at a dollar for a million tokens."""
    services = [ScriptedService[Request, Any](script) for script in scripts]
    named = zip("abcde", services, strict=False)
    return [Endpoint(name, service, price=Price(0, 1)) for name, service in named], services


def asked(services: Services) -> list[int]:
    return [len(service.calls) for service in services]


def walked(layer: Fallback, request: Request | None = None) -> Any:  # noqa: ANN401 -- an outcome
    return run_virtual(outcome_of(layer(dispatch), request or Request()))[0]


def test_a_better_answer_is_asked_for() -> None:
    """The first good one is the reply; all are charged, and who gave the others is told."""
    there, services = entries([reply("bad", 2)], [reply("bad", 3)], [reply("good")], [])
    request = Request()
    with capture_logs() as logs:
        outcome = walked(Fallback(there, accepts=good), request)

    assert b"good" == outcome.body
    assert [1, 1, 1, 0] == asked(services)
    assert [("a", "ok", 2.0), ("b", "ok", 3.0), ("c", "ok", 1.0)] == [
        (attempt.endpoint, attempt.how, attempt.cost) for attempt in request.call.attempts
    ]
    assert [("fallback.unaccepted", "warning", "a"), ("fallback.unaccepted", "warning", "b")] == [
        (entry["event"], entry["log_level"], entry["endpoint"]) for entry in logs
    ]


@pytest.mark.parametrize("after", [BadRequest(), ServerError(), ConcurrencyFull(), Shed()])
def test_the_last_answer_stands_if_no_entry_is_better(after: LLMStackError) -> None:
    """A failure is no better, whoever is to blame, and a refusal is not either."""
    there, services = entries([reply("one")], [reply("two")], [after])

    assert b"two" == walked(Fallback(there, accepts=good)).body
    assert [1, 1, 1] == asked(services)


def test_answers_count_as_attempts() -> None:
    """At most so many fallbacks are asked, be it after failures or after answers."""
    there, services = entries([ServerError()], [reply("bad")], [reply("worse")], [reply("good")])

    assert b"worse" == walked(Fallback(there, accepts=good, max_attempts=2)).body
    assert [1, 1, 1, 0] == asked(services)


def test_a_list_can_be_for_answers_alone() -> None:
    """Then no failure is a trigger."""
    there, services = entries([reply("bad")], [ServerError()], [])
    layer = Fallback(there, accepts=good, triggers=[])

    assert b"bad" == walked(layer).body
    assert [1, 1, 0] == asked(services)


def test_an_entry_for_failures_is_not_for_answers() -> None:
    """Its triggers would have to say so; those of the whole list need not."""
    there, services = entries([reply("bad")], [], [reply("good")])
    layer = Fallback(
        there, accepts=good, triggers=["server"], after={"b": ["server"], "c": ["unaccepted"]}
    )

    assert b"good" == walked(layer).body
    assert [1, 0, 1] == asked(services)

    there, services = entries([reply("bad")], [reply("good")])
    assert b"good" == walked(Fallback(there, accepts=good, triggers=["server"])).body


def test_an_answer_is_a_success_of_its_endpoint() -> None:
    """It is there and says something: no breaker learns from what the caller would rather have."""
    there, services = entries([reply("bad") for _ in range(3)], [reply("good") for _ in range(3)])
    stack = (
        ServiceBuilder()
        .layer(Fallback(there, accepts=good))
        .layer(CircuitBreaker(ConsecutiveFailures(1)))
        .service(dispatch)
    )

    async def main() -> list[object]:
        return [getattr(await stack(Request()), "body", None) for _ in range(3)]

    assert [b"good"] * 3 == run_virtual(main())[0]
    assert [3, 3] == asked(services)


def test_an_answer_that_stands_is_no_failure_for_a_retry() -> None:
    """And the same request may be used again: it begins anew."""
    there, services = entries([reply("bad"), reply("bad")], [ServerError(), reply("good")])
    service = Retry()(Fallback(there, accepts=good)(dispatch))

    async def main() -> list[bytes]:
        request: Any = Request()
        return [(await service(request)).body, (await service(request)).body]

    replies, elapsed = run_virtual(main())

    assert [[b"bad", b"good"], 0.0] == [replies, elapsed]
    assert [2, 2] == asked(services)


def test_a_bug_in_the_question_is_a_bug() -> None:
    """It leaves as it is, and nobody else is asked."""
    there, services = entries([Response(b"no JSON")], [])
    layer = Fallback(there, accepts=lambda reply: bool(reply.data["choices"]))

    with pytest.raises(json.JSONDecodeError):
        run_virtual(layer(dispatch)(Request()))
    assert [1, 0] == asked(services)


def test_a_stream_is_not_asked_what_it_will_say() -> None:
    """It has content and is the caller's: the question is for whole replies."""
    streams: list[EventStream] = []

    async def streams_on(_request: Request) -> EventStream:
        streams.append(stream_of([ScriptedEvent(b"bad")]))
        return streams[-1]

    there, services = entries([ServerError()], [reply("good")])
    there.insert(1, Endpoint("stream", streams_on))
    layer = Fallback(there, accepts=good)

    async def main() -> bool:
        async with await layer(dispatch)(Request(stream=True)) as got:
            return got is streams[0]

    assert run_virtual(main())[0]
    assert [1, 0] == asked(services)


def test_streams_fall_back_as_whole_replies_do() -> None:
    """Until the first content: as often as allowed, with the cause; and after it never."""
    for most, expected in ((1, "Overloaded"), (2, "EventStream")):
        there, _ = entries([ServerError()], [Overloaded()], [])

        async def breaks(_request: Request) -> EventStream:
            return stream_of([StreamBroken("cut")])

        there[2] = Endpoint("c", breaks)
        request = Request(stream=True)
        layer = Fallback(there, max_attempts=most, accepts=good)

        async def main(layer: Fallback = layer, request: Request = request) -> str:
            got = await outcome_of(layer(dispatch), request)
            if isinstance(got, EventStream):
                with pytest.raises(StreamBroken):
                    assert [b"{}"] == [event.data async for event in got]
            return type(got).__name__

        assert expected == run_virtual(main())[0]
        assert ["a", "b", "c"][: most + 1] == [a.endpoint for a in request.call.attempts]


def test_the_last_entry_may_be_any_service() -> None:
    """A constant, or an old answer: it costs nothing, and the ledger says whose it is."""
    old: dict[str, bytes] = {}

    async def stale(request: Request) -> Response:
        if request.model not in old:
            raise ConcurrencyFull("nothing is kept for this model")
        return Response(old[request.model])

    async def sorry(_request: Request) -> Response:
        return Response(b"Please come back later.")

    there, _ = entries([ServerError() for _ in range(2)])
    layer = Fallback([*there, Endpoint("stale", stale), Endpoint("sorry", sorry)])
    first, second = Request("m"), Request("m")

    assert b"Please come back later." == walked(layer, first).body
    old["m"] = b"Yesterday's."
    assert b"Yesterday's." == walked(layer, second).body
    answered = [[a for a in each.call.attempts if a.how == "ok"][-1] for each in (first, second)]
    assert [("sorry", None), ("stale", None)] == [(a.endpoint, a.cost) for a in answered]


def test_a_caller_who_leaves_takes_no_answer() -> None:
    """An answer that was passed over is not given to who is gone."""
    there, _ = entries([reply("bad")])
    waits: Final = ScriptedService[Request, Any]([reply("good")], delay=5.0)
    router = Fallback([*there, Endpoint("b", waits)], accepts=good)(dispatch)
    request = Request()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await router(request)

    run_virtual(main())

    assert [("a", "ok"), ("b", "cancelled")] == [(a.endpoint, a.how) for a in request.call.attempts]
