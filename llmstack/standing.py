"""How an endpoint stands: what the gates on the way to it would say to a request now.

A gate that can tell has ``standing(request)``. That is a read: it draws no lot, takes no
permit and changes nothing, so it may be asked at any time. Of all that the gates of one way
say, the worst is the verdict. Routers give it for each endpoint, with the gate that says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, Protocol, final, runtime_checkable

from attrs import evolve, frozen


__all__ = [
    "SWITCHED_OFF",
    "UP",
    "Standing",
    "Stands",
    "State",
    "standing_of",
    "together",
    "worst_of",
]

State = Literal["up", "degraded", "down", "disabled"]


@final
@frozen
class Standing:
    """What would become of a request: up takes all, degraded some, down none.

    *gate* is the role of the layer that says so, *reason* says why in words. What is down
    is worth another look at *ready_at*, in loop time, where that is known; and where it is
    *soft*, it takes what insists. *disabled* is what somebody switched off, or is not fit.
    """

    state: State = "up"
    reason: str = ""
    gate: str = ""
    ready_at: float | None = None
    soft: bool = False

    @property
    def rank(self) -> int:
        """The worse the higher; what takes at least what insists is not so bad."""
        return ("up", "degraded", "down", "disabled").index(self.state) * 2 - self.soft

    def __str__(self) -> str:
        """Say it in words."""
        says = f"{self.gate}: {self.reason}" if self.gate else self.reason
        return f"{self.state} ({says})" if says else self.state


#: Of what nobody has anything against.
UP: Final = Standing()
#: Of what is out of the set that a router chooses from.
SWITCHED_OFF: Final = Standing("disabled", "switched off")


@runtime_checkable
class Stands(Protocol):
    """A service that can tell how it stands towards a request."""

    def standing(self, request: Any, /) -> Standing | None:  # noqa: ANN401 -- of any type
        """Return what it would say to *request* now; None: nothing against it."""
        ...


def standing_of(service: object, request: object) -> Standing:
    """Return the worst that *service* and those inside it say, each under its role.

    Down to a router: what is below that is said of each endpoint, and what a stack says of
    itself has all of it.
    """
    return worst_of(_said(service, request))


def _said(service: object, request: object) -> Iterator[Standing]:
    while service is not None:
        said = service.standing(request) if isinstance(service, Stands) else None
        if hasattr(service, "standings"):
            yield from () if said is None else (said,)
            return
        if said is not None:
            role = getattr(getattr(service, "settings", None), "role", type(service).__name__)
            yield evolve(said, gate=said.gate or role)
        service = getattr(service, "inner", None)


def worst_of(standings: Iterable[Standing]) -> Standing:
    """Return the worst, of equals the first; `UP` if there is none."""
    return max(standings, key=_rank, default=UP)


def together(standings: Mapping[str, Standing]) -> Standing:
    """Return how a group stands, by that of its members: if one is up, it is."""
    best = min(standings.values(), key=_rank, default=UP)
    if best.state == "up":
        return UP
    ready = [each.ready_at for each in standings.values() if each.ready_at is not None]
    why = "; ".join(f"{name} is {standing}" for name, standing in standings.items())
    return evolve(best, reason=why, gate="", ready_at=min(ready, default=None))


def _rank(standing: Standing) -> int:
    return standing.rank
