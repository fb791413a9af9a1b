"""What is seen while the demo runs."""

from __future__ import annotations

import io
import re

from llmstack.demo.screen import Live, Plain, Quiet, screen_for
from llmstack.demo.traffic import Answered


RECENT = [
    *[Answered(1.0, 0.05, "fast")] * 6,
    *[Answered(1.0, 0.15, "slow")] * 2,
    Answered(1.0, 0.5, "", 3, "status 503"),
]
STATES = {"fast": "half_open", "slow": "closed"}


class Terminal(io.StringIO):
    """A terminal, as far as it says so."""

    def isatty(self) -> bool:
        return True


def test_plain_lines_come_once_a_second_and_say_it_all() -> None:
    """Traffic, breaker, latency and failures, whatever the frame rate is."""
    out = io.StringIO()
    screen = Plain(out)
    for quarter in range(1, 10):
        screen.show(quarter / 4, RECENT, STATES)
    screen.tell(2.3, "news")

    line = (
        "fast   6/s half_open  slow   2/s closed     dear   0/s closed     median   50 ms  failed 1"
    )
    assert [f"  1.0 s  {line}", f"  2.0 s  {line}", "  2.3 s  news"] == out.getvalue().splitlines()


def test_plain_lines_without_traffic_have_no_latency() -> None:
    """A median of nothing is not zero."""
    out = io.StringIO()
    Plain(out).show(1.0, [], {})

    assert "median    -     failed 0" in out.getvalue()


def drawn(text: str) -> list[str]:
    """Return what a terminal shows: without colours and movements."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).splitlines()


def test_the_live_picture_is_drawn_over_itself() -> None:
    """The second frame begins where the first did, and clears what it replaces."""
    out = Terminal()
    screen = Live(out)
    screen.show(1.0, RECENT, STATES)
    first = out.getvalue()
    screen.tell(1.1, "the breaker opens")
    screen.show(1.25, RECENT, {"fast": "open"})
    second = out.getvalue().removeprefix(first)
    lines = drawn(first)

    assert f"\x1b[{len(lines)}A" in second
    assert second.count("\x1b[2K") == len(drawn(second))
    assert any(line.startswith("  fast") and "half-open" in line for line in lines)
    assert any("the breaker opens" in line for line in drawn(second))
    assert not any(len(line) > 79 for line in lines + drawn(second))


def test_a_screen_suits_where_it_is_shown() -> None:
    """A picture for a terminal, lines for a file, nothing for a program."""
    assert isinstance(screen_for(Terminal(), quiet=False), Live)
    assert isinstance(screen_for(io.StringIO(), quiet=False), Plain)
    quiet = screen_for(Terminal(), quiet=True)

    assert isinstance(quiet, Quiet)
    quiet.show(1.0, RECENT, STATES)
    quiet.tell(1.0, "news")
