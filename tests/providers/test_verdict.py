"""One line of a table, and the error that it makes."""

from __future__ import annotations

import pytest

from llmstack.errors import BadRequest, Cool, Overloaded, ProtocolError, RateLimited, ServerError
from llmstack.providers.said import Said
from llmstack.providers.verdict import STATUSES, Verdict, by_status


def test_puts_aside_what_its_class_says_unless_it_says_so_itself() -> None:
    """Or nothing at all; the class itself stays as it is."""
    own = Verdict(Overloaded, Cool("account", 9.0)).error(503, {}, Said(), None, None)
    none = Verdict(Overloaded, None).error(503, {}, Said(), None, None)
    usual = Verdict(Overloaded).error(503, {}, Said(), None, None)

    assert [Cool("account", 9.0), None, Overloaded.cools] == [own.cools, none.cools, usual.cools]
    assert Cool("endpoint", 2.0) == Overloaded.cools
    assert ["cools" in vars(error) for error in (own, none, usual)] == [True, True, False]


@pytest.mark.parametrize(
    ("beyond", "wait", "kept"),
    [(-1.0, 0.0, 0.0), (-1.0, None, None), (9.0, 9.0, None), (9.0, 9.1, 9.1)],
)
def test_a_wait_counts_only_beyond(beyond: float, wait: float | None, kept: float | None) -> None:
    """Of those that are not believed; a fault of the caller has none."""
    verdict = Verdict(RateLimited, beyond=beyond)

    assert kept == verdict.error(429, {}, Said(), wait, None).retry_after
    assert wait == Verdict(RateLimited).error(429, {}, Said(), wait, None).retry_after
    assert Verdict(BadRequest).error(400, {}, Said(), wait, None).retry_after is None


@pytest.mark.parametrize(
    ("kind", "again", "header", "asked"),
    [
        *((Overloaded, True, "", True), (Overloaded, True, " FALSE ", False)),
        *((Overloaded, True, "true", True), (Overloaded, False, "true", False)),
        *((BadRequest, True, "true", False), (BadRequest, True, "false", False)),
    ],
)
def test_what_a_provider_says_of_another_try_only_forbids(
    kind: type[Overloaded | BadRequest], header: str, *, again: bool, asked: bool
) -> None:
    """What the class or the line calls final stays final, and elsewhere is another matter."""
    error = Verdict(kind, again=again).error(400, {"x-should-retry": header}, Said(), None, None)

    assert (asked, kind.elsewhere) == (error.again, error.elsewhere)


def test_keeps_the_facts_that_may_be_repeated() -> None:
    """The status, the code, the id, and where a caller is wrong."""
    said = Said(code="some_code", message="tell me a joke")
    error = Verdict(BadRequest).error(418, {"x-amzn-requestid": "r-1"}, said, 3.0, "messages[0]")
    other = Verdict(ServerError).error(500, {}, said, 3.0, "messages[0]")

    assert (418, "some_code", "r-1") == (error.status, error.code, error.request_id)
    assert error.message.endswith("impossible (param messages[0])")
    assert ("",) == other.args


def test_any_wait_counts_and_it_may_be_asked_again() -> None:
    """Unless the line says otherwise; a wait of nothing is one."""
    assert Verdict(RateLimited, again=True, beyond=-1.0) == Verdict(RateLimited)


def test_an_unknown_status_is_whose_it_is() -> None:
    """The caller's below 500, the provider's above, and nobody's outside of errors."""
    kinds = {n: by_status(n) for n in range(100, 1000) if n not in STATUSES}

    assert {n: by_status(n).kind for n in kinds} == {
        n: BadRequest if 400 <= n <= 499 else ServerError if 500 <= n <= 599 else ProtocolError
        for n in kinds
    }
    assert all(by_status(n) is row for n, row in STATUSES.items())
