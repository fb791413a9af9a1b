"""What is seen while the demo runs: a live picture on a terminal, else a line a second."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from shutil import get_terminal_size
from statistics import median
from types import MappingProxyType
from typing import Final, Protocol, TextIO, final

from attrs import define, field

from llmstack.demo.traffic import Answered


__all__ = ["Live", "Plain", "Quiet", "Screen", "screen_for"]

NAMES: Final = ("fast", "slow", "dear")
#: Columns of the picture, and of its bars.
COLUMNS: Final = 80
WIDTH: Final = 40
#: Pieces of news that are shown at the same time.
NEWS: Final = 6
#: Control sequences that hide the cursor and show it again.
HIDE: Final = "\x1b[?25l"
SHOW: Final = "\x1b[?25h"
#: Colours of the breaker's states, in the codes of ECMA-48.
COLOURS: Final[Mapping[str, str]] = MappingProxyType(
    {"closed": "32", "degraded": "33", "half_open": "33", "open": "31", "disabled": "36"}
)


class Screen(Protocol):
    """Shows how things are."""

    def show(self, at: float, recent: Sequence[Answered], states: Mapping[str, str]) -> None:
        """Show the answers of the last second and the states of the breakers."""
        ...

    def tell(self, at: float, news: str) -> None:
        """Say what has happened."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was; however the demo ends."""
        ...


def _latency(answers: Sequence[Answered]) -> str:
    return f"{median(each.seconds for each in answers) * 1000:4.0f} ms" if answers else "   -   "


@final
class Quiet:
    """Shows nothing, for programs that read the summary."""

    def show(self, at: float, recent: Sequence[Answered], states: Mapping[str, str]) -> None:
        """Show nothing."""

    def tell(self, at: float, news: str) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Do nothing."""


@final
@define(eq=False)
class Plain:
    """A line a second, and a line for each piece of news."""

    out: TextIO
    _next: float = field(default=1.0, init=False)

    def show(self, at: float, recent: Sequence[Answered], states: Mapping[str, str]) -> None:
        """Print a line when another second is over."""
        if at < self._next:
            return
        self._next += 1.0
        counts = [
            f"{name} {sum(each.endpoint == name for each in recent):3d}/s "
            f"{states.get(name, 'closed'):9}"
            for name in NAMES
        ]
        failed = sum(bool(each.failure) for each in recent)
        line = f"{at:5.1f} s  {'  '.join(counts)}  median {_latency(recent)}  failed {failed}"
        print(line, file=self.out, flush=True)

    def tell(self, at: float, news: str) -> None:
        """Print the news."""
        print(f"{at:5.1f} s  {news}", file=self.out, flush=True)

    def close(self) -> None:
        """Do nothing: lines need no care."""


@final
@define(eq=False)
class Live:
    """A picture that is drawn over itself: traffic, latency and breaker by endpoint, and news.

    Each frame is written at once, over the last one and as high as that, so that nothing
    flickers or moves; meanwhile the cursor is hidden.
    """

    out: TextIO
    news: deque[str] = field(factory=lambda: deque(maxlen=NEWS), init=False)
    _drawn: int = field(default=0, init=False)

    def show(self, at: float, recent: Sequence[Answered], states: Mapping[str, str]) -> None:
        """Draw the picture anew."""
        failed = sum(bool(each.failure) for each in recent)
        lines = [
            f"  {at:4.1f} s   {len(recent)} requests a second",
            "",
            *(_row(name, recent, states.get(name, "closed")) for name in NAMES),
            "",
            f"  failures seen by callers in the last second: {failed}",
            "",
            *self.news,
            *[""] * (NEWS - len(self.news)),
        ]
        begin = f"\x1b[{self._drawn}A" if self._drawn else HIDE
        # What is left of an old line is cleared behind the new one.
        self.out.write(begin + "".join(f"{line}\x1b[K\n" for line in lines))
        self.out.flush()
        self._drawn = len(lines)

    def tell(self, at: float, news: str) -> None:
        """Add the news below the picture, where the last few are."""
        self.news.append(f"  {at:4.1f} s   {news}"[: COLUMNS - 1])

    def close(self) -> None:
        """Show the cursor again."""
        if self._drawn:
            self.out.write(SHOW)
            self.out.flush()


def _row(name: str, recent: Sequence[Answered], state: str) -> str:
    """Return the line of one endpoint."""
    its = [each for each in recent if each.endpoint == name]
    bar = "█" * round(WIDTH * len(its) / max(1, len(recent)))
    return (
        f"  {name}  \x1b[36m{bar:<{WIDTH}}\x1b[0m {len(its):3d}/s  {_latency(its)}"
        f"  \x1b[{COLOURS[state]}m● {state.replace('_', '-')}\x1b[0m"
    )


def screen_for(out: TextIO, *, quiet: bool) -> Screen:
    """Return what suits *out*; a picture wants a terminal that is wide enough."""
    if quiet:
        return Quiet()
    wide = out.isatty() and get_terminal_size().columns >= COLUMNS
    return Live(out) if wide else Plain(out)
