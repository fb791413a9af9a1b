"""An endpoint with several keys: who its members are, and what befalls one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import pytest
from attrs import define, field
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.estimators.scope import Where
from llmstack.providers.credential import Credential
from llmstack.testing.virtual import run_virtual
from tests.providers.test_credential import CANARY


Lines = dict[str, list[Any]]
GROUP: Final = ls.Endpoint("eu", ls.dispatch, 3, tags=["eu"], price=ls.Price(1, 2))


@define(eq=False)
class Lock:
    """A provider: says for each key the next of its lines, and then "ok" with the key's name."""

    lines: Lines = field(factory=dict)
    asked: list[tuple[str, str]] = field(factory=list)

    def under(self, credential: Credential) -> ls.Service[ls.Request, Any]:
        async def answer(request: ls.Request) -> object:
            key = credential.current().reveal()
            self.asked.append((key, request.model))
            line = self.lines.get(key) or [f"ok {key}"]
            said = line[0] if len(line) == 1 else line.pop(0)
            if isinstance(said, type):
                raise said(retry_after=self.waits)
            return said

        return answer

    waits: float | None = None


def keys_of(*names: str) -> list[ls.Key]:
    return [ls.Key(name, ls.Secret(name)) for name in names]


def stack_of(group: ls.Endpoint, *others: ls.Endpoint, retries: int = 3) -> ls.Stack[Any, Any]:
    """A retry over the group and *others*, in this order, with a cooldown on the same board."""
    layers = (ls.Retry(attempts=retries), ls.Fallback([group, *others], triggers=[ls.ServerError]))
    return ls.ServiceBuilder(layers, seed=1).service(ls.dispatch)


def said_by(stack: ls.Stack[Any, Any], calls: int, model: str = "m") -> list[object]:
    """What so many calls got, one second apart."""

    async def main() -> list[object]:
        said: list[object] = []
        for _ in range(calls):
            try:
                said.append(await stack(ls.Request(model)))
            except ls.LLMStackError as error:
                said.append(type(error))
            await asyncio.sleep(1)
        return said

    return run_virtual(main())[0]


def members(group: ls.Endpoint) -> list[ls.Endpoint]:
    return list(group.service.layers[0].endpoints)  # type: ignore[attr-defined]


def test_its_members_are_what_it_is_but_for_the_key() -> None:
    """Each has a name, a label, a share and an account; all else is the endpoint's."""
    keys = [
        ls.Key("one", ls.Secret("a"), weight=2, label="env:A"),
        ls.Key("two", ls.Secret("b"), account="umbrella", models=["m2", "m1"]),
    ]
    able = ls.Capabilities(context=100)
    endpoint = ls.Endpoint(
        "eu", ls.dispatch, 3, price=ls.Price(1, 2), capabilities=able, tags=["eu"], account="acme"
    )
    group = ls.with_keys(endpoint, keys, under=Lock().under, rotations=1)
    one, two = members(group)

    assert ("eu", 3.0, "", "") == (group.name, group.weight, group.key, group.account)
    assert ("eu/one", 2.0, None, "env:A", "acme") == (
        *(one.name, one.weight, one.models, one.key, one.account),
    )
    assert ("eu/two", 1.0, "eu/two", "umbrella") == (two.name, two.weight, two.key, two.account)
    assert ["", "m1", "m2"] == sorted(two.models or ())
    assert all(
        (ls.Price(1, 2), able, {"eu"}) == (each.price, each.capabilities, {*each.tags})
        for each in (group, one, two)
    )
    assert group.models is None
    assert (2, 2 * endpoint.dearest) == (group.service.bound.calls, group.service.bound.cost)  # type: ignore[attr-defined]


def test_a_leaf_is_had_under_each_key() -> None:
    """With all its settings, and one transport for all."""
    for leaf in (ls.OpenAI("http://127.0.0.1:1", limit=7), ls.Anthropic(limit=7)):
        group = ls.with_keys(ls.Endpoint("eu", leaf), keys_of("a", "b"))
        a, b = (each.service for each in members(group))

        assert isinstance(a, type(leaf))
        assert isinstance(b, type(leaf))
        assert (ls.Secret("a"), ls.Secret("b")) == (a.api_key, b.api_key)
        assert a.transport is b.transport is leaf.transport
        assert (7, leaf.base_url) == (b.limit, b.base_url)
        assert leaf.api_key is None


@pytest.mark.parametrize(
    ("endpoint", "keys", "says"),
    [
        (GROUP, [], "keys: an endpoint needs at least one"),
        (GROUP, keys_of("a", "a"), "two endpoints are named 'eu/a'"),
        (ls.Endpoint("eu", ls.dispatch), keys_of("a"), "'eu' cannot be had under a key"),
        (
            ls.Endpoint("eu", Lock().under(ls.Secret("a")), models="m"),
            [ls.Key("a", ls.Secret("a"), models=["n"]), ls.Key("b", ls.Secret("b"), models=["o"])],
            "keys: none may be used for the model 'm'",
        ),
        (
            ls.Endpoint("eu", ls.dispatch, models={"x": "m", "y": "n", "*": "*"}),
            [ls.Key("a", ls.Secret("a"), models=["m"])],
            "keys: none may be used for the model 'n'",
        ),
    ],
)
def test_keys_that_can_serve_nothing_are_a_mistake(
    endpoint: ls.Endpoint, keys: list[ls.Key], says: str
) -> None:
    """Told when it is made."""
    under = None if "cannot" in says else Lock().under
    with pytest.raises(ls.ConfigError, match=says):
        ls.with_keys(endpoint, keys, under=under)


@pytest.mark.parametrize(
    ("models", "weight", "credential", "says"),
    [
        ("m", 1.0, "k", "models must be names, not the one name 'm'"),
        ([], 1.0, "k", "'models' must be >= 1"),
        (None, -1.0, "k", "weight must be a finite number >= 0"),
        (None, 1.0, "", "credential is empty or has signs that a header cannot carry"),
        (None, 1.0, "  ", "credential is empty or has signs that a header cannot carry"),
        (None, 1.0, "a\nb", "credential is empty or has signs that a header cannot carry"),
    ],
)
def test_a_key_is_checked_where_it_is_written(
    models: Iterable[str] | None, weight: float, credential: str, says: str
) -> None:
    """Its models, its weight, and that it can be sent."""
    with pytest.raises(ValueError, match=says):
        ls.Key("one", ls.Secret(credential), models=models, weight=weight)


def test_a_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is where it is; a plain string is a place, never the key."""
    monkeypatch.setenv("SOME_KEY", CANARY)
    key = ls.Key("one", "env:SOME_KEY")

    assert "one" == key.name
    assert CANARY == key.credential.current().reveal()
    assert CANARY not in f"{key!r} {members(ls.with_keys(GROUP, [key], under=Lock().under))}"
    with pytest.raises(ls.ConfigError, match='must be "env:NAME"'):
        ls.Key("one", CANARY)


def test_a_model_goes_to_the_keys_that_may_be_used_for_it() -> None:
    """By the provider's names; the endpoint serves what one of its keys may be used for."""
    lock = Lock()
    keys = [
        ls.Key("a", ls.Secret("a"), models=["big"]),
        ls.Key("b", ls.Secret("b"), models=["small", "big"]),
    ]
    group = ls.with_keys(ls.Endpoint("eu", ls.dispatch), keys, under=lock.under)
    stack = stack_of(group, retries=1)
    said = said_by(stack, 2, "big") + said_by(stack, 2, "small") + said_by(stack, 1, "huge")

    assert ["ok a", "ok b", "ok b", "ok b", ls.NoEndpoint] == said
    assert ["", "big", "small"] == sorted(group.models or ())
    assert ["ok a"] == said_by(stack, 1, "")
    mapped = ls.Endpoint("eu", ls.dispatch, models={"*": "big"})
    assert {"*": "big"} == ls.with_keys(mapped, keys, under=lock.under).models
    one = [*keys, ls.Key("c", ls.Secret("c"))]
    assert ls.with_keys(ls.Endpoint("eu", ls.dispatch), one, under=lock.under).models is None


def test_trouble_with_one_key_is_met_once() -> None:
    """However many calls there are, and whoever else has the board; callers see none of it."""
    lock, other = Lock({"a": [ls.AuthFailed]}), Lock({"a": [ls.AuthFailed]})
    board = ls.CoolingBoard()
    groups = [
        ls.with_keys(
            ls.Endpoint(name, ls.dispatch),
            [ls.Key("a", ls.Secret("a"), label="env:A"), ls.Key("b", ls.Secret("b"))],
            under=each.under,
            board=board,
            seed=1,
        )
        for name, each in (("eu", lock), ("us", other))
    ]
    with capture_logs() as events:
        said = [said_by(stack_of(group), 5) for group in groups]

    assert [["ok b"] * 5] * 2 == said
    assert ["a", *"bbbbb"] == [key for key, _ in lock.asked]
    assert [*"bbbbb"] == [key for key, _ in other.asked]
    assert [Where("key", "env:A")] == [*board.statistics()]
    assert ["cooldown.began", "cooldown.alert"] == [event["event"] for event in events]


def test_a_key_comes_back_when_its_time_is_over() -> None:
    """As long as the provider has named, and for that model alone."""
    lock = Lock({"a": [ls.RateLimited, "ok a"]}, waits=3.0)
    endpoint = ls.Endpoint("eu", ls.dispatch)
    stack = stack_of(ls.with_keys(endpoint, keys_of("a", "b"), under=lock.under, seed=1))

    async def main() -> list[object]:
        said = []
        for model in ("m", "m", "n", "m", "m"):
            said.append(await stack(ls.Request(model)))
            await asyncio.sleep(1)
        return said

    assert ["ok b", "ok b", "ok a", "ok b", "ok a"] == run_virtual(main())[0]


def test_keys_of_an_account_that_is_used_up_are_not_asked() -> None:
    """The next one is of another account; and a probe tells that there is money again."""
    lock = Lock({"a": [ls.QuotaExhausted, "ok a"]}, waits=10.0)
    keys = [
        ls.Key(name, ls.Secret(name), account="umbrella" if name == "c" else "") for name in "abc"
    ]
    board = ls.CoolingBoard()
    endpoint = ls.Endpoint("eu", ls.dispatch, account="acme")
    group = ls.with_keys(endpoint, keys, under=lock.under, board=board)
    # Whoever is above and has the same board does not take the probe of who is below.
    layers = (ls.RoundRobin([group]), ls.Cooldown(board=board))
    said = said_by(ls.ServiceBuilder(layers, seed=1).service(ls.dispatch), 14)

    assert ["ok c"] * 11 == said[:11]
    assert {"ok a", "ok b", "ok c"} == {*said[11:]}


def test_when_all_keys_are_put_aside_the_next_endpoint_is_asked() -> None:
    """And what is no trouble of a key leaves the group at once."""
    lock = Lock({name: [ls.AuthFailed] for name in "abc"})
    down = Lock({"a": [ls.ServerError]})
    other = ls.Endpoint("other", Lock().under(ls.Secret("other")))
    groups = [
        ls.with_keys(ls.Endpoint("eu", ls.dispatch), keys_of(*"abc"), under=each.under)
        for each in (lock, down)
    ]
    stacks = [stack_of(group, other) for group in groups]

    assert ["ok other"] * 3 == said_by(stacks[0], 3)
    assert ["ok other"] == said_by(stacks[1], 1)
    assert ["a", "b", "c"] == [key for key, _ in lock.asked]
    assert ["a"] == [key for key, _ in down.asked]


def test_a_seed_makes_it_repeatable() -> None:
    """The chance in the group's cooldown comes from it."""
    untils = []
    for seed in (1, 1, 2):
        board = ls.CoolingBoard()
        lock = Lock({"a": [ls.RateLimited]})
        endpoint = ls.Endpoint("eu", ls.dispatch)
        group = ls.with_keys(endpoint, keys_of("a", "b"), under=lock.under, board=board, seed=seed)
        said_by(stack_of(group), 1)
        untils.append([each.until for each in board.statistics().values()])

    assert untils[0] == untils[1] != untils[2]
