"""Whether what was seen of a case is what the catalogue says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pytest
from attrs import evolve

from llmstack.call import Outcome, Usage
from tests.gateway.faults.case import Answer, Case, Cut, Left, Same, Spare, Told
from tests.gateway.faults.dialects import Dialect
from tests.gateway.faults.spoken import WHOLE, Said
from tests.gateway.faults.world import PRICE, Seen, said


__all__ = ["check"]

#: Seconds in which a connection must be closed behind a good answer that has no end, or behind
#: a caller that leaves.
SOON: Final = 0.25
#: Seconds that are no time.
SLACK: Final = 0.05
#: What stands in all that a caller must never see.
PLANTED: Final = ("canary", "sk-planted")


def check(seen: Seen) -> None:
    """Fail unless *seen* is what its case promises."""
    case, again = seen.case, seen.again
    if again is not None:
        assert (200, seen.heard.body, True) == (again.status, again.body, again.ended)
        assert 2 == len(seen.calls.log) == len(seen.attempts.log)
        del seen.calls.log[1:], seen.attempts.log[1:]
    assert 1 == len(seen.calls.log)
    assert {0} == {*seen.in_flight.values(), 0}
    _left_at_once(case, seen)
    _settled_once(seen)
    assert {"identity"} == {r.headers["accept-encoding"] for r in seen.requests} | {"identity"}
    heard = f"{seen.heard.headers}{seen.heard.body!r}"
    assert [] == [word for word in PLANTED if word in heard or word in f"{seen.logs}"]
    assert "gateway.failed" not in [line["event"] for line in seen.logs]
    assert "smuggled" not in seen.heard.headers
    JUDGES[type(case.expected)](case.expected, case, seen.dialect, seen)


def _left_at_once(case: Case, seen: Seen) -> None:
    for name, end in seen.attempts.log:
        goes = end.how != "ok"
        if name == "a" and case.setup.goes is not None:
            goes = case.setup.goes
        if seen.connections[name or ""]:
            within = SOON if end.how == "ok" else SLACK
            assert goes == any(left - end.ended <= within for left in seen.left[name or ""])


def _settled_once(seen: Seen) -> None:
    """What the whole call cost is what its last attempt cost; a failed one may be estimated."""
    assert seen.attempts.log[-1][1].usage == _call(seen).usage
    for outcome in [_call(seen), *(end for _, end in seen.attempts.log)]:
        usage = outcome.usage
        assert (None if usage is None else PRICE.cost(usage)) == outcome.cost
        assert usage is None or outcome.how == "ok" or usage.estimated


def _in_time(case: Case, seen: Seen) -> None:
    assert case.setup.took == pytest.approx(seen.heard.at - seen.began, abs=SLACK)


def _known(usage: Usage | None) -> Usage | None:
    """What is said of tokens; those of a prompt that nobody has counted are left out."""
    if usage is None or not usage.estimated:
        return usage
    assert 0 < usage.input
    return evolve(usage, input=0)


def _delivered(outcome: Outcome) -> None:
    """The provider is paid for what it has said, though nobody knows just how much that was."""
    usage = _known(outcome.usage)
    assert usage is not None
    assert (True, True) == (usage.estimated, 0 < usage.output)


def _ends(seen: Seen) -> list[tuple[str | None, str, str | None]]:
    """Who was asked, and how it ended."""
    return [(name, end.how, _name(end.error)) for name, end in seen.attempts.log]


def _call(seen: Seen) -> Outcome:
    return seen.calls.log[0][1]


def _name(error: BaseException | None) -> str | None:
    return None if error is None else type(error).__name__


def _whole(seen: Seen, parts: Sequence[Said], dialect: Dialect, usage: Usage | None) -> None:
    heard = seen.heard
    assert (200, True, False) == (heard.status, heard.ended, heard.closed)
    assert said(parts, dialect) == heard.body
    assert "text/event-stream" == heard.headers["content-type"].partition(";")[0]
    assert ("ok", usage) == (_call(seen).how, _known(_call(seen).usage))


def _answer(expected: Answer, case: Case, dialect: Dialect, seen: Seen) -> None:
    _whole(seen, expected.parts, dialect, expected.usage)
    assert [("a", "ok", None)] == _ends(seen)
    assert ("a", "1") == _named(seen)
    assert 0 == seen.connections["b"]
    _in_time(case, seen)


def _spare(expected: Spare, case: Case, dialect: Dialect, seen: Seen) -> None:
    _whole(seen, WHOLE, dialect.by("b"), Usage(input=3, output=2))
    assert [("a", "failed", expected.error), ("b", "ok", None)] == _ends(seen)
    assert ("b", "2") == _named(seen)
    _in_time(case, seen)


def _told(expected: Told, case: Case, dialect: Dialect, seen: Seen) -> None:
    heard = seen.heard
    assert (expected.status, True) == (heard.status, heard.ended)
    assert dialect.refused(expected.status, expected.code) == dialect.refusal(heard.body)
    assert [("a", expected.error)] == [(name, error) for name, _, error in _ends(seen)]
    call = _call(seen)
    assert (expected.call or expected.error, None) == (_name(call.error), call.first)
    _in_time(case, seen)


def _cut(expected: Cut, case: Case, dialect: Dialect, seen: Seen) -> None:
    heard, call = seen.heard, _call(seen)
    assert (200, False, True) == (heard.status, heard.ended, heard.closed)
    before, error = dialect.last_word(heard.body)
    assert said(expected.parts, dialect) == before
    assert dialect.in_band(expected.status, expected.code) == error
    assert (expected.how, expected.error) == (call.how, _name(call.error))
    assert call.error is not None
    assert expected.cause == _name(call.error.__cause__)
    assert ["a"] == [name for name, _ in seen.attempts.log]
    assert 0 == seen.connections["b"]
    _delivered(call)
    _in_time(case, seen)


def _left(expected: Left, case: Case, _dialect: Dialect, seen: Seen) -> None:
    assert not seen.heard.ended
    assert _call(seen).how in expected.how
    assert case.setup.took == pytest.approx(_call(seen).ended - seen.began, abs=SOON)
    assert ["a"] == [name for name, _ in seen.attempts.log]
    assert 0 == seen.connections["b"]
    if case.variant == "committed":
        _delivered(_call(seen))


def _same(expected: Same, case: Case, dialect: Dialect, seen: Seen) -> None:
    heard = seen.heard
    assert (200, True, False) == (heard.status, heard.ended, heard.closed)
    stream = case.setup.stream
    assert expected.words == dialect.words(heard.body, stream=stream)
    kind = "text/event-stream" if stream else "application/json"
    assert kind == heard.headers["content-type"].partition(";")[0]
    assert [("a", "ok", None)] == _ends(seen)
    assert Usage(input=3, output=2) == _call(seen).usage


def _named(seen: Seen) -> tuple[str, str]:
    """The endpoint that a reply names, and the number of attempts."""
    headers = seen.heard.headers
    sent, _, _ = headers["x-llmstack-attempts"].partition(";")
    return headers["x-llmstack-endpoint"], sent


JUDGES: Final[Mapping[type, Callable[[Any, Case, Dialect, Seen], None]]] = {
    Answer: _answer,
    Cut: _cut,
    Left: _left,
    Same: _same,
    Spare: _spare,
    Told: _told,
}
