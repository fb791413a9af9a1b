"""The same seed and the same events give the same trace, byte for byte, in any process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

import llmstack as ls
from llmstack.testing.virtual import run_virtual
from tests.properties.example import endpoint, stack_of
from tests.properties.test_cancel import ROUTERS, read_out


def trace(name: str, seed: int) -> str:
    """Return all that happened to 60 calls, four at a time, through the example stack."""
    lines: list[str] = []
    endpoints = [endpoint(place, seed) for place in ("eu", "us", "ap")]
    stack = stack_of(ROUTERS[name](endpoints), seed=seed)

    async def one(n: int) -> None:
        await asyncio.sleep(n // 4 * 0.2)
        request = ls.Request("m", stream=n % 3 == 0)
        try:
            said = type(await read_out(await stack(request))).__name__
        except ls.LLMStackError as error:
            said = str(error)
        lines.append(f"{n} {said} {[attempt.seen() for attempt in request.call.attempts]}")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for n in range(60):
                group.create_task(one(n))

    with capture_logs() as logs:
        _, elapsed = run_virtual(main())
    return "\n".join([*lines, *map(str, logs), str(stack.statistics()), str(elapsed)])


@pytest.mark.parametrize("name", ROUTERS)
def test_another_process_with_another_hash_seed_sees_the_same(name: str) -> None:
    """Nothing depends on the order of a set, on an id or on a clock."""
    seen = {
        subprocess.run(
            [sys.executable, "-m", "tests.properties.test_determinism", name],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parents[2],
            check=True,
            capture_output=True,
            timeout=60,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert 1 == len(seen)
    assert [trace(name, 5)] == [line.decode().rstrip("\n") for line in seen]


@pytest.mark.parametrize("name", ["weighted_random", "fallback"])
def test_another_seed_sees_something_else(name: str) -> None:
    """A trace that is always the same would prove nothing."""
    assert trace(name, 1) != trace(name, 2)


if __name__ == "__main__":
    print(trace(sys.argv[1], 5))  # noqa: T201 -- read by the test above
