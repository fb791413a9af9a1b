"""What llmstack adds to a call: ``python -m benchmarks.overhead [--json] [--quick]``.

In one process without a network, over loopback against bare aiohttp, and at import. Only
the ratios mean anything beyond the machine that they were measured on.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import aiohttp

import llmstack
from benchmarks import inprocess, loopback


GOALS = {
    "example stack, microseconds a call": (25.0, "in_process", "example stack"),
    "example stack, times ten neutral layers": (15.0, "ratios", "example stack"),
    "import, milliseconds over bare Python": (80.0, "import", "added_ms"),
    "gateway, times the CPU of a bare forwarder": (1.3, "gateway", "ratio"),
    "library, times the CPU of a bare client": (1.3, "library", "ratio"),
}


def imports(rounds: int) -> dict[str, float]:
    """Measure the import of the package against a bare interpreter, in processes."""
    build = "from benchmarks.inprocess import example; example()"
    took: dict[str, list[float]] = {"pass": [], "import llmstack": [], build: []}
    for _ in range(rounds):
        for code, times in took.items():
            begun = perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 -- our own
            times.append(perf_counter() - begun)
    loaded = "import llmstack, sys; print('aiohttp' in sys.modules)"
    said = subprocess.run(  # noqa: S603 -- our own
        [sys.executable, "-c", loaded], check=True, capture_output=True, text=True
    )
    bare, ours, built = (min(times) * 1000 for times in took.values())
    return {
        "bare_ms": bare,
        "added_ms": ours - bare,
        "with_example_stack_ms": built - bare,
        "loads_aiohttp": float(said.stdout.strip() == "True"),
    }


def machine() -> dict[str, str]:
    """Describe where this was measured."""
    model = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "aiohttp": aiohttp.__version__,
        "llmstack": llmstack.__version__,
    }


def measure(*, quick: bool) -> dict[str, dict[str, float]]:
    """Run everything; *quick* is for trying it out, its figures are rough."""
    alone = inprocess.measure(500, 3) if quick else inprocess.measure()
    ten = alone["10 neutral layers"]
    return {
        "in_process": alone,
        "ratios": {name: took / ten for name, took in alone.items()},
        "import": imports(3 if quick else 15),
        "library": loopback.library(*((200, 1) if quick else (2000, 7))),
        "gateway": loopback.gateway(*((300, 1) if quick else (4000, 9))),
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
    for says, (goal, part, name) in GOALS.items():
        value = results[part][name]
        print(f"  {says:46}{value:8.2f}  {'reached' if value <= goal else 'MISSED'} (<= {goal:g})")


if __name__ == "__main__":
    main()
