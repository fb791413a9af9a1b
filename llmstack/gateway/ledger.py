"""The ledger of a call in one line, for a header: how many were asked, and how each did."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from llmstack.call import Attempt, Call


__all__ = ["short"]

#: Attempts that are told; of more, how many there were.
MOST: Final = 8


def short(call: Call) -> str:
    """Return how many calls of *call* went upstream and, unless one went well, how each did.

    Names are as in an address: what is no letter, digit or one of ``_.-~/:`` is escaped.

    >>> failed = Attempt("eu", 0.0, how="failed", error="Overloaded", sends=2)
    >>> short(Call(attempts=[failed, Attempt("us", 0.0, how="ok", sends=1)]))
    '3; eu=Overloaded*2, us=ok'
    >>> short(Call(attempts=[Attempt("us", 0.0, how="ok", sends=1)]))
    '1'
    """
    told = [attempt for attempt in call.attempts if not attempt.group]
    if not told or (len(told) == 1 and _ended(told[0]) == "ok"):
        return str(call.sent)
    listed = [_said(attempt) for attempt in told[:MOST]]
    if len(told) > MOST:
        listed.append(f"{len(told) - MOST} more")
    return f"{call.sent}; {', '.join(listed)}"


def _said(attempt: Attempt) -> str:
    times = f"*{attempt.sends}" if attempt.sends > 1 else ""
    return f"{quote(attempt.endpoint, safe='/:')}={_ended(attempt)}{times}"


def _ended(attempt: Attempt) -> str:
    """Return the class of the error if there was one; who was cancelled or left made none."""
    if attempt.how in {"cancelled", "abandoned"}:
        return attempt.how
    return attempt.error or attempt.how or "ok"  # one whose reply is on its way has not ended
