"""What the demo makes of what it saw."""

from __future__ import annotations

import ast
import inspect

import pytest
from attrs import evolve

from llmstack.demo.report import Acts, Summary, share_of
from llmstack.demo.stack import build, source
from llmstack.demo.traffic import Answered


SUMMARY = Summary(
    requests=800,
    failures=0,
    extra_attempts=7,
    breaker_openings=1,
    share_before=0.651,
    share_during=0.0,
    share_after=0.5,
    p50_ms=60.4,
    p99_ms=152.0,
    added_ms=2.74,
    seconds=20.0,
    seed=1,
)


def test_the_acts_keep_their_proportion() -> None:
    """The fast provider dies after a quarter and is back after thirteen of twenty parts."""
    assert (5.0, 13.0) == (Acts(20.0).dies, Acts(20.0).returns)
    assert (1.0, 2.6) == pytest.approx((Acts(4.0).dies, Acts(4.0).returns))


def test_a_share_is_of_what_was_answered_between_two_moments() -> None:
    """The beginning counts, the end does not, and a failure is an answer of nobody."""
    answered = [Answered(at, 0.1, name) for at, name in ((0, "a"), (1, "a"), (2, "b"), (3, ""))]

    assert [1.0, 1 / 3, 0.0] == [
        share_of("a", answered, *span) for span in ((0, 2), (1, 4), (9, 10))
    ]


def test_the_summary_speaks_in_sentences() -> None:
    """With the right number in each of them."""
    said = SUMMARY.says()

    assert "800 requests in 20 s; no failure was seen by callers." in said
    assert "7 extra attempts; the breaker opened 1 time." in said
    assert "65% before the outage, 0% during it, 50% at the end." in said
    assert "60 ms at most, 99 % of them 152 ms." in said
    assert "The gateway adds 2.7 ms to a call." in said
    for small in (-0.9, 0.0, 0.999):
        assert (
            "The gateway adds less than 1 ms to a call." in evolve(SUMMARY, added_ms=small).says()
        )
    assert "The gateway adds 1.0 ms to a call." in evolve(SUMMARY, added_ms=1.0).says()
    assert -0.9 == evolve(SUMMARY, added_ms=-0.9).as_dict()["added_ms"]
    assert not any(len(line) > 79 for line in said.splitlines())
    assert (0, 1) == (SUMMARY.exit_code, evolve(SUMMARY, failures=3).exit_code)
    assert "3 failures were seen" in evolve(SUMMARY, failures=3, breaker_openings=2).says()


def test_the_summary_as_data_is_rounded() -> None:
    """Programs get every figure by name."""
    data = SUMMARY.as_dict()

    assert (800, 0.651, 2.74) == (data["requests"], data["share_before"], data["added_ms"])
    assert set(Summary.__annotations__) == set(data)


def test_what_is_shown_is_what_ran() -> None:
    """The lines printed are the body of `build`, word for word, and about twenty."""
    shown = source()
    body = ast.parse(inspect.getsource(build)).body[0]
    assert isinstance(body, ast.FunctionDef)

    wrapped = ast.parse("def build():\n" + "\n".join(f"    {line}" for line in shown.splitlines()))
    again = wrapped.body[0]
    assert isinstance(again, ast.FunctionDef)
    assert [ast.dump(each) for each in body.body[1:]] == [ast.dump(each) for each in again.body]
    assert len(shown.splitlines()) <= 20
