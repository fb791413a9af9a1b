"""Cases 30 to 41: what is no event stream, and event streams as the HTML standard allows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from llmstack.testing.upstream import sleep
from tests.gateway.faults.case import (
    Answer,
    Case,
    Explained,
    Setup,
    broken,
    every,
    fault,
    fine,
    short,
)
from tests.gateway.faults.spoken import (
    HEAD,
    LAST,
    ONE,
    OPENING,
    PING,
    REST,
    SOON,
    TWO,
    WHOLE,
    Drip,
    Part,
    Said,
    page,
)


__all__ = ["CASES", "EXPLAINED"]

#: A reply that has come to its end leaves its connection to others.
KEPT: Final = Setup(goes=False)
BOM: Final = b"\xef\xbb\xbf"
#: In the shape of each dialect at once.
LIMITED: Final = (
    b'{"type":"error","error":'
    b'{"message":"canary","type":"rate_limit_error","code":"rate_limit_exceeded"}}'
)
NOTHING: Final = Said(lambda _: b": keep-alive\n\n")
COMMENTS: Final = (sleep(5.0), NOTHING)

#: Three bytes of UTF-8 in each sign but the last, which has four.
FOREIGN: Final = Said(lambda d: d.text("日本語𝄞"))
SIGN: Final = FOREIGN.torn("語".encode(), 1)


def json(body: bytes) -> bytes:
    """A reply that is JSON."""
    return page(b"200 OK", b"application/json", body)


def streams(number: int, name: str, *odd: Said) -> tuple[Case, ...]:
    """Odd but good events before content, and behind it; they pass as they are."""
    return fine(
        number,
        name,
        (HEAD, *odd, *WHOLE, LAST),
        (HEAD, OPENING, ONE, SOON, *odd, *REST, LAST),
        (Answer((*odd, *WHOLE)), Answer((OPENING, ONE, *odd, *REST))),
    )


def with_lines(name: str, end: bytes) -> tuple[Case, ...]:
    """A stream whose lines end in another way."""
    whole = [part.lines(end) for part in WHOLE]
    early: Sequence[Part] = (HEAD, *whole, LAST)
    late: Sequence[Part] = (HEAD, *whole[:2], SOON, *whole[2:], LAST)
    return fine(35, name, early, late, (Answer(whole), Answer(whole)))


def torn(number: int, name: str, halves: tuple[Said, Said]) -> tuple[Case, ...]:
    """An event that comes in two chunks."""
    first, second = halves
    late = (HEAD, OPENING, ONE, SOON, first, SOON, second, *REST, LAST)
    return fine(
        number,
        name,
        (HEAD, OPENING, first, SOON, second, *REST, LAST),
        late,
        (Answer((OPENING, *halves, *REST)), Answer((OPENING, ONE, *halves, *REST))),
    )


CRLF: Final = tuple(part.lines(b"\r\n") for part in WHOLE)
CASES: Final[tuple[Case, ...]] = (
    *fault(30, "a-page", (page(b"200 OK", b"text/html", b"<p>canary"),), "ProtocolError", KEPT),
    *fault(30, "plain-text", (page(b"200 OK", b"text/plain", b"canary"),), "ProtocolError", KEPT),
    *fault(30, "an-error", (json(LIMITED),), "RateLimited", KEPT),
    *fault(30, "a-list", (json(b'["canary"]'),), "ProtocolError", KEPT),
    *fine(
        31,
        "another-charset",
        (HEAD.replace(b"utf-8", b"windows-1252"), FOREIGN, *REST, LAST),
        expected=(Answer((FOREIGN, *REST)),) * 2,
    ),
    *fine(
        32,
        "bom",
        (HEAD, Said(lambda _: BOM), *WHOLE, LAST),
        (HEAD, OPENING, ONE, SOON, Said(lambda d: d.text("\ufeff")), *REST, LAST),
        (Answer(), Answer((OPENING, ONE, Said(lambda d: d.text("\ufeff")), *REST))),
    ),
    *streams(32, "bom-later", OPENING, Said(lambda _: BOM + b"data: no event\n\n")),
    *streams(33, "comments", Said(lambda _: b": OPENROUTER PROCESSING\n\n"), NOTHING),
    Case(
        33,
        "comments-instead-of-silence",
        "committed",
        (HEAD, OPENING, ONE, *COMMENTS * 8, *REST, LAST),
        Answer((OPENING, ONE, PING, PING, *(NOTHING,) * 8, *REST)),
        Setup(took=40.0),
    ),
    *fault(34, "comments-for-ever", (HEAD, *COMMENTS * 8), "UpstreamTimeout", Setup(took=10.0)),
    Case(
        34,
        "comments-for-ever",
        "committed",
        (HEAD, OPENING, ONE, *COMMENTS * 8),
        broken(OPENING, ONE, PING, error="UpstreamTimeout"),
        Setup(took=20.0, timeout={"idle": 30.0, "rate": 200.0, "within": 20.0}),
    ),
    *with_lines("crlf", b"\r\n"),
    *with_lines("cr", b"\r"),
    *streams(35, "mixed", OPENING.lines(b"\r"), OPENING.lines(b"\r\n")),
    *torn(35, "cr-and-lf-torn-apart", ONE.lines(b"\r\n").torn(b"\n")),
    *fine(35, "byte-by-byte", (HEAD, *map(Drip, CRLF), LAST), expected=(Answer(CRLF),) * 2),
    *streams(36, "lines-of-data", OPENING.swapped(b", ", b",\ndata: ")),
    *streams(36, "data-without-a-colon", Said(lambda d: b"data\n" + d.opening())),
    *streams(36, "more-spaces", OPENING.swapped(b"data: ", b"data:  ")),
    *streams(36, "no-space", OPENING.swapped(b"data: ", b"data:")),
    *streams(
        36, "odd-fields", Said(lambda d: b"foo: bar\nid: a\0b\nretry: soon\nid\n" + d.opening())
    ),
    *every(36, "empty-data", (Said(lambda _: b"data:\n\n"),), "ProtocolError"),
    *torn(37, "torn-sign", SIGN),
    *fine(
        37,
        "byte-by-byte",
        (HEAD, Drip(FOREIGN), *REST, LAST),
        expected=(Answer((FOREIGN, *REST)),) * 2,
    ),
    *short(38, "sign-cut-at-the-end", HEAD, SIGN[0], LAST),
    *every(
        38, "no-sign", (Said(lambda d: d.text("x-x").replace(b"x-x", b"\xff")),), "ProtocolError"
    ),
    *every(
        38,
        "half-a-sign",
        (Said(lambda d: d.text("x-x").replace(b"x-x", b"\xe2\x82")),),
        "ProtocolError",
    ),
    *streams(39, "separators", Said(lambda d: d.text("a\u2028b\u2029c"))),
    *streams(39, "lone-surrogate", Said(lambda d: d.text("x-x").replace(b"x-x", rb"\ud800"))),
    *short(40, "event-without-its-end", HEAD, TWO.part(0, -1), LAST),
    *short(40, "event-without-lines", HEAD, TWO.part(0, -2), LAST),
)

EXPLAINED: Final[tuple[Explained, ...]] = (
    Explained((30, 31), ("committed",), "the type of the content comes before it"),
)
