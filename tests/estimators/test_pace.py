"""The least rate against the list of all waits; with a clock, see the tests of `Timeout`."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from llmstack.estimators.pace import Pace


#: Bytes and the wait for them, or a look: the present wait so far, None without one.
Act = tuple[int, int] | int | None
acts = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 9)) | st.integers(0, 30) | st.none(), max_size=20
)


def model(acts: list[Act]) -> list[float | None]:
    """Five bytes a second within sixteen seconds: sums over all that is since the last verdict."""
    said: list[float | None] = []
    sizes: list[int] = []
    waits: list[float] = []
    for act in acts:
        if isinstance(act, tuple):
            sizes.append(act[0])
            waits.append(act[1])
            continue
        waited = sum(waits) + (act or 0)
        full = act is not None and waited >= 16
        if full and sum(sizes) / waited < 5:
            return [*said, None]
        if full:
            sizes, waits, waited = [], [-act], 0.0  # type: ignore[operator]
        said.append(max(16 - waited, 2.0))
    return said


@given(acts)
@example([15, (80, 15), 1])
@example([(80, 9), 7, (10, 7), 1])
@example([(79, 15), 1])
@example([(60, 9), (21, 7), None, 0, (10, 1), 15])
@example([(0, 9), (0, 9), None])
@example([(60, 9), (30, 5), 4, (3, 8), 12])
def test_the_average_is_that_of_the_window(acts: list[Act]) -> None:
    """Each look says when the next is due, until one says that it is too slow."""
    pace = Pace(rate=5.0, within=16.0)
    said: list[float | None] = []
    for act in acts:
        if isinstance(act, tuple):
            pace.add(*act)
        else:
            said.append(pace.look(act))
        if None in said:
            break

    assert model(acts) == said


def test_a_timer_that_comes_a_little_early_is_no_look_too_many() -> None:
    """Up to a millionth of the window."""
    early, near = Pace(rate=1.0, within=10.0), Pace(rate=1.0, within=10.0)

    assert 1.25 == early.look(9.9999)
    assert None is near.look(9.99999)


def test_bytes_need_no_waiting() -> None:
    """What is at hand already is counted with no time."""
    pace = Pace(rate=1.0, within=10.0)
    pace.add(10)

    assert 10.0 == pace.look(10.0)
    assert None is pace.look(20.0)
