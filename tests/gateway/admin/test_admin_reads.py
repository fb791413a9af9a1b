"""What the admin API shows: how things stand and why, routes, statistics, plans."""

from __future__ import annotations

import json
from enum import Enum
from math import inf, nan
from types import MappingProxyType
from typing import Any, Final

import pytest
from attrs import define, field
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.gateway.admin.plain import plain
from llmstack.providers.secret import Secret
from llmstack.standing import Standing
from tests.gateway.admin.stage import administered, answers, endpoint, guarded, read, send, two
from tests.gateway.stage import HELLO, Answer, Chat, over, run


async def shown(stacks: Chat | dict[str, Chat], path: str) -> Any:  # noqa: ANN401 -- JSON
    """What the admin API shows at *path* of a gateway to which nothing has happened."""
    async with administered(stacks) as both:
        return await both.reads(path)


UP: Final = {"state": "up", "reason": "", "gate": "", "ready_in": None, "soft": False}


def test_ready_tells_how_each_endpoint_stands_and_why() -> None:
    """A breaker that is open, a key that is aside, one that is off; the best is the route's."""
    stack = guarded(
        endpoint("eu"), endpoint("us", key="k2"), endpoint("ap"), endpoint("group", two())
    )

    async def main() -> tuple[Any, Any, Any]:
        async with administered(stack) as both:
            before = await both.reads("/readyz")
            await both.changes("breaker", endpoint="eu", do="open")
            where = {"scope": "key", "name": "k2"}
            await both.changes("cooldown", do="put_aside", seconds=20, **where)
            await both.changes("endpoint", endpoint="ap", do="disable")
            some = await both.reads("/readyz")
            where = {"scope": "account", "name": "ours"}
            await both.changes("cooldown", do="put_aside", group="group", seconds=9, **where)
            return before, some, await both.reads("/readyz")

    before, some, none = run(main())

    names = ("eu", "us", "ap", "group")
    chat = {**UP, "endpoints": dict.fromkeys(names, UP)}
    assert {"status": "ok", "routes": {"chat": chat}} == before
    route = some["routes"]["chat"]
    assert UP == {name: route[name] for name in UP}
    facts = [tuple(route["endpoints"][name].values()) for name in names]
    waits = [each[3] for each in facts]
    aside = "key k2 is put aside for 20 s more: by hand"
    assert [
        ("down", "open: by hand", "circuit_breaker", waits[0], False),
        ("down", aside, "cooldown", waits[1], False),
        ("disabled", "switched off", "", None, False),
        tuple(UP.values()),
    ] == facts
    assert 2 <= waits[0] <= 5
    assert 20 == pytest.approx(waits[1], abs=0.1)
    route = none["routes"]["chat"]
    assert ("ok", "down") == (none["status"], route["state"])
    assert "eu is down (circuit_breaker: open: by hand); us is down (cooldown: " in route["reason"]
    assert "group is down (eu is down (cooldown: account ours is put aside" in route["reason"]


def test_ready_counts_what_stands_above_the_router() -> None:
    """What refuses all that is asked of the route is the route's, with a router and without."""
    breaker = ls.CircuitBreaker(key=lambda request: request.model)
    robin = ls.RoundRobin([endpoint("eu")])
    routed = ls.ServiceBuilder().layer(ls.Retry()).layer(breaker).layer(robin).service(ls.dispatch)
    alone = ls.ServiceBuilder().layer(breaker).service(answers)
    rest = ls.ServiceBuilder().layer(breaker).service(answers)
    named = ls.RoundRobin([endpoint("eu", models="gpt")])
    below = ls.ServiceBuilder().layer(named).layer(breaker).service(ls.dispatch)
    stacks: dict[str, Chat] = {"routed": routed, "alone": alone, "*": rest, "below": below}

    async def main() -> Any:  # noqa: ANN401 -- JSON
        async with administered(stacks) as both:
            routed["circuit_breaker"].open("routed")
            alone["circuit_breaker"].open("another")
            rest["circuit_breaker"].open("")
            below["circuit_breaker"].open("below")
            return (await both.reads("/readyz"))["routes"]

    found = run(main())

    assert [("down", {"eu": UP}), ("up", {}), ("down", {}), ("up", {"eu": UP})] == [
        (found[name]["state"], found[name]["endpoints"]) for name in stacks
    ]
    assert "circuit_breaker" == found["routed"]["gate"]


def test_a_route_is_described_and_bounded() -> None:
    """As the stack describes itself; what has no bound is null."""
    limited = (
        ls.ServiceBuilder()
        .layer(ls.Deadline(30))
        .layer(ls.Retry(attempts=2))
        .layer(ls.RoundRobin([endpoint("eu")]))
        .service(ls.dispatch)
    )

    found = run(shown({"a/b": limited, "*": over(answers)}, "/routes"))

    described = [
        {"name": name, "describe": stack.describe().splitlines(), "bound": bound}
        for name, stack, bound in (
            ("a/b", limited, {"calls": 2, "seconds": 30, "cost": None}),
            ("*", over(answers), {"calls": 1, "seconds": None, "cost": None}),
        )
    ]
    assert {"routes": described} == found


def test_statistics_are_those_of_each_layer() -> None:
    """By role and by key; times are seconds from now."""
    stack = (
        ls.ServiceBuilder()
        .layer(ls.CircuitBreaker(key=lambda request: request.model))
        .layer(ls.LatencyBased([endpoint("eu"), endpoint("us")]))
        .layer(ls.CircuitBreaker())
        .layer(ls.ConcurrencyLimit(9, key=lambda _: None))
        .service(ls.dispatch)
    )

    async def main() -> Any:  # noqa: ANN401 -- JSON
        async with administered(stack) as both:
            await both.who()
            await both.changes("breaker", endpoint="us", do="open")
            return await both.reads("/routes/chat")

    found = run(main())

    statistics = found["statistics"]
    assert stack.describe().splitlines() == found["describe"]
    roles = ["circuit_breaker", "router", "circuit_breaker 2", "concurrency_limit"]
    assert ["endpoints", *roles] == list(statistics)
    assert {"eu": "up", "us": "down"} == {
        name: each["state"] for name, each in statistics["endpoints"].items()
    }
    assert [("chat", "closed", 1, None)] == told(statistics["circuit_breaker"])
    assert [("eu", "closed", 1, None), ("us", "open", 0, pytest.approx(4, abs=1.5))] == told(
        statistics["circuit_breaker 2"]
    )
    assert [("", 9, 0)] == [
        (key, limit["limit"], limit["in_flight"])
        for key, limit in statistics["concurrency_limit"].items()
    ]
    assert [1] == [each["samples"] for each in statistics["router"].values()]


def told(circuits: dict[str, Any]) -> list[tuple[str, str, int, float | None]]:
    """Of each circuit its key and some of its facts."""
    return [
        (key, each["state"], each["recent"], each["ready_in"]) for key, each in circuits.items()
    ]


def test_a_plan_is_what_the_next_call_will_do() -> None:
    """For the route's own name, a model, or a whole request; and asking changes nothing."""
    small = ls.Capabilities(vision=False)
    stack = (
        ls.ServiceBuilder()
        .layer(
            ls.RoundRobin(
                [
                    endpoint("eu", models={"chat": "gpt"}),
                    endpoint("us", weight=2, capabilities=small),
                ]
            )
        )
        .layer(ls.CircuitBreaker())
        .service(ls.dispatch)
    )
    image = {"type": "image_url", "image_url": {"url": "https://x.test/y"}}
    seeing = {"model": "chat", "messages": [{"role": "user", "content": [image]}]}
    message = {"model": "chat", "max_tokens": 9, "messages": HELLO}

    async def main() -> tuple[list[Any], list[str], list[str]]:
        plan = "/routes/chat/plan"
        async with administered(stack) as both:
            found = [
                await both.reads(path) for path in (plan, f"{plan}?model=o", f"{plan}?model=*")
            ]
            asked = [send(plan, seeing), send(f"{plan}?operation=messages", message)]
            found += [json.loads((await both.asks(each)).body) for each in asked]
            order, served = [], []
            for _ in range(3):
                order.append((await both.reads(plan))["order"][0])
                served.append(await both.who())
            await both.changes("breaker", endpoint="us", do="open")
            found.append(await both.reads(plan))
            return found, order, served

    found, order, served = run(main())

    assert ["us", "eu", "us"] == order == served
    assert [["us", "eu"], ["us"], ["us"], ["eu"], ["us", "eu"], ["eu"]] == [
        each["order"] for each in found
    ]
    us, eu = found[0]["candidates"]
    assert {
        "endpoint": "us",
        "model": "chat",
        "verdict": "asked first",
        "terms": {
            "reason": "weight 2",
            "score": -2,
            "terms": {"credit": 0, "weight": 2},
            "latency": None,
            "cost": None,
            "draw": None,
        },
        "standing": UP,
    } == us
    assert ("eu", "gpt", "asked if 1 refuse") == (eu["endpoint"], eu["model"], eu["verdict"])
    assert ("eu", "left out") == tuple(
        found[1]["candidates"][1][f] for f in ("endpoint", "verdict")
    )
    assert "*" == found[2]["candidates"][0]["model"]
    assert "down" == found[-1]["candidates"][1]["standing"]["state"]


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        (read("/routes/chat/plan?modle=x"), 400, "the query has 'modle'; it can have: model"),
        (read("/routes/chat/plan?model=x&model=y"), 400, "model is in the query twice"),
        (read("/routes/none/plan"), 409, "the route 'none' has no router; its layers are: none"),
        (
            send("/routes/chat/plan?operation=x", {}),
            400,
            "no operation is 'x'; there are: chat, embeddings, messages, count_tokens, responses",
        ),
        (send("/routes/chat/plan", {"messages": []}), 400, "model must be a string"),
        (send("/routes/chat/plan", b"x"), 400, "the body is not JSON: line 1, column 1: "),
        (read("/routes/chta"), 404, "no route is named 'chta'; there are: chat, none"),
    ],
)
def test_what_cannot_be_shown_is_told(sent: bytes, status: int, message: str) -> None:
    """What it is, and what there is instead."""

    async def main() -> Answer:
        async with administered({"chat": two(), "none": over(answers)}) as both:
            return await both.asks(sent)

    answer = run(main())

    assert status == answer.status
    assert message in answer.error["message"]


def test_health_and_metrics_are_there_as_well() -> None:
    """The same as on the gateway's own listener, where no details are."""
    off = ls.EndpointSet([endpoint("eu")])
    stack = ls.ServiceBuilder().layer(ls.RoundRobin(off)).service(ls.dispatch)

    async def main() -> tuple[list[bytes], tuple[int, Any], int]:
        async with administered(stack, metrics=lambda: b"# HELP") as both:
            found = [(await both.asks(read(path))).body for path in ("/livez", "/metrics")]
            off.disable("eu")
            answer = await both.asks(read("/readyz"))
        async with administered(stack) as both:
            return (
                found,
                (answer.status, json.loads(answer.body)),
                (await both.asks(read("/metrics"))).status,
            )

    (alive, metrics), (status, ready), without = run(main())

    assert b'{"status": "ok"}' == alive
    assert b"# HELP" == metrics
    assert (503, "no route has an enabled endpoint") == (status, ready["status"])
    assert "disabled" == ready["routes"]["chat"]["state"]
    assert 404 == without


class Odd(Enum):
    """Of a class that nobody foresaw."""

    ONE = "secret"


@define
class Facts:
    """Some of it is nobody's business."""

    name: str
    until: float
    closed: str = field(default="secret", repr=False)
    _inner: str = "secret"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((each, each) for each in (None, True, 3, 0.5, "text")),
        *((each, None) for each in (inf, -inf, nan)),
        ({"a": 1, None: 2, ("b", 1): 3, 4: 5}, {"a": 1, "": 2, "('b', 1)": 3, "4": 5}),
        (MappingProxyType({"a": (1, [2.0, inf])}), {"a": [1, [2.0, None]]}),
        ({"b", "a"}, ["a", "b"]),
        (frozenset({3, 1}), [1, 3]),
        (Facts("x", until=12.34567), {"name": "x", "ends_in": 2.346}),
        (Facts("x", until=9), {"name": "x", "ends_in": 0}),
        (Facts("x", until=inf), {"name": "x", "ends_in": None}),
        (Standing(ready_at=11.0), {**UP, "ready_in": 1.0}),
        (ls.CircuitBreaker().probes, {"at_once": 1, "successes": 1, "failures": 1}),
        ([Odd.ONE, Secret("secret"), b"secret", object], ["Odd", "Secret", "bytes", "type"]),
        ({Secret("secret"): 1}, {"***": 1}),
    ],
)
def test_whatever_layers_say_is_told_as_json(value: object, expected: object) -> None:
    """At the time 10; what is of an unknown class is named by it, for it may hold a secret."""
    found = plain(value, 10.0)

    assert expected == found
    assert "secret" not in json.dumps(found, allow_nan=False)


@define(eq=False)
class Broken:
    """A part of a stack that breaks whoever asks it for its statistics."""

    def statistics(self) -> object:
        raise ZeroDivisionError("secret")

    __call__ = staticmethod(answers)


def test_a_bug_is_told_as_one_and_logged() -> None:
    """As on the gateway's own listener."""

    def broken(_inner: object) -> Broken:
        return Broken()

    stack = ls.ServiceBuilder().layer(broken).service(answers)

    async def main() -> Answer:
        async with administered(stack) as both:
            return await both.asks(read("/routes/chat"))

    with capture_logs() as logs:
        answer = run(main())

    assert (500, "internal_error") == (answer.status, answer.error["code"])
    assert [("gateway.failed", "ZeroDivisionError")] == [(e["event"], e["error"]) for e in logs]
    assert "secret" not in f"{logs}{answer}"
