"""The outage: calls run through the gateway, and one of its two servers is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Final

from openai import APIError, AsyncOpenAI

from tests.real.processes import Process, expect, say


__all__ = ["LONG", "SHORT", "afterwards", "outage"]

#: Tokens of a stream, enough for it to be under way at the kill; and of a complete reply.
LONG, SHORT = 64, 12

WORDS: Final = "the sea, a bridge, an old clock, rain in spring, a long train, bread, the north"


class Call:
    """One call of the outage, as its caller sees it."""

    def __init__(self, client: AsyncOpenAI, number: int) -> None:
        self.client = client
        self.streamed = number % 5 != 4
        word = WORDS.split(", ")[number % 7]
        self.asked = f"Write about {word}, in {number + 3} sentences."
        self.chunks = 0
        self.finished = False
        self.error: Exception | None = None
        self.endpoint = ""
        self.attempts = 0

    async def run(self) -> None:
        try:
            await (self.stream() if self.streamed else self.complete())
        except Exception as error:  # noqa: BLE001 -- what a caller sees is what is looked at
            self.error = error

    async def stream(self) -> None:
        raw = await self.client.chat.completions.with_raw_response.create(
            model="chat",
            messages=[{"role": "user", "content": self.asked}],
            max_tokens=LONG,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        self.note(raw.headers)
        async for chunk in raw.parse():
            choice = chunk.choices[0] if chunk.choices else None
            self.chunks += bool(choice and choice.delta.content)
            self.finished |= bool(choice and choice.finish_reason)

    async def complete(self) -> None:
        raw = await self.client.chat.completions.with_raw_response.create(
            model="chat",
            messages=[{"role": "user", "content": self.asked}],
            max_tokens=SHORT,
            extra_body={"ignore_eos": True},
        )
        self.note(raw.headers)
        self.finished = bool(raw.parse().choices[0].finish_reason)

    def note(self, headers: Mapping[str, str]) -> None:
        self.endpoint = headers.get("x-llmstack-endpoint", "")
        self.attempts = int(headers.get("x-llmstack-attempts", "0"))

    @property
    def verdict(self) -> str:
        if self.error is None and self.finished:
            return "answered"
        if not self.chunks:
            return f"failed before any content, with {self.error!r}"
        if self.error is None:
            return "cut in silence"
        return "cut with an error" if isinstance(self.error, APIError) else repr(self.error)


async def outage(client: AsyncOpenAI, servers: dict[str, Process], count: int) -> str:
    """Kill a server while *count* calls run; return the name of the one that is left."""
    calls = [Call(client, number) for number in range(count)]
    begun = monotonic()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call.run()) for call in calls]
        victim = await under_way(calls, servers, tasks)
        if victim:
            streams = sum(c.chunks > 0 and not c.finished for c in calls if c.endpoint == victim)
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
            streams = [c for c in calls if c.endpoint == name and c.chunks > 2 and not c.finished]
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
    for verdict, those in told.items():
        kind = "streamed" if those[0].streamed else "complete"
        say(f"WRONG: {len(those)} calls ({kind}) {verdict}.")
    expect(not told, "a caller saw what no caller may see")
    expect(moved, "no call had to move, so nothing was shown")
    expect(cut, "no stream was cut, so nothing was shown")
    expect({victim} == {call.endpoint for call in cut}, "a stream of the other server was cut")


async def afterwards(client: AsyncOpenAI, left: str) -> None:
    """Ask again: the server that is left answers everything."""
    for number in (4, 9, 14, 19):
        call = Call(client, number)
        await call.run()
        expect(call.verdict == "answered", f"a call after the outage: {call.verdict}")
        expect(call.endpoint == left, f"{call.endpoint} answered, and not {left}")
    vector = await client.embeddings.create(model="embeddings", input="still there")
    expect(vector.data[0].embedding, "no embedding after the outage")
    say(f"Afterwards server {left} answered 4 of 4 calls, and embeddings.")
