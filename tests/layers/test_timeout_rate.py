"""What bytes without an event are worth, and the least rate."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import pytest
from attrs import define
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.errors import UpstreamTimeout
from llmstack.layers.timeout import Timeout
from llmstack.stream import Event, EventStream
from llmstack.testing.scripted import ScriptedEvent
from llmstack.testing.virtual import run_virtual
from tests.layers.timed import timers


#: Off all multiples of a second, and so are its eighths: no look meets an event.
WITHIN: Final = 8.3125
OFFSET: Final = 0.25


@define(eq=False)
class Talking:
    """A source of bytes: waits, each with the size of the event behind it, None for a comment."""

    lines: list[tuple[float, int | None]]
    heard: float | None = None
    usage: None = None

    @property
    def complete(self) -> bool:
        return not self.lines

    async def read(self) -> Sequence[Event]:
        while self.lines:
            wait, size = self.lines.pop(0)
            await asyncio.sleep(wait)
            if self.heard is not None:
                self.heard = asyncio.get_running_loop().time()
            if size is not None:
                return [ScriptedEvent(b"x" * size, raw=b"more than that" + b"x" * size)]
        return []

    def close(self) -> None:
        """Nothing is open."""


#: How the reading ended ("ok" or the phase and the words), when, and after how many events.
End = tuple[str, float, int]


async def read(layer: Timeout, source: Talking, rests: Sequence[float] = ()) -> End:
    """Read all of *source* in time, resting before each further event."""

    async def inner(_request: object, /) -> EventStream:
        return EventStream(source, held=[ScriptedEvent(b"")])

    reply = await layer(inner)("request")
    said, n = "ok", 0
    try:
        async for _ in reply:
            await asyncio.sleep(rests[n] if n < len(rests) else 0)
            n += 1
    except UpstreamTimeout as error:
        said = f"{error.phase}: {error}" if not error.again else "confused"
    assert 0 == timers()
    return said, asyncio.get_running_loop().time(), n


@given(
    idle=st.integers(1, 6),
    lines=st.lists(
        st.tuples(st.integers(0, 7), st.none() | st.integers(0, 3)), min_size=1, max_size=8
    ),
    tells=st.booleans(),
)
@example(idle=5, lines=[(4, None), (4, None), (4, 1)], tells=True)
@example(idle=5, lines=[(4, None), (4, None), (4, 1)], tells=False)
@example(idle=5, lines=[(4, None), (5, None), (4, 1)], tells=True)
@example(idle=5, lines=[(4, 1), (4, 1), (5, 1)], tells=True)
def test_bytes_of_any_kind_reset_the_idle_clock(
    idle: int, lines: list[tuple[int, int | None]], *, tells: bool
) -> None:
    """A comment does as well as an event, where the source tells when it heard something."""
    now, last, n, expected = 0, 0, 1, None
    for wait, size in lines:
        if now + wait >= last + idle and expected is None:
            expected = f"idle: nothing more within {idle} s", last + idle, n
        now += wait
        last = now if tells or size is not None else last
        n += size is not None
    source = Talking([*lines], heard=0.0 if tells else None)

    assert (expected or ("ok", now, n)) == run_virtual(read(Timeout(idle=idle), source))[0]


Step = tuple[int, int, int]


def model(rate: int, steps: list[Step]) -> End:
    """All that would happen, and then each look at the part of it since the last good one."""
    now, spans, handed = OFFSET, [], [(0.0, 0)]
    for rest, wait, size in steps:
        spans.append((now + rest, now + rest + wait))
        now += rest + wait
        handed.append((now, size))
    since, look = 0.0, WITHIN
    while look < now:
        waited = sum(max(0.0, min(end, look) - max(start, since)) for start, end in spans)
        if waited >= WITHIN and any(start <= look < end for start, end in spans):
            if sum(size for at, size in handed if since < at <= look) < rate * waited:
                words = f"idle: less than {rate} bytes a second in {WITHIN:g} s of waiting"
                return words, look, sum(at <= look for at, _ in handed)
            since, waited = look, 0.0
        look += max(WITHIN - waited, WITHIN / 8)
    return "ok", now, len(handed)


steps: Final = st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(0, 40))


@given(rate=st.integers(1, 9), steps=st.lists(steps, min_size=1, max_size=9))
@example(5, [(0, 4, 20), (0, 4, 20), (0, 9, 40)])
@example(5, [(0, 4, 20), (0, 4, 22), (0, 9, 40), (0, 4, 20)])
@example(1, [(0, 8, 20), (5, 9, 40), (5, 9, 1), (5, 9, 1), (0, 9, 1)])
@example(9, [(5, 1, 40), (5, 1, 0), (5, 1, 0), (5, 1, 0)])
@example(4, [(0, 8, 0), (5, 1, 40), (3, 9, 40), (0, 9, 40)])
def test_what_comes_too_slowly_ends(rate: int, steps: list[Step]) -> None:
    """At the look that finds the window full of waiting; a slow reader ends nothing."""
    source = Talking([(wait, size) for _, wait, size in steps])
    first, *others = [rest for rest, _, _ in steps]

    seen, _ = run_virtual(
        read(Timeout(rate=rate, within=WITHIN), source, [OFFSET + first, *others])
    )

    assert model(rate, steps) == seen


@pytest.mark.parametrize(
    ("timeout", "lines", "end"),
    [
        ({"idle": 5}, [(4, None)] * 99, ("ok", 396.0, 1)),
        ({"idle": 5, "rate": 1}, [(4, None)] * 99, ("1 bytes a second in 30 s", 30.0, 1)),
        ({"idle": 5, "rate": 1}, [(4, 1)] * 99, ("1 bytes a second in 30 s", 30.0, 8)),
        ({"idle": 5, "rate": 0.25}, [(4, 1)] * 99, ("0.25 bytes a second in 30 s", 30.0, 8)),
        ({"idle": 5, "rate": 0.23}, [(4, 1)] * 99, ("ok", 396.0, 100)),
        ({"idle": 5, "rate": 1, "within": 9}, [(4, 1)], ("ok", 4.0, 2)),
        ({"rate": 100}, [(29, 5000), (29, None)], ("ok", 58.0, 2)),
        ({"rate": 100}, [(29, 5000), (33, None)], ("100 bytes a second in 30 s", 60.0, 2)),
        ({"idle": 5, "rate": 1}, [(4, 1), (6, 1)], ("nothing more within 5 s", 9.0, 2)),
    ],
)
def test_neither_a_drip_nor_comments_are_for_ever(
    timeout: dict[str, Any], lines: list[tuple[float, int | None]], end: End
) -> None:
    """What resets the idle clock each time counts for nothing in the rate, or for what it is."""
    (said, *facts), _ = run_virtual(read(Timeout(**timeout), Talking([*lines], heard=0.0)))

    assert end[0] in said
    assert [*end[1:]] == facts


def test_without_a_rate_no_event_is_looked_at() -> None:
    """It costs nothing where it is not set."""

    async def observers(layer: Timeout) -> int:
        async def inner(_request: object, /) -> EventStream:
            return EventStream(Talking([]), held=[ScriptedEvent()])

        reply = await layer(inner)("request")
        return len(reply._observers)

    assert 0 == run_virtual(observers(Timeout(idle=5, total=9)))[0]
    assert 1 == run_virtual(observers(Timeout(rate=5)))[0]
