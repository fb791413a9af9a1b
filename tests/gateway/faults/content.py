"""Cases 41 to 55: events that are whole, but do not say what they should, or when, or how often."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from llmstack.call import Usage
from llmstack.testing.upstream import fin
from tests.gateway.faults.case import (
    SETUP,
    Answer,
    Case,
    Explained,
    Setup,
    broken,
    every,
    fault,
    fine,
)
from tests.gateway.faults.dialects import Chat, event
from tests.gateway.faults.spoken import (
    DONE,
    ENDING,
    FINISH,
    HEAD,
    LAST,
    ONE,
    OPENING,
    PING,
    REST,
    SOON,
    TWO,
    USAGE,
    WHOLE,
    Drip,
    Flood,
    Part,
    Said,
    chunk,
)
from tests.gateway.faults.world import Client
from tests.gateway.stage import get, talk


__all__ = ["CASES", "EXPLAINED"]


def chat(make: Any) -> Said:  # noqa: ANN401 -- a function of the one dialect that has it
    """Something that only chat completions have."""
    return Said(lambda d: make(Chat(d.who)))


def ends(
    number: int, name: str, *ending: Said, expected: Answer, setup: Setup = SETUP
) -> tuple[Case, ...]:
    """An answer with another ending, in one piece and behind content."""
    early: Sequence[Part] = (HEAD, OPENING, ONE, TWO, *ending, LAST)
    late: Sequence[Part] = (HEAD, OPENING, ONE, SOON, TWO, *ending, LAST)
    return fine(number, name, early, late, (expected, expected), setup)


#: A part of a name is in each event that must not be seen.
LATE: Final = Said(lambda d: d.text("canary"))
AGAIN: Final = chat(lambda d: d.chunk({}, "length"))
LESS: Final = chat(lambda d: d.usage(2, 1))
MORE: Final = chat(lambda d: d.usage(5, 5))
EMPTY: Final = chat(lambda d: event(d.frame([])))
FLOOD: Final = chunk(event("canary " * 9000)) * 30

LIMITED: Final = Said(lambda d: d.error("limit"))
OVERLOADED: Final = Said(lambda d: d.error("overload"))
FAILED: Final = Said(lambda d: d.error("failure"))


def indexed(index: object) -> Said:
    """Content for an impossible choice."""
    return chat(lambda d: d.chunk({"content": "canary"}, None, index))


def of_many(d: Chat) -> bytes:
    """One event with content for more choices than there can be."""
    delta = {"content": "canary"}
    return event(d.frame([{"index": n, "delta": delta, "finish_reason": None} for n in range(129)]))


MANY: Final = chat(of_many)

#: Bytes that may be taken of something without an end: a limit of ours, and what kernels hold.
MOST: Final = 16 << 20
ONE_LINE: Final = Flood(Said(lambda _: b"x" * 65_536, framed=False), MOST)
LINE: Final = b"data: " + b"x" * 1017 + b"\n"
LINES: Final = Flood(Said(lambda _: LINE * 64, framed=False), MOST)
TINY: Final = Said(lambda d: d.text("x") * 20_000)
CALL: Final = Said(lambda d: d.call('{"command": "rm -rf build/'))


async def health(client: Client) -> None:
    """Ask for the health of the gateway while it streams; it must not wait for the end."""
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(client.to_the_end())
        for _ in range(3):
            assert 200 == (await talk(client.url, get("/livez"))).status
        assert not reading.done()


def dripped(by: str, pings: int, setup: Setup, error: str = "UpstreamTimeout") -> Case:
    """A drip that is never silent for long."""
    parts = (HEAD, OPENING, ONE, Drip(TWO, 9.0))
    cut = broken(OPENING, ONE, *(PING,) * pings, error=error)
    return Case(52, f"drip-ended-by-{by}", "committed", parts, cut, setup)


CASES: Final[tuple[Case, ...]] = (
    *ends(
        41,
        "done-with-spaces",
        FINISH,
        USAGE,
        DONE.swapped(b"[DONE]", b"  [DONE] "),
        expected=Answer((OPENING, ONE, TWO, FINISH, USAGE, DONE.swapped(b"[DONE]", b"  [DONE] "))),
    ),
    Case(
        41,
        "last-event-left-out",
        "committed",
        (HEAD, OPENING, ONE, SOON, TWO, FINISH, USAGE, LAST),
        broken(OPENING, ONE, TWO, FINISH, USAGE, error="StreamIncomplete"),
        Setup(goes=False),
    ),
    *ends(41, "done-twice", ENDING, DONE, expected=Answer()),
    *ends(41, "done-and-more", ENDING, LATE, expected=Answer()),
    *fine(
        41,
        "done-and-no-end",
        (HEAD, *WHOLE, FLOOD),
        (HEAD, OPENING, ONE, SOON, *REST, FLOOD),
        setup=Setup(goes=True),
    ),
    *ends(41, "done-left-out", FINISH, USAGE, expected=Answer()),
    *ends(41, "done-without-its-end", FINISH, USAGE, DONE.part(0, -1), expected=Answer()),
    *ends(42, "finish-twice", FINISH, AGAIN, USAGE, DONE, expected=Answer()),
    *ends(42, "content-behind-the-finish", FINISH, LATE, USAGE, DONE, expected=Answer()),
    *ends(
        43,
        "no-usage",
        FINISH,
        DONE,
        expected=Answer((OPENING, ONE, TWO, FINISH, DONE), Usage(0, 2, estimated=True)),
    ),
    *ends(
        44,
        "usage-twice",
        FINISH,
        LESS,
        USAGE,
        DONE,
        expected=Answer((OPENING, ONE, TWO, FINISH, LESS, DONE)),
    ),
    *ends(
        44,
        "usage-that-falls",
        FINISH,
        MORE,
        USAGE,
        DONE,
        expected=Answer((OPENING, ONE, TWO, FINISH, MORE, DONE)),
    ),
    *ends(
        45,
        "no-choices-last",
        EMPTY,
        FINISH,
        USAGE,
        EMPTY,
        DONE,
        expected=Answer((OPENING, ONE, TWO, EMPTY, FINISH, USAGE, EMPTY, DONE)),
    ),
    *fine(
        45, "no-choices-first", (HEAD, EMPTY, *WHOLE, LAST), expected=(Answer((EMPTY, *WHOLE)),) * 2
    ),
    *fault(
        45,
        "no-choices-and-nothing-more",
        (HEAD, EMPTY, EMPTY, LAST),
        "EmptyResponse",
        Setup(goes=False),
    ),
    *every(46, "negative-choice", (indexed(-1),), "ProtocolError"),
    *every(46, "millionth-choice", (indexed(1_000_000),), "ProtocolError"),
    *every(46, "choice-without-a-number", (indexed("canary"),), "ProtocolError"),
    *every(46, "many-choices", (MANY,), "ProtocolError"),
    *every(47, "no-json", (Said(lambda _: event("{canary")),), "ProtocolError"),
    *every(47, "no-object", (Said(lambda _: event('["canary"]')),), "ProtocolError"),
    *every(47, "no-end-of-nesting", (Said(lambda _: event("[" * 100_000)),), "ProtocolError"),
    *fault(48, "limit-first", (HEAD, LIMITED), "RateLimited"),
    *fault(48, "overload-first", (HEAD, OVERLOADED), "Overloaded"),
    *fault(48, "failure-first", (HEAD, FAILED), "ServerError"),
    *every(49, "limit-in-the-middle", (LIMITED,), "RateLimited"),
    *every(49, "overload-in-the-middle", (OVERLOADED,), "Overloaded"),
    *every(49, "failure-in-the-middle", (FAILED,), "ServerError"),
    *every(50, "error-and-done", (FAILED, DONE), "ServerError"),
    *every(50, "error-and-a-good-end", (FAILED, ENDING), "ServerError"),
    *fault(51, "stall", (HEAD, OPENING), "UpstreamTimeout", Setup(took=10.0)),
    Case(
        51,
        "stall",
        "committed",
        (HEAD, OPENING, ONE, TWO.part(0, 20)),
        broken(OPENING, ONE, PING, error="UpstreamTimeout"),
        Setup(took=30.0),
    ),
    *fault(52, "drip", (HEAD, OPENING, Drip(ONE, 9.0)), "UpstreamTimeout", Setup(took=10.0)),
    dripped("rate", 3, Setup(took=50.0, timeout={"idle": 30.0, "rate": 100.0, "within": 50.0})),
    dripped("total", 4, Setup(took=70.0, timeout={"idle": 30.0, "total": 70.0})),
    dripped("deadline", 3, Setup(took=50.0, deadline=50.0), "DeadlineExceeded"),
    *every(53, "line-without-an-end", (b"ffffffff\r\ndata: ", ONE_LINE), "ProtocolError"),
    *every(53, "lines-without-an-end", (b"ffffffff\r\n", LINES), "ProtocolError"),
    *fine(
        54,
        "tiny-events",
        (HEAD, OPENING, TINY, *REST, LAST),
        (HEAD, OPENING, ONE, SOON, TINY, *REST, LAST),
        (Answer((OPENING, TINY, *REST)), Answer((OPENING, ONE, TINY, *REST))),
        Setup(acts=(health,)),
    ),
    Case(
        55,
        "tool-call-ends",
        "committed",
        (HEAD, OPENING, CALL, LAST),
        broken(OPENING, CALL, error="StreamIncomplete"),
        Setup(goes=False),
    ),
    Case(
        55,
        "tool-call-cut",
        "committed",
        (HEAD, OPENING, CALL, SOON, fin),
        broken(OPENING, CALL, cause="ConnectionLost"),
    ),
)

EXPLAINED: Final[tuple[Explained, ...]] = (
    Explained((48,), ("committed",), "behind content it is case 49"),
    Explained((55,), ("spare", "alone"), "a piece of a call is content"),
)
