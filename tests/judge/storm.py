"""The storm: of all attempts a third is refused and a fifth fails, and nobody is to notice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from time import monotonic

from tests.judge.upstream import Upstream
from tests.real.call import Call, Clients
from tests.real.processes import expect, say


__all__ = ["ask", "storm"]

#: Calls in flight.
AT_ONCE = 12
#: The share of callers who may see a failure. Of twelve attempts some are refused on this side,
#: for as long as the upstream has asked for; six or seven are sent, and half of those fail.
FEW = 0.05


async def ask(calls: Sequence[Call]) -> None:
    """Run *calls*, so many at once; note how often each was sent, also if it failed."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(call: Call) -> None:
        async with turn:
            await call.run()
        response = getattr(call.error, "response", None)
        if response is not None:
            call.note(response.headers)

    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(one(call))


async def storm(clients: Clients, judges: Sequence[Upstream], count: int) -> None:
    """Ask *count* times, and compare what the callers say with what the *judges* say."""
    calls, begun = [Call(clients, number) for number in range(count)], monotonic()
    await ask(calls)
    took = monotonic() - begun
    seen = [record for judge in judges for record in await judge.seen()]
    statuses = Counter(record["status"] for record in seen)
    sent = sum(call.attempts for call in calls)
    failed = [call for call in calls if call.verdict != "answered"]
    met = ", ".join(f"{number} times {status}" for status, number in sorted(statuses.items()))
    say(f"{count} calls in {took:.1f} s were {sent} attempts, {sent / count:.2f} for each: {met}.")
    say(f"{count - len(failed)} calls were answered in full; {len(failed)} callers saw a failure.")
    for name, times in sorted(Counter(type(call.error).__name__ for call in failed).items()):
        least = min(call.attempts for call in failed if type(call.error).__name__ == name)
        say(f"  {times} times {name}, after {least} attempts or more.")
    expect(len(failed) <= FEW * count, "too many callers saw a failure")
    early = [call for call in failed if call.attempts < 2 or call.chunks]
    expect(not early, "a caller was told before it had been tried again")
    expect(sent == len(seen), f"the callers were told of {sent} attempts, and {len(seen)} came")
    expect(statuses[429] and statuses[503], "nothing was refused, so nothing was shown")
