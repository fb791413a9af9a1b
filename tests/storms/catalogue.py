"""The storms: refuse, reset, hang, garbage, limits, brown-outs, flapping, and outages of all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from email.utils import formatdate
from typing import Final, Literal

from attrs import evolve, frozen

from llmstack.testing.provider import Behaviour, Cut, Hang, Reply
from tests.storms.storm import NAMES, Fault, Promises, Storm


__all__ = ["FLOOR", "FULL", "SHORT", "Load", "storms"]

#: What a fault does.
Does = Literal["dies", "returns"] | tuple[Behaviour, ...]

#: Seconds that limited endpoints ask for.
NAMED: Final = 4.0
#: When the first trouble begins.
BEGINS: Final = 5.0
#: Seconds that a complete reply may take, as the stack has it.
TOTAL: Final = 8.0
#: What a retry budget grants in its window in any case.
FLOOR: Final = 10.0

_NOON: Final = 1_767_268_800.0
_GOOGLE: Final = {
    "error": {
        "code": 429,
        "status": "RESOURCE_EXHAUSTED",
        "message": "a limit",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{NAMED:g}s"}
        ],
    }
}
_IN_WORDS: Final = {
    "error": {
        "type": "requests",
        "code": "rate_limit_exceeded",
        "message": f"Rate limit reached for requests. Please try again in {NAMED:g}s.",
    }
}
#: A limit in the eight forms in which providers name the wait.
LIMITS: Final = (
    Reply(429, headers={"retry-after-ms": f"{NAMED * 1000:g}"}),
    Reply(429, headers={"x-ms-retry-after-ms": f"{NAMED * 1000:g}"}),
    Reply(429, headers={"x-amz-retry-after": f"{NAMED * 1000:g}"}),
    Reply(429, headers={"Retry-After": f"{NAMED:g}"}),
    Reply(
        429,
        headers={
            "Date": formatdate(_NOON, usegmt=True),
            "Retry-After": formatdate(_NOON + NAMED, usegmt=True),
        },
    ),
    Reply(429, _GOOGLE),
    Reply(429, _IN_WORDS),
    Reply(
        429,
        headers={
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": f"{NAMED:g}s",
        },
    ),
)

_EVENTS: Final = {"Content-Type": "text/event-stream"}
GARBAGE: Final = (
    Reply(raw=b"\x00\xff\x16 not HTTP at all\r\n\r\n"),
    Reply(raw=b""),
    Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ntoo short"),
    Reply(200, b"<html>It works!</html>", headers={"Content-Type": "text/html"}),
    Reply(200, b'{"choices": ['),
    Reply(200, b"{}"),
    Reply(200, b""),
    Reply(200, b"data: {{{\n\ndata: [DONE]\n\n", headers=_EVENTS),
)

ERRORS: Final = (Reply(500), Reply(502), Reply(503), Reply(529))


def good(*, streams: bool) -> Reply:
    """A good answer, to be dealt out among bad ones."""
    if streams:
        chunk = (
            '{"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": '
            '[{"index": 0, "delta": {"content": "Yes."}, "finish_reason": "stop"}]}'
        )
        return Reply(200, f"data: {chunk}\n\ndata: [DONE]\n\n", headers=_EVENTS)
    answer = {"role": "assistant", "content": "Yes."}
    choice = {"index": 0, "message": answer, "finish_reason": "stop"}
    return Reply(
        200,
        {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]},
    )


@frozen(kw_only=True)
class Load:
    """How hard and how long: *rate* calls a second, trouble of *seconds*, and *outage* of all.

    An endpoint answers after *latency* seconds. The load goes on for *rest* seconds at the end.
    """

    rate: float
    seconds: float
    outage: float
    rest: float = 30.0
    latency: float = 0.5
    streams: bool = False

    @property
    def over(self) -> float:
        """When the trouble of some is over."""
        return BEGINS + self.seconds

    def storm(
        self, name: str, faults: Iterable[Fault], promises: Promises, fleet: int = 3
    ) -> Storm:
        """A storm under this load."""
        known = tuple(sorted(faults, key=lambda fault: fault.at))
        return Storm(
            name=name,
            fleet=fleet,
            faults=known,
            seconds=known[-1].at + self.rest,
            rate=self.rate,
            latency=self.latency,
            streams=self.streams,
            promises=promises,
        )

    def two(self, name: str, does: Does, later: float = 0.1) -> Storm:
        """Two of three do so, the second *later* by a share of the time that it takes."""
        faults = [
            Fault(BEGINS, "a", does),
            Fault(BEGINS + later * self.seconds, "b", does),
            Fault(self.over, "ab", "returns"),
        ]
        return self.storm(name, faults, Promises(healthy=True))

    def all(self, name: str, does: Does, promises: Promises, whom: str = "abc") -> Storm:
        """All of them do so, until all return at once."""
        back = BEGINS + self.outage
        faults = [Fault(BEGINS, whom, does), Fault(back, whom, "returns")]
        return self.storm(name, faults, evolve(promises, back=back), len(whom))


#: What the tests play: each storm once, in seconds.
SHORT: Final = Load(rate=5.0, seconds=6.0, outage=60.0, rest=15.0)
#: What ``make storms`` plays: hard enough that many calls are under way when trouble begins.
FULL: Final = Load(rate=20.0, seconds=40.0, outage=600.0, latency=1.0)


def storms(load: Load) -> list[Storm]:
    """All of them, under a load."""
    whole = good(streams=load.streams)
    thirty, half = (Reply(503),) * 3 + (whole,) * 7, (Reply(503), whole)
    healthy = Promises(healthy=True)
    # So many that the floor of the budget is little beside its share.
    many = evolve(load, rate=max(load.rate, 20.0), seconds=max(load.seconds, 30.0), rest=5.0)
    # What hung while all did is asked again when its time is over, on the floor of the budget;
    # and as long as the last probe hangs nobody sees that they are back.
    hangs = Promises(within=5.0 if load.streams else TOTAL, spare=FLOOR)
    return [
        load.two("two refuse", "dies"),
        load.two("two refuse at once", "dies", later=0.0),
        load.two("two reset", (Cut(after=0, how="rst"),)),
        load.two("two hang", (Hang(),)),
        load.two("two send garbage", GARBAGE),
        load.two("two send errors", ERRORS),
        load.two("two fail half of the time", half),
        load.storm(
            "two flap", [*_flaps(load, "a", 1.0, 2.0), *_flaps(load, "b", 0.5, 0.5)], healthy
        ),
        # In turns, for they shall be asked whatever they have said before.
        evolve(
            load.storm("eight are limited", _limits(), evolve(healthy, named=NAMED), 9),
            router="round_robin",
        ),
        load.storm("all flap", [*_flaps(load, "abc", 2.0, 2.0)], Promises()),
        many.storm(
            "all fail 3 times in 10",
            [Fault(BEGINS, "abc", thirty), Fault(many.over, "abc", "returns")],
            # Of ten calls seven go well at once, and as many of the two more that may be sent.
            Promises(answered=0.84, asks=True),
        ),
        load.all("all refuse", "dies", Promises()),
        load.all("the only one refuses", "dies", Promises(), "a"),
        load.all("all send errors", ERRORS, Promises()),
        load.all("all hang", (Hang(),), hangs),
    ]


def _limits() -> Iterator[Fault]:
    """One after another is limited, each in a form of its own, for as long as it says."""
    for n, how in enumerate(LIMITS):
        at = BEGINS + n * NAMED / 2
        yield Fault(at, NAMES[n], (how,))
        yield Fault(at + NAMED, NAMES[n], "returns")


def _flaps(load: Load, whom: str, down: float, up: float) -> Iterator[Fault]:
    """They die and return, in turns, until the trouble is over."""
    for n in range(int(load.seconds // (down + up))):
        at = BEGINS + n * (down + up)
        yield Fault(at, whom, "dies")
        yield Fault(at + down, whom, "returns")
