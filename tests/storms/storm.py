"""What a storm is, and what is known of one that was played."""

from __future__ import annotations

from typing import Final, Literal

from attrs import frozen

from llmstack.testing.provider import Behaviour


__all__ = ["NAMES", "Called", "Fault", "Played", "Promises", "Storm"]

#: Of the endpoints, in their order.
NAMES: Final = "abcdefghi"


@frozen
class Fault:
    """What befalls *whom*, endpoints by their letters, *at* so many seconds.

    Of several behaviours each request gets one, by the dice.
    """

    at: float
    whom: str
    does: Literal["dies", "returns"] | tuple[Behaviour, ...]


@frozen(kw_only=True)
class Promises:
    """What must come of a storm, beside what must of all.

    If one of the endpoints is *healthy* all the time, no call fails before its content; if
    not, at least the share *answered* is, and if *asks*, no call fails without an attempt.
    *back* is when all return: the first request that is answered comes *within* so many
    seconds of that, and *spare* more of them in a second than a fifth above what callers
    send. *named* are the seconds for which a limited endpoint asks to be left alone.
    """

    healthy: bool = False
    answered: float = 0.0
    asks: bool = False
    back: float | None = None
    within: float = 5.0
    spare: float = 0.0
    named: float | None = None


@frozen(kw_only=True)
class Storm:
    """So many endpoints, their faults, and a steady load for so many *seconds*.

    Callers come *rate* times a second, and an endpoint takes *latency* seconds to answer. The
    *router* is as a file names it.
    """

    name: str
    fleet: int
    faults: tuple[Fault, ...]
    seconds: float
    rate: float
    latency: float
    streams: bool
    promises: Promises
    router: str = "latency_based"


@frozen
class Called:
    """A call as its caller saw it: *at* which second, until when, and how it failed, if it did.

    A stream that was *cut* had content. *attempts* is how many calls went upstream for it.
    """

    at: float
    ended: float
    failed: str = ""
    cut: bool = False
    attempts: int = 1


@frozen
class Played:
    """What came of a storm.

    *asked* are the seconds at which requests arrived, for each endpoint. *left* is what was
    not given back at the end, in words.
    """

    calls: tuple[Called, ...]
    asked: tuple[tuple[float, ...], ...]
    left: tuple[str, ...] = ()

    @property
    def failures(self) -> list[Called]:
        """Calls that failed before their content."""
        return [call for call in self.calls if call.failed]

    @property
    def attempts(self) -> int:
        """Requests that arrived upstream."""
        return sum(map(len, self.asked))
