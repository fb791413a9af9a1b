"""A judge in a process of its own: what it is told to do, what it has seen, what it finds."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self, final

from aiohttp import ClientSession
from attrs import define

from tests.real.processes import Process


__all__ = ["Upstream"]


@final
@define(eq=False)
class Upstream:
    """A judge; it is a provider of both wire formats to whoever asks it."""

    url: str
    session: ClientSession

    @classmethod
    async def start(cls, ends: AsyncExitStack, folder: Path, name: str, *args: str) -> Self:
        """Start one, for as long as the block of *ends* lasts."""
        program = str(Path(__file__).with_name("server.py"))
        process = await Process.start(ends, name, folder, program, *args)
        url = await process.says("Ready at ")
        return cls(url, await ends.enter_async_context(ClientSession(url)))

    async def plan(self, *behaviours: Mapping[str, Any]) -> None:
        """Say what is to befall the requests that come."""
        asked = {"behaviors": behaviours}
        async with self.session.post("/_llmock/scenario", json=asked) as answer:
            answer.raise_for_status()

    async def left(self) -> int:
        """Return how much of the plan has befallen nobody yet."""
        async with self.session.get("/_llmock/scenario") as answer:
            return len((await answer.json())["pending"])

    async def seen(self) -> Sequence[Mapping[str, Any]]:
        """Return its records: a table for each request."""
        async with self.session.get("/_llmock/requests") as answer:
            records: Sequence[Mapping[str, Any]] = (await answer.json())["requests"]
            return records

    async def report(self, *options: str) -> tuple[bool, str]:
        """Return what its command says: whether it passes, and the text."""
        command = ("-m", "llmock.cli", "report", "--url", self.url, *options)
        process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=PIPE)
        said, _ = await process.communicate()
        return process.returncode == 0, said.decode()
