"""What every router promises, as properties over drawn endpoints and traffic.

`check_router` builds the router many times, puts endpoints below it that answer, refuse and
fail as drawn, and compares whom it asked with whom it might ask. Time is virtual; chance
comes from hypothesis and from the builder's seed.

Errors: `AssertionError` that says which promise was not kept, with the smallest traffic that
breaks it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from llmstack.endpoint import Price
from llmstack.errors import LLMStackError, NoEndpoint, Refused
from llmstack.messages import Request
from llmstack.testing.cancel import CancelledRun, cancelled_everywhere
from llmstack.testing.drawn import for_all, hold, note, st
from llmstack.testing.stage import (
    ACTS,
    MODEL,
    Makes,
    Place,
    Seen,
    Stage,
    Turn,
    check_alone,
    still_out,
)
from llmstack.testing.virtual import run_virtual


__all__ = ["check_router"]

#: Two sets of names, one in the order of the alphabet and one against it.
NAMES: Final = ("a", "b", "c", "d", "e")
OTHERS: Final = ("z", "y", "x", "w", "v")

_prices: Final = st.none() | st.builds(Price, st.integers(0, 3), st.integers(0, 3))
_serves: Final = st.sampled_from([True, True, True, False])
_places: Final = st.builds(Place, st.sampled_from([0, 1, 1, 2, 5]), _prices, _serves)
#: At least one weight is positive, for a router may insist on that.
_casts: Final = st.lists(_places, min_size=1, max_size=5).filter(
    lambda cast: any(place.weight for place in cast)
)
_acts: Final = st.tuples(*[st.sampled_from(["ok", "ok", "soft", "hard", *ACTS])] * len(NAMES))
_turns: Final = st.lists(
    st.builds(Turn, _acts, st.sampled_from([0.0, 0.5, 60.0])), min_size=1, max_size=8
)
_seeds: Final = st.integers(0, 999)
#: A whole script: the endpoints, the calls, and the seed of the builder.
_Script = tuple[list[Place], list[Turn], int]
_scripts: Final = st.tuples(_casts, _turns, _seeds)
_REHEARSAL: Final[_Script] = (
    [Place(1, Price(1, 1), serves=True)] * len(NAMES),
    [Turn(("ok",) * len(NAMES), 1.0)] * 50,
    1,
)


def check_router(
    make: Makes, *, order_free: bool = False, by_name: bool = False, examples: int = 50
) -> None:
    """Check that the routers of ``make(endpoints)`` keep what every router promises.

    With *order_free*, the order of the endpoints in the list must make no difference to a
    new router as long as weights and prices differ; leave it off where that order is the
    point, or dice are cast. With *by_name*, decisions may depend on what the endpoints are
    called. Each property is tried with so many *examples*.

    Chance must come from the layer's field ``rng``, which the builder's seed sets, or be
    seeded in *make*.
    """
    # First and with a fixed script: what is not repeatable cannot be made smaller either.
    _is_repeatable(make, _REHEARSAL)
    for_all(_scripts, partial(_asks_whom_it_may, make), examples)
    for_all(st.tuples(_casts, _seeds), partial(_goes_elsewhere_first, make), examples)
    for_all(_scripts, partial(_is_repeatable, make), examples)
    for_all(_scripts, partial(_gives_back, make), examples)
    _survives_cancels(make)
    if not by_name:
        for_all(_scripts, partial(_knows_no_names, make), examples)
    if order_free:
        orders = st.tuples(st.permutations(range(4)), _seeds)
        for_all(orders, partial(_knows_no_order, make), examples)


def _played(stage: Stage, turns: Sequence[Turn], *, plans: bool = True) -> list[Seen]:
    """Return what was seen of *turns*, one after the other."""

    async def main() -> list[Seen]:
        seen = []
        for turn in turns:
            seen.append(await stage.call(turn, plans=plans))
            await asyncio.sleep(turn.pause)
        return seen

    return run_virtual(main())[0]


def _asks_whom_it_may(make: Makes, script: _Script) -> None:
    """One call at a time: whom it asks, how often, in which order, and what it says then."""
    cast, turns, seed = script
    stage = Stage(make, cast, NAMES, seed)
    fit = {name for name, place in zip(NAMES, cast, strict=False) if place.fit}
    for turn, seen in zip(turns, _played(stage, turns), strict=True):
        acts = dict(zip(NAMES[: len(cast)], turn.acts, strict=False))
        note(f"the endpoints: {acts}; the router: {seen}")
        _check_asked(seen, fit, acts)
        _check_said(seen, fit)
        _check_plan(seen)
        stage.check_books()


def _check_asked(seen: Seen, fit: set[str], acts: dict[str, str]) -> None:
    """Nobody outside of those who are fit, and nobody again who has refused for good."""
    strangers = {name for name, _ in seen.asked} - fit
    hold(not strangers, f"only eligible endpoints are asked, not {sorted(strangers)}")
    for name in fit:
        insisted = [insists for asked, insists in seen.asked if asked == name]
        if acts[name] == "hard":
            hold(insisted in ([], [False]), f"{name} refuses hard, so it is asked once")
        if acts[name] == "soft":
            once_more = insisted in ([], [False], [False, True])
            hold(once_more, f"{name} refuses softly, so it is asked once, then insisting")
    sent = [name for name, insists in seen.asked if _takes(acts[name], insists=insists)]
    noted = dict.fromkeys(seen.ledger) == dict.fromkeys(sent)
    hold(noted, f"the ledger has who was asked and did not refuse: {sent}, not {seen.ledger}")


def _takes(act: str, *, insists: bool) -> bool:
    return act != "hard" and (act != "soft" or insists)


def _check_said(seen: Seen, fit: set[str]) -> None:
    """The reply of who was asked last, the failure itself, or why nobody could be asked."""
    outcome, asked = seen.outcome, [name for name, _ in seen.asked]
    failures = [error for error in seen.raised if not isinstance(error, Refused)]
    bugs = [n for n, error in enumerate(seen.raised, 1) if not isinstance(error, LLMStackError)]
    hold(bugs in ([], [len(seen.raised)]), "nobody is asked after a bug")
    if isinstance(outcome, NoEndpoint):
        hold(not failures, "a call that was sent and failed was not refused")
        hold(set(asked) == fit, f"nobody could be asked, so all were: {sorted(fit)}, not {asked}")
        soft = {error for error in seen.raised if getattr(error, "soft", False)}
        hold(not soft, "who refuses softly is asked once more, insisting")
    elif isinstance(outcome, Exception):
        last = [error for error in failures if error is seen.outcome]
        hold(last, f"a failure leaves as it came, and not as {outcome!r}")
    else:
        hold(asked and outcome == asked[-1], f"the reply {outcome!r} is from who was asked last")


def _check_plan(seen: Seen) -> None:
    """The plan that was made before the call is what the call did."""
    if seen.planned is None:
        return
    first = list(dict.fromkeys(name for name, insists in seen.asked if not insists))
    planned = list(seen.planned)[: len(first)]
    hold(planned == first, f"the plan said {list(seen.planned)}, and asked were {first}")


def _goes_elsewhere_first(make: Makes, script: tuple[list[Place], int]) -> None:
    """A call that comes back, as a retry makes it, goes to those it has not tried."""
    cast, seed = script
    fit = sorted(name for name, place in zip(NAMES, cast, strict=False) if place.fit)
    for act, at_most in (("busy", len(fit)), ("auth", len(fit) + 1)):
        stage, request = Stage(make, cast, NAMES, seed), Request(MODEL)

        async def main(stage: Stage, request: Request, turn: Turn) -> list[str]:
            names: list[str] = []
            for _ in range(len(fit) + 1):
                seen = await stage.call(turn, request)
                names += dict.fromkeys(name for name, _ in seen.asked)
            return names

        turn = Turn((act,) * len(NAMES))
        asked = run_virtual(main(stage, request, turn))[0][:at_most]
        hold(sorted(asked) == fit, f"after {act} each is asked once: {fit}, and not {asked}")


def _is_repeatable(make: Makes, script: _Script) -> None:
    """Same seed, same traffic: same choices; and a plan is a read."""
    cast, turns, seed = script
    runs = [
        [seen.asked for seen in _played(Stage(make, cast, NAMES, seed), turns, plans=plans)]
        for plans in (False, False, True)
    ]
    hold(runs[0] == runs[1], f"the same seed gives the same choices: {runs[0]}, then {runs[1]}")
    hold(runs[0] == runs[2], f"a plan changes nothing: {runs[0]} without, {runs[2]} with plans")


def _knows_no_names(make: Makes, script: _Script) -> None:
    """Endpoints under other names get the same traffic, place by place."""
    cast, turns, seed = script
    runs = [
        [
            [(names.index(name), insists) for name, insists in seen.asked]
            for seen in _played(Stage(make, cast, names, seed), turns)
        ]
        for names in (NAMES, OTHERS)
    ]
    hold(runs[0] == runs[1], f"names are only names: by place {runs[0]}, under others {runs[1]}")


def _knows_no_order(make: Makes, script: tuple[list[int], int]) -> None:
    """The same endpoints, listed in another order, are asked in the same order."""
    order, seed = script
    cast = [Place(2.0**n, Price(8 >> n, 8 >> n), serves=True) for n in range(len(order))]
    turn = Turn(("hard",) * len(NAMES))
    stages = [
        Stage(make, cast, NAMES, seed),
        Stage(make, [cast[n] for n in order], [NAMES[n] for n in order], seed),
    ]
    runs = [[name for name, _ in _played(stage, [turn])[0].asked] for stage in stages]
    hold(runs[0] == runs[1], f"the order of the list decides nothing: {runs[0]}, then {runs[1]}")


def _gives_back(make: Makes, script: _Script) -> None:
    """Calls all at once, some left by their callers: in the end nothing is out."""
    cast, turns, seed = script
    stage = Stage(make, cast, NAMES, seed, delay=1.0)

    async def main() -> None:
        for turn in turns:
            await stage.crowd(turn, 6)
        await check_alone()

    run_virtual(main())
    stage.check_books()
    out = still_out(stage.stack.statistics().get("router", {}))
    hold(out == 0, f"nothing is in flight, so the statistics must not say {out}")


def _survives_cancels(make: Makes) -> None:
    """A cancel at any step of a call, once and twice, and then the next call."""
    cast = [Place(1.0, Price(1, 1), serves=True)] * 3
    turn = Turn(("soft", "busy", "ok", "ok", "ok"))
    stages: list[Stage] = []

    async def scenario() -> object:
        stages[:] = [Stage(make, cast, NAMES, 1, delay=1.0)]
        return await stages[0].call(turn)

    async def check(run: CancelledRun[Any]) -> None:
        hold(not run.left, f"no task is left behind: {run.left}")
        hold(not run.cancels or run.ended == "cancelled", "a cancellation is never swallowed")
        for stage in stages:
            stage.check_books()
            seen = await stage.call(Turn(("ok",) * len(NAMES)))
            hold(seen.outcome in NAMES, f"after a cancel all is well, and not {seen.outcome!r}")

    cancelled_everywhere(scenario, check)
