"""Streams that break, in every way that the judge knows, in every dialect.

Before its first content the gateway asks again, and the caller sees nothing of it. After that
he has to be told, and asks again by himself: the judge knows nobody but whoever sends, and
would find that half an answer was taken for a whole one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from random import Random
from time import monotonic
from typing import Any, Final, NamedTuple

from tests.judge.upstream import Upstream
from tests.real.call import DIALECTS, Call, Clients
from tests.real.processes import expect, say


__all__ = ["faults"]

KINDS: Final = ("disconnect", "truncate", "stall", "malformed")
#: How many events go before the fault; content begins with the second to the fifth.
PLACES: Final = (0, 1, 3, 6)
#: Seconds that a stream stands still, which is more than the gateway waits.
STALL: Final = 8.0
#: How often there is a refusal first, as in the storm; it names a wait.
REFUSED: Final = {"429": 0.3, "503": 0.2}
WAIT: Final = 0.2
#: Seconds until a caller asks again who was told.
PAUSE: Final = 0.2

CHAT: Final = "/v1/chat/completions"
UNSEEN, TOLD_AT_ONCE, TOLD_LATER = "unseen", "told at once", "told of the break"


class Case(NamedTuple):
    number: int
    kind: str
    place: int

    @property
    def path(self) -> str:
        """Where the judge is asked."""
        speaks, route = DIALECTS[self.number % len(DIALECTS)]
        if route == "messages":
            return "/anthropic/v1/messages"
        return "/v1/responses" if (speaks, route) == ("responses", "chat") else CHAT

    def plan(self, dice: Random) -> Iterable[Mapping[str, Any]]:
        """Yield what is to befall the call."""
        where = {"path": self.path}
        status = dice.choices([*REFUSED, ""], [*REFUSED.values(), 1 - sum(REFUSED.values())])[0]
        if status:
            yield {"type": "fail", "status": int(status), "retry_after": WAIT, "match": where}
        yield {
            "type": "stream_fault",
            "kind": self.kind,
            "after_chunks": self.place,
            "stall_seconds": STALL,
            "match": where,
        }


async def faults(clients: Clients, judge: Upstream) -> None:
    """Break a stream of each dialect in each way at each place, and say what callers saw."""
    begun = monotonic()
    each = product(KINDS, PLACES, range(len(DIALECTS)))
    cases = [Case(number, kind, place) for number, (kind, place, _) in enumerate(each)]
    paths = sorted({case.path for case in cases})
    lanes = [[case for case in cases if case.path == path] for path in paths]
    saw = Counter[tuple[str, str]]()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one_by_one(clients, judge, lane)) for lane in lanes]
    for task in tasks:
        saw.update(task.result())
    say(f"{len(cases)} streams were broken, in {monotonic() - begun:.1f} s.")
    for kind in KINDS:
        counts = [saw[kind, what] for what in (UNSEEN, TOLD_AT_ONCE, TOLD_LATER)]
        unseen, at_once, later = counts
        say(
            f"  {kind}: {unseen} callers saw nothing of it, {at_once} were told instead of an"
            f" answer, {later} were told in it."
        )
        expect(later, f"{kind}: no stream broke after content, so nothing was shown")
        # Garbage is not asked for again where it came from, and here is nowhere else to go.
        right, wrong = (at_once, unseen) if kind == "malformed" else (unseen, at_once)
        expect(right and not wrong, f"{kind}: before content, callers saw something else")
    expect(await judge.left() == 0, "a fault befell nobody")


async def one_by_one(
    clients: Clients, judge: Upstream, lane: Sequence[Case]
) -> list[tuple[str, str]]:
    """Run cases of one path in turn, so that each fault befalls the call that it is meant for."""
    dice, saw = Random(1), []
    for case in lane:
        await judge.plan(*case.plan(dice))
        call = await asked(clients, case)
        saw.append((case.kind, said(call)))
        if call.error is not None:
            await asyncio.sleep(PAUSE)
            again = await asked(clients, case)
            expect(again.verdict == "answered", f"{case}, asked again: {again.verdict}")
    return saw


async def asked(clients: Clients, case: Case) -> Call:
    call = Call(clients, case.number)
    call.streamed = True
    await call.run()
    return call


def said(call: Call) -> str:
    """Return what the caller saw of the fault; raise if it is what no caller may see."""
    if call.verdict == "answered":
        return UNSEEN
    if call.error is not None and not call.chunks:
        return TOLD_AT_ONCE
    expect(call.verdict == "cut with an error", f"{call.speaks} of {call.route}: {call.verdict}")
    return TOLD_LATER
