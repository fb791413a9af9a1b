"""How long a gate is waited for that says when it opens."""

from __future__ import annotations

from math import inf

import pytest

from llmstack.errors import CircuitOpen, LLMStackError, NoEndpoint
from llmstack.estimators.backoff import until_ready


def refused(ready_at: float | None, untried: int = 0) -> LLMStackError:
    error = NoEndpoint(ready_at=ready_at)
    error.untried = untried
    return error


@pytest.mark.parametrize(
    ("ready_at", "expected"),
    [
        *((100.5, None), (100.999, None), (101.0, 1.0), (101.5, 1.5), (104.0, 4.0)),
        *((104.5, None), (99.0, None), (100.0, None), (0.0, None), (inf, None)),
    ],
)
def test_waits_from_the_least_to_all_that_there_is_room_for(
    ready_at: float, expected: float | None
) -> None:
    """Both are held; a gate that opens sooner is asked after a backoff, one later is not."""
    assert expected == until_ready(refused(ready_at), 100.0, 1.0, 4.0)
    assert expected == until_ready(CircuitOpen(ready_at=ready_at), 100.0, 1.0, 4.0)


def test_waits_for_none_that_names_no_moment() -> None:
    """However much room there is."""
    assert until_ready(refused(None), 100.0, 0.0, inf) is None


@pytest.mark.parametrize("untried", [1, 2])
def test_waits_for_none_while_another_is_left(untried: int) -> None:
    """That one is asked at once."""
    assert until_ready(refused(102.0, untried), 100.0, 1.0, 4.0) is None
    assert 2.0 == until_ready(refused(102.0), 100.0, 1.0, 4.0)
