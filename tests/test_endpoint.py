"""What a router chooses from: prices, abilities, names of models, and the set that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from fractions import Fraction
from math import inf, nan

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llmstack.call import Attempt, Usage
from llmstack.endpoint import Capabilities, Endpoint, EndpointSet, Price
from llmstack.errors import ConfigError
from llmstack.messages import Request
from llmstack.testing.scripted import echo


NAMES = "abcde"
weights = st.floats(0, 100) | st.integers(0, 9)


class SetAgainstModel(RuleBasedStateMachine):
    """The model: a list of [name, weight, enabled] in the order in which they were added."""

    @initialize(names=st.lists(st.sampled_from(NAMES), unique=True, max_size=3))
    def start(self, names: list[str]) -> None:
        self.set = EndpointSet(Endpoint(name, echo, tags=[name]) for name in names)
        self.rows: list[tuple[str, float, bool]] = [(name, 1.0, True) for name in names]
        self.flights: list[tuple[Request, Endpoint, str, float]] = []

    def row(self, name: str) -> tuple[str, float, bool] | None:
        return next((row for row in self.rows if row[0] == name), None)

    def known(self, name: str) -> bool:
        """Whether there is one; if not, nothing can be done with it, and the names are said."""
        if self.row(name) is not None:
            return True
        there = ", ".join(row[0] for row in self.rows) or "none"
        for action in (
            self.set.remove,
            self.set.enable,
            self.set.disable,
            self.set.is_enabled,
            self.set.__getitem__,
            lambda name: self.set.reweight(name, 2.0),
        ):
            with pytest.raises(ConfigError, match=f"'{name}'; there are: {there}$"):
                action(name)
        return False

    @rule(name=st.sampled_from(NAMES), weight=weights)
    def add(self, name: str, weight: float) -> None:
        endpoint = Endpoint(name, echo, weight, tags=[name])
        if self.row(name) is None:
            self.set.add(endpoint)
            self.rows.append((name, weight, True))
            assert endpoint is self.set[name]
        else:
            with pytest.raises(ConfigError, match=f"'{name}'"):
                self.set.add(endpoint)

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        if self.known(name):
            endpoint = self.set[name]
            assert endpoint is self.set.remove(name)
            self.rows = [row for row in self.rows if row[0] != name]

    @rule(name=st.sampled_from(NAMES), yes=st.booleans())
    def switch(self, name: str, *, yes: bool) -> None:
        if self.known(name):
            (self.set.enable if yes else self.set.disable)(name)
            self.rows = [(n, w, yes if n == name else on) for n, w, on in self.rows]

    @rule(name=st.sampled_from(NAMES), weight=weights | st.sampled_from([-1.0, nan, inf]))
    def reweight(self, name: str, weight: float) -> None:
        if not self.known(name):
            return
        if 0 <= weight < inf:
            self.set.reweight(name, weight)
            self.rows = [(n, weight if n == name else w, on) for n, w, on in self.rows]
        else:
            with pytest.raises(ConfigError, match="weight"):
                self.set.reweight(name, weight)

    @precondition(lambda self: self.set.enabled)
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        endpoint = data.draw(st.sampled_from(self.set.enabled))
        request = Request().to(endpoint, Attempt(endpoint.name, 0.0))
        self.flights.append((request, endpoint, endpoint.name, endpoint.weight))

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def change_while_it_is_gone_through(self, data: st.DataObject) -> None:
        """Who goes through it meanwhile sees what was there when he began."""
        name = data.draw(st.sampled_from(self.rows))[0]
        names = []
        for endpoint in self.set:
            if endpoint.name == name:
                self.set.remove(name)
            names.append(endpoint.name)
        assert [row[0] for row in self.rows] == names
        self.rows = [row for row in self.rows if row[0] != name]

    @invariant()
    def agrees(self) -> None:
        every = [(e.name, e.weight, self.set.is_enabled(e.name)) for e in self.set]
        assert self.rows == every
        assert [(n, w) for n, w, on in self.rows if on] == [
            (e.name, e.weight) for e in self.set.enabled
        ]
        assert [e is self.set[e.name] for e in self.set.enabled] == [True] * len(self.set.enabled)
        assert len(self.rows) == len(self.set)
        assert {n for n, _, _ in self.rows} == {name for name in NAMES if name in self.set}
        assert all(endpoint.tags == {endpoint.name} for endpoint in self.set)

    @invariant()
    def leaves_requests_in_flight_alone(self) -> None:
        for request, endpoint, name, weight in self.flights:
            assert endpoint is request.endpoint
            assert (name, weight) == (endpoint.name, endpoint.weight)


TestSet = SetAgainstModel.TestCase


def test_two_of_one_name_are_no_set() -> None:
    """The name is said: statistics would be mixed up."""
    with pytest.raises(ConfigError, match="'eu'"):
        EndpointSet([Endpoint("eu", echo), Endpoint("us", echo), Endpoint("eu", echo)])


def test_an_empty_set_may_be_filled() -> None:
    """A set may start with nothing."""
    empty = EndpointSet()

    assert (0, (), []) == (len(empty), empty.enabled, list(empty))
    with pytest.raises(ConfigError, match="there are: none"):
        empty["eu"]


def test_what_was_put_out_of_traffic_stays_so_with_another_weight() -> None:
    """And comes back in its old place."""
    both = EndpointSet([Endpoint("eu", echo), Endpoint("us", echo)])
    both.disable("eu")
    both.reweight("eu", 7)

    assert ["us"] == [e.name for e in both.enabled]
    both.enable("eu")
    assert [("eu", 7), ("us", 1)] == [(e.name, e.weight) for e in both.enabled]


def test_a_new_one_of_an_old_name_takes_traffic() -> None:
    """What was said of the removed one is forgotten."""
    one = EndpointSet([Endpoint("eu", echo)])
    one.disable("eu")
    one.remove("eu")
    one.add(Endpoint("eu", echo))

    assert one.is_enabled("eu")


BAD = [-1, -0.001, nan, inf, -inf]


@pytest.mark.parametrize("bad", [*BAD, None], ids=str)
def test_a_weight_is_a_finite_number_from_zero_up(bad: float | None) -> None:
    """The message names the field."""
    with pytest.raises(ConfigError, match="weight"):
        Endpoint("eu", echo, bad)  # type: ignore[arg-type]
    assert 0 == Endpoint("eu", echo, 0).weight


@pytest.mark.parametrize("bad", [*BAD, None], ids=str)
@pytest.mark.parametrize("name", ["input", "output"])
def test_a_price_is_known_and_not_negative(name: str, bad: float | None) -> None:
    """Who does not know it has no price at all, which is another thing."""
    amounts = {"input": 1.0, "output": 1.0, name: bad}
    with pytest.raises(ConfigError, match=name):
        Price(**amounts)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_the_price_of_cached_tokens_may_be_left_out(bad: float) -> None:
    """But not be nonsense."""
    with pytest.raises(ConfigError, match="cached"):
        Price(1, 2, bad)
    assert None is Price(1, 2).cached


amounts = st.integers(0, 10_000)


@given(st.tuples(amounts, amounts, amounts), st.tuples(amounts, amounts, st.none() | amounts))
@example((1, 2, 4), (10, 100, None))
@example((1, 2, 4), (10, 100, 0))
def test_a_cost_is_tokens_times_the_price_of_a_million(
    tokens: tuple[int, int, int], price: tuple[int, int, int | None]
) -> None:
    """Cached ones cost what others cost, if they have no price of their own."""
    (fresh, out, cached), (of_in, of_out, of_cached) = tokens, price
    exact = Fraction(fresh * of_in + out * of_out, 10**6)
    exact += Fraction(cached * (of_in if of_cached is None else of_cached), 10**6)
    cost = Price(of_in, of_out, of_cached).cost(Usage(fresh, out, cached))

    assert pytest.approx(float(exact), rel=1e-12) == cost


@pytest.mark.parametrize("name", ["context", "max_output"])
def test_a_limit_is_a_token_at_least(name: str) -> None:
    """None where there is none."""
    with pytest.raises(ValueError, match=name):
        Capabilities(**{name: 0})  # type: ignore[arg-type]
    assert 1 == getattr(Capabilities(**{name: 1}), name)  # type: ignore[arg-type]
    assert None is getattr(Capabilities(), name)


def test_without_a_word_an_endpoint_can_do_everything() -> None:
    """What is not known to be missing is there."""
    able = Capabilities()

    assert (True, True, True) == (able.tools, able.vision, able.json_mode)


def test_an_endpoint_has_a_name() -> None:
    """An empty one could not be told from none."""
    with pytest.raises(ValueError, match="name"):
        Endpoint("", echo)


models = (
    st.none()
    | st.sampled_from("xy")
    | st.dictionaries(st.sampled_from(["a", "b", "*"]), st.sampled_from(["x", "*"]))
)


@given(models=models, asked=st.sampled_from("abc"))
@example(models={"*": "*"}, asked="c")
@example(models={"*": "x", "a": "y"}, asked="a")
@example(models={"a": "x"}, asked="c")
@example(models={}, asked="c")
@example(models="", asked="a")
def test_a_model_goes_by_the_name_that_the_provider_knows(
    models: str | dict[str, str] | None, asked: str
) -> None:
    """One name for all, a map with a star for the rest, or as asked; else it is not served."""
    served: Mapping[str, str]
    if models is None:
        served = {asked: asked}
    elif isinstance(models, str):
        served = {asked: models}
    else:
        rest = {asked: models["*"]} if "*" in models else {}
        served = {key: asked if name == "*" else name for key, name in {**rest, **models}.items()}

    assert served.get(asked) == Endpoint("eu", echo, models=models).model_for(asked)


def test_an_endpoint_keeps_what_it_was_made_of() -> None:
    """A map or a list that the caller changes later changes nothing here."""
    names, tags = {"a": "x"}, ["eu"]
    endpoint = Endpoint("eu", echo, models=names, tags=tags)
    names["a"] = "y"
    tags.append("us")

    assert "x" == endpoint.model_for("a")
    assert frozenset({"eu"}) == endpoint.tags


def test_endpoints_are_compared_by_identity() -> None:
    """Two with equal settings are two, and each can be a key."""
    one, other = Endpoint("eu", echo), Endpoint("eu", echo)

    assert one != other
    assert 2 == len({one, other})


def test_a_repr_shows_no_service() -> None:
    """What a service says of itself may hold a key."""

    class Secretive:
        def __repr__(self) -> str:
            return "sk-secret"

        async def __call__(self, request: str, /) -> str:
            return request

    assert "sk-secret" == repr(Secretive()) == asyncio.run(Secretive()("sk-secret"))
    assert "sk-secret" not in repr(Endpoint("eu", Secretive()))
    assert "sk-secret" not in repr(EndpointSet([Endpoint("eu", Secretive())]))


@pytest.mark.parametrize(
    ("price", "able", "dearest"),
    [
        (None, Capabilities(context=1000), inf),
        (Price(1, 2), None, inf),
        (Price(1, 2), Capabilities(max_output=10), inf),
        (Price(1, 2), Capabilities(context=1_000_000, max_output=500_000), 2.0),
        (Price(1, 2), Capabilities(context=1_000_000), 3.0),
        (Price(1, 2, cached=4), Capabilities(context=1_000_000, max_output=1), 4.000002),
    ],
)
def test_the_dearest_call_reads_and_writes_all_it_can(
    price: Price | None, able: Capabilities | None, dearest: float
) -> None:
    """Where the price or the window is not known, nor is the cost."""
    assert dearest == Endpoint("eu", echo, price=price, capabilities=able).dearest
