"""The outage: calls run through the gateway, and one of its two servers is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic

from tests.real.call import DIALECTS, Call, Clients
from tests.real.processes import Process, expect, say


__all__ = ["afterwards", "outage"]


async def outage(clients: Clients, servers: dict[str, Process], count: int) -> str:
    """Kill a server while *count* calls run; return the name of the one that is left."""
    calls = [Call(clients, number) for number in range(count)]
    begun = monotonic()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call.run()) for call in calls]
        victim = await under_way(calls, servers, tasks)
        if victim:
            streams = sum(c.chunks > 0 and not c.finished for c in calls if c.server == victim)
            waiting = sum(not call.endpoint for call in calls)
            await servers[victim].kill()
            say(
                f"Killed server {victim} (SIGKILL) {monotonic() - begun:.1f} s after {count} calls"
                f" had begun: {streams} of its streams had content, and {waiting} calls at both"
                " servers had not."
            )
    expect(victim, "no two streams of one server were under way at the same time")
    say(f"All {count} calls ended within {monotonic() - begun:.1f} s.")
    judge(calls, victim)
    return next(name for name in servers if name != victim)


async def under_way(
    calls: Sequence[Call], servers: dict[str, Process], tasks: Sequence[asyncio.Task[None]]
) -> str:
    """Wait for a server with two streams that have content and no end; return its name or ""."""
    while not all(task.done() for task in tasks):
        for name in servers:
            streams = [c for c in calls if c.server == name and c.chunks > 2 and not c.finished]
            if len(streams) > 1:
                return name
        await asyncio.sleep(0.02)
    return ""


def judge(calls: Sequence[Call], victim: str) -> None:
    """Say what the callers saw, and raise if it is not what they may see."""
    told: dict[str, list[Call]] = {}
    for call in calls:
        told.setdefault(call.verdict, []).append(call)
    answered, cut = told.pop("answered", []), told.pop("cut with an error", [])
    moved = sum(call.attempts > 1 for call in answered)
    say(
        f"{len(answered)} calls were answered in full, {moved} of them by the other server after"
        f" theirs had died. {len(cut)} streams with content ended in an SDK error. Other failures:"
        f" {len(calls) - len(answered) - len(cut)}."
    )
    for text in sorted({f"{type(call.error).__name__}: {call.error}" for call in cut}):
        say(f"The error was {text}.")
    spoken = sorted({call.speaks for call in cut})
    say(f"They spoke {', '.join(spoken)}.")
    for verdict, those in told.items():
        kind = "streamed" if those[0].streamed else "complete"
        say(f"WRONG: {len(those)} calls ({kind}, {those[0].speaks} of {those[0].route}) {verdict}.")
    expect(not told, "a caller saw what no caller may see")
    expect(moved, "no call had to move, so nothing was shown")
    expect(cut, "no stream was cut, so nothing was shown")
    expect({victim} == {call.server for call in cut}, "a stream of the other server was cut")


async def afterwards(clients: Clients, left: str) -> None:
    """Ask again, in each dialect: the server that is left answers everything."""
    for number in range(len(DIALECTS)):
        call = Call(clients, number, tokens=8)
        await call.run()
        expect(call.verdict == "answered", f"a call after the outage: {call.verdict}")
        expect(call.server == left, f"{call.endpoint} answered, and not {left}")
    vector = await clients.openai.embeddings.create(model="embeddings", input="still there")
    expect(vector.data[0].embedding, "no embedding after the outage")
    count = len(DIALECTS)
    say(f"Afterwards server {left} answered {count} of {count} calls, and embeddings.")
