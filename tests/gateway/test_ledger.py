"""The ledger in one line: whoever reads it knows who was asked, and how that ended."""

from __future__ import annotations

from string import printable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmstack.call import Attempt, Call
from llmstack.gateway.ledger import MOST, short


def went(name: str, how: str | None = "ok", error: str | None = None, sends: int = 1) -> Attempt:
    return Attempt(name, 0.0, how=how, error=error, sends=sends)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attempts", "line"),
    [
        ([], "0"),
        ([went("eu")], "1"),
        ([went("eu", how=None)], "1"),
        ([went("eu", "failed", "ServerError")], "1; eu=ServerError"),
        ([went("eu", "failed", "ServerError", sends=3)], "3; eu=ServerError*3"),
        ([went("eu", "cancelled"), went("us", None)], "2; eu=cancelled, us=ok"),
        ([went("eu", "cancelled", "CancelledError"), went("us")], "2; eu=cancelled, us=ok"),
        ([went("eu", "abandoned", "GeneratorExit")], "1; eu=abandoned"),
        ([went("eu", "abandoned")], "1; eu=abandoned"),
        ([went("eu", "failed", "ZeroDivisionError")], "1; eu=ZeroDivisionError"),
        ([went("eu", "refused", "Shed", sends=0)], "0; eu=Shed"),
        ([Attempt("g", 0.0, group=True, sends=1), went("in g")], "1"),
        ([went("a, b=c;d\r\n é"), went("x")], "2; a%2C%20b%3Dc%3Bd%0D%0A%20%C3%A9=ok, x=ok"),
    ],
)
def test_the_line(attempts: list[Attempt], line: str) -> None:
    """The number of calls first; a call that went well at once needs no more."""
    assert line == short(Call(attempts=attempts))


def test_of_many_attempts_some_are_told() -> None:
    """A header has its limits."""
    line = short(Call(attempts=[went("eu", "failed", "Overloaded") for _ in range(MOST + 3)]))

    assert line.endswith("eu=Overloaded, 3 more")
    assert MOST == line.count("=")


@given(st.lists(st.text(max_size=9), min_size=2, max_size=4))
def test_no_name_can_say_more(names: list[str]) -> None:
    """Whatever an endpoint is called, the line has one part for each, and fits a header."""
    line = short(Call(attempts=[went(name, "failed", "ServerError") for name in names]))

    assert len(names) == line.count("=") == 1 + line.count(", ")
    assert set(line) <= set(printable) - set("\r\n\t\x0b\x0c")
