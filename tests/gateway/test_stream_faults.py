"""What a caller sees of everything that can go wrong with a stream: 70 cases, three ways each.

The numbers are those of the catalogue of faults. The upstream is a script on a raw socket,
the gateway is the real one on a socket, and the caller reads bytes. Whatever happens: each
call and each attempt ends once, permits come back, the connection of an endpoint that failed
is closed within a quarter of a second, and no byte of one answer is in another.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, get_args

import pytest

from tests.gateway.faults import client, connecting, content, framing, sse
from tests.gateway.faults.case import Case, Explained, Variant
from tests.gateway.faults.dialects import CHAT
from tests.gateway.faults.judge import check
from tests.gateway.faults.world import play
from tests.gateway.stage import run


TABLES: Final = (connecting, framing, sse, content, client)
CASES: Final[tuple[Case, ...]] = tuple(case for table in TABLES for case in table.CASES)
EXPLAINED: Final[tuple[Explained, ...]] = tuple(
    each for table in TABLES for each in table.EXPLAINED
)

#: Cases that do not come out as the catalogue says, and why.
PENDING: Final[dict[str, str]] = {
    f"case-{name}": why
    for why, names in {
        "the source of a leaf does not tell when it heard a byte": (
            "33-comments-instead-of-silence-committed",
            "52-drip-ended-by-rate-committed",
            "52-drip-ended-by-total-committed",
            "52-drip-ended-by-deadline-committed",
        ),
        "an event that is refused for a later choice has begun the stream already": (
            "46-many-choices-spare",
            "46-many-choices-alone",
        ),
    }.items()
    for name in names
}


def marked(case: Case) -> Any:  # noqa: ANN401 -- of pytest, and without a public name
    why = PENDING.get(case.id)
    marks = [] if why is None else [pytest.mark.xfail(reason=why, strict=True)]
    return pytest.param(case, id=case.id, marks=marks)


@pytest.mark.parametrize("case", [marked(case) for case in CASES])
def test_stream_fault(case: Case) -> None:
    """The caller sees what the catalogue says, and nothing is left."""
    check(run(play(case, CHAT)))


def test_every_case_is_played_or_explained() -> None:
    """70 numbers in three ways, each in the tables once as the one or the other."""
    played = {(case.number, case.variant) for case in CASES}
    explained = Counter(
        (number, variant) for e in EXPLAINED for number in e.numbers for variant in e.variants
    )

    assert {(n, v) for n in range(1, 71) for v in get_args(Variant)} == played | set(explained)
    assert set() == played & set(explained)
    assert {1} == set(explained.values())
    assert all(each.why for each in EXPLAINED)


def test_no_two_cases_have_one_name() -> None:
    """And what is pending is there."""
    names = Counter(case.id for case in CASES)

    assert {1} == set(names.values())
    assert set() == PENDING.keys() - names
