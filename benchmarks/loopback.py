"""What the gateway and the library cost over loopback, against bare aiohttp, in CPU time.

Every server is a process of its own. They get the same requests in turn, in rounds; each
round gives a ratio, and the median of the ratios is the result: what else the machine does
meanwhile meets both sides alike. CPU times are read from ``/proc``, so this needs Linux.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time

from aiohttp import ClientSession, ClientTimeout, TCPConnector

import llmstack as ls
from llmstack.providers.openai import OpenAI
from llmstack.providers.transport import Transport


BODY = b'{"model": "m", "messages": [{"role": "user", "content": "' + b"Say hello. " * 85 + b'"}]}'

UPSTREAM = ("-m", "benchmarks.servers", "upstream", "1024")

CONFIG = """
[server]
listen = "127.0.0.1:0"

[endpoints.eu]
provider = "openai"
base_url = "{upstream}/v1"

[endpoints.us]
provider = "openai"
base_url = "{upstream}/v1"

[routes.m]
layers = [
  {{ use = "deadline", seconds = 30 }},
  {{ use = "retry", attempts = 3 }},
  {{ use = "latency_based", endpoints = ["eu", "us"] }},
  {{ use = "circuit_breaker" }},
  {{ use = "concurrency_limit", limit = 1000 }},
  {{ use = "timeout", first_token = 10, idle = 30 }},
]
"""


@contextmanager
def server(arguments: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Run a server until the block ends; gives its URL and process id."""
    command = [sys.executable, *arguments]
    with subprocess.Popen(  # noqa: S603 -- our own servers
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            said = process.stdout.readline() if process.stdout is not None else ""
            if "Listening at " not in said:
                raise RuntimeError(f"{arguments} said {said!r}")
            yield said.split()[-1].removesuffix("/v1"), process.pid
        finally:
            process.terminate()


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process, user and kernel, of all its threads."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


async def load(url: str, calls: int, at_once: int) -> None:
    """Send so many requests, so many at once."""
    left = iter(range(calls))
    connector = TCPConnector(limit=0)
    async with ClientSession(connector=connector, timeout=ClientTimeout(total=60)) as session:

        async def one_after_another() -> None:
            for _ in left:
                async with session.post(
                    f"{url}/v1/chat/completions",
                    data=BODY,
                    headers={"Content-Type": "application/json"},
                ) as answer:
                    await answer.read()
                    if answer.status != 200:
                        raise RuntimeError(f"{url} answered {answer.status}")

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(one_after_another())


def gateway(calls: int, rounds: int, at_once: int = 64) -> dict[str, float]:
    """Compare the gateway with the bare forwarder: CPU microseconds a request, and the ratio."""
    with (
        TemporaryDirectory() as folder,
        server(UPSTREAM) as up,
    ):
        config = Path(folder, "gateway.toml")
        config.write_text(CONFIG.format(upstream=up[0]))
        with (
            server(["-m", "benchmarks.servers", "forwarder", f"{up[0]}/v1"]) as bare,
            server(["-m", "llmstack", "serve", str(config)]) as ours,
        ):
            took: dict[str, list[float]] = {"bare": [], "ours": []}
            for n in range(rounds + 1):
                for name, (url, pid) in (("bare", bare), ("ours", ours)):
                    before = cpu_of(pid)
                    asyncio.run(load(url, calls, at_once))
                    if n:  # the first round warms up
                        took[name].append((cpu_of(pid) - before) / calls * 1e6)
            resident = rss_of(ours[1])
    ratios = [mine / theirs for mine, theirs in zip(took["ours"], took["bare"], strict=True)]
    return {
        "forwarder_us": median(took["bare"]),
        "gateway_us": median(took["ours"]),
        "ratio": median(ratios),
        "resident_mb": resident,
    }


def rss_of(pid: int) -> float:
    """Return the resident memory of a process in megabytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} tells no memory")


async def _library(url: str, calls: int) -> dict[str, float]:
    """Compare calls through the example stack with calls of a bare aiohttp client."""
    transport = Transport()
    leaf = OpenAI(f"{url}/v1", transport=transport)
    stack = (
        ls.ServiceBuilder()
        .layer(ls.Deadline(30))
        .layer(ls.Retry(attempts=3))
        .layer(ls.LatencyBased([ls.Endpoint("eu", leaf), ls.Endpoint("us", leaf)]))
        .layer(ls.CircuitBreaker())
        .layer(ls.ConcurrencyLimit(64))
        .layer(ls.Timeout(first_token=10, idle=30))
        .service(ls.dispatch)
    )
    took: dict[str, float] = {}
    async with stack, ClientSession(connector=TCPConnector(limit=0)) as session:
        for name in ("bare", "ours"):
            begun = process_time()
            for _ in range(calls):
                if name == "ours":
                    await stack(ls.Request("m", BODY))
                    continue
                async with session.post(f"{url}/v1/chat/completions", data=BODY) as answer:
                    await answer.read()
            took[name] = (process_time() - begun) / calls * 1e6
    return took


def library(calls: int, rounds: int) -> dict[str, float]:
    """Return CPU microseconds a call of a bare client and of the stack, and the ratio."""
    with server(UPSTREAM) as up:
        took = [asyncio.run(_library(up[0], calls)) for _ in range(rounds + 1)][1:]
    return {
        "client_us": median(each["bare"] for each in took),
        "stack_us": median(each["ours"] for each in took),
        "ratio": median(each["ours"] / each["bare"] for each in took),
    }
