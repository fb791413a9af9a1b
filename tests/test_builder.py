"""The builder and the stack: laws, lookup, description, statistics, start and stop."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Hashable
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

import pytest
from attrs import define, field, frozen
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.builder import ServiceBuilder
from llmstack.combine import either, filter, layer_fn, map_error, map_request, optional  # noqa: A004
from llmstack.errors import ConfigError, LLMStackError, Overloaded
from llmstack.order import Bound
from llmstack.service import Layer, Service


T = TypeVar("T")
Any_ = Service[Any, Any]


async def echo(request: Any, /) -> Any:  # noqa: ANN401 -- as it came
    """The floor."""
    return request


def ask(service: Service[Any, T], request: object = "?") -> T:
    async def main() -> T:
        return await service(request)

    return asyncio.run(main())


def result(service: Service[str, Any], request: str) -> object:
    """What a call gives, be it an error."""
    try:
        return ask(service, request)
    except LLMStackError as error:
        return type(error), str(error), repr(error.__cause__)


@frozen
class Mark:
    """A layer that marks the request on its way down and the reply on its way up."""

    text: str

    def __call__(self, inner: Any_, /) -> Any_:
        async def service(request: str, /) -> str:
            return f"{await inner(request + self.text)}/{self.text}"

        return service


async def again(inner: Service[str, str], request: str) -> str:
    return await inner(request) + await inner(request)


def renamed(error: Exception) -> Exception:
    return Overloaded(f"<{error}>")


def short(request: str) -> bool:
    return len(request) < 4


layers: st.SearchStrategy[Layer] = st.recursive(
    st.builds(Mark, st.sampled_from("xyz"))
    | st.sampled_from(
        [layer_fn(again), map_error(renamed), map_request(str.upper), filter(short), optional(None)]
    ),
    lambda inner: st.builds(either, st.just(short), inner, inner),
    max_leaves=3,
)
requests = st.text("ab", max_size=4)


def built(*parts: Layer) -> ServiceBuilder:
    builder = ServiceBuilder()
    for part in parts:
        builder = builder.layer(part)
    return builder


@given(requests)
def test_a_stack_without_layers_is_its_floor(request_: str) -> None:
    """The first law: identity."""
    assert request_ == result(ServiceBuilder().service(echo), request_)


@given(a=layers, b=layers, request_=requests)
@example(a=map_error(renamed), b=filter(short), request_="abab")
def test_the_first_layer_added_is_the_outermost(a: Layer, b: Layer, request_: str) -> None:
    """The law that names the builder's sense: layer(a).layer(b).service(s) is a(b(s))."""
    assert result(a(b(echo)), request_) == result(built(a, b).service(echo), request_)


@given(a=layers, b=layers, c=layers, request_=requests)
def test_stacks_of_stacks_are_stacks(a: Layer, b: Layer, c: Layer, request_: str) -> None:
    """The law of association: it makes no difference where a stack is cut in two."""
    whole = result(built(a, b, c).service(echo), request_)

    assert whole == result(built(a).service(built(b, c).service(echo)), request_)
    assert whole == result(built(a, b).service(built(c).service(echo)), request_)


@given(st.lists(layers, max_size=4))
def test_a_builder_never_changes(parts: list[Layer]) -> None:
    """What is made of it is another one; each step can be built upon alone."""
    steps = [ServiceBuilder()]
    for part in parts:
        steps.append(steps[-1].layer(part))
    steps[-1].service(echo)

    there = [part for part in parts if part is not optional(None)]
    assert tuple(there) == steps[-1].layers
    assert () == steps[0].layers
    assert [built(*parts[:n]) for n in range(len(steps))] == steps
    with pytest.raises(AttributeError):
        steps[0].layers = ()  # type: ignore[misc]


def test_layers_may_be_given_at_once() -> None:
    """As a tuple, in the same order."""
    assert built(Mark("x"), Mark("y")) == ServiceBuilder((Mark("x"), Mark("y")))


def test_a_layer_is_replaced_in_its_place() -> None:
    """By role; the other builder is as before."""
    before = built(Mark("x"), map_request(str.upper), Mark("y"))
    after = before.replace("map_request", Mark("new"))

    assert (Mark("x"), Mark("new"), Mark("y")) == after.layers
    assert "map_request" in repr(before)


@pytest.mark.parametrize(("role", "count"), [("Mark", 2), ("retry", 0)])
def test_what_is_not_there_once_is_not_replaced(role: str, count: int) -> None:
    """It is said how many there are."""
    builder = built(Mark("x"), map_request(str.upper), Mark("y"))
    with pytest.raises(ConfigError, match=f"{count} layers are {role}"):
        builder.replace(role, Mark("new"))


def test_a_seed_survives_every_step() -> None:
    """Whatever is added or replaced."""
    builder = ServiceBuilder(seed=7).layer(Mark("x")).replace("Mark", Mark("y"))

    assert 7 == builder.seed
    assert None is ServiceBuilder().seed


def test_a_layer_object_keeps_no_state_of_a_stack() -> None:
    """One builder, two stacks: each has services of its own."""
    builder = built(Counting("one"))
    first, second = builder.service(echo), builder.service(echo)
    ask(first)

    assert ({"one": {"calls": 1}}, {"one": {"calls": 0}}) == (
        first.statistics(),
        second.statistics(),
    )


@frozen
class Dice:
    """A layer whose service draws a number for each call."""

    role: str = "dice"
    rng: Random | None = field(default=None, eq=False, repr=False)

    def __call__(self, inner: Any_, /) -> Any_:
        rng = self.rng or Random()

        async def service(request: list[float], /) -> list[float]:
            draw = rng.random()
            return [draw, *(await inner(request))]

        return service


def draws(stack: Any_, calls: int = 3) -> list[list[float]]:
    return [ask(stack, []) for _ in range(calls)]


def test_the_same_seed_rolls_the_same() -> None:
    """In two stacks of one builder, and of equal builders; another seed rolls other numbers."""
    builder = ServiceBuilder((Dice(), Dice()), seed=0)
    expected = draws(builder.service(echo))

    assert expected == draws(builder.service(echo))
    assert expected == draws(ServiceBuilder(seed=0).layer(Dice()).layer(Dice()).service(echo))
    assert expected != draws(ServiceBuilder((Dice(), Dice()), seed=1).service(echo))
    assert None is builder.layers[0].rng  # type: ignore[attr-defined]


def test_without_a_seed_chance_is_chance() -> None:
    """Two stacks roll differently."""
    builder = ServiceBuilder((Dice(),))

    assert draws(builder.service(echo)) != draws(builder.service(echo))


def test_each_layer_has_dice_of_its_own() -> None:
    """Nobody's draws move when another one draws more: also one object used twice has two."""
    dice = Dice()
    stack = ServiceBuilder((dice, dice, either(bool, dice, dice)), seed=3).service(echo)
    columns = list(zip(*draws(stack), strict=True))
    other = ServiceBuilder((dice, layer_fn(again_first), dice), seed=3).service(echo)

    assert 3 == len(set(columns))
    assert list(columns[0]) == [row[0] for row in draws(other)]


async def again_first(inner: Any_, request: list[float]) -> list[float]:
    await inner(request)
    return await inner(request)  # type: ignore[no-any-return]


def test_dice_that_were_given_are_kept() -> None:
    """A seed is for those who have none."""
    stack = ServiceBuilder((Dice(rng=Random(5)), Dice()), seed=0).service(echo)
    rng = Random(5)

    assert [rng.random() for _ in range(3)] == [row[0] for row in draws(stack)]


def test_a_seed_reaches_both_ways_of_a_choice() -> None:
    """However deep; the two ways roll for themselves."""

    def full(request: list[float]) -> bool:
        return bool(request)

    choice = either(full, Dice(), either(full, optional(None), Dice()))
    stacks = [ServiceBuilder((choice,), seed=9).service(echo) for _ in range(2)]
    then, otherwise = ([ask(stack, [1.0])[0] for stack in stacks], [ask(s, [])[0] for s in stacks])

    assert 1 == len(set(then))
    assert 1 == len(set(otherwise))
    assert set(then) != set(otherwise)


class Plain:
    """A layer that is a plain class of a user, with chance of its own kind."""

    rng = None

    def __call__(self, inner: Any_, /) -> Any_:
        return inner


def test_a_seed_does_no_harm_to_other_layers() -> None:
    """Functions and classes of any kind are layers."""
    stack = ServiceBuilder((Plain(), Mark("x"), lambda inner: inner), seed=0).service(echo)

    assert "?x/x" == ask(stack)


PROGRAM: Final = """
import asyncio
from llmstack.builder import ServiceBuilder
from llmstack.testing.scripted import echo
from tests.test_builder import Dice, draws

roles = {"retry", "hedge", "router", "shed"}  # a set, for its order follows the hash seed
print(sorted(roles) != list(roles))
layers = tuple(Dice(role) for role in sorted(roles))
print(draws(ServiceBuilder(layers, seed=42).service(echo)))
"""


def printed(hash_seed: str) -> str:
    """What the program prints in a process with that hash seed."""
    root = Path(__file__).parents[1]
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, cwd=root, capture_output=True, check=True
    )
    return run.stdout.decode().splitlines()[-1]


def test_the_same_seed_rolls_the_same_in_every_process() -> None:
    """Under any hash seed, and as here."""
    here = draws(
        ServiceBuilder(tuple(map(Dice, ["hedge", "retry", "router", "shed"])), seed=42).service(
            echo
        )
    )

    assert [str(here)] * 2 == [printed("1"), printed("2")]


@frozen
class Counting:
    """A layer with a role, a place and statistics."""

    role: str
    limit: int = field(default=64, kw_only=True)
    above: dict[str, str] = field(factory=dict, repr=False, kw_only=True)
    below: dict[str, str] = field(factory=dict, repr=False, kw_only=True)
    endpoints: Any = field(default=(), repr=False, kw_only=True)

    def __call__(self, inner: Any_, /) -> CountingService:
        return CountingService(self, inner)

    def bound(self, inner: Bound, /) -> Bound:
        return Bound(2 * inner.calls, 5.0)


@define(eq=False)
class CountingService:
    layer: Counting
    inner: Any_
    calls: int = 0

    async def __call__(self, request: object, /) -> object:
        self.calls += 1
        return await self.inner(request)

    def statistics(self) -> dict[Hashable, int]:
        return {"calls": self.calls}


def test_what_cannot_be_called_is_no_service() -> None:
    """Neither a floor nor what a layer makes; the error names it."""
    with pytest.raises(ConfigError, match="the floor is no service but None"):
        ServiceBuilder().service(None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="forgetful is no service but None"):
        ServiceBuilder().layer(forgetful).service(echo)


def forgetful(_inner: object) -> Any:  # noqa: ANN401 -- a layer that mypy would refuse
    """Be a layer without a return."""
