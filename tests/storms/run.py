"""All storms at full strength; ``make storms`` plays them, complete replies and streams.

It says how each went, and ends with 1 if a promise was not kept. With parts of their names
behind the command just those are played.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import click
from attrs import evolve
from structlog.testing import capture_logs

from llmstack.testing.virtual import run_virtual
from tests.storms.catalogue import FULL, Load, storms
from tests.storms.judge import MORE, allowed, broken, crowd, first_good
from tests.storms.storm import Played, Storm
from tests.storms.world import play


__all__ = ["both_forms", "go", "played"]

HEAD: Final = (
    f"{'storm':26}{'form':8}{'calls':>7}{'failed':>8}{'cut':>5}{'upstream':>10}{'of':>7}"
    f"{'first, s':>10}{'most a second':>15}\n"
)


def played(storm: Storm) -> Played:
    """What comes of *storm*; its log is dropped."""
    # In a thread: where a coroutine goes on behind an exception that was thrown into it, Python
    # 3.11 tells a tracer of returns without calls. Without grace for the kernel: what is written
    # to loopback is there at once.
    with capture_logs(), ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: run_virtual(play(storm), grace=0.0)[0]).result()


def both_forms(load: Load) -> list[Storm]:
    """All storms with complete replies, and with streams."""
    return [*storms(load), *storms(evolve(load, streams=True))]


def _print(text: str) -> None:
    click.echo(text, nl=False)


def go(
    known: Iterable[Storm],
    names: Sequence[str] = (),
    say: Callable[[str], object] = _print,
) -> int:
    """Play those with such *names*, or all; say how it went, and return 1 if a promise broke."""
    say(HEAD)
    wrong = 0
    for storm in known:
        if names and not any(name in storm.name for name in names):
            continue
        result = played(storm)
        complaints = broken(storm, result)
        say(_row(storm, result) + "".join(f"  BROKEN: {words}\n" for words in complaints))
        wrong += len(complaints)
    say(f"{wrong or 'no'} promises were broken\n")
    return min(wrong, 1)


def _row(storm: Storm, result: Played) -> str:
    """The figures of one storm, and what is allowed of them."""
    calls, back = result.calls, storm.promises.back
    cut = sum(call.cut for call in calls)
    line = (
        f"{storm.name:26}{'streams' if storm.streams else 'replies':8}{len(calls):7}"
        f"{len(result.failures):8}{cut:5}{result.attempts:10}{allowed(storm, result):7.0f}"
    )
    if back is None:
        return f"{line}\n"
    most = MORE * storm.rate + storm.promises.spare
    return f"{line}{first_good(storm, result, back):10.2f}{crowd(result, back):8} of {most:.0f}\n"


if __name__ == "__main__":
    # A fake provider that dies cannot write, and its server says so.
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
    sys.exit(go(both_forms(FULL), sys.argv[1:]))
