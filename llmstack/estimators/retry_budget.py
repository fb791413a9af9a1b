"""A budget for calls that nobody asked for: retries and hedges, as a share of those asked for.

Bounded attempts for each call do not bound the load: in an outage every call is retried, and
what was a short overload stays one. A budget does. One object may be shared by all retries
and hedges of a stack, and it takes the stricter of two views: so many extra calls for those
of the last seconds, and so many for those in flight, which is right where calls are long.

How a layer uses it, for each request that it sees::

    original = budget.begin(request, now)  # False: a layer above has entered this call
    try:
        ...                                # ask
        extra = budget.withdraw(now)       # before an extra call; None: not now
        ...                                # wait, if there is a wait
        budget.send(extra, now)            # as it goes out
        ...                                # ask again
        budget.settle(extra)               # it is over; one that never went out costs nothing
    finally:
        if original:
            budget.end(request)

There is no clock in here, and all sums are of whole numbers. Errors: `ValueError` from wrong
settings. Events: none; the layers tell them.
"""

from __future__ import annotations

from fractions import Fraction
from math import inf
from typing import Any, Final, final

from attrs import define, field, frozen, setters, validators

from llmstack.call import Call
from llmstack.estimators.line import Line


__all__ = ["Extra", "RetryBudget", "RetryBudgetStatistics"]

#: How finely the window moves.
TICKS: Final = 20
#: One more than deposits live for: what was sent is remembered for a tick longer.
SLOTS: Final = TICKS + 1


def _ratio(value: float) -> tuple[int, int]:
    """Return the number as it is written, as a fraction; no end of it is 1 / 0.

    Of the float 0.29 a hundredfold is less than 29.
    """
    return (1, 0) if value == inf else Fraction(str(value)).as_integer_ratio()


@final
@frozen
class RetryBudgetStatistics:
    """A budget as it is now: calls *in_flight*, *extra* ones among them, and totals."""

    in_flight: int
    extra: int
    granted: int
    refused: int


@final
@define(eq=False)
class Extra:
    """One extra call: granted, then *sent* in a tick of its budget, then *over*."""

    sent: int | None = field(default=None, init=False)
    over: bool = field(default=False, init=False)


@final
@define(eq=False, on_setattr=setters.NO_OP)
class _Window:
    """What the calls of the last seconds have earned, and what was spent of it.

    A call that begins earns *gain*, an extra one costs *price*, and *floor* is always there.
    """

    gain: int
    price: int
    floor: int
    width: float  # of a tick
    fresh: int = 0  # calls that began in the newest tick
    until: float = -inf  # when that is over
    _newest: int = 0  # any will do, for there is nothing to forget before the first
    _earned: int = 0  # calls that began before it, in the last TICKS
    _spent: int = 0  # extra ones that wait, or were sent in the last SLOTS
    _begun: list[int] = field(factory=lambda: [0] * SLOTS)
    _sent: list[int] = field(factory=lambda: [0] * SLOTS)

    def move_to(self, now: float) -> None:
        """Begin the tick of *now*, and forget what is too old then."""
        tick = int(now // self.width)
        self._begun[self._newest % SLOTS] += self.fresh
        self._earned += self.fresh
        self.fresh = 0
        for begins in range(self._newest + 1, min(tick, self._newest + SLOTS) + 1):
            place, gone = begins % SLOTS, (begins - TICKS) % SLOTS
            self._spent -= self._sent[place]
            self._earned -= self._begun[gone]
            self._sent[place] = self._begun[gone] = 0
        self._newest = tick
        self.until = (tick + 1) * self.width

    @property
    def allows(self) -> bool:
        """Whether one more is earned."""
        earned = self.gain * (self._earned + self.fresh) + self.floor
        return earned >= self.price * (self._spent + 1)

    @property
    def gap(self) -> float:
        """Seconds between calls that go out at half the pace of what is earned, or the floor's."""
        granted = max(self.gain * self._earned / 2, self.floor)
        seconds = self.price * self.width * TICKS
        return inf if granted == 0 and seconds else seconds / (granted or 1)

    def spend(self) -> None:
        """Count one that waits."""
        self._spent += 1

    def send(self) -> int:
        """Count one of those as sent; return the tick."""
        self._sent[self._newest % SLOTS] += 1
        return self._newest

    def give_back(self, sent: int | None) -> None:
        """Strike one out that waits, or was *sent* then; too late, it is forgotten anyhow."""
        if sent is None:
            self._spent -= 1
        elif sent > self._newest - SLOTS:
            self._spent -= 1
            self._sent[sent % SLOTS] -= 1


@final
@define(eq=False, on_setattr=setters.NO_OP)
class RetryBudget:
    """How many extra calls there may be.

    In the last *ttl* seconds: *ratio* for each call that began, and *min_per_sec* for each
    second. At once: *share* for each call in flight, but *least* in any case. In flight is a
    call until it is answered; a stream that was handed up is.

    An extra call counts as sent from when it is granted, so what waits cannot be granted
    twice, until *ttl* after it was sent. Nothing is forgotten early: in no *ttl* are more
    sent than the last of them was granted for.

    >>> RetryBudget()
    RetryBudget(ratio=0.2, min_per_sec=1.0, ttl=10.0, share=0.2, least=10)
    """

    ratio: float = field(default=0.2, validator=validators.ge(0))
    min_per_sec: float = field(default=1.0, validator=validators.ge(0))
    ttl: float = field(default=10.0, validator=[validators.gt(0), validators.lt(inf)])
    share: float = field(default=0.2, validator=validators.ge(0))
    least: int = field(default=10, validator=[validators.instance_of(int), validators.ge(0)])
    _calls: set[int] = field(factory=set, init=False, repr=False)  # their identities
    _extra: int = field(default=0, init=False, repr=False)
    _granted: int = field(default=0, init=False, repr=False)
    _refused: int = field(default=0, init=False, repr=False)
    _line: Line = field(factory=Line, init=False, repr=False)
    _share: tuple[int, int] = field(init=False, repr=False)
    _window: _Window = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        part, whole = _ratio(self.ratio)
        (floor, unit), (ttl, seconds) = _ratio(self.min_per_sec), _ratio(self.ttl)
        unit *= seconds
        width = self.ttl / TICKS
        self._window = _Window(part * unit, whole * unit, floor * ttl * whole, width)
        self._share = _ratio(self.share)

    @classmethod
    def unlimited(cls) -> RetryBudget:
        """Return a budget that refuses nothing, but counts."""
        return cls(ratio=inf, share=inf)

    def begin(self, request: Any, now: float, /) -> bool:  # noqa: ANN401 -- of any type
        """Enter the call of *request*; False if it has been entered by a layer above.

        The copies of a request share a `Call`; one that has none is a call itself. What is
        entered with a time that is over is forgotten the earlier.
        """
        try:  # `getattr` with a default takes 20 ns longer
            call = request.call
        except AttributeError:
            call = request
        known = id(call if type(call) is Call else request)
        calls = self._calls
        if known in calls:
            return False
        calls.add(known)
        window = self._window
        if now >= window.until:
            window.move_to(now)
        window.fresh += 1
        return True

    def end(self, request: Any, /) -> None:  # noqa: ANN401
        """Leave the call of *request*; for whoever has entered it."""
        try:
            call = request.call
        except AttributeError:
            call = request
        self._calls.discard(id(call if type(call) is Call else request))

    def turn(self, at: float, /) -> float:
        """Return when a call may go out that was not sent, and waits until *at*.

        It costs nothing, but all that wait for one moment would be a spike: they go one after
        another, at half the pace of extra calls, for which the other half is left.
        """
        return self._line.turn(at)

    def take(self, turn: float, now: float, /) -> None:
        """Book that *turn*; `leave` ends it."""
        if now >= self._window.until:
            self._window.move_to(now)
        self._line.take(turn, self._window.gap)

    def leave(self, turn: float, /, *, used: bool) -> None:
        """Learn that who had booked *turn* went out, or left before that."""
        self._line.leave(turn, used=used)

    def withdraw(self, now: float, /, *, elsewhere: bool = False) -> Extra | None:
        """Grant an extra call, to be ended by whoever gets it; None if there is none left.

        One that goes *elsewhere*, to an endpoint that this call has not asked, is no load for
        those that fail: it is not held to the share of calls in flight, or an endpoint that
        dies with a third of them would take most of its callers along.
        """
        if now >= self._window.until:
            self._window.move_to(now)
        part, whole = self._share
        asked = self._extra + 1
        fits = elsewhere or asked <= self.least or asked * whole <= part * len(self._calls)
        if not (fits and self._window.allows):
            self._refused += 1
            return None
        self._granted += 1
        self._extra += 1
        self._window.spend()
        return Extra()

    def send(self, extra: Extra, now: float, /) -> None:
        """Note that *extra* goes out now."""
        if now >= self._window.until:
            self._window.move_to(now)
        extra.sent = self._window.send()

    def settle(self, extra: Extra, /) -> None:
        """Take *extra* back: its call is over. One that never went out has cost nothing."""
        if extra.sent is None:
            self.give_back(extra)
        elif not extra.over:
            extra.over = True
            self._extra -= 1

    def give_back(self, extra: Extra, /) -> None:
        """Take *extra* back as if it had not been granted: it was refused, so nothing was sent."""
        if not extra.over:
            extra.over = True
            self._extra -= 1
            self._window.give_back(extra.sent)

    def statistics(self) -> RetryBudgetStatistics:
        """Return what is out now, and what has been granted and refused since the beginning."""
        return RetryBudgetStatistics(len(self._calls), self._extra, self._granted, self._refused)
