"""What a caller sees of everything that can go wrong with a stream: 70 cases, three ways each.

The numbers are those of the catalogue of faults. The upstream is a script on a raw socket,
the gateway is the real one on a socket, and the caller reads bytes. Whatever happens: each
call and each attempt ends once, permits come back, the connection of an endpoint that failed
is closed within a quarter of a second, and no byte of one answer is in another.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, get_args

import pytest

from tests.gateway.faults import client, connecting, content, framing, sse
from tests.gateway.faults.case import Case, Explained, Variant
from tests.gateway.faults.dialects import CHAT, Dialect
from tests.gateway.faults.judge import check
from tests.gateway.faults.more_dialects import MESSAGES, RESPONSES
from tests.gateway.faults.world import play


TABLES: Final = (connecting, framing, sse, content, client)
CASES: Final[tuple[Case, ...]] = tuple(case for table in TABLES for case in table.CASES)
EXPLAINED: Final[tuple[Explained, ...]] = tuple(
    each for table in TABLES for each in table.EXPLAINED
)


def named(case: Case, dialect: Dialect) -> str:
    return case.id if dialect is CHAT else f"{case.id}-{dialect.name}"


#: What is about the way to an answer, or about what only chat completions have; all else has
#: to be tried in the words of each dialect.
OF_CHAT: Final = {*range(1, 14), *range(22, 26), 27, 28, *range(42, 47), 54, 70}
DONE: Final = {"done-with-spaces", "done-left-out", "done-without-its-end"}
#: And the one that is no fault there.
UNDONE: Final = {"last-event-left-out"}


def is_played(case: Case, dialect: Dialect) -> bool:
    if dialect is CHAT:
        return case.name not in UNDONE
    return case.number not in OF_CHAT and case.name not in DONE


PLAYS: Final = tuple(
    (case, dialect)
    for dialect in (CHAT, MESSAGES, RESPONSES)
    for case in CASES
    if is_played(case, dialect)
)


@pytest.mark.parametrize(
    ("case", "dialect"), PLAYS, ids=[named(case, dialect) for case, dialect in PLAYS]
)
def test_stream_fault(case: Case, dialect: Dialect) -> None:
    """The caller sees what the catalogue says, and nothing is left."""
    check(play(case, dialect))


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
    """And what is said of a case by its name is said of one that is there."""
    names = Counter(named(*play) for play in PLAYS)

    assert {1} == set(names.values())
    assert set() == (DONE | UNDONE) - {case.name for case in CASES}
