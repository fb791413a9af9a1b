"""A stream in portions: all of it, in order, and no turn of the loop takes too much."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.errors import ProtocolError
from llmstack.providers.portions import LINES, SMALL, USUAL, Portions
from llmstack.testing.virtual import run_virtual
from tests.providers.pieces import incoming


async def all_of(portions: Portions) -> list[bytes]:
    """All portions, up to the end."""
    taken = []
    while portion := await portions.next():
        taken.append(portion)
    return taken


long = st.integers(1, 3 * USUAL).map(lambda n: b"x" * n)
dense = st.integers(1, USUAL).map(lambda n: b"x\n" * n)


@given(st.lists(long | dense, max_size=4))
@example([b"x" * SMALL, b"x" * (SMALL + 1), b"x" * USUAL, b"x" * (USUAL + 1)])
@example([(b"x" * 31 + b"\n") * LINES + b"y"])
@example([(b"x" * 30 + b"\n") * (LINES + 60)])
@example([b"\n" * (SMALL + 1)])
def test_nothing_is_lost_and_no_portion_is_too_long(pieces: list[bytes]) -> None:
    """At most so many bytes, and so many lines: each chunk is cut as if it came alone."""
    expected = []
    for piece in pieces:
        rest = piece
        while len(rest) > SMALL:
            size = USUAL if len(rest[:USUAL].splitlines()) <= LINES else SMALL
            expected.append(rest[:size])
            rest = rest[size:]
        expected += [rest] if rest else []

    async def main() -> list[bytes]:
        return await all_of(Portions(incoming(*pieces)))

    assert expected == run_virtual(main())[0]


def test_others_have_their_turn_between_two_portions() -> None:
    """However much has come at once."""
    portions: list[int] = []

    async def main() -> list[int]:
        source = Portions(incoming(b"x\n" * (4 * SMALL)))
        seen = []

        async def other() -> None:
            while len(portions) < 8:
                seen.append(len(portions))
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            group.create_task(other())
            while portion := await source.next():
                portions.append(len(portion))
        return seen

    seen, _ = run_virtual(main())

    assert [SMALL] * 8 == portions
    assert {1, 2, 3, 4, 5, 6, 7} <= set(seen)


def test_it_tells_when_bytes_came_last() -> None:
    """Not when they were handed out, nor when it was asked."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(1)
        portions = Portions(incoming(2.0, b"x" * (USUAL + 1), 3.0, b"y"))
        heard = [portions.heard]
        await portions.next()
        await asyncio.sleep(5)
        await portions.next()
        heard.append(portions.heard)
        await portions.next()
        return [*heard, portions.heard, loop.time()]

    assert [1.0, 3.0, 11.0, 11.0] == run_virtual(main())[0]


@pytest.mark.parametrize(("pieces", "fits"), [([b"x" * 6, b"y" * 4], True), ([b"x" * 11], False)])
def test_a_stream_has_a_longest_length(pieces: list[bytes], *, fits: bool) -> None:
    """All its bytes count, and the error says how many are allowed."""

    async def main() -> list[bytes]:
        return await all_of(Portions(incoming(*pieces), limit=10))

    if fits:
        assert pieces == run_virtual(main())[0]
    else:
        with pytest.raises(ProtocolError, match="the stream is longer than 10 bytes"):
            run_virtual(main())


def test_a_gigabyte_is_the_default() -> None:
    """What no answer comes near to."""

    async def main() -> int:
        return Portions(incoming()).limit

    assert 1 << 30 == run_virtual(main())[0]
