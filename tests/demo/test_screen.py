"""What is seen while the demo runs."""

from __future__ import annotations

import io
import re

import pytest

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
    screen.close()

    line = (
        "fast   6/s half_open  slow   2/s closed     dear   0/s closed     median   50 ms  failed 1"
    )
    assert [f"  1.0 s  {line}", f"  2.0 s  {line}", "  2.3 s  news"] == out.getvalue().splitlines()


def test_plain_lines_keep_to_the_second() -> None:
    """A frame that comes late does not put off the next line."""
    out = io.StringIO()
    screen = Plain(out)
    for n in range(1, 15):
        screen.show(n * 0.3, [], {})

    assert ["1.2", "2.1", "3.0", "4.2"] == [line.split()[0] for line in out.getvalue().splitlines()]


def test_plain_lines_without_traffic_have_no_latency() -> None:
    """A median of nothing is not zero."""
    out = io.StringIO()
    Plain(out).show(1.0, [], {})

    assert "median    -     failed 0" in out.getvalue()


def drawn(text: str) -> list[str]:
    """Return what a terminal shows of one frame: without colours and movements."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).splitlines()


#: ``<bar>`` is in cyan, what begins with ``y`` or ``g`` and ends with ``!`` yellow or green.
FRAME = """\
   1.0 s   9 requests a second

  fast  <███████████████████████████             >   6/s    50 ms  y● half-open!
  slow  <█████████                               >   2/s   150 ms  g● closed!
  dear  <                                        >   0/s     -     g● closed!

  failures seen by callers in the last second: 1

   0.5 s   the breaker tries a probe





"""
CODES = {"<": "\x1b[36m", ">": "\x1b[0m", "y●": "\x1b[33m●", "g●": "\x1b[32m●", "!": "\x1b[0m"}


def test_the_live_picture() -> None:
    """To the letter: the bars, the states in their colours, room for the news; no cursor."""
    out = Terminal()
    screen = Live(out)
    screen.tell(0.5, "the breaker tries a probe")
    screen.show(1.0, RECENT, STATES)

    expected = FRAME.replace("\n", "\x1b[K\n")
    for sign, code in CODES.items():
        expected = expected.replace(sign, code)
    assert "\x1b[?25l" + expected == out.getvalue()
    assert not any(len(line) > 79 for line in drawn(out.getvalue()))


def test_a_frame_covers_the_last_one() -> None:
    """It begins where that did, is as high, and is written at once, so nothing flickers."""
    out = Terminal()
    screen = Live(out)
    frames = []
    for n in range(9):
        before = out.tell()
        screen.show(n / 4, RECENT[:n], {})
        frames.append(out.getvalue()[before:])
        screen.tell(n / 4, f"news {n}")

    heights = {len(drawn(frame)) for frame in frames}
    assert 1 == len(heights)
    assert all(frame.startswith(f"\x1b[{max(heights)}A") for frame in frames[1:])
    assert {max(heights)} == {frame.count("\x1b[K\n") for frame in frames}


def test_news_are_the_last_few_and_fit_the_line() -> None:
    """Six of them, cut off where the terminal ends."""
    out = Terminal()
    screen = Live(out)
    for n in range(8):
        screen.tell(n, f"{n} " + "x" * 99)
    screen.show(9.0, [], {})

    news = [line for line in drawn(out.getvalue()) if "x" in line]
    assert ["2", "3", "4", "5", "6", "7"] == [line.split()[2] for line in news]
    assert {79} == {len(line) for line in news}


@pytest.mark.parametrize("shown", [True, False])
def test_the_cursor_is_given_back(*, shown: bool) -> None:
    """If it was hidden: a screen that never showed anything leaves the terminal alone."""
    out = Terminal()
    screen = Live(out)
    if shown:
        screen.show(1.0, [], {})
    before = out.tell()
    screen.close()

    assert ("\x1b[?25h" if shown else "") == out.getvalue()[before:]


@pytest.mark.parametrize(("columns", "kind"), [(80, Live), (200, Live), (79, Plain)])
def test_a_picture_wants_a_terminal_that_is_wide_enough(
    columns: int, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a narrow one its lines would break, and it would not cover itself."""
    monkeypatch.setenv("COLUMNS", str(columns))

    assert isinstance(screen_for(Terminal(), quiet=False), kind)


def test_a_screen_suits_where_it_is_shown() -> None:
    """Lines for a file, nothing for a program."""
    assert isinstance(screen_for(io.StringIO(), quiet=False), Plain)
    quiet = screen_for(Terminal(), quiet=True)

    assert isinstance(quiet, Quiet)
    quiet.show(1.0, RECENT, STATES)
    quiet.tell(1.0, "news")
    quiet.close()
