"""Fallback with all it has, against the documentation as a loop over the entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final

from attrs import evolve, frozen
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack import errors
from llmstack.call import Usage
from llmstack.endpoint import Capabilities, Endpoint, Price
from llmstack.errors import CircuitOpen, ConcurrencyFull, LLMStackError
from llmstack.messages import Request, Response, dispatch
from llmstack.order import Bound
from llmstack.routers.fallback import Fallback
from llmstack.service import Service
from llmstack.testing.virtual import run_virtual
from tests.routers.stage import outcome_of


#: What an entry can do, with the triggers that this pulls; the others are refusals.
PULLS: Final[Mapping[str, set[str]]] = {
    "RateLimited": {"rate_limit", "any"},
    "QuotaExhausted": {"rate_limit", "any"},
    "ServerError": {"server", "any"},
    "Overloaded": {"server", "any"},
    "UpstreamTimeout": {"timeout", "any"},
    "ConnectionLost": {"network", "any"},
    "AuthFailed": {"auth", "any"},
    "ModelNotFound": {"any"},
    "BadRequest": {"any"},
    "ContextLengthExceeded": {"context_length", "any"},
    "ContentFiltered": {"content_filter", "any"},
    "bad": {"unaccepted", "any"},
}
LONG: Final = "ContextLengthExceeded"
#: Those that say ``elsewhere``.
MOVES: Final = set(PULLS) - {"BadRequest", LONG, "ContentFiltered", "bad"}
FAULTS: Final = {"context_length", "content_filter", "unaccepted"}
NAMES: Final = sorted({name for names in PULLS.values() for name in names})


@frozen
class Entry:
    """What one endpoint does, and to who insists; its window; after what it may be asked."""

    act: str
    insisted: str = "good"
    window: int = 0
    own: frozenset[str] | None = None


@frozen
class Scene:
    """A list of entries and what holds for all of them."""

    entries: Sequence[Entry]
    triggers: frozenset[str] | None = None
    most: int = 9


acts: Final = st.sampled_from([*PULLS, *["good", "bad", "soft", "hard", LONG] * 2])
some: Final = st.frozensets(st.sampled_from(NAMES), min_size=1, max_size=3)
entries: Final = st.builds(
    Entry, acts, acts, st.sampled_from([0, 0, 8, 16, 32]), st.none() | st.none() | some
)
scenes: Final = st.builds(
    Scene, st.lists(entries, min_size=1, max_size=5), st.none() | some, st.integers(1, 5)
)


def opens(entry: Entry, triggers: frozenset[str] | None, met: list[tuple[str, int]]) -> bool:
    """Whether the page says that *entry* is asked after what was *met*: acts and windows."""
    own = entry.own
    if entry.window and any(act == LONG and entry.window <= size for act, size in met):
        return False
    if not met:
        return own is None or bool(own - FAULTS)
    last, size = met[-1]
    if last == "bad":
        return own is None or bool(own & PULLS["bad"])
    named = triggers if own is None else own
    if last == LONG:
        larger = entry.window > 0 and size > 0
        return named is not None and ("context_length" in named or ("any" in named and larger))
    return last in MOVES if named is None else bool(named & PULLS[last])


def model(scene: Scene) -> tuple[list[str], list[tuple[str, str]], str]:
    """Who is asked, plainly or insisting; what is in the ledger; and the end of it."""
    asked: list[str] = []
    met: list[tuple[str, int]] = []
    ledger: list[tuple[str, str]] = []
    there = list(zip("abcde", scene.entries, strict=False))
    plain = ((name, entry, entry.act) for name, entry in there)
    again = ((n, e, e.insisted) for n, e in there if e.act == "soft" and n in asked)
    for name, entry, act in chain(plain, again):
        if len(met) > scene.most or not opens(entry, scene.triggers, met):
            continue
        asked.append(name)
        if act in {"soft", "hard"}:
            continue
        ledger.append((name, "ok" if act in {"good", "bad"} else "failed"))
        if act == "good":
            return asked, ledger, name
        met.append((act, entry.window))
    bad = [name for name, how in ledger if how == "ok"]
    return asked, ledger, bad[-1] if bad else met[-1][0] if met else "NoEndpoint"


def refusal(act: str) -> LLMStackError:
    return CircuitOpen("ramping up", soft=True) if act == "soft" else ConcurrencyFull("full")


def actor(name: str, entry: Entry, asked: list[str]) -> Service[Request, Response]:
    """The service of an entry: notes that it was asked, and acts."""

    async def act(request: Request) -> Response:
        asked.append(name)
        does = entry.insisted if request.insists else entry.act
        if does in {"good", "bad"}:
            return Response(f"{does} {name}".encode(), usage=Usage(input=1_000_000))
        if does in {"soft", "hard"}:
            raise refusal(does)
        raise getattr(errors, does)(does)

    return act


def built(scene: Scene, asked: list[str]) -> Fallback:
    """The layer, with endpoints that note in *asked* whom it asks."""
    there = list(zip("abcde", scene.entries, strict=False))
    endpoints = [
        Endpoint(
            name,
            actor(name, entry, asked),
            price=Price(1, 0),
            capabilities=Capabilities(context=entry.window) if entry.window else None,
        )
        for name, entry in there
    ]
    return Fallback(
        endpoints,
        triggers=scene.triggers,  # type: ignore[arg-type]
        after={name: entry.own for name, entry in there if entry.own is not None},  # type: ignore[misc]
        accepts=lambda reply: reply.body.startswith(b"good"),
        max_attempts=scene.most,
    )


ANY: Final = frozenset({"any"})
CONTEXT: Final = frozenset({"context_length"})


@given(scenes)
@example(Scene([Entry(LONG, window=16), Entry("good", window=16), Entry("good", window=32)], ANY))
@example(Scene([Entry(LONG, window=8), Entry(LONG), Entry("good", window=32)], ANY))
@example(Scene([Entry(LONG), Entry("good", own=CONTEXT)]))
@example(
    Scene([Entry(LONG, window=32), Entry(LONG, own=CONTEXT), Entry("good", window=8)], CONTEXT)
)
@example(Scene([Entry(LONG, window=32), Entry("ServerError"), Entry("good", window=8)], CONTEXT))
@example(Scene([Entry(LONG, window=8), Entry("bad", window=32), Entry("good", window=8)], CONTEXT))
@example(Scene([Entry("bad"), Entry("BadRequest"), Entry("good")]))
@example(Scene([Entry("bad"), Entry("good", own=CONTEXT), Entry("good", own=ANY)]))
@example(Scene([Entry("bad"), Entry("bad"), Entry("good")], None, 1))
@example(Scene([Entry("soft", "bad"), Entry("ServerError"), Entry("hard")]))
@example(Scene([Entry("soft", "bad"), Entry("BadRequest")]))
@example(Scene([Entry("hard"), Entry("soft", own=CONTEXT), Entry("soft", own=ANY)]))
@example(Scene([Entry("bad"), Entry("AuthFailed"), Entry("good", own=frozenset({"unaccepted"}))]))
def test_a_walk_is_as_the_page_says(scene: Scene) -> None:
    """Whom it asks, what is raised or given, what the ledger has; and never more than the bound."""
    first, *others = scene.entries
    scene = evolve(scene, entries=[evolve(first, own=None), *others])
    asked: list[str] = []
    layer, request = built(scene, asked), Request()
    outcome, _ = run_virtual(outcome_of(layer(dispatch), request))

    expected, ledger, end = model(scene)
    attempts = request.call.attempts
    assert expected == asked
    assert ledger == [(attempt.endpoint, attempt.how) for attempt in attempts]
    assert [1.0 if how == "ok" else None for _, how in ledger] == [a.cost for a in attempts]
    assert request.call.sent <= layer.bound(Bound()).calls
    if isinstance(outcome, Response):
        assert end == outcome.body.decode()[-1]
        assert end == [name for name, how in ledger if how == "ok"][-1]
        return
    assert end == type(outcome).__name__
    assert isinstance(outcome, LLMStackError)
    assert [name for name, _ in ledger] == [tried.endpoint for tried in outcome.attempts]
