"""The shell of all routers against a loop over the script of a whole walk."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import pytest
from attrs import frozen
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.call import Attempt, Call
from llmstack.endpoint import EndpointSet
from llmstack.errors import LLMStackError, NoEndpoint, ServerError, Shed
from llmstack.messages import Request
from llmstack.routers.eligibility import MEMBERS_LEFT
from llmstack.routers.router import RouterService, never
from llmstack.service import Service
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from llmstack.testing.scripted import ENDINGS, echo, under_way
from llmstack.testing.virtual import run_virtual
from tests.routers.stage import (
    ERRORS,
    ROUTERS,
    Account,
    Actors,
    Ranked,
    Router,
    error_of,
    listed,
    outcome_of,
)


NAMES: Final = "abcde"
NOW: Final = 10.0
FAILS: Final = {"fail", "busy", "limited", "auth", "fault"}
REFUSES: Final = {"soft", "hard", "open"}


@frozen
class Prior:
    """What this call knows of an endpoint that it has tried: again, and from when."""

    again: bool
    ready_at: float
    at_work: bool = False


@frozen
class Scene:
    """A walk: the picker's order, what each does plainly and insisted on, what was before."""

    order: Sequence[str]
    acts: Mapping[str, str]
    insisted: Mapping[str, str]
    prior: Mapping[str, Prior]
    limit: int = 0

    def goes_on(self, error: LLMStackError, asked: int) -> bool:
        return error.elsewhere and asked <= self.limit


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    order = draw(st.permutations(NAMES[: draw(st.integers(1, 5))]))
    acts = st.sampled_from(["ok", *ERRORS, *["soft", "hard"] * 3])
    before = st.one_of(
        st.builds(Prior, st.booleans(), st.sampled_from([5.0, NOW, 15.0, 25.0]), st.booleans()),
        st.just(Prior(again=True, ready_at=MEMBERS_LEFT)),
    )
    return Scene(
        order,
        {name: draw(acts) for name in order},
        {name: draw(acts) for name in order},
        {name: draw(before) for name in draw(st.sets(st.sampled_from(order)))},
        draw(st.integers(0, 3)),
    )


Asks = list[tuple[str, bool]]


def tier_of(prior: Prior | None) -> int | None:
    """0 for the untried, 1 for groups with members left, 2 for those that are ready again."""
    if prior is None:
        return 0
    if not prior.again or prior.ready_at > NOW:
        return None
    return 1 if prior.ready_at == MEMBERS_LEFT else 2


def model(scene: Scene) -> tuple[Asks, list[str], object]:
    """Write down all that could be asked, then cut the list where the walk ends.

    Gives whom it asks, what each does, and the end: a name, an act, or None for nobody.
    """
    asks: Asks = []
    needed = not any(prior.at_work for prior in scene.prior.values())
    for number in range(3):
        tier = [name for name in scene.order if tier_of(scene.prior.get(name)) == number]
        asks += [(name, False) for name in tier]
        asks += [(name, True) for name in tier if needed and scene.acts[name] == "soft"]
    does = [(scene.insisted if insists else scene.acts)[name] for name, insists in asks]
    for n, act in enumerate(does):
        failed = sum(did in FAILS for did in does[: n + 1])
        last = act in FAILS and (act == "fault" or failed > scene.limit)
        if last or act in {"ok", "bug", "shed"}:
            asks, does = asks[: n + 1], does[: n + 1]
            break
    failures = [act for act in does if act in FAILS]
    if does and does[-1] in {"ok", "bug"}:
        return asks, does, asks[-1][0] if does[-1] == "ok" else "bug"
    shed = "shed" if "shed" in does else None
    return asks, does, failures[-1] if failures else shed


def is_walked_over(scene: Scene, does: list[str]) -> bool:
    """Whether the last to be asked failed, and the walk would have gone on."""
    failed = sum(did in FAILS for did in does)
    return does[-1] in FAILS - {"fault"} and failed <= scene.limit


def left(scene: Scene, asks: Asks, does: list[str]) -> int:
    """How many have neither been tried nor refused for good as their last word."""
    last = dict(zip((name for name, _ in asks), does, strict=True))
    away = FAILS | {"hard", "open"}
    open_to = {name for name in scene.order if tier_of(scene.prior.get(name)) in {0, 1}}
    return sum(last.get(name) not in away for name in open_to)


def ready(scene: Scene, asks: Asks, does: list[str]) -> float | None:
    """The earliest time at which anybody may be asked."""
    said = {"soft": 40.0, "open": 20.0}
    last = dict(zip((name for name, _ in asks), does, strict=True))
    times = [said[act] for act in last.values() if act in said]
    times += [p.ready_at for name, p in scene.prior.items() if p.again and name not in last]
    return min(times, default=None)


def wait(scene: Scene, asks: Asks, does: list[str], n: int) -> float | None:
    """After how many seconds anybody may be asked again behind the n-th failure; None: nobody."""
    backs = {"fail": NOW, "busy": NOW + 3.0, "limited": NOW + 30.0}
    then = {name: prior.ready_at for name, prior in scene.prior.items() if prior.again}
    for (name, _), act in zip(asks[: n + 1], does[: n + 1], strict=True):
        if act in FAILS:
            then.pop(name, None)
            then |= {name: backs[act]} if act in backs else {}
    if does[n] == "fault" or left(scene, asks, does):
        then = {name: at for name, at in then.items() if name == asks[n][0]}
    times = [max(at - NOW, 0.0) for at in then.values() if at != MEMBERS_LEFT]
    return min(times, default=None)


def staged(scene: Scene) -> tuple[RouterService, Request, Actors, Account]:
    inner = Actors(scene.acts, scene.insisted)
    account = Account(Ranked(scene.order))
    endpoints = EndpointSet(listed([1] * len(scene.order)))
    router = RouterService(endpoints, account, inner, "staged", scene.goes_on)
    foreign = Attempt(scene.order[0], 0.0, router="another")
    tried = [
        Attempt(name, 0.0, router=router, again=prior.again, ready_at=prior.ready_at)
        for name, prior in scene.prior.items()
    ]
    for attempt in tried:
        attempt.ended = None if scene.prior[attempt.endpoint].at_work else 1.0
    return router, Request(call=Call(attempts=[foreign, *tried])), inner, account


ALIKE: Final = dict.fromkeys(NAMES, "ok")


@given(scenes())
@example(Scene("ab", {"a": "soft", "b": "ok"}, ALIKE, {}))
@example(Scene("ab", {"a": "soft", "b": "hard"}, {"a": "soft"}, {}))
@example(Scene("ab", {"a": "soft", "b": "fail"}, ALIKE, {"b": Prior(again=True, ready_at=NOW)}))
@example(Scene("ab", {"a": "fail", "b": "shed"}, ALIKE, {}, 1))
@example(Scene("abc", {"a": "fail", "b": "hard", "c": "soft"}, {"c": "hard"}, {}, 1))
@example(Scene("ab", {"a": "hard", "b": "shed"}, ALIKE, {}))
@example(Scene("a", {"a": "bug"}, ALIKE, {}))
@example(Scene("ab", {"a": "fault", "b": "ok"}, ALIKE, {"b": Prior(again=False, ready_at=0.0)}, 1))
@example(Scene("a", {"a": "open"}, ALIKE, {"a": Prior(again=True, ready_at=15.0)}))
def test_a_walk_follows_the_model(scene: Scene) -> None:
    """Whom it asks, how it ends, what the ledger and the picker have of it, what the error says."""
    router, request, inner, account = staged(scene)
    before = list(request.call.attempts)

    async def main() -> object:
        await asyncio.sleep(NOW)
        return await outcome_of(router, request)

    outcome, _ = run_virtual(main())

    asks, does, _ = model(scene)
    how = {"ok": "ok", "shed": "refused"} | dict.fromkeys(REFUSES, "refused")
    hows = [(name, how.get(act, "failed")) for (name, _), act in zip(asks, does, strict=True)]
    entered = request.call.attempts[len(before) :]
    # Of the walk's own list the last one is undone too, unless the walk ended with it.
    stopped = bool(does) and does[-1] not in REFUSES and not is_walked_over(scene, does)
    assert asks == inner.asked
    assert [name for name, _ in asks] == account.yielded
    assert hows == account.settled
    assert account.yielded[: len(asks) - stopped] == account.undone
    assert before == request.call.attempts[: len(before)]
    assert [each for each in hows if each[1] != "refused"] == [(a.endpoint, a.how) for a in entered]
    assert [
        "staged, insisting" if insists else "staged"
        for (_, insists), (_, how) in zip(asks, hows, strict=True)
        if how != "refused"
    ] == [a.reason for a in entered]
    check_outcome(scene, outcome, request)


def check_outcome(scene: Scene, outcome: object, request: Request) -> None:
    asks, does, end = model(scene)
    if end is None:
        assert isinstance(outcome, NoEndpoint)
        assert ready(scene, asks, does) == outcome.ready_at
        last = dict(zip((name for name, _ in asks), does, strict=True))
        assert ("soft" in last.values()) == outcome.soft
        words = {"soft": "ramping up", "hard": "full", "open": "open"}
        why = {name: words.get(last.get(name, ""), "has been tried") for name in scene.order}
        said = "; ".join(f"{name}: {why[name]}" for name in sorted(scene.order))
        assert f"no endpoint could take the request ({said})" == outcome.message
    elif isinstance(outcome, LLMStackError):
        assert (type(error_of(str(end))), end) == (type(outcome), outcome.message)
        if end in FAILS:
            n = max(n for n, act in enumerate(does) if act == end)
            assert left(scene, asks, does) == outcome.untried
            assert [asks[n][0], None] == [outcome.endpoint, outcome.__context__]
            assert tuple(a.seen() for a in request.call.attempts) == outcome.attempts
            offered = pytest.approx(outcome.retry_after or 0.0) if outcome.again else None
            assert offered == wait(scene, asks, does, n)
    else:
        assert end == ("bug" if isinstance(outcome, ZeroDivisionError) else outcome)


@pytest.mark.parametrize("act", ["ok", "fail", "fault", "bug", "shed", "hard", "soft"])
def test_who_answers_first_ends_the_walk(act: str) -> None:
    """Without a rule to go on, only a refusal to be ready leads to the next one."""
    inner = Actors({"a": act, "b": "ok"})
    router = RouterService(EndpointSet(listed([1, 1])), Ranked("ab"), inner)
    outcome = asyncio.run(outcome_of(router, Request()))

    goes_on = act in {"hard", "soft"}
    assert (2 if goes_on else 1) == len(inner.asked)
    assert goes_on == (outcome == "b")
    assert not never(ServerError(), 1)


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_attempt_is_over_when_its_call_is(ending: str) -> None:
    """However it ends, the picker hears of it once, and the ledger has how."""
    accounts: list[Account] = []
    request = Request()

    def layer(inner: Service[Request, object]) -> RouterService:
        router = RouterService(EndpointSet(listed([1, 1])), Ranked("ab"), inner)
        accounts.append(Account.of(router))
        return router

    async def main() -> list[str]:
        async with under_way(layer, request, ending) as service:
            assert "ok" == await service(Request())
            return accounts[0].pending

    pending = asyncio.run(main())

    hows = {"error": "failed", "cancel": "cancelled", "broken": "failed"}
    how = hows.get(ending, "abandoned" if ending in {"closed", "dropped"} else "ok")
    assert ["a"] == pending
    assert [("a", "ok"), ("a", how)] == accounts[0].settled
    assert [how] == [attempt.how for attempt in request.call.attempts]


def test_cancelled_anywhere_every_yield_is_settled_once() -> None:
    """Between refusals, in the insisting round, in a walk that goes on: all accounts balance."""
    scenes = [
        Scene("abc", {"a": "soft", "b": "hard", "c": "soft"}, {"a": "hard"}, {}),
        Scene("abc", {"a": "fail", "b": "soft", "c": "busy"}, {}, {}, 3),
    ]
    stages: list[tuple[Account, Request]] = []

    async def scenario() -> object:
        outcomes = []
        for scene in scenes:
            router, request, inner, account = staged(scene)
            inner.delay = 1.0
            stages.append((account, request))
            outcomes.append(await outcome_of(router, request))
        return outcomes

    def check(_run: CancelledRun[object]) -> None:
        for account, request in stages:
            assert [] == account.pending
            assert len(account.yielded) == len(account.settled)
            ended = [a.how for a in request.call.attempts[1:]]
            assert [how for _, how in account.settled if how != "refused"] == ended
        stages.clear()

    runs = cancelled_everywhere(scenario, check)

    assert "returned" == runs[0].ended
    assert {"cancelled"} == {run.ended for run in runs[1:]}


@pytest.mark.parametrize(
    ("acts", "limit"),
    [
        *((["hard", "soft"], 0), (["hard", "ok"], 0), (["fail", "fail"], 0)),
        *((["fail", second], 2) for second in ("fail", "hard", "shed", "fault")),
        *((["shed"], 0), (["bug"], 0)),
    ],
)
def test_no_request_outlives_its_call(acts: list[str], limit: int) -> None:
    """No cycle holds it: it is gone without the collector, whatever was refused or failed."""
    seen: list[weakref.ref[Request]] = []
    named = dict(zip(NAMES, acts, strict=False))
    actors = Actors(named, dict.fromkeys(named, "hard"))

    async def inner(request: Request) -> object:
        seen.append(weakref.ref(request))
        return await actors(request)

    scene = Scene(NAMES, named, {}, {}, limit)
    router = RouterService(
        EndpointSet(listed([1] * len(acts))), Ranked(NAMES), inner, goes_on=scene.goes_on
    )

    async def main() -> None:
        request = Request()
        seen.append(weakref.ref(request))
        await outcome_of(router, request)

    gc.disable()
    try:
        asyncio.run(main())
        alive = [ref for ref in seen if ref() is not None]
    finally:
        gc.enable()

    assert 2 <= len(seen)
    assert [] == alive


def test_calls_at_the_same_time_have_walks_of_their_own() -> None:
    """What one call is refused, another one may still be given."""
    served: Counter[object] = Counter()
    inner = Actors({"a": "hard"}, delay=1.0)
    router = RouterService(EndpointSet(listed([1, 1])), Ranked("ab"), inner)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(router(Request())) for _ in range(5)]
        served.update(task.result() for task in tasks)

    _, elapsed = run_virtual(main())

    assert {"b": 5} == served
    assert 2.0 == elapsed


@pytest.mark.parametrize("kind", ROUTERS)
@pytest.mark.parametrize("act", ["ok", "hard", "soft", "fail", "bug"])
def test_an_endpoint_list_of_one(kind: type[Router], act: str) -> None:
    """Is asked, insisted on if it is soft, and what it says is the outcome."""
    inner = Actors({"a": act})
    router = kind(listed([2]))(inner)
    outcome = asyncio.run(outcome_of(router, Request()))

    error = {"hard": NoEndpoint, "fail": ServerError, "bug": ZeroDivisionError}
    assert error.get(act, str) is type(outcome)
    assert ([("a", False), ("a", True)] if act == "soft" else [("a", False)]) == inner.asked


def test_statistics_are_the_pickers() -> None:
    """The shell itself keeps none."""
    router = RouterService(EndpointSet(), Ranked("ab"), echo)

    assert {"order": ["a", "b"]} == router.statistics()


def test_another_refusal_is_nobodys_turn_to_answer() -> None:
    """Shed is said to the caller: it is not about the endpoint, so no other one is asked."""
    inner = Actors({"a": "shed"})
    router = RouterService(EndpointSet(listed([1, 1])), Ranked("ab"), inner)
    request = Request()
    outcome = asyncio.run(outcome_of(router, request))

    assert isinstance(outcome, Shed)
    assert [("a", False)] == inner.asked
    assert [] == request.call.attempts
