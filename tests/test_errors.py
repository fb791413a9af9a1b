"""The tree of errors: the drawing, the behaviour of each class, and the facts it carries."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack import errors
from llmstack.errors import (
    Blame,
    BudgetExceeded,
    CircuitOpen,
    ConfigError,
    ConnectionLost,
    DeadlineExceeded,
    LLMStackError,
    NoEndpoint,
    NotReady,
    Overloaded,
    Phase,
    ProtocolError,
    RateLimited,
    Refused,
    Scope,
    StreamBroken,
    Tried,
    UpstreamError,
    UpstreamTimeout,
    classify,
)


CLASSES: Final[dict[str, type[LLMStackError]]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and LLMStackError in kind.__mro__
}
STEP: Final = len("├── ")

#: again, elsewhere, blames: as the catalogue of failure classes has them.
BEHAVIOUR: Final[dict[str, tuple[bool, bool, Blame]]] = {
    "ConfigError": (False, False, "nobody"),
    "DeadlineExceeded": (False, False, "nobody"),
    "CircuitOpen": (False, True, "nobody"),
    "CoolingDown": (False, True, "nobody"),
    "Unhealthy": (False, True, "nobody"),
    "ConcurrencyFull": (False, True, "nobody"),
    "QuotaFull": (False, True, "nobody"),
    "Disabled": (False, True, "nobody"),
    "Untranslatable": (False, True, "nobody"),
    "NoEndpoint": (False, True, "nobody"),
    "RateLimitedHere": (False, False, "nobody"),
    "BudgetExceeded": (False, False, "nobody"),
    "QueueFull": (False, False, "nobody"),
    "Shed": (False, False, "nobody"),
    "Blocked": (False, False, "nobody"),
    "Draining": (False, False, "nobody"),
    "BadRequest": (False, False, "caller"),
    "ContextLengthExceeded": (False, False, "caller"),
    "ContentFiltered": (False, False, "caller"),
    "PayloadTooLarge": (False, False, "caller"),
    "AuthFailed": (False, True, "key"),
    "PermissionDenied": (False, True, "key"),
    "ModelNotFound": (False, True, "key"),
    "QuotaExhausted": (False, True, "account"),
    "RateLimited": (True, True, "key"),
    "Overloaded": (True, True, "endpoint"),
    "ServerError": (True, True, "endpoint"),
    "ConnectionFailed": (True, True, "endpoint"),
    "ConnectionLost": (True, True, "endpoint"),
    "ProtocolError": (False, True, "endpoint"),
    "EmptyResponse": (True, True, "endpoint"),
    "UpstreamTimeout": (True, True, "endpoint"),
    "StreamBroken": (False, False, "endpoint"),
    "StreamIncomplete": (False, False, "endpoint"),
}
SIDES: Final = (Refused, UpstreamError)
FACTS: Final = {
    "endpoint": "eu",
    "status": 529,
    "code": "busy",
    "request_id": "req_7",
    "retry_after": 2.5,
    "ready_at": 17.0,
    "untried": 3,
}


def drawn() -> list[tuple[str, str | None]]:
    """Each name in the drawing with the name of its parent, top to bottom."""
    tree: list[tuple[str, str | None]] = []
    path: list[str] = []
    for line in inspect.cleandoc(errors.__doc__ or "").splitlines():
        before, branch, after = line.partition("── ")
        if not branch and line.strip() != "LLMStackError":
            continue
        depth = 0 if not branch else (len(before) - STEP - 1) // STEP + 1
        name = (after or before).split()[0]
        path[depth:] = [name]
        tree.append((name, path[depth - 1] if depth else None))
    return tree


def test_drawing_and_classes_are_the_same() -> None:
    """Each drawn class exists, under that parent; each class is drawn, once, in that order."""
    classes = [
        (name, None if kind is LLMStackError else kind.__bases__[0].__name__)
        for name, kind in CLASSES.items()
    ]

    assert len(classes) > len(BEHAVIOUR)
    assert drawn() == classes


def test_the_public_names_are_the_classes_and_their_words() -> None:
    """Sorted and complete."""
    others = {"Blame", "Cool", "Phase", "Scope", "Tried", "classify"}

    assert sorted({*CLASSES, *others}) == errors.__all__


def test_every_class_that_is_raised_is_in_the_table() -> None:
    """The table below has each leaf of the tree, and those that are raised as they are."""
    parents = {kind.__bases__[0].__name__ for kind in CLASSES.values()}
    leaves = set(CLASSES) - parents | {"BadRequest"}

    assert leaves == set(BEHAVIOUR)


#: What is put aside and for how long; whatever is not here puts nothing aside.
COOLS: Final[dict[str, tuple[Scope, float]]] = {
    "AuthFailed": ("key", 600.0),
    "PermissionDenied": ("key_model", 600.0),
    "ModelNotFound": ("key_model", 600.0),
    "QuotaExhausted": ("account", 3600.0),
    "RateLimited": ("key_model", 1.0),
    "Overloaded": ("endpoint", 2.0),
}


@pytest.mark.parametrize("name", CLASSES)
def test_what_cools_is_what_the_catalogue_says(name: str) -> None:
    """A key, an account, an endpoint, or nothing; a reply may name another scope."""
    cools = CLASSES[name].cools

    assert COOLS.get(name) == (cools and (cools.scope, cools.seconds))


@pytest.mark.parametrize("name", BEHAVIOUR)
def test_behaviour_is_what_the_catalogue_says(name: str) -> None:
    """May it be asked again, may another one be asked, and who is blamed."""
    error = CLASSES[name]()

    assert BEHAVIOUR[name] == (error.again, error.elsewhere, error.blames)
    assert BEHAVIOUR[name][:2] == (CLASSES[name].again, CLASSES[name].elsewhere)


def test_what_except_clauses_of_the_standard_library_catch() -> None:
    """Wrong settings are a ValueError and what takes too long a TimeoutError; nothing else is."""
    kinds = {ValueError: {ConfigError}, TimeoutError: {DeadlineExceeded, UpstreamTimeout}}

    for standard, expected in kinds.items():
        assert expected == {kind for kind in CLASSES.values() if standard in kind.__mro__}


@pytest.mark.parametrize(
    ("phase", "goes_on"),
    [("connect", True), ("first_token", True), ("idle", False), ("total", False)],
)
def test_only_a_timeout_before_the_first_content_may_be_asked_again(
    phase: Phase, *, goes_on: bool
) -> None:
    """Whatever the phase, the endpoint is to blame; the class is as before afterwards."""
    error = UpstreamTimeout(phase=phase)

    assert phase in UpstreamTimeout.phases
    assert (goes_on, goes_on, "endpoint") == (error.again, error.elsewhere, error.blames)
    assert phase == error.phase
    assert (True, True) == (UpstreamTimeout.again, UpstreamTimeout.elsewhere)


def test_the_phases_are_four_and_the_first_is_waited_for() -> None:
    """In the order in which they pass; a timeout without one is that of the first token."""
    assert ("connect", "first_token", "idle", "total") == UpstreamTimeout.phases
    assert "first_token" == UpstreamTimeout().phase


def broken_by(cause: Exception | None) -> StreamBroken:
    """A stream's error as it comes out of an except block."""
    with pytest.raises(StreamBroken) as caught:
        raise StreamBroken("cut") from cause
    return caught.value


@pytest.mark.parametrize(
    ("cause", "blames"),
    [
        (None, "endpoint"),
        (OSError("reset"), "endpoint"),
        (ConnectionLost(), "endpoint"),
        (RateLimited(), "key"),
        (errors.QuotaExhausted(), "account"),
        (errors.ContentFiltered(), "caller"),
    ],
    ids=repr,
)
def test_a_broken_stream_blames_whom_its_cause_blames(
    cause: Exception | None, blames: Blame
) -> None:
    """So a 429 in the middle of a stream is not held against the endpoint."""
    assert blames == broken_by(cause).blames


@pytest.mark.parametrize("name", CLASSES)
def test_no_error_needs_an_argument_and_all_have_words(name: str) -> None:
    """Without a message it says what its class says: one line, small, without the full stop."""
    error = CLASSES[name]()
    sentence = (CLASSES[name].__doc__ or "").split("\n")[0]

    assert "." == sentence[-1]
    assert sentence[0].lower() + sentence[1:-1] == error.message == str(error)


@pytest.mark.parametrize("name", CLASSES)
def test_the_message_is_what_was_said(name: str) -> None:
    """The message alone without facts, and the message first with them."""
    error = CLASSES[name]("all 64 permits are out")
    error.endpoint = "eu"

    assert "all 64 permits are out" == error.message
    assert "all 64 permits are out (endpoint eu)" == str(error)


def test_an_error_says_where_and_with_which_status() -> None:
    """All facts that a person asks for, in a fixed order; those that are unknown are left out."""
    full = Overloaded("busy now", endpoint="eu", status=529, code="c", request_id="r", untried=2)
    none = Overloaded("busy now", retry_after=3.0, ready_at=4.0, untried=1)

    assert "busy now (endpoint eu, status 529, code c, request r)" == str(full)
    assert "busy now (status 0)" == str(Overloaded("busy now", status=0))
    assert "busy now" == str(none)


def test_a_subclass_of_a_user_without_a_text_is_named() -> None:
    """A class without a docstring says its name."""

    class Strange(UpstreamError):
        pass

    Strange.__doc__ = None

    assert "Strange" == str(Strange())


def test_an_error_that_lost_its_arguments_has_words() -> None:
    """As some libraries make of an error when they copy it."""
    error = Overloaded("busy")
    error.args = ()

    assert "the provider is at its limit" == str(error)


def facts_of(error: LLMStackError) -> dict[str, object]:
    return {name: getattr(error, name) for name in FACTS}


@pytest.mark.parametrize("name", [n for n, k in CLASSES.items() if not issubclass(k, Refused)])
def test_whoever_was_asked_may_have_said_all_the_facts(name: str) -> None:
    """Each is a keyword of the class and an attribute of the error, unknown unless given."""
    kind = CLASSES[name]
    facts = {key: value for key, value in FACTS.items() if key != "ready_at"}

    assert {**dict.fromkeys(FACTS), "untried": 0} == facts_of(kind("x"))
    assert {**facts, "ready_at": None} == facts_of(kind("x", **facts))  # type: ignore[arg-type]
    assert () == kind("x").attempts


@pytest.mark.parametrize("name", [n for n, k in CLASSES.items() if issubclass(k, NotReady)])
def test_a_refusal_to_an_endpoint_knows_when_and_how_firmly(name: str) -> None:
    """Where, until when, how many are left, and whether it is soft; hard unless said."""
    kind = CLASSES[name]
    assert issubclass(kind, NotReady)
    told = kind("x", soft=True, endpoint="eu", retry_after=1.5, ready_at=9.0, untried=2)
    expected = {**dict.fromkeys(FACTS), "endpoint": "eu", "retry_after": 1.5, "ready_at": 9.0}

    assert {**expected, "untried": 2} == facts_of(told)
    assert (True, False) == (told.soft, kind().soft)


def pickled(error: LLMStackError) -> LLMStackError:
    other = pickle.loads(pickle.dumps(error))
    assert isinstance(other, LLMStackError)
    return other


WAYS: Final[dict[str, Callable[[LLMStackError], LLMStackError]]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": pickled,
}


def told(name: str) -> LLMStackError:
    """An error of that class with all facts, however they came."""
    error = CLASSES[name]("what was said")
    for key, value in FACTS.items():
        setattr(error, key, value)
    error.attempts = (Tried("eu", 1.0, 2.0, "failed", "Overloaded", 529, "its turn"),)
    return error


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("way", WAYS)
def test_a_copy_has_all_that_the_error_has(name: str, way: str) -> None:
    """So errors may cross processes and be kept in a cache."""
    error = told(name)
    other = WAYS[way](error)

    assert other is not error
    assert type(error) is type(other)
    assert vars(error) == vars(other)
    assert (error.args, str(error)) == (other.args, str(other))


@pytest.mark.parametrize("phase", UpstreamTimeout.phases)
def test_a_copy_of_a_timeout_keeps_its_phase(phase: Phase) -> None:
    """And with it whether it may be asked again."""
    error = UpstreamTimeout("slow", phase=phase)
    other = pickle.loads(pickle.dumps(error))

    assert (phase, error.again, error.elsewhere) == (other.phase, other.again, other.elsewhere)


@pytest.mark.parametrize("error", [CircuitOpen("x", soft=True), NoEndpoint("x", ready_at=4.0)])
def test_a_copy_of_a_refusal_keeps_whether_it_is_soft(error: NotReady) -> None:
    """And until when it holds."""
    other = pickle.loads(pickle.dumps(error))

    assert (error.soft, error.ready_at) == (other.soft, other.ready_at)


@pytest.mark.parametrize("name", CLASSES)
def test_a_repr_shows_the_class_and_the_message_alone(name: str) -> None:
    """No fact is in it, so none can leak by it."""
    assert f"{name}('what was said')" == repr(told(name))


@given(st.sampled_from(sorted(CLASSES)))
def test_an_error_of_ours_is_judged_by_itself(name: str) -> None:
    """The classifier gives back the same error."""
    error = CLASSES[name]()

    assert error is classify(error)


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), TimeoutError(), KeyboardInterrupt(), ConnectionResetError()],
    ids=repr,
)
def test_what_is_not_ours_is_not_judged(error: BaseException) -> None:
    """Even if an error of ours is of that type too."""
    assert None is classify(error)


def test_what_was_tried_is_a_record() -> None:
    """It compares by value, cannot be changed, and knows little when little is given."""
    bare = Tried("eu", 1.0)

    assert Tried("eu", 1.0, None, None, None, None, "") == bare
    with pytest.raises(AttributeError):
        bare.endpoint = "us"  # type: ignore[misc]


def test_refusals_and_failures_are_apart() -> None:
    """Nothing is both decided here and said by an endpoint."""
    decided, said = ({k for k in CLASSES.values() if side in k.__mro__} for side in SIDES)

    assert not decided & said
    assert not issubclass(BudgetExceeded, NotReady)
    assert issubclass(NoEndpoint, NotReady)
    assert not issubclass(ProtocolError, OSError)
