"""A third party's provider behind the gateway, which breaks what it serves and judges who asks.

llmock in a process of its own, ``llmstack serve`` before it in another, the SDKs of openai and
anthropic before that, all on loopback. llmock rolls its dice, refuses and breaks streams, keeps
a journal, and says what a client did wrong: asked again too soon, too often or not at all, took
half an answer for a whole one. Its strict report has to pass, and what the callers saw has to
fit what they may see. It is run by ``make judge``; it exits with 1 if either is not so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from tests.judge.faults import faults
from tests.judge.storm import storm
from tests.judge.upstream import Upstream
from tests.real.call import Clients
from tests.real.processes import Process, Unexpected, expect, say


#: Seconds for everything, so that it ends whatever happens.
LIMIT = 280.0
#: What callers meet: of all answers, 30 % are 429 and 20 % are 503.
RATES = ("429=0.3", "503=0.2")
ENDPOINTS = """
[endpoints.{name}]
provider = "openai"
base_url = "{url}/v1"
api_key = "file:{key}"

[endpoints.{name}_messages]
provider = "anthropic"
base_url = "{url}/anthropic/v1"
api_key = "file:{key}"

[endpoints.{name}_chat]
provider = "openai"
base_url = "{url}/v1"
api_key = "file:{key}"
speaks = ["chat"]
"""
# Where half of all attempts fail there is one more for each call, so that is what the budget
# has to allow; by itself it allows a fifth.
ROUTE = """
[routes.{route}]
layers = [
  {{ use = "deadline", seconds = 60 }},
  {{ use = "retry", attempts = {attempts}, budget = {{ ratio = 2, share = 2 }} }},
  {{ use = "round_robin", endpoints = [{endpoints}] }},
  {{ use = "circuit_breaker" }},
  {{ use = "cooldown" }},
  {{ use = "concurrency_limit", limit = 64 }},
  {{ use = "timeout", first_token = 1, idle = 1 }},
]
"""
SUFFIXES = {"chat": "", "messages": "_messages", "translated": "_chat"}
# Above ten that are sent the judge calls it a storm; so many only if no gate refuses meanwhile.
ATTEMPTS = 12


def configuration(urls: Mapping[str, str], folder: Path) -> str:
    """Return the file of a gateway over the upstreams at *urls*, each with a key of its own."""
    parts = ['[server]\nlisten = "127.0.0.1:0"\nshutdown_timeout = 5\n']
    for name, url in urls.items():
        key = folder / f"{name}.key"
        key.write_text(f"the key of {name}")
        parts.append(ENDPOINTS.format(name=name, url=url, key=key))
    for route, suffix in SUFFIXES.items():
        endpoints = ", ".join(f'"{name}{suffix}"' for name in urls)
        parts.append(ROUTE.format(route=route, attempts=ATTEMPTS, endpoints=endpoints))
    return "".join(parts)


async def gateway(ends: AsyncExitStack, folder: Path, *upstreams: Upstream) -> Clients:
    """Start a gateway over *upstreams*; return clients of it."""
    urls = {f"upstream{n}": upstream.url for n, upstream in enumerate(upstreams, 1)}
    config = folder / "llmstack.toml"
    config.write_text(configuration(urls, folder))
    process = await Process.start(ends, "gateway", folder, "-m", "llmstack", "serve", str(config))
    url = await process.says("Listening at ")
    return await ends.enter_async_context(Clients(url, LIMIT))


async def judged(judge: Upstream) -> None:
    """Print what the judge says, and raise if it has anything to say against the gateway."""
    passed, text = await judge.report("--strict")
    say(f"llmock report --strict:\n\n{text.strip()}\n")
    expect(passed, "the strict report of the judge does not pass")


async def moved(judge: Upstream) -> None:
    """Say for how many calls a judge has seen nobody come back; it may find nothing else."""
    passed, text = await judge.report("--json")
    codes = Counter(finding["code"] for finding in json.loads(text)["findings"])
    say(f"llmock report: {'PASS' if passed else 'FAIL'}, {dict(codes)}.")
    expect(passed and set(codes) == {"gave_up"}, "the judge finds fault with who goes elsewhere")


async def in_a_storm(calls: int, folder: Path, ends: AsyncExitStack) -> None:
    """One upstream: whoever is refused waits for as long as he is told to."""
    say(f"1. One upstream, of whose answers 30 % are 429 and 20 % are 503: {calls} calls.")
    judge = await Upstream.start(ends, folder, "judge", "1", *RATES)
    await storm(await gateway(ends, folder, judge), [judge], calls)
    await judged(judge)


async def with_another(calls: int, folder: Path, ends: AsyncExitStack) -> None:
    """Two upstreams: whoever is refused by one is answered by the other.

    Neither judge knows of the other, so each takes what has moved for given up.
    """
    say(f"2. Two upstreams of that kind: {calls} calls.")
    judges = [await Upstream.start(ends, folder, f"judge{n}", n, *RATES) for n in ("2", "3")]
    await storm(await gateway(ends, folder, *judges), judges, calls)
    for judge in judges:
        await moved(judge)


async def with_faults(_calls: int, folder: Path, ends: AsyncExitStack) -> None:
    """One upstream whose streams break: no half of an answer is taken for a whole one."""
    say("3. One upstream: half of the calls are refused first, and every stream breaks.")
    judge = await Upstream.start(ends, folder, "judge", "4")
    await faults(await gateway(ends, folder, judge), judge)
    await judged(judge)


async def bounded(calls: int) -> None:
    async with asyncio.timeout(LIMIT):
        for part in (in_a_storm, with_another, with_faults):
            with TemporaryDirectory() as folder:
                async with AsyncExitStack() as ends:
                    await part(calls, Path(folder), ends)


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(description="Have the gateway judged.")
    parser.add_argument("--calls", type=int, default=120, help="how many in a storm (120)")
    calls, begun = parser.parse_args().calls, monotonic()
    try:
        asyncio.run(bounded(calls))
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
