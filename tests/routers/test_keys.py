"""Keys in turn; after trouble with one the next, and after any other trouble nobody."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any, Final
from weakref import ref

import pytest
from attrs import define, field, frozen
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.builder import ServiceBuilder, Stack
from llmstack.call import Call
from llmstack.endpoint import Endpoint, Price
from llmstack.errors import (
    AuthFailed,
    BadRequest,
    ConcurrencyFull,
    Cool,
    LLMStackError,
    ModelNotFound,
    NoEndpoint,
    Overloaded,
    PermissionDenied,
    QuotaExhausted,
    RateLimited,
    Refused,
    ServerError,
    Shed,
    UpstreamTimeout,
)
from llmstack.layers.cooldown import Cooldown
from llmstack.layers.retry import Retry
from llmstack.messages import Request, dispatch
from llmstack.order import Bound
from llmstack.routers.keys import Keys
from llmstack.testing.check import check_router
from llmstack.testing.scripted import ScriptedService, echo
from llmstack.testing.virtual import run_virtual
from tests.routers.stage import Actors, listed, outcome_of


def narrowed(kind: type[LLMStackError], cools: Cool) -> LLMStackError:
    """An error whose host says more than its class."""
    error = kind()
    error.cools = cools
    return error


@frozen
class Fault:
    """How a key may fail; whether another one *rotates* in; and what it says of the account."""

    make: Callable[[], LLMStackError]
    rotates: bool
    account: bool = False


FAULTS: Final = {
    "limited": Fault(RateLimited, rotates=True),
    "auth": Fault(AuthFailed, rotates=True),
    "denied": Fault(PermissionDenied, rotates=True),
    "model": Fault(ModelNotFound, rotates=True),
    "broke": Fault(QuotaExhausted, rotates=True, account=True),
    "all busy": Fault(
        lambda: narrowed(RateLimited, Cool("account", 1.0)), rotates=True, account=True
    ),
    "spent key": Fault(lambda: narrowed(QuotaExhausted, Cool("key", 60.0)), rotates=True),
    "region": Fault(lambda: narrowed(PermissionDenied, Cool("endpoint", 600.0)), rotates=False),
    "overloaded": Fault(Overloaded, rotates=False),
    "server": Fault(ServerError, rotates=False),
    "slow": Fault(UpstreamTimeout, rotates=False),
    "fault": Fault(BadRequest, rotates=False),
}
REFUSALS: Final[dict[str, Callable[[], LLMStackError]]] = {
    "hard": ConcurrencyFull,
    "soft": lambda: ConcurrencyFull(soft=True),
}


@frozen
class Held:
    """One key: what it does when it is asked, who pays, and whether it may be used."""

    does: str
    account: str = ""
    may: bool = True

    def endpoint(self, name: str) -> Endpoint:
        models = None if self.may else {"other": "other"}
        return Endpoint(name, echo, models=models, key=name, account=self.account)


@define
class Acting:
    """Below the router: each key does as it says; remembers who was asked."""

    held: dict[str, Held]
    asked: list[str] = field(factory=list, init=False)

    async def __call__(self, request: Request, /) -> str:
        assert request.endpoint is not None
        name = request.endpoint.name
        does = self.held[name].does
        if does == "soft" and request.insists:
            does = "ok"
        if does in REFUSALS:
            error = REFUSALS[does]()
            raise error
        self.asked.append(name)
        if does in FAULTS:
            raise FAULTS[does].make()
        return name


helds: Final = st.builds(
    Held,
    st.sampled_from(["ok", *FAULTS, *REFUSALS, "limited", "auth", "broke"]),
    st.sampled_from(["", "acme", "umbrella"]),
    st.sampled_from([True, True, True, False]),
)


@given(st.lists(helds, min_size=1, max_size=6), st.integers(0, 4))
@example([Held("broke", "acme"), Held("ok", "acme"), Held("auth"), Held("ok")], 2)
@example([Held("broke"), Held("ok")], 2)
@example([Held("all busy", "acme"), Held("soft", "acme"), Held("limited"), Held("ok", "acme")], 4)
def test_rotation(cast: list[Held], rotations: int) -> None:
    """Each key once, only those that may; on after trouble with a key, and never to its account."""
    held = dict(zip("abcdef", cast, strict=False))
    acting = Acting(held)
    keys = Keys([each.endpoint(name) for name, each in held.items()], rotations=rotations)
    router = keys(acting)

    outcome = run_virtual(outcome_of(router, Request("m")))[0]
    asked = [held[name] for name in acting.asked]
    last = FAULTS.get(asked[-1].does) if asked else None
    broke = {each.account for each in asked if each.does in {"broke", "all busy"}} - {""}
    left = [
        name
        for name, each in held.items()
        if name not in acting.asked and each.may and each.does != "hard"
        if each.account not in broke
    ]
    ended = not asked or last is None or not last.rotates or len(asked) > rotations or not left

    assert len(acting.asked) == len(set(acting.asked)) <= keys.bound(Bound()).calls
    assert all(each.may for each in asked)
    assert all(each.does in FAULTS and FAULTS[each.does].rotates for each in asked[:-1])
    assert ended, f"asked {acting.asked}, left {left}"
    for n, each in enumerate(asked):
        paid = {one.account for one in asked[:n] if one.does in {"broke", "all busy"}}
        assert each.account not in paid - {""}
    if last is None:
        assert not asked or outcome == acting.asked[-1]
        assert asked or isinstance(outcome, NoEndpoint)
    else:
        assert isinstance(outcome, LLMStackError)
        assert not isinstance(outcome, Refused)
        assert type(last.make()) is type(outcome)
        assert acting.asked[-1] == outcome.endpoint


@pytest.mark.parametrize("does", [*FAULTS])
def test_after_what_another_key_is_asked(does: str) -> None:
    """What is about the key or who pays for it, and not about the endpoint under any key."""
    acting = Acting({"a": Held(does), "b": Held("ok")})
    router = Keys([Held(does).endpoint("a"), Held("ok").endpoint("b")])(acting)
    run_virtual(outcome_of(router, Request("m")))

    assert FAULTS[does].rotates is (acting.asked == ["a", "b"])


@pytest.mark.parametrize("rotations", [0, 2])
def test_keeps_what_every_router_promises(rotations: int) -> None:
    """Eligibility, the ledger, plans that come true, cancels at every step."""
    check_router(lambda endpoints: Keys(endpoints, rotations=rotations), examples=12)


def asked_of(keys: Keys, acts: dict[str, str], calls: int) -> tuple[list[object], list[str]]:
    """What became of so many calls, and who was asked."""
    actors = Actors(acts)
    router = keys(actors)

    async def main() -> list[object]:
        return [await outcome_of(router, Request()) for _ in range(calls)]

    return run_virtual(main())[0], [name for name, _ in actors.asked]


def test_healthy_keys_have_turns_by_weight() -> None:
    """As those of a round robin."""
    assert [*"aabacaa"] == asked_of(Keys(listed([5, 1, 1])), {}, 7)[1]


def test_a_rotation_is_within_one_attempt() -> None:
    """The ledger has each key that was asked, and a retry above counts one attempt."""
    scripts: dict[str, list[Any]] = {
        "a": [AuthFailed()],
        "b": [RateLimited()] * 2,
        "c": [ServerError(), "c"],
    }
    keys = [
        Endpoint(name, ScriptedService[Request, Any](lines), key=name)
        for name, lines in scripts.items()
    ]
    stack: Stack[Request, Any] = (
        ServiceBuilder(seed=1).layer(Retry(attempts=2)).layer(Keys(keys)).service(dispatch)
    )
    request = Request("m")

    assert "c" == run_virtual(stack(request))[0]
    ledger = [(each.endpoint, each.error, each.reason) for each in request.call.attempts]
    assert [
        ("a", "AuthFailed", "keys"),
        ("b", "RateLimited", "keys"),
        ("c", "ServerError", "keys"),
    ] == ledger[:3]
    assert ("c", None, "keys") == ledger[-1]
    assert "at most 6 upstream calls" in stack.describe()


def test_what_is_left_is_told_to_a_retry_above() -> None:
    """It comes back at once for keys that no rotation has reached, but for those of the account."""
    held = {
        "a": Held("broke", "acme"),
        "b": Held("limited"),
        "c": Held("ok", "acme"),
        "d": Held("limited"),
        "e": Held("limited"),
    }
    acting = Acting(held)
    router = Keys([each.endpoint(name) for name, each in held.items()], rotations=1)(acting)
    call = Call()
    outcomes = [run_virtual(outcome_of(router, Request("m", call=call)))[0] for _ in range(2)]

    assert ["a", "b", "d", "e"] == acting.asked
    assert [2, 0] == [outcome.untried for outcome in outcomes if isinstance(outcome, RateLimited)]


@pytest.mark.parametrize(
    ("does", "asked"), [("broke", ["a", "b", "b"]), ("all busy", ["a", "b", "c", "b"])]
)
def test_a_retry_comes_back_to_an_account_that_was_busy(does: str, asked: Sequence[str]) -> None:
    """Not to one that is used up; in a walk that has left another key to neither."""
    held = {"a": Held(does, "acme"), "b": Held("limited"), "c": Held("limited", "acme")}
    held["d"] = Held("ok", "acme")
    acting = Acting(held)
    router = Keys([each.endpoint(name) for name, each in held.items()])(acting)
    call = Call()
    for _ in range(2):
        run_virtual(outcome_of(router, Request("m", call=call)))

    assert asked == acting.asked


def test_nothing_is_kept_of_a_call_that_is_gone() -> None:
    """What it has met goes with it."""
    acting = Acting({"a": Held("broke", "acme")})
    router = Keys([Held("broke", "acme").endpoint("a")])(acting)
    call = Call()
    left = ref(call)
    error = type(run_virtual(outcome_of(router, Request("m", call=call)))[0])
    del call
    gc.collect()

    assert (QuotaExhausted, None) == (error, left())


def test_a_refusal_that_is_not_about_a_key_ends_the_walk() -> None:
    """As with all routers."""
    outcomes, asked = asked_of(Keys(listed([1, 1])), {"a": "shed"}, 1)

    assert ["a"] == asked
    assert isinstance(outcomes[0], Shed)


@pytest.mark.parametrize(
    ("there", "rotations", "calls"), [(1, 2, 1), (2, 2, 2), (3, 2, 3), (9, 2, 3), (9, 0, 1)]
)
def test_the_bound_counts_rotations(there: int, rotations: int, calls: int) -> None:
    """Up to all keys there are, each at the price of the dearest."""
    endpoints = [Endpoint(str(n), echo, price=Price(1, 1)) for n in range(there)]
    keys = Keys(endpoints, rotations=rotations)

    assert calls == keys.bound(Bound()).calls
    assert calls * 5.0 == keys.bound(Bound(1, 5.0)).seconds


def test_below_it_a_cooldown_remembers() -> None:
    """A bad key is asked once, by whichever call comes first, and then by probes alone."""
    bad = ScriptedService[Request, object]([AuthFailed()])
    good = ScriptedService[Request, object](["good"] * 9)
    layer = Keys([Endpoint("bad", bad, key="bad"), Endpoint("good", good, key="good")])
    stack = ServiceBuilder(seed=1).layer(layer).layer(Cooldown()).service(dispatch)

    async def main() -> list[object]:
        return [await stack(Request("m")) for _ in range(9)]

    assert ["good"] * 9 == run_virtual(main())[0]
    assert (1, 9) == (len(bad.calls), len(good.calls))
