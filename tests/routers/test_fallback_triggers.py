"""After what a fallback is asked: triggers by name, for the list and for single entries."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import pytest

from llmstack import errors
from llmstack.builder import ServiceBuilder
from llmstack.endpoint import Capabilities, Endpoint, EndpointSet
from llmstack.errors import (
    AuthFailed,
    BadRequest,
    ConcurrencyFull,
    ConfigError,
    ConnectionFailed,
    ContentFiltered,
    ContextLengthExceeded,
    LLMStackError,
    NoEndpoint,
    Overloaded,
    PermissionDenied,
    RateLimited,
    ServerError,
    Untranslatable,
    UpstreamError,
    UpstreamTimeout,
)
from llmstack.layers.retry import Retry
from llmstack.messages import Request, dispatch
from llmstack.routers.fallback import Fallback
from llmstack.routers.triggers import TRIGGERS, Rule
from llmstack.testing.scripted import ScriptedService, echo
from llmstack.testing.virtual import run_virtual
from tests.routers.stage import Actors, listed, outcome_of


#: The names that each class of errors goes by; all but these are for no name but "any".
NAMED: Final = {
    "RateLimited": "rate_limit",
    "QuotaExhausted": "rate_limit",
    "ServerError": "server",
    "Overloaded": "server",
    "ProtocolError": "server",
    "EmptyResponse": "server",
    "UpstreamTimeout": "timeout",
    "ConnectionFailed": "network",
    "ConnectionLost": "network",
    "AuthFailed": "auth",
    "PermissionDenied": "auth",
    "ContextLengthExceeded": "context_length",
    "ContentFiltered": "content_filter",
}
UPSTREAM: Final = [
    kind
    for name in errors.__all__
    if isinstance(kind := getattr(errors, name), type) and issubclass(kind, UpstreamError)
]

Script = Sequence[str | LLMStackError]


def walked(
    layer: Fallback, request: Request | None = None, retry: Retry | None = None
) -> tuple[object, float]:
    service = layer(dispatch)
    return run_virtual(outcome_of(retry(service) if retry else service, request or Request()))  # type: ignore[arg-type]


def entries(*scripts: Script, windows: Sequence[int | None] = ()) -> tuple[list[Endpoint], Any]:
    """Endpoints a, b, c … that act as told, some with a window; and their services."""
    services = [ScriptedService[Request, str](script) for script in scripts]
    known = [*windows, *[None] * len(services)]
    there = [
        Endpoint(name, service, capabilities=Capabilities(context=window) if window else None)
        for name, service, window in zip("abcde", services, known, strict=False)
    ]
    return there, services


def asked(services: Sequence[ScriptedService[Any, Any]]) -> list[int]:
    return [len(service.calls) for service in services]


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_name_stands_for_classes(name: str) -> None:
    """As the table says; "any" for all that comes from an endpoint."""
    rule = Rule((name,))  # type: ignore[arg-type]
    by_name = {kind.__name__ for kind in UPSTREAM if NAMED.get(kind.__name__) == name}
    meant = {kind.__name__ for kind in UPSTREAM} if name == "any" else by_name

    assert meant == {kind.__name__ for kind in UPSTREAM if rule.matches(kind, elsewhere=False)}
    assert not rule.matches(ConcurrencyFull, elsewhere=True)


@pytest.mark.parametrize(
    ("trigger", "error", "goes_on"),
    [
        ("rate_limit", RateLimited(), True),  # FO-1
        ("rate_limit", ServerError(status=503), False),
        ("server", ServerError(status=503), True),  # FO-2
        ("server", Overloaded(status=503), True),
        ("server", RateLimited(), False),
        ("timeout", UpstreamTimeout(), True),  # FO-3
        ("timeout", UpstreamTimeout(phase="total"), True),
        ("auth", AuthFailed(), True),
        ("auth", PermissionDenied(), True),
        ("any", RateLimited(), True),  # FO-4
        ("any", AuthFailed(), True),
        ("any", BadRequest(), True),
        ("server", BadRequest(status=499), False),  # FO-7
        ("server", ServerError(status=500), True),
        ("network", ConnectionFailed(), True),
        ("content_filter", ContentFiltered(), True),
        ("context_length", ContextLengthExceeded(), True),
        ("context_length", BadRequest(), False),
    ],
)
def test_triggers_by_name(trigger: Any, error: LLMStackError, *, goes_on: bool) -> None:  # noqa: ANN401
    """For the list, and in the same way for one entry after a first that is asked anyhow."""
    for settings in ({"triggers": [trigger]}, {"triggers": [], "after": {"b": [trigger]}}):
        there, services = entries([error], ["ok"])
        outcome, _ = walked(Fallback(there, **settings))

        assert ("ok" if goes_on else error) == outcome
        assert [1, int(goes_on)] == asked(services)


def test_any_is_never_a_caller_who_leaves() -> None:
    """FO-4: a cancellation passes whatever is named, and so does a bug."""
    inner = Actors({"a": "bug"}, delay=1.0)
    router = Fallback(listed([1, 1]), triggers=["any"], after={"b": ["any"]})(inner)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await outcome_of(router, Request())
        assert isinstance(await outcome_of(router, Request()), ZeroDivisionError)

    run_virtual(main())

    assert ["a", "a"] == [name for name, _ in inner.asked]


@pytest.mark.parametrize(
    ("asked_for", "model"),
    [("gpt-4o", "sonnet"), ("gpt-4o-mini", "haiku"), ("unknown", None)],
)
def test_a_model_is_mapped_for_each_entry(asked_for: str, model: str | None) -> None:
    """FO-5: a name that the map lacks is not served there, unless it is said to pass on."""
    names = {"gpt-4o": "sonnet", "gpt-4o-mini": "haiku"}
    fails = ServerError()
    for more, seen in (({}, model), ({"*": "*"}, model or asked_for)):
        primary = ScriptedService[Request, str]([fails])
        other = ScriptedService[Request, str](["ok"])
        there = [Endpoint("a", primary), Endpoint("b", other, models={**names, **more})]
        outcome, _ = walked(Fallback(there), Request(asked_for))

        assert ("ok" if seen else fails) == outcome
        assert ([seen] if seen else []) == [request.model for _, request in other.calls]


def test_settings_by_name_are_kept() -> None:
    """FO-6: each once, in the order given; and shown as they were given."""
    layer = Fallback(
        listed([1, 1, 1]),
        triggers=["rate_limit", "timeout", RateLimited, "rate_limit"],
        after={"c": ["any", "any", ServerError]},
        max_attempts=1,
        retry_primary=2,
    )

    assert ("rate_limit", "timeout", RateLimited) == layer.triggers
    assert {"c": ("any", ServerError)} == layer.after
    assert (
        "Fallback(endpoints=[a, b, c], triggers=[rate_limit, timeout, RateLimited], "
        "after={c: [any, ServerError]}, max_attempts=1, retry_primary=2)" == repr(layer)
    )
    assert hash(layer) != hash(Fallback(listed([1, 1, 1])))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"triggers": []}, "triggers: there is none, so no failure would lead on; name some, or l"),
        ({"triggers": ["rate"]}, "triggers: 'rate' is no class of llmstack's errors, nor one of r"),
        ({"after": {"b": [ValueError]}}, "is no class of llmstack's errors"),
        ({"after": {"x": ["any"]}}, "after: no endpoint is named 'x'"),
        ({"after": {"a": ["any"]}}, "after: 'a' is the first, so it is asked after nobody"),
        ({"after": {"b": []}}, "after: 'b' has no triggers, so it would never be asked"),
    ],
)
def test_what_cannot_be_is_named(settings: dict[str, Any], says: str) -> None:
    """Where it is written, and not at the first failure."""
    with pytest.raises(ConfigError, match=says):
        Fallback(listed([1, 1]), **settings)


def test_an_entry_that_comes_later_may_have_triggers() -> None:
    """Of a set, the members come and go: who is in it when a call fails is asked."""
    there, services = entries([BadRequest(), BadRequest()], ["ok"])
    shared = EndpointSet(there[:1])
    router = Fallback(shared, after={"b": ["any"]})(dispatch)

    async def main() -> list[str]:
        before = await outcome_of(router, Request())
        shared.add(there[1])
        return [type(before).__name__, str(await outcome_of(router, Request()))]

    assert ["BadRequest", "ok"] == run_virtual(main())[0]
    assert [2, 1] == asked(services)


def test_each_entry_has_its_failures() -> None:
    """What does not fit the one before is passed by, and the last failure decides."""
    there, services = entries([BadRequest()], ["never"], [RateLimited()], ["never"], ["ok"])
    after: Any = {"c": ["any"], "d": ["server", "auth"], "e": ["rate_limit"]}

    assert "ok" == walked(Fallback(there, after=after))[0]
    assert [1, 0, 1, 0, 1] == asked(services)


def test_an_entry_for_the_requests_own_faults_is_not_for_refusals() -> None:
    """A full house says nothing of the prompt; then why it was not asked is said."""
    there, services = entries([ConcurrencyFull("full")], ["never"])
    outcome, _ = walked(Fallback(there, after={"b": ["context_length", "content_filter"]}))

    assert isinstance(outcome, NoEndpoint)
    assert "a: full; b: is asked only after context_length or content_filter" in outcome.message
    assert [1, 0] == asked(services)

    there, _ = entries([ConcurrencyFull("full")], ["ok"])
    assert "ok" == walked(Fallback(there, after={"b": ["rate_limit", "context_length"]}))[0]


def test_a_request_that_nobody_can_say_is_the_callers() -> None:
    """All who may be asked refuse it for good; who waits for something else is not counted."""
    refusal = Untranslatable("has no word for it")
    there, _ = entries([refusal], ["never"])
    layer = Fallback(there, after={"b": ["context_length"]})
    assert refusal is walked(layer)[0]

    there, services = entries([ConcurrencyFull()], [Untranslatable("has no word for it")])
    assert isinstance(walked(Fallback(there))[0], NoEndpoint)
    assert [1, 1] == asked(services)


LONG: Final = ContextLengthExceeded


@pytest.mark.parametrize(
    ("windows", "triggers", "expected"),
    [
        ((8, 32), ["context_length"], "b"),
        ((8, 32), ["any"], "b"),
        ((8, 32), [BadRequest], "b"),
        ((8, 32), None, None),  # no other endpoint may have it, unless it is named
        ((8, 8), ["context_length"], None),
        ((32, 8), ["context_length"], None),
        ((8, None), ["context_length"], "b"),
        ((None, 8), ["context_length"], "b"),
        ((8, None), [LONG], "b"),
        ((8, None), ["any"], None),
        ((None, 8), ["any"], None),
        ((None, None), [BadRequest], None),
    ],
)
def test_too_long_is_asked_only_of_a_larger_window(
    windows: Sequence[int | None],
    triggers: Any,  # noqa: ANN401
    expected: str | None,
) -> None:
    """A size that is not known will do where the trigger is named, and only there."""
    there, services = entries([LONG()], ["b"], windows=windows)
    outcome, _ = walked(Fallback(there, triggers=triggers))

    assert (expected or "ContextLengthExceeded") in {outcome, type(outcome).__name__}
    assert [1, int(expected is not None)] == asked(services)


def test_what_is_too_long_as_far_as_one_can_see_counts() -> None:
    """The small one is not asked at all, so the large one stands in for it at once."""
    there, services = entries(["small"] * 2, ["large"] * 2, ["tiny"] * 2, windows=[100, None, 5])
    layer = Fallback(there, after={"b": ["context_length"]})

    def ask(words: int, tokens: int = 1) -> object:
        body = {"messages": [{"role": "user", "content": "word " * words}], "max_tokens": tokens}
        return walked(layer, Request(body=body))[0]

    assert "small" == ask(20)
    assert "large" == ask(200)
    assert "large" == ask(1, 100)
    assert [1, 2, 0] == asked(services)

    there, services = entries([ConcurrencyFull()], ["large"], ["tiny"], windows=[100, None, 5])
    body = {"messages": [{"role": "user", "content": "word " * 20}]}
    layer = Fallback(there, after={"b": ["context_length"]})
    assert isinstance(walked(layer, Request(body=body))[0], NoEndpoint)
    assert [1, 0, 0] == asked(services)


def test_a_plan_says_after_what_each_is_asked() -> None:
    """Those whom refusals lead to by place; the others with what they wait for."""
    there, _ = entries([], [], [], [])
    layer = Fallback(there, triggers=["auth"], after={"b": ["rate_limit", Overloaded], "c": [LONG]})
    router = layer(echo)

    async def main() -> list[str]:
        return str(router.plan(Request())).splitlines()

    second = "number 2 in the order declared"
    assert [
        "a: asked first; score 1 (place 1); number 1 in the order declared",
        f"b: asked if 1 refuse; score 2 (place 2); {second}, after rate_limit or Overloaded",
        "d: asked if 2 refuse; score 4 (place 4); number 4 in the order declared, after auth",
        "c: left out; is asked only after ContextLengthExceeded",
    ] == asyncio.run(main())
    assert "after a refusal" == Rule(()).says
    shared = EndpointSet(there[:2])
    shared.disable("a")
    router = Fallback(shared, after={"b": ["any"]})(echo)
    first = "b: asked first; score 1 (place 1); number 1 in the order declared, after any"
    assert first == asyncio.run(main())[0]
    assert "after what may not happen elsewhere" == Rule().says


def test_nothing_is_watched_where_no_setting_needs_it() -> None:
    """The plain list costs what it did."""
    for settings in ({}, {"triggers": ["server", "auth"]}):
        router = Fallback(listed([1, 1]), **settings)(echo)  # type: ignore[arg-type]
        assert echo is router.inner
        assert [None] * 3 == [router.accepts, router.bars, router.learns]


def test_the_builder_says_what_is_asked_after_what() -> None:
    """In the description of a stack, with the bound, which triggers do not change."""
    layer = Fallback(listed([1, 1]), after={"b": ["context_length"]})
    described = ServiceBuilder().layer(layer).service(echo).describe()

    assert "after={b: [context_length]}" in described
    assert "at most 2 upstream calls" in described
