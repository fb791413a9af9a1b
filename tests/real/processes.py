"""Programs in processes of their own, and what to do when one does not do as it should."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from contextlib import AsyncExitStack
from pathlib import Path


__all__ = ["Process", "Unexpected", "expect", "say"]


class Unexpected(Exception):
    """Something that must not be seen was seen."""


def expect(right: object, otherwise: str) -> None:
    if not right:
        raise Unexpected(otherwise)


def say(text: str) -> None:
    print(text, flush=True)


class Process:
    """A program in a process of its own, which ends with the block that *ends* belongs to."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name, self.process, self.log = name, process, log

    @classmethod
    async def start(cls, ends: AsyncExitStack, name: str, folder: Path, *args: str) -> Process:
        log = folder / f"{name}.log"
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *args, stdin=PIPE, stdout=PIPE, stderr=errors, cwd=folder
            )
        self = cls(name, process, log)
        ends.push_async_callback(self.kill)
        return self

    async def says(self, beginning: str) -> str:
        """Return the rest of the first line that begins with *beginning*."""
        assert self.process.stdout
        async for line in self.process.stdout:
            if line.startswith(beginning.encode()):
                return line.decode().removeprefix(beginning).strip()
        last = self.log.read_text(errors="replace")[-2000:]
        raise Unexpected(f"{self.name} ended with {await self.process.wait()}:\n{last}")

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def end(self) -> tuple[int, str]:
        """Ask it to end; return its exit code, and what it said since it was last read."""
        self.process.terminate()
        said, _ = await self.process.communicate()
        return await self.process.wait(), said.decode(errors="replace")
