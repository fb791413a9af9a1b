"""What a case of the catalogue is: what one upstream does, and what its caller must see.

Each number is played in three ways: *spare*, before the first content and with a healthy
endpoint behind; *alone*, before the first content and with no other; *committed*, after
content, and the healthy endpoint must not be asked. What makes no sense is explained.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Any, Final, Literal, final

from attrs import field, frozen

from llmstack.builder import Stack
from llmstack.call import How, Usage
from llmstack.messages import Request
from llmstack.providers.transport import Transport
from llmstack.testing.upstream import Step, expect_request
from tests.gateway.faults.dialects import Dialect
from tests.gateway.faults.spoken import (
    HEAD,
    ONE,
    OPENING,
    PLAIN,
    SOON,
    WHOLE,
    Part,
    Said,
    on_the_wire,
)


__all__ = [
    "SETUP",
    "USED",
    "Act",
    "Answer",
    "Case",
    "Cut",
    "Expected",
    "Explained",
    "Left",
    "Place",
    "Same",
    "Setup",
    "Spare",
    "Told",
    "User",
    "Variant",
    "broken",
    "every",
    "fault",
    "fine",
    "short",
    "told",
]

Variant = Literal["spare", "alone", "committed"]

#: Status and code of the reply, by class of the error.
ANSWERS: Final[Mapping[str, tuple[int, str]]] = {
    "ConnectionFailed": (502, "upstream_unreachable"),
    "ConnectionLost": (502, "upstream_connection_lost"),
    "ProtocolError": (502, "upstream_protocol"),
    "EmptyResponse": (502, "empty_response"),
    "ServerError": (502, "upstream_error"),
    "Overloaded": (503, "overloaded"),
    "RateLimited": (429, "rate_limit_exceeded"),
    "UpstreamTimeout": (504, "upstream_timeout"),
    "DeadlineExceeded": (504, "deadline_exceeded"),
    "Draining": (503, "server_shutting_down"),
}
#: The same of errors in a stream, which has sent its status already.
IN_BAND: Final[Mapping[str, tuple[int, str]]] = {
    **ANSWERS,
    "StreamBroken": (502, "stream_broken"),
    "StreamIncomplete": (502, "stream_incomplete"),
}

TIMES: Final[Mapping[str, float]] = MappingProxyType({"first_token": 10.0, "idle": 30.0})

USED: Final = Usage(input=3, output=2)


@final
@frozen
class Answer:
    """The answer of the first endpoint, in just these bytes, with its end."""

    parts: Sequence[Said] = WHOLE
    usage: Usage | None = USED


@final
@frozen
class Spare:
    """The answer of the second endpoint, untouched; the first has failed with *error*."""

    error: str


@final
@frozen
class Told:
    """An HTTP error; *error* is what the attempt ended with, *call* the call if not with that."""

    error: str
    status: int
    code: str
    call: str | None = None


@final
@frozen
class Cut:
    """These bytes, one error event, and the connection is closed without the last chunk.

    The call has ended in the way of *how*, with *error*, which comes of *cause*.
    """

    parts: Sequence[Said]
    error: str
    status: int
    code: str
    cause: str | None = None
    how: How = "failed"


@final
@frozen
class Left:
    """The caller has gone, and the call ended in one of these ways."""

    how: Sequence[How]


@final
@frozen
class Same:
    """What the first endpoint has said, in another form."""

    words: str


Expected = Answer | Spare | Told | Cut | Left | Same


@final
@frozen
class Place:
    """Where an endpoint is, and what its leaf needs to go there."""

    url: str
    transport: Transport = field(factory=Transport)


Places = Callable[[Sequence[Step]], AbstractAsyncContextManager[Place]]
#: What a client does behind its request; it is given what `world.Client` is.
Act = Callable[[Any], Awaitable[None]]
#: What somebody does with a stack and a request who needs no gateway for it.
User = Callable[[Stack[Request, Any], Request], Awaitable[None]]


@final
@frozen
class Setup:
    """How the gateway is set up for a case, and what is done to it.

    *took* are the seconds until the caller has its end. *goes* is whether the connection of
    the first endpoint is closed; without it, unless the answer was good. Without *asks* its
    script does not read the request by itself. *place* is where the first endpoint is.

    A caller that is *warm* has had an answer before, one that asks *twice* must get the same
    again. *acts* is what a client does before it reads on; *stop* is when the gateway stops.
    A *user* of the library takes the place of both.
    *timeout* and *deadline* are of the layers, *gateway* has other settings.
    """

    took: float = 0.0
    goes: bool | None = None
    asks: bool = True
    place: Places | None = None
    warm: bool = False
    twice: bool = False
    stream: bool = True
    acts: Sequence[Act] = ()
    stop: float | None = None
    user: User | None = None
    timeout: Mapping[str, float] = TIMES
    deadline: float | None = None
    gateway: Mapping[str, Any] = field(factory=dict)


SETUP: Final = Setup()


@final
@frozen
class Case:
    """One number of the catalogue in one way; *parts* is what the first upstream plays."""

    number: int
    name: str
    variant: Variant
    parts: Sequence[Part]
    expected: Expected
    setup: Setup = SETUP

    @property
    def id(self) -> str:
        """The name of the test."""
        return f"case-{self.number:02}-{self.name}-{self.variant}"

    def steps(self, dialect: Dialect) -> list[bytes | Step]:
        """What the first upstream sends and does."""
        first = [expect_request] if self.setup.asks else []
        return [*first, *(on_the_wire(part, dialect) for part in self.parts)]


@final
@frozen
class Explained:
    """Why some ways of some numbers are not played."""

    numbers: Sequence[int]
    variants: Sequence[Variant]
    why: str


def told(error: str) -> Told:
    """The HTTP error that stands for a class."""
    return Told(error, *ANSWERS[error])


def broken(*parts: Said, error: str = "StreamBroken", cause: str | None = None) -> Cut:
    """A stream that is cut behind *parts*."""
    return Cut(parts, error, *IN_BAND[error], cause)


def fault(
    number: int, name: str, parts: Sequence[Part], error: str, setup: Setup = SETUP
) -> tuple[Case, ...]:
    """What fails before content, with a healthy endpoint behind, and alone."""
    return (
        Case(number, name, "spare", parts, Spare(error), setup),
        Case(number, name, "alone", parts, told(error), setup),
    )


def every(
    number: int,
    name: str,
    parts: Sequence[Part],
    error: str,
    setup: Setup = SETUP,
    cut: Cut | None = None,
) -> tuple[Case, ...]:
    """What fails before content, and breaks the stream behind it."""
    cut = cut or broken(OPENING, ONE, cause=error)
    return (
        *fault(number, name, (HEAD, OPENING, *parts), error, setup),
        Case(number, name, "committed", (HEAD, OPENING, ONE, SOON, *parts), cut, setup),
    )


def fine(
    number: int,
    name: str,
    early: Sequence[Part],
    late: Sequence[Part] = (),
    expected: Sequence[Expected] = (Answer(), Answer()),
    setup: Setup = SETUP,
) -> tuple[Case, ...]:
    """What is no fault: *early* before content, and *late*, if given, behind it."""
    before, after = expected
    cases = [
        Case(number, name, "spare", early, before, setup),
        Case(number, name, "alone", early, before, setup),
    ]
    if late:
        cases.append(Case(number, name, "committed", late, after, setup))
    return tuple(cases)


def short(number: int, name: str, head: bytes, *parts: Part) -> tuple[Case, ...]:
    """A good end of the body, and none of the answer; before content that is no answer at all."""
    setup = Setup(goes=head == PLAIN)
    lost = broken(OPENING, ONE, error="StreamIncomplete")
    opening, one = (OPENING, ONE) if head == HEAD else (OPENING.bare(), ONE.bare())
    return (
        *fault(number, name, (head, opening, *parts), "EmptyResponse", setup),
        Case(number, name, "committed", (head, opening, one, SOON, *parts), lost, setup),
    )
