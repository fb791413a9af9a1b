"""The one clock is the running loop's."""

from __future__ import annotations

import asyncio
import time

import pytest

from llmstack import clock
from llmstack.testing.virtual import VirtualLoop, run_virtual


def test_now_is_the_time_of_the_loop() -> None:
    """It moves as the loop's does, and by nothing else."""

    async def main() -> list[float]:
        seen = [clock.now()]
        for seconds in (0.0, 1.5, 3600.0):
            await asyncio.sleep(seconds)
            seen.append(clock.now())
        return seen

    seen, _ = run_virtual(main())

    assert [0.0, 0.0, 1.5, 3601.5] == seen


def test_wall_asks_the_loop_first() -> None:
    """A virtual loop brings its own time of day, which moves with its clock."""

    async def main() -> tuple[float, float]:
        before = clock.wall()
        await asyncio.sleep(90)
        return before, clock.wall()

    (before, after), _ = run_virtual(main(), epoch=1e9)

    assert (1e9, 1e9 + 90) == (before, after)
    assert isinstance(before, float)


def test_wall_is_a_float_whatever_the_loop_says() -> None:
    """Dates are made of it by division, so its type is sure."""
    loop = VirtualLoop(epoch=7)
    loop.wall = lambda: 7  # type: ignore[method-assign]

    async def main() -> float:
        return clock.wall()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        seen = runner.run(main())

    assert "7.0" == repr(seen)


def test_wall_of_a_plain_loop_is_the_time_of_day() -> None:
    """And `now` is the loop's there too."""

    async def main() -> tuple[float, float, float, float]:
        loop = asyncio.get_running_loop()
        return loop.time(), clock.now(), loop.time(), clock.wall()

    before = time.time()  # noqa: TID251 -- what is compared
    first, now, last, wall = asyncio.run(main())
    after = time.time()  # noqa: TID251

    assert first <= now <= last
    assert before <= wall <= after


@pytest.mark.parametrize("read", [clock.now, clock.wall])
def test_there_is_no_time_without_a_loop(read: object) -> None:
    """A clock that answered anyway would be another clock."""
    assert callable(read)
    with pytest.raises(RuntimeError, match="no running event loop"):
        read()


def test_the_module_offers_two_readings_and_says_whether_there_are_any() -> None:
    """Nothing else of it is public."""
    assert ["now", "runs", "wall"] == clock.__all__
