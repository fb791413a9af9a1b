"""What the gateway adds to a stream: ``python -m benchmarks.streams [--json] [--quick]``.

CPU time of the gateway process, with the example stack and metrics, against that of a bare
aiohttp forwarder which passes on whatever bytes have come. Bursts: the provider writes a
whole stream at once. Paced: it writes an event every millisecond or so, over several
streams. And requests of 200 KB. Only the ratios mean anything on another machine.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import perf_counter

from aiohttp import ClientSession, ClientTimeout, TCPConnector
from attrs import frozen

from benchmarks.loopback import CONFIG, UPSTREAM, cpu_of, server
from benchmarks.overhead import machine


#: The ends of what a ratio may be, and whether less is better.
GOALS = {
    "burst, times the CPU of a bare forwarder": (1.5, "burst", True),
    "paced, times the CPU of a bare forwarder": (1.15, "paced", True),
    "200 KB bodies, times the rate of a bare forwarder": (0.9, "large", False),
}

ASKS = {"stream": True, "stream_options": {"include_usage": True}}
EVENTS_OF_A_BURST = 2000
EVENTS_PACED = 250
STREAMS = 8


def body(size: int, **more: object) -> bytes:
    """Return a request of about *size* bytes, messages of up to 4 KB, as the SDKs write it."""
    text = "Say hello, and why. " * (min(size, 4096) // 20)
    messages = [{"role": "user", "content": text} for _ in range(max(1, size // 4096))]
    asked = {"model": "m", "messages": messages, **more}
    return json.dumps(asked, separators=(",", ":"), ensure_ascii=False).encode()


@frozen
class Work:
    """What is sent in one round: *at_once* clients send *calls* requests; *counts* is the unit."""

    body: bytes
    calls: int
    at_once: int
    counts: int

    async def run(self, url: str) -> None:
        """Send all and read what comes back."""
        left = iter(range(self.calls))
        timeout = ClientTimeout(total=60)
        headers = {"Content-Type": "application/json"}
        async with ClientSession(connector=TCPConnector(limit=0), timeout=timeout) as session:

            async def one_after_another() -> None:
                for _ in left:
                    async with session.post(
                        f"{url}/v1/chat/completions", data=self.body, headers=headers
                    ) as answer:
                        size = 0
                        async for block in answer.content.iter_any():
                            size += len(block)
                        if answer.status != 200:
                            raise RuntimeError(f"{url} answered {answer.status}")

            async with asyncio.TaskGroup() as group:
                for _ in range(self.at_once):
                    group.create_task(one_after_another())


@contextmanager
def both(upstream: Sequence[str]) -> Iterator[dict[str, tuple[str, int]]]:
    """Run a bare forwarder and the gateway before one upstream; URL and process id of each."""
    with TemporaryDirectory() as folder, server(upstream) as up:
        config = Path(folder, "gateway.toml")
        config.write_text(CONFIG.format(upstream=up[0]))
        with (
            server(["-m", "benchmarks.servers", "forwarder", f"{up[0]}/v1"]) as bare,
            server(["-m", "llmstack", "serve", str(config)]) as ours,
        ):
            yield {"bare": bare, "ours": ours}


def compare(upstream: Sequence[str], work: Work, rounds: int) -> dict[str, float]:
    """Return CPU microseconds of both for one of what *work* counts, and the ratio."""
    took: dict[str, list[float]] = {"bare": [], "ours": []}
    with both(upstream) as servers:
        for n in range(rounds + 1):
            for name, (url, pid) in servers.items():
                before = cpu_of(pid)
                asyncio.run(work.run(url))
                if n:  # the first round warms up
                    took[name].append((cpu_of(pid) - before) / work.counts * 1e6)
    ratios = [mine / theirs for mine, theirs in zip(took["ours"], took["bare"], strict=True)]
    return {
        "forwarder_us": median(took["bare"]),
        "gateway_us": median(took["ours"]),
        "ratio": median(ratios),
    }


def burst(calls: int, rounds: int) -> dict[str, float]:
    """Compare for an event of bursts."""
    upstream = ["-m", "benchmarks.servers", "burst", str(EVENTS_OF_A_BURST)]
    asked = Work(body(1024, **ASKS), calls, STREAMS, calls * EVENTS_OF_A_BURST)
    return compare(upstream, asked, rounds)


def paced(calls: int, rounds: int) -> dict[str, float]:
    """Compare for an event of streams that come an event at a time."""
    upstream = ["-m", "benchmarks.servers", "paced", str(EVENTS_PACED), str(STREAMS / 1000)]
    asked = Work(body(1024, **ASKS), calls, STREAMS, calls * EVENTS_PACED)
    return compare(upstream, asked, rounds)


def large(calls: int, rounds: int) -> dict[str, float]:
    """Compare for a request of 200 KB; the ratio is that of requests for a second of CPU."""
    found = compare(UPSTREAM, Work(body(200 << 10), calls, STREAMS, calls), rounds)
    return {**found, "ratio": found["forwarder_us"] / found["gateway_us"]}


async def _asked(url: str, work: Work) -> list[float]:
    """Return the milliseconds of each question for the health, one after another, meanwhile."""
    took: list[float] = []
    async with ClientSession() as session, asyncio.TaskGroup() as group:
        under_way = group.create_task(work.run(url))
        while not under_way.done():
            begun = perf_counter()
            async with session.get(f"{url}/livez") as answer:
                await answer.read()
            took.append((perf_counter() - begun) * 1000)
    return took


def health(calls: int) -> dict[str, float]:
    """Ask the gateway for its health during bursts; one process asks and reads the bursts."""
    upstream = ["-m", "benchmarks.servers", "burst", str(EVENTS_OF_A_BURST)]
    work = Work(body(1024, **ASKS), calls, STREAMS, calls * EVENTS_OF_A_BURST)
    with both(upstream) as servers:
        took = asyncio.run(_asked(servers["ours"][0], work))
    cuts = quantiles([*took, took[-1]], n=100, method="inclusive")
    return {"asked": float(len(took)), "p50_ms": cuts[49], "p99_ms": cuts[98]}


def measure(*, quick: bool) -> dict[str, dict[str, float]]:
    """Run everything; *quick* is for trying it out, its figures are rough."""
    return {
        "burst": burst(*((16, 1) if quick else (200, 7))),
        "paced": paced(*((8, 1) if quick else (24, 5))),
        "health": health(16 if quick else 400),
        "large": large(*((50, 1) if quick else (400, 7))),
    }


def main() -> None:
    """Measure and print."""
    results = measure(quick="--quick" in sys.argv)
    if "--json" in sys.argv:
        rounded = {
            part: {name: round(value, 3) for name, value in figures.items()}
            for part, figures in results.items()
        }
        print(json.dumps({"machine": machine(), **rounded}, indent=2))
        return
    for part, figures in results.items():
        print(f"\n{part}")
        for name, value in figures.items():
            print(f"  {name:28}{value:10.2f}")
    print("\ngoals")
    for says, (goal, part, less) in GOALS.items():
        value = results[part]["ratio"]
        reached = value <= goal if less else value >= goal
        sign = "<=" if less else ">="
        print(f"  {says:50}{value:8.2f}  {'reached' if reached else 'MISSED'} ({sign} {goal:g})")


if __name__ == "__main__":
    main()
