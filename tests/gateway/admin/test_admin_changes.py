"""Each change over the admin API is in force for the next call, told, and logged once."""

from __future__ import annotations

from typing import Any, Final

import pytest
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.providers.key import Key, with_keys
from tests.gateway.admin.stage import Both, administered, answers, endpoint, guarded, send, two
from tests.gateway.stage import run


Step = tuple[str, dict[str, Any], str, str]

EU: Final = {"endpoint": "eu"}
KEYED: Final = {"scope": "key_model", "name": "k1", "model": "gpt"}
CIRCUIT: Final[list[Step]] = [
    ("breaker", {**EU, "do": "open"}, "us", "down"),
    ("breaker", {**EU, "do": "half_open"}, "eu", "degraded"),
    ("breaker", {**EU, "do": "open"}, "us", "down"),
    ("breaker", {**EU, "do": "close"}, "eu", "up"),
    ("breaker", {**EU, "do": "open"}, "us", "down"),
    ("breaker", {**EU, "do": "reset"}, "eu", "up"),
    ("breaker", {**EU, "do": "open"}, "us", "down"),
    ("breaker", {**EU, "do": "disable"}, "eu", "up"),
    ("breaker", {**EU, "do": "enable"}, "eu", "up"),
    ("breaker", {"endpoint": "us", "do": "open"}, "eu", "down"),
]
SET: Final[list[Step]] = [
    ("endpoint", {**EU, "do": "disable"}, "us", "disabled"),
    ("endpoint", {**EU, "do": "enable"}, "eu", "up"),
    ("endpoint", {**EU, "do": "reweight", "weight": 0}, "us", "disabled"),
    ("endpoint", {**EU, "do": "reweight", "weight": 2.5, "group": None}, "eu", "up"),
]
CLEAR: Final[Step] = ("cooldown", {"do": "clear"}, "eu", "all")
COOLING: Final[list[Step]] = [
    ("cooldown", {"do": "put_aside", "seconds": 60, **where}, who, of)
    for where, who, of in (
        ({"scope": "endpoint", "name": "eu"}, "us", "endpoint eu"),
        ({"scope": "key", "name": "k1"}, "us", "key k1"),
        (KEYED, "us", "key k1 for gpt"),
        ({"scope": "account", "name": "ours"}, "no_endpoint", "account ours"),
    )
]


async def done(steps: list[Step]) -> list[tuple[dict[str, Any], str]]:
    """What is answered to each step, and who serves after it."""
    async with administered(two()) as both:
        assert "eu" == await both.who()
        return [
            (await both.changes(what, **fields), await both.who()) for what, fields, *_ in steps
        ]


@pytest.mark.parametrize("steps", [CIRCUIT, SET], ids=["breaker", "endpoint"])
def test_a_change_of_an_endpoint_is_in_force_at_once(steps: list[Step]) -> None:
    """Callers are served by whom it leaves; the answer says how the endpoint stands then."""
    with capture_logs() as logs:
        found = run(done(steps))

    told = [
        {
            "route": "chat",
            "did": f"{what} {fields['do']}",
            "endpoint": fields["endpoint"],
            "state": state,
        }
        for what, fields, _, state in steps
    ]
    changed = [log for log in logs if log["event"] == "admin.changed"]
    assert [who for *_, who, _ in steps] == [who for _, who in found]
    assert told == [
        {
            **{name: said[name] for name in ("route", "did", "endpoint")},
            "state": said["standing"]["state"],
        }
        for said, _ in found
    ]
    assert [(each["did"], each["endpoint"], "chat", "info") for each in told] == [
        (log["what"], log["endpoint"], log["route"], log["log_level"]) for log in changed
    ]


def test_the_answer_has_the_weight_and_why_it_stands_so() -> None:
    """Seconds from now, never a point in time."""

    async def main() -> tuple[Any, Any]:
        async with administered(two()) as both:
            weighed = await both.changes("endpoint", **EU, do="reweight", weight=2)
            return weighed["weight"], (await both.changes("breaker", **EU, do="open"))["standing"]

    weight, standing = run(main())

    assert 2 == weight
    assert ("down", "open: by hand", "circuit_breaker") == tuple(
        standing[name] for name in ("state", "reason", "gate")
    )
    assert 2.4 <= standing["ready_in"] <= 5


@pytest.mark.parametrize("clearing", [False, True], ids=["all", "one"])
@pytest.mark.parametrize("step", COOLING, ids=lambda step: step[-1])
def test_what_is_put_aside_is_not_asked_until_it_is_cleared(step: Step, *, clearing: bool) -> None:
    """An endpoint, a key, a key for one model, an account with all that it pays."""
    what, fields, who, of = step
    where: dict[str, object] = {
        name: fields[name] for name in ("scope", "name", "model") if name in fields
    }

    with capture_logs() as logs:
        clear = {**where, "do": "clear"} if clearing else CLEAR[1]
        (put, then), (cleared, after) = run(done([step, (what, clear, "eu", of)]))

    aside = put["cooldown"][of]
    assert (who, "eu") == (then, after)
    assert ("cooldown put_aside", of, "by hand") == (put["did"], put["scope"], aside["reason"])
    assert 60 == pytest.approx(aside["ends_in"], abs=0.1)
    assert ("cooldown clear", of if clearing else "all", {}) == (
        cleared["did"],
        cleared["scope"],
        cleared["cooldown"],
    )
    assert [
        ("cooldown put_aside", of, "chat"),
        ("cooldown clear", of if clearing else "all", "chat"),
    ] == [(log["what"], log["scope"], log["route"]) for log in logs if "what" in log]


def test_one_fact_is_cleared_and_the_others_stay() -> None:
    """Only without a scope all are."""

    async def main() -> Any:  # noqa: ANN401 -- JSON
        async with administered(two()) as both:
            for name in ("k1", "k2"):
                await both.changes("cooldown", do="put_aside", seconds=9, scope="key", name=name)
            return await both.changes("cooldown", do="clear", scope="key", name="k2")

    assert ["key k1"] == list(run(main())["cooldown"])


def test_each_word_for_a_breaker_is_the_one_that_the_breaker_has() -> None:
    """Closed it ramps up, reset it does not; disabled it lets all through, and says so."""
    stack = (
        ls.ServiceBuilder()
        .layer(ls.Fallback([endpoint("eu")]))
        .layer(ls.CircuitBreaker())
        .service(ls.dispatch)
    )

    async def main() -> list[tuple[str, str]]:
        found = []
        async with administered(stack) as both:
            for do in ("open", "close", "reset", "open", "half_open", "disable", "enable"):
                standing = (await both.changes("breaker", **EU, do=do))["standing"]
                found.append((standing["state"], standing["reason"].partition(":")[0]))
        return found

    found = run(main())

    assert [("down", "open"), ("degraded", found[1][1]), ("up", ""), ("down", "open")] == found[:4]
    assert [("degraded", "half-open"), ("up", "disabled"), ("up", "")] == found[4:]


def test_a_fact_about_what_has_gone_can_be_cleared() -> None:
    """Though nobody has that key any more."""
    endpoints = ls.EndpointSet([endpoint("eu", key="k1"), endpoint("us")])
    stack = (
        ls.ServiceBuilder().layer(ls.Fallback(endpoints)).layer(ls.Cooldown()).service(ls.dispatch)
    )

    async def main() -> Any:  # noqa: ANN401 -- JSON
        async with administered(stack) as both:
            await both.changes("cooldown", do="put_aside", scope="key", name="k1", seconds=9)
            endpoints.remove("eu")
            return await both.changes("cooldown", do="clear", scope="key", name="k1")

    assert {} == run(main())["cooldown"]


def test_a_group_is_reached_through_the_names_that_lead_to_it() -> None:
    """One name, or several in a row; a route of its own is the same stack."""
    inner = guarded(endpoint("a"), endpoint("b"))
    middle = guarded(endpoint("inner", inner))
    outer = guarded(endpoint("middle", middle), endpoint("us"))

    async def main(both: Both) -> list[tuple[str, str]]:
        found = []
        for route, group in (("outer", ["middle", "inner"]), ("middle", "inner"), ("inner", [])):
            change = {"group": group, "endpoint": "a"}
            await both.changes("breaker", route, **change, do="open")
            there = await both.who("outer")
            await both.changes("breaker", route, **change, do="reset")
            found.append((there, await both.who("outer")))
        return found

    async def all_of_it() -> list[tuple[str, str]]:
        async with administered({"outer": outer, "middle": middle, "inner": inner}) as both:
            return await main(both)

    assert [("b", "a")] * 3 == run(all_of_it())


def test_keys_of_an_endpoint_are_a_group() -> None:
    """Each can be switched off; and its trouble is known where its label is."""
    keys = [Key("one", lambda: "sk-1", label="env:ONE"), Key("two", lambda: "sk-2")]
    keyed = with_keys(endpoint("eu"), keys, under=lambda _: answers)

    async def main() -> list[str]:
        async with administered(guarded(keyed, endpoint("us"))) as both:
            one = {"group": "eu", "endpoint": "eu/one"}
            found = [await both.who()]
            await both.changes("endpoint", **one, do="disable")
            found += [await both.who(), await both.who()]
            await both.changes("endpoint", **one, do="enable")
            where = {"scope": "key", "name": "env:ONE"}
            await both.changes("cooldown", group="eu", do="put_aside", seconds=9, **where)
            found += [await both.who(), await both.who()]
            await both.changes("cooldown", do="clear", **where | {"group": "eu"})
            # The outer cooldown may be told as well: it has facts of its own.
            await both.changes("cooldown", do="put_aside", seconds=9, **where)
            return found

    assert ["eu/one", "eu/two", "eu/two", "eu/two", "eu/two"] == run(main())


def test_what_a_stack_does_not_have_is_told_with_what_it_has() -> None:
    """A 409: there is nothing wrong with the request but its route."""
    robin = ls.RoundRobin([endpoint("eu")])
    bare = ls.ServiceBuilder().layer(ls.Retry()).layer(robin).service(ls.dispatch)
    other = (
        ls.ServiceBuilder()
        .layer(ls.CircuitBreaker())
        .layer(robin)
        .layer(ls.CircuitBreaker(key=lambda request: request.model))
        .layer(ls.Cooldown(key=lambda request: request.model))
        .service(ls.dispatch)
    )
    none = ls.ServiceBuilder().service(answers)
    change = {"do": "open", "endpoint": "eu"}
    aside = {"do": "clear", "scope": "endpoint", "name": "eu"}

    async def main() -> list[tuple[int, str, str]]:
        async with administered({"bare": bare, "other": other, "none": none}) as both:
            asked = [("bare/breaker", change), ("other/breaker", change), ("none/breaker", change)]
            asked += [("bare/cooldown", aside), ("other/cooldown", aside)]
            got = [await both.asks(send(f"/routes/{path}", body)) for path, body in asked]
            return [(each.status, each.error["code"], each.error["message"]) for each in got]

    layers = "circuit_breaker, router, circuit_breaker, cooldown"
    kept = "no circuit_breaker that is kept for each endpoint"
    assert [
        (409, "no_circuit_breaker", f"the route 'bare' has {kept}; its layers are: retry, router"),
        (
            409,
            "no_circuit_breaker",
            f"the route 'other' has {kept}; its layers are: {layers}",
        ),
        (409, "no_router", "the route 'none' has no router; its layers are: none"),
        (409, "no_cooldown", "the route 'bare' has no cooldown; its layers are: retry, router"),
        (404, "unknown_endpoint", "the route 'other' has no endpoint 'eu'; there are: none"),
    ] == run(main())
