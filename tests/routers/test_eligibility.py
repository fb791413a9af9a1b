"""Who may be asked at all, and who first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.call import Attempt
from llmstack.endpoint import Capabilities, Endpoint
from llmstack.errors import NoEndpoint
from llmstack.messages import Request
from llmstack.routers.eligibility import MEMBERS_LEFT, is_plain, tiers, unfit, untried
from llmstack.testing.scripted import echo
from tests.routers.stage import ROUTERS, Actors, Router, listed, outcome_of


TOOLS: Final = {"tools": [{"type": "function"}]}
IMAGE: Final = {"messages": [{"content": [{"type": "text"}, {"type": "image_url"}]}]}
CHAT: Final = {"messages": [{"role": "user", "content": "Say hello."}]}  # about 9 tokens


def endpoint(**able: Any) -> Endpoint:  # noqa: ANN401 -- the fields of Capabilities
    return Endpoint("e", echo, capabilities=Capabilities(**able))


@pytest.mark.parametrize(
    ("able", "body", "why"),
    [
        ({}, {**TOOLS, **IMAGE, "max_tokens": 10**9}, ""),
        ({"tools": False}, CHAT, ""),
        ({"tools": False}, TOOLS, "has no tools"),
        ({"tools": False}, {"tools": []}, ""),
        ({"tools": False}, {"functions": [{"name": "f"}]}, "has no tools"),
        ({"json_mode": False}, {"response_format": {"type": "json_object"}}, "has no JSON mode"),
        ({"json_mode": False}, {"response_format": {"type": "json_schema"}}, "has no JSON mode"),
        ({"json_mode": False}, {"response_format": {"type": "text"}}, ""),
        ({"json_mode": False}, {"response_format": "json_object"}, ""),
        (
            {"json_mode": False},
            {"text": {"format": {"type": "json_object"}}},
            "has no JSON mode",
        ),
        (
            {"json_mode": False},
            {"output_config": {"format": {"type": "json_schema"}}},
            "has no JSON mode",
        ),
        ({"json_mode": False}, {"text": {"format": {"type": ["text"]}}}, ""),
        ({"vision": False}, {"input": [{"content": [{"type": "input_image"}]}]}, "images"),
        ({"vision": False}, {"input": "image"}, ""),
        ({"vision": False}, IMAGE, "reads no images"),
        ({"vision": False}, {"messages": [{"content": [{"type": "input_image"}]}]}, "images"),
        ({"vision": False}, {"messages": [{"content": [{"type": "image"}]}]}, "reads no images"),
        ({"vision": False}, {"messages": [{"content": [{"type": "text"}, "image"]}]}, ""),
        ({"vision": False}, {"messages": [{"content": "image_url"}, "image", {}]}, ""),
        ({"vision": False}, {"messages": "image_url"}, ""),
        ({"max_output": 50}, {"max_tokens": 50}, ""),
        ({"max_output": 50}, {"max_tokens": 51}, "writes at most 50 tokens, not 51"),
        ({"max_output": 50}, {"max_completion_tokens": 51, "max_tokens": 1}, "at most 50"),
        ({"max_output": 50}, CHAT, ""),
        ({"context": 9}, CHAT, ""),
        ({"context": 8}, CHAT, "holds 8 tokens, and about 9 are needed"),
        ({"context": 29}, {**CHAT, "max_tokens": 20}, ""),
        ({"context": 28}, {**CHAT, "max_tokens": 20}, "holds 28 tokens, and about 29"),
        ({"tools": False, "vision": False}, TOOLS | IMAGE, "has no tools, reads no images"),
    ],
)
def test_an_endpoint_is_not_asked_for_what_it_cannot_do(
    able: dict[str, Any], body: dict[str, Any], why: str
) -> None:
    """Each ability with what asks for it, and the limits to the token."""
    found = unfit(Request(body=body), endpoint(**able))

    assert (why in found) if why else (why == found), found


@pytest.mark.parametrize(
    ("model", "tags", "why"),
    [
        ("gpt", "eu", ""),
        ("gpt", "", ""),
        ("other", "", "does not serve model 'other'"),
        ("gpt", "eu us no-logs", "does not promise no-logs, us"),
    ],
)
def test_models_and_promises(model: str, tags: str, why: str) -> None:
    """A model that the map lacks is not served, and a tag must be there."""
    there = Endpoint("e", echo, models={"gpt": "gpt-4"}, tags=frozenset({"eu", "zdr"}))

    assert why == unfit(Request(model, tags=frozenset(tags.split())), there)


def test_weight_zero_takes_nothing() -> None:
    """It is the first thing looked at: the rest may be fine."""
    assert "has weight 0" == unfit(Request(), Endpoint("e", echo, 0))
    assert "" == unfit(Request(), Endpoint("e", echo, 5e-324))


weights = st.sampled_from([0.0, 0.5, 1.0])
abilities = st.none() | st.builds(Capabilities, tools=st.booleans())
models = st.sampled_from([None, "gpt", {"x": "y"}, {"*": "*"}])
endpoints = st.builds(
    lambda weight, able, models: Endpoint("e", echo, weight, capabilities=able, models=models),
    weights,
    abilities,
    models,
)


@given(there=endpoints, model=st.sampled_from(["", "x", "z"]), tools=st.booleans())
def test_who_is_plain_needs_no_look(there: Endpoint, model: str, *, tools: bool) -> None:
    """Plain means that no request without tags would be kept from it; nothing else is."""
    request = Request(model, TOOLS if tools else {})
    plain = there.weight and there.capabilities is None and not isinstance(there.models, dict)

    assert bool(plain) == is_plain(there)
    assert not is_plain(there) or unfit(request, there) == ""


@pytest.mark.parametrize("kind", ROUTERS)
@pytest.mark.parametrize("tags", [frozenset[str](), frozenset({"eu"})])
def test_a_router_asks_only_who_fits(kind: type[Router], tags: frozenset[str]) -> None:
    """P-LB-1: the others are not even refused to, and `NoEndpoint` says why at once."""
    there = [
        Endpoint("zero", echo, 0),
        Endpoint("map", echo, models={"x": "y"}),
        Endpoint("able", echo, capabilities=Capabilities(tools=False)),
        Endpoint("us", echo),
        Endpoint("eu", echo, tags=tags),
    ]
    wanted = Request("m", TOOLS, tags=frozenset({"eu"}))
    inner = Actors()
    outcome = asyncio.run(outcome_of(kind(there)(inner), wanted))

    if tags:
        assert "eu" == outcome
        assert [("eu", False)] == inner.asked
        return
    assert isinstance(outcome, NoEndpoint)
    assert [] == inner.asked
    assert outcome.message.endswith(
        "(zero: has weight 0; map: does not serve model 'm'; able: does not promise eu; "
        "us: does not promise eu; eu: does not promise eu)"
    )


@pytest.mark.parametrize("kind", ROUTERS)
def test_promises_are_looked_at_where_all_else_is_plain(kind: type[Router]) -> None:
    """A request without tags may go to anybody, one with tags may not."""
    there = [Endpoint("us", echo), Endpoint("eu", echo, tags=frozenset({"eu"}))]
    router = kind(there)(Actors({"eu": "hard"}))

    async def main() -> list[object]:
        wanted = Request(tags=frozenset({"eu"}))
        return [await outcome_of(router, Request()), await outcome_of(router, wanted)]

    anywhere, outcome = asyncio.run(main())

    assert "us" == anywhere
    assert isinstance(outcome, NoEndpoint)
    assert outcome.message.endswith("(us: does not promise eu; eu: full)")


class Mapped(Actors):
    """Answers with the model that the endpoint is asked for."""

    async def __call__(self, request: Request, /) -> object:
        await super().__call__(request)
        return request.model


@pytest.mark.parametrize("kind", ROUTERS)
def test_the_endpoint_is_asked_for_its_own_model(kind: type[Router]) -> None:
    """FO-5: by the map of each; to pass a name on is said in it."""
    there = [
        Endpoint("a", echo, 0, models="never"),
        Endpoint("b", echo, models={"gpt-4o": "sonnet-4", "gpt-4o-mini": "haiku", "*": "*"}),
    ]
    router = kind(there)(Mapped())

    async def main() -> list[object]:
        return [await router(Request(name)) for name in ("gpt-4o", "gpt-4o-mini", "unknown")]

    assert ["sonnet-4", "haiku", "unknown"] == asyncio.run(main())


NAMES: Final = "abcd"
attempts = st.builds(
    lambda again, ready_at: Attempt("", 0.0, again=again, ready_at=ready_at),
    st.booleans(),
    st.sampled_from([MEMBERS_LEFT, -1.0, 0.0, 5.0, 5.1, inf]),
)


@given(
    st.permutations(NAMES),
    st.dictionaries(st.sampled_from(NAMES), attempts),
    st.sets(st.sampled_from(NAMES)),
)
def test_tiers_have_each_at_most_once(
    order: Sequence[str], tried: dict[str, Attempt], away: set[str]
) -> None:
    """By name: the untried, groups with members left, those ready by now; in the given order."""
    named = {each.name: each for each in listed([1] * len(NAMES))}
    fit = [named[name] for name in order]
    found = [[each.name for each in tier] for tier in tiers(fit, tried, 5.0)]

    def place(name: str) -> int:
        attempt = tried.get(name)
        if attempt is None:
            return 0
        if not attempt.again or attempt.ready_at > 5.0:
            return -1
        return 1 if attempt.ready_at == -inf else 2

    assert [[name for name in order if place(name) == n] for n in range(3)] == found
    open_to = [n for n in order if n not in tried or tried[n].ready_at == -inf]
    assert len([name for name in open_to if name not in away]) == untried(fit, tried, away)
